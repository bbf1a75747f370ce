"""Splits that do not leak: patients and identical scans stay on one side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from vesal.data.dataset import Case
from vesal.data.fingerprint import Fingerprint
from vesal.errors import DataError, UsageError
from vesal.record import Record
from vesal.text import listed

_SWEEPS = 6  # over all groups, to improve the balance; two or three usually end it
_PARTNERS = 300  # groups that one may change places with in a sweep: drawn by chance where there are more
_PRICE = 1e3  # of one case beyond the slack: no class outweighs it


class Folds(Record):
    """A partition of case ids: fold k validates on its own part and trains on all others. Or one fold alone.

    Attributes:
        seed: that it was drawn with.
        parts: case ids of each fold's validation set, sorted.
        training: case ids that the one fold trains on, where there is one; else None.
    """

    described: ClassVar[tuple[str, str]] = ("a split into folds", "begin another run")

    seed: int
    parts: tuple[tuple[str, ...], ...]
    training: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _partition(self) -> Folds:
        every = [name for part in self.parts for name in part]
        if twice := [name for name, count in Counter(every).items() if count > 1]:
            raise ValueError(f"case {twice[0]} is in two folds")
        if self.training is None and len(self.parts) < 2:
            raise ValueError("there must be at least two folds")
        if self.training is not None and len(self.parts) != 1:
            raise ValueError("the cases to train on are named beside more than one fold")
        if empty := [number for number, part in enumerate(self.parts) if not part]:
            raise ValueError(f"fold {empty[0]} holds out no case")
        if self.training is not None and not self.training:
            raise ValueError("fold 0 trains on no case")
        if both := sorted(set(self.training or ()) & set(every)):
            raise ValueError(f"fold 0 trains on {both[0]}, but validates on it too")
        return self

    @property
    def count(self) -> int:
        """How many folds there are."""
        return len(self.parts)

    def validation(self, fold: int) -> tuple[str, ...]:
        """Case ids that fold `fold` (from 0) validates on."""
        return self.parts[self._known(fold)]

    def train(self, fold: int) -> tuple[str, ...]:
        """Case ids that fold `fold` (from 0) trains on."""
        own = self._known(fold)
        if self.training is not None:
            return self.training
        return tuple(sorted(name for k, part in enumerate(self.parts) for name in part if k != own))

    @property
    def names(self) -> set[str]:
        """Ids of all cases that any fold uses."""
        return {name for part in self.parts for name in part} | set(self.training or ())

    def renamed(self, names: Mapping[str, str]) -> Folds:
        """With other ids, where there are any."""

        def new(part: Iterable[str]) -> tuple[str, ...]:
            return tuple(sorted(names.get(name, name) for name in part))

        training = None if self.training is None else new(self.training)
        return Folds(seed=self.seed, parts=tuple(map(new, self.parts)), training=training)

    def without(self, names: Collection[str]) -> Folds:
        """Without these cases.

        Raises:
            ValueError: a fold has no case left.
        """

        def kept(part: Iterable[str]) -> tuple[str, ...]:
            return tuple(name for name in part if name not in names)

        training = None if self.training is None else kept(self.training)
        return Folds(seed=self.seed, parts=tuple(map(kept, self.parts)), training=training)

    def _known(self, fold: int) -> int:
        if not 0 <= fold < self.count:
            raise UsageError(no_such_fold(fold, self.count))
        return fold


def no_such_fold(fold: int, count: int) -> str:
    """The sentence about a fold that is not there.

    >>> no_such_fold(5, 5)
    'There is no fold 5; choose one of 0 to 4.'
    """
    return f"There is no fold {fold}; choose {'0' if count == 1 else f'one of 0 to {count - 1}'}."


def make_folds(
    cases: Sequence[Case],
    *,
    folds: int = 5,
    seed: int = 0,
    together: Iterable[Collection[str]] = (),
    present: Mapping[str, Collection[str]] | None = None,
) -> Folds:
    """Draw folds with no patient or scan on two sides.

    Cases of one patient and cases of one group in `together` (identical scans) stay together, also in chains.
    Folds have as equal numbers of cases as such groups allow, and as equal numbers of cases with each class as
    that leaves room for. The result depends on the seed and the cases, not on the order in which they come.

    Args:
        cases: to be split.
        folds: how many.
        seed: of the draw.
        together: groups of case ids, such as `audit.defects.duplicates.duplicate_groups` finds.
        present: case id -> classes that occur in it, such as `present_classes` gives, to balance them.

    Raises:
        UsageError: there are fewer groups than folds, or fewer than two folds.
    """
    groups = case_groups(cases, together)
    if folds < 2:
        raise UsageError(f"{folds} folds are no split; ask for at least 2, or train on all cases.")
    if len(groups) < folds:
        raise UsageError(too_few_patients(folds, len(cases), len(groups)))
    generator = np.random.default_rng([seed, folds])
    order = generator.permutation(len(groups))
    groups = [groups[i] for i in order]
    loads = _loads(groups, present or {})
    fold_of = _assign(loads, folds, generator)
    parts = [sorted(name for group, k in zip(groups, fold_of, strict=True) if k == fold for name in group)
             for fold in range(folds)]  # fmt: skip
    return Folds(seed=seed, parts=tuple(tuple(part) for part in parts))


def too_few_patients(folds: int, cases: int, patients: int) -> str:
    """The sentence about folds for which there are not enough patients, with what works."""
    counted = f"{cases} {'case is' if cases == 1 else 'cases are'} of {patients}"
    cure = f"add --set folds={patients} for as many, or " if patients > 1 else "add "
    return (
        f"{folds} folds need at least {folds} patients, but the {counted} (identical scans count as one); "
        f"{cure}--fold none to train on all cases."
    )


def patient_groups(cases: Sequence[Case], together: Iterable[Collection[str]] = ()) -> int:
    """How many groups of cases there are that a split must not tear apart."""
    return len(case_groups(cases, together))


def check_split(
    cases: Sequence[Case],
    train: Iterable[str],
    validation: Iterable[str],
    *,
    together: Iterable[Collection[str]] = (),
) -> None:
    """Refuse a split that has the same case, patient or scan on both sides.

    Raises:
        DataError: names a leaking pair and why they belong together, or a case that is not among `cases`.
    """
    patients = {case.id: case.patient for case in cases}
    sides = (sorted(set(train)), sorted(set(validation)))
    for name in sides[0] + sides[1]:
        if name not in patients:
            raise DataError(
                f"The split names case {name}, which the data set does not have; its cases are "
                f"{listed(sorted(patients), 4)}."
            )
    linked = [set(group) for group in together]
    group_of = {name: group for group in case_groups(cases, linked) for name in group}
    trained = {group_of[name] for name in sides[0]}
    for name in sides[1]:
        if (group := group_of[name]) in trained:
            left, right = ([each for each in side if each in group] for side in sides)
            raise DataError(_leak(left, right, patients, linked))


def present_classes(fingerprint: Fingerprint) -> dict[str, tuple[str, ...]]:
    """Case id -> names of the labels that have voxels in it."""
    return {
        record.id: tuple(name for name, count in record.voxels.items() if count > 0)
        for record in fingerprint.cases
    }


# --- groups ------------------------------------------------------------------------------------------------


def case_groups(cases: Sequence[Case], together: Iterable[Collection[str]]) -> list[tuple[str, ...]]:
    """Case ids that must stay together, joined over patients and `together`; all in sorted order."""
    by_patient: dict[str, list[str]] = {}
    for case in cases:
        by_patient.setdefault(case.patient, []).append(case.id)
    root = {case.id: case.id for case in cases}

    def find(name: str) -> str:
        while root.setdefault(name, name) != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    for group in [*by_patient.values(), *together]:
        for first, second in pairwise(group):
            root[find(first)] = find(second)
    groups: dict[str, list[str]] = {}
    for case in cases:
        groups.setdefault(find(case.id), []).append(case.id)
    return sorted(tuple(sorted(group)) for group in groups.values())


def _leak(
    left: Sequence[str], right: Sequence[str], patients: Mapping[str, str], together: Sequence[set[str]]
) -> str:
    """The sentence about a pair over the two sides that belongs together: directly, or through a third case."""
    pairs = [(a, b) for a in left for b in right]
    if twice := [a for a, b in pairs if a == b]:
        return f"Case {twice[0]} is both in training and in validation; take it out of one."
    if alike := [pair for pair in pairs if any(set(pair) <= group for group in together)]:
        (a, b), why = alike[0], "are the same scan or nearly so"
    elif siblings := [pair for pair in pairs if patients[pair[0]] == patients[pair[1]]]:
        (a, b), why = siblings[0], f"are of one patient ({patients[siblings[0][0]]})"
    else:
        (a, b), why = pairs[0], "belong together through other cases of their patients or identical scans"
    return (
        f"The split leaks: {a} (training) and {b} (validation) {why}; "
        "move both to one side or draw the folds anew."
    )


# --- balance -----------------------------------------------------------------------------------------------


def _loads(groups: Sequence[tuple[str, ...]], present: Mapping[str, Collection[str]]) -> NDArray[np.float64]:
    """(groups, 1 + classes): cases of each group, and cases with each class."""
    classes = sorted({name for group in groups for case in group for name in present.get(case, ())})
    columns = {name: i + 1 for i, name in enumerate(classes)}
    loads = np.zeros((len(groups), 1 + len(classes)))
    for row, group in enumerate(groups):
        loads[row, 0] = len(group)
        for case in group:
            for name in present.get(case, ()):
                loads[row, columns[name]] += 1
    return loads


def _assign(loads: NDArray[np.float64], folds: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """A fold for each group: large groups and rare classes first, each where it fits best; then exchanges."""
    balance = _Balance(loads, folds)
    rarity = (loads[:, 1:] / np.maximum(loads[:, 1:].sum(axis=0), 1)).max(axis=1, initial=0)
    fold_of = np.full(len(loads), -1)
    totals = np.zeros((folds, loads.shape[1]))
    for row in np.lexsort((-rarity, -loads[:, 0])):
        lightest = np.flatnonzero(totals[:, 0] == totals[:, 0].min())
        rise = balance.cost(totals[lightest] + loads[row]) - balance.cost(totals[lightest])
        fold_of[row] = best = lightest[int(rise.argmin())]
        totals[best] += loads[row]
    for _ in range(_SWEEPS):
        if balance.cost(totals).sum() <= balance.least:
            break
        if not sum(
            _improve(row, loads, fold_of, totals, balance, generator)
            for row in generator.permutation(len(loads))
        ):
            break
    return fold_of


def _improve(
    row: int,
    loads: NDArray[np.float64],
    fold_of: NDArray[np.int64],
    totals: NDArray[np.float64],
    balance: _Balance,
    generator: np.random.Generator,
) -> bool:
    """Move group `row`, or let it change places with another, if the best way to do so is better than staying.

    `fold_of` and `totals` are changed in place.
    """
    source = fold_of[row]
    partners = np.flatnonzero(fold_of != source)
    if len(partners) > _PARTNERS:
        partners = generator.choice(partners, _PARTNERS, replace=False, shuffle=False)
    others = np.flatnonzero(np.arange(len(totals)) != source)
    targets = np.concatenate([fold_of[partners], others])
    moved = np.concatenate([loads[row] - loads[partners], np.repeat(loads[row][None], len(others), axis=0)])
    left, taken = totals[source] - moved, totals[targets] + moved
    now = balance.cost(totals)
    gain = now[source] + now[targets] - balance.cost(left) - balance.cost(taken)
    gain[left[:, 0] <= 0] = -np.inf
    best = int(gain.argmax())
    if gain[best] < 1e-9:
        return False
    totals[source], totals[targets[best]] = left[best], taken[best]
    fold_of[row] = targets[best]
    if best < len(partners):
        fold_of[partners[best]] = source
    return True


class _Balance:
    """How uneven folds are: by numbers of cases, as far as whole groups do not make it inevitable, then by classes."""

    def __init__(self, loads: NDArray[np.float64], folds: int) -> None:
        self.mean = loads.sum(axis=0) / folds
        # A fold may be off by half a usual group; with single cases that is the rounding of the mean.
        self.slack = max(0.999, median(loads[:, 0].tolist()) / 2)
        # The sum over folds cannot fall below what the rounding of the means costs.
        rounding = self.mean - np.floor(self.mean)
        spread = folds * rounding * (1 - rounding) / np.maximum(self.mean, 1) ** 2
        self.least = float(spread.sum()) + 1e-8

    def cost(self, totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """(folds, 1 + classes) -> (folds,): squared relative deviations, and the price of cases beyond the slack."""
        gap = totals - self.mean
        beyond = np.maximum(np.abs(gap[..., 0]) - self.slack, 0)
        return np.asarray(((gap / np.maximum(self.mean, 1)) ** 2).sum(axis=-1) + _PRICE * beyond)
