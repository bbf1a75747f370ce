"""Predict many scans: read ahead, segment, write on each scan's own grid; a scan that fails does not stop the others.

The output folder holds CASE.nii.gz (or the scan's own format); quality.json and quality.csv, where the model has a
quality model; and, where they were asked for, overlays/CASE_overlay.png, probabilities/CLASS/CASE.nii.gz and
uncertainty/CASE.nii.gz. Its files, subfolders apart, are label maps alone, so that it can be scored or read as scans.
What was made of which scan by which model is in the folder's record (`vesal.outputs`).
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_jsonable_python
from torch import Tensor

from vesal.data.case import image_digest, read_image_and_digest
from vesal.data.dataset import Case
from vesal.data.fingerprint import Failure
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError, VesalError, out_of_memory
from vesal.files import write_bytes, write_json
from vesal.infer.predictor import Model
from vesal.infer.quality.image_features import image_features
from vesal.infer.scan_notes import scan_note, with_channels
from vesal.outputs import OutputFolder
from vesal.parallel import Progress, read_ahead
from vesal.planning.plan import Plan
from vesal.preprocessing.prepare import Prepared
from vesal.text import listed, plural
from vesal.volume.io import is_readable, write_label, write_volume
from vesal.volume.resample import resize
from vesal.volume.volume import LabelMap, Volume
from vesal.workflow.prediction.predict_targets import Target, Targets, plan_targets, try_folder
from vesal.workflow.quality_files import QualityFiles
from vesal.workflow.requests.predict_options import PredictOptions

#: A probability of 1 in a PNG of probabilities.
_PNG_ONE = (1 << 16) - 1
_TOO_LARGE = "the memory does not suffice for this scan; predict it on a larger machine."


_Entry = tuple[Case, Target]


@dataclass
class PredictResult:
    """The result of a prediction.

    Attributes:
        files, overlays, uncertainty: case -> its label map, its picture, its map of uncertainty.
        probabilities: case -> class -> its map.
        seconds: case -> how long it took.
        failures: cases that failed.
        backend: what computed the network.
        quality: the estimates; None where they were not wanted.
        kept: cases whose results were there already.
        redone: case -> why its result, which was there, was made anew.
        notes: case -> what is to be looked at.
        remarks: what else is to be known, such as files that were left out.
    """

    files: dict[str, Path] = field(default_factory=dict)
    overlays: dict[str, Path] = field(default_factory=dict)
    probabilities: dict[str, dict[str, Path]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    backend: str = "torch"
    uncertainty: dict[str, Path] = field(default_factory=dict)
    quality: QualityFiles | None = None
    kept: list[str] = field(default_factory=list)
    redone: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def note(self, case: str, target: Target) -> None:
        """All files of a case are there."""
        self.files[case] = target.label
        if target.overlay is not None:
            self.overlays[case] = target.overlay
        if target.probabilities:
            self.probabilities[case] = target.probabilities
        if target.uncertainty is not None:
            self.uncertainty[case] = target.uncertainty

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        seconds = {case: round(value, 3) for case, value in self.seconds.items()}
        quality = None if self.quality is None else {case: self.quality.rows[case] for case in self._judged()}
        plain: dict[str, Any] = to_jsonable_python({**vars(self), "seconds": seconds, "quality": quality})
        return plain

    def text(self, cases: int, out: Path) -> str:
        """What was done, what was kept, and what is to be looked at."""
        new = len(self.files) - len(self.kept)
        kept = f" ({len(self.kept)} kept, {new} new)" if self.kept or self.redone else ""
        computed = f"; network by {self.backend}" if self.seconds else ""
        lines = [f"{len(self.files)} of {plural(cases, 'scan')} segmented in {out}{kept}{computed}"]
        if self.redone:
            reasons = Counter(self.redone.values())
            why = ", ".join(f"{reason}: {count}" for reason, count in reasons.items())
            lines.append(f"Made anew: {plural(len(self.redone), 'result')} ({why})")
        if self.quality is not None:
            lines.append(self.quality.text(self._judged()))
        for note in dict.fromkeys(self.notes.values()):
            flagged = [case for case, other in self.notes.items() if other == note]
            lines.append(f"Review {listed(flagged, 5)}: {note}")
        return "\n".join(filter(None, [*lines, *self.remarks]))

    def _judged(self) -> list[str]:
        return [] if self.quality is None else [case for case in self.files if case in self.quality.rows]


@dataclass(frozen=True, eq=False)
class _Scan:
    """A case ready for the network.

    Attributes:
        volume: the scan itself, where a picture of it is wanted.
        features: of the image, where its quality is estimated.
        digest: of its files.
        note: what is to be looked at in it, or ''.
    """

    prepared: Prepared
    volume: Volume | None
    features: dict[str, dict[str, float]] | None
    digest: str
    note: str


def predict_cases(
    model: Model,
    cases: Sequence[Case],
    out: Path,
    options: PredictOptions | None = None,
    *,
    progress: Progress | None = None,
) -> PredictResult:
    """Predict every case into `out`: a folder or, for a single case, a file.

    Raises:
        UsageError: an unknown format, or a result would overwrite a scan or a file that Vesal did not write there.
        VesalError: `out` cannot be written (nothing else would succeed either).
    """
    options = options or PredictOptions()
    result = PredictResult()
    targets = plan_targets(cases, Path(out), options, model.labels.classes)
    with OutputFolder(targets.folder) as output:
        estimates = options.quality and model.quality_estimator is not None
        if options.quality:
            folder = None if targets.single else targets.folder
            result.quality = QualityFiles(folder, model.labels.classes)
        entries = list(zip(cases, targets.of, strict=True))
        files = [path for target in targets.of for path in target.files()]
        files += [targets.classes_file] if targets.folders else []
        output.refuse([*files, *(result.quality.files if result.quality else ())], is_readable)
        made_of = _made_of(model, options)
        waiting = _unfinished(output, entries, made_of, result, estimates) if options.resume else entries
        if other := _others(output, targets, made_of, options.resume):
            result.remarks.append(other)
        try_folder(targets)
        if options.probabilities:
            write_json(targets.classes_file, _classes(model.labels, targets.folders))
        job = _Job(model, options, result, output, made_of, estimates)
        job.run(waiting, progress)
    result.backend = model.backend
    return result


def _made_of(model: Model, options: PredictOptions) -> dict[str, Any]:
    """What a label map depends on beside the scan."""
    return {
        "model": model.digest,
        "threshold": options.threshold,
        "overlap": options.overlap,
        "mirror": options.mirror,
        "least Dice": options.min_dice,
    }


def _others(output: OutputFolder, targets: Targets, made_of: dict[str, Any], resume: bool) -> str:
    """Results in the folder that this prediction neither makes nor keeps, where they would be taken for its own: when
    it is resumed, and where another model or other options made them; '' without any."""
    ours = {target.label.name for target in targets.of}
    found = [
        name
        for name, done in output.cases.items()
        if name not in ours
        and (resume or any(done.made_of.get(what) != made_of[what] for what in made_of))
        and (output.folder / name).exists()
    ]
    if not found:
        return ""
    which = f"{plural(len(found), 'earlier result')}: {listed(found, 3)}"
    why = "whose scans or format were not named now" if resume else "by another model or other options"
    return f"{targets.folder} also holds {which}, {why}."


def _unfinished(
    output: OutputFolder,
    entries: Sequence[_Entry],
    made_of: dict[str, Any],
    result: PredictResult,
    estimates: bool,
) -> list[_Entry]:
    """What is to be predicted; the rest is noted as kept. A scan is only read where all else is as it was."""
    waiting = []
    for case, target in entries:
        known = output.cases.get(target.label.name)
        # The scan is looked at last: with the digest that is in the record all else is compared.
        left_open = ("scan",) if estimates else ("scan", "least Dice")
        wanted = made_of | {what: None if known is None else known.made_of.get(what) for what in left_open}
        why = output.why_unfinished(target.label.name, wanted, target.files())
        if why is None and _digest(case) != wanted["scan"]:
            why = "another scan"
        if why is None and estimates and (result.quality is None or case.id not in result.quality.rows):
            why = "not estimated"
        if why is None:
            result.note(case.id, target)
            result.kept.append(case.id)
        else:
            waiting.append((case, target))
            if target.label.exists():
                result.redone[case.id] = why
    return waiting


def _digest(case: Case) -> str | None:
    try:
        return image_digest(case)
    except (VesalError, OSError):
        return None


@dataclass(frozen=True, eq=False)
class _Job:
    """Predicts the cases that are waiting, one after the other."""

    model: Model
    options: PredictOptions
    result: PredictResult
    output: OutputFolder
    made_of: dict[str, Any]
    estimates: bool

    def run(self, waiting: Sequence[_Entry], progress: Progress | None) -> None:
        read = partial(_read, model=self.model, features=self.estimates)
        for done, (scan, entry) in enumerate(zip(read_ahead(read, waiting), waiting, strict=True), start=1):
            case, result = entry[0], self.result
            if result.quality is not None:
                result.quality.rows.pop(case.id, None)
            began = time.monotonic()
            try:
                if isinstance(scan, DataError):
                    raise scan
                self._one(scan, entry)
                result.seconds[case.id] = time.monotonic() - began
            except (DataError, UsageError) as error:
                self._failed(entry, str(error))
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                self._failed(entry, _TOO_LARGE)
            if result.quality is not None:
                result.quality.save(last=done == len(waiting))
            if progress is not None:
                progress(done, len(waiting))

    def _failed(self, entry: _Entry, reason: str) -> None:
        case, target = entry
        if os.path.lexists(target.label):
            reason += f" Its earlier result stays: {target.label}."
        self.result.redone.pop(case.id, None)
        self.result.failures.append(Failure(id=case.id, message=reason))

    def _one(self, scan: _Scan, entry: _Entry) -> None:
        case, target = entry
        concern = _predict(self.model, scan, entry, self.options, self.result)
        if note := "; ".join(filter(None, (scan.note, concern))):
            self.result.notes[case.id] = note
            if self.result.quality is not None:
                self.result.quality.flag(case.id, note)
        self.output.finish(target.label.name, self.made_of | {"scan": scan.digest}, target.files())
        self.result.note(case.id, target)


# --- one scan --------------------------------------------------------------------------------------------


def _read(entry: _Entry, *, model: Model, features: bool) -> _Scan | DataError:
    """A scan ready for the network, or why it is not."""
    case, target = entry
    plan = model.plan
    try:
        # A density of this one picture is no news: the pictures of the training had the plan's.
        agreed = case.model_copy(update={"pixel_mm": plan.pixel_mm})
        stored, digest = read_image_and_digest(agreed)
        volume = with_channels(stored, plan)
        if target.label.suffix == ".png":
            _check_png(volume, plan.labels)
        prepared = model.prepare(volume)
        found = image_features(volume, prepared) if features else None
    except MemoryError:
        return DataError(_TOO_LARGE)
    except VesalError as error:
        return DataError(str(error).removeprefix(f"Case {case.id}: "))
    pictured = target.overlay is not None or "preview" in target.dicom
    shown = volume if pictured or model.locator is not None else None
    return _Scan(prepared, shown, found, digest, _note(stored, plan, prepared))


def _note(stored: Volume, plan: Plan, prepared: Prepared) -> str:
    """What is to be looked at; the size of a scan of which only a box was prepared says nothing."""
    shape = prepared.crop.shape if plan.locator is None else (*plan.median_shape,)
    return scan_note(stored, plan, shape)


def _check_png(volume: Volume, labels: LabelSet) -> None:
    """Raise before the scan is predicted where its result cannot be a PNG."""
    if volume.geometry.ndim != 2:
        raise DataError("the scan is a volume and a PNG holds one slice; write another format (--to nifti).")
    if min(labels.values) < 0 or max(labels.values) > _PNG_ONE:
        raise DataError(
            f"the model's label values {min(labels.values)} to {max(labels.values)} do not fit into a PNG, which "
            f"holds 0 to {_PNG_ONE}; write another format (--to nifti)."
        )


def _predict(model: Model, scan: _Scan, entry: _Entry, options: PredictOptions, result: PredictResult) -> str:
    """Write the results of a scan; why they are to be reviewed, as far as two stages show it, or ''."""
    case, target = entry
    windows = model.windows(mirror=options.mirror, overlap=options.overlap)
    maps = target.uncertainty is not None
    records = scan.features is not None or maps
    recorder = model.feature_recorder(windows, uncertainty=maps) if records else None
    prepared = scan.prepared
    fractional = "dicom-fractional" in target.dicom
    wants_logits = bool(target.probabilities) or fractional
    plain = recorder is None and not wants_logits
    if not plain and model.locator is not None and scan.volume is not None:
        _, prepared = model.segment_within(scan.volume, prepared, windows, threshold=options.threshold)
    uncertainty = np.zeros(prepared.crop.shape, dtype=np.float32) if maps else None
    if wants_logits:
        # The maps are written one by one and read the logits each: those of the whole volume are kept.
        logits = model.logits(prepared.image, windows, recorder=recorder)
        if uncertainty is not None:
            uncertainty, logits = logits[-1].numpy(), logits[:-1]
        label = model.from_logits(logits, prepared, threshold=options.threshold)
    elif plain and scan.volume is not None:
        label, prepared = model.segment_within(scan.volume, prepared, windows, threshold=options.threshold)
    else:

        def on_rows(rows: Tensor, first: int) -> None:
            if uncertainty is not None:
                axis = windows.stream_axis(uncertainty.shape)
                part = rows[-1].movedim(axis, 0).cpu().numpy()
                np.moveaxis(uncertainty, axis, 0)[first : first + len(part)] = part

        label = model.segment(
            prepared, windows, threshold=options.threshold, recorder=recorder, on_rows=on_rows
        )
    if recorder is not None and result.quality is not None and scan.features is not None:
        estimate = model.estimate_quality(scan.features, recorder, label, min_dice=options.min_dice)
        result.quality.rows[case.id] = estimate.to_dict()
    row = None if result.quality is None else result.quality.rows.get(case.id)
    maps_of = [one for _, one in model.class_probabilities(logits, prepared)] if fractional else None
    _write(label, entry, scan, model, row, prepared.concern, maps_of)
    if target.overlay is not None and scan.volume is not None:
        from vesal.report.figures.overlay import overlay_png

        write_bytes(target.overlay, overlay_png(scan.volume, label, model.labels))
    if target.probabilities:
        for name, probability in model.class_probabilities(logits, prepared):
            path = target.probabilities[name]
            write_volume(path, Volume(_stored(probability, path)[None], label.geometry))
    if target.uncertainty is not None and uncertainty is not None:
        # Outside the crop there is nothing, and no uncertainty of it.
        cropped = resize(uncertainty[None], prepared.crop.crop_shape, 1)[0]
        values = prepared.crop.paste(cropped.astype(np.float32).clip(0, 1))
        write_volume(target.uncertainty, Volume(_stored(values, target.uncertainty)[None], label.geometry))
    return prepared.concern


def _write(
    label: LabelMap,
    entry: _Entry,
    scan: _Scan,
    model: Model,
    row: dict[str, Any] | None,
    concern: str,
    probabilities: list[NDArray[np.float32]] | None,
) -> None:
    """The label map, and what DICOM objects are asked for; `row` is the quality estimate, where there is one."""
    case, target = entry
    if target.writes_volume:
        write_label(target.label, label)
    if not target.dicom:
        return
    # Imported here: scans of other formats do not wait for it.
    from vesal.workflow.prediction.dicom_results import DicomResult, write_dicom

    flagged = row["reason"] if row is not None and row["verdict"] == "review" else ""
    expected = {} if row is None else {name: dice["value"] for name, dice in row["predicted_dice"].items()}
    concern = "; ".join(filter(None, (scan.note, concern, flagged)))
    result = DicomResult(
        case, label, model.labels, model.digest, expected, concern, probabilities, scan.volume
    )
    write_dicom(target.dicom, result)


def _stored(probability: NDArray[np.float32], path: Path) -> NDArray[Any]:
    """As it is written: a PNG holds whole numbers."""
    if path.suffix != ".png":
        return probability
    probability *= _PNG_ONE
    return np.rint(probability, out=probability).astype(np.uint16)


def _classes(labels: LabelSet, folders: dict[str, str]) -> dict[str, Any]:
    """The content of classes.json."""
    values = {label.name: label.value for label in labels.labels}
    members = {region.name: region.members for region in labels.regions} or {
        name: (name,) for name in labels.names
    }
    background = "regions may overlap" if labels.regions else "background is 1 - the sum of all classes"
    return {
        "classes": [
            {"name": name, "folder": folders[name], "values": [values[member] for member in members[name]]}
            for name in labels.classes
        ],
        "activation": "sigmoid" if labels.regions else "softmax",
        "stored": f"0 to 1; in PNG 0 to {_PNG_ONE}; {background}",
    }
