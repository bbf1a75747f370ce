"""Regions within regions: which lie in which, and that pictures show each of them."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest
from PIL import Image

from vesal.data.labels import LabelSet
from vesal.report.figures.colours import class_colours, mixed, rgb
from vesal.report.figures.glb import glb_bytes
from vesal.report.figures.nesting import containers, inner_first, innermost
from vesal.report.figures.overlay import overlay_png
from vesal.report.figures.render import class_opacities
from vesal.report.figures.scan_figures import channels_picture, planes_picture
from vesal.report.figures.surfaces import class_surfaces
from vesal.volume.geometry import Geometry
from vesal.volume.volume import LabelMap, Volume

#: As BraTS has them: the tumour core is the necrosis and the enhancing rim around it.
TUMOUR = LabelSet.from_values(
    {"necrosis": 1, "oedema": 2, "enhancing": 3},
    regions={
        "whole": ["necrosis", "oedema", "enhancing"],
        "core": ["necrosis", "enhancing"],
        "rim": ["enhancing"],
    },
)


def tumour(shape: tuple[int, ...]) -> np.ndarray:
    """Oedema around an enhancing rim around necrosis; the rim ends where the core ends."""
    distance = np.sqrt(sum((axis - 20) ** 2 for axis in np.ogrid[tuple(slice(size) for size in shape)]))
    label = np.zeros(shape, np.uint8)
    for radius, value in ((17, 2), (11, 3), (6, 1)):
        label[distance < radius] = value
    return label


def near(picture: np.ndarray, number: int) -> np.ndarray:
    """Pixels of the colour of a class's outline."""
    colour = 255 * rgb(mixed(class_colours(TUMOUR)[number], "#ffffff", 0.15))
    return np.abs(picture[..., :3] - colour).max(axis=-1) < 40


def test_regions_lie_within_those_that_hold_more_and_plain_classes_in_none():
    assert containers(TUMOUR) == ((), (0,), (0, 1))
    assert inner_first(TUMOUR) == [2, 1, 0]
    assert containers(LabelSet.from_values({"a": 1, "b": 2})) == ((), ())


def test_what_is_filled_is_the_innermost_class():
    label = tumour((40, 40))
    whole, core, rim = innermost(TUMOUR, TUMOUR.masks(label))
    np.testing.assert_array_equal(whole, label == 2)
    np.testing.assert_array_equal(core, label == 1)
    np.testing.assert_array_equal(rim, label == 3)


@pytest.mark.parametrize("necrosis", [True, False])
@pytest.mark.parametrize("draw", ["overlay", "planes", "dashed", "channels"])
def test_the_outline_of_the_core_is_seen_though_the_rim_ends_there_too(draw, necrosis):
    label = tumour((40, 40))
    if not necrosis:  # Core and rim are one.
        label[label == 1] = 3
    grid = Geometry.from_spacing(label.shape, (1.0, 1.0))
    volume = Volume(np.zeros((1, *label.shape), np.uint8), grid)
    if draw == "overlay":
        png = overlay_png(volume, LabelMap(label, grid), TUMOUR)
    elif draw == "channels":
        png = channels_picture(volume, TUMOUR, ["scan"], {"truth": label})
    else:
        maps = [label] if draw == "planes" else [np.zeros_like(label), label]
        png = planes_picture(volume, TUMOUR, maps)
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float)
    picture = picture if draw == "overlay" else picture[:-60]
    if draw == "dashed":
        colours = [255 * rgb(mixed(colour, "#ffffff", 0.6)) for colour in class_colours(TUMOUR)]
        counts = [int((np.abs(picture - colour).max(axis=-1) < 40).sum()) for colour in colours]
    else:
        counts = [int(near(picture, number).sum()) for number in range(3)]
    assert min(counts) > 40, counts


def test_regions_around_others_are_translucent_in_pictures_and_files_even_where_their_walls_are_one():
    label = tumour((40, 40, 40))
    grid = Geometry.from_spacing(label.shape, (1.0, 1.0, 1.0))
    meshes = class_surfaces(TUMOUR.encode(label), grid, TUMOUR)
    whole, core, rim = class_opacities([meshes], TUMOUR)
    assert whole < 1
    assert core < 1
    assert rim == 1
    data = glb_bytes({"truth": meshes}, TUMOUR)
    (length,) = struct.unpack("<I", data[12:16])
    materials = json.loads(data[20 : 20 + length])["materials"]
    assert [material["alphaMode"] for material in materials] == ["BLEND", "BLEND", "OPAQUE"]


def test_a_core_without_a_rim_hides_nothing_and_is_solid():
    label = tumour((40, 40, 40))
    label[label == 3] = 1
    grid = Geometry.from_spacing(label.shape, (1.0, 1.0, 1.0))
    meshes = class_surfaces(TUMOUR.encode(label), grid, TUMOUR)
    assert class_opacities([meshes], TUMOUR).tolist()[1:] == [1.0, 1.0]
