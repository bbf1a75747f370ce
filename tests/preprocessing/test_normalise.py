"""Schemes of normalisation."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.planning.plan import Normalisation
from vesal.preprocessing.normalise import normalise


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"scheme": "zscore"}, lambda x: (x - x.mean()) / x.std()),
        (
            {"scheme": "zscore_nonzero"},
            lambda x: np.where(x != 0, (x - x[x != 0].mean()) / x[x != 0].std(), 0),
        ),
        (
            {"scheme": "ct", "lower": -50, "upper": 120, "mean": 20, "std": 40},
            lambda x: (np.clip(x, -50, 120) - 20) / 40,
        ),
        ({"scheme": "minmax"}, lambda x: (x - x.min()) / (x.max() - x.min())),
        ({"scheme": "window", "lower": 0, "upper": 100}, lambda x: np.clip(x, 0, 100) / 100),
        ({"scheme": "none"}, lambda x: x),
    ],
)
def test_each_scheme_is_its_formula(how: dict, expected) -> None:
    values = np.random.default_rng(1).normal(50, 60, (10, 11, 12)).astype(np.float32)
    values[:4] = 0
    wanted = expected(values.astype(float))
    normalise(values, Normalisation(**how))
    assert np.allclose(values, wanted, atol=1e-4)


def test_a_z_score_within_a_mask_leaves_the_rest_as_it_is() -> None:
    values = np.random.default_rng(1).normal(50, 60, (4, 5, 6)).astype(np.float32)
    mask = np.zeros(values.shape, dtype=bool)
    mask[1:3, 1:4, 2:] = True
    inside = values[mask].astype(float)
    expected = values.copy()
    expected[mask] = (inside - inside.mean()) / inside.std()
    normalise(values, Normalisation(scheme="zscore_mask"), mask)
    np.testing.assert_allclose(values, expected, atol=1e-4)


@pytest.mark.parametrize("scheme", ["zscore", "zscore_nonzero", "minmax"])
def test_a_constant_image_becomes_zero(scheme: str) -> None:
    for value in (1000.1, 1e-12, 0.0):
        values = np.full((4, 4), value, np.float32)
        normalise(values, Normalisation(scheme=scheme))
        assert not values.any()


@pytest.mark.parametrize("unit", [1e-12, 1e12])
@pytest.mark.parametrize("scheme", ["zscore", "zscore_nonzero", "minmax", "window", "ct"])
def test_the_unit_does_not_matter(scheme: str, unit: float) -> None:
    """A map of diffusion is the same in mm²/s and in m²/s, where it would be an image of nothing."""
    values = np.random.default_rng(1).uniform(0.2, 3, (6, 5, 4)).astype(np.float32)
    how = {"lower": 0.5, "upper": 2.5, "mean": 1.4, "std": 0.7} if scheme in ("ct", "window") else {}
    other = values * np.float32(unit)
    normalise(values, Normalisation(scheme=scheme, **how))
    normalise(other, Normalisation(scheme=scheme, **{name: of * unit for name, of in how.items()}))
    assert values.std() > 0.2
    np.testing.assert_allclose(other, values, atol=1e-4)


def test_an_image_of_many_blocks_or_with_gaps_in_memory_is_normalised_in_place() -> None:
    values = np.random.default_rng(0).normal(300, 50, (70, 60, 40)).astype(np.float32)
    expected = (values - values.mean(dtype=np.float64)) / values.std(dtype=np.float64)
    wide = np.zeros((70, 60, 80), np.float32)
    for channel in (values.copy(), np.asfortranarray(values), wide[..., ::2]):
        channel[...] = values
        normalise(channel, Normalisation(scheme="zscore"))
        assert np.allclose(channel, expected, atol=1e-4)
    assert not wide[..., 1::2].any()
