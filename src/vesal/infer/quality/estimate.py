"""How far to trust the result of one scan: what a model file keeps of it, and what is said of a scan.

Learned from held-out scans by `vesal.infer.quality.calibrate`. In a model file it is JSON; whatever is wrong with it
there is told in a VesalError, for a model may come from anybody.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vesal.data.labels import LabelSet
from vesal.errors import VesalError
from vesal.infer.quality.features import GROUPS, Signals, vector
from vesal.infer.quality.fit import Line, Usual, to_dice, to_loss

#: Of what is kept in a model file.
QUALITY_VERSION = 1

#: Above any honest model.
_MOST_NUMBERS, _MOST_DIRECTIONS, _MOST_CLASSES = 4096, 64, 254

Number = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Numbers = Annotated[tuple[Number, ...], Field(max_length=_MOST_NUMBERS)]
Positives = Annotated[tuple[Positive, ...], Field(max_length=_MOST_NUMBERS)]
Text = Annotated[str, Field(max_length=1000)]
Names = Annotated[tuple[Text, ...], Field(max_length=_MOST_NUMBERS)]
Count = Annotated[int, Field(ge=0, le=1 << 40)]

#: What a reader is told of each kind of unlikeness.
WORDS = {
    "geometry": "its size or spacing",
    "intensity": "its intensities",
    "texture": "its noise, sharpness or evenness",
    "look": "what lies where in it",
    "shape": "the shape that was found",
    "inside": "what the network sees in it",
}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UsualRecord(_Record):
    """A `Usual` as plain numbers; `names` of its numbers, none where they are a network's inner ones."""

    names: Names
    centre: Numbers
    scale: Positives
    directions: Annotated[tuple[Numbers, ...], Field(max_length=_MOST_DIRECTIONS)]
    variances: Positives
    rest: Positive
    middle: Number
    spread: Positive

    @model_validator(mode="after")
    def _fits(self) -> UsualRecord:
        size = len(self.centre)
        sound = (
            size > 0
            and len(self.scale) == size
            and len(self.names) in (0, size)
            and len(self.variances) == len(self.directions)
            and all(len(direction) == size for direction in self.directions)
        )
        if not sound:
            raise ValueError("the numbers of what is usual do not fit each other")
        return self

    @classmethod
    def of(cls, usual: Usual, names: Sequence[str]) -> UsualRecord:
        """Rounded to what a few dozen scans can tell."""
        return cls(
            names=tuple(names),
            centre=rounded(usual.centre),
            scale=rounded(usual.scale),
            directions=tuple(rounded(direction, 4) for direction in usual.directions),
            variances=rounded(usual.variances),
            rest=usual.rest,
            middle=usual.middle,
            spread=usual.spread,
        )

    def usual(self) -> Usual:
        return Usual(
            np.array(self.centre),
            np.array(self.scale),
            np.array(self.directions).reshape(len(self.directions), len(self.centre)),
            np.array(self.variances),
            self.rest,
            self.middle,
            self.spread,
        )


class DiceRecord(_Record):
    """How the Dice of one class is predicted, and how well that went with scans that it was not fitted on.

    Attributes:
        names: numbers that the line takes (`vesal.infer.quality.calibrate.dice_names`).
        centre, scale, weights, bias, lowest, highest: of the line, which gives `to_loss` of the Dice.
        below, above: what the 5th and the 95th percentile of its errors add to it.
        mae, spearman: of the predicted Dice of clean held-out scans.
        mean: true Dice of these, what one would say without looking.
        mae_of_mean: error of saying it.
        cases: how many.
    """

    names: Names
    centre: Numbers
    scale: Positives
    weights: Numbers
    bias: Number
    lowest: Numbers
    highest: Numbers
    below: Number
    above: Number
    mae: Share
    spearman: Annotated[float, Field(ge=-1, le=1)] | None
    mean: Share
    mae_of_mean: Share
    cases: Count

    @model_validator(mode="after")
    def _fits(self) -> DiceRecord:
        lists = (self.names, self.centre, self.scale, self.weights, self.lowest, self.highest)
        if len({len(of) for of in lists}) != 1 or not self.names:
            raise ValueError("the numbers of a predicted Dice do not fit each other")
        return self

    def line(self) -> Line:
        return Line(
            np.array(self.centre),
            np.array(self.scale),
            np.array(self.weights),
            self.bias,
            np.array(self.lowest),
            np.array(self.highest),
        )


class FlagRecord(_Record):
    """From where on a scan is to be looked at, and how that went with held-out scans.

    Attributes:
        threshold: of the doubt.
        parts: what the doubt is made of: keys of WORDS, and 'dice'.
        dice_middle, dice_spread: of the mean predicted `to_loss` of held-out scans, which make it a doubt.
        clean, flagged: clean held-out scans, and how many of them the flag asks to look at; the threshold was set
            by others.
        worst, worst_found: the tenth of them with the lowest true Dice, and how many of these the flag found.
        corrupted, corrupted_found: held-out scans with an artefact of severity 5, and how many of these the flag found.
        by_artifact: artefact -> (scans, found).
    """

    threshold: Number
    parts: Annotated[tuple[Text, ...], Field(max_length=16)]
    dice_middle: Number
    dice_spread: Positive
    clean: Count
    flagged: Count
    worst: Count
    worst_found: Count
    corrupted: Count
    corrupted_found: Count
    by_artifact: Annotated[dict[Text, tuple[Count, Count]], Field(max_length=64)]

    @property
    def error(self) -> str:
        """The measured error of this flag, in words."""
        told = f"of {self.clean} held-out scans as they are it asked to review {_percent(self.flagged, self.clean)}"
        if self.worst:
            told += f", among them {self.worst_found} of the {self.worst} with the lowest Dice"
        if self.corrupted:
            found = _percent(self.corrupted_found, self.corrupted)
            told += f"; of {self.corrupted} with a severe artefact it found {found}"
        return told


class Advice(_Record):
    """What is said of a scan.

    Attributes:
        dice: class -> how its Dice is predicted.
        flag: review or ok.
    """

    dice: Annotated[dict[Text, DiceRecord], Field(max_length=_MOST_CLASSES)]
    flag: FlagRecord

    @model_validator(mode="after")
    def _fits(self) -> Advice:
        if not set(self.flag.parts) <= {*WORDS, "dice"}:
            raise ValueError("its flag is made of parts that are not known")
        return self


class Quality(_Record):
    """All of it, as it is kept in a model file.

    Attributes:
        version: of this format.
        classes: that it was learned for.
        temperature: divides logits.
        usual: name of GROUPS -> what is usual.
        inside: the same of what this file's network sees; None where it cannot be looked into.
        alone: what is said where one network predicts.
        vote: where several do, which are compared with each other; None where that was not learned.
        cases: held-out scans that it was learned from.
        folds: networks that predicted them.
    """

    version: Literal[1] = QUALITY_VERSION  # type: ignore[assignment]
    classes: Annotated[tuple[Text, ...], Field(max_length=_MOST_CLASSES)]
    temperature: Annotated[float, Field(ge=0.05, le=20)]
    usual: Annotated[dict[Text, UsualRecord], Field(max_length=len(GROUPS))]
    inside: UsualRecord | None
    alone: Advice
    vote: Advice | None
    cases: Count
    folds: Count

    @model_validator(mode="after")
    def _fits(self) -> Quality:
        told = {*self.alone.dice, *(() if self.vote is None else self.vote.dice)}
        if not set(self.usual) <= set(GROUPS) or not told <= set(self.classes):
            raise ValueError("it tells of groups or classes that it does not know")
        return self


def read_quality(value: dict[str, Any] | None, labels: LabelSet, file: str | Path) -> Quality | None:
    """What a model file says of its doubt; None where it says nothing.

    Raises:
        VesalError: it is damaged, of a newer Vesal, or not of this model's classes.
    """
    if value is None:
        return None
    version = value.get("version")
    if isinstance(version, int) and version > QUALITY_VERSION:
        raise VesalError(
            f"{file} tells of its doubt in version {min(version, 10**6)} and this Vesal reads {QUALITY_VERSION}; "
            "update Vesal."
        )
    try:
        quality = Quality.model_validate(value)
    except (ValidationError, RecursionError, ValueError, TypeError, ArithmeticError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        line = " ".join(what.split())[:120]
        raise VesalError(
            f"{file} is not a usable Vesal model: what it says of its doubt is not valid ({line}); get it again from "
            "where it was made."
        ) from error
    if quality.classes != tuple(labels.classes):
        raise VesalError(
            f"{file} is not a usable Vesal model: its doubt is of other classes than its labels; get it again from "
            "where it was made."
        )
    return quality


# --- what is said of a scan ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class PredictedDice:
    """Of one class: the Dice to be expected, and the interval that held nine of ten held-out scans."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Judgement:
    """How far to trust one scan's result.

    Attributes:
        verdict: 'review' or 'ok'.
        reason: why, in words.
        doubt: from `threshold` on it is 'review'. 0 is usual, 1.28 is what one in ten known scans exceeds.
        dice: class -> what is to be expected.
        unlikeness: the largest of `parts`: how unlike the scans that the model knows.
        parts: name of WORDS -> unlikeness.
        error: the measured error of this very flag.
    """

    verdict: Literal["review", "ok"]
    reason: str
    doubt: float
    threshold: float
    dice: dict[str, PredictedDice]
    unlikeness: float
    parts: dict[str, float]
    error: str

    @property
    def mean_dice(self) -> float | None:
        """Over the classes."""
        values = [found.value for found in self.dice.values()]
        return float(np.mean(values)) if values else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "doubt": round(self.doubt, 3),
            "threshold": round(self.threshold, 3),
            "predicted_dice": {
                name: {"value": round(of.value, 4), "low": round(of.low, 4), "high": round(of.high, 4)}
                for name, of in self.dice.items()
            },
            "unlikeness": round(self.unlikeness, 3),
            "unlikeness_of": {name: round(value, 3) for name, value in self.parts.items()},
            "measured_error": self.error,
        }


class Doubt:
    """What one model or several that vote know of their doubt.

    Args:
        qualities: one for each network, in their order. What is common to them is taken from the first.
    """

    def __init__(self, qualities: Sequence[Quality]) -> None:
        self.quality = qualities[0]
        self._usual = {name: record.usual() for name, record in self.quality.usual.items()}
        self._inside = [None if of.inside is None else of.inside.usual() for of in qualities]
        self.advice = self.quality.alone
        if len(qualities) > 1 and self.quality.vote is not None:
            self.advice = self.quality.vote
        self._lines = {name: record.line() for name, record in self.advice.dice.items()}

    @property
    def temperature(self) -> float:
        """By which logits are divided."""
        return self.quality.temperature

    def judge(self, signals: Signals) -> Judgement:
        """Say it of one scan."""
        advice = self.advice
        parts = unlikeness(signals, self._usual, self.quality.usual, self._inside)
        values = numbers_of(signals, parts)
        dice, losses = {}, []
        for name, line in self._lines.items():
            record = advice.dice[name]
            loss = float(line(vector(values, record.names)))
            losses.append(loss)
            low, value, high = (
                float(to_dice(np.array(loss + of))) for of in (record.above, 0.0, record.below)
            )
            dice[name] = PredictedDice(value, low, high)
        scores = dict(parts)
        if losses:
            scores["dice"] = (float(np.mean(losses)) - advice.flag.dice_middle) / advice.flag.dice_spread
        doubt = joint_doubt({name: scores[name] for name in advice.flag.parts if name in scores})
        review = doubt >= advice.flag.threshold
        return Judgement(
            "review" if review else "ok",
            _reason(review, scores, advice.flag, dice),
            doubt,
            advice.flag.threshold,
            dice,
            max(parts.values(), default=0.0),
            parts,
            advice.flag.error,
        )


def unlikeness(
    signals: Signals,
    usual: dict[str, Usual],
    records: dict[str, UsualRecord],
    inside: Sequence[Usual | None],
) -> dict[str, float]:
    """Name of WORDS -> how unlike the known scans; of what networks see, the mean over them."""
    found = {
        name: float(of.unlike(vector(signals.groups.get(name, {}), records[name].names)))
        for name, of in usual.items()
    }
    seen = [
        float(of.unlike(values))
        for of, values in zip(inside, signals.insides, strict=False)
        if of is not None and len(values) == len(of.centre)
    ]
    if seen:
        found["inside"] = float(np.mean(seen))
    return found


def numbers_of(signals: Signals, parts: dict[str, float]) -> dict[str, float]:
    """All numbers that a predicted Dice may rest on: the networks' mean, the shape, and the unlikeness.

    What is a Dice itself (soft, steady, agree) comes as `to_loss` of it, as the Dice that is predicted.
    """
    values: dict[str, float] = {}
    for name in signals.networks[0] if signals.networks else ():
        mean = np.mean([of[name] for of in signals.networks])
        own = name.rpartition(" ")[2] in ("soft", "steady", "agree")
        values[name] = float(to_loss(np.clip(mean, 0.0, 1.0)) if own else mean)
    values |= signals.groups.get("shape", {})
    return values | {f"unlike {name}": value for name, value in parts.items()}


def joint_doubt(scores: dict[str, float]) -> float:
    """One number from those of the parts: the largest, and a little of the next."""
    if not scores:
        return 0.0
    return float(np.log(np.mean(np.exp(np.clip(list(scores.values()), -10, 50)))))


def rounded(values: NDArray[np.float64] | Sequence[float], digits: int = 6) -> tuple[float, ...]:
    """To so many significant digits."""
    return tuple(
        0.0 if value == 0 else round(value, digits - 1 - math.floor(math.log10(abs(value))))
        for value in map(float, values)
    )


def _percent(part: int, whole: int) -> str:
    return f"{part} ({100 * part / max(whole, 1):.0f} %)"


def _reason(review: bool, scores: dict[str, float], flag: FlagRecord, dice: dict[str, PredictedDice]) -> str:
    named = {name: scores[name] for name in flag.parts if name in scores}
    if not review:
        return "nothing unusual"
    ranked = sorted(named.items(), key=lambda entry: -entry[1])
    told = [name for name, value in ranked if value >= max(1.5, ranked[0][1] - 1.0)] or [ranked[0][0]]
    words = []
    if "dice" in told:
        worst = min(dice, key=lambda name: dice[name].value)
        words.append(f"a low Dice is to be expected ({worst}: {dice[worst].value:.2f})")
    unlike = [WORDS[name] for name in told if name in WORDS]
    if unlike:
        words.append(f"unlike the known scans in {', '.join(unlike)}")
    return "; ".join(words)
