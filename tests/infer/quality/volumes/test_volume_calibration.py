"""The interval around volumes is fitted to held-out scans, each judged without its own patient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vesal.infer.quality.volumes.volume_calibration import VolumeErrors, fit_volume


def errors(patients: int = 60, scans: int = 1, *, corrupted: bool = True, seed: int = 0) -> VolumeErrors:
    """The spread of an error follows the feature `uncertain`, tenfold from the easiest to the hardest; corrupted copies
    are off five times as far, and look it."""
    generator = np.random.default_rng(seed)
    count = patients * scans
    uncertain = generator.uniform(0, np.log(10), count)
    noise, true = generator.normal(size=count), generator.uniform(50, 100, count)
    owner = np.repeat(np.arange(patients), scans)
    kinds = [(True, 1.0)] + [(False, 5.0)] * corrupted
    return VolumeErrors(
        patients=[f"p{number}" for number in owner.tolist()] * len(kinds),
        part=np.tile(owner % 10, len(kinds)),
        clean=np.repeat([clean for clean, _ in kinds], count),
        predicted_ml=np.concatenate([true + factor * np.exp(uncertain) * noise for _, factor in kinds]),
        true_ml=np.tile(true, len(kinds)),
        features=[{"uncertain": value} for value in uncertain.tolist()] * len(kinds),
        ood_scores=np.concatenate([generator.normal(0 if clean else 5, 1, count) for clean, _ in kinds]),
    )


def test_the_difficulty_makes_intervals_narrower_and_holds_corrupted_scans() -> None:
    model, difficulty = fit_volume(errors(200))
    found = model.coverage
    assert found.coverage is not None
    assert 0.86 < found.coverage < 0.94
    assert found.width is not None
    assert found.width_unscaled is not None
    assert found.width < 0.8 * found.width_unscaled
    assert found.corrupted_held > 0.8 * found.corrupted > found.corrupted_held_unscaled
    assert difficulty.shape == (400,)


def test_new_scans_are_held_as_often_as_the_level_says() -> None:
    model, _ = fit_volume(errors(200))
    new = errors(1000, corrupted=False, seed=1)
    for level in (0.8, 0.9):
        intervals = [
            model.interval(*one, level)
            for one in zip(new.predicted_ml.tolist(), new.features, new.ood_scores.tolist(), strict=True)
        ]
        held = [
            one.low_ml is not None and one.high_ml is not None and one.low_ml <= true <= one.high_ml
            for one, true in zip(intervals, new.true_ml.tolist(), strict=True)
        ]
        assert abs(np.mean(held) - level) < 0.06


def test_without_corrupted_scans_it_widens_for_unusual_ones_all_the_same() -> None:
    model, _ = fit_volume(errors(30, corrupted=False))
    usual, far = (model.interval(70.0, {"uncertain": 1.0}, score, 0.9) for score in (0.0, model.usual + 3))
    assert usual.high_ml is not None
    assert far.high_ml is not None
    assert abs((far.high_ml - 70) / (usual.high_ml - 70) - 4.0) < 1e-9


def test_several_scans_of_a_patient_count_as_one() -> None:
    model, _ = fit_volume(errors(9, scans=4))
    assert model.patients == 9
    assert model.coverage.width is not None
    assert model.coverage.coverage is None
    # Eight are too few for nine tenths.
    fewer, _ = fit_volume(errors(8, scans=4))
    assert fewer.coverage.width is None
    assert fewer.interval(70.0, {}, 0.0, 0.9).low_ml is None
    assert fewer.interval(70.0, {}, 0.0, 0.8).low_ml is not None


def test_results_without_any_error_give_intervals_without_width_not_an_exception() -> None:
    perfect = errors(20)
    model, _ = fit_volume(replace(perfect, predicted_ml=perfect.true_ml))
    found = model.interval(70.0, {"uncertain": 1.0}, 0.0, 0.9)
    assert (found.low_ml, found.high_ml) == (70.0, 70.0)
