"""Motion: which part of k-space comes from which pose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from augment_examples import FRAMES, drawn, picture, seeded

from vesal.augment.artifacts.motion import Motion


def motion(
    moments: list[float], shift: list[list[float]], *, angles: list[float] | None = None, phase: int = 0
) -> Motion:
    turns = torch.tensor(angles or [0.0] * len(moments)).view(1, -1, 1)
    return Motion(
        axes=(0, 1),
        spacing_mm=(1.0, 1.0),
        angles=turns,
        shift=torch.tensor([shift]),
        moments=torch.tensor([moments]),
        phase=torch.tensor([phase]),
        channels=torch.ones(1, 1, dtype=torch.bool),
    )


def test_motion_by_nothing_is_the_identity() -> None:
    image = picture((31, 24), n=1, channels=1)
    still = motion([0.2, 0.6], [[0.0, 0.0], [0.0, 0.0]])
    assert still.apply(image) is image
    hardly = motion([0.2, 0.6], [[1e-6, 0.0], [0.0, 1e-6]], angles=[1e-6, 1e-6]).apply(image)
    assert hardly is not image
    assert torch.allclose(hardly, image, atol=1e-4)


@pytest.mark.parametrize("phase", [0, 1])
@pytest.mark.parametrize("lines", [32, 33])
def test_motion_takes_the_lines_after_the_moment_from_the_moved_image(phase: int, lines: int) -> None:
    """Against numpy's transform of the whole picture, its zero frequency in the middle."""
    shape = (lines, 20) if phase == 0 else (20, lines)
    body = torch.zeros(shape)
    body[8:14, 6:12] = torch.rand(6, 6, generator=seeded())
    # The last quarter of the lines comes from the body moved by 3 along the first axis.
    out = motion([0.75], [[3.0, 0.0]], phase=phase).apply(body[None, None])[0, 0].numpy()
    still, moved = (
        np.fft.fftshift(np.fft.fft2(scan)) for scan in (body.numpy(), np.roll(body.numpy(), 3, axis=0))
    )
    after = round(0.75 * lines)
    still, moved = np.moveaxis(still, phase, 0), np.moveaxis(moved, phase, 0)
    mixed = np.moveaxis(np.concatenate([still[:after], moved[after:]]), 0, phase)
    expected = np.abs(np.fft.ifft2(np.fft.ifftshift(mixed)))
    assert np.abs(out - expected).max() < 1e-4
    assert np.abs(out - body.numpy()).max() > 0.02


def test_each_part_of_k_space_comes_from_the_body_in_its_own_pose() -> None:
    body = torch.zeros(30, 20)
    body[10:18, 6:12] = torch.rand(8, 6, generator=seeded())
    out = motion([0.3, 0.4, 0.6], [[2.0, 0.0], [0.0, 3.0], [-4.0, 0.0]]).apply(body[None, None])[0, 0].numpy()
    poses = [body.numpy()] * 4
    poses[0], poses[1] = np.roll(poses[0], 2, axis=0), np.roll(poses[1], 3, axis=1)
    poses[3] = np.roll(poses[3], -4, axis=0)
    spectra = [np.fft.fftshift(np.fft.fft2(pose)) for pose in poses]
    parts = [
        spectrum[low:high]
        for spectrum, low, high in zip(spectra, (0, 9, 12, 18), (9, 12, 18, 30), strict=True)
    ]
    expected = np.abs(np.fft.ifft2(np.fft.ifftshift(np.concatenate(parts))))
    assert np.abs(out - expected).max() < 1e-4


def test_the_pose_of_the_middle_of_k_space_is_the_one_that_the_label_shows() -> None:
    image = torch.zeros(1, 1, 64, 64)
    image[..., 24:40, 24:40] = 1.0
    for moments in ([0.05], [0.95], [0.1, 0.9], [0.02, 0.2, 0.97]):
        out = motion(moments, [[6.0, 5.0]] * len(moments)).apply(image)[0, 0]
        agreed = ((out > 0.5) & (image[0, 0] > 0.5)).sum() / ((out > 0.5) | (image[0, 0] > 0.5)).sum()
        assert agreed > 0.8, moments


def test_a_movement_that_never_comes_changes_nothing() -> None:
    image = picture((24, 24), n=1, channels=1)
    assert torch.allclose(motion([1.0], [[5.0, 5.0]]).apply(image), image, atol=1e-5)


def test_motion_stays_within_thick_slices() -> None:
    image = picture(FRAMES["thick slices"][1])
    image[:, :, 3] = image.amin()
    out = drawn("motion", "thick slices").apply(image)
    assert torch.allclose(out[:, :, 3], image[:, :, 3], atol=1e-5)


def test_movements_are_as_large_as_the_configuration_says() -> None:
    for where in FRAMES:
        record = drawn("motion", where, n=300, count=(1, 3))
        assert isinstance(record, Motion)
        degrees = torch.linalg.vector_norm(record.angles, dim=-1)
        voxels = torch.linalg.vector_norm(record.shift, dim=-1)
        assert 5 - 1e-4 <= degrees.min() < 5.5
        assert 14.5 < degrees.max() <= 15 + 1e-4
        assert 2 - 1e-4 <= voxels.min() < 2.3
        assert 7.7 < voxels.max() <= 8 + 1e-4
        assert set((record.moments < 1).sum(dim=1).tolist()) == {1, 2, 3}
        assert (record.moments.diff(dim=1) >= 0).all()
        assert set(record.phase.tolist()) == set(FRAMES[where][0].plane)
