"""Segmentations of named segments in layers, as 3D Slicer writes them (.seg.nrrd), made into one label map.

A file has one layer, or several where segments overlap or were not collapsed; each segment has a name, a colour, a
layer and a value in it (Slicer's documentation, "Segmentations: segmentation file format"). The same name may have
another value in another file: it is the name that tells what a segment is.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vesal.errors import DataError
from vesal.volume.geometry import Array

#: Bits of the number that says which segments hold a voxel.
_MOST_SEGMENTS = 62
_AND = " + "


@dataclass(frozen=True)
class Segment:
    """One segment of a file: its name, its value in its layer, its colour (#rrggbb, or ''), and what else its header
    says of it (key after SegmentN_ -> text)."""

    name: str
    value: int
    layer: int
    colour: str = ""
    more: Mapping[str, str] = field(default_factory=dict, compare=False)


def joint_name(names: Sequence[str]) -> str:
    """What voxels are called that lie in several segments.

    >>> joint_name(["tumour", "core"])
    'core + tumour'
    """
    return _AND.join(sorted(names))


def voxel_counts(layers: Array, segments: Sequence[Segment], path: Path) -> dict[tuple[str, ...], int]:
    """Names of segments that share voxels, (name,) of voxels of one alone -> number of voxels.

    Args:
        layers: (L, *spatial), as the file holds them.
        segments: of the file.
        path: of the file.

    Raises:
        DataError: a layer holds a value of no segment, or there are too many segments.
    """
    found, _, counts = _sets(layers, segments, path)
    return {names: int(count) for names, count in zip(found, counts, strict=True) if names}


def _as_spelled(values: Mapping[str, int], segments: Sequence[Segment]) -> dict[str, int]:
    """The values by the names of a file's segments, of which the case of letters does not count.

    A name that is there as it is given, or of which the file has several spellings, stands for itself alone.

    >>> there = [Segment(name, 1, layer) for layer, name in enumerate(("Liver", "Rim", "core"))]
    >>> _as_spelled({"liver": 1, "core + rim": 3}, there)
    {'Liver': 1, 'Rim + core': 3}
    """
    there = {one.name for one in segments}
    parts_of = {name: (name,) if name in there else tuple(name.split(_AND)) for name in values}
    given = {part for parts in parts_of.values() for part in parts}
    spellings: dict[str, list[str]] = {}
    for name in there - given:
        spellings.setdefault(name.casefold(), []).append(name)

    def spelled(name: str) -> str:
        found = spellings.get(name.casefold(), [])
        return found[0] if name not in there and len(found) == 1 else name

    return {joint_name([spelled(part) for part in parts_of[name]]): value for name, value in values.items()}


def join_layers(
    layers: Array, segments: Sequence[Segment], path: Path, values: Mapping[str, int] | None
) -> Array:
    """One label map (*spatial) of all layers.

    Args:
        layers: (L, *spatial), as the file holds them.
        segments: of the file.
        path: of the file.
        values: name of a segment, or `joint_name` of several -> value in the label map; the case of letters does not
            count where a name is not there otherwise. Segments that it does not name keep their own value. None: all
            do, or are numbered from 1 where two have the same.

    Raises:
        DataError: as `voxel_counts`; segments share voxels that `values` has no name for, or two would become one.
    """
    own = {segment.name: segment.value for segment in segments}
    given = _as_spelled(values or {}, segments)
    known = {part for name in given for part in (name, *name.split(_AND))} & set(own)
    if len(set(own.values())) < len(own):
        if given and not known:
            raise DataError(
                f"{path} holds the segments {', '.join(own)} in layers, and none is a label of the data set "
                f"({', '.join(given)}); name them alike."
            )
        own = {name: number for number, name in enumerate(own, start=1)}
    found, index, _ = _sets(layers, segments, path)
    into = {names[0]: given.get(names[0], own[names[0]]) for names in found if len(names) == 1}
    for name, value in into.items():
        if known and name not in given and value in given.values():
            raise DataError(
                f"{path} holds the segment '{name}', whose value is that of another label of the data set; add the "
                "segment to its labels."
            )
    table = np.zeros(len(found), dtype=np.int64)
    for number, names in enumerate(found):
        if len(names) > 1 and joint_name(names) not in given:
            raise DataError(
                f"{path} holds segments that overlap ({', '.join(names)}), for which the data set has no region; "
                "separate them, or let the labels be found by the segments' names."
            )
        if names:
            table[number] = given[joint_name(names)] if len(names) > 1 else into[names[0]]
    low, high = int(table.min()), int(table.max())
    joined: Array = table.astype(np.min_scalar_type(high if low >= 0 else min(low, -high - 1)))[index]
    return joined


def join_named(
    layers: Array, segments: Sequence[Segment], path: Path, values: Mapping[str, int]
) -> tuple[Array, dict[str, int]]:
    """One label map (*spatial) of those segments alone that have a value.

    Voxels of several get the value of their `joint_name` where it has one; else the highest of theirs, as in a folder
    of masks.

    Args:
        layers: (L, *spatial), as the file holds them.
        segments: of the file.
        path: of the file.
        values: name of a segment, or `joint_name` of several -> value in the label map.

    Returns:
        The label map, and how many voxels which label lost to which, as in `LabelMap.overlaps`.

    Raises:
        DataError: no segment has a value, or there are too many.
    """
    kept = [one for one in segments if is_named(one.name, values)]
    if not kept:
        there = ", ".join(one.name for one in segments)
        raise DataError(f"{path} holds none of the labels {', '.join(values)}; it holds {there}.")
    only = np.zeros_like(layers)
    for one in kept:
        drawn = layers[one.layer] == one.value
        only[one.layer][drawn] = one.value
    found, index, counts = _sets(only, kept, path)
    table = np.zeros(len(found), dtype=np.int64)
    overlaps: dict[str, int] = {}
    for number, names in enumerate(found):
        if not names:
            continue
        if (joint := joint_name(names)) in values:
            table[number] = values[joint]
            continue
        own = sorted((name for name in names if name in values), key=lambda name: values[name])
        if not own:
            continue
        *lost, winner = own
        table[number] = values[winner]
        for name in lost:
            both = f"{name} and {winner}"
            overlaps[both] = overlaps.get(both, 0) + int(counts[number])
    joined: Array = table.astype(np.min_scalar_type(int(max(values.values()))))[index]
    return joined, overlaps


def is_named(name: str, values: Mapping[str, int]) -> bool:
    """Whether a segment has a value, by itself or together with others.

    >>> is_named("core", {"core + rim": 3}), is_named("bed", {"core + rim": 3})
    (True, False)
    """
    return any(name in (label, *label.split(_AND)) for label in values)


def part_layers(
    label: Array, segments: Sequence[Segment], values: Mapping[str, int] | None
) -> tuple[Array, tuple[Segment, ...]]:
    """The layers (L, *spatial) of a label map (*spatial) and their segments: what `join_layers` joins to it.

    One layer where no voxel lies in several segments, else one a segment. Segments of which no voxel is left stay.

    Args:
        label: the label map.
        segments: that its file had.
        values: as it was read with.
    """
    known = {one.name: one for one in segments}
    own = {one.name: one.value for one in segments}
    if len(set(own.values())) < len(own):
        own = {name: number for number, name in enumerate(own, start=1)}
    named = own | _as_spelled(values or {}, segments)
    name_of = {value: name for name, value in reversed(named.items())}
    present = [value for value in np.unique(label).tolist() if value]
    names = {value: name_of.get(value, f"label_{value}") for value in present}
    parts = {
        value: (name,) if name in known or _AND not in name else tuple(name.split(_AND))
        for value, name in names.items()
    }
    every = list(dict.fromkeys([*known, *(name for of in parts.values() for name in of)]))
    template = [known.get(name, Segment(name, 1, 0)) for name in every]
    if all(len(of) == 1 for of in parts.values()):
        taken = {name: value for value, (name,) in parts.items()}
        free = (number for number in itertools.count(1) if number not in {*present, *named.values()})
        for name in every:
            if name not in taken:
                wanted = named.get(name, 0)
                taken[name] = next(free) if wanted in {0, *taken.values()} else wanted
        return label[None], tuple(replace(one, value=taken[one.name], layer=0) for one in template)
    layers = np.zeros((len(every), *label.shape), dtype=np.uint8)
    for value, of in parts.items():
        for name in of:
            layers[every.index(name)][label == value] = 1
    return layers, tuple(replace(one, value=1, layer=number) for number, one in enumerate(template))


def _sets(
    layers: Array, segments: Sequence[Segment], path: Path
) -> tuple[list[tuple[str, ...]], Array, Array]:
    """(which sets of segments hold voxels, the number of each voxel's set (*spatial), how many voxels each has)."""
    names = list(dict.fromkeys(segment.name for segment in segments))
    if len(names) > _MOST_SEGMENTS and len(layers) > 1:
        raise DataError(f"{path} holds {len(names)} segments in layers, of which {_MOST_SEGMENTS} are read.")
    # Most voxels lie in no segment: sets are told apart among the others alone.
    drawn = np.flatnonzero(layers.any(axis=0))
    codes = np.zeros(len(drawn), dtype=np.int64)
    for number, layer in enumerate(layers.reshape(len(layers), -1)[:, drawn]):
        known = {one.value: names.index(one.name) for one in segments if one.layer == number}
        values, index = np.unique(layer, return_inverse=True)
        if strange := [value for value in values.tolist() if value and value not in known]:
            raise DataError(
                f"{path} holds the value {strange[0]:g}, which none of its segments has; name it."
            )
        # Of one layer the number of the segment is enough; of several each has a bit.
        marks = [
            0 if not value else (known[value] + 1 if len(layers) == 1 else 1 << known[value])
            for value in values.tolist()
        ]
        codes |= np.array(marks, dtype=np.int64)[index]
    found, index, counts = np.unique(codes, return_inverse=True, return_counts=True)
    sets: list[tuple[str, ...]] = [()]
    for code in found.tolist():
        if len(layers) == 1:
            sets.append((names[code - 1],) if code else ())
        else:
            sets.append(tuple(name for bit, name in enumerate(names) if code >> bit & 1))
    places = np.zeros(layers[0].size, dtype=np.min_scalar_type(len(found)))
    places[drawn] = index + 1
    return sets, places.reshape(layers.shape[1:]), np.concatenate([[layers[0].size - len(drawn)], counts])
