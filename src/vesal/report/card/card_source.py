"""What a card is made of: one or more model files and, where the run is named, what lies in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from vesal.errors import VesalError
from vesal.evaluate.robustness.result import Robustness
from vesal.evaluate.scores import Scores
from vesal.infer.model_packages import read_packages
from vesal.infer.model_record import unusable
from vesal.infer.quality.quality_model import Calibration, QualityModel, read_calibration
from vesal.nn.licence import LICENCE, ORIGIN
from vesal.nn.model_file import Package
from vesal.planning.plan import Plan
from vesal.run.contents import RunContents, run_contents
from vesal.run_files import PLAN
from vesal.text import listed

#: Where `vesal robustness RUN` writes to, below the run.
_ROBUSTNESS = f"robustness/{Robustness.file_name}"


@dataclass(frozen=True)
class Stated:
    """What a model file cannot hold, as whoever makes the card states it; '' and empty are what is not stated.

    Attributes:
        name: of the model.
        licence: of the weights.
        intended_use: for what, by whom.
        authors: who made it.
        data_source: where the training data came from, and under which licence.
        contact: for questions.
    """

    name: str = ""
    licence: str = ""
    intended_use: str = ""
    authors: tuple[str, ...] = ()
    data_source: str = ""
    contact: str = ""


@dataclass(frozen=True, eq=False)
class CardSource:
    """All that is known of a model.

    Attributes:
        path: that was named.
        packages: the model files.
        scores: on held-out cases; None without.
        calibration: the quality model of the first file; None without.
        robustness: None where it was not measured, or of other weights, or the run was not named.
        run: None where a file was named.
        stated: by whoever makes the card.
    """

    path: Path
    packages: tuple[Package, ...]
    scores: Scores | None
    calibration: Calibration | None
    robustness: Robustness | None
    run: RunContents | None
    stated: Stated

    @property
    def plan(self) -> Plan:
        """Of the first network; the others prepare alike."""
        return self.packages[0].plan

    @property
    def name(self) -> str:
        """As stated, or after the data set and its classes."""
        dataset = str(self.packages[0].provenance.get("dataset") or "")
        classes = listed(list(self.plan.labels.classes), 4)
        return self.stated.name or f"{dataset or self.path.stem}: {classes}"

    @property
    def quality(self) -> QualityModel | None:
        """That of the vote, where several files vote and it was fitted."""
        if self.calibration is None:
            return None
        ensemble = self.calibration.ensemble if len(self.packages) > 1 else None
        return ensemble or self.calibration.single

    @property
    def held_out(self) -> int:
        """Cases that were scored."""
        return 0 if self.scores is None else len({row.case for row in self.scores.cases})


def read_card_source(path: Path, stated: Stated | None = None) -> CardSource:
    """Read a model file or a run folder.

    Raises:
        UsageError: the path is not there, or a folder without a model.
        VesalError: a file is damaged, or no model.
    """
    files, packages = read_packages(path)
    first = packages[0]
    run = run_contents(path) if path.is_dir() and (path / PLAN).exists() else None
    scores = run.scores if run is not None and run.scores is not None else _scores(packages, files[0])
    return CardSource(
        path=path,
        packages=packages,
        scores=scores,
        calibration=read_calibration(first.quality, first.plan.labels, files[0]),
        robustness=None if run is None else _robustness(run, packages),
        run=run,
        stated=_with_the_files(stated or Stated(), first),
    )


def _with_the_files(stated: Stated, package: Package) -> Stated:
    """What was not stated and an imported model's file says of its weights."""
    licence, origin = (str(package.provenance.get(name, "")) for name in (LICENCE, ORIGIN))
    return replace(
        stated, licence=stated.licence or licence, authors=stated.authors or (origin,) * bool(origin)
    )


def _robustness(run: RunContents, packages: Sequence[Package]) -> Robustness | None:
    """What artefacts cost these weights; a run that was prolonged since has others, which `missing` then says."""
    found = run.record(_ROBUSTNESS, Robustness)
    if found is None or set(found.weights) <= {package.weights_digest for package in packages}:
        return found
    run.missing.append(
        f"{_ROBUSTNESS} is of other weights than the run has now; delete that folder, and vesal robustness RUN "
        "measures it anew."
    )
    return None


def _scores(packages: Sequence[Package], file: Path) -> Scores | None:
    stored = packages[0].scores
    if stored is None:
        return None
    try:
        return Scores.model_validate(stored)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason: VesalError = unusable(file, "scores", f"{where}: {first['msg']}")
        raise reason from error
