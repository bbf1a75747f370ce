"""The heart phantom: plausible, and no threshold segments it."""

from __future__ import annotations

import numpy as np
from phantom_examples import best_threshold_dice, dice, ml
from scipy import ndimage


def test_the_left_atrium_is_one_piece_of_plausible_volume_filled_with_bright_blood(drawn):
    for image, label, geometry in drawn["heart"]:
        atrium = label == 1
        assert ndimage.label(atrium)[1] == 1
        assert 40.0 < ml(atrium, geometry) < 220.0
        inner = ndimage.binary_erosion(atrium)
        assert image[0][inner].mean() > 2.5 * np.median(image[0][image[0] > 100.0])
        assert image[0][inner].std() < 0.25 * image[0][inner].mean()


def test_no_threshold_segments_the_left_atrium(drawn):
    for image, label, _ in drawn["heart"]:
        assert best_threshold_dice(image[0], label == 1) < 0.6


def test_no_threshold_and_component_segments_the_left_atrium(drawn):
    scores = []
    for image, label, _ in drawn["heart"]:
        blood = image[0] > 0.65 * image[0][label == 1].mean()
        parts, count = ndimage.label(blood)
        scores.append(max(dice(parts == i + 1, label == 1) for i in range(min(count, 50))))
    assert np.mean(scores) < 0.7
