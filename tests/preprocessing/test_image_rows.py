"""Preparing a scan row by row gives what preparing it at once gives."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
import pytest
from scans import ORIENTATIONS, make_plan, make_scan, oriented

from vesal.errors import DataError
from vesal.planning.plan import Normalisation
from vesal.preprocessing.prepare import prepare
from vesal.volume.volume import Volume

Limited = Callable[[], AbstractContextManager[None]]
SCHEMES = [
    {"scheme": "zscore"},
    {"scheme": "zscore_nonzero"},
    {"scheme": "minmax"},
    {"scheme": "none"},
    {"scheme": "ct", "lower": 60, "upper": 140, "mean": 100, "std": 20},
    {"scheme": "window", "lower": 60, "upper": 140},
]


def as_filed(volume: Volume) -> Volume:
    """The first axis fastest, as in NIfTI, and a rim of zeros."""
    array = volume.array.copy()
    array[:, :2], array[..., -1:] = 0, 0
    return replace(
        volume, array=np.stack([channel.T.copy().T for channel in array]) if len(array) > 1 else array
    )


@pytest.mark.parametrize("how", SCHEMES, ids=lambda how: how["scheme"])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_every_normalisation_and_interpolation_is_the_same(
    all_on_disk: Limited, how: dict[str, object], order: int
) -> None:
    volume = as_filed(make_scan(oriented((2, 0, 1), (1, -1, 1), shape=(33, 38, 37)), channels=2)[0])
    changes = {"spacing_mm": (1.5, 1.0, 4.0), "image_order": order, "foreground_channel": True}
    plan = make_plan(channels=2, **changes).model_copy(update={"normalisation": (Normalisation(**how),) * 2})
    at_once = prepare(volume, plan)
    with all_on_disk():
        by_rows = prepare(volume, plan)
        assert by_rows.crop.to_dict() == at_once.crop.to_dict()
        if order < 3:
            np.testing.assert_array_equal(by_rows.image, at_once.image)
        else:
            # The last of the 16 bits.
            np.testing.assert_allclose(by_rows.image, at_once.image, rtol=1.1e-3, atol=2e-4)
            assert np.mean(by_rows.image != at_once.image) < 0.01


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_however_the_scan_lies_in_its_file(
    all_on_disk: Limited, order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    volume = as_filed(make_scan(oriented(order, signs, shape=(14, 12, 11)))[0])
    for plan in (
        make_plan(spacing_mm=(1.3, 1.0, 4.0), image_order=1),
        make_plan(2, slice_axis=1, image_order=1, spacing_mm=(1.5, 2.0)),
        make_plan(spacing_mm=(3.0, 5.0, 2.0), blocks=True),
    ):
        at_once = prepare(volume, plan)
        with all_on_disk():
            np.testing.assert_array_equal(prepare(volume, plan).image, at_once.image)


def test_of_a_box_only_its_rows_are_made_and_all_of_the_scan_counts(all_on_disk: Limited) -> None:
    volume = as_filed(make_scan(oriented((0, 1, 2), (1, 1, 1), shape=(30, 20, 22)))[0])
    plan = make_plan(spacing_mm=(1.3, 2.0, 2.0), image_order=1, patch=(4, 4, 4))
    plan = plan.model_copy(update={"locator": plan, "margin_mm": 3.0})
    box = ((5, 6, 3), (22, 15, 18))
    at_once = prepare(volume, plan, box=box)
    with all_on_disk():
        by_rows = prepare(volume, plan, box=box)
        np.testing.assert_array_equal(by_rows.image, at_once.image)
    assert by_rows.crop.box == box


def test_pictures_empty_scans_and_voxels_that_are_no_numbers(all_on_disk: Limited) -> None:
    picture = make_scan(oriented((0, 1, 2), (1, 1, 1)))[0]
    flat = Volume(picture.array[..., 0], picture.geometry.__class__.from_spacing((9, 8), (1.0, 1.0)))
    plan = make_plan(2, image_order=1, spacing_mm=(1.5, 2.0))
    empty = replace(picture, array=np.zeros_like(picture.array))
    broken = replace(picture, array=picture.array.copy())
    broken.array[0, 3, 4, :5] = np.nan
    at_once = prepare(flat, plan).image, prepare(empty, make_plan()).image
    with all_on_disk():
        np.testing.assert_array_equal(prepare(flat, plan).image, at_once[0])
        np.testing.assert_array_equal(prepare(empty, make_plan()).image, at_once[1])
        with pytest.raises(DataError, match="5 voxels that no finite"):
            prepare(broken, make_plan())
