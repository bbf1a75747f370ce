"""Classes and regions between the voxels of a coarse grid are those of logits that are interpolated everywhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from vesal.data.labels import LabelSet
from vesal.infer import logits_to_labels
from vesal.infer.interpolated_argmax import Axis, Scratch
from vesal.infer.logits_to_labels import labels_from_logits
from vesal.volume.resample import resize

REGIONS = LabelSet.from_values(
    {"core": 1, "oedema": 2}, regions={"whole": ["core", "oedema"], "inner": ["core"]}
)
SHAPES = [(23, 40, 31), (30, 16, 19), (15, 40, 26), (9, 8, 7), (22, 19, 19), (15, 16, 19)]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logits_to_labels, "BLOCK", (4, 5, 6))


def logits(channels: int, shape: tuple[int, ...] = (6, 7, 8), seed: int = 0) -> torch.Tensor:
    return torch.randn(channels, *shape, generator=torch.Generator().manual_seed(seed))


def smooth(channels: int, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Logits with bodies of several voxels, as networks give them."""
    coarse = tuple(max(1, size // 5) for size in shape)
    bodies = torch.nn.functional.interpolate(logits(channels, coarse, seed)[None] * 4, size=shape)[0]
    return bodies + 0.2 * logits(channels, shape, seed + 1)


def interpolated(values: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.nn.functional.interpolate(
        values[None].double(), size=shape, mode="trilinear", align_corners=False
    )[0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("made", [logits, smooth])
@pytest.mark.parametrize("threshold", [0.5, 0.2, 0.9])
def test_the_largest_class_is_that_of_all_classes_interpolated_everywhere(
    made: Callable[..., torch.Tensor], shape: tuple[int, ...], threshold: float
) -> None:
    labels = LabelSet.from_values({name: number for number, name in enumerate("abcdef", start=1)})
    values = made(7, (15, 16, 19))
    whole = interpolated(values, shape)
    whole[0] += np.log(threshold / (1 - threshold))
    best = whole.topk(2, dim=0).values
    clear = (best[0] - best[1] > 1e-4).numpy()
    found = labels_from_logits(values, shape, labels, threshold=threshold)
    np.testing.assert_array_equal(found[clear], whole.argmax(0).numpy()[clear])
    assert clear.mean() > 0.99


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("made", [logits, smooth])
@pytest.mark.parametrize("threshold", [0.5, 0.2, 0.9])
def test_regions_hold_where_their_interpolated_logits_pass_the_threshold(
    made: Callable[..., torch.Tensor], shape: tuple[int, ...], threshold: float
) -> None:
    values = made(2, (15, 16, 19))
    over = interpolated(values, shape) - np.log(threshold / (1 - threshold))
    clear = (over.abs() > 1e-4).all(0).numpy()
    found = labels_from_logits(values, shape, REGIONS, threshold=threshold)
    np.testing.assert_array_equal(found[clear], REGIONS.paint((over > 0).numpy())[clear])
    assert clear.mean() > 0.99


def test_of_equal_logits_the_lowest_class_wins_also_between_the_voxels() -> None:
    values = torch.zeros(4, 6, 7, 8)
    assert labels_from_logits(values, (12, 14, 16), LabelSet.from_values({"a": 1, "b": 2, "c": 3})).max() == 0
    values[2:] = 1
    found = labels_from_logits(values, (12, 14, 16), LabelSet.from_values({"a": 1, "b": 2, "c": 3}))
    assert np.unique(found).tolist() == [2]


@pytest.mark.parametrize(("size", "wanted"), [(5, 12), (12, 5), (7, 7), (1, 4), (4, 1)])
def test_an_axis_interpolates_as_torch_does(size: int, wanted: int) -> None:
    values = logits(1, (size,))[0]
    expected = torch.nn.functional.interpolate(
        values[None, None].double(), size=wanted, mode="linear", align_corners=False
    )[0, 0]
    axis = Axis.between(size, wanted)
    cells = slice(0, axis.cells)
    found = axis.linear(values.numpy()[axis.coarse(cells)], 0, cells, Scratch())
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_what_is_equal_in_16_bits_goes_to_the_lower_class() -> None:
    values = np.zeros((3, 4, 4, 4), dtype=np.float32)
    values[0], values[2] = np.random.default_rng(0).normal(size=(2, 4, 4, 4)) * 0.01 + 5
    values[1] = values[2] + np.random.default_rng(1).normal(size=(4, 4, 4)).astype(np.float32) * 1e-3
    values = values.astype(np.float16).astype(np.float32)
    labels = LabelSet.from_values({"a": 1, "b": 2})
    shape = (7, 9, 10)
    fine = resize(values, shape, 1).astype(np.float16)
    found = labels_from_logits(values, shape, labels, in_16_bits=True)
    assert np.mean(found == fine.argmax(0)) > 0.995
    assert np.mean(labels_from_logits(values, shape, labels) == fine.argmax(0)) < 0.99
