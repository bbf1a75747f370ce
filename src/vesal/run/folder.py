"""A run folder: where a training keeps what it made, whole and movable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vesal.data.dataset import Dataset
from vesal.data.folds import Folds
from vesal.errors import UsageError
from vesal.files import is_temporary, read_json_lines, sweep
from vesal.outputs import OutputFolder, check_folder
from vesal.run_files import (
    ALL,
    CALIBRATION,
    CASES,
    CONFIG,
    DATASET,
    ENVIRONMENT,
    FINDINGS,
    FINGERPRINT,
    FINISHED,
    FOLD_RESULTS,
    FOLDS,
    LOCKS,
    METRICS,
    PLAN,
    PREDICTIONS,
    PREPARED,
    RESULTS,
    SOURCES,
    SURFACES,
    fold_folder,
    fold_folders,
    fold_name,
)

#: What is there before a fold is begun: of the data, which is kept, and what follows from the settings.
SET_UP = {CONFIG, ENVIRONMENT, DATASET, FINGERPRINT, SOURCES, PREPARED, LOCKS, PLAN, FINDINGS, FOLDS, CASES}
_CHOSEN = (PLAN, FINDINGS, FOLDS, CASES)


class Run:
    """Paths in a run folder, and what is already there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dataset_file = folder / DATASET
        self.fingerprint_file = folder / FINGERPRINT
        self.findings_file = folder / FINDINGS
        self.plan_file = folder / PLAN
        self.sources_file = folder / SOURCES
        self.config_file = folder / CONFIG
        self.folds_file = folder / FOLDS
        self.cases_file = folder / CASES
        self.environment_file = folder / ENVIRONMENT
        #: What its quality model was fitted to, scan by scan.
        self.calibration_file = folder / CALIBRATION

    def fold(self, name: int | str) -> Path:
        """Folder of one fold, or of ALL."""
        return fold_folder(self.folder, name)

    def trained_folds(self) -> list[int]:
        """Numbers of the folds that came to their end, predictions included."""
        names = [fold_name(path) or "" for path in fold_folders(self.folder) if (path / FINISHED).exists()]
        return [int(name) for name in names if name.isdigit()]

    def unfinished(self) -> str | None:
        """The sentence about a run of which no fold came to its end; None where one did."""
        folds = fold_folders(self.folder)
        if any((fold / FINISHED).exists() for fold in folds):
            return None
        again = f"vesal train DATA -o {self.folder} --resume goes on with it."
        steps = [
            f"{_called(fold)} at step {step}"
            for fold in folds
            if (step := max((row.get("step", 0) for row in read_json_lines(fold / METRICS)), default=0))
        ]
        if not steps:
            return f"{self.folder} has not finished a training step yet; {again}"
        return f"The training of {self.folder} did not come to its end ({', '.join(steps)}); {again}"

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

    def begin(self, *, resume: bool, resumable: bool = True) -> bool:
        """Make sure that the folder may be written.

        Where a run was set up and no fold begun, such as after a refused option, it may be begun anew
        (`forget_choices`).

        Args:
            resume: go on with what is there.
            resumable: the verb can go on with it; else the message does not say so.

        Returns:
            Whether there is a run to go on with.

        Raises:
            UsageError: it holds something, and this is not a resumed run; or it is no folder.
        """
        check_folder(self.folder)
        # Old ones only: other folds of this run may be at work.
        sweep(self.folder)
        names = set()
        if self.folder.is_dir():
            names = {path.name for path in self.folder.iterdir() if not is_temporary(path)}
        if not names - {LOCKS}:
            return False
        if CONFIG not in names:
            raise UsageError(f"{self.folder} holds something that is not a run; choose another folder.")
        if resume:
            return True
        if not names <= SET_UP or ENVIRONMENT not in names:
            cure = "add --resume to go on with it, or " if resumable else ""
            raise UsageError(f"{self.folder} is not empty; {cure}choose another folder.")
        return False

    def output(
        self, names: Sequence[str] = RESULTS, fold_names: Sequence[str] = FOLD_RESULTS
    ) -> OutputFolder:
        """Results in the folder, as a context in which they are written.

        Args:
            names: what will be written into the folder.
            fold_names: what will be written into those of its folds.

        Raises:
            UsageError: one of them was changed by hand or put there by others.
        """
        output = OutputFolder(self.folder)
        folds = fold_folders(self.folder)
        output.refuse(
            [
                *(self.folder / name for name in names),
                *(fold / name for fold in folds for name in fold_names),
                *(path for path in (self.folder / SURFACES).glob("*.glb") if output.wrote(path)),
            ]
        )
        return output

    def refuse_changed(self) -> None:
        """Raise where a training that goes on would replace what was changed by hand: results, held-out predictions.

        Raises:
            UsageError: it names the files.
        """
        self.output()
        for fold in fold_folders(self.folder):
            predictions = OutputFolder(fold / PREDICTIONS)
            predictions.refuse(path for path in predictions.folder.glob("*") if predictions.wrote(path))

    def forget_choices(self) -> None:
        """Remove what followed from the settings, for a run that is begun anew; what was read of the data stays."""
        for name in _CHOSEN:
            (self.folder / name).unlink(missing_ok=True)


def _called(fold: Path) -> str:
    name = fold_name(fold)
    return "it is" if name == ALL else f"fold {name} is"
