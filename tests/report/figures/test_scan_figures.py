"""Pictures of scans: the right slice, the right way up, with contours where the labels are."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from vesal.data.labels import IGNORE, LabelSet
from vesal.report.figures.panels import arrange, grid
from vesal.report.figures.planes import cut_planes, richest_slices
from vesal.report.figures.scan_figures import channels_picture, planes_picture, showcase, surfaces_picture
from vesal.report.figures.surfaces import class_surfaces
from vesal.volume.geometry import Geometry
from vesal.volume.volume import LabelMap, Volume

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


def test_neurological_slices_show_the_right_at_the_right():
    axial = cut_planes(marked(), at=(8, 8, 8), convention="neurological")[0]
    assert axial.letters == ("L", "R", "A", "P")
    assert axial.image[8, 12:].min() > axial.image[8, :4].max()


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
    assert pixels(planes_picture(volume, LABELS, truth=empty, prediction=empty)).size


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


@pytest.mark.parametrize(
    "sizes", [[(35, 50), (35, 35), (50, 35)], [(340, 400), (340, 100), (400, 100)], [(30, 30)]]
)
def test_panels_share_one_scale_and_do_not_overlap(sizes):
    places, height = arrange(sizes, 9.0, 4.5)
    scales = [place[2] / size[0] for place, size in zip(places, sizes, strict=True)]
    assert np.allclose(scales, scales[0])
    for number, (x, y, w, h) in enumerate(places):
        assert x >= 0
        assert y >= 0
        assert x + w <= 9.0 + 1e-9
        assert y + h <= height + 1e-9
        for ox, oy, ow, oh in places[number + 1 :]:
            assert x + w <= ox + 1e-9 or ox + ow <= x + 1e-9 or y + h <= oy + 1e-9 or oy + oh <= y + 1e-9


def test_the_contours_of_truth_and_prediction_are_drawn_in_the_colour_of_the_class():
    volume, label = scan()
    bare, solid = (
        pixels(planes_picture(volume, LABELS, truth=truth)) for truth in (np.zeros_like(label), label)
    )
    orange = lambda image: ((image[..., 0] - image[..., 2]) > 90).sum()  # noqa: E731
    # An empty truth leaves the swatch in the legend alone.
    assert orange(solid) > orange(bare) + 300
    both = pixels(planes_picture(volume, LABELS, truth=label, prediction=np.roll(label, 3, axis=0)))
    assert np.abs(both - solid).sum() > 10_000


def test_a_single_voxel_has_a_contour():
    volume, label = scan()
    label[:] = 0
    bare = pixels(planes_picture(volume, LABELS, truth=label))
    label[12, 15, 10] = 1
    assert np.abs(pixels(planes_picture(volume, LABELS, truth=label)) - bare).max() > 60


def test_a_two_dimensional_image_is_shown_as_it_lies_in_its_file():
    array = np.zeros((1, 40, 30), dtype=np.float32)
    array[0, 30:, :5] = 1.0
    volume = Volume(array, Geometry.from_spacing((40, 30), (1, 1)))
    plane = cut_planes(volume)[0]
    assert plane.image.shape == (30, 40)
    assert plane.image[:5, 30:].min() == 1.0
    label = np.zeros((40, 30), dtype=np.uint8)
    label[5:15, 5:15] = 1
    image = pixels(planes_picture(volume, LABELS, truth=label))
    assert image.shape[1] > image.shape[0]


def test_a_colour_photograph_is_shown_in_colour():
    array = np.zeros((3, 20, 20), dtype=np.uint8)
    array[0] = 200
    plane = cut_planes(Volume(array, Geometry.from_spacing((20, 20), (1, 1))))[0]
    assert plane.image.shape == (20, 20, 3)
    assert plane.image[0, 0].tolist() == pytest.approx([200 / 255, 0, 0])


REGIONS = LabelSet.from_values(
    {"background": 0, "oedema": 2, "core": 4}, regions={"whole": ["oedema", "core"], "core": ["core"]}
)


@pytest.mark.parametrize(
    ("shape", "channels"), [((24, 30, 20), 1), ((24, 30, 20), 4), ((24, 30), 3), ((24, 30), 7)]
)
def test_channels_stand_side_by_side_with_truth_and_prediction_on_panels_of_their_own(shape, channels):
    volume, label = scan(shape, (1.0,) * len(shape), channels=channels)
    names = [f"C{number}" for number in range(channels)]
    shown = {"none": (None, None), "truth": (label, None), "both": (label, label)}
    orange = {}
    for name, (truth, prediction) in shown.items():
        image = pixels(channels_picture(volume, REGIONS, names, truth=truth, prediction=prediction, width=6))
        orange[name] = ((image[:-40, :, 0] - image[:-40, :, 1]) > 70).sum()
    assert orange["none"] == 0
    assert orange["truth"] > 200
    # One panel more, though smaller where the panels share the width.
    assert orange["both"] > 0.7 * orange["truth"]


def test_a_colour_photograph_is_one_panel_and_three_modalities_are_three():
    array = np.zeros((3, 40, 30), dtype=np.uint8)
    array[0], array[1, :20] = 200, 90
    volume = Volume(array, Geometry.from_spacing((40, 30), (1, 1)))
    label = np.zeros((40, 30), dtype=np.uint8)
    label[5:15, 5:15] = 1
    photograph = pixels(channels_picture(volume, LABELS, ("red", "green", "blue"), truth=label))
    modalities = pixels(channels_picture(volume, LABELS, ("T1", "T2", "PD"), truth=label))
    red = lambda image: ((image[..., 0] > 180) & (image[..., 2] < 40)).sum()  # noqa: E731
    assert red(photograph) > 20_000
    assert red(modalities) < 5_000


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 2), (2, 2), (3, 3), (4, 4), (5, 3), (6, 3), (8, 4), (9, 3)]
)
def test_rows_of_panels_are_about_equally_full(count, columns):
    places, _ = grid([(10.0, 10.0)] * count, 9.0)
    assert len({round(y, 6) for _, y, _, _ in places}) == -(-count // columns)
    assert len({round(x, 6) for x, _, _, _ in places}) == min(count, columns)


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


@pytest.mark.filterwarnings("error")
def test_names_with_dollars_and_markup_are_drawn_as_they_are():
    names = {
        "background": 0,
        "$\\frac{1}$": 1,
        "_<script>": 2,
        "a very long name of a class that would not fit": 3,
    }
    volume, label = scan()
    assert pixels(planes_picture(volume, LabelSet.from_values(names), truth=label, prediction=label)).size


def test_surfaces_and_showcase_are_pictures():
    volume, label = scan()
    surfaces = class_surfaces(label, volume.geometry, LABELS)
    assert pixels(surfaces_picture({"truth": surfaces, "prediction": surfaces}, LABELS, width=3)).size
    map_ = LabelMap(label, volume.geometry)
    image = pixels(showcase(volume, map_, map_, LABELS, caption="Dice 1.00", width=5))
    assert image.shape[1] == 650
    assert pixels(showcase(volume, map_, map_, width=5)).shape[1] == 650


def test_threads_draw_the_same_pictures_as_one():
    inputs = [scan(seed=seed) for seed in range(6)]

    def draw(item):
        return planes_picture(item[0], LABELS, truth=item[1], width=4)

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(draw, inputs)) == [draw(item) for item in inputs]
