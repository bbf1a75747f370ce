"""From a scan to network input: turn, crop, normalise, resample. One function for training and prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vesal.data.case import VOXEL_BYTES, RawCase, read_case, scan_workers
from vesal.data.crop import Box, Crop, around, at_least, elsewhere, in_order, nonzero_box
from vesal.data.dataset import Case
from vesal.data.fingerprint import Failure, failure_of, set_aside
from vesal.data.labels import IGNORE
from vesal.engine.engine_map import map_by
from vesal.engine.outcome import Engine, Outcome
from vesal.errors import DataError
from vesal.memory_limit import limit, require
from vesal.parallel import Progress, available_memory
from vesal.planning.axes import prepared_turn
from vesal.planning.plan import Plan
from vesal.preprocessing.cache import Cache, PreparedCase
from vesal.preprocessing.coarse_grid import block_labels
from vesal.preprocessing.image_rows import not_finite, part_of, prepared_image, refuse_not_finite, stored_type
from vesal.preprocessing.mask_channels import MASK_BYTES, mask_channels
from vesal.preprocessing.monai_rules import label_from_first, monai_grid, resize_from_first
from vesal.preprocessing.nnunet_rules import axis_apart, nonzero_mask, resize_apart
from vesal.preprocessing.normalise import ABSENT, normalise
from vesal.processes import map_on_cores
from vesal.text import plural, times
from vesal.volume.geometry import TOLERANCE_MM, Geometry, Turn
from vesal.volume.memory_order import c_ordered
from vesal.volume.resample import resize_label
from vesal.volume.volume import LabelMap, Volume

#: A label whose voxels lie farther than this share of a voxel from the image's was drawn on another grid.
#: Rounded affines of 32 bits, and spacings that differ by less than a thousandth, stay under it.
GRID_TOLERANCE_VOXELS = 0.5
#: The fine stage of two is trained on places that are off by up to this share of the margin, as boxes are found to be.
_JITTER = 1.0
#: From this size on it is asked whether the memory suffices.
_LARGE_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class Prepared:
    """Network input and the way back.

    Attributes:
        image: (plan.inputs, *crop.shape) float32; a foreground channel or those of a cascade's masks come last.
        label: *crop.shape uint8, contiguous; None where none was given.
        crop: where it lies in the source.
        outside: labelled voxels of the source that the crop left out: they cannot be learned or predicted.
        concern: why the place that was looked at may be wrong; '' where it is not in concern.
    """

    image: NDArray[np.float32]
    label: NDArray[np.uint8] | None
    crop: Crop
    outside: int = 0
    concern: str = ""


def prepare(
    volume: Volume,
    plan: Plan,
    label: LabelMap | None = None,
    *,
    box: Box | None = None,
    first_stage: LabelMap | None = None,
) -> Prepared:
    """Turn to the plan's axes, crop to the non-zero voxels, normalise, crop to `box`, resample to the plan.

    Intensities are normalised by what lies in the box of non-zero voxels, which comes from the image alone, so that
    training and prediction see the same. What the cache keeps of an image is 16 bits a voxel; the image is rounded to
    them here, so that prediction sees to the bit what training saw. Nothing of the input is changed.

    Args:
        volume: the scan.
        plan: the preparation.
        label: of the scan. A plan with a locator is trained around it, where no box is given.
        box: the part to keep, along the turned axes; None keeps all. A plan with a locator keeps at least a patch of
            what lies there, so that its network sees the scan itself as far as it looks, not zeros.
        first_stage: what the first stage of a cascade has found in the scan; for a plan that takes masks.

    Raises:
        DataError: dimensions or channels are not the plan's, voxels are not finite, a label lies on another
            grid or holds values that were not declared, or the plan takes masks and gets none.
    """
    _check_image(volume, plan)
    if plan.takes_masks and first_stage is None:
        raise DataError(
            "the plan is of the second stage of a cascade, which takes the first one's label map among its channels; "
            "only prediction with the model makes that."
        )
    whole = crop = _place(volume, plan)
    if (wanted := _wanted(crop, plan, label, box)) is not None:
        crop = _within(crop, wanted, plan)
    _check_memory(volume, crop, plan)
    if plan.rules == "monai":
        image = _by_monai(volume, whole, crop, plan)
    elif plan.rules == "nnunet" or any(how.scheme == "zscore_mask" for how in plan.normalisation):
        image = _by_nnunet(volume, whole, crop, plan, first_stage)
    else:
        image = prepared_image(volume, whole, crop, plan)
    if label is None:
        return Prepared(image, None, crop)
    _check_label_grid(volume.geometry, label.geometry)
    contiguous = plan.labels.encode(label.array)
    inside = crop.cut(contiguous)
    outside = _foreground(contiguous) - _foreground(inside) if inside.size < contiguous.size else 0
    if crop.steps is not None:
        inside = label_from_first(inside, crop.shape, crop.steps)
    elif crop.shape != crop.crop_shape:
        blocks = plan.blocks
        inside = (
            block_labels(inside, crop.shape) if blocks else resize_label(inside, crop.shape, plan.label_order)
        )
    return Prepared(image, c_ordered(inside, np.uint8), crop, outside)


def _by_nnunet(
    volume: Volume, whole: Crop, crop: Crop, plan: Plan, first_stage: LabelMap | None
) -> NDArray[np.float32]:
    """As `prepared_image`, by nnU-Net's rules, whose masks need the scan as a whole."""
    voxels = max(math.prod(whole.crop_shape), math.prod(crop.shape))
    needed = VOXEL_BYTES * volume.channels
    if plan.takes_masks:
        # The channels by themselves, and behind those of the scan.
        needed += MASK_BYTES + 2 * np.dtype(np.float32).itemsize * len(plan.labels.labels)
    require(needed * voxels, "Preparing by nnU-Net's rules", "cut the scan into parts")
    with np.errstate(over="ignore"):  # what is too large becomes infinity, and is refused below
        image = np.array(whole.cut(volume.array), dtype=np.float32)
    foreground = np.any(image != 0, axis=0).astype(np.uint8) if plan.foreground_channel else None
    masked = any(how.scheme == "zscore_mask" for how in plan.normalisation)
    mask = nonzero_mask(image) if masked or plan.takes_masks else None
    for channel, how in zip(image, plan.normalisation, strict=True):
        refuse_not_finite(not_finite(channel))
        normalise(channel, how, mask)
    image[list(volume.absent)] = ABSENT
    part = part_of(whole, crop)
    image = image[(slice(None), *part)].copy(order="K")
    apart = axis_apart(*_spacings(crop, plan)) if plan.rules == "nnunet" else None
    if crop.shape != crop.crop_shape:
        image = resize_apart(image, crop.shape, plan.image_order, apart)
    if foreground is not None:
        resized = resize_label(foreground[part], crop.shape, 0)
        image = np.concatenate([image, resized[None].astype(np.float32)])
    if plan.takes_masks and first_stage is not None and mask is not None:
        _check_label_grid(volume.geometry, first_stage.geometry)
        found = crop.cut(plan.labels.encode(first_stage.array))
        masks = mask_channels(found, mask[part], len(plan.labels.labels), crop.shape, apart)
        image = np.concatenate([image, masks])
    return c_ordered(image.astype(stored_type(plan), copy=False), np.float32)


def _by_monai(volume: Volume, whole: Crop, crop: Crop, plan: Plan) -> NDArray[np.float32]:
    """As `prepared_image`, by MONAI's rules: intensities are normalised after the scan was resampled."""
    voxels = volume.channels * max(math.prod(whole.crop_shape), math.prod(crop.shape))
    require(VOXEL_BYTES * voxels, "Preparing by MONAI's rules", "cut the scan into parts")
    with np.errstate(over="ignore"):  # what is too large becomes infinity, and is refused below
        image = np.array(whole.cut(volume.array), dtype=np.float32)
    refuse_not_finite(sum(map(not_finite, image)))
    image = image[(slice(None), *part_of(whole, crop))].copy(order="K")
    if crop.steps is not None:
        image = resize_from_first(image, crop.shape, crop.steps)
    for channel, how in zip(image, plan.normalisation, strict=True):
        normalise(channel, how)
    image[list(volume.absent)] = ABSENT
    return c_ordered(image, np.float32)


def prepare_dataset(
    cases: Sequence[Case],
    plan: Plan,
    folder: Path,
    *,
    place: int = 0,
    workers: int | None = None,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> tuple[list[PreparedCase], list[Failure]]:
    """Prepare cases into a cache folder, on all cores or by an engine; what is in it already is not done again.

    An entry is found by the content of the case's files and by the part of the plan that preparation depends
    on, so a new case, a changed file, another plan or an interrupted run costs only what is missing.

    Args:
        cases: with or without a label.
        plan: the preparation.
        folder: of the cache; made if absent. Several runs may share it.
        place: of a plan with a locator: 0 prepares what is around the labels, 1, 2, ... a place elsewhere in the
            scan, another for each number.
        workers: processes or threads; as many as CPUs and memory are enough for if None.
        engine: whose workers prepare, and write into the same folder; None takes processes of this one.
        progress: called with (done, total).

    Returns:
        The prepared cases in order, and the cases that could not be prepared.

    Raises:
        VesalError: the folder cannot be written.
    """
    with Cache(Path(folder), plan, place) as cache:
        found: list[_Attempt]
        work = _PrepareWork(Path(folder).absolute(), plan, place)
        if engine is not None:
            if limit() is not None:
                work.workers(cases)  # what no worker has room for is refused
            found = map_by(engine, work, cases, _set_aside, progress=progress)
        else:
            prepare_one = partial(_prepare_case, plan=plan, cache=cache, place=place)
            found = map_on_cores(
                prepare_one, cases, workers=workers or work.workers(cases), progress=progress
            )
        for one in found:
            if one.signature:
                cache.remember(one.signature, one.digest)
    results = [one.result for one in found]
    ready = [result for result in results if isinstance(result, PreparedCase)]
    return ready, [result for result in results if isinstance(result, Failure)]


@dataclass(frozen=True, eq=False)
class _Attempt:
    """What came of a case, and of what content its files are in what state; '' where that was known or is not."""

    result: PreparedCase | Failure
    signature: str = ""
    digest: str = ""


@dataclass(frozen=True)
class _PrepareWork:
    """What a worker of an engine does: it looks into the cache by itself, whose index the caller writes."""

    folder: Path
    plan: Plan
    place: int

    def __call__(self) -> Callable[[Case], _Attempt]:
        cache = Cache(self.folder, self.plan, self.place)
        cache.__enter__()
        return partial(_prepare_case, plan=self.plan, cache=cache, place=self.place)

    def workers(self, cases: Sequence[Case]) -> int:
        scans = [case.images[0] for case in cases]
        return scan_workers(scans, channels=self.plan.inputs, spacing_mm=self.plan.spacing_mm)


def _set_aside(case: Case, outcome: Outcome) -> _Attempt:
    return _Attempt(set_aside(case, outcome))


def _prepare_case(case: Case, plan: Plan, cache: Cache, place: int) -> _Attempt:
    if (ready := cache.find(case)) is not None:
        return _Attempt(ready)
    try:
        signature = cache.sign(case)
        raw = read_case(case)
        if (ready := cache.find(case, raw.digest)) is None:
            box = _elsewhere(raw, plan, place) if place else None
            prepared = prepare(raw.image, plan, raw.label, box=box)
    except (DataError, OSError, MemoryError) as error:
        return _Attempt(failure_of(case, error))
    if ready is None:
        image = prepared.image.astype(stored_type(plan), copy=False)
        ready = cache.store(case, raw.digest, prepared.crop, image, prepared.label, prepared.outside)
    return _Attempt(ready, signature, raw.digest)


def _elsewhere(raw: RawCase, plan: Plan, place: int) -> Box | None:
    """A place away from the labels, as large as what is around them and at least a patch; None without labels."""
    box = None
    if raw.label is not None:
        box = around(plan.labels.encode(raw.label.array), raw.image.geometry, plan.margin_mm)
    if box is None:
        return None
    crop = _place(raw.image, plan)
    generator = np.random.default_rng([int(raw.digest[:16], 16), place])
    return elsewhere(box, crop.box, patch_in_scan(plan, crop), generator)


def patch_in_scan(plan: Plan, crop: Crop, jitter_mm: float = 0.0) -> tuple[int, ...]:
    """How many voxels of a scan a patch takes along its turned axes, and as much on either side; 1 along slices."""
    spacing = crop.source.turned(crop.turn).spacing_mm
    sides = [size * step + 2 * jitter_mm for size, step in zip(plan.patch, plan.spacing_mm, strict=True)]
    if plan.slice_axis is not None:
        sides.insert(plan.slice_axis, 0.0)
    return tuple(max(1, math.ceil(side / step)) for side, step in zip(sides, spacing, strict=True))


def whole_crop(grid: Geometry, plan: Plan) -> Crop:
    """Where a scan on this grid lies in the network's input, with nothing cut off."""
    turn = prepared_turn(grid, plan)
    return _crop(grid, turn, ((0,) * grid.ndim, grid.turned(turn).shape), plan)


def _place(volume: Volume, plan: Plan) -> Crop:
    grid = volume.geometry
    turn = prepared_turn(grid, plan)
    turned = turn.apply(volume.array)
    if plan.crop_to_nonzero:
        start, stop = nonzero_box(turned)
    else:
        start, stop = (0,) * grid.ndim, tuple(turned.shape[1:])
    return _crop(grid, turn, (start, stop), plan)


def _crop(grid: Geometry, turn: Turn, box: Box, plan: Plan) -> Crop:
    crop = Crop(grid, turn, *box, plan.slice_axis, ())
    spacing, wanted = _spacings(crop, plan)
    if plan.rules == "monai":
        shape, steps = monai_grid(crop.crop_shape, spacing, spacing if plan.keeps_spacing else wanted)
        return replace(crop, shape=shape, steps=steps if set(steps) != {1.0} else None)
    shape = tuple(_resized(*axis) for axis in zip(crop.crop_shape, spacing, wanted, strict=True))
    nearest = axis_apart(wanted, spacing) if plan.rules == "nnunet" else None
    return replace(crop, shape=shape, nearest_axis=nearest)


def _spacings(crop: Crop, plan: Plan) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Along the prepared array's three axes (mm): the scan's own, and the plan's.

    The plan's is of the network's axes; a slice axis before them keeps its own. The axis that pictures lack is coarse
    (nnU-Net gives it 999), so that they count as slices.
    """
    own = [crop.source.spacing_mm[axis] for axis in crop.turn.order]
    spacing = in_order(own, plan.slice_axis, first=999.0 * max(own))
    return spacing, (spacing[0], *plan.spacing_mm)[-3:]


def _wanted(crop: Crop, plan: Plan, label: LabelMap | None, box: Box | None) -> Box | None:
    """The part of a scan to keep: a box that is given, or what is around the labels of a plan that looks in one."""
    if not plan.looks_in_box:
        return box
    jitter = 0.0
    if box is None and label is not None:
        jitter = _JITTER * plan.margin_mm
        box = around(plan.labels.encode(label.array), crop.source, plan.margin_mm + jitter)
    return None if box is None else at_least(box, crop.box, patch_in_scan(plan, crop, jitter))


def _within(crop: Crop, box: Box, plan: Plan) -> Crop:
    """The part of a crop that lies in a box; all of it where none does."""
    start = tuple(map(max, crop.crop_start, box[0]))
    stop = tuple(map(min, crop.crop_stop, box[1]))
    if any(a >= b for a, b in zip(start, stop, strict=True)):
        return crop
    return _crop(crop.source, crop.turn, (start, stop), plan)


def _resized(size: int, spacing_mm: float, wanted_mm: float) -> int:
    """Voxels along an axis at the wanted spacing; the same where the spacings differ by rounding alone."""
    if abs(spacing_mm - wanted_mm) <= TOLERANCE_MM * min(1.0, wanted_mm):
        return size
    return max(1, round(size * spacing_mm / wanted_mm))


def _check_image(volume: Volume, plan: Plan) -> None:
    needed = plan.scan_dimension
    if volume.geometry.ndim != needed:
        way = (
            "give slices, such as vesal convert --to png makes" if needed == 2 else f"give a {needed}D image"
        )
        raise DataError(
            f"the image has {volume.geometry.ndim} axes {volume.geometry.shape} where the plan needs {needed}; "
            f"{way}, or plan and train for {volume.geometry.ndim}D data."
        )
    count, wanted = volume.channels, len(plan.channels)
    if count != wanted:
        way = (
            f"give all of them in that order, in one file or as CASE_0000 to CASE_{wanted - 1:04} (a model that was "
            "trained with --set augment.drop_channels=0.2 does without some: vesal predict --missing CHANNEL)"
            if count < wanted
            else "give no more, such as one time point of a 4D file or one colour of a picture"
        )
        raise DataError(
            f"the image has {plural(count, 'channel')} where the plan needs {wanted} ({', '.join(plan.channels)}); "
            f"{way}."
        )


def _check_memory(volume: Volume, crop: Crop, plan: Plan) -> None:
    """Refuse what a wrong spacing would make too large for the machine, which would kill the process."""
    channels = max(volume.channels, plan.inputs)
    needed = channels * math.prod(crop.shape) * np.dtype(np.float32).itemsize
    # Under a limit what is too large for the memory goes to the disk.
    if limit() is None and needed > _LARGE_BYTES and needed > (free := available_memory()):
        raise DataError(
            f"at the plan's spacing of {times(plan.spacing_mm)} mm the image would have {times(crop.shape)} voxels, "
            f"{needed / 1e9:,.0f} GB where {free / 1e9:,.0f} GB are free; its own spacing is "
            f"{times(volume.geometry.spacing_mm)} mm, which is to be corrected where it is wrong."
        )


def _check_label_grid(image: Geometry, label: Geometry) -> None:
    if label.shape != image.shape:
        raise DataError(
            f"the label has shape {label.shape} but the image {image.shape}; export the label on the image's grid."
        )
    distance = image.distance_mm(label)
    if distance >= GRID_TOLERANCE_VOXELS * min(image.spacing_mm):
        raise DataError(
            f"the label's grid lies up to {distance:.3g} mm from the image's though the shapes agree; look at both "
            "with vesal inspect, and copy the image's header to the label if they match voxel by voxel."
        )


def _foreground(contiguous: NDArray[np.uint8]) -> int:
    return int(np.count_nonzero(contiguous) - np.count_nonzero(contiguous == IGNORE))
