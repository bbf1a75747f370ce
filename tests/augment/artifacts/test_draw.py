"""Artefacts of a batch: which are drawn, and how they are applied together."""

from __future__ import annotations

import pytest
import torch
from augment_examples import FRAMES, plain, seeded

from vesal.augment.artifacts.artifact_settings import Frame, Patches
from vesal.augment.artifacts.draw import apply_artifacts, draw_artifacts
from vesal.augment.artifacts.kspace import Spikes
from vesal.augment.artifacts.motion import Motion
from vesal.augment.artifacts.registry import CHAIN, ArtifactConfig, learnable
from vesal.augment.artifacts.signal_loss import SignalScale


def test_without_a_probability_nothing_is_drawn() -> None:
    for frame, shape in FRAMES.values():
        assert draw_artifacts(ArtifactConfig(), Patches(frame, 3, shape), seeded()) == {}


def test_probabilities_are_those_of_the_configuration() -> None:
    frame, shape = Frame(1, (1.0, 1.0, 4.0), (0, 1)), (8, 8, 5)
    config = ArtifactConfig(
        probability=0.3,
        ghosting={"probability": 0.1},
        slice={"probability": 0.6},
        noise={"probability": 0.9},
    )
    records = draw_artifacts(config, Patches(frame, 4000, shape), seeded(), strength=1.0)
    present = {
        "noise": records["noise"].std > 0,
        "motion": records["motion"].channels,
        "bias": records["bias"].strength > 0,
        "spike": (records["spike"].height > 0).any(dim=2),
        "gamma": records["gamma"].amount != 0,
        "blur": (records["blur"].sigma > 0).any(dim=2),
        "ghosting": records["ghosting"].strength > 0,
        "slice": (records["slice"].factor != 1).any(dim=2),
    }
    assert list(records) == [name for name in CHAIN if name in present]
    for name, chosen in present.items():
        probability = {"ghosting": 0.1, "slice": 0.6}.get(name, 0.3)
        assert chosen.float().mean().item() == pytest.approx(probability, abs=0.03), name
    half = draw_artifacts(config, Patches(frame, 4000, shape), seeded(), strength=0.5)
    assert (half["noise"].std > 0).float().mean().item() == pytest.approx(0.15, abs=0.03)


def test_the_settings_of_one_artefact_leave_what_the_others_draw() -> None:
    frame, shape = FRAMES["2D"]
    first, second = seeded(), seeded()
    usual = draw_artifacts(ArtifactConfig(probability=0.5), Patches(frame, 6, shape), first)
    changed = ArtifactConfig(
        probability=0.5, motion={"count": (1, 9)}, spike={"count": (1, 30)}, ghosting={"probability": 1}
    )
    other = draw_artifacts(changed, Patches(frame, 6, shape), second)
    for name in ("bias", "blur", "noise", "gamma"):
        assert plain(other[name]) == plain(usual[name])
    assert torch.equal(first.get_state(), second.get_state())


def test_a_chosen_severity_is_met_exactly() -> None:
    frame, shape = FRAMES["2D"]
    config = ArtifactConfig(motion={"probability": 1, "degrees": (10, 10), "voxels": (5, 5)})
    record = draw_artifacts(config, Patches(frame, 4, shape), seeded())["motion"]
    assert isinstance(record, Motion)
    assert torch.allclose(record.angles.abs(), torch.tensor(10.0))
    assert torch.allclose(torch.linalg.vector_norm(record.shift, dim=-1), torch.tensor(5.0))


@pytest.mark.parametrize("hu", [None, 100.0])
@pytest.mark.parametrize("axes", [2, 3])
def test_a_share_of_the_samples_has_one_artefact_each(axes: int, hu: float | None) -> None:
    frame = Frame(1, (1.0, 1.0, 5.0)[:axes], (0, 1), hu)
    shape = (16, 16, 6)[:axes]
    records = draw_artifacts(
        ArtifactConfig(share=0.5), Patches(frame, 600, shape), torch.Generator().manual_seed(0)
    )
    assert set(records) == set(learnable(frame.modality, axes))
    image = torch.rand((600, 1, *shape)) * 100
    changed = torch.stack(
        [(record.apply(image) != image).flatten(1).any(dim=1) for record in records.values()]
    )
    assert changed.sum(dim=0).max() == 1
    assert changed.float().mean(dim=1).sum().item() == pytest.approx(0.5, abs=0.06)


def test_a_changed_sample_is_standardised_anew_and_the_others_stay_as_they_are_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn((3, 1, 24, 24), generator=generator).cumsum(dim=2)
    spike = Spikes((0, 1), torch.tensor([[[0.25, 0.1]]] * 3), torch.zeros(3, 1), torch.zeros(3, 1, 1))
    spike.height[0] = 3.0
    weak = SignalScale(torch.tensor([[1.0], [0.2], [1.0]]))
    records = {"scale": weak, "spike": spike}
    as_it_is = apply_artifacts(records, image, (), restandardise=False)
    anew = apply_artifacts(records, image, (), restandardise=True)
    assert not torch.isclose(as_it_is[0].std(), image[0].std(), rtol=0.05)
    assert torch.isclose(anew[0].std(), image[0].std(), rtol=1e-4)
    assert torch.isclose(anew[0].mean(), image[0].mean(), atol=1e-3)
    assert torch.equal(anew[1], as_it_is[1]), "a slice that lost its signal is weaker than its scan"
    assert torch.equal(anew[2], image[2])
