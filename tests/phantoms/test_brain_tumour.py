"""The brain phantom: parts of the tumour and their contrast."""

from __future__ import annotations

import numpy as np
from phantom_examples import best_threshold_dice, ml
from scipy import ndimage


def test_outside_the_brain_all_channels_are_exactly_zero_and_inside_none_is(drawn):
    for image, label, _ in drawn["brain-tumour"]:
        brain = image[0] > 0
        assert all(np.array_equal(channel > 0, brain) for channel in image)
        assert 0.2 < brain.mean() < 0.6
        assert brain[label > 0].all()
        assert not brain[0].any()
        assert not brain[:, :, -1].any()


def test_necrosis_lies_in_the_enhancing_rim_and_the_core_in_the_oedema(drawn):
    for _, label, geometry in drawn["brain-tumour"]:
        whole, core, necrosis = label > 0, np.isin(label, (1, 4)), label == 1
        assert ndimage.label(whole)[1] == 1
        assert necrosis.any()
        shell = ndimage.binary_dilation(necrosis) & ~necrosis
        assert (label[shell] == 4).all()
        assert core.sum() > necrosis.sum()
        assert whole.sum() > 1.3 * core.sum()
        assert 10.0 < ml(whole, geometry) < 250.0


def test_every_tumour_part_shows_in_the_sequence_that_doctors_look_at(drawn):
    for image, label, _ in drawn["brain-tumour"]:
        flair, t1, t1ce, t2 = image
        healthy = (flair > 0) & (label == 0)
        middle = {value: ndimage.binary_erosion(label == value) for value in (1, 2)} | {4: label == 4}
        assert flair[middle[2]].mean() > 1.2 * np.median(flair[healthy])
        assert t2[middle[2]].mean() > 1.25 * np.percentile(t2[healthy], 20)  # white matter
        assert t1ce[middle[4]].mean() > 1.25 * np.median(t1ce[healthy])
        assert t1[middle[4]].mean() < np.percentile(t1[healthy], 75)  # white matter
        if middle[1].any():
            assert t1ce[middle[1]].mean() < 0.8 * np.median(t1ce[healthy])


def test_no_threshold_on_flair_segments_the_whole_tumour_in_all_cases(drawn):
    scores = [best_threshold_dice(image[0], label > 0) for image, label, _ in drawn["brain-tumour"]]
    assert np.mean(scores) < 0.85
