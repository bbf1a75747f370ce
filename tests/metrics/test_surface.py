"""Surface distances against distance transforms, MONAI, SimpleITK and DeepMind's surface-distance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from vesal.metrics.surface import bounding_box, nearest_mm, surface, surface_distances

TOLERANCE = 1e-4


def random_pairs(count, seed, ndim=None):
    """Pairs of masks with their spacing: half of them blobs, half of them noise; one in four touches a border."""
    generator = np.random.default_rng(seed)
    while count:
        axes = ndim or int(generator.integers(2, 4))
        shape = tuple(int(size) for size in generator.integers(9, 19, axes))
        spacing = tuple(float(value) for value in generator.uniform(0.3, 4.0, axes))
        fields = generator.normal(size=(2, *shape))
        if count % 2:
            fields = ndimage.gaussian_filter(fields, (0, *[2] * axes))
        masks = fields > np.quantile(fields, 0.8)
        if count % 4:
            masks[(slice(None), *[[0, -1]] * axes)] = False
        if masks[0].any() and masks[1].any():
            count -= 1
            yield masks[0], masks[1], spacing


def test_distances_of_two_voxels_are_the_distance_between_their_centres():
    prediction, truth = np.zeros((2, 5, 5, 5), dtype=bool)
    prediction[1, 1, 1] = truth[1, 4, 3] = True
    measured = surface_distances(prediction, truth, (9.0, 2.0, 4.0))
    assert measured.hd() == measured.hd(95) == measured.assd == pytest.approx(10.0)  # 3 * 2 mm and 2 * 4 mm
    assert measured.nsd(9.9) == 0.0
    assert measured.nsd(10.0) == 1.0


def test_equal_masks_are_at_distance_zero():
    mask = np.zeros((6, 6), dtype=bool)
    mask[1:5, 2:4] = True
    measured = surface_distances(mask, mask, (1.0, 3.0))
    assert (measured.hd(), measured.assd, measured.nsd(0.0), measured.boundary_dice) == (0.0, 0.0, 1.0, 1.0)


def test_a_bar_one_voxel_longer_has_the_distances_counted_by_hand():
    truth, prediction = np.zeros((2, 3, 8), dtype=bool)
    truth[1, 1:5] = True
    prediction[1, 1:6] = True
    measured = surface_distances(prediction, truth, (1.0, 0.5))
    assert measured.to_truth.tolist() == [0, 0, 0, 0, 0.5]
    assert measured.to_prediction.tolist() == [0, 0, 0, 0]
    assert measured.assd == pytest.approx(0.5 / 9)
    assert measured.boundary_dice == pytest.approx(8 / 9)
    assert measured.hd(95) == pytest.approx(0.4)  # interpolated between the fourth and fifth of five


def test_metrics_are_none_when_a_mask_is_empty():
    mask = np.ones((3, 3), dtype=bool)
    for pair in ((mask, ~mask), (~mask, mask), (~mask, ~mask)):
        measured = surface_distances(*pair, (1.0, 1.0))
        assert (measured.hd(95), measured.assd, measured.nsd(1.0), measured.boundary_dice) == (None,) * 4


def test_a_tolerance_of_three_voxels_of_a_tenth_includes_the_third_voxel():
    prediction, truth = np.zeros((2, 12, 3), dtype=bool)
    prediction[4, 1] = truth[7, 1] = True
    measured = surface_distances(prediction, truth, (0.1, 1.0))
    assert measured.hd() > 0.3  # in binary fractions, by 6e-17 mm
    assert measured.nsd(0.3) == 1.0


def test_arguments_that_make_no_sense_are_refused():
    mask = np.ones((3, 3), dtype=bool)
    measured = surface_distances(mask, mask, (1.0, 1.0))
    with pytest.raises(ValueError, match="percentile"):
        measured.hd(101)
    with pytest.raises(ValueError, match="tolerance"):
        measured.nsd(-1)
    with pytest.raises(ValueError, match="spacing"):
        surface_distances(mask, mask, (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="fit together"):
        surface_distances(mask, mask[:2], (1.0, 1.0))


def test_surface_is_the_mask_without_its_erosion_also_at_the_image_border():
    for mask, other, _ in random_pairs(20, seed=2):
        for one in (mask, other):
            assert np.array_equal(surface(one), one & ~ndimage.binary_erosion(one))


def test_nearest_distance_is_that_of_the_distance_transform():
    for points, targets, spacing in random_pairs(30, seed=3):
        expected = ndimage.distance_transform_edt(~targets, sampling=spacing)[points]
        np.testing.assert_allclose(nearest_mm(points, targets, spacing), expected, atol=1e-9)


def test_cutting_to_the_joint_box_changes_nothing():
    for prediction, truth, spacing in random_pairs(20, seed=4):
        measured = surface_distances(prediction, truth, spacing)
        whole = nearest_mm(surface(prediction), surface(truth), spacing)
        np.testing.assert_array_equal(measured.to_truth, whole)
        padded = [np.pad(mask, 5) for mask in (prediction, truth)]
        np.testing.assert_allclose(surface_distances(*padded, spacing).to_truth, whole, atol=1e-12)


def test_bounding_box_holds_every_voxel_and_its_margin_stays_inside_the_image():
    mask = np.zeros((5, 6), dtype=bool)
    assert bounding_box(mask) is None
    mask[0, 2] = mask[2, 3] = True
    assert bounding_box(mask) == (slice(0, 3), slice(2, 4))
    assert bounding_box(mask, margin=1) == (slice(0, 4), slice(1, 5))


def test_no_surface_arises_where_a_mask_ends_at_ignored_voxels():
    truth, prediction, ignore = np.zeros((3, 7, 12), dtype=bool)
    truth[2:5, 2:8] = True
    prediction[2:5, 2:11] = True
    ignore[:, 6:] = True
    measured = surface_distances(prediction, truth, (1.0, 1.0), ignore)
    assert measured.hd() == 0.0  # they differ under the ignored voxels alone
    # Left face and the two long sides of the 3 by 4 voxels that are known, none at the cut.
    assert measured.to_truth.size == 3 + 2 * 3
    assert surface_distances(prediction, truth, (1.0, 1.0)).hd() == 3.0


def test_a_mask_enclosed_by_ignored_voxels_has_no_surface():
    mask = np.zeros((5, 5), dtype=bool)
    mask[2, 2] = True
    measured = surface_distances(mask, mask, (1.0, 1.0), ~mask)
    assert not measured.defined
    assert measured.assd is None


def test_hd_assd_and_nsd_agree_with_monai_on_a_hundred_random_masks():
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    for prediction, truth, spacing in random_pairs(100, seed=5):
        p, t = (torch.from_numpy(mask[None, None]) for mask in (prediction, truth))
        measured = surface_distances(prediction, truth, spacing)
        options = {"include_background": True, "spacing": spacing}
        for percentile in (50, 95, 100):
            referee = metrics.compute_hausdorff_distance(p, t, percentile=percentile, **options).item()
            assert measured.hd(percentile) == pytest.approx(referee, abs=TOLERANCE)
        referee = metrics.compute_average_surface_distance(p, t, symmetric=True, **options).item()
        assert measured.assd == pytest.approx(referee, abs=TOLERANCE)
        for tolerance in (0.0, 1.0, 2.5):
            referee = metrics.compute_surface_dice(p, t, [tolerance], **options).item()
            assert measured.nsd(tolerance) == pytest.approx(referee, abs=TOLERANCE)


def itk_image(sitk, mask, spacing):
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(spacing[::-1])
    return image


def test_hd_agrees_with_simpleitk_on_a_hundred_random_surfaces():
    sitk = pytest.importorskip("SimpleITK")
    for prediction, truth, spacing in random_pairs(100, seed=6):
        referee = sitk.HausdorffDistanceImageFilter()
        referee.Execute(*(itk_image(sitk, surface(mask), spacing) for mask in (prediction, truth)))
        measured = surface_distances(prediction, truth, spacing)
        assert measured.hd() == pytest.approx(referee.GetHausdorffDistance(), abs=TOLERANCE)


def whole_masks(sitk, prediction, truth, spacing):
    """SimpleITK's Hausdorff filter on the masks themselves, and the distances from all their voxels."""
    referee = sitk.HausdorffDistanceImageFilter()
    referee.Execute(itk_image(sitk, prediction, spacing), itk_image(sitk, truth, spacing))
    return referee, (nearest_mm(prediction, truth, spacing), nearest_mm(truth, prediction, spacing))


def test_simpleitk_on_whole_masks_measures_from_every_voxel_of_them():
    sitk = pytest.importorskip("SimpleITK")
    for prediction, truth, spacing in random_pairs(100, seed=7):
        referee, sides = whole_masks(sitk, prediction, truth, spacing)
        largest, average = max(side.max() for side in sides), np.mean([side.mean() for side in sides])
        assert largest == pytest.approx(referee.GetHausdorffDistance(), abs=TOLERANCE)
        assert average == pytest.approx(referee.GetAverageHausdorffDistance(), abs=TOLERANCE)


def test_simpleitk_on_whole_masks_differs_where_one_mask_is_hollow():
    sitk = pytest.importorskip("SimpleITK")
    truth = np.zeros((21, 21), dtype=bool)
    truth[2:19, 2:19] = True
    prediction = truth.copy()
    prediction[10, 10] = False
    referee, _ = whole_masks(sitk, prediction, truth, (1.0, 1.0))
    assert referee.GetHausdorffDistance() == pytest.approx(1.0)  # from the hole to the nearest voxel
    assert (
        surface_distances(prediction, truth, (1.0, 1.0)).hd() == 7.0
    )  # from the hole's wall to the outer one


def surface_elements(tables, mask, spacing):
    """DeepMind's surface: a boolean map of voxel corners, and the length or area (mm, mm²) of each element."""
    if mask.ndim == 2:
        areas = tables.create_table_neighbour_code_to_contour_length(spacing)
        kernel = tables.ENCODE_NEIGHBOURHOOD_2D_KERNEL
    else:
        areas = tables.create_table_neighbour_code_to_surface_area(spacing)
        kernel = tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL
    code = ndimage.correlate(np.pad(mask, 1).astype(np.uint8), kernel, mode="constant")
    corners = (code != 0) & (code != len(areas) - 1)
    return corners, areas[code[corners]]


def weighted_percentile(distances, areas, percentile):
    order = np.lexsort((areas, distances))
    reached = np.cumsum(areas[order]) / areas.sum()
    return distances[order][min(np.searchsorted(reached, percentile / 100), len(order) - 1)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("ndim", [2, 3])
def test_surface_distance_differs_by_corner_points_and_area_weights_alone(ndim):
    """With its points and its weights, our distances give its HD95, its average distances and its surface Dice."""
    deepmind = pytest.importorskip("surface_distance")
    for prediction, truth, spacing in random_pairs(50, seed=8, ndim=ndim):
        theirs = deepmind.compute_surface_distances(truth, prediction, spacing)
        (p, p_area), (t, t_area) = (
            surface_elements(deepmind.lookup_tables, mask, spacing) for mask in (prediction, truth)
        )
        to_truth, to_prediction = nearest_mm(p, t, spacing), nearest_mm(t, p, spacing)
        for percentile in (95, 100):
            ours = max(
                weighted_percentile(to_truth, p_area, percentile),
                weighted_percentile(to_prediction, t_area, percentile),
            )
            referee = deepmind.compute_robust_hausdorff(theirs, percentile)
            assert ours == pytest.approx(referee, abs=TOLERANCE)
        ours = np.average(to_prediction, weights=t_area), np.average(to_truth, weights=p_area)
        assert ours == pytest.approx(deepmind.compute_average_surface_distance(theirs), abs=TOLERANCE)
        within = t_area[to_prediction <= 1.0].sum() + p_area[to_truth <= 1.0].sum()
        ours = within / (t_area.sum() + p_area.sum())
        assert ours == pytest.approx(deepmind.compute_surface_dice_at_tolerance(theirs, 1.0), abs=TOLERANCE)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_both_surface_definitions_measure_the_same_shift_of_a_box():
    """A face that moves as a whole moves by the same distance, whether its corners or its voxels are measured."""
    deepmind = pytest.importorskip("surface_distance")
    truth, prediction = np.zeros((2, 20, 20, 20), dtype=bool)
    truth[4:12, 4:12, 4:12] = True
    prediction[4:12, 4:12, 4:14] = True
    spacing = (1.0, 1.2, 1.5)
    theirs = deepmind.compute_surface_distances(truth, prediction, spacing)
    measured = surface_distances(prediction, truth, spacing)
    assert measured.hd() == pytest.approx(deepmind.compute_robust_hausdorff(theirs, 100), abs=TOLERANCE)
    assert measured.hd() == pytest.approx(3.0)
