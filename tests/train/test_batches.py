"""Batches: the same wherever the cases lie, whoever cuts them, and from whichever step on."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vesal.augment.config import AugmentConfig
from vesal.augment.policy import Policy
from vesal.data.labels import LabelSet
from vesal.layouts.registry import load_dataset
from vesal.planning.plan import Plan
from vesal.preprocessing.cache import PreparedCase
from vesal.preprocessing.patches import PatchSampler
from vesal.preprocessing.prepare import prepare_dataset
from vesal.train.batches import Batch, BatchMaker, DeviceCache, cases_on_device, prefetched

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def plan(tiny_plan: Path) -> Plan:
    return Plan.load(tiny_plan)


@pytest.fixture(scope="module")
def cases(tiny_data: Path, plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> list[PreparedCase]:
    prepared, _ = prepare_dataset(load_dataset(tiny_data).cases, plan, tmp_path_factory.mktemp("prepared"))
    return list(prepared)


def maker(
    cases: list[PreparedCase], plan: Plan, *, device_cache: bool = False, **settings: object
) -> BatchMaker:
    sampler = PatchSampler(cases, plan, seed=3)
    policy = Policy(plan, AugmentConfig(strength=3))
    kept = DeviceCache(sampler, CPU) if device_cache else None
    return BatchMaker(sampler, policy, CPU, seed=3, device_cache=kept, **settings)  # type: ignore[arg-type]


def some(of: BatchMaker, first: int, count: int) -> list[Batch]:
    with prefetched(of, first) as batches:
        return list(itertools.islice(batches, count))


def same(one: Batch, other: Batch) -> bool:
    pairs = zip(one.tensors(), other.tensors(), strict=True)
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    "patch", [(8, 8, 8), (16, 16, 16), (32, 8, 32)], ids=["inside", "edges", "larger than the case"]
)
def test_patches_of_cases_on_the_device_are_those_of_the_sampler_bit_for_bit(
    cases: list[PreparedCase], plan: Plan, patch: tuple[int, ...]
) -> None:
    sampler = PatchSampler(cases, plan.model_copy(update={"patch": patch, "batch": 3}))
    cached = DeviceCache(sampler, CPU)
    for step in range(12):
        image, label = cached.batch(step)
        expected_image, expected_label = map(torch.from_numpy, sampler.batch(step))
        assert (image.dtype, label.dtype) == (torch.float32, torch.uint8)
        assert torch.equal(image, expected_image)
        assert torch.equal(label, expected_label)


def test_slices_cut_on_the_device_are_those_of_the_sampler(cases: list[PreparedCase], plan: Plan) -> None:
    flat = plan.model_copy(
        update={"dimension": 2, "slice_axis": 2, "patch": (16, 24), "spacing_mm": (1.0, 1.0)}
    )
    sampler = PatchSampler(cases, flat)
    cached = DeviceCache(sampler, CPU)
    for step in range(6):
        for found, expected in zip(cached.batch(step), sampler.batch(step), strict=True):
            assert torch.equal(found, torch.from_numpy(expected))


def test_cases_on_the_device_train_on_the_very_batches_of_the_loader(
    cases: list[PreparedCase], plan: Plan
) -> None:
    loaded = some(maker(cases, plan), 0, 6)
    kept = some(maker(cases, plan, device_cache=True), 0, 6)
    assert all(map(same, loaded, kept))


def test_batches_depend_on_seed_and_number_alone(cases: list[PreparedCase], plan: Plan) -> None:
    whole = some(maker(cases, plan), 0, 8)
    assert all(map(same, whole[5:], some(maker(cases, plan), 5, 3)))
    assert not same(whole[0], some(replace(maker(cases, plan), seed=4), 0, 1)[0])


def test_every_part_of_an_accumulated_step_is_varied_in_its_own_way(
    cases: list[PreparedCase], plan: Plan
) -> None:
    of = maker(cases, plan, accumulation=2)
    batch = of.cut(0)
    varied = [of.vary(batch, number) for number in (0, 1, 2)]
    assert not same(varied[0], varied[1])
    assert not same(varied[0], varied[2])
    assert not same(varied[1], varied[2])
    # Number 2 is part 0 of step 1, whatever the step is made of.
    assert same(varied[2], maker(cases, plan).vary(batch, 1))


def test_classes_that_were_not_looked_for_come_along(cases: list[PreparedCase], plan: Plan) -> None:
    partial = [replace(case, annotated=("core",)) for case in cases]
    for device_cache in (False, True):
        (batch,) = some(maker(partial, plan, device_cache=device_cache), 0, 1)
        assert batch.annotated is not None
        assert batch.annotated.tolist() == [[False, True]] * plan.batch


def test_where_left_becomes_right_so_does_what_was_looked_for(cases: list[PreparedCase], plan: Plan) -> None:
    names = ("organ_left", "organ_right")
    labels = LabelSet.from_values({names[0]: 1, names[1]: 2})
    sided = plan.model_copy(update={"labels": labels, "mirror_axes": (0,), "batch": 8})
    partial = [replace(case, annotated=names[:1]) for case in cases]
    of = BatchMaker(PatchSampler(partial, sided), Policy(sided, AugmentConfig(strength=0)), CPU)
    cut = of.cut(0)
    cut.label[:] = 1
    varied = of.vary(cut, 0)
    assert varied.annotated is not None
    # Every voxel is of the one organ that was drawn: the left one, or mirrored the right one.
    sides = varied.label.flatten(1).amax(1)
    assert sorted(set(sides.tolist())) == [1, 2]
    assert varied.annotated.tolist() == [[side == 1, side == 2] for side in sides.tolist()]


def test_what_a_thread_could_not_cut_is_told_where_the_batch_is_wanted(
    cases: list[PreparedCase], plan: Plan, tmp_path: Path
) -> None:
    gone = [replace(case, image=tmp_path / "gone.npy") for case in cases]
    with pytest.raises(Exception, match="cannot be read"):
        some(maker(gone, plan), 0, 1)


def test_a_cpu_leaves_the_cases_to_the_sampler_unless_asked(cases: list[PreparedCase], plan: Plan) -> None:
    sampler = PatchSampler(cases, plan)
    told: list[str] = []
    assert cases_on_device(sampler, CPU, None, told.append) is None
    assert cases_on_device(sampler, CPU, False, told.append) is None
    assert cases_on_device(sampler, CPU, True, told.append) is not None
    assert not told


@pytest.mark.parametrize(("free", "kept"), [(10**12, True), (10**4, False)])
def test_a_gpu_keeps_the_cases_where_its_free_memory_allows_it(
    cases: list[PreparedCase], plan: Plan, monkeypatch: pytest.MonkeyPatch, free: int, kept: bool
) -> None:
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda _device: (free, free))
    monkeypatch.setattr("vesal.train.batches.DeviceCache", lambda sampler, _device: DeviceCache(sampler, CPU))
    told: list[str] = []
    found = cases_on_device(PatchSampler(cases, plan), torch.device("cuda"), None, told.append)
    assert (found is not None) == kept
    assert len(told) == 1
    assert ("are kept in the GPU's memory" if kept else "stay on the CPU") in told[0]


def test_a_gpu_without_the_memory_after_all_leaves_the_cases_on_the_cpu(
    cases: list[PreparedCase], plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr("vesal.train.batches.DeviceCache", full)
    told: list[str] = []
    assert cases_on_device(PatchSampler(cases, plan), torch.device("cuda"), True, told.append) is None
    assert "not enough" in told[0]
