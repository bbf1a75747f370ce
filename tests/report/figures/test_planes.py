"""Which slice is shown, which way up, and how much of it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from vesal.data.labels import IGNORE, LabelSet
from vesal.report.figures.panels import arrange
from vesal.report.figures.planes import cut_planes, richest_slices
from vesal.report.figures.scan_figures import planes_picture
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume

LABELS = LabelSet.from_values({"background": 0, "left atrium": 1, "wall": 2})


def scan(shape=(24, 30, 20), spacing=(1.0, 1.0, 1.5), channels=1, seed=0):
    rng = np.random.default_rng(seed)
    array = rng.normal(100, 20, (channels, *shape)).astype(np.float32)
    label = np.zeros(shape, dtype=np.uint8)
    label[tuple(slice(n // 4, n // 2) for n in shape)] = 1
    label[tuple(slice(n // 2, n // 2 + 3) for n in shape)] = 2
    return Volume(array, Geometry.from_spacing(shape, spacing)), label


def pixels(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG")
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def marked() -> Volume:
    """Brighter towards the patient's right, the front and the top."""
    x, y, z = np.meshgrid(*[np.arange(16.0)] * 3, indexing="ij")
    return Volume(
        (5 * x + 3 * y + 2 * z)[None].astype(np.float32), Geometry.from_spacing((16, 16, 16), (1, 1, 1))
    )


def test_radiological_axial_slices_show_the_right_at_the_left_and_the_front_on_top():
    axial, coronal, sagittal = cut_planes(marked(), at=(8, 8, 8))
    assert [plane.name for plane in (axial, coronal, sagittal)] == ["axial", "coronal", "sagittal"]
    assert axial.letters == ("R", "L", "A", "P")
    assert axial.image[8, :4].min() > axial.image[8, 12:].max()
    assert axial.image[:4, 8].min() > axial.image[12:, 8].max()
    assert coronal.letters == ("R", "L", "S", "I")
    assert coronal.image[8, :4].min() > coronal.image[8, 12:].max()
    assert coronal.image[:4, 8].min() > coronal.image[12:, 8].max()
    assert sagittal.letters == ("A", "P", "S", "I")
    assert sagittal.image[8, :4].min() > sagittal.image[8, 12:].max()


@pytest.mark.parametrize("codes", ["LPS", "SAR", "PIR"])
def test_a_scan_stored_in_other_axes_looks_the_same(codes):
    from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

    reference = marked()
    ornt = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    from nibabel.orientations import apply_orientation

    array = apply_orientation(reference.array[0], ornt)
    other = Volume(
        array[None], Geometry(array.shape, reference.geometry.affine @ inv_ornt_aff(ornt, (16, 16, 16)))
    )
    assert other.geometry.axis_codes == codes
    for expected, plane in zip(
        cut_planes(reference, at=(8, 8, 8)), cut_planes(other, at=(8, 8, 8)), strict=True
    ):
        assert np.array_equal(expected.image, plane.image)
        assert expected.letters == plane.letters


def test_slices_go_through_the_largest_cross_section():
    label = np.zeros((20, 20, 20), dtype=np.uint8)
    label[3:8, 5:9, 6] = 1
    label[4, 5, 6:15] = 1
    label[:, :, 18] = IGNORE
    assert richest_slices(label) == (4, 5, 6)
    axial = cut_planes(
        Volume(np.zeros((1, 20, 20, 20), dtype=np.float32), Geometry.from_spacing(label.shape, (1, 1, 1))),
        [label],
    )[0]
    assert axial.index == 6


def test_an_empty_truth_leaves_the_choice_to_the_prediction_and_nothing_at_all_shows_the_middle():
    volume, label = scan()
    empty = np.zeros_like(label)
    assert cut_planes(volume, [empty, label])[0].index == richest_slices(label)[2]
    assert cut_planes(volume, [empty, empty])[0].index == volume.geometry.shape[2] // 2
    assert pixels(planes_picture(volume, LABELS, [empty, empty])).size


def test_a_margin_shows_the_label_and_so_many_millimetres_around_it():
    volume, label = scan((40, 40, 40), (1.0, 1.0, 2.0))
    axial, coronal, _ = cut_planes(volume, [label], margin_mm=4)
    labelled = np.flatnonzero(label.any(axis=(1, 2)))
    assert axial.image.shape[1] == labelled[-1] - labelled[0] + 1 + 8
    assert coronal.image.shape[0] == np.ptp(np.flatnonzero(label.any(axis=(0, 1)))) + 1 + 4
    assert axial.maps[0].any()


def test_voxels_that_are_not_square_are_shown_in_their_true_proportion():
    volume, label = scan((20, 20, 10), (1.0, 1.0, 6.0))
    _, coronal, _ = cut_planes(volume, [label])
    assert coronal.size_mm == (20.0, 60.0)
    places, _ = arrange([plane.size_mm for plane in cut_planes(volume, [label])], 9.0, 4.5)
    for (_, _, width, height), plane in zip(places, cut_planes(volume, [label]), strict=True):
        assert width / height == pytest.approx(plane.size_mm[0] / plane.size_mm[1])


def test_a_two_dimensional_image_is_shown_as_it_lies_in_its_file():
    array = np.zeros((1, 40, 30), dtype=np.float32)
    array[0, 30:, :5] = 1.0
    volume = Volume(array, Geometry.from_spacing((40, 30), (1, 1)))
    plane = cut_planes(volume)[0]
    assert plane.image.shape == (30, 40)
    assert plane.image[:5, 30:].min() == 1.0
    label = np.zeros((40, 30), dtype=np.uint8)
    label[5:15, 5:15] = 1
    image = pixels(planes_picture(volume, LABELS, [label]))
    assert image.shape[1] > image.shape[0]


def test_a_colour_photograph_is_shown_in_colour():
    array = np.zeros((3, 20, 20), dtype=np.uint8)
    array[0] = 200
    plane = cut_planes(Volume(array, Geometry.from_spacing((20, 20), (1, 1))))[0]
    assert plane.image.shape == (20, 20, 3)
    assert plane.image[0, 0].tolist() == pytest.approx([200 / 255, 0, 0])


def test_three_channels_of_fractions_are_no_photograph_and_are_not_black():
    array = np.random.default_rng(0).random((3, 20, 20), dtype=np.float32)
    plane = cut_planes(Volume(array, Geometry.from_spacing((20, 20), (1, 1))))[0]
    assert plane.image.shape == (20, 20)
    assert np.ptp(plane.image) == 1.0


def test_a_single_slice_of_a_volume_and_scans_with_holes_are_shown():
    volume, label = scan((20, 20, 1))
    assert [plane.name for plane in cut_planes(volume, [label])] == ["axial"]
    volume, label = scan()
    volume.array[:, :5] = np.nan
    volume.array[:, 5] = np.inf
    assert np.isfinite(cut_planes(volume, [label])[0].image).all()
    constant = Volume(
        np.full((1, 9, 9, 9), 7.0, dtype=np.float32), Geometry.from_spacing((9, 9, 9), (1, 1, 1))
    )
    assert np.isfinite(cut_planes(constant)[0].image).all()
