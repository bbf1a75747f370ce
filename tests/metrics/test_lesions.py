"""Lesions: pieces by all neighbours, found by one voxel, and false only where nothing is true."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.metrics.lesions import Lesions, lesions


def masks(rows):
    """A 2D mask from text: '#' is inside."""
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_pieces_touch_by_corners_too():
    diagonal = masks(["#...", ".#..", "..#.", "...#"])
    assert lesions(diagonal, diagonal) == Lesions(1, 1, 0, 0, (1.0,))
    cube = np.zeros((4, 4, 4), bool)
    cube[0, 0, 0] = cube[1, 1, 1] = cube[3, 3, 3] = True
    assert lesions(cube, cube).true == 2


def test_found_missed_and_false_lesions_are_counted():
    truth = masks(["##....#", "##.....", "......#"])
    prediction = masks(["#......", "#......", "...##.."])
    found = lesions(prediction, truth)
    assert (found.true, found.found, found.missed) == (3, 1, 2)
    assert (found.false, found.false_voxels) == (1, 2)
    assert found.sensitivity == pytest.approx(1 / 3)
    assert found.precision == pytest.approx(1 / 2)
    assert found.f1 == pytest.approx(2 / 5)
    assert found.dices == pytest.approx((2 * 2 / (4 + 2),))
    assert found.dice == pytest.approx((2 / 3) / 4)


def test_one_voxel_is_enough_and_one_piece_may_find_several_lesions():
    truth = masks(["###.....", "........", ".....###"])
    touched = masks(["..#.....", "........", "........"])
    assert lesions(touched, truth).found == 1
    blob = np.ones_like(truth)
    found = lesions(blob, truth)
    assert (found.found, found.false, found.sensitivity, found.precision) == (2, 0, 1.0, 1.0)


def test_a_lesion_that_is_found_in_pieces_is_found_once():
    truth = masks(["#######"])
    prediction = masks(["##.#.##"])
    found = lesions(prediction, truth)
    assert (found.found, found.false, found.f1) == (1, 0, 1.0)
    assert found.dice == pytest.approx(2 * 5 / 12)


def test_without_lesions_there_is_nothing_to_divide_by_but_false_positives_count():
    nothing = np.zeros((4, 4), bool)
    empty = lesions(nothing, nothing)
    assert (empty.sensitivity, empty.precision, empty.f1, empty.dice, empty.false) == (
        None,
        None,
        None,
        None,
        0,
    )
    false = lesions(masks(["#...", "....", "...#", "...."]), nothing)
    assert (false.false, false.sensitivity, false.precision, false.f1, false.dice) == (2, None, 0.0, 0.0, 0.0)
    missed = lesions(nothing, masks(["#...", "....", "...#", "...."]))
    assert (missed.missed, missed.sensitivity, missed.precision, missed.f1) == (2, 0.0, None, 0.0)


def test_a_piece_on_ignored_voxels_is_no_false_positive():
    truth = masks(["##......", "........"])
    prediction = masks(["##..##.#", "........"])
    ignore = masks([".....#..", "........"])
    found = lesions(prediction, truth, ignore)
    assert (found.found, found.false, found.false_voxels) == (1, 1, 1)
    hidden = lesions(masks([".....#.."]), masks(["........"]), masks([".....#.."]))
    assert (hidden.false, hidden.false_voxels) == (0, 0)


def test_random_masks_agree_with_a_search_over_all_pairs_of_pieces():
    from scipy.ndimage import label

    generator = np.random.default_rng(0)
    for _ in range(30):
        prediction, truth = generator.random((2, 9, 8, 7)) < 0.08
        pieces, predicted = label(prediction, np.ones((3, 3, 3)))
        actual, true = label(truth, np.ones((3, 3, 3)))
        found = [n for n in range(1, true + 1) if (prediction & (actual == n)).any()]
        false = [n for n in range(1, predicted + 1) if not (truth & (pieces == n)).any()]
        dices = []
        for lesion in found:
            met = np.isin(pieces, np.setdiff1d(pieces[actual == lesion], 0))
            dices.append(2 * (met & (actual == lesion)).sum() / (met.sum() + (actual == lesion).sum()))
        result = lesions(prediction, truth)
        assert (result.true, result.found, result.false) == (true, len(found), len(false))
        assert result.false_voxels == np.isin(pieces, false).sum()
        assert result.dices == pytest.approx(tuple(dices))


def test_masks_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        lesions(np.zeros((2, 2), bool), np.zeros((2, 3), bool))
