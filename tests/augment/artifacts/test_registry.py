"""What every artefact of the registry does, whatever its physics."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from augment_examples import FRAMES, drawn, picture, plain, seeded
from pydantic import ValidationError

from vesal.augment.artifacts.artifact_settings import SEVERITIES, Modality, Patches
from vesal.augment.artifacts.benchmark import artifact_seed, at, corrupt, parse_artifact
from vesal.augment.artifacts.draw import draw_artifacts
from vesal.augment.artifacts.registry import ARTIFACTS, CHAIN, ArtifactConfig, artifact_names, learnable
from vesal.augment.policy import Parameters
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume

KINDS = [
    (name, where)
    for where, (frame, _) in FRAMES.items()
    for name in artifact_names(frame.modality)
    if ARTIFACTS[name].possible(frame)
]
#: What concerns the patient, and not one channel's acquisition.
OF_THE_PATIENT = ("flip", "crop", "streaks")
BENCHMARK: list[tuple[str, Modality]] = [
    (name, modality) for modality in ("MR", "CT") for name in artifact_names(modality)
]


@pytest.mark.parametrize(("name", "where"), KINDS)
def test_an_artefact_changes_the_image_and_keeps_its_shape_and_type_and_the_input(
    name: str, where: str
) -> None:
    image = picture(FRAMES[where][1])
    before = image.clone()
    out = drawn(name, where).apply(image)
    assert out.shape == image.shape
    assert out.dtype == torch.float32
    assert out.isfinite().all()
    for sample in range(3):
        assert (out[sample] - image[sample]).abs().max() > 1e-3
    assert torch.equal(image, before), "the input was written to"


@pytest.mark.parametrize(("name", "where"), KINDS)
def test_the_same_seed_gives_the_same_record_and_the_same_result_to_the_bit(name: str, where: str) -> None:
    image, record = picture(FRAMES[where][1]), drawn(name, where)
    assert plain(drawn(name, where)) == plain(record)
    state = torch.get_rng_state()
    first = record.apply(image)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(record.apply(image), first)
    assert torch.equal(pickle.loads(pickle.dumps(record)).apply(image), first)


@pytest.mark.parametrize(("name", "where"), KINDS)
@pytest.mark.parametrize("level", [0.0, -3.0])
def test_a_constant_image_stays_finite(name: str, where: str, level: float) -> None:
    image = torch.full((3, 2, *FRAMES[where][1]), level)
    assert drawn(name, where).apply(image).isfinite().all()


@pytest.mark.parametrize(("name", "where"), KINDS)
def test_labels_and_the_zeros_outside_the_body_stay_as_they_are(name: str, where: str) -> None:
    shape = FRAMES[where][1]
    image, label = picture(shape), torch.ones((3, *shape), dtype=torch.uint8)
    image[:, :, :3] = 0
    parameters = Parameters(artifacts={name: drawn(name, where)}, outside_zero=(0, 1))
    out, same = parameters.apply(image, label)
    assert same is label
    assert (out[:, :, :3] == 0).all()
    assert not torch.equal(out, image)


@pytest.mark.parametrize(("name", "where"), [one for one in KINDS if one[0] not in OF_THE_PATIENT])
def test_channels_without_the_artefact_stay_as_they_are(name: str, where: str) -> None:
    frame, shape = FRAMES[where]
    image = picture(shape, n=40)
    config = ArtifactConfig(**{name: {"probability": 0.6}})
    record = draw_artifacts(config, Patches(frame, 40, shape, channel_probability=0.5), seeded())[name]
    out = record.apply(image)
    same = (out == image).flatten(2).all(dim=2)
    assert 0.2 < same.float().mean() < 0.95
    assert (same[:, 0] != same[:, 1]).any()


@pytest.mark.parametrize(("name", "where"), [one for one in KINDS if one[0] not in ("hu_shift", "streaks")])
def test_a_z_scored_image_gets_the_same_artefact_as_the_image_that_it_came_from(
    name: str, where: str
) -> None:
    image, record = picture(FRAMES[where][1]), drawn(name, where)
    other = record.apply(image * 40 + 300)
    assert torch.allclose((other - 300) / 40, record.apply(image), atol=2e-4)


# --- severities -----------------------------------------------------------------------------------------


def scan(modality: Modality) -> Volume:
    """A bright body with a dark and a very bright organ, in air with a little noise."""
    shape = (48, 56, 10)
    image = 5 * np.random.default_rng(3).random((1, *shape), dtype=np.float32)
    image[:, 8:-8, 9:-9] += 300
    image[:, 18:26, 20:30] += 500
    image[:, 30:36, 30:40] -= 200
    if modality == "CT":
        return Volume(image * 2 - 1000, Geometry.from_spacing(shape, (1.0, 1.0, 3.0)))
    return Volume(image, Geometry.from_spacing(shape, (1.25, 1.25, 8.0)))


@pytest.mark.parametrize(("name", "modality"), [one for one in BENCHMARK if one[0] != "flip"])
def test_a_higher_severity_changes_the_scan_more(name: str, modality: Modality) -> None:
    volume = scan(modality)

    def change(severity: int) -> float:
        seeds = [artifact_seed(seed, "a", name) for seed in range(12)]
        corrupted = [corrupt(volume, at(name, severity, modality), seed).volume.array for seed in seeds]
        return float(np.mean([np.abs(array - volume.array).mean() for array in corrupted]))

    amounts = [change(severity) for severity in (1, 3, 5)]
    assert amounts == sorted(amounts)
    assert amounts[2] > 1.3 * amounts[0]


@pytest.mark.parametrize(("name", "modality"), BENCHMARK)
def test_each_severity_corrupts_the_scan_the_same_way_for_the_same_seed(
    name: str, modality: Modality
) -> None:
    volume = scan(modality)
    for severity in SEVERITIES:
        seed = artifact_seed(1, "case", name)
        first, again = (corrupt(volume, at(name, severity, modality), seed).volume for _ in range(2))
        assert np.array_equal(first.array, again.array)
        assert first.geometry == volume.geometry
        assert first.array.shape == volume.array.shape
        assert first.array.dtype == np.float32
        assert np.isfinite(first.array).all()
        assert np.abs(first.array - volume.array).max() > 0.01


@pytest.mark.parametrize("name", ARTIFACTS)
def test_every_severity_has_settings_of_its_own_and_training_spans_them(name: str) -> None:
    kind = ARTIFACTS[name]
    assert all(len(values) == len(SEVERITIES) for values in kind.severities.values())
    levels = [kind.at(severity) for severity in SEVERITIES]
    assert len(set(map(repr, levels))) == len(SEVERITIES)
    assert all(level.probability == 1 for level in levels)
    if kind.learned:
        spans = kind.spanning((1, 5))
        for level in (*levels, *(level.opposite() for level in levels)):
            for field in kind.severities:
                (low, high), (least, most) = getattr(level, field), getattr(spans, field)
                assert least <= low <= high <= most


# --- text form ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "modality"), BENCHMARK)
def test_settings_survive_their_text_form(name: str, modality: Modality) -> None:
    kind = ARTIFACTS[name]
    for settings in (kind(), kind.at(3), kind.at(5), kind.spanning((2, 4))):
        (artifact,) = parse_artifact(f"{name}={settings.text()}", modality=modality)
        assert artifact.title == f"{name}={settings.text()}"
        assert artifact.settings.text() == settings.text()
        again = kind.parse(name, artifact.settings.text())
        assert again == artifact.settings


# --- configuration --------------------------------------------------------------------------------------


def test_no_two_artefacts_act_at_the_same_place_and_the_patient_comes_first() -> None:
    assert len({kind.acts for kind in ARTIFACTS.values()}) == len(ARTIFACTS)
    assert (CHAIN[0], CHAIN[-1]) == ("flip", "crop")
    assert CHAIN.index("bias") < CHAIN.index("motion") < CHAIN.index("noise") < CHAIN.index("gamma")


def test_what_training_draws_from_depends_on_the_kind_of_scan() -> None:
    assert set(artifact_names("MR")) & set(artifact_names("CT"))
    assert {"hu_shift", "streaks"} <= set(learnable("CT", 3)) - set(learnable("MR", 3))
    assert not {"crop", "flip"} & set(learnable("MR", 3))
    assert set(learnable("MR", 3)) - set(learnable("MR", 2)) == {"slice"}


@pytest.mark.parametrize("name", ARTIFACTS)
def test_an_artefact_has_its_help_in_the_configuration_and_is_off(name: str) -> None:
    for field, info in ARTIFACTS[name].model_fields.items():
        assert info.description, field
    assert ArtifactConfig.model_fields[name].description == ARTIFACTS[name].__doc__
    assert ArtifactConfig().probability_of(name) == 0
    assert ArtifactConfig(**{name: {"probability": 0.4}}).probability_of(name) == 0.4


def test_the_configuration_survives_json_and_every_field_has_its_help() -> None:
    for name, field in ArtifactConfig.model_fields.items():
        assert field.description, name
    config = ArtifactConfig(motion={"mm": (1, 2)}, share=0.3)
    assert ArtifactConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    "wrong",
    [
        {"motion": {"probability": 1.5}},
        {"probability": -0.1},
        {"severity": (4, 1)},
        {"severity": (0, 3)},
        {"gamma": {"log_exponent": (0.3, -0.3)}},
        {"spike": {"count": (0, 3)}},
        {"motion": {"count": (1, 1000)}},
        {"ghosting": {"period": (1, 4)}},
        {"scale": {"factor": (0.0, 1.0)}},
        {"wrap": {"share": (0.5, 1.2)}},
        {"motion": {"no_such_field": 1}},
        {"no_such_artefact": {}},
    ],
)
def test_a_contradictory_configuration_raises_when_it_is_made(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ArtifactConfig(**wrong)
