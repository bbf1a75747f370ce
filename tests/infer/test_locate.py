"""A coarse network's box: it holds all that is likely, in the scan's own voxels, and grows where it cuts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from vesal.data.crop import Crop, in_order
from vesal.data.labels import LabelSet, Region
from vesal.infer.locate import (
    LIKELY,
    cut_by_scan,
    find_place,
    foreground,
    reaches_border,
    recentred,
)
from vesal.volume.geometry import Geometry


def crop_of(
    shape: Sequence[int],
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    *,
    box: tuple[Sequence[int], Sequence[int]] | None = None,
    slice_axis: int | None = None,
    to: Sequence[int] | None = None,
) -> Crop:
    """A crop of a scan of this shape (RAS), resampled to the shape `to`."""
    grid = Geometry.from_spacing(shape, spacing)
    start, stop = ((0,) * len(shape), tuple(shape)) if box is None else (tuple(box[0]), tuple(box[1]))
    size = in_order([b - a for a, b in zip(start, stop, strict=True)], slice_axis, first=1)
    return Crop(grid, grid.turn_to_ras(), start, stop, slice_axis, size if to is None else tuple(to))


def blob(shape: Sequence[int], *boxes: tuple[Sequence[int], Sequence[int]], value: float = 0.9) -> np.ndarray:
    probability = np.zeros(shape, dtype=np.float32)
    for start, stop in boxes:
        probability[tuple(map(slice, start, stop))] = value
    return probability


def test_the_box_is_in_voxels_of_the_scan_with_its_margin() -> None:
    # Voxels of 2 mm along the first axis are made of 4 of 0.5 mm; the crop begins at 8.
    crop = crop_of((88, 40, 20), (0.5, 1.0, 2.0), box=((8, 0, 0), (88, 40, 20)), to=(20, 40, 20))
    place = find_place(blob((20, 40, 20), ((5, 10, 3), (7, 15, 9))), crop, margin_mm=3.0)
    assert place == (((8 + 20 - 6, 10 - 3, 3 - 2), (8 + 28 + 6, 15 + 3, 9 + 2)), "")


def test_the_margin_ends_with_the_scan() -> None:
    place = find_place(blob((10, 10, 10), ((1, 8, 4), (2, 10, 5))), crop_of((10, 10, 10)), margin_mm=4.0)
    assert place.box == ((0, 4, 0), (6, 10, 9))


def test_what_is_likely_counts_though_the_background_is_likelier() -> None:
    probability = blob((20, 20, 20), ((5, 5, 5), (9, 9, 9)))
    probability[9:12, 5:9, 5:9] = LIKELY + 0.01
    probability[12:14, 5:9, 5:9] = LIKELY - 0.01
    place = find_place(probability, crop_of((20, 20, 20)), margin_mm=0.0)
    assert place.box == ((5, 5, 5), (12, 9, 9))


def test_small_pieces_do_not_count_and_large_ones_apart_are_to_be_reviewed() -> None:
    shape, crop = (60, 20, 20), crop_of((60, 20, 20))
    organ, speck, other = ((5, 5, 5), (13, 13, 13)), ((50, 2, 2), (52, 4, 4)), ((48, 2, 2), (54, 8, 8))
    assert find_place(blob(shape, organ, speck), crop, 0.0) == (organ, "")
    place = find_place(blob(shape, organ, other), crop, 0.0)
    assert place.box == ((5, 2, 2), (54, 13, 13))
    assert "2 places that lie apart" in place.concern
    # Two halves of one organ lie near each other.
    assert find_place(blob(shape, organ, ((14, 5, 5), (20, 13, 13))), crop, 0.0).concern == ""


def test_where_nothing_is_found_the_whole_scan_is_searched_and_that_is_said() -> None:
    place = find_place(blob((8, 8, 8)), crop_of((8, 8, 8)), margin_mm=2.0)
    assert place.box is None
    assert "found nothing" in place.concern


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_any_axis_come_back_to_the_scan(axis: int) -> None:
    start, stop = (3, 5, 2), (6, 9, 4)
    crop = crop_of((12, 14, 16), slice_axis=axis)
    prepared = in_order((12, 14, 16), axis, first=1)
    probability = blob(prepared, (in_order(start, axis, first=1), in_order(stop, axis, first=1)))
    assert find_place(probability, crop, 0.0).box == (start, stop)


def test_pictures_have_boxes_of_two_axes() -> None:
    place = find_place(
        blob((1, 20, 30), ((0, 4, 6), (1, 9, 8))), crop_of((20, 30), (1.0, 2.0)), margin_mm=2.0
    )
    assert place.box == ((2, 5), (11, 9))


@pytest.mark.parametrize(("axis", "end"), list(itertools.product(range(3), (0, 1))))
def test_the_second_box_is_around_what_was_found_unless_that_is_the_first(axis: int, end: int) -> None:
    box = ((10, 10, 10), (30, 30, 30))
    crop = crop_of((40, 40, 40), (1.0, 1.0, 2.0), box=box)
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[4:16, 4:16, 2:18] = True
    assert recentred(mask, crop, 4.0, (1, 1, 1)) is None
    # A little on one side may be as it is; what reaches the border does not.
    mask[tuple((17 if end else 2) if other == axis else slice(4, 6) for other in range(3))] = True
    assert recentred(mask, crop, 4.0, (1, 1, 1)) is None
    mask[tuple((-1 if end else 0) if other == axis else slice(4, 6) for other in range(3))] = True
    assert reaches_border(mask, crop)
    found = recentred(mask, crop, 4.0, (1, 1, 1))
    assert found is not None
    wanted = [list(box[0]), list(box[1])]
    wanted[end][axis] += (2 if axis == 2 else 4) * (1 if end else -1)
    assert found == (tuple(wanted[0]), tuple(wanted[1]))


def test_a_box_that_is_far_too_large_shrinks_and_an_empty_one_stays() -> None:
    crop = crop_of((40, 40, 40))
    mask = np.zeros((40, 40, 40), dtype=bool)
    assert recentred(mask, crop, 4.0, (1, 1, 1)) is None
    mask[3:9, 20:25, 30:38] = True
    assert recentred(mask, crop, 4.0, (1, 1, 1)) == ((0, 16, 26), (13, 29, 40))


def test_a_box_that_was_grown_to_a_patch_stays_and_one_of_another_place_is_grown_alike() -> None:
    mask = np.zeros((40, 40, 40), dtype=bool)
    mask[18:22, 18:22, 18:22] = True
    whole = crop_of((40, 40, 40))
    box = ((12, 12, 14), (28, 28, 26))
    assert recentred(mask, whole, 4.0, (16, 16, 12)) == box
    crop = crop_of((40, 40, 40), box=box)
    assert recentred(crop.cut(mask), crop, 4.0, (16, 16, 12)) is None
    away = np.zeros((40, 40, 40), dtype=bool)
    away[0:4, 34:40, 18:22] = True
    assert recentred(away, whole, 4.0, (16, 16, 12)) == ((0, 24, 14), (16, 40, 26))


def test_a_result_that_ends_with_the_scan_reaches_no_border_and_is_cut_where_the_face_is_large() -> None:
    crop = crop_of((20, 20, 20), (1.0, 1.0, 4.0), box=((0, 0, 0), (20, 10, 20)))
    mask = np.zeros((20, 10, 20), dtype=bool)
    mask[2:10, 2:8, 2:8] = True
    assert not cut_by_scan(mask, crop)
    mask[:2, 2:4, 2:4] = True
    assert not cut_by_scan(mask, crop)
    assert not reaches_border(mask, crop)
    mask[:2, 2:8, 2:6] = True
    assert cut_by_scan(mask, crop)
    # Thick slices end in a large face by themselves, and a box is no scan.
    thick = np.zeros((20, 10, 20), dtype=bool)
    thick[2:10, 2:10, :8] = True
    assert not cut_by_scan(thick, crop)
    assert reaches_border(thick, crop)


def test_foreground_is_all_that_is_not_background_or_the_likeliest_region() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0]).reshape(3, 1, 1, 1)
    plain = LabelSet.from_values({"a": 1, "b": 2})
    expected = 1 - np.exp(2) / np.exp([2.0, 1.0, 0.0]).sum()
    assert foreground(logits, plain).item() == pytest.approx(expected, rel=1e-6)
    regions = LabelSet.from_values({"a": 1, "b": 2}).model_copy(
        update={"regions": (Region(name="whole", members=("a", "b")), Region(name="core", members=("b",)))}
    )
    assert foreground(logits[:2], regions).item() == pytest.approx(1 / (1 + np.exp(-2.0)), rel=1e-6)
