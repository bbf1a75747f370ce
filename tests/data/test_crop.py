"""Where a prepared array lies in its source."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scans import make_plan, make_scan, oriented

from vesal.data.crop import Crop, elsewhere, nonzero_box
from vesal.preprocessing.prepare import prepare
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume


def test_a_crop_survives_json() -> None:
    image, _ = make_scan(oriented((1, 2, 0), (1, -1, 1)))
    crop = prepare(image, make_plan(2, slice_axis=1, spacing_mm=(1.0, 3.0))).crop
    again = Crop.from_dict(json.loads(json.dumps(crop.to_dict())))
    assert again.to_dict() == crop.to_dict()
    apart = replace(crop, nearest_axis=2)
    assert Crop.from_dict(json.loads(json.dumps(apart.to_dict()))).nearest_axis == 2
    part = np.arange(np.prod(crop.crop_shape)).reshape(crop.crop_shape)
    assert np.array_equal(again.paste(part, fill=-1), crop.paste(part, fill=-1))
    with pytest.raises(ValueError, match="cropped shape"):
        crop.paste(np.zeros((2, 2, 2)))


def test_the_box_of_nonzero_voxels_is_that_of_all_channels() -> None:
    image = np.zeros((2, 10, 11, 12), np.float32)
    image[0, 2, 3, 4], image[1, 7, 3, 9] = 5, np.nan
    for array in (image, np.asfortranarray(image), image[:, ::-1][:, ::-1]):
        assert nonzero_box(array) == ((2, 3, 4), (8, 4, 10))
    assert nonzero_box(image * 0 + 1) == ((0, 0, 0), (10, 11, 12))
    assert nonzero_box(np.zeros((1, 4, 5))) == ((0, 0), (4, 5))
    volume = Volume(np.nan_to_num(image[:1]) * 0, Geometry.from_spacing((10, 11, 12), (1.0, 2.0, 3.0)))
    assert not prepare(volume, make_plan()).image.any()


def test_a_box_elsewhere_has_the_size_and_stays_within_its_bounds_and_mostly_away() -> None:
    box, bounds = ((5, 5, 5), (15, 25, 20)), ((2, 0, 3), (60, 60, 30))
    shared = []
    for seed in range(50):
        start, stop = elsewhere(box, bounds, (12, 4, 99), np.random.default_rng(seed))
        assert np.subtract(stop, start).tolist() == [12, 20, 27]
        assert all(a >= low for a, low in zip(start, bounds[0], strict=True))
        assert all(b <= high for b, high in zip(stop, bounds[1], strict=True))
        held = np.minimum(stop, box[1]) - np.maximum(start, box[0])
        shared.append(np.prod(np.maximum(held, 0)) > 0)
    assert np.mean(shared) < 0.1
    assert elsewhere(box, bounds, (1, 1, 1), np.random.default_rng(3)) == elsewhere(
        box, bounds, (1, 1, 1), np.random.default_rng(3)
    )
