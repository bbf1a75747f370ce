"""Held-out cases in memory, and their Dice and HD95 after any steps.

Steps are done as a model does them (`vesal.infer.postprocess`) and the result is scored. Dozens of limits of size are
tried for each class, though: what these remove follows from a table of the class's components, with the same result.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import IGNORE, LabelSet
from vesal.evaluate.case_scores import score_case
from vesal.infer.components import component_sizes, label_components, largest_component
from vesal.infer.postprocess import Postprocess, Step, removed
from vesal.metrics.overlap import confusions
from vesal.metrics.surface import bounding_box
from vesal.parallel import map_in_order
from vesal.volume.geometry import Geometry

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Labels = NDArray[np.uint8]
Steps = tuple[Step, ...]


@dataclass(frozen=True, eq=False)
class ValidationCase:
    """A held-out prediction with its truth, cropped to the foreground of both and compressed.

    Attributes:
        case, patient: names.
        geometry: of the whole image.
        box: of the crop.
        packed: the contiguous label maps of prediction and truth.
        judged: the classes whose truth was drawn.
        truth_sizes: of each class, the voxels of its components in the truth; none where it is not judged.
    """

    case: str
    patient: str
    geometry: Geometry
    box: tuple[slice, ...]
    packed: tuple[bytes, bytes]
    judged: tuple[str, ...]
    truth_sizes: tuple[Counts, ...]

    @classmethod
    def of(
        cls,
        names: tuple[str, str],
        prediction: Labels,
        truth: Labels,
        geometry: Geometry,
        labels: LabelSet,
        annotated: Collection[str] | None = None,
    ) -> ValidationCase:
        """Of contiguous label maps (*spatial) on one grid; voxels that are 255 in the truth do not count.

        `names` are those of case and patient; `annotated` names the labels that were drawn, None means all.

        Raises:
            DataError: an annotated name is unknown.
        """
        box = bounding_box((prediction != 0) | (truth != 0)) or (slice(0, 1),) * truth.ndim
        prediction, truth = prediction[box], truth[box]
        judged = labels.judged(annotated)
        sizes = []
        for index, (name, own) in enumerate(zip(labels.classes, labels.boxes(truth), strict=True)):
            if own is None or name not in judged:
                sizes.append(np.zeros(0, dtype=np.int64))
            else:
                sizes.append(component_sizes(*label_components(labels.mask(index, truth[own])))[1:])
        packed = zlib.compress(prediction.tobytes(), 1), zlib.compress(truth.tobytes(), 1)
        return cls(*names, geometry, box, packed, judged, tuple(sizes))

    def after(self, steps: Steps, labels: LabelSet) -> tuple[Labels, Labels]:
        """The prediction after the steps, and the truth; both cropped."""
        shape = tuple(side.stop - side.start for side in self.box)
        prediction, truth = (
            np.frombuffer(bytearray(zlib.decompress(one)), np.uint8).reshape(shape) for one in self.packed
        )
        Postprocess(steps=steps).apply(prediction, labels, self.geometry.voxel_volume_mm3)
        return prediction, truth


@dataclass(frozen=True, eq=False)
class _Components:
    """The n components of a class in one prediction, by their numbers; number 0 is outside.

    Attributes:
        sizes: (n + 1,) voxels.
        predicted: (n + 1,) voxels, without those of unknown truth.
        tp: (n + 1,) voxels that are of the class in the truth.
        largest: number of the largest one; 0 where there is none.
        truth: voxels of the class in the truth.
    """

    sizes: Counts
    predicted: Counts
    tp: Counts
    largest: int
    truth: int

    @classmethod
    def of(cls, prediction: Labels, truth: Labels, labels: LabelSet, index: int) -> _Components:
        box = labels.boxes(prediction)[index] or (slice(0, 0),) * truth.ndim
        components, count = label_components(labels.mask(index, prediction[box]))
        sizes, actual = component_sizes(components, count), truth[box]
        members = labels.members(index)

        def counted(where: NDArray[np.bool_]) -> Counts:
            return component_sizes(np.where(where, components, 0), count)

        return cls(
            sizes=sizes,
            predicted=counted(actual != IGNORE),
            tp=counted(members[actual]),
            largest=largest_component(components, sizes) if count else 0,
            truth=int(component_sizes(truth, IGNORE)[members].sum()),
        )

    def without(self, removals: Steps, voxel_mm3: float) -> tuple[float, int]:
        """Dice of the class, 1 where both masks are empty, and its voxels, after removals in their order."""
        kept = np.arange(len(self.sizes)) > 0
        for step in removals:
            kept &= ~removed(step, self.sizes, kept, self.largest, voxel_mm3)
        both = int(self.predicted[kept].sum()) + self.truth
        return 2 * int(self.tp[kept].sum()) / both if both else 1.0, int(self.sizes[kept].sum())


class ValidationCases:
    """Held-out cases on which steps are to be chosen.

    Args:
        labels: their classes; regions are nested.
        cases: at least one.
        workers: threads that process cases; None for as many as there are CPUs.
    """

    def __init__(self, labels: LabelSet, cases: Sequence[ValidationCase], workers: int | None = None) -> None:
        self.labels, self.cases = labels, cases
        self.names = labels.classes
        names = list(dict.fromkeys(one.patient for one in cases))
        #: (cases,) numbers of the patients, in the order in which they come.
        self.patients = np.array([names.index(one.patient) for one in cases], dtype=np.int64)
        self._workers = workers
        self._judged = np.array([[name in one.judged for one in cases] for name in self.names])
        self._outcomes: dict[tuple[int | None, Steps], tuple[Floats, Counts]] = {}
        self._components: dict[tuple[int, Steps], list[_Components]] = {}
        self._hd95: dict[tuple[int, int | None, Steps], Floats] = {}

    def dice(self, index: int | None, steps: Steps) -> Floats:
        """(cases,) of a class, or the mean over the judged classes, after the steps; NaN where not judged.

        It is 1 where truth and prediction are both empty. The mean over evaluated cases leaves these out; here
        they count, as the right answer, or removing what is wrong altogether would be worth nothing.
        """
        dice = self._outcome(index, steps)[0]
        return _mean_defined(dice) if index is None else dice

    def changed(self, index: int | None, steps: Steps, base: Steps) -> NDArray[np.bool_]:
        """(cases,) whether a class (None: any) has other voxels after `steps` than after `base`, one step fewer.

        A step only takes voxels from its class or only adds some, so that counting them tells.
        """
        differ = self._outcome(index, steps)[1] != self._outcome(index, base)[1]
        return np.asarray(differ.any(axis=0) if index is None else differ)

    def hd95(self, cases: Sequence[int], index: int | None, steps: Steps) -> Floats:
        """(len(cases),) mm, of a class, or the mean over the judged ones; 0 where both masks are empty."""

        def measured(case: int) -> Floats:
            if (case, index, steps) not in self._hd95:
                self._hd95[case, index, steps] = self._distances(self.cases[case], index, steps)
            return self._hd95[case, index, steps]

        found = list(map_in_order(measured, cases, workers=self._workers))
        return np.nan_to_num(_mean_defined(np.stack(found, axis=1))) if found else np.zeros(0)

    def _outcome(self, index: int | None, steps: Steps) -> tuple[Floats, Counts]:
        """(cases,) Dice of a class after the steps, and its voxels; (classes, cases) of all of them for None."""
        if index is not None and any(step.do == "fill_holes" for step in steps):
            dice, voxels = self._outcome(None, steps)
            return dice[index], voxels[index]
        if (index, steps) not in self._outcomes:
            found = self._scored(steps) if index is None else self._looked_up(index, steps)
            dice, voxels = (np.stack(each, axis=-1) for each in zip(*found, strict=True))
            judged = self._judged if index is None else self._judged[index]
            self._outcomes[index, steps] = np.where(judged, dice, np.nan), voxels
        return self._outcomes[index, steps]

    def _scored(self, steps: Steps) -> list[tuple[Floats, Counts]]:
        """For each case (classes,) Dice and voxels, from the label map."""
        table = self.labels.class_table

        def scored(case: ValidationCase) -> tuple[Floats, Counts]:
            prediction, truth = case.after(steps, self.labels)
            counts = confusions(prediction, truth, table, IGNORE)
            voxels = component_sizes(prediction, IGNORE)[: table.shape[1]]
            return np.array([1.0 if one.dice is None else one.dice for one in counts]), table @ voxels

        return list(map_in_order(scored, self.cases, workers=self._workers))

    def _looked_up(self, index: int, steps: Steps) -> list[tuple[float, int]]:
        """For each case Dice and voxels of a class after removals, from its components."""
        table = self.labels.class_table
        outer = [self.names[one] for one in range(index) if (table[one] & table[index]).any()]
        before = tuple(step for step in steps if step.of is None or step.of in outer)
        if (index, before) not in self._components:

            def counted(case: ValidationCase) -> _Components:
                return _Components.of(*case.after(before, self.labels), self.labels, index)

            self._components[index, before] = list(map_in_order(counted, self.cases, workers=self._workers))
        own = tuple(step for step in steps if step.of == self.names[index])
        pairs = zip(self.cases, self._components[index, before], strict=True)
        return [rows.without(own, case.geometry.voxel_volume_mm3) for case, rows in pairs]

    def _distances(self, case: ValidationCase, index: int | None, steps: Steps) -> Floats:
        """(classes asked for,) HD95 in mm; NaN where not judged."""
        names = self.names if index is None else (self.names[index],)
        asked = [name for name in names if name in case.judged]
        members = {region.name: region.members for region in self.labels.regions}
        # In the whole image: the distance to an empty mask is its diagonal.
        prediction, truth = np.zeros((2, *case.geometry.shape), dtype=np.uint8)
        prediction[case.box], truth[case.box] = case.after(steps, self.labels)
        annotated = {member for name in asked for member in members.get(name, (name,))}
        rows = score_case(
            case.case, prediction, truth, case.geometry, self.labels, annotated=annotated, lesions=()
        )
        found = {row.class_name: row.hd95_mm or 0.0 for row in rows}
        return np.array([found[name] if name in asked else np.nan for name in names])


def _mean_defined(values: Floats) -> Floats:
    """The mean over the first axis of what is not NaN; NaN where nothing is."""
    return np.asarray(np.ma.masked_invalid(values).mean(axis=0).filled(np.nan))
