"""What a scan covers: wrap-around, a cropped field of view, flips."""

from __future__ import annotations

import pytest
import torch
from augment_examples import drawn

from vesal.augment.artifacts.field_of_view import Cropped, Flipped, WrapAround


@pytest.mark.parametrize("axis", [0, 1])
def test_wrap_around_adds_the_mirrored_signal_of_the_other_end(axis: int) -> None:
    signal = torch.arange(10.0).reshape(10, 1).expand(10, 10)
    signal = signal if axis == 0 else signal.T
    out = WrapAround(torch.tensor([[0.2]]), torch.tensor([axis])).apply(signal[None, None] - 3)[0, 0]
    added = (out + 3 - signal).select(1 - axis, 0)
    assert added.tolist() == [9, 8, 0, 0, 0, 0, 0, 0, 1, 0]


def test_what_lies_beyond_a_cropped_field_of_view_is_as_dark_as_the_channel_has_it() -> None:
    image = torch.rand(2, 2, 10, 20) - 5
    record = Cropped(torch.tensor([[0.2, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.25], [0.0, 0.0]]))
    out = record.apply(image)
    assert record.limits((10, 20), 0) == (slice(2, 10), slice(0, 15))
    assert torch.equal(out[0, :, 2:, :15], image[0, :, 2:, :15])
    for channel in range(2):
        assert (out[0, channel, :2] == image[0, channel].min()).all()
        assert (out[0, channel, :, 15:] == image[0, channel].min()).all()
    assert torch.equal(out[1], image[1])


def test_at_least_a_voxel_remains_of_a_field_of_view() -> None:
    record = Cropped(torch.tensor([[1.0, 0.6]]), torch.tensor([[1.0, 0.6]]))
    assert record.limits((4, 10), 0) == (slice(3, 4), slice(6, 7))


def test_a_field_of_view_ends_within_thick_slices_only() -> None:
    record = drawn("crop", "thick slices", n=50)
    assert isinstance(record, Cropped)
    assert not record.low[:, 0].any()
    assert not record.high[:, 0].any()
    assert ((record.low[:, 1:] > 0) != (record.high[:, 1:] > 0)).all(), "one side of each axis"


def test_a_flip_is_its_own_inverse_and_leaves_out_axes_that_a_scan_does_not_have() -> None:
    record = drawn("flip", "2D", axes=(1, 2))
    assert isinstance(record, Flipped)
    assert record.flips.tolist() == [[False, True]] * 3
    image = torch.rand(3, 2, 24, 30)
    assert torch.equal(record.apply(image), image.flip(3))
    assert torch.equal(record.apply(record.apply(image)), image)
