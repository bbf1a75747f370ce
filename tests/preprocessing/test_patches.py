"""Patches: a function of seed and step alone, always where they should be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vesal import memory_limit
from vesal.data.crop import Crop
from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.preprocessing import patches
from vesal.preprocessing.cache import PreparedCase
from vesal.preprocessing.patches import ELSEWHERE_SHARE, PatchSampler
from vesal.volume.geometry import Geometry


def make_plan(
    patch: tuple[int, ...], *, batch: int = 2, slice_axis: int | None = None, channels: int = 1
) -> Plan:
    axes = (1,) * len(patch)
    return Plan(
        dimension=len(patch),
        slice_axis=slice_axis,
        spacing_mm=(1.0,) * len(patch),
        patch=patch,
        batch=batch,
        stages=(Stage(features=4, kernel=axes, stride=axes),),
        normalisation=(Normalisation(scheme="zscore"),) * channels,
        mirror_axes=(),
        channels=tuple(f"c{i}" for i in range(channels)),
        labels=LabelSet.from_values({"a": 1, "b": 2}),
        median_shape=patch,
    )


def make_case(
    folder: Path, name: str, shape: tuple[int, int, int], *, channels: int = 1, classes=(1, 2)
) -> PreparedCase:
    """Every voxel's value tells its place, so that a patch tells where it was cut; one voxel of each class."""
    values = np.arange(1, np.prod(shape) + 1).reshape(shape)
    image = np.stack([values % 2000 + channel for channel in range(channels)]).astype(np.float16)
    label = np.zeros(shape, np.uint8)
    foreground = {}
    generator = np.random.default_rng(len(name) + sum(shape))
    for value in classes:
        place = generator.integers(0, shape)
        label[tuple(place)] = value
        foreground[value] = place[None]
    np.save(folder / f"{name}.image.npy", image)
    np.save(folder / f"{name}.label.npy", label)
    grid = Geometry.from_spacing(shape, (1.0, 1.0, 1.0))
    return PreparedCase(
        id=name,
        patient=name,
        annotated=None,
        image=folder / f"{name}.image.npy",
        label=folder / f"{name}.label.npy",
        crop=Crop(grid, grid.turn_to_ras(), (0, 0, 0), shape, None, shape),
        foreground=foreground,
        nbytes=3 * int(np.prod(shape)),
    )


@pytest.fixture
def cases(tmp_path: Path) -> list[PreparedCase]:
    return [make_case(tmp_path, f"case_{i}", (12 + i, 10, 9), channels=2) for i in range(5)]


def test_a_batch_depends_on_seed_and_step_alone(cases: list[PreparedCase]) -> None:
    plan = make_plan((8, 8, 8), channels=2)
    first, again, other = (PatchSampler(cases, plan, seed=seed) for seed in (3, 3, 4))
    forwards = [first.batch(step) for step in range(12)]
    with ThreadPoolExecutor(4) as pool:
        backwards = list(pool.map(again.batch, reversed(range(12))))[::-1]
    for (image, label), (same_image, same_label) in zip(forwards, backwards, strict=True):
        assert np.array_equal(image, same_image)
        assert np.array_equal(label, same_label)
    assert any(not np.array_equal(forwards[step][0], other.batch(step)[0]) for step in range(3))
    assert len({image.tobytes() for image, _ in forwards}) == 12


def test_shapes_and_types_are_the_networks(cases: list[PreparedCase]) -> None:
    image, label = PatchSampler(cases, make_plan((8, 6, 4), batch=3, channels=2)).batch(0)
    assert (image.shape, image.dtype) == ((3, 2, 8, 6, 4), np.float32)
    assert (label.shape, label.dtype) == ((3, 8, 6, 4), np.uint8)
    assert image.flags.c_contiguous
    assert PatchSampler(cases, make_plan((4, 4, 4), batch=1)).batch(0)[1].shape == (
        1,
        4,
        4,
        4,
    )


def test_an_epoch_shows_every_case_once_in_an_order_of_its_own(cases: list[PreparedCase]) -> None:
    sampler = PatchSampler(cases, make_plan((8, 8, 8), batch=2))
    assert sampler.steps_per_epoch == 3
    epochs = [[sampler.case_of(epoch * 5 + item).id for item in range(5)] for epoch in range(20)]
    assert all(sorted(epoch) == sorted(case.id for case in cases) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 10


def test_memory_mapped_cases_and_those_kept_in_memory_give_the_same(
    cases: list[PreparedCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan((8, 16, 8), channels=2)
    kept = PatchSampler(cases, plan)
    monkeypatch.setattr(patches, "available_memory", lambda: 2000)
    mapped = PatchSampler(cases, plan)
    assert (kept.in_memory, mapped.in_memory) == (True, False)
    for step in range(8):
        for one, other in zip(kept.batch(step), mapped.batch(step), strict=True):
            assert np.array_equal(one, other)


def test_a_patch_is_cut_where_image_and_label_agree_and_never_outside(cases: list[PreparedCase]) -> None:
    sampler = PatchSampler(cases, make_plan((7, 6, 5), batch=1, channels=2), foreground_share=0.5)
    starts = set()
    for step in range(60):
        image, label = sampler.batch(step)
        whole_image, whole_label = sampler.case_of(step).load()
        corner = tuple(int(place) for place in np.argwhere(whole_image[0] == image[0, 0, 0, 0, 0])[0])
        region = tuple(slice(first, first + size) for first, size in zip(corner, (7, 6, 5), strict=True))
        assert np.array_equal(image[0], whole_image[(slice(None), *region)])
        assert np.array_equal(label[0], whole_label[region])
        starts.add(corner)
    assert {start[2] for start in starts} == {0, 1, 2, 3, 4}


def test_foreground_patches_hold_a_class_and_each_class_as_often(tmp_path: Path) -> None:
    cases = [make_case(tmp_path, f"case_{i}", (40, 40, 40)) for i in range(4)]
    sampler = PatchSampler(cases, make_plan((5, 5, 5), batch=1), foreground_share=1.0)
    found = [set(np.unique(sampler.batch(step)[1])) - {0} for step in range(200)]
    assert all(found)
    assert 60 < sum(1 in values for values in found) < 140
    never = PatchSampler(cases, make_plan((5, 5, 5), batch=1), foreground_share=0.0)
    assert sum(never.batch(step)[1].any() for step in range(200)) < 20
    third = PatchSampler(cases, make_plan((5, 5, 5), batch=1))
    assert 40 < sum(third.batch(step)[1].any() for step in range(200)) < 95


def test_a_foreground_voxel_lies_in_the_middle_unless_the_border_is_near(tmp_path: Path) -> None:
    case = make_case(tmp_path, "case", (30, 30, 30), classes=())
    case = PreparedCase(**{**case.__dict__, "foreground": {1: np.array([[15, 15, 0]])}})
    image, _ = PatchSampler([case], make_plan((5, 5, 5), batch=1), foreground_share=1.0).batch(0)
    assert np.array_equal(image[0, 0], case.load()[0][0, 13:18, 13:18, 0:5])


def test_a_case_without_foreground_gives_random_patches(tmp_path: Path) -> None:
    empty = make_case(tmp_path, "empty", (20, 20, 20), classes=())
    _, label = PatchSampler([empty], make_plan((8, 8, 8)), foreground_share=1.0).batch(0)
    assert not label.any()


def test_a_case_smaller_than_the_patch_is_centred_among_zeros(tmp_path: Path) -> None:
    case = make_case(tmp_path, "case", (6, 9, 20))
    image, label = PatchSampler([case], make_plan((8, 12, 20), batch=1), foreground_share=1.0).batch(5)
    whole_image, whole_label = case.load()
    assert np.array_equal(image[0, :, 1:7, 1:10, :], whole_image)
    assert np.array_equal(label[0, 1:7, 1:10, :], whole_label)
    assert np.count_nonzero(image) == np.count_nonzero(whole_image)


def test_the_padding_is_that_of_prediction(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from vesal.infer.windows import Windows, predict_logits

    case = make_case(tmp_path, "case", (5, 7, 8))
    expected, _ = PatchSampler([case], make_plan((8, 8, 8), batch=1)).batch(0)
    seen = []
    windows = Windows(patch=(8, 8, 8), overlap=0.5, batch=1, mirror_axes=())
    predict_logits(lambda x: seen.append(x) or x, torch.from_numpy(case.load()[0]), windows, outputs=1)
    assert np.array_equal(seen[0].numpy(), expected)


def test_patches_of_a_2d_plan_lie_in_one_slice(tmp_path: Path) -> None:
    stack = make_case(tmp_path, "stack", (7, 30, 20), channels=2)
    sampler = PatchSampler(
        [stack], make_plan((16, 24), batch=4, slice_axis=2, channels=2), foreground_share=0.0
    )
    whole, _ = stack.load()
    slices = set()
    for step in range(20):
        image, label = sampler.batch(step)
        assert (image.shape, label.shape) == ((4, 2, 16, 24), (4, 16, 24))
        for item in image:
            values = set(item[0][item[0] > 0].tolist())
            slices |= {index for index in range(7) if values <= set(whole[0, index].ravel().tolist())}
    assert slices == set(range(7))
    chosen = PatchSampler(
        [stack], make_plan((16, 24), batch=4, slice_axis=2, channels=2), foreground_share=1.0
    )
    assert all(label.any() for step in range(10) for label in chosen.batch(step)[1])


def test_what_cannot_be_drawn_is_told(cases: list[PreparedCase]) -> None:
    plan = make_plan((8, 8, 8))
    with pytest.raises(DataError, match="no case"):
        PatchSampler([], plan)
    bare = PreparedCase(**{**cases[0].__dict__, "label": None})
    with pytest.raises(DataError, match="case_0 has no label"):
        PatchSampler([bare], plan)


def test_classes_that_nobody_looked_for_are_told_item_by_item(cases: list[PreparedCase]) -> None:
    plan = make_plan((8, 8, 8), batch=5, channels=2)
    assert PatchSampler(cases, plan).annotated(0) is None
    partial = [replace(cases[0], annotated=("b",)), *cases[1:]]
    sampler = PatchSampler(partial, plan)
    found = sampler.annotated(1)
    assert found is not None
    for item, row in enumerate(found, start=5):
        expected = [False, True] if sampler.case_of(item).id == "case_0" else [True, True]
        assert row.tolist() == expected


def test_of_a_mirrored_item_the_partners_were_looked_for(cases: list[PreparedCase]) -> None:
    labels = LabelSet.from_values(
        {"lung_left": 1, "lung_right": 2, "heart": 3},
        regions={"lungs": ["lung_left", "lung_right"], "lung_right": ["lung_right"], "heart": ["heart"]},
    )
    plan = make_plan((8, 8, 8), batch=2, channels=2).model_copy(update={"labels": labels})
    partial = [replace(case, annotated=("lung_left", "heart")) for case in cases]
    found = PatchSampler(partial, plan).annotated(0, mirrored=[1])
    assert found is not None
    assert found.tolist() == [[False, False, True], [False, True, True]]


def test_an_epoch_of_slices_has_as_many_as_the_volumes(tmp_path: Path) -> None:
    stacks = [make_case(tmp_path, f"stack_{i}", (6 + i, 20, 30)) for i in range(2)]
    sampler = PatchSampler(stacks, make_plan((16, 16), batch=4, slice_axis=2))
    assert sampler.steps_per_epoch == 4


def test_a_share_of_a_fine_stage_s_patches_is_from_elsewhere(
    cases: list[PreparedCase], tmp_path: Path
) -> None:
    away = [make_case(tmp_path, f"away_{i}", (12, 10, 9), channels=2, classes=()) for i in range(3)]
    plan = make_plan((8, 8, 8), channels=2, batch=1)
    sampler = PatchSampler(cases, plan, elsewhere=away)
    drawn = [sampler.case_of(item).id for item in range(2000)]
    share = np.mean([name.startswith("away") for name in drawn])
    assert share == pytest.approx(ELSEWHERE_SHARE, abs=0.03)
    assert {name for name in drawn if name.startswith("away")} == {"away_0", "away_1", "away_2"}
    # The others are what they would have been.
    alone = PatchSampler(cases, plan)
    assert all(
        alone.case_of(item).id == name for item, name in enumerate(drawn) if not name.startswith("away")
    )
    assert sampler.steps_per_epoch == alone.steps_per_epoch
    first = next(item for item, name in enumerate(drawn) if name.startswith("away"))
    assert not sampler.batch(first)[1].any()


def test_under_a_limit_of_memory_the_pages_of_cases_are_given_up_and_patches_stay_the_same(
    cases: list[PreparedCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan((8, 16, 8), channels=2)
    kept = PatchSampler(cases, plan)
    monkeypatch.setattr(patches, "_MEMORY_SHARE", 0.0)
    monkeypatch.setattr(memory_limit, "_BREATH_SHARE", 2.0)
    released = []
    release = memory_limit.release
    monkeypatch.setattr(memory_limit, "release", lambda: (released.append(1), release()))
    with memory_limit.limited(memory_limit.held_bytes() + 400_000_000):
        mapped = PatchSampler(cases, plan)
        assert not mapped.in_memory
        before = len(released)
        for step in range(3):
            for one, other in zip(kept.batch(step), mapped.batch(step), strict=True):
                assert np.array_equal(one, other)
        assert len(released) >= before + 3
