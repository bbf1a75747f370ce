"""What is learned of a model's doubt, what a model file may say of it, and what is then said of a scan."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.errors import VesalError
from vesal.infer.quality.calibrate import Learned, Observed, learn
from vesal.infer.quality.estimate import Doubt, Quality, read_quality
from vesal.infer.quality.features import Signals
from vesal.infer.quality.fit import (
    cross_parts,
    fit_line,
    fit_temperature,
    fit_usual,
    left_out_distances,
    rank_correlation,
    risk_coverage,
    to_dice,
    to_loss,
)

LABELS = LabelSet.from_values({"organ": 1})


def observed(cases: int = 60, seed: int = 0) -> list[Observed]:
    """Scans whose Dice follows `steady`; corrupted ones lie far off in their texture."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(cases):
        for artifact in (None, "noise"):
            steady = generator.uniform(0.7, 0.95) - 0.2 * (artifact is not None)
            dice = float(np.clip(steady + generator.normal(0, 0.01), 0, 1))
            texture = generator.normal(0, 1, 5) + 8 * (artifact is not None)
            inside = generator.normal(0, 1, 12)
            groups = {
                "texture": {f"t{i}": float(value) for i, value in enumerate(texture)},
                "shape": {"organ volume": float(generator.normal()), "organ ragged": 0.0},
            }
            networks = [{"organ steady": steady, "organ soft": steady + 0.02, "entropy": 0.3}]
            found.append(
                Observed(
                    f"case_{number}",
                    number % 2,
                    artifact,
                    Signals(groups, networks, [inside]),
                    {"organ": dice},
                )
            )
    return found


@pytest.fixture(scope="module")
def learned() -> Learned:
    return learn(observed(), LABELS.classes, 1.3)


@pytest.fixture(scope="module")
def stored(learned: Learned) -> dict[str, Any]:
    """As it comes from a model file."""
    return json.loads(json.dumps(learned.qualities[0].model_dump(mode="json")))


# --- what is learned ------------------------------------------------------------------------------------------


def test_a_dice_that_the_signals_tell_is_predicted(learned: Learned) -> None:
    record = learned.qualities[0].alone.dice["organ"]
    assert record.cases == 60
    assert record.mae < 0.015 < record.mae_of_mean
    assert record.spearman is not None
    assert record.spearman > 0.9


def test_signals_that_tell_nothing_are_said_to_tell_nothing() -> None:
    generator = np.random.default_rng(3)
    rows = [
        Observed(one.case, one.fold, None, one.signals, {"organ": float(generator.uniform(0.7, 0.9))})
        for one in observed(80)
        if one.artifact is None
    ]
    record = learn(rows, LABELS.classes, 1.0).qualities[0].alone.dice["organ"]
    assert record.spearman is not None
    assert record.spearman < 0.35
    assert record.mae > 0.9 * record.mae_of_mean


def test_the_flag_finds_the_harmed_at_its_rate_of_false_alarms(learned: Learned) -> None:
    flag = learned.qualities[1].alone.flag
    assert (flag.clean, flag.corrupted) == (60, 60)
    assert flag.flagged <= 10
    assert flag.corrupted_found >= 57
    assert flag.by_artifact == {"noise": (60, flag.corrupted_found)}
    assert "60 held-out scans" in flag.error


def test_the_record_of_a_run_is_json_without_nan_and_a_model_keeps_little(learned: Learned) -> None:
    told = json.dumps(learned.to_dict(), allow_nan=False)
    assert json.loads(told)["risk_coverage"]["area"] < json.loads(told)["risk_coverage"]["area_of_no_order"]
    assert len(json.dumps(learned.qualities[0].model_dump(mode="json"))) < 20_000


def test_eight_scans_of_one_fold_are_enough() -> None:
    rows = [
        Observed(one.case, 0, one.artifact, one.signals, one.dice)
        for one in observed(8)
        if one.artifact is None
    ]
    quality = learn(rows, LABELS.classes, 1.0).qualities[0]
    assert quality.alone.flag.corrupted == 0
    assert "artefact" not in quality.alone.flag.error


def _with_votes(gap: float) -> list[Observed]:
    """Networks that agree where the Dice is high; nothing else tells it."""
    generator = np.random.default_rng(1)
    rows = []
    for one in observed():
        dice = float(generator.uniform(0.7, 0.9))
        signals = copy.deepcopy(one.signals)
        signals.networks[0]["organ agree"] = dice + float(generator.normal(0, 0.02))
        rows.append(Observed(one.case, one.fold, one.artifact, signals, {"organ": dice}, gap))
    return rows


def test_what_networks_agree_on_tells_a_votes_dice() -> None:
    quality = learn(_with_votes(0.0), LABELS.classes, 1.0).qualities[0]
    assert quality.vote is not None
    told, alone = quality.vote.dice["organ"], quality.alone.dice["organ"]
    assert told.mae < 0.6 * alone.mae
    rows = [one for one in _with_votes(0.0) if one.artifact is None]
    vote, single = Doubt([quality, quality]), Doubt([quality])
    errors = [
        np.mean([abs(doubt.judge(one.signals).dice["organ"].value - one.dice["organ"]) for one in rows])
        for doubt in (vote, single)
    ]
    assert errors[0] < 0.6 * errors[1]


def test_networks_that_know_the_scans_by_heart_are_no_witnesses() -> None:
    assert learn(_with_votes(0.05), LABELS.classes, 1.0).qualities[0].vote is None


# --- what is said of a scan ---------------------------------------------------------------------------------


def test_a_usual_scan_is_ok_and_an_unusual_one_is_to_be_reviewed(stored: dict[str, Any]) -> None:
    quality = read_quality(stored, LABELS, "m.vesal")
    assert quality is not None
    doubt = Doubt([quality])
    usual, corrupted = observed(200, seed=9)[0::2], observed(200, seed=9)[1::2]
    assert np.mean([doubt.judge(one.signals).verdict == "review" for one in usual]) < 0.25
    judged = [doubt.judge(one.signals) for one in corrupted]
    assert np.mean([one.verdict == "review" for one in judged]) > 0.95
    assert "noise, sharpness" in judged[0].reason
    assert judged[0].error == quality.alone.flag.error


def test_the_interval_holds_about_nine_of_ten(stored: dict[str, Any]) -> None:
    quality = read_quality(stored, LABELS, "m.vesal")
    assert quality is not None
    doubt, inside = Doubt([quality]), []
    for one in observed(200, seed=5)[0::2]:
        found = doubt.judge(one.signals).dice["organ"]
        assert 0 <= found.low <= found.value <= found.high <= 1
        inside.append(found.low <= one.dice["organ"] <= found.high)
    assert 0.75 < np.mean(inside) < 0.99


def test_what_a_judgement_tells_is_json(stored: dict[str, Any]) -> None:
    quality = read_quality(stored, LABELS, "m.vesal")
    assert quality is not None
    told = Doubt([quality, quality]).judge(observed(2)[0].signals).to_dict()
    assert set(json.loads(json.dumps(told, allow_nan=False))) >= {"verdict", "predicted_dice", "unlikeness"}


def test_numbers_beyond_all_that_was_seen_give_a_dice_between_0_and_1(stored: dict[str, Any]) -> None:
    quality = read_quality(stored, LABELS, "m.vesal")
    assert quality is not None
    signals = copy.deepcopy(observed(2)[0].signals)
    signals.networks[0]["organ steady"] = 1e9
    signals.groups["texture"]["t0"] = -1e9
    found = Doubt([quality]).judge(signals)
    assert 0 <= found.dice["organ"].value <= 1
    assert found.verdict == "review"


# --- what a model file may say ------------------------------------------------------------------------------


def _set(value: dict[str, Any], path: str, new: Any) -> dict[str, Any]:
    changed = copy.deepcopy(value)
    *parents, last = path.split("/")
    inner = changed
    for name in parents:
        inner = inner[name]
    inner[last] = new
    return changed


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("temperature", 0.0),
        ("temperature", float("nan")),
        ("temperature", "hot"),
        ("classes", ["liver"]),
        ("usual/texture/centre", [0.0] * 100_000),
        ("usual/texture/centre", [0.0]),
        ("usual/texture/scale", [1.0, 1.0, 0.0, 1.0, 1.0]),
        ("usual/texture/scale", [1.0, 1.0, -1.0, 1.0, 1.0]),
        ("usual/texture/directions", [[1.0]]),
        ("usual/texture/variances", []),
        ("usual/texture/rest", float("inf")),
        ("inside/names", ["a"]),
        ("alone/dice/organ/weights", [1.0]),
        ("alone/dice/organ/bias", 1e300),
        ("alone/dice/spleen", {}),
        ("alone/flag/threshold", None),
        ("alone/flag/parts", ["shoes"]),
        ("alone/flag", {}),
        ("usual", {"texture": 1}),
        ("surprise", 1),
    ],
)
def test_a_hostile_file_is_refused_in_a_sentence(stored: dict[str, Any], path: str, new: Any) -> None:
    with pytest.raises(VesalError, match=r"m\.vesal .*; (get it again|update)"):
        read_quality(_set(stored, path, new), LABELS, Path("m.vesal"))


def test_a_newer_file_asks_for_an_update(stored: dict[str, Any]) -> None:
    with pytest.raises(VesalError, match="update Vesal"):
        read_quality(_set(stored, "version", 99), LABELS, "m.vesal")


def test_a_model_that_says_nothing_knows_nothing() -> None:
    assert read_quality(None, LABELS, "m.vesal") is None


def test_what_is_stored_judges_as_what_was_learned(learned: Learned, stored: dict[str, Any]) -> None:
    signals = observed(2, seed=4)[0].signals
    read = read_quality(stored, LABELS, "m.vesal")
    assert read is not None
    assert Doubt([Quality.model_validate(learned.qualities[0])]).judge(signals) == Doubt([read]).judge(
        signals
    )


# --- the arithmetic -----------------------------------------------------------------------------------------


def test_one_in_ten_known_scans_lies_beyond_1_28_and_a_strange_one_far_beyond() -> None:
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(30, 30))
    known = generator.normal(size=(100, 30)) @ mixing
    part = np.arange(100) % 10
    usual = fit_usual(known, left_out_distances(known, part, np.ones(100, dtype=bool)))
    new = generator.normal(size=(500, 30)) @ mixing
    assert 0.03 < np.mean(usual.unlike(new) > 1.2816) < 0.25
    # Small, but across the directions in which known scans differ.
    along = np.linalg.svd(mixing)[2][-1]
    assert usual.unlike(new[:20] + 40 * along).mean() > 3


def test_what_never_differs_may_be_rounded_otherwise_but_not_change() -> None:
    known = np.column_stack([np.zeros(20), np.random.default_rng(0).normal(size=20)])
    usual = fit_usual(known, left_out_distances(known, np.arange(20) % 10, np.ones(20, dtype=bool)))
    assert usual.unlike(np.array([0.001, 0.0])) < 1
    assert usual.unlike(np.array([0.7, 0.0])) > 3


def test_a_planted_temperature_is_found() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (20_000, 3))
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (chance.cumsum(axis=1) < generator.random((20_000, 1))).sum(axis=1)
    found = fit_temperature(2.5 * logits, truth, np.ones(20_000), regions=False)
    assert found == pytest.approx(2.5, rel=0.05)
    held = (generator.random((20_000, 3)) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    assert fit_temperature(0.5 * logits, held, np.ones(20_000), regions=True) == pytest.approx(0.5, rel=0.05)


def test_a_line_is_found_and_does_not_go_on_beyond_what_was_seen() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(200, 6))
    line = fit_line(x, 2 + x[:, 0] - 0.5 * x[:, 1] + generator.normal(0, 0.1, 200), np.ones(200))
    assert np.abs(line(x) - (2 + x[:, 0] - 0.5 * x[:, 1])).mean() < 0.05
    far = x[:1].copy()
    far[0, 0] = 1e6
    assert line(far)[0] < 2 + x[:, 0].max() + 3


def test_losses_and_dice_are_each_others_inverse() -> None:
    dice = np.linspace(0, 1, 11)
    assert to_dice(to_loss(dice)) == pytest.approx(dice)


def test_the_best_order_has_the_least_area() -> None:
    true = np.array([0.9, 0.8, 0.5, 0.95])
    points, area, best, none = risk_coverage(true, true)
    assert area == best < none == pytest.approx((1 - true).mean())
    assert points[-1] == (1.0, pytest.approx(none))
    assert risk_coverage(-true, true)[1] > none


def test_ranks_that_do_not_differ_have_no_correlation() -> None:
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
    assert rank_correlation([1, 2, 3, 9], [2, 4, 5, 6]) == pytest.approx(1.0)


def test_parts_are_of_one_size_and_always_the_same() -> None:
    parts = cross_parts([f"c{number}" for number in range(47)])
    sizes = np.bincount(list(parts.values()))
    assert sizes.max() - sizes.min() <= 1
    assert parts == cross_parts([f"c{number}" for number in range(47)])


def test_all_scans_of_a_patient_are_in_one_part() -> None:
    """What is usual would else be learned from the patient who is judged."""
    rows = observed(40)
    generator = np.random.default_rng(8)
    twins = []
    for one in rows:
        # The same patient comes twice, and looks like nobody else.
        own = {
            name: value + generator.normal() * 0.01 for name, value in one.signals.groups["texture"].items()
        }
        groups = {**one.signals.groups, "texture": own}
        twin = Signals(groups, one.signals.networks, one.signals.insides)
        twins.append(Observed(f"{one.case}_b", one.fold, one.artifact, twin, one.dice, None, one.case))
    joint = [Observed(r.case, r.fold, r.artifact, r.signals, r.dice, None, r.case) for r in rows] + twins
    apart = [Observed(r.case, r.fold, r.artifact, r.signals, r.dice) for r in joint]

    def spread(found: Learned) -> float:
        return found.qualities[0].usual["texture"].middle

    assert spread(learn(joint, LABELS.classes, 1.0)) > spread(learn(apart, LABELS.classes, 1.0))
