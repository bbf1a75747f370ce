"""The fingerprint of a data set: one record a case, from one read of each file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vesal.data.case import read_case, scan_workers
from vesal.data.case_features import CaseFeatures, case_features_of
from vesal.data.crop import nonzero_box
from vesal.data.dataset import Case, Dataset
from vesal.data.labels import LabelSet
from vesal.data.moments import moments
from vesal.data.value_tables import value_counts
from vesal.engine.engine_map import map_by
from vesal.engine.outcome import Engine, Outcome
from vesal.errors import DataError, VesalError
from vesal.files import content_hash
from vesal.memory_limit import limit
from vesal.parallel import Progress
from vesal.processes import map_on_cores
from vesal.record import Record
from vesal.volume.formats.nifti_header import Header, read_header
from vesal.volume.io import read_volume
from vesal.volume.volume import LabelMap, Volume

#: Foreground intensities kept of a whole data set, and the bounds of one case's share: enough for the 0.5th
#: percentile to rest on a hundred values, and few enough for the JSON to stay small.
FOREGROUND_SAMPLES = 50_000
_CASE_SAMPLES = (200, 5_000)

#: Voxels from which a channel's percentiles are taken, evenly spread.
_PERCENTILE_VOXELS = 100_000


class ChannelStatistics(Record):
    """Intensities of one channel of one case, in file units; `foreground_*` over labelled voxels."""

    minimum: float
    maximum: float
    mean: float
    std: float
    percentiles: tuple[float, float, float]  # 0.5, 50, 99.5
    foreground_samples: tuple[float, ...] = ()


class CaseRecord(Record):
    """One case, from one read of its files.

    Attributes:
        id, patient: of the case.
        shape, spacing_mm: in the file's own axis order.
        axis_codes: such as 'LPS'; '' in 2D.
        affine: of the image.
        ras_shape, ras_spacing_mm: after the turn to the axes nearest RAS+.
        crop_shape: of the box of non-zero voxels, in RAS axes.
        label_shape: None without a label.
        label_distance_mm: how far the label's grid lies from the image's at the farthest corner.
        voxels: label name -> count.
        undeclared: values in the label file that the label set does not know.
        soft_label: the label file holds other values than the label, which a threshold made of them.
        overlaps: of a folder of masks, 'a and b' -> voxels of both, which are b's in the label map.
        nan_voxels: not finite, in the image.
        image_digest: of the decoded voxels alone, whatever the header says.
        files_digest: of the bytes of all files of the case.
        voxel_volume_mm3: of the image.
        channels: statistics of each channel.
        image_header, label_header: of the first image file and the label file, where they are NIfTI.
        case_features: what checks compare between cases.
    """

    id: str
    patient: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    axis_codes: str
    affine: tuple[tuple[float, ...], ...]
    ras_shape: tuple[int, ...]
    ras_spacing_mm: tuple[float, ...]
    crop_shape: tuple[int, ...]
    label_shape: tuple[int, ...] | None
    label_distance_mm: float | None
    voxels: dict[str, int]
    undeclared: tuple[int, ...]
    nan_voxels: int
    image_digest: str
    files_digest: str = ""
    voxel_volume_mm3: float
    channels: tuple[ChannelStatistics, ...]
    soft_label: bool = False
    overlaps: dict[str, int] = Field(default_factory=dict)
    image_header: Header | None = None
    label_header: Header | None = None
    case_features: CaseFeatures | None = None


class Failure(Record):
    """A case that could not be read, and the sentence that says why and how to fix it.

    Attributes:
        id: of the case.
        message: the sentence.
        kind: of the finding, where it is known better than 'unreadable': 'label-values' or 'channel-grid'.
    """

    id: str
    message: str
    kind: str = ""


class Fingerprint(Record):
    """Records of all readable cases, in the data set's order, and the failures.

    Attributes:
        cases: the annotated ones: what plans and statistics are made from.
        unlabelled: scans without a label, where they were asked for.
        failures: of both.
        pixel_mm: (column, row) size of a pixel of pictures that do not say it; None means 1 mm.
    """

    dataset: str
    channels: tuple[str, ...]
    cases: tuple[CaseRecord, ...]
    unlabelled: tuple[CaseRecord, ...] = ()
    failures: tuple[Failure, ...] = ()
    pixel_mm: tuple[float, float] | None = None


def fingerprint(
    dataset: Dataset,
    *,
    unlabelled: bool = False,
    workers: int | None = None,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> Fingerprint:
    """Look at every annotated case once, on all cores (`vesal.processes.map_on_cores`) or by an engine's workers.

    Each file is read once. A case that cannot be read becomes a `Failure` and the others go on. The result is
    the same whatever the number of workers.

    Args:
        dataset: its `cases` are looked at.
        unlabelled: look at its scans without a label, too.
        workers: processes or threads; as many as CPUs and memory are enough for if None.
        engine: whose workers look; a case that kills them becomes a `Failure`, too. None takes processes of this one.
        progress: called with (done, total).
    """
    share = FOREGROUND_SAMPLES // max(1, len(dataset.cases))
    samples = min(max(share, _CASE_SAMPLES[0]), _CASE_SAMPLES[1])
    look = _Look(dataset.labels, samples, len(dataset.channels))
    cases = dataset.cases + dataset.unlabelled if unlabelled else dataset.cases
    found: list[CaseRecord | Failure]
    if engine is not None:
        if limit() is not None:
            look.workers(cases)  # what no worker has room for is refused
        found = map_by(engine, look, cases, set_aside, progress=progress)
    else:
        found = map_on_cores(look(), cases, workers=workers or look.workers(cases), progress=progress)
    annotated, others = found[: len(dataset.cases)], found[len(dataset.cases) :]
    return Fingerprint(
        dataset=dataset.name,
        channels=dataset.channels,
        cases=tuple(record for record in annotated if isinstance(record, CaseRecord)),
        unlabelled=tuple(record for record in others if isinstance(record, CaseRecord)),
        failures=tuple(failure for failure in found if isinstance(failure, Failure)),
        pixel_mm=dataset.cases[0].pixel_mm if dataset.cases else None,
    )


@dataclass(frozen=True)
class _Look:
    """Looks at cases, in this process or in the worker of an engine."""

    labels: LabelSet
    samples: int
    channels: int

    def __call__(self) -> Callable[[Case], CaseRecord | Failure]:
        return partial(_look, labels=self.labels, samples=self.samples)

    def workers(self, cases: Sequence[Case]) -> int:
        return scan_workers([case.images[0] for case in cases], channels=self.channels)


def set_aside(case: Case, outcome: Outcome) -> Failure:
    """The failure of a case that an engine did not come to an end with."""
    return failure_of(case, DataError(outcome.reason))


def failure_of(case: Case, error: Exception) -> Failure:
    """The failure of a case, in a sentence that names it."""
    prefix = f"Case {case.id}: "
    message = (
        str(error) if isinstance(error, VesalError) else f"cannot be read ({error or type(error).__name__})"
    )
    return Failure(id=case.id, message=message if message.startswith(prefix) else prefix + message)


def _look(case: Case, labels: LabelSet, samples: int) -> CaseRecord | Failure:
    try:
        raw = read_case(case)
    except (VesalError, OSError, MemoryError) as error:
        return failure_of(case, error).model_copy(update={"kind": _kind(case)})
    image, grid = raw.image, raw.image.geometry
    start, stop = nonzero_box(image.array)
    turn = grid.turn_to_ras()
    counts = {} if raw.label is None else value_counts(raw.label.array)
    foreground = _sample_foreground(image, raw.label, labels, samples, seed=case.id)
    same_shape = raw.label is not None and raw.label.geometry.shape == grid.shape
    channels, nan_voxels = [], 0
    for channel, values in zip(image.array, foreground, strict=True):
        statistics, not_finite = channel_statistics(channel, values)
        channels.append(statistics)
        nan_voxels += not_finite
    # In the files' own order: first axis fastest.
    voxels = (np.asarray(channel, dtype=np.float32).ravel(order="F").data for channel in image.array)
    limits = [(channel.percentiles[0], channel.percentiles[2]) for channel in channels]
    return CaseRecord(
        id=case.id,
        patient=case.patient,
        shape=grid.shape,
        spacing_mm=grid.spacing_mm,
        axis_codes=turn.axis_codes,
        affine=tuple(tuple(row) for row in grid.affine.tolist()),
        ras_shape=tuple(grid.shape[axis] for axis in turn.order),
        ras_spacing_mm=tuple(grid.spacing_mm[axis] for axis in turn.order),
        crop_shape=tuple(stop[axis] - start[axis] for axis in turn.order),
        label_shape=None if raw.label is None else raw.label.geometry.shape,
        label_distance_mm=grid.distance_mm(raw.label.geometry)
        if raw.label is not None and same_shape
        else None,
        voxels={label.name: counts.get(label.value, 0) for label in labels.labels} if counts else {},
        undeclared=tuple(sorted(set(counts) - set(labels.values))),
        nan_voxels=nan_voxels,
        soft_label=raw.label is not None and raw.label.soft,
        overlaps={} if raw.label is None else dict(raw.label.overlaps),
        image_digest=content_hash(str(image.array.shape).encode(), *voxels),
        files_digest=raw.digest,
        voxel_volume_mm3=grid.voxel_volume_mm3,
        channels=tuple(channels),
        image_header=read_header(case.images[0], raw.heads[0]),
        label_header=None if case.label is None else read_header(case.label, raw.heads[1]),
        case_features=case_features_of(image, raw.label, labels, limits, turn),
    )


def _kind(case: Case) -> str:
    """Why a case cannot be read, when each of its files can be: they are read once more, one by one."""
    try:
        grids = [read_volume(path).geometry for path in case.images]
        label = None if case.label is None else read_volume(case.label).array
    except (VesalError, OSError, MemoryError):
        return ""
    # NaN is unequal to itself, infinity is not.
    if (
        label is not None
        and label.dtype.kind == "f"
        and not (np.isfinite(label).all() and np.array_equal(label, np.rint(label)))
    ):
        return "label-values"
    return "channel-grid" if len(grids) > 1 else ""


def channel_statistics(channel: NDArray[Any], foreground: NDArray[Any]) -> tuple[ChannelStatistics, int]:
    """Of one channel (*spatial); and how many of its voxels are not finite."""
    found = moments(channel)
    flat = channel.ravel(order="K")
    # A prime step cannot fall in with the length of the image's rows.
    step = max(1, flat.size // _PERCENTILE_VOXELS)
    while step > 3 and any(step % divisor == 0 for divisor in range(2, int(step**0.5) + 1)):
        step += 1
    sample = flat[::step]
    sample = sample[np.isfinite(sample)]
    low, middle, high = np.percentile(sample, (0.5, 50, 99.5)) if sample.size else (0.0, 0.0, 0.0)
    statistics = ChannelStatistics(
        minimum=found.minimum,
        maximum=found.maximum,
        mean=found.mean,
        std=found.std,
        percentiles=(float(low), float(middle), float(high)),
        foreground_samples=tuple(foreground.tolist()),
    )
    return statistics, found.not_finite


def _sample_foreground(
    image: Volume, label: LabelMap | None, labels: LabelSet, samples: int, seed: str
) -> list[NDArray[Any]]:
    """At most `samples` intensities of labelled voxels for each channel, drawn by a seed of the case's name."""
    if label is None or label.geometry.shape != image.geometry.shape:
        return [np.empty(0, np.float32)] * image.channels
    drawn = label.array != labels.background
    if labels.ignore is not None:
        drawn &= label.array != labels.ignore
    places = np.flatnonzero(drawn.ravel(order="F"))
    if places.size > samples:
        generator = np.random.default_rng(int(content_hash(seed.encode())[:16], 16))
        places = places[np.sort(generator.choice(places.size, samples, replace=False, shuffle=False))]
    where = np.unravel_index(places, label.array.shape, order="F")
    found = [channel[where] for channel in image.array]
    return [values[np.isfinite(values)] for values in found]
