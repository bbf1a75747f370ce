"""Pictures of a data set are all read in the same way: grey or colour, and one size of a pixel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vesal.audit.checks import check_dataset
from vesal.data.case import read_case, read_case_label
from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import fingerprint
from vesal.data.labels import LabelSet
from vesal.layouts.pictures import as_pictures
from vesal.layouts.registry import load_dataset
from vesal.volume.geometry import Geometry
from vesal.volume.io import write_label
from vesal.volume.volume import LabelMap

COLOUR = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]
EQUAL = np.repeat(COLOUR[..., :1], 3, axis=2)
MASK = np.zeros((12, 16), dtype=np.uint8)
MASK[2:6, 3:9] = 1


def pictures(root, arrays, *, dpi=(), suffix=".png", mask_dpi=None):
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for number, array in enumerate(arrays):
        image = array if isinstance(array, Image.Image) else Image.fromarray(array)
        options = {"dpi": dpi[number]} if dpi and dpi[number] else {}
        image.save(root / "images" / f"n{number}{suffix}", **options)
        more = {} if mask_dpi is None else {"dpi": mask_dpi}
        Image.fromarray(MASK).save(root / "masks" / f"n{number}.png", **more)
    return root


def findings(dataset):
    """Those of pictures: here several are the same one."""
    return tuple(one for one in check_dataset(dataset, fingerprint(dataset)) if one.kind != "duplicate")


def test_most_pictures_decide_on_colour_and_a_grey_one_gets_three_channels(tmp_path):
    palette = Image.fromarray(COLOUR).convert("P", palette=Image.Palette.ADAPTIVE)
    alpha = Image.fromarray(COLOUR).convert("RGBA")
    dataset = load_dataset(pictures(tmp_path, [GREY, COLOUR, alpha, palette]))
    assert dataset.channels == ("red", "green", "blue")
    assert any("1 grey ones get three equal channels: n0" in remark for remark in dataset.remarks)
    np.testing.assert_array_equal(read_case(dataset.cases[0]).image.array, np.stack([GREY.T] * 3))
    assert [read_case(case).image.channels for case in dataset.cases] == [3] * 4
    assert not [one for one in findings(dataset) if one.severity == "error"]


def test_among_grey_pictures_one_of_equal_channels_is_grey_and_one_of_colours_an_error(tmp_path):
    dataset = load_dataset(pictures(tmp_path, [EQUAL, GREY, GREY, GREY, COLOUR]))
    assert dataset.channels == ("image",)
    np.testing.assert_array_equal(read_case(dataset.cases[0]).image.array, GREY.T[None])
    errors = [one for one in findings(dataset) if one.severity == "error"]
    assert [one.cases for one in errors] == [("n4",)]
    assert errors[0].kind == "channel-count"


def test_pictures_of_one_kind_are_read_as_they_are_without_a_remark(tmp_path):
    for number, array in enumerate((GREY, COLOUR)):
        dataset = load_dataset(pictures(tmp_path / str(number), [array] * 2))
        assert len(dataset.channels) == (1, 3)[number]
        assert not [remark for remark in dataset.remarks if remark.startswith("Most")]


def test_a_density_on_which_all_agree_is_the_size_of_a_pixel_of_image_and_mask(tmp_path):
    dataset = load_dataset(pictures(tmp_path, [COLOUR] * 3, dpi=[(254, 127)] * 3))
    assert dataset.cases[0].pixel_mm == pytest.approx((0.1, 0.2), rel=1e-3)
    raw = read_case(dataset.cases[1])
    assert raw.image.geometry.spacing_mm == pytest.approx((0.1, 0.2), rel=1e-3)
    assert raw.label is not None
    assert raw.label.geometry.close_to(raw.image.geometry)
    assert read_case_label(dataset.cases[1]).geometry.close_to(raw.image.geometry)
    record = fingerprint(dataset)
    assert record.pixel_mm == dataset.cases[0].pixel_mm
    assert findings(dataset) == ()


@pytest.mark.parametrize(
    "dpi", [[(300, 300), None, None], [(300, 300), (300, 300), (600, 600)], [(72, 72)] * 3]
)
@pytest.mark.parametrize("mask_dpi", [None, (150, 150)])
def test_densities_that_differ_or_are_absent_are_ignored(tmp_path, dpi, mask_dpi):
    dataset = load_dataset(pictures(tmp_path, [COLOUR] * 3, dpi=dpi, mask_dpi=mask_dpi))
    for case in dataset.cases:
        raw = read_case(case)
        assert raw.image.geometry.spacing_mm == (1.0, 1.0)
        assert raw.label is not None
        assert raw.label.geometry.close_to(raw.image.geometry)
    assert findings(dataset) == ()


def test_a_mask_that_says_where_it_lies_lies_on_its_picture_that_does_not(tmp_path):
    root = pictures(tmp_path, [COLOUR] * 2)
    write_label(root / "masks/n0.png", LabelMap(MASK.T, Geometry.from_spacing((16, 12), (0.3, 0.3))))
    assert findings(load_dataset(root)) == ()


def test_a_damaged_picture_does_not_stop_the_others(tmp_path):
    root = pictures(tmp_path, [COLOUR] * 3)
    (root / "images/n2.png").write_bytes(b"\x89PNG nothing")
    dataset = load_dataset(root)
    assert len(dataset.cases) == 3
    assert [failure.id for failure in fingerprint(dataset).failures] == ["n2"]


def test_volumes_are_left_as_they_are():
    dataset = Dataset(
        name="a", root="/a", layout="pairs", channels=("image",), labels=LabelSet.from_values({"b": 1}),
        cases=(Case(id="c", images=("/a/c.nii.gz",), label="/a/l.nii.gz", patient="c"),),
    )  # fmt: skip
    assert as_pictures(dataset) is dataset


def test_one_picture_of_more_channels_does_not_decide_for_the_others(tmp_path):
    import tifffile

    root = pictures(tmp_path, [COLOUR] * 4)
    (root / "images/n0.png").unlink()
    four = np.dstack([COLOUR, GREY])
    tifffile.imwrite(root / "images/n0.tif", four, photometric="minisblack", planarconfig="contig")
    dataset = load_dataset(root)
    assert dataset.channels == ("red", "green", "blue")
    assert [one.cases for one in findings(dataset) if one.severity == "error"] == [("n0",)]
