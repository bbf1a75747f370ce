"""A run folder: where a training keeps what it made, whole and movable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vesal.data.dataset import Dataset
from vesal.data.folds import Folds
from vesal.errors import UsageError
from vesal.files import is_temporary, sweep
from vesal.run_files import (
    CALIBRATION,
    CONFIG,
    DATASET,
    ENVIRONMENT,
    FINDINGS,
    FINGERPRINT,
    FINISHED,
    FOLDS,
    PLAN,
    SOURCES,
    fold_folder,
    fold_folders,
    fold_name,
)

_STALE_S = 600.0


@dataclass(frozen=True)
class Run:
    """Paths in a run folder, and what is already there."""

    folder: Path

    @property
    def dataset_file(self) -> Path:
        return self.folder / DATASET

    @property
    def fingerprint_file(self) -> Path:
        return self.folder / FINGERPRINT

    @property
    def findings_file(self) -> Path:
        return self.folder / FINDINGS

    @property
    def plan_file(self) -> Path:
        return self.folder / PLAN

    @property
    def sources_file(self) -> Path:
        return self.folder / SOURCES

    @property
    def config_file(self) -> Path:
        return self.folder / CONFIG

    @property
    def folds_file(self) -> Path:
        return self.folder / FOLDS

    @property
    def environment_file(self) -> Path:
        return self.folder / ENVIRONMENT

    @property
    def calibration_file(self) -> Path:
        """What its quality model was learned from, scan by scan."""
        return self.folder / CALIBRATION

    def fold(self, name: int | str) -> Path:
        """Folder of one fold, or of ALL."""
        return fold_folder(self.folder, name)

    def trained_folds(self) -> list[int]:
        """Numbers of the folds that came to their end, predictions included."""
        names = [fold_name(path) or "" for path in fold_folders(self.folder) if (path / FINISHED).exists()]
        return [int(name) for name in names if name.isdigit()]

    def dataset(self) -> Dataset:
        """The data set that the run was trained on.

        Raises:
            UsageError: the folder is no run.
        """
        if not self.dataset_file.exists():
            raise UsageError(
                f"{self.folder} is not a run folder (no dataset.json); name one that vesal train wrote."
            )
        return Dataset.load(self.dataset_file)

    def folds(self) -> Folds | None:
        """The split, or None when the run was trained on all cases."""
        return Folds.load(self.folds_file) if self.folds_file.exists() else None

    def begin(self, *, resume: bool) -> None:
        """Make sure that the folder may be written.

        Raises:
            UsageError: it holds something, and this is not a resumed run; or it is no folder.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"{self.folder} is a file; choose another output folder.")
        # Old ones only: other folds of this run may be at work.
        sweep(self.folder, older_than_s=_STALE_S)
        occupied = self.folder.exists() and any(not is_temporary(path) for path in self.folder.iterdir())
        if occupied and not resume:
            raise UsageError(
                f"{self.folder} is not empty; add --resume to go on with it, or choose another folder."
            )
        if occupied and not self.config_file.exists():
            raise UsageError(f"{self.folder} holds something that is not a run; choose another folder.")
