"""Loss of signal: in single slices and in the whole scan."""

from __future__ import annotations

import pytest
import torch
from augment_examples import FRAMES, drawn, seeded

from vesal.augment.artifacts.artifact_settings import Frame, Patches
from vesal.augment.artifacts.draw import draw_artifacts
from vesal.augment.artifacts.registry import ArtifactConfig
from vesal.augment.artifacts.signal_loss import ScaleSettings, SliceDropout, SliceSettings


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slice_dropout_changes_the_named_slices_alone(axis: int) -> None:
    image = torch.randn(1, 2, 6, 7, 8, generator=seeded())
    low = image[0, 1].min()
    record = SliceDropout(axis, torch.tensor([[4, 1, 2]]), torch.tensor([[[1.0] * 3, [0.0, 0.8, 1.0]]]))
    out = record.apply(image)
    assert torch.equal(out[0, 0], image[0, 0])
    for place in range(image.shape[2 + axis]):
        before, after = image[0, 1].select(axis, place), out[0, 1].select(axis, place)
        factor = {4: 0.0, 1: 0.8}.get(place)
        if factor is None:
            assert torch.equal(after, before)
        else:
            assert torch.allclose(after, (before - low) * factor + low, atol=1e-6)


def test_slices_fail_through_the_plane_and_never_in_a_flat_picture() -> None:
    assert [frame.through for frame, _ in FRAMES.values()] == [None, 2, 0, 2]
    assert Frame(1, (1.0, 1.0, 1.0), (0, 1, 2)).through == 2
    frame, shape = FRAMES["2D"]
    assert draw_artifacts(ArtifactConfig(slice={"probability": 1}), Patches(frame, 2, shape), seeded()) == {}
    record = drawn("slice", "thick slices", n=100)
    assert isinstance(record, SliceDropout)
    assert record.axis == 0
    assert all(len(set(row)) == len(row) for row in record.slices.tolist())
    assert set((record.factor[:, 0] != 1).sum(dim=1).tolist()) == {1, 2, 3, 4, 5}


def test_more_slices_than_there_are_can_be_asked_for() -> None:
    frame, _ = FRAMES["thick slices"]
    config = ArtifactConfig(slice={"probability": 1, "count": (5, 5), "factor": (0.0, 0.0)})
    image = torch.rand(1, 2, 3, 8, 8, generator=seeded())
    out = draw_artifacts(config, Patches(frame, 1, (3, 8, 8)), seeded())["slice"].apply(image)
    assert (out == image.flatten(2).amin(dim=2).view(1, 2, 1, 1, 1)).all()


def test_a_share_of_the_slices_can_be_named_in_place_of_their_number() -> None:
    record = drawn("slice", "thick slices", n=20, share=(0.3, 0.3), factor=(0.5, 0.5))
    assert (record.factor[:, 0] != 1).sum(dim=1).tolist() == [2] * 20
    long = Patches(Frame(1, (1.0, 1.0, 1.0), (0, 1, 2)), 2, (4, 4, 300))
    for severity, slices in ((1, 30), (4, 90), (5, 120)):
        record = SliceSettings.at(severity).draw(long, seeded())
        assert (record.factor[:, 0] != 1).sum(dim=1).tolist() == [slices] * 2


def test_training_on_lost_signal_reaches_the_weakest_slice_that_has_any() -> None:
    assert ScaleSettings.spanning((1, 4)).factor == (0.1, 4.0)
    assert ScaleSettings.spanning((1, 2)).factor == (0.4, 1.5)
