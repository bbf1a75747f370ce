"""Predict many scans: read ahead, segment, write on each scan's own grid; a scan that fails does not stop the others.

The output folder holds CASE.nii.gz (or the scan's own format); quality.json and quality.csv, where the model has a
quality model; and, where they were asked for, overlays/CASE_overlay.png, probabilities/CLASS/CASE.nii.gz and
uncertainty/CASE.nii.gz. Its files, subfolders apart, are label maps alone, so that it can be scored or read as scans.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_jsonable_python
from torch import Tensor

from vesal.data.case import read_image
from vesal.data.dataset import Case
from vesal.data.fingerprint import Failure
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError, VesalError, out_of_memory
from vesal.files import write_bytes, write_json
from vesal.infer.predictor import Model
from vesal.infer.quality.image_features import image_features
from vesal.layouts.input_scans import default_ending
from vesal.parallel import Progress, read_ahead
from vesal.planning.plan import Plan
from vesal.preprocessing.prepare import Prepared, prepare
from vesal.volume.io import write_label, write_volume
from vesal.volume.resample import resize
from vesal.volume.volume import Volume
from vesal.workflow.quality_files import QualityFiles
from vesal.workflow.requests.predict_options import FORMATS, PredictOptions

_PROBABILITIES = "probabilities"

#: A probability of 1 in a PNG of probabilities.
_PNG_ONE = (1 << 16) - 1


@dataclass(frozen=True)
class _Target:
    """The files of one case's result; `probabilities` by class."""

    label: Path
    overlay: Path | None
    probabilities: dict[str, Path]
    uncertainty: Path | None = None

    def files(self) -> Iterator[Path]:
        return filter(None, (self.label, self.overlay, *self.probabilities.values(), self.uncertainty))


@dataclass
class PredictResult:
    """The result of a prediction: files, overlays, probability maps by class, maps of uncertainty, quality estimates
    (None where the model has no quality model), seconds by case, cases that failed, backend."""

    files: dict[str, Path] = field(default_factory=dict)
    overlays: dict[str, Path] = field(default_factory=dict)
    probabilities: dict[str, dict[str, Path]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    backend: str = "torch"
    uncertainty: dict[str, Path] = field(default_factory=dict)
    quality: QualityFiles | None = None

    def note(self, case: str, target: _Target) -> None:
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
        quality = None if self.quality is None else self.quality.rows
        plain: dict[str, Any] = to_jsonable_python({**vars(self), "seconds": seconds, "quality": quality})
        return plain


@dataclass(frozen=True, eq=False)
class _Scan:
    """A case ready for the network; the scan itself where a picture of it is wanted, and its features."""

    prepared: Prepared
    volume: Volume | None
    features: dict[str, dict[str, float]] | None = None


def predict_cases(
    model: Model,
    cases: Sequence[Case],
    out: Path,
    options: PredictOptions | None = None,
    *,
    progress: Progress | None = None,
) -> PredictResult:
    """Predict every case into `out`.

    Raises:
        UsageError: an unknown format, or a result would overwrite a scan.
        VesalError: `out` cannot be written (nothing else would succeed either).
    """
    options = options or PredictOptions()
    result = PredictResult()
    folders = class_folders(model.labels.classes) if options.probabilities else {}
    targets = [_target(case, out, options, folders) for case in cases]
    _spare_inputs(cases, targets)
    estimates = options.quality and model.quality_estimator is not None
    if estimates:
        result.quality = QualityFiles(out, model.labels.classes, earlier=options.skip_existing)
    waiting = []
    for case, target in zip(cases, targets, strict=True):
        there = all(path.exists() for path in target.files())
        if options.skip_existing and there and (result.quality is None or case.id in result.quality.rows):
            result.note(case.id, target)
        else:
            waiting.append((case, target))
    _try_folder(out)
    if options.probabilities:
        write_json(out / _PROBABILITIES / "classes.json", _classes(model.labels, folders))

    read = partial(_read, plan=model.plan, features=estimates)
    for done, (scan, (case, target)) in enumerate(
        zip(read_ahead(read, waiting), waiting, strict=True), start=1
    ):
        began = time.monotonic()
        try:
            if isinstance(scan, DataError):
                raise scan
            _predict(model, scan, (case, target), options, result)
            result.seconds[case.id] = time.monotonic() - began
        except DataError as error:
            result.failures.append(Failure(id=case.id, message=str(error)))
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            reason = "the memory does not suffice for this scan; predict it on a larger machine."
            result.failures.append(Failure(id=case.id, message=reason))
        if result.quality is not None:
            result.quality.save(last=done == len(waiting))
        if progress is not None:
            progress(done, len(waiting))
    result.backend = model.backend
    return result


def class_folders(classes: Sequence[str]) -> dict[str, str]:
    """Class -> a folder's name that every system takes, different from the others also where case is ignored.

    >>> class_folders(["left atrium", "ED/ET", "ed et"])
    {'left atrium': 'left_atrium', 'ED/ET': 'ED_ET', 'ed et': 'ed_et-2'}
    """
    found: dict[str, str] = {}
    for name in classes:
        plain = re.sub(r"[^\w.-]+", "_", name).strip("._-") or "class"
        taken = {folder.casefold() for folder in found.values()}
        numbered = (plain, *(f"{plain}-{number}" for number in range(2, len(classes) + 1)))
        found[name] = next(folder for folder in numbered if folder.casefold() not in taken)
    return found


def _target(case: Case, out: Path, options: PredictOptions, folders: dict[str, str]) -> _Target:
    ending = default_ending(case) if options.to is None else FORMATS[options.to]
    return _Target(
        label=out / f"{case.id}{ending}",
        overlay=out / "overlays" / f"{case.id}_overlay.png" if options.overlay else None,
        probabilities={
            name: out / _PROBABILITIES / folder / f"{case.id}{ending}" for name, folder in folders.items()
        },
        uncertainty=out / "uncertainty" / f"{case.id}{ending}" if options.uncertainty else None,
    )


# --- one scan --------------------------------------------------------------------------------------------


def _read(entry: tuple[Case, _Target], *, plan: Plan, features: bool) -> _Scan | DataError:
    """A scan ready for the network, or why it is not."""
    case, target = entry
    try:
        # A density of this one picture is no news: the pictures of the training had the plan's.
        agreed = case.model_copy(update={"pixel_mm": plan.pixel_mm})
        volume = _with_channels(read_image(agreed), plan)
        if target.label.suffix == ".png":
            _check_png(volume, plan.labels)
        prepared = prepare(volume, plan)
        found = image_features(volume, prepared) if features else None
    except (VesalError, MemoryError) as error:
        return DataError(str(error) or "the memory of this machine is used up; close other programs.")
    return _Scan(prepared, None if target.overlay is None else volume, found)


def _with_channels(volume: Volume, plan: Plan) -> Volume:
    """Gray pictures that were saved in colour, and the other way round, as the model has them."""
    wanted, array = len(plan.channels), volume.array
    if volume.geometry.ndim != 2 or volume.channels == wanted or {wanted, volume.channels} != {1, 3}:
        return volume
    if wanted == 3:
        # Three channels of a scan are no colours: there a single one is an error.
        colours = plan.channels == ("red", "green", "blue")
        return Volume(np.repeat(array, 3, axis=0), volume.geometry) if colours else volume
    gray = np.array_equal(array[0], array[1]) and np.array_equal(array[0], array[2])
    return Volume(array[:1], volume.geometry) if gray else volume


def _check_png(volume: Volume, labels: LabelSet) -> None:
    """Raise before the scan is predicted where its result cannot be a PNG."""
    if volume.geometry.ndim != 2:
        raise DataError("the scan is a volume and a PNG holds one slice; write another format (--to nifti).")
    if min(labels.values) < 0 or max(labels.values) > _PNG_ONE:
        raise DataError(
            f"the model's label values {min(labels.values)} to {max(labels.values)} do not fit into a PNG, which "
            f"holds 0 to {_PNG_ONE}; write another format (--to nifti)."
        )


def _predict(
    model: Model, scan: _Scan, entry: tuple[Case, _Target], options: PredictOptions, result: PredictResult
) -> None:
    case, target = entry
    windows = model.windows(mirror=options.mirror, overlap=options.overlap)
    maps = target.uncertainty is not None
    records = result.quality is not None or maps
    recorder = model.feature_recorder(windows, uncertainty=maps) if records else None
    uncertainty = np.zeros(scan.prepared.crop.shape, dtype=np.float32) if maps else None
    if target.probabilities:
        # The maps are written one by one and read the logits each: those of the whole volume are kept.
        logits = model.logits(scan.prepared.image, windows, recorder=recorder)
        if uncertainty is not None:
            uncertainty, logits = logits[-1].numpy(), logits[:-1]
        label = model.from_logits(logits, scan.prepared, threshold=options.threshold)
    else:

        def on_rows(rows: Tensor, first: int) -> None:
            if uncertainty is not None:
                axis = windows.stream_axis(uncertainty.shape)
                part = rows[-1].movedim(axis, 0).cpu().numpy()
                np.moveaxis(uncertainty, axis, 0)[first : first + len(part)] = part

        label = model.segment(
            scan.prepared, windows, threshold=options.threshold, recorder=recorder, on_rows=on_rows
        )
    if recorder is not None and result.quality is not None and scan.features is not None:
        estimate = model.estimate_quality(scan.features, recorder, label)
        result.quality.rows[case.id] = estimate.to_dict()
    write_label(target.label, label)
    result.files[case.id] = target.label
    if target.overlay is not None and scan.volume is not None:
        from vesal.report.figures.overlay import overlay_png

        write_bytes(target.overlay, overlay_png(scan.volume, label, model.labels))
        result.overlays[case.id] = target.overlay
    if target.probabilities:
        for name, probability in model.class_probabilities(logits, scan.prepared):
            path = target.probabilities[name]
            write_volume(path, Volume(_stored(probability, path)[None], label.geometry))
        result.probabilities[case.id] = target.probabilities
    if target.uncertainty is not None and uncertainty is not None:
        # Outside the crop there is nothing, and no uncertainty of it.
        cropped = resize(uncertainty[None], scan.prepared.crop.crop_shape, 1)[0]
        values = scan.prepared.crop.paste(cropped.astype(np.float32).clip(0, 1))
        write_volume(target.uncertainty, Volume(_stored(values, target.uncertainty)[None], label.geometry))
        result.uncertainty[case.id] = target.uncertainty


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


# --- the output folder -----------------------------------------------------------------------------------


def _spare_inputs(cases: Sequence[Case], targets: Sequence[_Target]) -> None:
    """No result may take the place of a scan or of a true label.

    Only what is there already can be one; in a new folder nothing is, and the thousands of inputs of a folder of
    slices need not be looked at.
    """
    results = {_identity(path): path for target in targets for path in target.files()}
    results.pop(None, None)
    for file in (file for case in cases for file in case.files) if results else ():
        if (identity := _identity(file)) in results:
            raise UsageError(
                f"The result would overwrite the scan {results[identity]}; choose another output folder."
            )


def _identity(path: Path) -> tuple[int, int] | None:
    """The same for two names of one file; None where there is no file."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _try_folder(out: Path) -> None:
    """Raise before the first scan is predicted where nothing can be written."""
    write_bytes(out / ".vesal-write-test", b"\0")
    (out / ".vesal-write-test").unlink(missing_ok=True)
