"""Resolution: blur and larger voxels."""

from __future__ import annotations

import torch
from augment_examples import FRAMES, drawn, picture


def test_blur_stays_within_thick_slices() -> None:
    image = picture(FRAMES["thick slices"][1])
    image[:, :, 2] = 0
    out = drawn("blur", "thick slices").apply(image)
    assert out[:, :, 2].abs().max() < 1e-6


def test_larger_voxels_are_as_large_as_asked_along_the_axes_that_lie_within_thick_slices() -> None:
    everywhere = drawn("low_resolution", "thick slices", factor=(2.0, 2.0))
    assert torch.allclose(everywhere.share, torch.tensor(0.5))
    assert everywhere.axes.tolist() == [[False, True, True]] * 3
    along_one = drawn("anisotropy", "thick slices", n=50, factor=(4.0, 4.0))
    assert torch.allclose(along_one.share, torch.tensor(0.25))
    assert set(along_one.axes.float().argmax(dim=1).tolist()) == {1, 2}
    assert (along_one.axes.sum(dim=1) == 1).all()
