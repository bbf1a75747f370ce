"""Changes of label values in a conversion: by the user's map, or by a layout's rule."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from vesal.data.labels import IGNORE, Label, LabelSet, Region
from vesal.errors import UsageError, reason_of
from vesal.volume.geometry import Array

#: What a mask of one class holds in picture formats.
_WHITE = 255


@dataclass(frozen=True)
class Relabelling:
    """Which file value becomes which.

    Attributes:
        source: what the label maps hold.
        target: what they hold afterwards.
        into: every value of `source` -> a value of `target`.

    >>> labels = LabelSet.from_values({"core": 1, "oedema": 2, "enhancing": 4})
    >>> moved = remapped(labels, {4: 3})
    >>> moved.apply(np.array([0, 4, 2])).tolist(), moved.changes
    ([0, 3, 2], {4: 3})
    """

    source: LabelSet
    target: LabelSet
    into: Mapping[int, int]

    @property
    def changes(self) -> dict[int, int]:
        """The values that do not stay."""
        return {old: new for old, new in self.into.items() if old != new}

    def apply(self, array: Array) -> Array:
        """A label map of the source's values (*spatial) -> one of the target's; the array itself if nothing changes.

        Raises:
            DataError: it holds a value that is not declared.
        """
        contiguous = self.source.encode(array)
        if not self.changes:
            return array
        table = np.zeros(256, dtype=np.uint8)
        before, after = (np.array(list(values)) for values in (self.into, self.into.values()))
        table[self.source.encode(before)] = self.target.encode(after)
        return self.target.decode(table[contiguous])

    def annotated(self, names: Collection[str] | None) -> tuple[str, ...] | None:
        """Which labels of the target were drawn, where only `names` of the source were (None: all).

        A label into which several were merged was drawn if all of them were.
        """
        if names is None:
            return None
        parts = {
            label.name: {own.name for own in self.source.labels if self.into[own.value] == label.value}
            for label in self.target.labels
        }
        return tuple(name for name, own in parts.items() if own <= set(names))

    def renumbered(self, values: Mapping[int, int]) -> Relabelling:
        """This, and then other values for all of the target's."""
        labels = self.target
        new_values = {
            "labels": tuple(one.model_copy(update={"value": values[one.value]}) for one in labels.labels),
            "background": values[labels.background],
            "ignore": None if labels.ignore is None else values[labels.ignore],
        }
        into = {old: values[new] for old, new in self.into.items()}
        return Relabelling(self.source, labels.model_copy(update=new_values), into)

    def text(self) -> str:
        """The changes as text, such as 'enhancing tumour 4 -> 3'."""
        named: dict[int | None, str] = {label.value: label.name for label in self.source.labels}
        named |= {self.source.background: "background", self.source.ignore: "ignore"}
        return ", ".join(f"{named[old]} {old} -> {new}" for old, new in self.changes.items())


def unchanged(labels: LabelSet) -> Relabelling:
    """Every value stays."""
    return Relabelling(labels, labels, {value: value for value in labels.values})


def remapped(labels: LabelSet, changes: Mapping[int, int], *, merge: bool = False) -> Relabelling:
    """Values changed as the user asks, all at once.

    With `merge` several values may become one: its label is the one whose value stays, else the first of them;
    what becomes the background is no label any more. Of regions that become the same the outermost stays.

    Raises:
        UsageError: a value is not declared, two labels would collide, or no label or no background is left.
    """
    if unknown := sorted(set(changes) - set(labels.values)):
        raise UsageError(
            f"There is no label value {unknown[0]} to map; the values are {', '.join(map(str, labels.values))}."
        )
    into = {value: changes.get(value, value) for value in labels.values}
    sources: dict[int, list[int]] = {}
    for old, new in into.items():
        sources.setdefault(new, []).append(old)
    for new, olds in sources.items():
        if len(olds) > 1 and not merge:
            raise UsageError(
                f"The label values {' and '.join(map(str, olds))} would both become {new}; "
                "map the other one elsewhere, or add --merge if they are to be one label."
            )
    # Of the values that become one, the one that stays gives the label.
    holder = {new: new if new in olds else olds[0] for new, olds in sources.items()}
    if holder[into[labels.background]] != labels.background:
        raise UsageError(f"The background ({labels.background}) cannot become a label; map labels alone.")
    names = {label.value: label.name for label in labels.labels}
    kept = [
        label.model_copy(update={"value": new})
        for label in labels.labels
        for new in [into[label.value]]
        if holder[new] == label.value
    ]
    becomes = {name: names.get(holder[into[value]]) for value, name in names.items()}
    ignored = labels.ignore is not None and holder[into[labels.ignore]] == labels.ignore
    target = _target(
        labels,
        kept,
        becomes,
        background=into[labels.background],
        ignore=into[labels.ignore] if ignored and labels.ignore is not None else None,
    )
    return Relabelling(labels, target, into)


def consecutive(before: Relabelling) -> Relabelling:
    """0 for the background, 1 to K in the order of the values, K + 1 for ignore: what nnU-Net asks for.

    >>> consecutive(unchanged(LabelSet.from_values({"core": 1, "oedema": 2, "enhancing": 4}))).text()
    'enhancing 4 -> 3'
    """
    return _numbered(before, ignore=len(before.target.labels) + 1)


def for_pictures(before: Relabelling) -> Relabelling:
    """0 and 255 for one class; 0 to K for several, and 255 for ignore.

    >>> for_pictures(unchanged(LabelSet.from_values({"tumour": 1}))).text()
    'tumour 1 -> 255'
    """
    labels = before.target
    if len(labels.labels) == 1 and labels.ignore is None:
        return before.renumbered({labels.background: 0, labels.labels[0].value: _WHITE})
    return _numbered(before, ignore=IGNORE)


def _numbered(before: Relabelling, *, ignore: int) -> Relabelling:
    """0 for the background, then 1 to K."""
    labels = before.target
    values = {labels.background: 0} | {label.value: i for i, label in enumerate(labels.labels, start=1)}
    return before.renumbered(values if labels.ignore is None else values | {labels.ignore: ignore})


def _target(
    labels: LabelSet,
    kept: list[Label],
    becomes: Mapping[str, str | None],
    *,
    background: int,
    ignore: int | None,
) -> LabelSet:
    """The labels that are left, in the order of their values, with the regions and pairs that they still make up."""
    regions: dict[frozenset[str], Region] = {}
    for region in labels.regions:
        members = tuple(dict.fromkeys(name for old in region.members if (name := becomes[old]) is not None))
        if members:  # of regions that have become the same, the outermost stays
            regions.setdefault(frozenset(members), Region(name=region.name, members=members))
    merged = [name for name in becomes if becomes[name] != name or list(becomes.values()).count(name) > 1]
    try:
        return LabelSet(
            labels=tuple(sorted(kept, key=lambda label: label.value)),
            background=background,
            ignore=ignore,
            regions=tuple(regions.values()),
            pairs=tuple(pair for pair in labels.pairs if not set(pair) & set(merged)),
        )
    except ValidationError as error:
        raise UsageError(f"The labels do not fit together after the mapping: {reason_of(error)}.") from error
