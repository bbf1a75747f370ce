"""Model files whose networks vote together: found, read, and what they have to agree on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vesal.errors import UsageError, VesalError
from vesal.infer.backends.bfloat16_agreement import read_agreement
from vesal.infer.postprocess import Postprocess, read_postprocess
from vesal.infer.quality.estimate import QualityEstimator
from vesal.infer.quality.quality_model import read_calibration
from vesal.nn.model_file import Package, load_package
from vesal.planning.plan import Plan
from vesal.run_files import FINISHED, MODELS


def read_packages(path: str | Path | Sequence[str | Path]) -> tuple[list[Path], tuple[Package, ...]]:
    """The files and models of a model file, a run folder, or several of these.

    Raises:
        UsageError: the path is not there, or none was named.
        VesalError: a file is absent, damaged, or no model, or the models do not belong together.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    files = [file for entry in paths for file in model_files(Path(entry))]
    packages = tuple(load_package(file) for file in files)
    if not packages:
        raise UsageError("No model was named; give a .vesal file or a run folder.")
    first = packages[0].plan
    for package in packages[1:]:
        if not _prepare_alike(first, package.plan):
            raise VesalError(
                "These models differ in labels, channels or preparation and cannot vote together; "
                "name models of one run."
            )
    return files, packages


def shared_plan(packages: Sequence[Package]) -> Plan:
    """The plan of models that vote: of two stages each fold measured the margin that its boxes need."""
    margin_mm = max(package.plan.margin_mm for package in packages)
    return packages[0].plan.model_copy(update={"margin_mm": margin_mm})


def joint_estimator(packages: Sequence[Package], files: Sequence[Path]) -> QualityEstimator | None:
    """Of all quality models; None unless every file has one.

    Raises:
        VesalError: one is not valid.
    """
    found = [
        read_calibration(package.quality, package.plan.labels, file)
        for package, file in zip(packages, files, strict=True)
    ]
    calibrations = [calibration for calibration in found if calibration is not None]
    return QualityEstimator(calibrations) if len(calibrations) == len(found) else None


def agreements(packages: Sequence[Package], files: Sequence[Path]) -> list[bool]:
    """Of each, whether its masks were found to be the same in bfloat16.

    Raises:
        VesalError: what a file says about that is not valid.
    """
    found = [read_agreement(package.bfloat16, file) for package, file in zip(packages, files, strict=True)]
    return [agreement is not None and agreement.agrees for agreement in found]


def agreed_steps(packages: Sequence[Package], files: Sequence[Path]) -> Postprocess | None:
    """The post-processing of all of them; None for none.

    Raises:
        VesalError: they differ in it, or one's is not valid.
    """
    found = [
        read_postprocess(package.postprocess, package.plan.labels, file)
        for package, file in zip(packages, files, strict=True)
    ]
    steps = [() if one is None else one.steps for one in found]
    for file, other in zip(files, steps, strict=True):
        if other != steps[0]:
            raise VesalError(
                f"{files[0]} and {file} post-process label maps differently and cannot vote together; name models of "
                "one finished run, or do without these steps (--no-postprocess)."
            )
    return found[0]


def model_files(path: Path) -> list[Path]:
    """The model file itself, or those of a run folder's finished folds in order.

    Where no fold is finished, the best that the interrupted ones have so far.

    Raises:
        UsageError: the path is absent, or a folder without a model.
    """
    if not path.exists():
        raise UsageError(f"There is no {path}; name a .vesal file or a run folder.")
    if path.is_file():
        return [path]
    files = sorted(path.glob(MODELS)) or sorted(path.glob("*.vesal"))
    files = [file for file in files if (file.parent / FINISHED).exists()] or files
    if not files:
        raise UsageError(f"{path} holds no model.vesal; train first, or name the model file.")
    return files


#: What preparation and windows depend on: networks that vote get the same input.
_SHARED = (
    "dimension", "slice_axis", "spacing_mm", "patch", "crop_to_nonzero", "image_order", "normalisation", "channels",
    "foreground_channel", "labels", "handed_on", "blocks", "rules", "axis_order", "as_stored", "keeps_spacing",
)  # fmt: skip


def _prepare_alike(one: Plan | None, other: Plan | None) -> bool:
    """Of networks that vote, and of the coarse ones before them, which vote too."""
    if one is None or other is None:
        return one is other
    alike = all(getattr(one, name) == getattr(other, name) for name in _SHARED)
    return alike and _prepare_alike(one.locator, other.locator)
