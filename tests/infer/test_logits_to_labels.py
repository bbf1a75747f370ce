"""From logits on the prepared grid to labels on the finer source grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vesal.data.labels import LabelSet
from vesal.infer import logits_to_labels
from vesal.infer.logits_to_labels import (
    LabelWriter,
    class_probabilities,
    labels_from_logits,
)

PLAIN = LabelSet.from_values({"a": 1, "b": 2})
REGIONS = LabelSet.from_values(
    {"core": 1, "oedema": 2}, regions={"whole": ["core", "oedema"], "inner": ["core"]}
)


def logits(channels: int, shape: tuple[int, ...] = (6, 7, 8), seed: int = 0) -> torch.Tensor:
    return torch.randn(channels, *shape, generator=torch.Generator().manual_seed(seed))


def test_without_resampling_the_result_is_the_argmax() -> None:
    found = labels_from_logits(logits(3), (6, 7, 8), PLAIN)
    np.testing.assert_array_equal(found, logits(3).argmax(0).numpy())


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logits_to_labels, "BLOCK", (4, 5, 6))


def smooth(channels: int, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Logits with bodies of several voxels, as networks give them."""
    coarse = tuple(max(1, size // 5) for size in shape)
    bodies = torch.nn.functional.interpolate(logits(channels, coarse, seed)[None] * 4, size=shape)[0]
    return bodies + 0.2 * logits(channels, shape, seed + 1)


SHAPES = [(23, 40, 31), (30, 16, 19), (15, 40, 26), (9, 8, 7), (22, 19, 19), (15, 16, 19)]


@pytest.mark.parametrize("labels", [PLAIN, REGIONS])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_one_after_the_other_give_the_labels_of_the_whole(
    shape: tuple[int, ...], axis: int, labels: LabelSet
) -> None:
    values = smooth(labels.outputs, (15, 16, 19))
    out = np.full(shape, 77, dtype=np.uint8)
    writer = LabelWriter(out, values.shape[1:], labels, axis=axis, threshold=0.4)
    rest = values
    for count in (1, 3, 1, 6, 100):
        rows, rest = rest.tensor_split([count], dim=axis + 1)
        passing = rows.clone()
        if passing.numel():
            writer.add(passing)
        # The rows' memory is used again.
        passing.fill_(float("nan"))
    np.testing.assert_array_equal(out, labels_from_logits(values, shape, labels, threshold=0.4))


@pytest.mark.parametrize("shape", [(12, 14, 16), (5, 9, 11), (6, 20, 8), (3, 3, 3)])
def test_slabs_give_what_trilinear_interpolation_of_the_whole_gives(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logits_to_labels, "SLAB_BYTES", 4 * 3 * shape[1] * shape[2] * 2)  # two rows a slab
    whole = torch.nn.functional.interpolate(
        logits(3)[None], size=shape, mode="trilinear", align_corners=False
    )[0]
    np.testing.assert_array_equal(labels_from_logits(logits(3), shape, PLAIN), whole.argmax(0).numpy())
    maps = np.stack(list(class_probabilities(logits(3), shape, PLAIN)))
    np.testing.assert_allclose(maps, whole.softmax(0)[1:].numpy(), atol=1e-5)


@pytest.mark.parametrize("labels", [PLAIN, REGIONS])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(12, 15, 17), (4, 5, 5)])
def test_along_one_axis_the_nearest_logits_may_be_taken(
    labels: LabelSet, axis: int, shape: tuple[int, ...]
) -> None:
    values = logits(labels.outputs)
    size = values.shape[axis + 1]
    nearest = np.floor((np.arange(shape[axis]) + 0.5) * size / shape[axis]).astype(int).clip(0, size - 1)
    # Already of the wanted size along that axis: nothing is left to interpolate there.
    repeated = values.index_select(axis + 1, torch.from_numpy(nearest))
    expected = labels_from_logits(repeated, shape, labels)
    np.testing.assert_array_equal(labels_from_logits(values, shape, labels, nearest_axis=axis), expected)
    out = np.zeros(shape, dtype=np.uint8)
    writer = LabelWriter(out, values.shape[1:], labels, axis=1, nearest_axis=axis)
    for part in values.split(3, dim=2):
        writer.add(part)
    np.testing.assert_array_equal(out, expected)
    maps = [list(class_probabilities(values, shape, labels, nearest_axis=axis))]
    maps.append(list(class_probabilities(repeated, shape, labels)))
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-6)


def test_regions_are_painted_from_outer_to_inner() -> None:
    values = torch.tensor([[[[3.0, 3.0, -3.0, -3.0]]], [[[-3.0, 3.0, 3.0, -3.0]]]])
    found = labels_from_logits(values, (1, 1, 4), REGIONS)
    # whole alone is oedema (2); inner is core (1), also where the whole is missed.
    assert found.ravel().tolist() == [2, 1, 1, 0]


def test_a_higher_threshold_leaves_less_foreground() -> None:
    sizes = [
        (labels_from_logits(logits(3), (6, 7, 8), PLAIN, threshold=t) > 0).sum() for t in (0.3, 0.6, 0.9)
    ]
    assert sizes[0] > sizes[1] > sizes[2]
    sizes = [
        (labels_from_logits(logits(2), (6, 7, 8), REGIONS, threshold=t) > 0).sum() for t in (0.3, 0.6, 0.9)
    ]
    assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.parametrize("threshold", [0.1, 0.4, 0.7])
def test_the_threshold_is_the_probability_of_a_class_against_the_background(threshold: float) -> None:
    probability = logits(3).softmax(0)
    best, index = probability[1:].max(0)
    expected = torch.where(best / (best + probability[0]) > threshold, index + 1, 0)
    found = labels_from_logits(logits(3), (6, 7, 8), PLAIN, threshold=threshold)
    np.testing.assert_array_equal(found, expected.numpy())


def test_the_threshold_of_a_single_class_is_its_probability() -> None:
    one = LabelSet.from_values({"a": 1})
    for threshold in (0.2, 0.5, 0.8):
        found = labels_from_logits(logits(2), (6, 7, 8), one, threshold=threshold)
        np.testing.assert_array_equal(found, (logits(2).softmax(0)[1] > threshold).numpy())


def test_a_threshold_beside_a_half_changes_next_to_nothing() -> None:
    many = LabelSet.from_values({name: number for number, name in enumerate("abcdefg", start=1)})
    half = labels_from_logits(logits(8, (20, 20, 20)), (20, 20, 20), many)
    for threshold in (0.5 - 1e-4, 0.5 + 1e-4):
        beside = labels_from_logits(logits(8, (20, 20, 20)), (20, 20, 20), many, threshold=threshold)
        assert (beside != half).mean() < 1e-3


@pytest.mark.parametrize("shape", [(6, 7, 8), (12, 14, 16), (5, 9, 11)])
@pytest.mark.parametrize("labels", [PLAIN, REGIONS])
def test_maps_are_the_softmax_or_sigmoid_of_the_interpolated_logits(
    labels: LabelSet, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logits_to_labels, "SLAB_BYTES", 4 * 3 * shape[1] * shape[2] * 2)
    values = logits(labels.outputs) * 20
    whole = torch.nn.functional.interpolate(values[None], size=shape, mode="trilinear", align_corners=False)[
        0
    ]
    together = whole.sigmoid() if labels.regions else whole.softmax(0)[1:]
    alone = list(class_probabilities(values, shape, labels))
    assert len(alone) == len(labels.classes)
    np.testing.assert_allclose(np.stack(alone), together.numpy(), atol=1e-5)
    assert max(map_.max() for map_ in alone) <= 1
