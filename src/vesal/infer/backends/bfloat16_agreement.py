"""Whether a model predicts in bfloat16: decided after its training, by the masks of a few of its scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from vesal.infer.model_record import read_model_record
from vesal.infer.quality.stored import MOST_CLASSES, Count, Fraction, Text
from vesal.record import Record

#: Bfloat16 is taken where the Dice between its masks and float32's is at least so much for every class, and no class
#: has lost more Dice against the truth: a tenth of what is given as the noise between two trainings.
LEAST_DICE, MOST_LOST = 0.998, 0.001

Difference = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]


class Bfloat16Agreement(Record):
    """What bfloat16 changes in the masks of a few scans, beside float32.

    Attributes:
        version: of this format.
        cases: that were compared.
        backends: that computed in bfloat16, each of which was compared; the worst of them counts.
        dice: class -> mean Dice of both masks; of classes that one of them holds.
        lost: class -> what the mean Dice against the truth has lost, below 0 where it has gained.
    """

    version: Literal[1] = 1
    cases: Count
    backends: Annotated[tuple[Text, ...], Field(max_length=8)]
    dice: Annotated[dict[Text, Fraction], Field(max_length=MOST_CLASSES)]
    lost: Annotated[dict[Text, Difference], Field(max_length=MOST_CLASSES)]

    @property
    def agrees(self) -> bool:
        """Whether bfloat16 is taken; not where all masks were empty, which shows nothing."""
        return (
            bool(self.dice)
            and min(self.dice.values()) >= LEAST_DICE
            and max(self.lost.values(), default=0.0) <= MOST_LOST
        )

    @property
    def sentence(self) -> str:
        """For a person."""
        if not self.dice:
            return "Prediction stays in float32: all masks that bfloat16 was to be compared on are empty."
        scans = "1 scan" if self.cases == 1 else f"{self.cases} scans"
        worst = min(self.dice, key=self.dice.__getitem__)
        beside = f"its masks of {scans} agree with float32's to a Dice of {self.dice[worst]:.4f}"
        if self.agrees:
            return f"Prediction is in bfloat16 where the processor computes it: {beside} at least."
        if self.dice[worst] >= LEAST_DICE:
            worst = max(self.lost, key=self.lost.__getitem__)
            beside = f"it loses {self.lost[worst]:.4f} of the Dice"
        return f"Prediction stays in float32; in bfloat16 {beside} for {worst}."


def read_agreement(value: object, path: str | Path) -> Bfloat16Agreement | None:
    """That of a model file, as JSON gave it; None where it was not measured.

    Raises:
        VesalError: it is not valid, or of a newer version.
    """
    return read_model_record(Bfloat16Agreement, value, "agreement of bfloat16", path)
