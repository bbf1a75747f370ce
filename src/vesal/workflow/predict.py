"""Predict many scans: read ahead, segment, write on each scan's own grid; one bad scan stops nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vesal.data.dataset import Case
from vesal.data.fingerprint import Failure
from vesal.data.prepare import Prepared, prepare
from vesal.data.reading import read_image
from vesal.errors import DataError, UsageError, VesalError, out_of_memory
from vesal.files import atomic_path
from vesal.infer.predictor import Model
from vesal.parallel import Progress, read_ahead
from vesal.volume.reading import write_label
from vesal.volume.volume import LabelMap

FORMATS = {"nifti": ".nii.gz", "png": ".png"}


@dataclass(frozen=True)
class PredictOptions:
    """How to predict.

    Attributes:
        mirror: test-time mirroring.
        overlap: of neighbouring windows.
        threshold: probability from which foreground holds.
        to: 'nifti' or 'png'; None writes PNG for 2D images and NIfTI for volumes.
        skip_existing: leave results that are already there, as a resumed run does.
    """

    mirror: bool = False
    overlap: float = 0.5
    threshold: float = 0.5
    to: str | None = None
    skip_existing: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold < 1.0:
            raise UsageError(f"The threshold is a probability between 0 and 1, not {self.threshold:g}.")
        if not 0.0 <= self.overlap < 1.0:
            raise UsageError(f"The overlap is a share from 0 to under 1, not {self.overlap:g}.")


@dataclass
class PredictResult:
    """What came of it: files by case, seconds by case, and the cases that failed."""

    files: dict[str, Path] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "files": {case: str(path) for case, path in self.files.items()},
            "seconds": {case: round(value, 3) for case, value in self.seconds.items()},
            "failures": [failure.model_dump() for failure in self.failures],
        }


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
    ending = None if options.to is None else _ending(options.to)
    result = PredictResult()
    waiting = []
    paths = [out / f"{case.id}{ending or default_ending(case)}" for case in cases]
    _spare_inputs(cases, paths)
    for case, path in zip(cases, paths, strict=True):
        if options.skip_existing and path.exists():
            result.files[case.id] = path
        else:
            waiting.append((case, path))
    _try_folder(out)

    def read(entry: tuple[Case, Path]) -> Prepared | DataError:
        try:
            return prepare(read_image(entry[0]), model.plan)
        except (VesalError, MemoryError) as error:
            return DataError(str(error) or "the memory of this machine is used up; close other programs.")

    for done, (prepared, (case, path)) in enumerate(
        zip(read_ahead(read, waiting), waiting, strict=True), start=1
    ):
        began = time.monotonic()
        if isinstance(prepared, DataError):
            result.failures.append(Failure(id=case.id, message=str(prepared)))
        else:
            try:
                label = _segment(model, prepared, options)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                reason = "the memory does not suffice for this scan; predict it on a larger machine."
                result.failures.append(Failure(id=case.id, message=reason))
            else:
                write_label(path, label)
                result.files[case.id] = path
                result.seconds[case.id] = time.monotonic() - began
        if progress is not None:
            progress(done, len(waiting))
    return result


def _segment(model: Model, prepared: Prepared, options: PredictOptions) -> LabelMap:
    windows = model.windows(mirror=options.mirror, overlap=options.overlap)
    logits = model.logits(prepared.image, windows)
    return model.restore(logits, prepared, threshold=options.threshold).label


def _spare_inputs(cases: Sequence[Case], outputs: Sequence[Path]) -> None:
    """No result may take the place of a scan or of a true label."""
    inputs = {file.resolve() for case in cases for file in (*case.images, case.label) if file is not None}
    for path in outputs:
        if path.resolve() in inputs:
            raise UsageError(f"The result would overwrite the scan {path}; choose another output folder.")


def default_ending(case: Case) -> str:
    """'.png' for a 2D picture file, '.nii.gz' for everything else."""
    return ".png" if case.images[0].suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp") else ".nii.gz"


def _ending(name: str) -> str:
    if name not in FORMATS:
        raise UsageError(f"--to takes {' or '.join(FORMATS)}, not '{name}'.")
    return FORMATS[name]


def _try_folder(out: Path) -> None:
    """Find out now, not after the first scan's minutes, that nothing can be written."""
    with atomic_path(out / ".vesal-write-test") as temporary:
        temporary.write_bytes(b"\0")
    (out / ".vesal-write-test").unlink(missing_ok=True)
