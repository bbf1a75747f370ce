"""The chest phantom: Hounsfield units and the tumour's place."""

from __future__ import annotations

import numpy as np
from phantom_examples import SMALL
from scipy import ndimage

from vesal.phantoms.registry import make_phantom


def test_hounsfield_units_are_those_of_air_lung_fat_muscle_and_bone(drawn):
    for image, label, _ in drawn["lung-tumour"]:
        hu = image[0]
        assert hu.min() >= -1024
        assert np.percentile(hu, 5) < -940  # air around the patient
        assert ((hu > -950) & (hu < -750)).mean() > 0.05  # lung
        assert ((hu > -150) & (hu < -50)).mean() > 0.02  # fat
        assert ((hu > 0) & (hu < 110)).mean() > 0.1  # muscle and organs
        assert 0.003 < (hu > 300).mean() < 0.06  # bone
        assert hu.max() < 1600
        inner = ndimage.binary_erosion(label > 0)
        assert -10.0 < hu[inner].mean() < 70.0


def test_the_tumour_is_one_small_piece_that_borders_on_lung(drawn):
    for image, label, _ in drawn["lung-tumour"]:
        tumour = label == 1
        assert ndimage.label(tumour)[1] == 1
        assert 0.0005 < tumour.mean() < 0.006
        around = ndimage.binary_dilation(tumour, iterations=3) & ~ndimage.binary_dilation(tumour)
        assert (image[0][around] < -500).mean() > 0.2


def test_some_tumours_grow_on_the_pleura_and_some_within_the_lung():
    free = []
    for seed in range(9):
        volume, truth = make_phantom("lung-tumour", seed, size=SMALL["lung-tumour"])
        tumour = truth.array == 1
        around = ndimage.binary_dilation(tumour, iterations=3) & ~ndimage.binary_dilation(tumour)
        free.append((volume.array[0][around] < -500).mean())
    assert min(free) < 0.6
    assert max(free) > 0.8
