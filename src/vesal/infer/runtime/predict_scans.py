"""Scans in, label maps and estimates of their quality out, one scan after the other; one that fails does not stop the
others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vesal.data.case import read_image_and_digest
from vesal.data.dataset import Case
from vesal.errors import TOO_LARGE, DataError, UsageError, VesalError, out_of_memory
from vesal.files import read_json, write_json
from vesal.infer.model import Model
from vesal.infer.quality.volumes.interval_level import LEVEL
from vesal.infer.scan_notes import scan_note, with_channels
from vesal.layouts.input_scans import cases_to_predict, default_ending
from vesal.outputs import OutputFolder
from vesal.run_files import QUALITY
from vesal.text import listed, plural
from vesal.volume.io import is_image, is_readable, strip_suffix, write_label

#: Module -> the package that has it.
_PACKAGES = {"nrrd": "pynrrd", "PIL": "pillow", "tifffile": "tifffile"}


@dataclass(frozen=True)
class Choices:
    """How to predict; as of `vesal.infer.model.Model.predict`."""

    mirror: bool = False
    overlap: float | None = None
    threshold: float = 0.5
    quality: bool = True
    interval_level: float = LEVEL


@dataclass
class Predicted:
    """The result of a prediction.

    Attributes:
        files: case -> its label map.
        seconds: case -> how long it took, reading and writing included.
        quality: case -> the estimate, as `QualityEstimate.to_dict`.
        notes: case -> what is to be looked at.
        failures: case -> why there is no result.
        remarks: what else is to be known, such as files that were left out.
        backend: what computed the networks.
    """

    out: Path
    backend: str = ""
    files: dict[str, Path] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    quality: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "files": {case: str(file) for case, file in self.files.items()},
            "seconds": {case: round(value, 3) for case, value in self.seconds.items()},
            "quality": self.quality or None,
            "notes": self.notes,
            "failures": self.failures,
            "remarks": self.remarks,
            "backend": self.backend,
        }

    def text(self) -> str:
        """For a reader; the last line says what was done."""
        lines = list(self.remarks)
        review = [case for case, row in self.quality.items() if row["verdict"] == "review"]
        if self.quality:
            count = len(self.quality)
            lines.append(f"Quality: {f'review {listed(review, 5)}' if review else f'all {count} ok'}")
        for note in dict.fromkeys(self.notes.values()):
            cases = [case for case, other in self.notes.items() if other == note]
            lines.append(f"Review {listed(cases, 5)}: {note}")
        total = len(self.files) + len(self.failures)
        lines.append(
            f"{len(self.files)} of {plural(total, 'scan')} segmented in {self.out}; network by {self.backend}"
        )
        return "\n".join(lines)


def predict_scans(
    model: Model, inputs: Sequence[Path], out: Path, choices: Choices | None = None
) -> Predicted:
    """Predict scans into a folder or, of a single scan, into a file.

    Args:
        model: that predicts.
        inputs: scans, or folders of scans, as `vesal predict` takes them, without DICOM studies.
        out: where results go; beside them quality.json, where the model estimates it; it keeps what it says of others.
        choices: how.

    Raises:
        UsageError: no scan is there, `out` is one file for several scans, or a result would overwrite a file that
            Vesal did not write there, or a scan.
        VesalError: `out` cannot be written.
    """
    choices = choices or Choices()
    result = Predicted(out)
    cases = cases_to_predict(inputs, len(model.plan.channels), model.labels, remark=result.remarks.append)
    single = is_image(out) and not out.is_dir()
    if single and len(cases) > 1:
        raise UsageError(f"{out} is one file and {len(cases)} scans are to be predicted; name a folder.")
    folder = out.parent if single else out
    targets = [out if single else out / f"{case.id}{default_ending(case)}" for case in cases]
    scans = {file.resolve() for case in cases for file in case.images}
    if taken := [target for target in targets if target.resolve() in scans]:
        raise UsageError(f"The result {taken[0]} would overwrite a scan; choose another output folder.")
    estimates = choices.quality and model.quality_estimator is not None
    with OutputFolder(folder) as output:
        quality = folder / QUALITY
        output.refuse([*targets, *([quality] if estimates and not single else [])], is_readable)
        others = _of_others(quality, targets, output)
        try:
            for case, target in zip(cases, targets, strict=True):
                began = time.monotonic()
                try:
                    digest = _predict_case(model, case, target, choices, result)
                except (DataError, UsageError) as error:
                    result.failures[case.id] = str(error).removeprefix(f"Case {case.id}: ")
                    continue
                except (MemoryError, RuntimeError) as error:
                    if not out_of_memory(error):
                        raise
                    result.failures[case.id] = TOO_LARGE
                    continue
                result.files[case.id] = target
                result.seconds[case.id] = time.monotonic() - began
                made_of = {"model": model.digest, "scan": digest, **vars(choices)}
                output.finish(target.name, made_of, [target])
        finally:
            if estimates and not single and result.quality:
                write_json(quality, {"version": 1, "cases": others | result.quality})
    result.backend = model.backend
    return result


def _of_others(quality: Path, targets: Sequence[Path], output: OutputFolder) -> dict[str, Any]:
    """The estimates that are there of other results; those of results that are now replaced are gone before them."""
    try:
        rows = dict(read_json(quality)["cases"]) if output.is_ours(quality) else {}
    except (VesalError, KeyError, TypeError, ValueError):
        return {}
    replaced = {strip_suffix(target) for target in targets}
    others = {case: row for case, row in rows.items() if case not in replaced}
    if len(others) < len(rows):
        write_json(quality, {"version": 1, "cases": others})
    return others


def _predict_case(model: Model, case: Case, target: Path, choices: Choices, result: Predicted) -> str:
    """Predict and write a case; the digest of its files."""
    plan = model.plan
    try:
        stored, digest = read_image_and_digest(case.model_copy(update={"pixel_mm": plan.pixel_mm}))
    except ModuleNotFoundError as error:
        fix = f"pip install {_PACKAGES.get(error.name or '', error.name)}, or convert the scan to NIfTI."
        raise DataError(f"Reading {case.images[0]} needs a library that is not installed; {fix}") from error
    volume = with_channels(stored, plan)
    found = model.predict(
        volume,
        mirror=choices.mirror,
        overlap=choices.overlap,
        threshold=choices.threshold,
        quality=choices.quality,
        interval_level=choices.interval_level,
    )
    write_label(target, found.label)
    shape = (*plan.median_shape,) if plan.looks_in_box else found.shape
    note = "; ".join(filter(None, (scan_note(stored, plan, shape), found.concern)))
    if note:
        result.notes[case.id] = note
    if found.quality is not None:
        row = found.quality.to_dict()
        if note:
            reasons = [note, *([row["reason"]] if row["verdict"] == "review" else [])]
            row |= {"verdict": "review", "reason": "; ".join(reasons)}
        result.quality[case.id] = row
    return digest
