"""What was tried as post-processing, what was chosen, and what it is worth: JSON and Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from vesal.files import write_json, write_text
from vesal.infer.postprocess import Postprocess, Step
from vesal.record import Record
from vesal.run_files import POSTPROCESS, POSTPROCESS_TEXT
from vesal.table import Cell, Table
from vesal.text import signed


class Gain(Record):
    """A mean difference of Dice, after minus before, with its 95 % bootstrap interval over the patients."""

    mean: float
    low: float
    high: float


class ClassGain(Record):
    """One class under all chosen steps.

    Attributes:
        class_name: 'class' in files.
        before, after: mean Dice; a case without the class in truth and prediction counts as 1.
        gain: after minus before, on the cases on which the steps were chosen.
        crossfit_gain: the same with steps that were chosen on other cases; None where that was not possible.
    """

    class_name: str = Field(validation_alias="class", serialization_alias="class")
    before: float
    after: float
    gain: float
    crossfit_gain: float | None


class Trial(Record):
    """A step that was tried, on top of those chosen before it.

    Attributes:
        step: what is done.
        gain: of the Dice of its class, or of the mean over the classes for all foreground.
        low, high: its 99 % bootstrap interval; None where the gain is too small to be tested.
        hd95_change_mm: of the mean HD95; None where it was not measured.
        changed: cases of which any voxel changes.
        verdict: chosen, or why not.
    """

    step: Step
    gain: float
    low: float | None = None
    high: float | None = None
    hd95_change_mm: float | None = None
    changed: int
    verdict: str


class PostprocessChoice(Record):
    """The record of a choice.

    Attributes:
        version: of this format.
        cases, patients: that were held out.
        steps: what was chosen, in the order in which it is done.
        gain: of the mean Dice over the classes, on the cases on which the steps were chosen.
        crossfit_gain: of the same mean, where the steps of each part were chosen on the other parts.
        parts: into how many parts the cases were split for that: the folds, or five where these are fewer than four.
        classes: each class by itself.
        trials: everything that was tried.
        reason: why there was no choice; '' where there was.
    """

    described: ClassVar[tuple[str, str]] = ("a choice of post-processing", "delete it")

    version: Literal[1] = 1
    cases: int
    patients: int
    steps: tuple[Step, ...] = ()
    gain: Gain | None = None
    crossfit_gain: Gain | None = None
    parts: int = 0
    classes: tuple[ClassGain, ...] = ()
    trials: tuple[Trial, ...] = ()
    reason: str = ""

    @property
    def postprocess(self) -> Postprocess | None:
        """What the model file gets; None where nothing is to be done."""
        if not self.steps:
            return None
        gain, crossfit = self.gain, self.crossfit_gain
        return Postprocess(
            steps=self.steps,
            cases=self.cases,
            gain=None if gain is None else gain.mean,
            crossfit_gain=None if crossfit is None else crossfit.mean,
        )

    @property
    def sentence(self) -> str:
        """What was chosen, in one line."""
        if self.reason:
            return self.reason
        if not self.steps:
            return (
                f"Post-processing: none of {len(self.trials)} steps improves the {self.cases} held-out cases beyond "
                "noise, so none is done."
            )
        text = f"Post-processing: {'; '.join(step.title for step in self.steps)}."
        if self.gain is not None:
            held_out = f"the {self.cases} held-out cases on which the steps were chosen"
            text += f" Mean Dice {self.gain.mean:+.4f} on {held_out}"
        if self.crossfit_gain is not None:
            text += f", {self.crossfit_gain.mean:+.4f} where they were chosen on other cases"
        return f"{text}."

    def class_table(self) -> Table:
        """A row a class, before and after all chosen steps."""
        rows = [
            (
                row.class_name,
                Cell(row.before, decimals=4),
                Cell(row.after, decimals=4),
                signed(row.gain, 4),
                signed(row.crossfit_gain, 4),
            )
            for row in self.classes
        ]
        return Table.of(["Class", "Dice before", "Dice after", "Gain", "Gain, chosen on other cases"], rows)

    def trial_table(self) -> Table:
        """A row a step that was tried."""
        rows = [
            (
                trial.step.title,
                Cell(trial.gain, trial.low, trial.high, decimals=4, text=signed(trial.gain, 4)),
                signed(trial.hd95_change_mm, 2),
                trial.changed,
                trial.verdict,
            )
            for trial in self.trials
        ]
        columns = ["Step tried", "Dice gain, 99 % interval", "HD95 change (mm)", "Cases changed", "Verdict"]
        return Table.of(columns, rows)

    def to_markdown(self) -> str:
        """The choice in a sentence, classes and trials as tables."""
        parts = ["# Post-processing", self.sentence]
        parts += [table.markdown() for table in (self.class_table(), self.trial_table()) if table.rows]
        return "\n\n".join(parts) + "\n"


def save_choice(folder: Path, choice: PostprocessChoice) -> None:
    """Write postprocess.json and postprocess.md."""
    write_json(folder / POSTPROCESS, choice.to_dict())
    write_text(folder / POSTPROCESS_TEXT, choice.to_markdown())


def postprocess_remarks(folder: Path) -> list[str]:
    """What is to be known about the scores of a run's predictions: their post-processing; nothing where none is done.

    Raises:
        VesalError: postprocess.json is damaged.
    """
    if not (folder / POSTPROCESS).exists():
        return []
    choice = PostprocessChoice.load(folder / POSTPROCESS)
    if not choice.steps:
        return []
    return [f"{choice.sentence} The scores contain the first of these gains, its optimism included."]
