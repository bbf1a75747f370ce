"""Which scans a robustness benchmark takes, and which model segments each: one that has not seen it, if known."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vesal.data.case import RawCase
from vesal.data.dataset import Case, Dataset
from vesal.data.labels import IGNORE, LabelSet
from vesal.errors import DataError, UsageError
from vesal.files import expanded
from vesal.infer.model_packages import model_files
from vesal.layouts.registry import load_dataset
from vesal.preprocessing.prepare import GRID_TOLERANCE_VOXELS
from vesal.run.folder import Run
from vesal.run_files import MODEL, fold_name


@dataclass(frozen=True)
class ModelCases:
    """Model files that vote, and the cases that they segment."""

    models: tuple[Path, ...]
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class RobustnessCases:
    """What is measured.

    Attributes:
        data: the data set.
        groups: each case once.
        remarks: how they were chosen, a sentence each.
    """

    data: Dataset
    groups: tuple[ModelCases, ...]
    remarks: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Ids of all cases in the order in which they are measured."""
        return [case.id for group in self.groups for case in group.cases]

    def first(self, most: int | None) -> RobustnessCases:
        """At most so many cases, evenly spread over all of them.

        Raises:
            UsageError: fewer than one is wanted.
        """
        if most is None or most >= len(self.names):
            return self
        if most < 1:
            raise UsageError(f"--cases is how many to take, at least 1, not {most}.")
        places = np.unique(np.linspace(0, len(self.names) - 1, most).round().astype(int))
        kept = {self.names[place] for place in places}
        groups = [
            ModelCases(one.models, tuple(case for case in one.cases if case.id in kept))
            for one in self.groups
        ]
        remark = f"{len(kept)} of {len(self.names)} cases were taken, evenly spread."
        return RobustnessCases(self.data, tuple(one for one in groups if one.cases), (*self.remarks, remark))


def choose_cases(
    model: Path, data: Path | None, *, layout: str = "auto", fold: int | None = None
) -> RobustnessCases:
    """The cases of a benchmark.

    Without `data`, or where it is the data that the model was trained on, the cases that were held out, each with
    its own fold's model; else all labelled cases of `data`, on which all models of a run vote.

    Args:
        model: a model file, a run folder, or a fold's folder in one.
        data: folder of the data set.
        layout: of the data.
        fold: of a run, if not all.

    Raises:
        UsageError: the data are not named, there is no such fold, or the model is of another one.
        DataError: the run held nothing out, or the data hold no labelled case.
    """
    files = model_files(model)
    run, own = _run_of(model)
    if run is not None:
        if None not in (own, fold) and own != fold:
            raise UsageError(
                f"{model} is of fold {own}, and --fold says {fold}; leave --fold out, or name the run, {run.folder}."
            )
        trained_on = run.dataset()
        if data is None or expanded(data).resolve() == trained_on.root.resolve():
            return _held_out(run, trained_on, own if fold is None else fold)
        if fold is not None:
            files = [_fold_model(run, fold)]
    elif data is None:
        raise UsageError(
            f"{model} lies in no run that names its data; name the data: vesal robustness MODEL DATA."
        )
    elif fold is not None:
        raise UsageError("--fold is a run folder's; name one as the model.")
    assert data is not None
    dataset = load_dataset(data, layout)
    if not dataset.cases:
        raise DataError(f"{data} holds no labelled case; without truth there is nothing to measure.")
    remark = f"All {len(dataset.cases)} labelled cases of {dataset.name} were measured"
    remark += f", {len(files)} models voting." if len(files) > 1 else "."
    return RobustnessCases(dataset, (ModelCases(tuple(files), dataset.cases),), (remark,))


def _held_out(run: Run, dataset: Dataset, fold: int | None) -> RobustnessCases:
    folds = run.folds()
    if folds is None:
        raise DataError(
            f"{run.folder} was trained on all cases, nothing was held out; name other data as the second argument."
        )
    # A training on all cases has no number.
    names = [fold_name(file.parent) or "" for file in model_files(run.folder)]
    numbers = sorted(int(name) for name in names if name.isdigit()) if fold is None else [fold]
    known = {case.id: case for case in dataset.cases}
    groups = []
    for number in numbers:
        if number >= folds.count:
            raise UsageError(f"{run.folder} has the folds 0 to {folds.count - 1}, and no {number}.")
        cases = tuple(known[name] for name in folds.validation(number) if name in known)
        groups.append(ModelCases((_fold_model(run, number),), cases))
    count = sum(len(group.cases) for group in groups)
    listed = ", ".join(map(str, numbers))
    remark = f"The {count} cases that fold {listed} held out were measured, each with the model that has not seen it."
    return RobustnessCases(dataset, tuple(groups), (remark,))


def _run_of(model: Path) -> tuple[Run | None, int | None]:
    """The run that a path is or lies in, and the fold that it names."""
    if Run(model).dataset_file.exists():
        return Run(model), None
    folder = model if model.is_dir() else model.parent
    if Run(folder.parent).dataset_file.exists() and (number := fold_name(folder) or "").isdigit():
        return Run(folder.parent), int(number)
    return None, None


def _fold_model(run: Run, fold: int) -> Path:
    file = run.fold(fold) / MODEL
    if not file.exists():
        raise UsageError(f"{run.folder} holds no model of fold {fold}; train it, or choose another --fold.")
    return file


# --- truth -----------------------------------------------------------------------------------------------


def translation(data: LabelSet, model: LabelSet) -> NDArray[np.uint8]:
    """(256,) table: a data set's contiguous values -> the model's, by the labels' names, or else by their values.

    Raises:
        DataError: a label of the model is not in the data.
    """
    table = np.zeros(256, dtype=np.uint8)
    table[IGNORE] = IGNORE
    key = attrgetter("name" if set(model.names) <= set(data.names) else "value")
    theirs = {key(label): index for index, label in enumerate(data.labels, start=1)}
    if missing := [label.name for label in model.labels if key(label) not in theirs]:
        raise DataError(
            f"The model predicts {', '.join(missing)}, which the data ({', '.join(data.names)}) do not hold; "
            "name data with the model's labels."
        )
    for index, label in enumerate(model.labels, start=1):
        table[theirs[key(label)]] = index
    return table


def truth_of(raw: RawCase, data: LabelSet, table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(*spatial) the truth on the scan's grid, in the model's contiguous values.

    Raises:
        DataError: there is none, it lies on another grid, or holds values that were not declared.
    """
    if raw.label is None:
        raise DataError("there is no label; name data with truth.")
    grid, own = raw.image.geometry, raw.label.geometry
    if own.shape != grid.shape or grid.distance_mm(own) >= GRID_TOLERANCE_VOXELS * min(grid.spacing_mm):
        raise DataError("the label lies on another grid than the scan; look at both with vesal inspect.")
    return table[data.encode(raw.label.array)]
