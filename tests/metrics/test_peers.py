"""The published test cases of DeepMind's surface-distance and of MONAI, in our words, with their published numbers.

MONAI's surfaces are ours: its numbers are ours too. DeepMind's surface runs through the corners between voxels, each
weighted by its piece of surface: measured on these points with these weights our distances give its numbers, and on our
own surfaces other ones, which stand beside them. Neither package is needed to run this.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from vesal.data.labels import LabelSet
from vesal.evaluate.case_scores import diagonal_mm, score_case
from vesal.metrics.lesions import lesions
from vesal.metrics.overlap import Confusion, confusions
from vesal.metrics.surface import nearest_mm, surface_distances
from vesal.volume.geometry import Geometry

# --- DeepMind's surface-distance (surface_distance_test.py) ------------------------------------------------------


def confusion(prediction: np.ndarray, truth: np.ndarray) -> Confusion:
    """The counts of two masks."""
    maps = (mask.astype(np.uint8) for mask in (prediction, truth))
    return confusions(*maps, np.array([[False, True]]))[0]


def mixed_corners(mask):
    """Corners between voxels, one more than voxels along each axis, that have voxels inside and outside around them."""
    around = np.pad(mask, 1).astype(int)
    for axis in range(mask.ndim):
        around = np.take(around, range(1, around.shape[axis]), axis) + np.take(
            around, range(around.shape[axis] - 1), axis
        )
    return (around > 0) & (around < 2**mask.ndim)


def box_weights(mask, spacing):
    """The size of the piece of surface at each mixed corner of a box (mm, mm²), in their order.

    Those on a face have the area of one, those on an edge or a corner of the box what is left where the surface cuts
    that off.
    """
    corners = mixed_corners(mask)
    if mask.ndim == 2:
        row, column = spacing
        cut = math.hypot(row, column) / 2
        faces = np.array([column, row])
    else:
        faces = np.array([spacing[1] * spacing[2], spacing[0] * spacing[2], spacing[0] * spacing[1]])
        cut = float(np.linalg.norm(faces / 8))
    inside = np.argwhere(mask)
    low, high = inside.min(axis=0), inside.max(axis=0) + 1
    weights = []
    for corner in np.argwhere(corners):
        at_end = [axis for axis in range(mask.ndim) if corner[axis] in (low[axis], high[axis])]
        if len(at_end) == 1:
            weights.append(faces[at_end[0]])
        elif len(at_end) < mask.ndim:
            weights.append(2 * float(np.linalg.norm(faces[at_end] / 4)))
        else:
            weights.append(cut)
    return np.array(weights)


def deepmind(prediction, truth, spacing, tolerance=1.0):
    """Their averages (truth to prediction, and back), HD, HD95, overlaps and surface Dice, from our distances."""
    p, t = mixed_corners(prediction), mixed_corners(truth)
    to_prediction, to_truth = nearest_mm(t, p, spacing), nearest_mm(p, t, spacing)
    of_t, of_p = box_weights(truth, spacing), box_weights(prediction, spacing)

    def percentile(distances, weights, percent):
        order = np.argsort(distances, kind="stable")
        reached = np.cumsum(weights[order]) / weights.sum()
        return distances[order][min(int(np.searchsorted(reached, percent / 100)), len(order) - 1)]

    within = of_t[to_prediction <= tolerance].sum(), of_p[to_truth <= tolerance].sum()
    return {
        "average": (np.average(to_prediction, weights=of_t), np.average(to_truth, weights=of_p)),
        "hd": max(percentile(to_prediction, of_t, 100), percentile(to_truth, of_p, 100)),
        "hd95": max(percentile(to_prediction, of_t, 95), percentile(to_truth, of_p, 95)),
        "overlap": (within[0] / of_t.sum(), within[1] / of_p.sum()),
        "surface_dice": sum(within) / (of_t.sum() + of_p.sum()),
    }


def dots(shape, *places):
    mask = np.zeros(shape, bool)
    for place in places:
        mask[place] = True
    return mask


@pytest.mark.parametrize(
    ("truth", "prediction", "spacing"),
    [
        (dots((128, 128), (50, 70)), dots((128, 128), (50, 72)), (2, 1)),
        (dots((128,) * 3, (50, 60, 70)), dots((128,) * 3, (50, 60, 72)), (3, 2, 1)),
    ],
)
def test_two_voxels_2_mm_apart(truth, prediction, spacing):
    theirs = deepmind(prediction, truth, spacing)
    assert theirs["average"] == pytest.approx((1.5, 1.5))
    assert (theirs["hd"], theirs["hd95"]) == (2.0, 2.0)
    assert theirs["overlap"] == pytest.approx((0.5, 0.5))
    assert theirs["surface_dice"] == pytest.approx(0.5)
    # Between the voxels' centres there is one distance; their facing corners are only 1 mm apart.
    ours = surface_distances(prediction, truth, spacing)
    assert (ours.hd(), ours.hd(95), ours.assd, ours.nsd(1.0)) == (2.0, 2.0, 2.0, 0.0)
    assert confusion(prediction, truth).dice == 0.0


def test_two_squares_one_a_row_longer():
    truth, prediction = np.zeros((2, 6, 6), bool)
    truth[1:3, 1:3] = prediction[1:4, 1:3] = True
    vertical, horizontal = 2, 1
    weights = box_weights(truth, (vertical, horizontal))
    diagonal = 0.5 * math.hypot(vertical, horizontal)
    assert sorted(weights) == sorted([diagonal, horizontal, diagonal, vertical] * 2)
    theirs = deepmind(prediction, truth, (vertical, horizontal))
    # The published lists: one distance of 1 from the truth, three of 2 from the prediction, all others 0.
    perimeters = (
        4 * diagonal + 4 * vertical / 2 + 2 * horizontal,
        4 * diagonal + 4 * vertical + 2 * horizontal,
    )
    lower = 2 * diagonal + horizontal
    assert sum(box_weights(prediction, (vertical, horizontal))) == pytest.approx(perimeters[1])
    assert theirs["average"][0] == pytest.approx(horizontal * 1 / weights.sum())
    assert theirs["average"][1] == pytest.approx(2 * lower / perimeters[1])
    assert theirs["hd"] == vertical
    assert confusion(prediction, truth).dice == pytest.approx(0.8)
    ours = surface_distances(prediction, truth, (vertical, horizontal))
    assert (ours.hd(), ours.assd) == (2.0, pytest.approx(2 * 2 / 10))


def test_two_halves_of_a_cube_one_slice_apart():
    truth, prediction = np.zeros((2, 100, 100, 100), bool)
    truth[:50] = prediction[:51] = True
    spacing = (2, 1, 1)
    theirs = deepmind(prediction, truth, spacing)
    assert theirs["average"] == pytest.approx((0.322, 0.339), abs=5e-4)
    assert (theirs["hd"], theirs["hd95"]) == (2.0, 2.0)
    assert theirs["overlap"] == pytest.approx((0.842, 0.830), abs=5e-4)
    assert theirs["surface_dice"] == pytest.approx(0.836, abs=5e-4)
    assert confusion(prediction, truth).dice == pytest.approx(0.990, abs=5e-4)
    # Voxels count alike, so the sides of the thick slices weigh half as much as there, and the moved face more: of its
    # voxels in the truth all lie 2 mm from the prediction's surface, but for a ring at 1 mm from its sides.
    ours = surface_distances(prediction, truth, spacing)
    face, inner, ring = 100**2, 98**2, 4 * 97
    whole = (2 * face + 48 * (face - inner)) + (2 * face + 49 * (face - inner))
    assert (ours.hd(), ours.hd(95)) == (2.0, 2.0)
    assert ours.nsd(1.0) == pytest.approx(1 - (inner - ring + face) / whole)
    assert ours.assd == pytest.approx((2 * (inner - ring) + ring + 2 * face) / whole)


@pytest.mark.parametrize("which", ["prediction", "truth", "both"])
@pytest.mark.parametrize("axes", [2, 3])
def test_empty_masks_are_undefined_as_distances_and_have_our_policy_as_scores(which, axes):
    """There infinite, NaN, or 0; here None, and in scores 0 and the image's diagonal, or excluded if both are empty."""
    shape, spacing = (128,) * axes, (3.0, 2.0, 1.0)[:axes]
    dot, nothing = dots(shape, (50, 60, 70)[:axes]), np.zeros(shape, bool)
    pair = {"prediction": (nothing, dot), "truth": (dot, nothing), "both": (nothing, nothing)}[which]
    distances = surface_distances(*pair, spacing)
    assert (distances.hd(), distances.hd(95), distances.assd, distances.nsd(1.0)) == (None,) * 4
    assert confusion(*pair).dice == (None if which == "both" else 0.0)
    grid = Geometry.from_spacing(shape, spacing)
    labels = LabelSet.from_values({"x": 1})
    row = score_case("a", *(mask.astype(np.uint8) for mask in pair), grid, labels)[0]
    expected = (None,) * 4 if which == "both" else (0.0, 0.0, diagonal_mm(grid), diagonal_mm(grid))
    assert (row.dice, row.nsd, row.hd95_mm, row.assd_mm) == expected


def test_masks_of_unlike_shapes_are_refused():
    flat, solid = np.zeros((2, 2), bool), np.zeros((2, 2, 2), bool)
    for arguments in ((solid, flat, (1, 1)), (flat, solid, (1, 1)), (flat, flat, (1, 1, 1))):
        with pytest.raises(ValueError, match="do not fit together"):
            surface_distances(*arguments)


# --- MONAI: Dice (tests/metrics/test_compute_meandice.py) ----------------------------------------------------------


def bits(text):
    """A mask of 2 x 2 from four digits."""
    return np.array([digit == "1" for digit in text]).reshape(2, 2)


@pytest.mark.parametrize(
    ("prediction", "truth", "dice"),
    [
        ("1001", "1011", 0.8),
        ("0011", "1010", 0.5),
        ("1000", "0100", 0.0),
        ("1000", "1100", 0.6667),
        ("0110", "0010", 0.6667),
        ("1111", "1111", 1.0),
        ("0000", "0000", None),  # NaN there; 1 with ignore_empty=False
        ("0000", "1111", 0.0),
        ("1111", "0000", 0.0),
    ],
)
def test_monai_dice_of_four_voxels(prediction, truth, dice):
    found = confusion(bits(prediction), bits(truth)).dice
    assert found == (None if dice is None else pytest.approx(dice, abs=1e-4))


def test_monai_means_over_cases_leave_out_what_is_undefined():
    cases = [(("1110", "1111"), ("0100", "0000"), ("0111", "0000")),
             (("1011", "0001"), ("0111", "1100"), ("0110", "0010"))]  # fmt: skip
    table = [[confusion(bits(p), bits(t)).dice for p, t in case] for case in cases]
    by_class = [np.mean([row[index] for row in table]) for index in (0, 2)]
    assert by_class[0] == pytest.approx(0.6786, abs=1e-4)
    assert table[1][1] == pytest.approx(0.4)
    # MONAI leaves the empty truth of the first case out of its means; here a prediction without a truth scores 0.
    assert (table[0][1], table[0][2]) == (0.0, 0.0)
    kept = [
        [row[index] for index in range(3) if t != "0000"]
        for row, t in zip(table, ("1111", "0001"), strict=True)
    ]
    assert np.mean([table[0][0], np.mean(kept[1])]) == pytest.approx(0.689683, abs=1e-5)


def test_monai_dice_by_component_is_the_lesion_wise_dice():
    truth, prediction = np.zeros((2, 64, 64, 64), bool)
    truth[20:25, 20:25, 20:25] = truth[40:45, 40:45, 40:45] = True
    prediction[21:26, 21:26, 21:26] = prediction[41:46, 39:44, 41:46] = True
    assert lesions(prediction, truth).dice == pytest.approx(0.5120)
    nothing = np.zeros_like(truth)
    assert lesions(nothing, nothing).dice is None  # 1 there


# --- MONAI: distances (tests/metrics/test_hausdorff_distance.py, test_surface_distance.py) -------------------------

SPACING = (0.85, 1.2, 0.9)


def ball(radius=20, centre=(49, 49, 49), spacing=(1.0, 1.0, 1.0)):
    """A ball in an image of 99 x 99 x 99, in millimetres."""
    axes = np.ogrid[:99, :99, :99]
    squares = [(axis * step - middle) ** 2 for axis, step, middle in zip(axes, spacing, centre, strict=True)]
    return sum(squares) <= radius**2


@pytest.mark.parametrize(
    ("prediction", "truth", "spacing", "percentile", "directed", "undirected"),
    [
        ((), (), None, 100, 0.0, 0.0),
        ((20, (20, 20, 20)), (20, (19, 19, 19)), None, 100, 1.7320508075688772, 1.7320508075688772),
        ((33, (19, 33, 22)), (33, (20, 33, 22)), None, 100, 1.0, 1.0),
        ((20, (20, 33, 22)), (40, (20, 33, 22)), None, 100, 20.09975124224178, 20.223748416156685),
        ((20, (20, 33, 22)), (40, (20, 33, 22)), None, 95, 19.924858845171276, 20.09975124224178),
        ((20, (20, 20, 20)), (20, (19, 19, 19)), SPACING, 100, 2.0808651447296143, 2.2671568),
        ((15, (20, 33, 22)), (30, (20, 33, 22)), SPACING, 100, 15.439640998840332, 15.62594),
    ],
)
def test_monai_hausdorff_distances_of_balls(prediction, truth, spacing, percentile, directed, undirected):
    spacing = spacing or (1.0, 1.0, 1.0)
    measured = surface_distances(ball(*prediction, spacing=spacing) if prediction else ball(),
                                 ball(*truth, spacing=spacing) if truth else ball(), spacing)  # fmt: skip
    assert_allclose(np.percentile(measured.to_truth, percentile), directed, rtol=1e-6)
    assert_allclose(measured.hd(percentile), undirected, rtol=1e-6)


@pytest.mark.parametrize(
    ("prediction", "truth", "spacing", "symmetric", "directed"),
    [
        ((33, (19, 33, 22)), (33, (20, 33, 22)), None, 0.350217, 0.3483278807706289),
        ((20, (20, 33, 22)), (40, (20, 33, 22)), None, 15.117741, 12.040033513150455),
        ((33, (42, 45, 52)), (33, (43, 45, 52)), SPACING, 0.4951, 0.4951),
    ],
)
def test_monai_average_surface_distances_of_balls(prediction, truth, spacing, symmetric, directed):
    spacing = spacing or (1.0, 1.0, 1.0)
    measured = surface_distances(ball(*prediction, spacing=spacing), ball(*truth, spacing=spacing), spacing)
    assert_allclose(measured.assd, symmetric, rtol=1e-5)
    assert_allclose(measured.to_truth.mean(), directed, rtol=1e-5)


# --- MONAI: surface Dice (tests/metrics/test_surface_dice.py) -------------------------------------------------------


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.85, 1.2)])
def test_monai_surface_dice_of_a_front_that_moved_10_pixels(spacing):
    prediction, truth = np.zeros((2, 480, 640), bool)
    prediction[:, 50:] = truth[:, 60:] = True
    foreground = surface_distances(prediction, truth, spacing)
    background = surface_distances(~prediction, ~truth, spacing)
    moved = 478 + 480 + 9 * 2
    assert foreground.nsd(0) == pytest.approx(1 - moved / (480 * 4 + 588 * 2 + 578 * 2))
    assert background.nsd(0) == pytest.approx(1 - moved / (480 * 4 + 48 * 2 + 58 * 2))
    for measured in (foreground, background):
        rising = [measured.nsd(tolerance * spacing[1]) for tolerance in (0, 1, 9, 10)]
        assert rising == sorted(set(rising))
        assert measured.nsd(10 * spacing[1]) == measured.nsd(13 * spacing[1]) == 1.0


def test_monai_surface_dice_of_a_block_that_moved_10_voxels():
    prediction, truth = np.zeros((2, 200, 110, 80), bool)
    prediction[:, :, 20:] = truth[:, :, 30:] = True
    moved = 200 * 110 + 198 * 108 + 9 * 200 * 2 + 9 * 108 * 2
    for side, widths in ((1, 58 + 48), (0, 28 + 18)):
        pair = (prediction, truth) if side else (~prediction, ~truth)
        whole = 200 * 110 * 4 + widths * 200 * 2 + widths * 108 * 2
        measured = surface_distances(*pair, (1.0, 1.0, 1.0))
        assert measured.nsd(0) == pytest.approx(1 - moved / whole)
        assert measured.nsd(0) < measured.nsd(1) < measured.nsd(10) == measured.nsd(11)


@pytest.mark.parametrize(
    ("tolerances", "expected"),
    [((0, 0), (1 - 12 / 84, 0)), ((2.8, 5.5), (1 - 3 / 84, 1 - 4 / 6)), ((3, 6), (1 - 1 / 84, 1 - 2 / 6))],
)
def test_monai_surface_dice_of_two_short_bars(tolerances, expected):
    prediction, truth = np.zeros((2, 10, 10), bool)
    prediction[1:4, 1] = truth[5:8, 6] = True
    background = surface_distances(~prediction, ~truth, (1.0, 1.0))
    foreground = surface_distances(prediction, truth, (1.0, 1.0))
    assert sorted(foreground.to_truth) == pytest.approx([29**0.5, 34**0.5, 41**0.5])
    found = background.nsd(tolerances[0]), foreground.nsd(tolerances[1])
    assert found == pytest.approx(expected)


def test_every_case_of_four_voxels_obeys_what_dice_iou_and_surfaces_promise():
    every = [bits(f"{number:04b}") for number in range(16)]
    for prediction, truth in itertools.product(every, every):
        counts = confusion(prediction, truth)
        if counts.dice is not None:
            assert counts.iou == pytest.approx(counts.dice / (2 - counts.dice))
        distances = surface_distances(prediction, truth, (1.0, 1.0))
        if distances.defined:
            # In four voxels every voxel is surface.
            assert distances.boundary_dice == pytest.approx(counts.dice)
