"""One scan of a prediction: read, segmented, and its files written, on whatever machine that happens."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vesal.data.case import read_image_and_digest
from vesal.data.dataset import Case
from vesal.data.labels import LabelSet
from vesal.errors import TOO_LARGE, DataError, VesalError, out_of_memory
from vesal.files import write_bytes
from vesal.infer.channels.missing_channels import channel_numbers, without_channels
from vesal.infer.model import Model
from vesal.infer.quality.image_features import image_features
from vesal.infer.quality.mask_features import volumes_ml
from vesal.infer.quality.network_features import FeatureRecorder
from vesal.infer.scan_notes import scan_note, with_channels
from vesal.infer.windows import Windows
from vesal.memory_limit import array, limit
from vesal.planning.plan import Plan
from vesal.preprocessing.monai_rules import resize_from_first
from vesal.preprocessing.prepare import Prepared
from vesal.volume.io import write_label, write_volume
from vesal.volume.resample import resize
from vesal.volume.volume import LabelMap, Volume
from vesal.workflow.prediction.case_memory import refuse_too_large
from vesal.workflow.prediction.predict_targets import Target
from vesal.workflow.requests.predict_options import PredictOptions

#: A probability of 1 in a PNG of probabilities.
PNG_ONE = (1 << 16) - 1

#: A case and the files that its result becomes.
Entry = tuple[Case, Target]


@dataclass(frozen=True, eq=False)
class ReadScan:
    """A case ready for the network.

    Attributes:
        volume: the scan itself, where a picture of it is wanted.
        features: of the image, where its quality is estimated.
        digest: of its files.
        note: what is to be looked at in it, or ''.
        missing: names of the channels that it has not.
    """

    prepared: Prepared
    volume: Volume | None
    features: dict[str, dict[str, float]] | None
    digest: str
    note: str
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaseResult:
    """What is known of a scan whose files are written.

    Attributes:
        scan: digest of its files.
        note: why it is to be reviewed, as far as the scan or two stages show it; '' where they do not.
        quality: the estimate, as `QualityEstimate.to_dict`; None where none is made.
        volumes_ml: class -> its volume in the result (ml), where they are measured; nothing of a picture.
        missing: names of the channels that it was predicted without.
    """

    scan: str
    note: str = ""
    quality: dict[str, Any] | None = None
    volumes_ml: dict[str, float] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class CasePredictor:
    """Predicts scans, each by itself.

    Attributes:
        model: that predicts.
        options: how, and what is written.
        estimates: whether the quality is estimated.
        measures: whether volumes are measured.
    """

    model: Model
    options: PredictOptions
    estimates: bool
    measures: bool = False

    def __call__(self, entry: Entry) -> CaseResult:
        """Read a scan and write its results.

        Raises:
            DataError: it cannot be used.
            VesalError: a result cannot be written.
        """
        scan = self.read(entry)
        if isinstance(scan, DataError):
            raise scan
        return self.write(scan, entry)

    def read(self, entry: Entry) -> ReadScan | DataError:
        """A scan ready for the network, or why it is not."""
        case, target = entry
        plan = self.model.plan
        try:
            if limit() is not None:
                refuse_too_large(case, target, self.model, self._windows())
            # A density of this one picture is no news: the pictures of the training had the plan's.
            agreed = case.model_copy(update={"pixel_mm": plan.pixel_mm})
            stored, digest = read_image_and_digest(agreed)
            stored = without_channels(stored, plan, channel_numbers(plan, self.options.missing), case.lacking)
            volume = with_channels(stored, plan)
            if target.label.suffix == ".png":
                _check_png(volume, plan.labels)
            prepared = self.model.prepare(volume, mirror=self.options.mirror, overlap=self.options.overlap)
            # The quality model knows scans with all channels alone.
            estimated = self.estimates and not volume.absent
            found = image_features(volume, prepared) if estimated else None
        except VesalError as error:
            return DataError(str(error).removeprefix(f"Case {case.id}: "))
        except (MemoryError, RuntimeError) as error:
            # A coarse stage has computed, on a GPU beside the scan before.
            if not out_of_memory(error):
                raise
            return DataError(TOO_LARGE)
        pictured = target.overlay is not None or "preview" in target.dicom
        shown = volume if pictured or self.model.looks_in_box else None
        missing = tuple(plan.channels[place] for place in volume.absent)
        return ReadScan(prepared, shown, found, digest, _note(stored, plan, prepared), missing)

    def write(self, scan: ReadScan, entry: Entry) -> CaseResult:
        """Segment a scan and write its results.

        Raises:
            DataError, UsageError: a result cannot be made or written.
        """
        target, model = entry[1], self.model
        passed = self._passed(scan, target)
        label, prepared = passed.label, passed.prepared
        estimate = None
        if passed.recorder is not None and scan.features is not None:
            found = model.estimate_quality(
                scan.features,
                passed.recorder,
                label,
                min_dice=self.options.min_dice,
                interval_level=self.options.interval_level,
            )
            estimate = found.to_dict()
        if target.overlay is not None and scan.volume is not None:
            from vesal.report.figures.overlay import overlay_png

            write_bytes(target.overlay, overlay_png(scan.volume, label, model.labels))
        if target.probabilities and passed.logits is not None:
            for name, probability in model.class_probabilities(passed.logits, prepared):
                path = target.probabilities[name]
                write_volume(path, Volume(_stored(probability, path)[None], label.geometry))
        if target.uncertainty is not None and passed.uncertainty is not None:
            # Outside the crop there is nothing, and no uncertainty of it.
            crop = prepared.crop
            if crop.steps is None:
                cropped = resize(passed.uncertainty[None], crop.crop_shape, 1)[0]
            else:
                back = [1 / step for step in crop.steps]
                cropped = resize_from_first(passed.uncertainty[None], crop.crop_shape, back)[0]
            values = prepared.crop.paste(cropped.astype(np.float32).clip(0, 1))
            write_volume(
                target.uncertainty, Volume(_stored(values, target.uncertainty)[None], label.geometry)
            )
        # What can be refused comes first and the label map last: one that fails leaves the earlier result.
        if target.dicom:
            self._write_dicom(scan, entry, passed, estimate)
        if target.writes_volume:
            write_label(target.label, label)
        note = "; ".join(filter(None, (scan.note, prepared.concern)))
        volumes = {}
        if self.measures:
            volumes = volumes_ml(model.labels.encode(label.array), label.geometry, model.labels)
        return CaseResult(scan.digest, note, estimate, volumes, scan.missing)

    def _windows(self) -> Windows:
        return self.model.windows(mirror=self.options.mirror, overlap=self.options.overlap)

    def _passed(self, scan: ReadScan, target: Target) -> _Passed:
        """The scan through the networks, with what the target's files need of them."""
        model, options, prepared = self.model, self.options, scan.prepared
        windows = self._windows()
        maps = target.uncertainty is not None
        records = scan.features is not None or maps
        recorder = model.feature_recorder(windows, uncertainty=maps) if records else None
        wants_logits = bool(target.probabilities) or "dicom-fractional" in target.dicom
        plain = recorder is None and not wants_logits
        if plain and scan.volume is not None:
            label, prepared = model.segment_within(
                scan.volume, prepared, windows, threshold=options.threshold
            )
            return _Passed(label, prepared)
        if not plain and model.looks_in_box and scan.volume is not None:
            _, prepared = model.segment_within(scan.volume, prepared, windows, threshold=options.threshold)
        uncertainty = array(prepared.crop.shape, np.float32, zeros=True) if maps else None
        if wants_logits:
            # The maps are written one by one and read the logits each: those of the whole volume are kept.
            logits = model.logits(prepared.image, windows, recorder=recorder)
            if uncertainty is not None:
                uncertainty, logits = logits[-1].numpy(), logits[:-1]
            label = model.from_logits(logits, prepared, threshold=options.threshold)
            return _Passed(label, prepared, recorder, logits, uncertainty)

        def on_rows(rows: Tensor, first: int) -> None:
            if uncertainty is not None:
                axis = windows.stream_axis(uncertainty.shape)
                part = rows[-1].movedim(axis, 0).cpu().numpy()
                np.moveaxis(uncertainty, axis, 0)[first : first + len(part)] = part

        label = model.segment(
            prepared, windows, threshold=options.threshold, recorder=recorder, on_rows=on_rows
        )
        return _Passed(label, prepared, recorder, None, uncertainty)

    def _write_dicom(
        self, scan: ReadScan, entry: Entry, passed: _Passed, estimate: dict[str, Any] | None
    ) -> None:
        # Imported here: scans of other formats do not wait for it.
        from vesal.volume.dicom.annotations.report_writer import Uncertainty
        from vesal.workflow.prediction.dicom_results import DicomResult, write_dicom

        (case, target), model = entry, self.model
        maps = None
        if "dicom-fractional" in target.dicom and passed.logits is not None:
            maps = [one for _, one in model.class_probabilities(passed.logits, passed.prepared)]
        row = estimate or {"verdict": "", "predicted_dice": {}}
        flagged = row["reason"] if row["verdict"] == "review" else ""
        expected = {name: dice["value"] for name, dice in row["predicted_dice"].items()}
        intervals = {
            name: Uncertainty(of["value"] - of["low"], of["high"] - of["value"], of["level"])
            for name, of in row.get("volumes_ml", {}).items()
            if of["low"] is not None
        }
        concern = "; ".join(filter(None, (scan.note, passed.prepared.concern, flagged)))
        result = DicomResult(
            case,
            passed.label,
            model.labels,
            model.digest,
            expected_dice=expected,
            volume_uncertainty=intervals,
            concern=concern,
            probabilities=maps,
            volume=scan.volume,
        )
        write_dicom(target.dicom, result)


@dataclass(frozen=True, eq=False)
class _Passed:
    """What the networks made of a scan.

    Attributes:
        prepared: of which it was made: of two stages the box that was found at last.
        logits: of the whole, where they are wanted.
        uncertainty: at each prepared voxel, where it is wanted.
    """

    label: LabelMap
    prepared: Prepared
    recorder: FeatureRecorder | None = None
    logits: Tensor | None = None
    uncertainty: NDArray[np.float32] | None = None


def _note(stored: Volume, plan: Plan, prepared: Prepared) -> str:
    """What is to be looked at; the size of a scan of which only a box was prepared says nothing."""
    shape = (*plan.median_shape,) if plan.looks_in_box else prepared.crop.shape
    return scan_note(stored, plan, shape)


def _check_png(volume: Volume, labels: LabelSet) -> None:
    """Raise before the scan is predicted where its result cannot be a PNG."""
    if volume.geometry.ndim != 2:
        raise DataError("the scan is a volume and a PNG holds one slice; write another format (--to nifti).")
    if min(labels.values) < 0 or max(labels.values) > PNG_ONE:
        raise DataError(
            f"the model's label values {min(labels.values)} to {max(labels.values)} do not fit into a PNG, which "
            f"holds 0 to {PNG_ONE}; write another format (--to nifti)."
        )


def _stored(probability: NDArray[np.float32], path: Path) -> NDArray[Any]:
    """As it is written: a PNG holds whole numbers."""
    if path.suffix != ".png":
        return probability
    probability *= PNG_ONE
    return np.rint(probability, out=probability).astype(np.uint16)
