"""Post-processing of label maps: components and holes, by steps that are stored in the model file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from vesal.data.labels import LabelSet
from vesal.data.value_tables import joint_box
from vesal.infer.components import component_sizes, holes, label_components, largest_component
from vesal.infer.model_record import read_model_record, unusable
from vesal.memory_limit import require
from vesal.record import Record

Kind = Literal["min_size", "largest", "min_volume", "fill_holes"]

#: Four a class, and the one of all foreground.
_MAX_STEPS = 4 * 254 + 1

#: That a step takes for a voxel of the box around its class, the map's own among them.
_BYTES = 7

Limit = Annotated[float, Field(strict=True, ge=0, le=1e12, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=0, le=1 << 53)]


class Step(Record):
    """One step. Components are those of `label_components` with corners, on the scan's own grid.

    What leaves a class becomes background. What leaves a region goes to the innermost of the regions declared
    before it that hold it, as an enhancing tumour becomes core: no region is left outside the one around it.

    Attributes:
        do: largest keeps the largest component; min_size removes the components under the limits; min_volume
            removes the whole class where all of it together is under them; fill_holes gives background that lies
            wholly within the class to it, and never takes another class.
        of: a class (a label, or a region where there are any); None is all foreground together, for largest.
        mm3, voxels: the limits of min_size and min_volume. What is under either of them is removed; a voxel of a
            2D picture counts as 1 mm thick.
    """

    do: Kind
    of: str | None = Field(default=None, max_length=1000)
    mm3: Limit = 0.0
    voxels: Count = 0

    @model_validator(mode="after")
    def _consistent(self) -> Step:
        limited = self.do in ("min_size", "min_volume")
        if limited != bool(self.mm3 or self.voxels):
            raise ValueError(f"'{self.do}' {'needs a limit' if limited else 'takes no limit'}")
        if self.of is None and self.do != "largest":
            raise ValueError(f"'{self.do}' needs its class")
        return self

    @property
    def title(self) -> str:
        """In words.

        >>> Step(do="min_size", of="liver", mm3=12.5).title
        'remove components of liver under 12.5 mm³'
        """
        limits = [f"{self.mm3:.4g} mm³"] * bool(self.mm3) + [f"{self.voxels} voxels"] * bool(self.voxels)
        limit = " or ".join(limits)
        if self.of is None:
            return "keep the largest component of all foreground"
        return {
            "largest": f"keep the largest component of {self.of}",
            "min_size": f"remove components of {self.of} under {limit}",
            "min_volume": f"drop {self.of} where all of it is under {limit}",
            "fill_holes": f"fill holes in {self.of}",
        }[self.do]


class Postprocess(Record):
    """Steps in the order in which they are done, and what they were worth where they were chosen.

    Attributes:
        version: of this format.
        steps: the first is done first.
        cases: held-out cases on which the steps were chosen.
        gain: of the mean Dice over these same cases; it holds the choice's optimism.
        crossfit_gain: of the mean Dice where each case's steps were chosen on other cases.
    """

    version: Annotated[int, Field(strict=True, ge=1, le=1)] = 1
    steps: tuple[Step, ...] = Field(max_length=_MAX_STEPS)
    cases: Count | None = None
    gain: Annotated[float, Field(strict=True, ge=-1, le=1)] | None = None
    crossfit_gain: Annotated[float, Field(strict=True, ge=-1, le=1)] | None = None

    def apply(self, contiguous: NDArray[np.uint8], labels: LabelSet, voxel_mm3: float) -> int:
        """Do the steps, in place.

        Beyond the map itself it takes 3 to 6 bytes a voxel of the box around the class in hand.

        Args:
            contiguous: (*spatial) label map on the scan's own grid, 2D or 3D.
            labels: of the model.
            voxel_mm3: volume of a voxel.

        Returns:
            How many voxels were changed (one that two steps changed counts twice).
        """
        boxes = labels.boxes(contiguous) if self.steps else []
        whole = joint_box(boxes)
        changed = 0
        for step in self.steps:
            # No class ever leaves the box that it had before the first step.
            index = None if step.of is None else labels.classes.index(step.of)
            box = whole if index is None else boxes[index]
            if box is None:
                continue
            values = contiguous[box]
            require(
                _BYTES * values.size, f"The step to {step.title}", "leave such steps out (--no-postprocess)"
            )
            if step.do == "fill_holes" and index is not None:
                components, inside = holes(values, labels.members(index))
                gaps = inside[components]
                values[gaps] = painted(labels)[index]
                changed += int(np.count_nonzero(gaps))
            else:
                changed += _remove(values, labels, index, step, voxel_mm3)
        return changed


def read_postprocess(value: object, labels: LabelSet, path: str | Path) -> Postprocess | None:
    """The steps of a model file, be it honest or hostile; None for none.

    Raises:
        VesalError: they are not valid, of a newer version, or name a class that the model does not have.
    """
    what = "post-processing"
    found = read_model_record(Postprocess, value, what, path)
    steps = () if found is None else found.steps
    if unknown := sorted({step.of for step in steps if step.of is not None} - set(labels.classes)):
        raise unusable(path, what, f"it names {unknown[0]}, which is no class of the model")
    return found


def painted(labels: LabelSet) -> list[int]:
    """For each class the contiguous value that stands for it: its label's, or that with which a region is painted."""
    count = len(labels.classes)
    if not labels.regions:
        return list(range(1, count + 1))
    return [int(value) for value in labels.paint(np.eye(count, dtype=bool))]


def left_behind(labels: LabelSet, index: int) -> NDArray[np.uint8]:
    """(256,) what each contiguous value becomes where it leaves a class: background, or the region around it."""
    table = np.zeros(256, dtype=np.uint8)
    if labels.regions:
        for value, outer in zip(painted(labels)[:index], labels.class_table[:index], strict=True):
            table[: len(outer)][outer] = value
    return table


def nested(labels: LabelSet) -> bool:
    """Whether of every two regions the later is part of the earlier or has no label of it; plain classes are so.

    >>> nested(LabelSet.from_values({"a": 1, "b": 2, "c": 3}, regions={"ab": ["a", "b"], "bc": ["b", "c"]}))
    False
    """
    table = labels.class_table
    return all(
        not (table[outer] & table[inner]).any() or bool((table[outer] >= table[inner]).all())
        for inner in range(len(table))
        for outer in range(inner)
    )


def removed(
    step: Step, sizes: NDArray[np.int64], kept: NDArray[np.bool_], largest: int, voxel_mm3: float
) -> NDArray[np.bool_]:
    """(n + 1,) which of the components that are kept a step removes; number 0 is outside.

    Args:
        step: of removal.
        sizes: (n + 1,) voxels of each.
        kept: (n + 1,) those that are left by earlier steps.
        largest: number of the largest one.
        voxel_mm3: volume of a voxel.
    """
    if step.do == "largest":
        return kept & (np.arange(len(sizes)) != largest)
    judged = sizes if step.do == "min_size" else sizes[kept].sum()
    # What measures just a limit is not under it.
    under = (judged * voxel_mm3 < step.mm3 * (1 - 1e-9)) | (judged < step.voxels)
    return np.asarray(kept & under)


def _remove(
    values: NDArray[np.uint8], labels: LabelSet, index: int | None, step: Step, voxel_mm3: float
) -> int:
    mask = values != 0 if index is None else labels.mask(index, values)
    components, count = (mask.view(np.uint8), 1) if step.do == "min_volume" else label_components(mask)
    if not count:
        return 0
    sizes = component_sizes(components, count)
    largest = largest_component(components, sizes) if step.do == "largest" else 0
    leaves = removed(step, sizes, np.arange(count + 1) > 0, largest, voxel_mm3)
    if not leaves.any():
        return 0
    gone = leaves[components]
    values[gone] = 0 if index is None else left_behind(labels, index)[values[gone]]
    return int(np.count_nonzero(gone))


def in_order(steps: Sequence[Step], labels: LabelSet) -> tuple[Step, ...]:
    """The order in which chosen steps are done: all foreground, then the classes from outer to inner, then holes.

    Holes come last, from inner to outer, so that a component which was removed from within a class leaves none.
    """
    removals: tuple[Kind, ...] = ("min_size", "largest", "min_volume")

    def place(step: Step) -> tuple[float, int]:
        if step.of is None:
            return -1, 0
        index = labels.classes.index(step.of)
        if step.do == "fill_holes":
            return math.inf, -index
        return index, removals.index(step.do)

    return tuple(sorted(steps, key=place))
