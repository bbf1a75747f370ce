"""From held-out scans to a model's doubt: what is usual, how good a mask will be, when to look at it.

Every number that is told of it was measured on scans that the part of it in question had not seen: the patients are
divided into ten parts, and each part is judged by what the other nine teach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.infer.quality.estimate import (
    WORDS,
    Advice,
    DiceRecord,
    FlagRecord,
    Quality,
    UsualRecord,
    joint_doubt,
    numbers_of,
    rounded,
)
from vesal.infer.quality.features import GROUPS, Signals, vector
from vesal.infer.quality.fit import (
    centred,
    cross_parts,
    fit_line,
    fit_usual,
    left_out_distances,
    rank_correlation,
    risk_coverage,
    to_dice,
    to_loss,
)

#: Held-out scans without which nothing is learned.
FEWEST = 8

#: Share of the clean scans that the flag may ask to review without a reason.
FALSE_ALARMS = 0.1

#: How much a corrupted scan counts beside an clean one where the Dice is learned.
_CORRUPTED_WEIGHT = 0.1

#: Classes up to which the Dice of one is predicted from numbers of the others, too.
_FEW = 8

#: How much better networks that know the scans may agree with each other than with one that does not.
KNOWN_GAP = 0.01

#: What stands for a group in which too few scans are known to say what is usual.
_NOT_UNLIKE = 0.0

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Observed:
    """A held-out scan, as it is or corrupted, that a network predicted which had not seen it.

    Attributes:
        case: its name.
        fold: of the network.
        artefact: artefact by which it was corrupted; None as it is.
        signals: what was noted.
        dice: class -> true Dice; without those that neither truth nor prediction hold.
        known_gap: how much more networks that have seen the scan agree with each other than with the one that has
            not; None where no two others looked on.
        patient: whose scans are in one part; the case where it is not told.
    """

    case: str
    fold: int
    artifact: str | None
    signals: Signals
    dice: dict[str, float]
    known_gap: float | None = None
    patient: str = ""

    @property
    def together(self) -> str:
        """What is the same for scans that have to be in one part."""
        return self.patient or self.case


@dataclass(frozen=True, eq=False)
class Learned:
    """What came of it.

    Attributes:
        qualities: fold -> what its model file keeps.
        cases: one record a scan: case, fold, artefact, true and predicted Dice by class, doubt, verdict; each by parts
            of the model that had not seen it. For the report.
        curve: (coverage, risk), and the areas under the curve, under that of the best order, and of none.
    """

    qualities: dict[int, Quality]
    cases: list[dict[str, Any]]
    curve: tuple[list[tuple[float, float]], float, float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        first = next(iter(self.qualities.values()))
        told = first.vote or first.alone
        curve = None
        if self.curve is not None:
            points, area, best, none = self.curve
            curve = {
                "points": [[round(x, 5), round(y, 5)] for x, y in points],
                "area": area, "area_of_best_order": best, "area_of_no_order": none,
            }  # fmt: skip
        return {
            "version": 1,
            "temperature": first.temperature,
            "dice": {
                name: {
                    "mae": of.mae,
                    "spearman": of.spearman,
                    "mae_of_mean": of.mae_of_mean,
                    "cases": of.cases,
                }
                for name, of in told.dice.items()
            },
            "flag": told.flag.model_dump(),
            "of": "alone" if first.vote is None else "vote",
            "risk_coverage": curve,
            "cases": self.cases,
        }


def learn(observed: Sequence[Observed], classes: Sequence[str], temperature: float) -> Learned:
    """Learn from at least FEWEST clean held-out scans, and as many corrupted ones as there are.

    Where other networks looked on, what they agree on tells most of a vote's Dice. But they have seen the scans in
    training. That does no damage as long as they treat them as any other scan: as long as they agree with each other no
    better than with the network that has not seen them (KNOWN_GAP). Where they do, nothing is learned of a vote.

    Args:
        observed: scans as they are and, of the same scans, corrupted copies.
        classes: of the model.
        temperature: as `vesal.infer.quality.fit.fit_temperature` finds it.
    """
    clean = [one for one in observed if one.artifact is None]
    parts = cross_parts(sorted({one.together for one in clean}))
    compared = _compare(observed, parts)
    part = np.array([parts[one.together] for one in observed])
    alone = _advise(observed, classes, compared.unlike, part, vote=False)
    gaps = [one.known_gap for one in clean]
    known = [gap for gap in gaps if gap is not None]
    vote = None
    if len(known) == len(gaps) and np.mean(known) < KNOWN_GAP:
        vote = _advise(observed, classes, compared.unlike, part, vote=True)
    folds = sorted({one.fold for one in clean})
    qualities = {
        fold: Quality(
            classes=tuple(classes),
            temperature=temperature,
            usual=compared.usual,
            inside=compared.inside.get(fold),
            alone=alone.advice,
            vote=None if vote is None else vote.advice,
            cases=len(clean),
            folds=len(folds),
        )
        for fold in folds
    }
    told = vote or alone
    return Learned(
        qualities, told.rows(observed, compared.unlike), _curve(clean, told.predicted_of(observed))
    )


@dataclass(frozen=True, eq=False)
class _Advised:
    """Advice, and what it says of each scan by parts that have not seen it."""

    advice: Advice
    predicted: list[dict[str, float]]
    doubt: Array
    review: NDArray[np.bool_]

    def predicted_of(self, observed: Sequence[Observed]) -> list[dict[str, float]]:
        """Of the clean scans."""
        return [of for one, of in zip(observed, self.predicted, strict=True) if one.artifact is None]

    def rows(self, observed: Sequence[Observed], unlike: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
        """A record of each scan."""
        return [
            {
                "case": one.case, "fold": one.fold, "artifact": one.artifact,
                "dice": {name: round(value, 5) for name, value in one.dice.items()},
                "predicted": {name: round(value, 5) for name, value in self.predicted[row].items()},
                "doubt": round(float(self.doubt[row]), 4),
                "unlikeness": {name: round(value, 4) for name, value in unlike[row].items()},
                "verdict": "review" if self.review[row] else "ok",
            }
            for row, one in enumerate(observed)
        ]  # fmt: skip


def _advise(
    observed: Sequence[Observed],
    classes: Sequence[str],
    unlike: Sequence[dict[str, float]],
    part: NDArray[np.int64],
    *,
    vote: bool,
) -> _Advised:
    numbers = [numbers_of(one.signals, of) for one, of in zip(observed, unlike, strict=True)]
    clean = np.array([one.artifact is None for one in observed])
    dice, losses = {}, np.zeros(len(observed))
    predicted: list[dict[str, float]] = [{} for _ in observed]
    for name in classes:
        names = dice_names(name, classes, list(numbers[0]), vote=vote)
        found = _dice_record(name, names, observed, numbers, part)
        if found is None:
            continue
        dice[name], loss = found
        losses += loss
        for of, value in zip(predicted, to_dice(loss), strict=True):
            of[name] = float(value)
    losses /= max(len(dice), 1)
    middle, spread = centred(losses[clean], least=0.02)
    scores = [
        {**of, **({"dice": (loss - middle) / spread} if dice else {})}
        for of, loss in zip(unlike, losses, strict=True)
    ]
    doubt = np.array([joint_doubt(of) for of in scores])
    flag, review = _flag(observed, doubt, part, middle, spread, tuple(scores[0]))
    return _Advised(Advice(dice=dice, flag=flag), predicted, doubt, review)


# --- what is usual -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Compared:
    """For each scan, name of WORDS -> unlikeness by what the other parts teach; and what all together teach."""

    unlike: list[dict[str, float]]
    usual: dict[str, UsualRecord]
    inside: dict[int, UsualRecord]


def _compare(observed: Sequence[Observed], parts: dict[str, int]) -> _Compared:
    found = _Compared([{} for _ in observed], {}, {})
    everyone = np.arange(len(observed))
    for group in GROUPS:
        names = list(observed[0].signals.groups.get(group, {}))
        if names:
            values = np.stack([vector(one.signals.groups[group], names) for one in observed])
            found.usual[group] = _told(found, group, observed, everyone, values, parts, names)
    for fold in sorted({one.fold for one in observed}):
        rows = np.flatnonzero([one.fold == fold for one in observed])
        those = [observed[int(row)] for row in rows]
        if _looked_into(those):
            own = cross_parts(sorted({one.together for one in those}))
            values = np.stack([one.signals.insides[0] for one in those])
            found.inside[fold] = _told(found, "inside", observed, rows, values, own, ())
    if found.inside:
        for of in found.unlike:
            of.setdefault("inside", _NOT_UNLIKE)
    return found


def _told(
    found: _Compared,
    name: str,
    observed: Sequence[Observed],
    rows: NDArray[np.int64],
    values: Array,
    parts: dict[str, int],
    names: Sequence[str],
) -> UsualRecord:
    """Note the unlikeness of `rows`, whose numbers are `values`, and give what is usual among the clean."""
    part = np.array([parts[observed[row].together] for row in rows])
    clean = np.array([observed[row].artifact is None for row in rows])
    distances = left_out_distances(values, part, clean)
    usual = fit_usual(values[clean], distances[clean])
    for row, distance in zip(rows, distances, strict=True):
        found.unlike[row][name] = float((distance - usual.middle) / usual.spread)
    return UsualRecord.of(usual, names)


def _looked_into(those: Sequence[Observed]) -> bool:
    sizes = {len(one.signals.insides[0]) if one.signals.insides else 0 for one in those}
    return sum(one.artifact is None for one in those) >= FEWEST and len(sizes) == 1 and sizes != {0}


# --- how good a mask will be ---------------------------------------------------------------------------------


def dice_names(name: str, classes: Sequence[str], known: Sequence[str], *, vote: bool) -> list[str]:
    """Numbers of `vesal.infer.quality.estimate.numbers_of` from which the Dice of a class is predicted.

    Few, for a few dozen scans teach few: of a vote what the networks agree on, beside which all others only blurred it.
    """
    if vote:
        wanted = [f"{name} soft", *(f"{of} agree" for of in (classes if len(classes) <= _FEW else [name]))]
    else:
        own = [f"{name} {what}" for what in ("soft", "steady", "volume", "ragged")]
        others = [f"{of} steady" for of in classes if of != name] if len(classes) <= _FEW else []
        wanted = [*own, *others, "entropy", *(f"unlike {part}" for part in WORDS)]
    return [number for number in wanted if number in known]


def _dice_record(
    name: str,
    names: Sequence[str],
    observed: Sequence[Observed],
    numbers: Sequence[dict[str, float]],
    part: NDArray[np.int64],
) -> tuple[DiceRecord, Array] | None:
    """What is kept of a class, and the cross-fitted `to_loss` of every scan; None where too few hold it."""
    values = np.stack([vector(of, list(names)) for of in numbers])
    has = np.array([name in one.dice for one in observed])
    clean = np.array([one.artifact is None for one in observed])
    if (has & clean).sum() < FEWEST:
        return None
    true = np.array([one.dice.get(name, 0.0) for one in observed])
    weight = np.where(clean, 1.0, _CORRUPTED_WEIGHT)
    loss = np.empty(len(observed))
    means = np.empty(len(observed))
    for test in np.unique(part):
        train = has & (part != test)
        line = fit_line(values[train], to_loss(true[train]), weight[train])
        loss[part == test] = line(values[part == test])
        means[part == test] = np.median(true[train & clean])
    judged = has & clean
    predicted = to_dice(loss)
    errors = (to_loss(true) - loss)[judged]
    below, above = np.percentile(errors, (5, 95))
    line = fit_line(values[has], to_loss(true[has]), weight[has])
    record = DiceRecord(
        names=tuple(names),
        centre=rounded(line.centre),
        scale=rounded(line.scale),
        weights=rounded(line.weights),
        bias=line.bias,
        lowest=rounded(line.lowest),
        highest=rounded(line.highest),
        below=float(below),
        above=float(above),
        mae=float(np.abs(predicted - true)[judged].mean()),
        spearman=rank_correlation(predicted[judged], true[judged]),
        mean=float(true[judged].mean()),
        mae_of_mean=float(np.abs(means - true)[judged].mean()),
        cases=int(judged.sum()),
    )
    return record, loss


def _curve(
    clean: Sequence[Observed], predicted: Sequence[dict[str, float]]
) -> tuple[list[tuple[float, float]], float, float, float] | None:
    pairs = [
        (
            float(np.mean([of[name] for name in one.dice if name in of])),
            float(np.mean(list(one.dice.values()))),
        )
        for one, of in zip(clean, predicted, strict=True)
        if any(name in of for name in one.dice)
    ]
    return risk_coverage(*np.array(pairs).T) if len(pairs) >= FEWEST else None


# --- review or ok ---------------------------------------------------------------------------------------------


def _flag(
    observed: Sequence[Observed],
    doubt: Array,
    part: NDArray[np.int64],
    middle: float,
    spread: float,
    parts: tuple[str, ...],
) -> tuple[FlagRecord, NDArray[np.bool_]]:
    """The threshold, and the verdict on each scan by the threshold of the other parts."""
    clean = np.array([one.artifact is None for one in observed])
    review = np.zeros(len(observed), dtype=bool)
    for test in np.unique(part):
        review[part == test] = doubt[part == test] >= _threshold(doubt[clean & (part != test)])
    means = np.array([np.mean(list(one.dice.values())) if one.dice else np.nan for one in observed])
    judged = np.flatnonzero(clean & ~np.isnan(means))
    worst = judged[np.argsort(means[judged], kind="stable")][: max(1, round(0.1 * len(judged)))]
    by_artifact: dict[str, tuple[int, int]] = {}
    for one, flagged in zip(observed, review, strict=True):
        if one.artifact is not None:
            scans, found = by_artifact.get(one.artifact, (0, 0))
            by_artifact[one.artifact] = scans + 1, found + int(flagged)
    record = FlagRecord(
        threshold=_threshold(doubt[clean]),
        parts=parts,
        dice_middle=middle,
        dice_spread=spread,
        clean=int(clean.sum()),
        flagged=int(review[clean].sum()),
        worst=len(worst),
        worst_found=int(review[worst].sum()),
        corrupted=int((~clean).sum()),
        corrupted_found=int(review[~clean].sum()),
        by_artifact=dict(sorted(by_artifact.items())),
    )
    return record, review


def _threshold(doubt: Array) -> float:
    """The doubt that a share FALSE_ALARMS of the scans reaches."""
    return float(np.quantile(doubt, 1 - FALSE_ALARMS))
