"""The model that a fine-tuning begins with, and the run that it came from, where that is still there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vesal.data.fingerprint import Fingerprint
from vesal.errors import UsageError, VesalError
from vesal.infer.model_packages import model_files
from vesal.nn.adaptation import Adaptation
from vesal.nn.model_file import Package, load_package
from vesal.planning.plan import Plan
from vesal.run.folder import Run
from vesal.run_files import ALL, DATASET, FINETUNING, PREPARED, fold_name


@dataclass(frozen=True, eq=False)
class SourceModel:
    """A model file, read.

    Attributes:
        file: of the model, absolute.
        package: what it holds.
        run: whose fold it lies in; None where it lies elsewhere.
        fold: name of that fold.
    """

    file: Path
    package: Package
    run: Run | None = None
    fold: str | None = None

    @property
    def prepared(self) -> Path | None:
        """The folder of the run's prepared scans, if it is there."""
        folder = None if self.run is None else self.run.folder / PREPARED
        return folder if folder is not None and folder.is_dir() else None

    @property
    def planned(self) -> Plan:
        """The plan that the run prepared its scans by; of a file elsewhere the model's own.

        Of two stages the model's margin was measured after the preparation.
        """
        if self.run is not None and self.run.plan_file.exists():
            return Plan.load(self.run.plan_file)
        return self.package.plan

    def trained_on(self) -> set[str] | None:
        """Ids of the run's cases that the model learned from; None where that is not known."""
        if self.run is None:
            return None
        try:
            if self.fold == ALL:
                return {case.id for case in self.run.dataset().cases}
            folds = self.run.folds()
            return None if folds is None else set(folds.train(int(self.fold or 0)))
        except VesalError:
            return None

    @property
    def knows_scans(self) -> bool:
        """Whether it is known of every training of its weights which scans these learned from."""
        if self.trained_on() is None:
            return False
        if "finetuned_from" not in self.package.provenance:
            # Given weights (--set initial_weights=) say nothing of what they learned from.
            return not self.package.recipe.get("initial_weights")
        earlier = self._earlier()
        return earlier is not None and earlier.knows_scans

    def seen_images(self) -> set[str]:
        """Digests of the scans that its weights learned from, whatever they are called, as far as they are known."""
        names, earlier = self.trained_on(), self._earlier()
        seen = set() if earlier is None else earlier.seen_images()
        if self.run is None or names is None or not self.run.fingerprint_file.exists():
            return seen
        try:
            record = Fingerprint.load(self.run.fingerprint_file)
        except VesalError:
            return seen
        return seen | {case.image_digest for case in record.cases if case.id in names}

    def _earlier(self) -> SourceModel | None:
        """The model that it was itself fine-tuned from, where that is still there as it was."""
        if self.run is None or "finetuned_from" not in self.package.provenance:
            return None
        try:
            record = Adaptation.load(self.file.parent / FINETUNING)
            found = source_model(Path(record.model))
        except VesalError:
            return None
        return found if found.package.weights_digest == record.weights_digest else None


def source_model(path: Path) -> SourceModel:
    """The model of a file, or of a run folder that holds one alone.

    Raises:
        UsageError: the path is not there, or holds several models.
        VesalError: the file is no model.
    """
    files = model_files(path)
    if len(files) > 1:
        raise UsageError(f"{path} holds {len(files)} models; name the one to begin with, such as {files[0]}.")
    file = files[0].absolute()
    fold, folder = fold_name(file.parent), file.parent.parent
    known = fold is not None and (folder / DATASET).exists()
    return SourceModel(file, load_package(file), Run(folder) if known else None, fold if known else None)
