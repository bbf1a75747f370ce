"""The short-axis phantom: ring, taper and contrast."""

from __future__ import annotations

import numpy as np
from phantom_examples import ml
from scipy import ndimage


def test_the_myocardium_is_a_ring_around_the_left_ventricle_below_the_valve(drawn):
    for _, label, _ in drawn["short-axis"]:
        slices = [z for z in range(label.shape[2]) if (label[:, :, z] == 3).sum() > 20][:-1]
        assert len(slices) >= 4
        for z in slices:
            ring, cavity = label[:, :, z] == 2, label[:, :, z] == 3
            filled = ndimage.binary_fill_holes(ring)
            assert (filled & cavity).sum() == cavity.sum()
            assert ndimage.label(cavity)[1] == 1


def test_ventricles_taper_from_the_base_to_the_apex_in_thick_slices(drawn):
    for _, label, geometry in drawn["short-axis"]:
        assert geometry.spacing_mm[2] > 4.0 * geometry.spacing_mm[0]
        areas = np.array([(label[:, :, z] >= 2).sum() for z in range(label.shape[2])])
        lowest = np.flatnonzero(areas)[0]
        assert areas[lowest] < 0.6 * areas.max()
        assert np.argmax(areas) > lowest + 2
        assert 30.0 < ml(label == 3, geometry) < 260.0
        assert 50.0 < ml(label == 2, geometry) < 300.0


def test_blood_is_bright_and_myocardium_dark_as_in_balanced_cine(drawn):
    for image, label, _ in drawn["short-axis"]:
        muscle = np.median(image[0][label == 2])
        assert np.median(image[0][label == 3]) > 2.2 * muscle
        assert np.median(image[0][label == 1]) > 1.8 * muscle
