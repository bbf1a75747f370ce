"""The robustness benchmark: its severities, what a user may write, and what happens to a scan."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from vesal.augment.artifacts.benchmark import (
    Artifact,
    applicable,
    artifact_seed,
    at,
    benchmark,
    corrupt,
    parse_artifact,
)
from vesal.augment.artifacts.draw import Frame, draw_artifacts
from vesal.augment.artifacts.kspace import Spikes
from vesal.augment.artifacts.severity import BATTERIES, LEVELS, between, fitted, learnable
from vesal.augment.artifacts.signal import SignalScale
from vesal.augment.config import ArtifactConfig, AugmentConfig
from vesal.augment.policy import Parameters
from vesal.errors import UsageError
from vesal.train.recipe import load_recipe, parse_overrides
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume

THICK = (1.25, 1.25, 8.0)


def scan(
    shape: tuple[int, ...] = (48, 56, 10), spacing_mm: tuple[float, ...] = THICK, channels: int = 1
) -> Volume:
    """A bright body with a dark and a very bright organ, in air with a little noise."""
    rng = np.random.default_rng(3)
    image = 5 * rng.random((channels, *shape), dtype=np.float32)
    body = tuple(slice(size // 6, -(size // 6)) for size in shape[:2])
    image[(slice(None), *body)] += 300
    image[:, 18:26, 20:30] += 500
    image[:, 30:36, 30:40] -= 200
    return Volume(image, Geometry.from_spacing(shape, spacing_mm))


def ct() -> Volume:
    volume = scan(spacing_mm=(1.0, 1.0, 3.0))
    return Volume(volume.array * 2 - 1000, volume.geometry)


FAULTS = [*benchmark("MR"), *benchmark("CT")]


def corrupted(artifact: Artifact, seed: int = 0) -> tuple[Volume, Volume]:
    volume = ct() if artifact.modality == "CT" else scan()
    return volume, corrupt(volume, artifact, artifact_seed(seed, "a", artifact.name)).volume


@pytest.mark.parametrize("artifact", FAULTS, ids=lambda artifact: f"{artifact.modality} {artifact.title}")
def test_every_fault_of_every_severity_harms_the_scan_and_keeps_its_grid(artifact: Artifact) -> None:
    volume, after = corrupted(artifact)
    assert after.geometry == volume.geometry
    assert after.array.shape == volume.array.shape
    assert after.array.dtype == np.float32
    assert np.isfinite(after.array).all()
    assert np.abs(after.array - volume.array).max() > 0.01


@pytest.mark.parametrize("modality", ["MR", "CT"])
@pytest.mark.parametrize("name", sorted(set(LEVELS) - {"flip"}))
def test_a_higher_severity_harms_more(name: str, modality: str) -> None:
    if name not in BATTERIES[modality]:  # type: ignore[index]
        pytest.skip("not an artefact of this kind of scan")

    def corruption(severity: int) -> float:
        found = []
        for seed in range(12):
            before, after = corrupted(at(name, severity, modality), seed)  # type: ignore[arg-type]
            found.append(np.abs(after.array - before.array).mean())
        return float(np.mean(found))

    amounts = [corruption(severity) for severity in (1, 3, 5)]
    assert amounts == sorted(amounts)
    assert amounts[2] > 1.3 * amounts[0]


def test_the_same_seed_gives_the_same_harm_and_another_another() -> None:
    volume = scan()
    for artifact in benchmark("MR", (4,)):
        seed = artifact_seed(1, "case", artifact.name)
        first, again = corrupt(volume, artifact, seed), corrupt(volume, artifact, seed)
        assert np.array_equal(first.volume.array, again.volume.array), artifact.title
        json.dumps(first.parameters)
    noise = at("noise", 3)
    assert not np.array_equal(corrupt(volume, noise, 1).volume.array, corrupt(volume, noise, 2).volume.array)
    assert artifact_seed(0, "a", "noise") != artifact_seed(1, "a", "noise") != artifact_seed(1, "b", "noise")


def test_a_fault_of_either_direction_goes_both_ways() -> None:
    volume = scan()
    means = [corrupt(volume, at("scale", 3), seed).volume.array.mean() for seed in range(20)]
    assert {round(float(mean / volume.array.mean()), 1) for mean in means} == {0.5, 2.0}
    shifts = {
        round(float((corrupt(ct(), at("hu_shift", 2, "CT"), seed).volume.array - ct().array).mean()))
        for seed in range(20)
    }
    assert shifts == {-25, 25}


def test_within_thick_slices_nothing_moves_from_one_slice_to_another() -> None:
    volume = scan()
    volume.array[..., 5] = 0
    for name in ("motion", "blur", "low_resolution", "anisotropy", "ghosting", "wrap"):
        after = corrupt(volume, at(name, 5), 3).volume.array
        assert np.abs(after[..., 5]).max() < 1e-2, name


def test_a_flip_is_undone_where_labels_are_compared() -> None:
    volume = scan()
    label = (volume.array[0] > 600).astype(np.uint8)
    for severity in range(1, 6):
        found = corrupt(volume, at("flip", severity), 0)
        seen = (found.volume.array[0] > 600).astype(np.uint8)
        assert np.array_equal(found.restore(seen), label)
        assert found.flipped == LEVELS["flip"][severity - 1]["flip_axes"]
    other = corrupt(volume, at("noise", 1), 0)
    assert other.restore(label) is label


def test_what_a_cropped_field_of_view_hides_is_named_and_dark() -> None:
    volume = scan()
    found = corrupt(volume, at("crop", 4), 0)
    assert found.hidden is not None
    kept = ~found.hidden
    assert np.array_equal(found.volume.array[0][kept], volume.array[0][kept])
    assert (found.volume.array[0][found.hidden] == volume.array.min()).all()
    assert kept.mean() == pytest.approx(0.8 * 0.8, abs=0.03), "one side of each axis of the slice"


def test_metal_makes_rays_in_some_slices_and_a_dense_body_in_their_middle() -> None:
    volume = ct()
    found = corrupt(volume, at("streaks", 4, "CT"), 0).volume.array
    change = np.abs(found - volume.array)[0].max(axis=(0, 1))
    assert 0 < (change > 0).sum() < 10
    assert found.max() == pytest.approx(3071)


def test_a_picture_of_one_slice_loses_no_slice() -> None:
    picture = Volume(scan().array[..., 0], Geometry.from_spacing((48, 56), (1.0, 1.0)))
    artifacts = applicable(benchmark("MR", (2,)), 2)
    assert "slice" not in [artifact.name for artifact in artifacts]
    for artifact in artifacts:
        if artifact.name != "flip":
            assert corrupt(picture, artifact, 0).volume.array.shape == picture.array.shape
    with pytest.raises(UsageError, match="leave it out"):
        corrupt(picture, at("slice", 1), 0)


# --- a user's own numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("noise=0.03", {"noise_range": (0.03, 0.03)}),
        ("motion=10deg,5px", {"motion_degrees": (10, 10), "motion_voxels": (5, 5)}),
        ("motion=5mm", {"motion_mm": (5, 5), "motion_degrees": (0, 0)}),
        ("bias=0.3", {"bias_range": (0.3, 0.3)}),
        ("spike=5,0.8..1.2", {"spike_count": (5, 5), "spike_range": (0.8, 1.2)}),
        ("slice=3,0", {"slice_count": (3, 3), "slice_range": (0, 0)}),
        ("gamma=-0.5..0.5", {"gamma_range": (-0.5, 0.5)}),
        ("flip=0,1", {"flip_axes": (0, 1)}),
    ],
)
def test_faults_in_a_users_own_numbers(text: str, settings: dict[str, object]) -> None:
    (artifact,) = parse_artifact(text)
    assert artifact.settings == settings
    assert (artifact.title, artifact.severity) == (text, None)
    assert not np.array_equal(corrupt(scan(), artifact, 0).volume.array, scan().array)


def test_a_fault_by_name_is_all_severities_and_one_by_number_is_one() -> None:
    assert [artifact.title for artifact in parse_artifact("blur", (1, 5))] == ["blur 1", "blur 5"]
    assert [artifact.title for artifact in parse_artifact("blur:3")] == ["blur 3"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nois=1", "noise"),
        ("streaks", "artefact"),
        ("noise:6", "1 to 5"),
        ("noise=loud", "write noise=0.3"),
        ("noise=-1", "cannot be"),
        ("noise=0.1,0.2", "write"),
        ("motion=10", "motion=10deg,5px"),
        ("motion=1deg,2deg", "motion=10deg,5px"),
        ("spike=2.5", "spike=5"),
        ("spike=900", "cannot be"),
        ("noise=", "write"),
    ],
)
def test_what_is_no_fault_is_refused_with_an_example(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_artifact(text)


# --- training on it -------------------------------------------------------------------------------------


def test_one_switch_trains_on_the_batterys_faults() -> None:
    for key in ("augment.artifacts", "augmentation.artifacts"):
        recipe = load_recipe("auto", parse_overrides([f"{key}=0.3"]))
        assert recipe.augment.artifacts == ArtifactConfig(share=0.3)
    assert AugmentConfig().artifacts.share == 0


@pytest.mark.parametrize("hu", [None, 100.0])
@pytest.mark.parametrize("axes", [2, 3])
def test_a_share_of_the_samples_suffers_one_fault_each(axes: int, hu: float | None) -> None:
    frame = Frame(1, (1.0, 1.0, 5.0)[:axes], (0, 1), hu)
    shape = (16, 16, 6)[:axes]
    records = draw_artifacts(ArtifactConfig(share=0.5), frame, 600, shape, torch.Generator().manual_seed(0))
    assert set(records) == set(learnable(frame.modality, axes))
    image = torch.rand((600, 1, *shape)) * 100
    struck = torch.stack(
        [(record.apply(image) != image).flatten(1).any(dim=1) for record in records.values()]
    )
    assert struck.sum(dim=0).max() == 1
    assert struck.float().mean(dim=1).sum().item() == pytest.approx(0.5, abs=0.06)


def test_training_spans_the_severities_that_were_asked_for() -> None:
    spans = fitted(between((1, 4)), 1.25, 10)
    assert spans.noise_range == (0.02, 0.11)
    assert spans.motion_voxels == (0.8, 6.4)
    assert spans.slice_count == (1, 3)
    assert spans.gamma_range == (-0.7, 0.7)
    assert spans.scale_range == (0.1, 4.0)
    assert between((5, 5))["blur_range"] == (3.0, 3.0)


def test_a_harmed_sample_is_standardised_anew_and_the_others_stay_as_they_are_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn((3, 1, 24, 24), generator=generator).cumsum(dim=2)
    label = torch.zeros((3, 24, 24), dtype=torch.uint8)
    spike = Spikes((0, 1), torch.tensor([[[0.25, 0.1]]] * 3), torch.zeros(3, 1), torch.zeros(3, 1, 1))
    spike.height[0] = 3.0
    weak = SignalScale(torch.tensor([[1.0], [0.2], [1.0]]))
    artifacts = {"scale": weak, "spike": spike}
    as_it_is, _ = Parameters(artifacts=artifacts).apply(image, label)
    anew, _ = Parameters(artifacts=artifacts, restandardise=True).apply(image, label)
    assert not torch.isclose(as_it_is[0].std(), image[0].std(), rtol=0.05)
    assert torch.isclose(anew[0].std(), image[0].std(), rtol=1e-4)
    assert torch.isclose(anew[0].mean(), image[0].mean(), atol=1e-3)
    assert torch.equal(anew[1], as_it_is[1]), "a slice that lost its signal is weaker than its scan"
    assert torch.equal(anew[2], image[2])
    again = Parameters.from_dict(json.loads(json.dumps(Parameters(restandardise=True).to_dict())))
    assert again.restandardise
