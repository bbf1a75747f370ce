"""The labels of a data set whose label files name their segments, as 3D Slicer's .seg.nrrd do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from vesal.data.dataset import Dataset
from vesal.data.labels import Label, LabelSet, Region, left_right_pairs
from vesal.errors import DataError, reason_of
from vesal.parallel import map_in_order
from vesal.volume.io import read_segments, read_volume
from vesal.volume.segments import Segment, joint_name, voxel_counts

_ENDING = ".nrrd"


def segment_labels(paths: Sequence[Path]) -> LabelSet | None:
    """A label for each name in the files, with its value and colour; None where a file names no segments.

    Where names have the same value, or one name several, they are numbered from 1. Where segments overlap, voxels of
    several become labels of their own, and each segment is the region of all labels that it holds, larger ones first.

    Raises:
        DataError: segments overlap in a way that no order of regions represents.
    """
    if not paths or not all(path.name.lower().endswith(_ENDING) for path in paths):
        return None
    try:
        files = [read_segments(path) for path in paths]
    except (DataError, OSError):
        return None
    if not all(files):
        return None
    segments = [segment for file in files for segment in file]
    values = _values(segments)
    colours = {segment.name: segment.colour for segment in reversed(segments)}
    counts: Counter[tuple[str, ...]] = Counter()
    layered = [
        (path, file) for path, file in zip(paths, files, strict=True) if len({s.layer for s in file}) > 1
    ]
    for found in map_in_order(_counted, layered):
        counts.update(found)
    plain = tuple(Label(name=name, value=value, colour=colours[name]) for name, value in values.items())
    pairs = left_right_pairs(list(values))
    if all(len(names) == 1 for names in counts):
        return LabelSet(labels=_by_value(plain), pairs=pairs)
    return overlapping_labels(
        plain,
        counts,
        {name for file in files if len({s.layer for s in file}) == 1 for name in (s.name for s in file)},
    )


def with_segments(dataset: Dataset) -> Dataset:
    """The data set, whose cases with a label file that may name its segments know the value of each name."""
    values = dataset.labels.by_name
    cases = tuple(
        case.model_copy(update={"segments": values})
        if case.label is not None and (case.label.name.lower().endswith(_ENDING) or case.label.is_dir())
        else case
        for case in dataset.cases
    )
    return dataset.model_copy(update={"cases": cases})


def _values(segments: Sequence[Segment]) -> dict[str, int]:
    """Name -> value: the files' own where they agree and differ from one another, else numbers from 1."""
    own: dict[str, set[int]] = {}
    for segment in segments:
        own.setdefault(segment.name, set()).add(segment.value)
    chosen = [min(values) for values in own.values()]
    if all(len(values) == 1 for values in own.values()) and len(set(chosen)) == len(own) and 0 not in chosen:
        return dict(zip(own, chosen, strict=True))
    return {name: number for number, name in enumerate(own, start=1)}


def _counted(file: tuple[Path, Sequence[Segment]]) -> dict[tuple[str, ...], int]:
    """How many voxels lie in which segments; none of a file that cannot be read, which turns up with its case."""
    path, segments = file
    try:
        return {
            tuple(sorted(names)): count
            for names, count in voxel_counts(read_volume(path).array, segments, path).items()
        }
    except (DataError, OSError):
        return {}


def overlapping_labels(plain: Sequence[Label], counts: Counter[tuple[str, ...]], alone: set[str]) -> LabelSet:
    """Labels for each set of segments that holds voxels, and a region for each segment.

    Args:
        plain: a label for each segment.
        counts: names of segments that share voxels, sorted, (name,) of voxels of one alone -> number of voxels.
        alone: names of segments whose voxels were not counted, for no other shares them.

    Raises:
        DataError: no order of regions represents them.
    """
    labels = [label for label in plain if label.name in alone or counts[(label.name,)]]
    highest = max(label.value for label in plain)
    members = {label.name: [label.name] if label in labels else [] for label in plain}
    for names in sorted(names for names in counts if len(names) > 1):
        highest += 1
        labels.append(Label(name=joint_name(names), value=highest))
        for name in names:
            members[name].append(joint_name(names))
    sizes = {label.name: sum(n for names, n in counts.items() if label.name in names) for label in plain}
    order = sorted(members, key=lambda name: (-sizes[name], name))
    try:
        return LabelSet(
            labels=_by_value(labels),
            regions=tuple(Region(name=name, members=tuple(members[name])) for name in order if members[name]),
        )
    except ValidationError as error:
        raise DataError(
            f"The overlapping segments make no regions: {reason_of(error)}; separate or join them."
        ) from error


def _by_value(labels: Sequence[Label]) -> tuple[Label, ...]:
    return tuple(sorted(labels, key=lambda label: label.value))
