"""The classes of a label map: names, original values, regions, ignore label, left/right pairs, colours.

A label map has three forms. In the file it holds any values. Inside Vesal it is contiguous: uint8, 0 for the
background, i for the i-th label, 255 for voxels to ignore. A network's outputs are either the contiguous
classes (softmax) or overlapping regions (one sigmoid each).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from vesal.data.value_tables import cast, joint_box, look_up, value_boxes, value_counts
from vesal.errors import DataError
from vesal.record import Record

#: The contiguous value of voxels that neither training nor evaluation looks at.
IGNORE = 255

#: The name under which the mean over the classes stands in tables and figures.
MEAN = "mean"

_PALETTE = (
    "#e6550d", "#3182bd", "#31a354", "#756bb1", "#e7ba52", "#d6616b", "#17becf", "#8c6d31", "#ce6dbd", "#637939",
)  # fmt: skip


class Label(Record):
    """One class: its name, its value in the files, its colour (#rrggbb)."""

    name: str
    value: int
    colour: str = ""


class Region(Record):
    """A union of labels that is predicted as one output, such as BraTS' whole tumour."""

    name: str
    members: tuple[str, ...]


class Threshold(Record):
    """How a soft mask is read: what is stored at or above `at` becomes `value`, all else (and NaN) 0."""

    at: float
    value: int


class LabelSet(Record):
    """All classes of a data set. Contiguous value i + 1 is `labels[i]`.

    Attributes:
        labels: foreground classes in contiguous order.
        background: the background's value in the files.
        ignore: value in the files of voxels to leave out, or None.
        regions: overlapping outputs, outer before inner; empty for plain classes. Each has a label that no
            later one has; where it has several, its first stands for them in a painted label map.
        pairs: names of left and right partners, which mirroring swaps; no name is in two of them.
        threshold: files hold soft masks of the one label, which is where they are at or above this.
        question: why it is not clear what the files hold and who decides it, a sentence; '' as a rule. What the other
            fields say is then a guess, good enough to look at the data and not to train.

    >>> labels = LabelSet.from_values({"background": 0, "oedema": 2, "core": 4})
    >>> labels.encode(np.array([0, 4, 2], dtype=np.int16)).tolist()
    [0, 2, 1]
    >>> labels.decode(np.array([0, 2, 1], dtype=np.uint8)).tolist()
    [0, 4, 2]
    """

    labels: tuple[Label, ...]
    background: int = 0
    ignore: int | None = None
    regions: tuple[Region, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    threshold: float | None = None
    question: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> LabelSet:
        names = [label.name for label in self.labels]
        values = [self.background, *(label.value for label in self.labels)]
        if self.ignore is not None:
            values.append(self.ignore)
        if not names:
            raise ValueError("there is no foreground label")
        if len(names) > 254:
            raise ValueError(f"{len(names)} labels; at most 254 are possible")
        if len(set(names)) != len(names):
            raise ValueError(f"two labels have the same name: {names}")
        if len(set(values)) != len(values):
            raise ValueError(f"two labels have the same value: {values}")
        outputs = [region.name for region in self.regions]
        if len(set(outputs)) != len(outputs):
            raise ValueError(f"two regions have the same name: {outputs}")
        if MEAN in (*names, *outputs):
            raise ValueError(
                f"{MEAN!r} is what tables call the mean over the classes; give that class another name"
            )
        mentioned = {name for region in self.regions for name in region.members}
        mentioned |= {name for pair in self.pairs for name in pair}
        if unknown := mentioned - set(names):
            raise ValueError(f"regions or pairs name unknown labels: {sorted(unknown)}")
        paired = [name for pair in self.pairs for name in pair]
        if len(set(paired)) != len(paired):
            raise ValueError("a label has two partners, or is its own, in the left/right pairs")
        if self.threshold is not None and len(names) > 1:
            raise ValueError(f"a threshold is for one label, and there are {len(names)}")
        if self.regions:
            self._paint_order()
        return self

    # --- made from -------------------------------------------------------------------------------------

    @classmethod
    def from_values(
        cls,
        values: Mapping[str, int],
        *,
        regions: Mapping[str, Sequence[str]] | None = None,
        ignore: int | None = None,
        pairs: Sequence[tuple[str, str]] | None = None,
    ) -> LabelSet:
        """From names and file values; the name 'background' (any case) or the value 0 is the background.

        The name 'ignore' marks the ignore label. Without `pairs`, left/right pairs are found by name.
        """
        background = 0
        if not any(name.lower() == "background" for name in values):
            values = {name: value for name, value in values.items() if value != 0}
        labels: list[Label] = []
        for name, value in sorted(values.items(), key=lambda item: item[1]):
            if name.lower() == "background":
                background = value
            elif name.lower() == "ignore":
                ignore = value
            else:
                colour = _PALETTE[len(labels) % len(_PALETTE)]
                labels.append(Label(name=name, value=value, colour=colour))
        return cls(
            labels=tuple(labels),
            background=background,
            ignore=ignore,
            regions=tuple(Region(name=name, members=tuple(of)) for name, of in (regions or {}).items()),
            pairs=left_right_pairs([label.name for label in labels]) if pairs is None else tuple(pairs),
        )

    def as_regions(self) -> LabelSet:
        """The same labels, each a region of its own, so that a network puts out one sigmoid a label.

        >>> LabelSet.from_values({"atrium": 1}).as_regions().outputs
        1
        """
        if self.regions:
            return self
        regions = tuple(Region(name=name, members=(name,)) for name in self.names)
        return self.model_copy(update={"regions": regions})

    @property
    def reading(self) -> Threshold | None:
        """How the label files are read, where they are soft masks."""
        if self.threshold is None:
            return None
        return Threshold(at=self.threshold, value=self.labels[0].value)

    @property
    def hard(self) -> LabelSet:
        """Of the same masks after they were read by the threshold."""
        return self.model_copy(update={"threshold": None, "question": ""})

    # --- asked -----------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the labels in contiguous order, without the background."""
        return tuple(label.name for label in self.labels)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of what is measured: the regions where there are any, else the labels."""
        return tuple(region.name for region in self.regions) or self.names

    def judged(self, annotated: Collection[str] | None) -> tuple[str, ...]:
        """Classes that can be judged in a case in which only the labels `annotated` were drawn (None: all).

        A region can be judged where all of its members were drawn.

        Raises:
            DataError: a name is not a label.
        """
        if annotated is None:
            return self.classes
        if unknown := sorted(set(annotated) - set(self.names)):
            raise DataError(
                f"{', '.join(unknown)} is said to be annotated, but the labels do not hold it; "
                f"they are {', '.join(self.names)}."
            )
        members = {region.name: region.members for region in self.regions}
        return tuple(name for name in self.classes if set(members.get(name, (name,))) <= set(annotated))

    def mirrored(self, names: Collection[str]) -> tuple[str, ...]:
        """Names of labels as they are after a left/right mirror: those of pairs change places.

        >>> LabelSet.from_values({"kidney_left": 1, "liver": 2, "kidney_right": 3}).mirrored(["kidney_left", "liver"])
        ('kidney_right', 'liver')
        """
        partners = dict(self.pairs) | {right: left for left, right in self.pairs}
        return tuple(partners.get(name, name) for name in names)

    @property
    def outputs(self) -> int:
        """Channels that a network puts out: one a region, or the labels and the background."""
        return len(self.regions) or len(self.labels) + 1

    @property
    def values(self) -> tuple[int, ...]:
        """All values that a file may hold."""
        ignore = () if self.ignore is None else (self.ignore,)
        return (self.background, *(label.value for label in self.labels), *ignore)

    @property
    def unwritten(self) -> tuple[Label, ...]:
        """Labels whose value no predicted label map holds, since every region is painted with another.

        >>> labels = LabelSet.from_values({"a": 1, "b": 2, "c": 3}, regions={"all": ["a", "b", "c"], "c": ["c"]})
        >>> labels.unwritten[0].name
        'b'
        """
        if not self.regions:
            return ()
        painted = {*self._paint_order(), *(value for value, _ in self._joint)}
        return tuple(label for number, label in enumerate(self.labels, start=1) if number not in painted)

    @property
    def by_name(self) -> dict[str, int]:
        """Name of each label -> its value in the files."""
        return {label.name: label.value for label in self.labels}

    @property
    def swaps(self) -> tuple[tuple[int, int], ...]:
        """Contiguous values that change places under a left/right mirror."""
        index = {name: i + 1 for i, name in enumerate(self.names)}
        return tuple((index[left], index[right]) for left, right in self.pairs)

    @property
    def one_sided(self) -> bool:
        """Does a label name a side, such as a lone 'kidney_left', without a partner: its mirror image has no label.

        The heart's chambers are no such labels: a mirrored left ventricle is still recognised by its shape.

        >>> LabelSet.from_values({"kidney_left": 1}).one_sided, LabelSet.from_values({"left atrium": 1}).one_sided
        (True, False)
        """
        paired = {name for pair in (*self.pairs, *left_right_pairs(self.names)) for name in pair}
        return any(_sided(name) and name not in paired for name in self.names)

    @cached_property
    def class_table(self) -> NDArray[np.bool_]:
        """(len(classes), len(labels) + 1) bool: does this class hold that contiguous value."""
        table = np.zeros((len(self.classes), len(self.labels) + 1), dtype=bool)
        index = {name: i + 1 for i, name in enumerate(self.names)}
        for row, region in enumerate(self.regions):
            table[row, [index[name] for name in region.members]] = True
        if not self.regions:
            table[np.arange(len(self.labels)), np.arange(1, len(self.labels) + 1)] = True
        return table

    # --- between the forms -----------------------------------------------------------------------------

    def encode(self, array: NDArray[Any]) -> NDArray[np.uint8]:
        """File values -> contiguous values.

        Raises:
            DataError: a value is not declared; the message lists it and the declared ones.
        """
        found = list(value_counts(array))
        if undeclared := sorted(set(found) - set(self.values)):
            raise DataError(
                f"label values {undeclared} are not declared (declared: {sorted(self.values)}); "
                "add them to the data set's labels or correct the file"
            )
        lowest, highest, base = found[0], found[-1], min(found[0], 0)
        table = np.zeros(max(highest, 0) - base + 1, dtype=np.uint8)
        for contiguous, label in enumerate(self.labels, start=1):
            if lowest <= label.value <= highest:
                table[label.value - base] = contiguous
        if self.ignore is not None and lowest <= self.ignore <= highest:
            table[self.ignore - base] = IGNORE
        same = all(table[value - base] == value for value in found)
        return cast(array, np.uint8) if same else look_up(table, array, base)

    def decode(self, contiguous: NDArray[np.uint8]) -> NDArray[Any]:
        """Contiguous values -> file values, in the smallest integer type that holds all of them."""
        ignore = self.background if self.ignore is None else self.ignore
        lowest, highest = min(self.values), max(self.values)
        widest = highest if lowest >= 0 else min(lowest, -highest - 1)
        table = np.full(256, self.background, dtype=np.min_scalar_type(widest))
        table[1 : len(self.labels) + 1] = [label.value for label in self.labels]
        table[IGNORE] = ignore
        return look_up(table, contiguous)

    def masks(self, contiguous: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Contiguous label map (*spatial) -> one mask a class, (len(classes), *spatial)."""
        return np.stack([self.mask(index, contiguous) for index in range(len(self.classes))])

    def mask(self, index: int, contiguous: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Contiguous label map -> the mask of one class, of the same shape: all of them may be too much at once."""
        return look_up(self.members(index), contiguous)

    def members(self, index: int) -> NDArray[np.bool_]:
        """(256,) the contiguous values of a class."""
        members = np.zeros(256, dtype=bool)
        members[: len(self.labels) + 1] = self.class_table[index]
        return members

    def boxes(self, contiguous: NDArray[np.uint8]) -> list[tuple[slice, ...] | None]:
        """The smallest box around each class of a contiguous label map, None around one that it does not hold.

        >>> LabelSet.from_values({"core": 1, "shell": 2}).boxes(np.array([0, 1, 1, 0], dtype=np.uint8))
        [(slice(1, 3, None),), None]
        """
        found = value_boxes(contiguous)
        return [
            joint_box([found.get(int(value)) for value in np.flatnonzero(row)]) for row in self.class_table
        ]

    def paint(self, masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Region masks (len(regions), *spatial) -> contiguous label map: of several regions the innermost is painted,
        but where a label is in just these, as one that two organs share, that label.

        >>> both = LabelSet.from_values({"a": 1, "b": 2, "ab": 3}, regions={"A": ["a", "ab"], "B": ["b", "ab"]})
        >>> both.paint(np.array([[True, True, False], [False, True, True]])).tolist()
        [1, 3, 2]
        """
        contiguous = np.zeros(masks.shape[1:], dtype=np.uint8)
        for mask, value in zip(masks, self._paint_order(), strict=True):
            contiguous[mask] = value
        for value, regions in self._joint:
            contiguous[np.all([mask == (row in regions) for row, mask in enumerate(masks)], axis=0)] = value
        return contiguous

    @property
    def _joint(self) -> list[tuple[int, frozenset[int]]]:
        """Labels (contiguous) in several regions, of which the innermost is painted with a label of other regions."""
        named = [set(region.members) for region in self.regions]
        regions_of = [frozenset(row for row, of in enumerate(named) if name in of) for name in self.names]
        order, joint = self._paint_order(), dict[frozenset[int], int]()
        for value, rows in enumerate(regions_of, start=1):
            if len(rows) > 1 and regions_of[order[max(rows)] - 1] != rows:
                joint.setdefault(rows, value)
        return [(value, rows) for rows, value in joint.items()]

    def _paint_order(self) -> list[int]:
        """For each region the contiguous value of its first label that no later (inner) region has."""
        order = []
        for row, region in enumerate(self.regions):
            inner = {name for later in self.regions[row + 1 :] for name in later.members}
            own = [name for name in region.members if name not in inner]
            if not own:
                raise ValueError(
                    f"region '{region.name}' has no label that no later region has; "
                    "order the regions from outer to inner"
                )
            order.append(self.names.index(own[0]) + 1)
        return order


def left_right_pairs(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of names that differ only in left and right, or L and R.

    The heart's left and right are no mirror images of each other, so its chambers are not paired.

    >>> left_right_pairs(["kidney_left", "liver", "kidney_right", "left ventricle", "right ventricle"])
    (('kidney_left', 'kidney_right'),)
    """
    pairs: list[tuple[str, str]] = []
    taken: set[str] = set()
    for name in names:
        parts = _SPLIT.split(name)
        swapped = "".join(_OPPOSITE.get(part.lower(), part) for part in parts)
        leftish = any(part.lower() in ("left", "l") for part in parts)
        if not leftish or not _sided(name) or name in taken:
            continue
        others = (
            other for other in names if other.lower() == swapped.lower() and other not in {name, *taken}
        )
        if (partner := next(others, None)) is not None:
            pairs.append((name, partner))
            taken |= {name, partner}
    return tuple(pairs)


_OPPOSITE = {"left": "right", "l": "r", "right": "left", "r": "l"}
_SPLIT = re.compile(r"([\s_\-.]+)")
_HEART = {
    *("ventricle", "ventricles", "ventricular", "atrium", "atria", "atrial"),
    *("heart", "cardiac", "myocardium", "myocardial"),
}


def _sided(name: str) -> bool:
    """Whether a name holds left or right as a word and is no part of the heart; the brain has lateral ventricles."""
    words = {word.lower() for word in _SPLIT.split(name)}
    return not words.isdisjoint(_OPPOSITE) and ("lateral" in words or words.isdisjoint(_HEART))
