"""A change explains an odd case only where it can be told at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vesal.audit.editable_case import open_case
from vesal.audit.similarity import deviations, explained, fit, measure, others_of
from vesal.layouts.registry import load_dataset


def blobs(cases: int, *, symmetric: bool) -> np.ndarray:
    """(cases, 1, 10, 10, 10): a block of noise at one end, or at both."""
    pictures = np.random.default_rng(0).uniform(0, 0.2, (cases, 1, 10, 10, 10)).astype(np.float32)
    pictures[:, :, :3] += 1
    if symmetric:
        pictures[:, :, -3:] += 1
    return pictures


def flips_explain(pictures: np.ndarray) -> list[bool]:
    others = others_of(pictures)
    own, flipped = fit(pictures, others), fit(np.flip(pictures, 2), others)
    return explained(flipped - own, flipped, own).tolist()


def test_one_flipped_case_among_others_is_explained_by_a_flip() -> None:
    pictures = blobs(12, symmetric=False)
    pictures[4] = np.flip(pictures[4], 1)
    assert flips_explain(pictures) == [index == 4 for index in range(12)]


def test_a_flip_explains_nothing_where_nothing_is_flipped_or_all_is_symmetric() -> None:
    assert not any(flips_explain(blobs(12, symmetric=False)))
    assert not any(flips_explain(blobs(12, symmetric=True)))


def test_a_picture_correlates_with_its_likes_and_not_with_their_negative() -> None:
    pictures = blobs(8, symmetric=False)
    others = others_of(pictures)
    assert fit(pictures, others).min() > 0.9
    assert fit(-pictures, others).max() < -0.9


def test_an_infinite_voxel_leaves_the_features_of_a_case_finite(data: Path) -> None:
    case = open_case(load_dataset(data).cases[0])
    infinite = case.image.array.astype(np.float32)
    infinite[0, 0, 0, 0] = np.inf
    labels = load_dataset(data).labels
    found, usual = (measure(one, labels) for one in (case.with_image(infinite), case))
    assert found is not None
    assert usual is not None
    np.testing.assert_allclose(found.bright, usual.bright, atol=0.05)
    np.testing.assert_allclose(found.image, usual.image, atol=0.2)


def test_a_deviation_is_cut_off_and_unknown_where_no_case_has_the_number() -> None:
    usual = np.array([[1.0, np.nan], [1.1, np.nan], [0.9, np.nan]])
    far, unknown = deviations(np.array([100.0, 2.0]), usual, 0.1)
    assert far == 6.0
    assert np.isnan(unknown)
