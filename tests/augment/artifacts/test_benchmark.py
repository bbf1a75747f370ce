"""The robustness benchmark: what a user may ask for, and what happens to a scan."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.augment.artifacts.benchmark import (
    applicable,
    artifact_seed,
    at,
    benchmark,
    corrupt,
    parse_artifact,
)
from vesal.augment.artifacts.registry import ARTIFACTS
from vesal.errors import UsageError
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


def test_another_seed_or_case_gives_another_corruption() -> None:
    volume = scan()
    noise = at("noise", 3)
    assert not np.array_equal(corrupt(volume, noise, 1).volume.array, corrupt(volume, noise, 2).volume.array)
    assert artifact_seed(0, "a", "noise") != artifact_seed(1, "a", "noise") != artifact_seed(1, "b", "noise")


def test_an_artefact_of_either_direction_goes_both_ways() -> None:
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
        assert found.flipped == ((0,), (1,), (2,), (0, 1), (0, 1, 2))[severity - 1]
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


def test_an_image_of_one_slice_loses_no_slice() -> None:
    picture = Volume(scan().array[..., 0], Geometry.from_spacing((48, 56), (1.0, 1.0)))
    artifacts = applicable(benchmark("MR", (2,)), 2)
    assert "slice" not in [artifact.name for artifact in artifacts]
    for artifact in artifacts:
        if artifact.name != "flip":
            assert corrupt(picture, artifact, 0).volume.array.shape == picture.array.shape
    with pytest.raises(UsageError, match="leave it out"):
        corrupt(picture, at("slice", 1), 0)


def test_an_artefact_by_name_is_all_severities_and_one_by_number_is_one() -> None:
    assert [artifact.title for artifact in parse_artifact("blur", (1, 5))] == ["blur 1", "blur 5"]
    assert [artifact.title for artifact in parse_artifact("blur:3")] == ["blur 3"]


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("noise=0.03", {"std": (0.03, 0.03)}),
        ("motion=10deg,5px", {"degrees": (10, 10), "voxels": (5, 5)}),
        ("motion=5mm", {"mm": (5, 5), "degrees": (0, 0), "voxels": (0, 0)}),
        ("bias=0.3", {"strength": (0.3, 0.3)}),
        ("spike=5,0.8..1.2", {"count": (5, 5), "height": (0.8, 1.2)}),
        ("slice=3,0", {"count": (3, 3), "factor": (0, 0)}),
        ("gamma=-0.5..0.5", {"log_exponent": (-0.5, 0.5)}),
        ("flip=0,1", {"axes": (0, 1)}),
    ],
)
def test_artefacts_in_a_users_own_numbers(text: str, settings: dict[str, object]) -> None:
    (artifact,) = parse_artifact(text)
    assert artifact.settings == ARTIFACTS[artifact.name](probability=1, **settings)
    assert (artifact.title, artifact.severity) == (text, None)
    assert not np.array_equal(corrupt(scan(), artifact, 0).volume.array, scan().array)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nois=1", "noise"),
        ("streaks", "artefact"),
        ("noise:6", "1 to 5"),
        ("noise=loud", "write noise=0.07"),
        ("noise=-1", "cannot be"),
        ("noise=0.1,0.2", "write"),
        ("motion=10", "motion=5deg,5mm,2x"),
        ("motion=1deg,2deg", "motion=5deg,5mm,2x"),
        ("spike=2.5", "spike=3,0.25"),
        ("spike=900", "cannot be"),
        ("noise=", "write"),
        ("flip=3", "cannot be"),
        ("flip=0..1", "write flip=2"),
        ("motion=-5mm", "cannot be"),
    ],
)
def test_what_is_no_artefact_is_refused_with_an_example(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_artifact(text)
