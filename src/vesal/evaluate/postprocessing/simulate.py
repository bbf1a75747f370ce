"""What steps would do to the Dice of many cases, all at once, from their tables of components."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import LabelSet
from vesal.evaluate.case_scores import score_case
from vesal.evaluate.postprocessing.component_table import CaseRows, HoleRows, hole_rows
from vesal.infer.postprocess import Step, under
from vesal.parallel import map_in_order
from vesal.volume.geometry import Geometry

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Steps = tuple[Step, ...]


@dataclass(frozen=True, eq=False)
class ProcessedCase:
    """A case's label map (*spatial), contiguous, after some steps, with its truth and their grid."""

    prediction: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    geometry: Geometry


@dataclass(frozen=True, eq=False)
class _Pool:
    """Components of all cases one after the other, sorted by case.

    `order` brings them by case, and in a case the largest first, of equal ones the first in the array.
    """

    case: Ints
    sizes: Ints
    order: Ints
    starts: Ints

    @classmethod
    def of(cls, sizes: Sequence[Ints], first: Sequence[Ints]) -> _Pool:
        case = np.repeat(np.arange(len(sizes)), [len(one) for one in sizes])
        every = np.concatenate(sizes)
        order = np.lexsort((np.concatenate(first), -every, case))
        return cls(case, every, order, np.cumsum([0, *(len(one) for one in sizes)]))

    def largest(self, kept: Bools) -> Bools:
        """Of the kept components of each case the largest."""
        there = self.order[kept[self.order]]
        case = self.case[there]
        leads = there[np.diff(case, prepend=-1) != 0]
        found = np.zeros_like(kept)
        found[leads] = True
        return found

    def total(self, values: Ints, which: Bools | None = None) -> Ints:
        """(cases,) the sum over each case's components, or some of them."""
        if which is not None:
            values = np.where(which, values, 0)
        return np.diff(np.concatenate([[0], np.cumsum(values)])[self.starts])


@dataclass(frozen=True, eq=False)
class _Class:
    """One class of all cases: `vesal.evaluate.postprocessing.component_table.ClassRows` one after the other."""

    pool: _Pool
    counted: Ints
    tp: Ints
    foreground: Ints
    around: dict[int, Ints]
    truth: Ints
    judged: Bools


@dataclass(frozen=True, eq=False)
class _Holes(HoleRows):
    """All holes of all cases, and the case of each."""

    case: Ints


class ValidationCases:
    """Held-out cases on which steps are to be chosen.

    Args:
        labels: their classes; regions are nested.
        rows: one a case.
        process: (index of a case, steps) -> its label map after these steps. Called where the tables do not
            suffice: for holes that a removal leaves, and for distances.
        workers: threads that process cases; None for as many as there are CPUs.
    """

    def __init__(
        self,
        labels: LabelSet,
        rows: Sequence[CaseRows],
        process: Callable[[int, Steps], ProcessedCase],
        workers: int | None = None,
    ) -> None:
        self.labels, self.rows = labels, rows
        self.names = labels.classes
        names = list(dict.fromkeys(row.patient for row in rows))
        #: (cases,) numbers of the patients, in the order in which they come.
        self.patients = np.array([names.index(row.patient) for row in rows], dtype=np.int64)
        self._process, self._workers = process, workers
        self._voxel_mm3 = np.array([row.voxel_mm3 for row in rows])
        self._foreground = _Pool.of([row.foreground for row in rows], [row.foreground_first for row in rows])
        self._classes: list[_Class] = []
        for index in range(len(self.names)):
            self._classes.append(self._pooled(index))
        table = labels.class_table
        self._touching = [
            frozenset(name for name, row in zip(self.names, table, strict=True) if (row & own).any())
            for own in table
        ]
        self._kept: dict[tuple[int, Steps], Bools] = {}
        self._dice: dict[tuple[int, Steps], Floats] = {}
        self._pooled_holes: dict[Steps, _Holes] = {}
        self._case_holes: dict[tuple[int, bytes], HoleRows] = {}
        self._hd95: dict[tuple[int, str, bytes], float] = {}

    def _pooled(self, index: int) -> _Class:
        own = [row.classes[index] for row in self.rows]
        around = {}
        for outer in own[0].around if own else ():
            starts = self._classes[outer].pool.starts
            around[outer] = np.concatenate(
                [row.around[outer] + start for row, start in zip(own, starts[:-1], strict=True)]
            )
        return _Class(
            pool=_Pool.of([row.sizes for row in own], [row.first for row in own]),
            counted=np.concatenate([row.counted for row in own]),
            tp=np.concatenate([row.tp for row in own]),
            foreground=np.concatenate(
                [row.foreground + start for row, start in zip(own, self._foreground.starts[:-1], strict=True)]
            ),
            around=around,
            truth=np.array([row.truth for row in own]),
            judged=np.array([row.judged for row in own]),
        )

    # --- metrics -------------------------------------------------------------------------------------------

    def dice(self, index: int | None, steps: Steps) -> Floats:
        """(cases,) of a class, or the mean over the judged classes, after the steps; NaN where not judged.

        It is 1 where truth and prediction are both empty. The mean over evaluated cases leaves these out; here
        they count, as the right answer, or removing what is wrong altogether would be worth nothing.
        """
        if index is None:
            every = np.stack([self.dice(one, steps) for one in range(len(self.names))])
            return _mean_defined(every)
        key = (index, self._relevant(index, steps))
        if key not in self._dice:
            own = self._classes[index]
            kept = self._kept_of(index, steps)
            predicted, tp = own.pool.total(own.counted, kept), own.pool.total(own.tp, kept)
            if (giving := self._giving(index, steps)) and len((holes := self._holes(steps)).case):
                filled = holes.of[:, giving].any(axis=1)
                case = holes.case[filled]
                np.add.at(predicted, case, holes.counted[filled])
                np.add.at(tp, case, holes.tp[filled, index])
            both = predicted + own.truth
            found = np.where(both > 0, 2 * tp / np.maximum(both, 1), 1.0)
            self._dice[key] = np.where(own.judged, found, np.nan)
        return self._dice[key]

    def changed(self, index: int | None, steps: Steps, base: Steps) -> Bools:
        """(cases,) whether a class (None: any) is not the same voxels after `steps` as after `base`."""
        found = np.zeros(len(self.rows), dtype=bool)
        for one in range(len(self.names)) if index is None else (index,):
            pool = self._classes[one].pool
            differ = self._kept_of(one, steps) != self._kept_of(one, base)
            found |= pool.total(differ.astype(np.int64)) > 0
            found |= self._fill_count(one, steps) != self._fill_count(one, base)
        return found

    def hd95(self, cases: Sequence[int], index: int | None, steps: Steps) -> Floats:
        """(len(cases),) mm, of a class, or the mean over the judged ones; 0 where both masks are empty.

        A case whose label map these steps leave as others did is not measured again.
        """
        names = self.names if index is None else (self.names[index],)
        states = [self._state(case, steps) for case in cases]
        asked = [
            (case, state)
            for case, state in zip(cases, states, strict=True)
            if any((case, name, state) not in self._hd95 for name in names)
        ]
        measure = partial(self._measure, names=names, steps=steps)
        for (case, state), measured in zip(
            asked, map_in_order(measure, [case for case, _ in asked], workers=self._workers), strict=True
        ):
            self._hd95.update({(case, name, state): value for name, value in measured.items()})
        every = [
            [self._hd95[case, name, state] for case, state in zip(cases, states, strict=True)]
            for name in names
        ]
        return np.nan_to_num(_mean_defined(np.array(every, dtype=np.float64).reshape(len(names), len(cases))))

    # --- components ----------------------------------------------------------------------------------------

    def _relevant(self, index: int, steps: Steps) -> Steps:
        """The steps on which a class's voxels depend; where holes are filled, that is on all removals."""
        own = tuple(step for step in steps if step.of is None or step.of in self._touching[index])
        return steps if any(step.do == "fill_holes" for step in own) else own

    def _kept_of(self, index: int, steps: Steps) -> Bools:
        """(n,) which components of a class the removals among the steps leave."""
        touching = self._touching[index]
        removals = tuple(
            step for step in steps if step.do != "fill_holes" and (step.of is None or step.of in touching)
        )
        if (index, removals) not in self._kept:
            self._kept[index, removals] = self._without(index, removals)
        return self._kept[index, removals]

    def _without(self, index: int, removals: Steps) -> Bools:
        own = self._classes[index]
        kept = np.ones(len(own.pool.sizes), dtype=bool)
        if any(step.of is None for step in removals):
            kept &= self._foreground.largest(np.ones(len(self._foreground.sizes), dtype=bool))[own.foreground]
        for outer, parents in own.around.items():
            kept &= self._kept_of(outer, removals)[parents]
        for step in removals:
            if step.of != self.names[index]:
                continue
            if step.do == "largest":
                kept = own.pool.largest(kept)
            elif step.do == "min_size":
                kept = kept & ~under(own.pool.sizes, step, self._voxel_mm3[own.pool.case])
            else:
                total = own.pool.total(own.pool.sizes, kept)
                kept = kept & ~under(total, step, self._voxel_mm3)[own.pool.case]
        return kept

    # --- holes ---------------------------------------------------------------------------------------------

    def _giving(self, index: int, steps: Steps) -> list[int]:
        """The classes whose filled holes are a class's: itself, and the regions within it."""
        names = {step.of for step in steps if step.do == "fill_holes"}
        table = self.labels.class_table
        return [
            inner
            for inner in range(index, len(self.names))
            if self.names[inner] in names and (table[index] >= table[inner]).all()
        ]

    def _fill_count(self, index: int, steps: Steps) -> Ints:
        """(cases,) voxels that are filled."""
        giving = self._giving(index, steps)
        if not giving:
            return np.zeros(len(self.rows), dtype=np.int64)
        holes = self._holes(steps)
        filled = holes.of[:, giving].any(axis=1)
        counted = np.bincount(holes.case[filled], holes.counted[filled], minlength=len(self.rows))
        return counted.astype(np.int64)

    def _holes(self, steps: Steps) -> _Holes:
        """The holes that are there after the removals among the steps."""
        removals = tuple(step for step in steps if step.do != "fill_holes")
        if removals not in self._pooled_holes:
            holes_of = partial(self._holes_of, removals=removals)
            found = list(map_in_order(holes_of, range(len(self.rows)), workers=self._workers))
            self._pooled_holes[removals] = _Holes(
                case=np.repeat(np.arange(len(found)), [len(rows.counted) for rows in found]),
                counted=np.concatenate([rows.counted for rows in found]),
                tp=np.concatenate([rows.tp for rows in found]),
                of=np.concatenate([rows.of for rows in found]),
            )
        return self._pooled_holes[removals]

    def _holes_of(self, case: int, removals: Steps) -> HoleRows:
        if all(self._part(case, index, removals).all() for index in range(len(self.names))):
            return self.rows[case].holes
        key = (case, self._state(case, removals))
        if key not in self._case_holes:
            processed = self._process(case, removals)
            self._case_holes[key] = hole_rows(processed.prediction, processed.truth, self.labels)
        return self._case_holes[key]

    # --- one case ------------------------------------------------------------------------------------------

    def _part(self, case: int, index: int, steps: Steps) -> Bools:
        starts = self._classes[index].pool.starts
        return self._kept_of(index, steps)[starts[case] : starts[case + 1]]

    def _state(self, case: int, steps: Steps) -> bytes:
        """The same for the same label map."""
        kept = [self._part(case, index, steps).tobytes() for index in range(len(self.names))]
        filled = [str(step.of).encode() for step in steps if step.do == "fill_holes"]
        return b"|".join([*kept, *filled])

    def _measure(self, case: int, names: Sequence[str], steps: Steps) -> dict[str, float]:
        asked = [name for name in names if self._classes[self.names.index(name)].judged[case]]
        members = {region.name: region.members for region in self.labels.regions}
        processed = self._process(case, steps)
        rows = score_case(
            self.rows[case].case,
            processed.prediction,
            processed.truth,
            processed.geometry,
            self.labels,
            annotated={member for name in asked for member in members.get(name, (name,))},
        )
        found = {row.class_name: row.hd95_mm or 0.0 for row in rows}
        return {name: found[name] if name in asked else float("nan") for name in names}


def _mean_defined(values: Floats) -> Floats:
    """The mean over the first axis of what is not NaN; NaN where nothing is."""
    return np.ma.masked_invalid(values).mean(axis=0).filled(np.nan)
