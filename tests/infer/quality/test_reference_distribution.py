"""Out-of-distribution scores: one in ten known scans lies beyond 1.28, an unusual one far beyond."""

from __future__ import annotations

import numpy as np

from vesal.infer.quality.reference_distribution import ReferenceDistribution, fit_reference


def _fitted(known: np.ndarray) -> ReferenceDistribution:
    return fit_reference(known, np.arange(len(known)) % 10, np.ones(len(known), dtype=bool))[0]


def test_one_in_ten_known_scans_lies_beyond_1_28_and_an_unusual_one_far_beyond() -> None:
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(30, 30))
    reference = _fitted(generator.normal(size=(100, 30)) @ mixing)
    new = generator.normal(size=(500, 30)) @ mixing
    assert 0.03 < np.mean(reference.ood_score(new) > 1.2816) < 0.25
    # Small, but across the directions in which known scans differ.
    along = np.linalg.svd(mixing)[2][-1]
    assert reference.ood_score(new[:20] + 40 * along).mean() > 3


def test_a_constant_feature_may_be_rounded_otherwise_but_not_change() -> None:
    reference = _fitted(np.column_stack([np.zeros(20), np.random.default_rng(0).normal(size=20)]))
    assert reference.ood_score(np.array([0.001, 0.0])) < 1
    assert reference.ood_score(np.array([0.7, 0.0])) > 3


def test_rounding_for_a_model_file_changes_no_score_that_matters() -> None:
    known = np.random.default_rng(1).normal(size=(60, 20))
    reference = _fitted(known)
    assert np.allclose(reference.rounded().ood_score(known), reference.ood_score(known), atol=1e-2)
