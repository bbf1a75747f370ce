"""What a run folder holds, read piece by piece; what is absent or damaged is named and left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from vesal.audit.finding import Finding
from vesal.data.case import read_case
from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import Fingerprint
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError, VesalError
from vesal.evaluate.scores import Scores
from vesal.files import read_json, read_json_lines
from vesal.planning.plan import Plan
from vesal.record import Record
from vesal.run.folder import Run
from vesal.run_files import (
    ALL,
    CONFIG,
    DATASET,
    ENVIRONMENT,
    FINDINGS,
    FINGERPRINT,
    METRICS,
    PLAN,
    PREDICTIONS,
    SCORES,
    fold_folders,
    fold_name,
)
from vesal.volume.geometry import Geometry
from vesal.volume.io import is_image, read_label, strip_suffix
from vesal.volume.resample import resample_label
from vesal.volume.volume import LabelMap, Volume

Piece = TypeVar("Piece")
Stored = TypeVar("Stored", bound=Record)


@dataclass(frozen=True)
class RunContents:
    """A run as the report sees it; None and empty are what was not there.

    Attributes:
        folder: the run's.
        curves: name of each fold ('0', 'all') -> rows of its metrics.jsonl.
        predictions: case -> file, over all folds.
        fold_of: case -> name of the fold that held it out.
        configuration: text of config.yaml.
        missing: a sentence for each piece that is absent or damaged.
    """

    folder: Path
    dataset: Dataset | None
    fingerprint: Fingerprint | None
    plan: Plan | None
    findings: tuple[Finding, ...] | None
    environment: dict[str, Any]
    configuration: str
    scores: Scores | None
    curves: dict[str, list[dict[str, Any]]]
    predictions: dict[str, Path]
    fold_of: dict[str, str]
    missing: list[str] = field(default_factory=list)

    @property
    def labels(self) -> LabelSet | None:
        """What was segmented, from the plan or else from the data set."""
        source = self.plan or self.dataset
        return None if source is None else source.labels

    @property
    def trained_on_all(self) -> bool:
        """Whether nothing was held out."""
        return set(self.curves) == {ALL}

    def record(self, name: str, kind: type[Stored]) -> Stored | None:
        """A record that not every run has; None where it is not there, or damaged, which `missing` then says."""
        try:
            return kind.load(self.folder / name) if (self.folder / name).exists() else None
        except VesalError as error:
            self.missing.append(str(error))
            return None


def run_contents(folder: Path) -> RunContents:
    """Read all pieces of a run.

    Raises:
        UsageError: the folder is not there, or holds nothing of a run.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}; name a run folder that vesal train wrote.")
    folds = fold_folders(folder)
    if not folds and not any((folder / name).exists() for name in (DATASET, PLAN, SCORES)):
        raise UsageError(f"{folder} is not a run folder; name one that vesal train wrote.")
    missing: list[str] = []
    predictions: dict[str, Path] = {}
    fold_of: dict[str, str] = {}
    for fold in folds:
        for path in sorted((fold / PREDICTIONS).glob("*")):
            if is_image(path) and not path.name.startswith("."):
                case = strip_suffix(path)
                predictions[case] = path
                fold_of[case] = str(fold_name(fold))
    curves = {str(fold_name(fold)): read_json_lines(fold / METRICS) for fold in folds}
    config = folder / CONFIG

    def piece(name: str, what: str, make: Callable[[Any], Piece]) -> Piece | None:
        return _piece(folder / name, what, make, missing)

    return RunContents(
        folder=folder,
        dataset=piece(DATASET, "The data set", Dataset.model_validate),
        fingerprint=piece(FINGERPRINT, "The fingerprint", Fingerprint.model_validate),
        plan=piece(PLAN, "The plan", Plan.model_validate),
        findings=_piece(folder / FINDINGS, "", TypeAdapter(tuple[Finding, ...]).validate_python, []),
        environment=piece(ENVIRONMENT, "The environment", dict) or {},
        configuration=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
        scores=_scores(folder, curves, missing),
        curves=curves,
        predictions=predictions,
        fold_of=fold_of,
        missing=missing,
    )


def _scores(folder: Path, curves: dict[str, Any], missing: list[str]) -> Scores | None:
    """Scores; a run that held nothing out is not expected to have any."""
    path = folder / SCORES
    unfinished = Run(folder).unfinished()
    if unfinished:
        missing.append(unfinished)
    if not path.exists():
        if set(curves) != {ALL} and not unfinished:
            missing.append(
                f"There are no scores yet (no scores.json); make them with vesal evaluate {folder}."
            )
        return None
    return _piece(path, "The scores", Scores.model_validate, missing)


def _piece(path: Path, what: str, make: Callable[[Any], Piece], missing: list[str]) -> Piece | None:
    if not path.exists():
        missing.append(f"{what} is not in this run (no {path.name}), so the report is without it.")
        return None
    try:
        return make(read_json(path))
    except (VesalError, ValidationError, TypeError, ValueError):
        missing.append(f"{what} could not be read ({path.name} is damaged or of another version).")
        return None


# --- one case ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ShownCase:
    """A case ready for pictures: image (C, *spatial) and contiguous label maps (*spatial) on its grid."""

    volume: Volume
    truth: NDArray[np.uint8] | None
    prediction: NDArray[np.uint8] | None


def load_case(case: Case, labels: LabelSet, prediction: Path | None = None) -> ShownCase:
    """Read a case for its pictures. Values that are not declared count as background: a picture is no check.

    Raises:
        DataError: a file is not there or cannot be read.
    """
    raw = read_case(case)
    geometry = raw.image.geometry
    truth = None if raw.label is None else _contiguous(raw.label, geometry, labels)
    predicted = None if prediction is None else _contiguous(read_label(prediction), geometry, labels)
    return ShownCase(raw.image, truth, predicted)


def _contiguous(label: LabelMap, geometry: Geometry, labels: LabelSet) -> NDArray[np.uint8]:
    """On the image's grid, with contiguous values."""
    if label.geometry.ndim != geometry.ndim:
        raise DataError(
            f"the label has {label.geometry.ndim} axes and the image {geometry.ndim}; correct one of the files"
        )
    array = label.array
    if label.geometry.shape != geometry.shape:
        array = resample_label(label, geometry, fill=labels.background).array
    undeclared = ~np.isin(array, labels.values)
    return labels.encode(np.where(undeclared, labels.background, array) if undeclared.any() else array)
