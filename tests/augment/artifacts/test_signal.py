"""Artefacts of the acquisition: what each owes, its physics, and how it is drawn."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from vesal.augment.artifacts.draw import Frame, draw_artifacts
from vesal.augment.artifacts.kspace import Ghosting, Motion, Spikes
from vesal.augment.artifacts.severity import BATTERIES
from vesal.augment.artifacts.signal import (
    ARTIFACTS,
    BiasField,
    LogGamma,
    ScannerNoise,
    SliceDropout,
    spread,
)
from vesal.augment.config import ArtifactConfig
from vesal.augment.intensity import Intensity
from vesal.augment.random_parameters import record_from_dict, record_to_dict

FRAMES = {
    "2D": (Frame(2, (1.0, 1.2), (0, 1)), (24, 30)),
    "3D": (Frame(2, (1.0, 1.2, 1.5), (0, 1, 2)), (16, 15, 12)),
    "thick slices": (Frame(2, (8.0, 1.0, 1.2), (1, 2)), (7, 16, 20)),
    "CT": (Frame(2, (1.0, 1.2, 1.5), (0, 1, 2), hu=200.0), (16, 15, 12)),
}
KINDS = [
    (kind, where)
    for where, (frame, _) in FRAMES.items()
    for kind in ARTIFACTS
    if not (kind == "slice" and frame.through is None)
    and (kind in BATTERIES[frame.modality] or frame.hu is None)
    and not (kind in ("hu_shift", "streaks") and frame.hu is None)
]
#: What befalls the patient, and not one channel's acquisition.
OF_THE_PATIENT = ("flip", "crop", "streaks")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(shape: tuple[int, ...], n: int = 3, channels: int = 2) -> Tensor:
    """A bright box in air, z-scored, so that the air is negative."""
    image = 0.05 * torch.rand((n, channels, *shape), generator=seeded(1))
    image[(..., *(slice(size // 4, -(size // 4)) for size in shape))] += 1.0
    return (image - image.mean()) / image.std()


def drawn(kind: str, where: str, seed: int = 0, n: int = 3, **settings: object) -> Intensity:
    frame, shape = FRAMES[where]
    config = ArtifactConfig(**{f"{kind}_chance": 1.0, **settings})
    return draw_artifacts(config, frame, n, shape, seeded(seed))[kind]


# --- what every artefact owes ------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "where"), KINDS)
def test_every_fault_changes_the_image_and_keeps_its_shape_and_type_and_the_input(
    kind: str, where: str
) -> None:
    image = picture(FRAMES[where][1])
    before = image.clone()
    out = drawn(kind, where).apply(image)
    assert out.shape == image.shape
    assert out.dtype == torch.float32
    assert out.isfinite().all()
    for sample in range(3):
        assert (out[sample] - image[sample]).abs().max() > 1e-3
    assert torch.equal(image, before), "the input was written to"


@pytest.mark.parametrize(("kind", "where"), KINDS)
def test_a_record_that_went_through_json_gives_the_same_result_to_the_bit(kind: str, where: str) -> None:
    image, record = picture(FRAMES[where][1]), drawn(kind, where)
    state = torch.get_rng_state()
    first = record.apply(image)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(record.apply(image), first)
    again = record_from_dict(ARTIFACTS[kind], json.loads(json.dumps(record_to_dict(record))))
    assert torch.equal(again.apply(image), first)


@pytest.mark.parametrize(("kind", "where"), KINDS)
@pytest.mark.parametrize("level", [0.0, -3.0])
def test_a_constant_image_stays_finite(kind: str, where: str, level: float) -> None:
    image = torch.full((3, 2, *FRAMES[where][1]), level)
    assert drawn(kind, where).apply(image).isfinite().all()


@pytest.mark.parametrize(("kind", "where"), [one for one in KINDS if one[0] not in OF_THE_PATIENT])
def test_channels_that_take_no_part_stay_as_they_are(kind: str, where: str) -> None:
    frame, shape = FRAMES[where]
    image = picture(shape, n=40)
    config = ArtifactConfig(**{f"{kind}_chance": 0.6})
    record = draw_artifacts(config, frame, 40, shape, seeded(), channel_chance=0.5)[kind]
    out = record.apply(image)
    same = (out == image).flatten(2).all(dim=2)
    assert 0.2 < same.float().mean() < 0.95
    assert (same[:, 0] != same[:, 1]).any()


@pytest.mark.parametrize(("kind", "where"), [one for one in KINDS if one[0] not in ("hu_shift", "streaks")])
def test_a_z_scored_image_gets_the_same_fault_as_the_image_that_it_came_from(kind: str, where: str) -> None:
    image, record = picture(FRAMES[where][1]), drawn(kind, where)
    other = record.apply(image * 40 + 300)
    assert torch.allclose((other - 300) / 40, record.apply(image), atol=2e-4)


def test_without_a_chance_nothing_is_drawn() -> None:
    for frame, shape in FRAMES.values():
        assert draw_artifacts(ArtifactConfig(), frame, 3, shape, seeded()) == {}


# --- noise ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rician", [True, False])
def test_noise_has_the_standard_deviation_that_was_asked_for(rician: bool) -> None:
    image = torch.full((1, 1, 200, 200), 100.0)
    image[..., :100] = 300.0
    image[0, 0, 0, 0] = 9000.0  # A single hot voxel does not make the noise stronger.
    noise = ScannerNoise(torch.tensor([[0.02]]), torch.tensor([3]), rician)
    added = (noise.apply(image) - image)[0, 0, 1:]
    assert added[:, :100].std().item() == pytest.approx(0.02 * 200, rel=0.02)
    assert added[:, :100].mean().item() == pytest.approx(0, abs=0.1)
    in_air = added[:, 100:]
    if rician:  # In air the magnitude of two Gaussians is left: Rayleigh.
        assert in_air.min() >= 0
        assert in_air.mean().item() == pytest.approx(0.02 * 200 * math.sqrt(math.pi / 2), rel=0.02)
    else:
        assert in_air.std().item() == pytest.approx(0.02 * 200, rel=0.02)


def test_channels_and_seeds_have_noise_of_their_own() -> None:
    image = torch.linspace(0, 1, 400).expand(2, 2, 20, 400)
    noise = ScannerNoise(torch.full((2, 2), 0.05), torch.tensor([5, 5])).apply(image) - image
    assert torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0, 0], noise[0, 1])
    alone = ScannerNoise(torch.tensor([[0.0, 0.05]] * 2), torch.tensor([5, 5])).apply(image) - image
    assert torch.equal(alone[0, 1], noise[0, 1])


def test_the_range_of_intensities_ignores_outliers_and_is_never_lost() -> None:
    scan = torch.rand(64, 64, 64, generator=seeded())
    assert spread(scan) == pytest.approx(0.98, abs=0.01)
    scan[:4, :4, :4] = 1e6
    assert spread(scan) == pytest.approx(0.98, abs=0.01)
    lone = torch.zeros(30, 30)
    lone[3, 3] = 5.0
    assert spread(lone) == 5.0


# --- motion ---------------------------------------------------------------------------------------------


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
        record = drawn("motion", where, n=300, motion_count=(1, 3))
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


# --- ghosting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("period", [4, 8])
def test_ghosts_are_copies_one_period_th_of_the_side_away(axis: int, period: int) -> None:
    body = torch.zeros(64, 64)
    body[30:34, 29:33] = 1.0
    ghosting = Ghosting(
        torch.tensor([[0.6]]), torch.tensor([period]), torch.tensor([0.0]), torch.tensor([axis])
    )
    out = ghosting.apply(body[None, None])[0, 0]
    distance = 64 // period
    expected = body + 0.3 * (body.roll(distance, axis) + body.roll(-distance, axis))
    assert torch.allclose(out, expected, atol=1e-5)


def test_a_period_of_two_lines_is_the_ghost_half_a_field_of_view_away() -> None:
    body = torch.zeros(1, 1, 32, 16)
    body[:, :, 4:9, 6:9] = 1.0
    ghosting = Ghosting(torch.tensor([[0.4]]), torch.tensor([2]), torch.tensor([0.0]), torch.tensor([0]))
    assert torch.allclose(ghosting.apply(body), body + 0.4 * body.roll(16, 2), atol=1e-5)


# --- bias field -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", FRAMES)
def test_a_bias_field_is_positive_smooth_and_as_strong_as_asked(where: str) -> None:
    frame, _ = FRAMES[where]
    shape = (40, 36, 32)[: len(frame.spacing_mm)]
    for seed in range(5):
        record = draw_artifacts(
            ArtifactConfig(bias_chance=1, bias_range=(0.4, 0.4)), frame, 1, shape, seeded(seed)
        )["bias"]
        assert isinstance(record, BiasField)
        orders = np.indices(record.coefficients.shape[2:]).sum(axis=0)
        assert set(orders[(record.coefficients[0, 0] != 0).numpy()].tolist()) == {0, 1, 2, 3}
        field = record.factor(shape, 0, 0)
        assert field.min() > 0
        assert field.log().abs().max().item() == pytest.approx(0.4, abs=1e-4)
        for axis in range(len(shape)):
            assert field.log().diff(dim=axis).abs().max() < 0.25
            # No ripples: a polynomial of order 3 turns at most twice along a line.
            # (Flat places are left to rounding.)
            steps = field.log().double().diff(dim=axis).movedim(axis, 0).flatten(1)
            steps = steps[:, (steps.abs() > 1e-5).all(dim=0)]
            turns = (steps.sign().diff(dim=0) != 0).sum(dim=0)
            assert len(turns) > 0
            assert turns.max() <= 2


def test_a_bias_field_multiplies_the_signal_and_leaves_air_dark() -> None:
    image = torch.full((1, 1, 20, 20), -1.5)
    image[..., 5:15, 5:15] = 2.5
    coefficients = torch.zeros(1, 1, 2, 2)
    coefficients[..., 1, 0] = 1.0  # A gradient along the first axis.
    out = BiasField(torch.tensor([[0.3]]), coefficients).apply(image)
    ramp = torch.linspace(-0.3, 0.3, 20).exp()[:, None].expand(20, 20)
    assert torch.allclose(out[0, 0], (image[0, 0] + 1.5) * ramp - 1.5, atol=1e-5)


# --- spikes ---------------------------------------------------------------------------------------------


def test_a_spike_is_a_sinusoid_of_its_frequency_direction_and_height() -> None:
    shape = (40, 32)
    image = torch.full((1, 1, *shape), 10.0)
    image[0, 0, 0, 0] = 0.0  # The scale's zero.
    spikes = Spikes(
        (0, 1), torch.tensor([[[4 / 40, -6 / 32]]]), torch.tensor([[0.7]]), torch.tensor([[[0.02]]])
    )
    out = spikes.apply(image)[0, 0]
    x, y = torch.meshgrid(torch.arange(40.0), torch.arange(32.0), indexing="ij")
    wave = 0.02 * image.mean() * torch.cos(2 * math.pi * (4 * x / 40 - 6 * y / 32) + 0.7)
    assert torch.allclose(out[1:], (image[0, 0] + wave)[1:], atol=0.004)
    assert (out - 10)[1:].abs().max() > 0.15


@pytest.mark.parametrize("shape", [(20, 15), (12, 10, 9)])
def test_spikes_are_high_values_of_the_spectrum(shape: tuple[int, ...]) -> None:
    axes = tuple(range(len(shape)))
    image = torch.rand((1, 1, *shape), generator=seeded())
    image -= image.min()
    spectrum = np.fft.fftn(image[0, 0].numpy())
    frequency, phase, height = (
        torch.rand(1, 3, len(shape), generator=seeded(2)) - 0.5,
        [0.3, 2.0, 4.0],
        [0.2, 0.4, 0.1],
    )
    for cycles, angle, share in zip(frequency[0].numpy(), phase, height, strict=True):
        place = tuple(int(np.round(f * n)) % n for f, n in zip(cycles, shape, strict=True))
        spectrum[place] += share * np.abs(np.fft.fftn(image[0, 0].numpy())).max() * np.exp(1j * angle)
    out = Spikes(axes, frequency, torch.tensor([phase]), torch.tensor([[height]])).apply(image)
    assert np.abs(out[0, 0].numpy() - np.abs(np.fft.ifftn(spectrum))).max() < 1e-5


def test_thick_slices_have_stripes_as_strong_as_their_own_signal() -> None:
    image = torch.ones(1, 1, 4, 16, 16)
    image[:, :, 1] *= 3
    image[:, :, 3] = 0
    spikes = Spikes((1, 2), torch.tensor([[[0.25, 0.0]]]), torch.zeros(1, 1), torch.tensor([[[0.1]]]))
    added = (spikes.apply(image) - image)[0, 0]
    assert added[1].abs().max().item() == pytest.approx(0.3, abs=1e-4)
    assert added[0].abs().max().item() == pytest.approx(0.1, abs=1e-4)
    assert added[3].abs().max() == 0


def test_the_number_of_spikes_is_drawn_from_its_range() -> None:
    record = drawn("spike", "2D", n=200)
    assert isinstance(record, Spikes)
    assert set((record.height[:, 0] > 0).sum(dim=1).tolist()) == set(range(2, 9))


# --- gamma, slices, blur --------------------------------------------------------------------------------


def test_log_gamma_agrees_with_its_formula_and_keeps_the_range() -> None:
    image = picture((20, 20), n=2, channels=1)
    out = LogGamma(torch.tensor([[0.3], [-0.3]])).apply(image)
    for sample, exponent in enumerate((math.exp(0.3), math.exp(-0.3))):
        low, high = image[sample].aminmax()
        expected = ((image[sample] - low) / (high - low)) ** exponent * (high - low) + low
        assert torch.allclose(out[sample], expected, atol=1e-5)
        assert out[sample].min().item() == pytest.approx(low.item(), abs=1e-5)
        assert out[sample].max().item() == pytest.approx(high.item(), abs=1e-5)


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
    assert draw_artifacts(ArtifactConfig(slice_chance=1), frame, 2, shape, seeded()) == {}
    record = drawn("slice", "thick slices", n=100)
    assert isinstance(record, SliceDropout)
    assert record.axis == 0
    assert all(len(set(row)) == len(row) for row in record.slices.tolist())
    assert set((record.factor[:, 0] != 1).sum(dim=1).tolist()) == {1, 2, 3, 4, 5}


def test_more_slices_than_there_are_can_be_asked_for() -> None:
    frame, _ = FRAMES["thick slices"]
    config = ArtifactConfig(slice_chance=1, slice_count=(5, 5), slice_range=(0.0, 0.0))
    image = torch.rand(1, 2, 3, 8, 8, generator=seeded())
    out = draw_artifacts(config, frame, 1, (3, 8, 8), seeded())["slice"].apply(image)
    assert (out == image.flatten(2).amin(dim=2).view(1, 2, 1, 1, 1)).all()


def test_blur_stays_within_thick_slices() -> None:
    image = picture(FRAMES["thick slices"][1])
    image[:, :, 2] = 0
    out = drawn("blur", "thick slices").apply(image)
    assert out[:, :, 2].abs().max() < 1e-6


# --- drawing --------------------------------------------------------------------------------------------


def test_chances_are_those_of_the_configuration() -> None:
    frame, shape = Frame(1, (1.0, 1.0, 4.0), (0, 1)), (8, 8, 5)
    config = ArtifactConfig(chance=0.3, ghosting_chance=0.1, slice_chance=0.6, noise_chance=0.9)
    records = draw_artifacts(config, frame, 4000, shape, seeded(), strength=1.0)
    struck = {
        "noise": records["noise"].std > 0,
        "motion": records["motion"].channels,
        "bias": records["bias"].strength > 0,
        "spike": (records["spike"].height > 0).any(dim=2),
        "gamma": records["gamma"].log_exponent != 0,
        "blur": (records["blur"].sigma > 0).any(dim=2),
        "ghosting": records["ghosting"].strength > 0,
        "slice": (records["slice"].factor != 1).any(dim=2),
    }
    assert list(records) == [kind for kind in ARTIFACTS if kind in struck]
    for kind, chosen in struck.items():
        chance = {"ghosting": 0.1, "slice": 0.6}.get(kind, 0.3)
        assert chosen.float().mean().item() == pytest.approx(chance, abs=0.03), kind
    half = draw_artifacts(config, frame, 4000, shape, seeded(), strength=0.5)
    assert (half["noise"].std > 0).float().mean().item() == pytest.approx(0.15, abs=0.03)


def test_one_faults_settings_leave_what_the_others_draw() -> None:
    frame, shape = FRAMES["2D"]
    first, second = seeded(), seeded()
    usual = draw_artifacts(ArtifactConfig(chance=0.5), frame, 6, shape, first)
    other = draw_artifacts(
        ArtifactConfig(chance=0.5, motion_count=(1, 9), spike_count=(1, 30), ghosting_chance=1),
        frame,
        6,
        shape,
        second,
    )
    for kind in ("bias", "blur", "noise", "gamma"):
        assert record_to_dict(other[kind]) == record_to_dict(usual[kind])
    assert torch.equal(first.get_state(), second.get_state())


def test_a_chosen_severity_is_met_exactly() -> None:
    frame, shape = FRAMES["2D"]
    config = ArtifactConfig(motion_chance=1, motion_degrees=(10, 10), motion_voxels=(5, 5))
    record = draw_artifacts(config, frame, 4, shape, seeded())["motion"]
    assert isinstance(record, Motion)
    assert torch.allclose(record.angles.abs(), torch.tensor(10.0))
    assert torch.allclose(torch.linalg.vector_norm(record.shift, dim=-1), torch.tensor(5.0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"motion_chance": 1.5},
        {"chance": -0.1},
        {"gamma_range": (0.3, -0.3)},
        {"spike_count": (0, 3)},
        {"motion_count": (1, 1000)},
        {"ghosting_period": (1, 4)},
        {"no_such_field": 1},
    ],
)
def test_a_contradictory_configuration_raises_when_it_is_made(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ArtifactConfig(**wrong)


def test_every_field_of_the_configuration_has_its_help() -> None:
    for name, field in ArtifactConfig.model_fields.items():
        assert field.description, name
    assert ArtifactConfig.model_validate_json(ArtifactConfig().model_dump_json()) == ArtifactConfig()
