"""Two models on the same cases: what is found, what is not, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from vesal.errors import DataError, UsageError
from vesal.evaluate.case_scores import METRICS, ClassScore
from vesal.evaluate.compare_text import comparison_markdown, notes, sentence
from vesal.evaluate.paired_comparison import Side, compare
from vesal.evaluate.scores import Scores
from vesal.metrics.paired import wilcoxon
from vesal.metrics.statistics import paired_difference

ONE = ("tumour",)


TWO = ("anterior", "posterior")


def score(case, name, dice, **other):
    values = dict.fromkeys(METRICS) | {"dice": dice} | other
    volume = values.pop("truth_volume_ml", 1.0)
    return ClassScore(case=case, class_name=name, volume_ml=1.0, truth_volume_ml=volume, empty=None, **values)


def scores(table, classes=ONE, tolerance_mm=1.0, metric="dice"):
    """From {case: (values of the classes)}; the means are not needed for a comparison."""
    rows = [
        score(case, name, **({"dice": value} if metric == "dice" else {"dice": None, metric: value}))
        for case, values in table.items()
        for name, value in zip(classes, np.atleast_1d(values), strict=True)
    ]
    return Scores(classes=classes, tolerance_mm=tolerance_mm, cases=tuple(rows), summary=())


def cohort(generator, *, cases=50, gap=0.0, runs=1, training=0.0, noise=0.03, classes=ONE):
    """Two models' scores on the same cases of unlike difficulty."""
    difficulty = generator.beta(20, 3, (cases, 1))

    def side(by):
        made = []
        for _ in range(runs):
            trained = generator.normal(0, training)
            dice = difficulty + by + trained + generator.normal(0, noise, (cases, len(classes)))
            made.append(scores({f"c{i:02}": row for i, row in enumerate(np.clip(dice, 0, 1))}, classes))
        return made

    return Side("A", side(0.0)), Side("B", side(gap))


def test_two_identical_models_are_not_told_apart_in_95_of_100_runs():
    generator = np.random.default_rng(0)
    trials = 400
    apart = sum(compare(*cohort(generator)).overall.verdict in ("a", "b") for _ in range(trials))
    # One in twenty is what is promised; so many trials show more than this in 1 of 100 simulations.
    assert apart <= stats.binom.ppf(0.99, trials, 0.05)
    assert apart >= stats.binom.ppf(0.0001, trials, 0.05), "so few would be a test that finds nothing"


def test_a_planted_difference_of_one_point_over_50_cases_is_found():
    generator = np.random.default_rng(1)
    # Two trainings of one recipe differ by about 0.02 from case to case.
    found = [compare(*cohort(generator, gap=0.01, noise=0.015)) for _ in range(60)]
    assert np.mean([one.overall.verdict == "b" for one in found]) > 0.8
    assert np.mean([one.overall.difference for one in found]) == pytest.approx(0.01, abs=0.002)
    assert not any(one.overall.verdict == "a" for one in found)


def test_identical_trainings_are_not_told_apart_where_seeds_differ_by_chance():
    generator = np.random.default_rng(2)
    several = [compare(*cohort(generator, runs=3, training=0.01)).overall.verdict for _ in range(60)]
    assert sum(verdict in ("a", "b") for verdict in several) <= 5
    single = [compare(*cohort(generator, runs=1, training=0.01)).overall.verdict for _ in range(60)]
    assert sum(verdict in ("a", "b") for verdict in single) > 10


def test_the_same_scores_give_the_same_comparison():
    sides = cohort(np.random.default_rng(3), gap=0.01, classes=TWO)
    assert compare(*sides) == compare(*sides)


def test_a_model_against_itself_is_the_same_in_every_case():
    a, _ = cohort(np.random.default_rng(4))
    found = compare(a, Side("B", a.scores))
    assert found.overall.verdict == "same"
    assert (found.overall.difference, found.overall.wilcoxon_p, found.overall.equal) == (0.0, 1.0, 50)
    assert sentence(found) == "Over 50 cases A and B have the same Dice in every case."


def test_the_numbers_are_those_of_the_paired_statistics():
    a, b = cohort(np.random.default_rng(5), gap=0.02)
    of_a, of_b = (np.array([row.dice for row in side.scores[0].cases]) for side in (a, b))
    found, expected = compare(a, b).overall, paired_difference(of_a, of_b)
    assert (found.difference, found.low, found.high) == (expected.mean, expected.low, expected.high)
    assert found.wilcoxon_p == wilcoxon(of_b - of_a).p
    assert (found.a, found.b) == pytest.approx((of_a.mean(), of_b.mean()))


def test_classes_are_corrected_after_holm_and_their_mean_is_not():
    found = compare(*cohort(np.random.default_rng(6), gap=0.01, noise=0.02, classes=TWO))
    smaller, larger = sorted(row.wilcoxon_p for row in found.rows)
    corrected = sorted(row.holm_p for row in found.rows)
    assert corrected == pytest.approx([min(1, 2 * smaller), max(min(1, 2 * smaller), larger)])
    assert found.overall.class_name == "mean"
    assert found.overall.holm_p is None
    assert "Holm-corrected over 2 classes" in sentence(found, found.rows[0])
    assert "Holm" not in sentence(found)


def test_less_is_better_where_a_distance_or_an_error_is_compared():
    generator = np.random.default_rng(7)
    errors = generator.uniform(1, 2, 30)
    for metric in ("hd95_mm", "volume_error_ml"):
        a = scores({str(i): -value for i, value in enumerate(errors)}, metric=metric)
        if metric == "hd95_mm":
            a = scores({str(i): value for i, value in enumerate(errors)}, metric=metric)
        b = scores({str(i): value / 2 for i, value in enumerate(errors)}, metric=metric)
        found = compare(Side("A", [a]), Side("B", [b]), metric)
        assert found.overall.verdict == "b"
        assert found.overall.difference < 0
        assert "is lower (better) than A's by" in sentence(found)
    assert "absolute volume error" in sentence(found)


def test_several_seeds_are_a_source_of_spread():
    a, b = cohort(np.random.default_rng(8), runs=3, training=0.02)
    found = compare(a, b)
    assert (found.runs_a, found.runs_b) == (3, 3)
    alone = compare(Side("A", a.scores[:1]), Side("B", b.scores[:1]))
    assert found.overall.high - found.overall.low > 1.5 * (alone.overall.high - alone.overall.low)
    assert "3 and 3 trainings" in sentence(found)
    assert any("each model is one training" in text for text in alone.remarks)
    assert not any("each model is one training" in text for text in found.remarks)


def test_files_without_a_common_case_are_folds_of_one_model():
    a, b = cohort(np.random.default_rng(9), cases=40)
    tables = [{row.case: row.dice for row in side.scores[0].cases} for side in (a, b)]
    folds = [
        [scores(dict(itertools.islice(table.items(), start, start + 10))) for start in (0, 10, 20, 30)]
        for table in tables
    ]
    found = compare(Side("A", folds[0]), Side("B", folds[1]))
    assert (found.runs_a, found.groups, found.overall.cases) == (1, 4, 40)
    assert "Over 40 cases in 4 folds" in sentence(found)
    assert found.overall.difference == pytest.approx(compare(a, b).overall.difference)


def test_folds_that_are_not_the_same_in_both_are_told_and_not_drawn():
    a, b = cohort(np.random.default_rng(10), cases=30)
    names = [row.case for row in a.scores[0].cases]
    one = {case: str(index % 3) for index, case in enumerate(names)}
    other = {case: str(index // 10) for index, case in enumerate(names)}
    mixed = compare(Side("A", a.scores, folds=one), Side("B", b.scores, folds=other))
    assert mixed.groups == 0
    assert any("folds of A and B are not the same" in text for text in mixed.remarks)
    assert compare(Side("A", a.scores, folds=one), Side("B", b.scores, folds=one)).groups == 3


def test_cases_of_one_model_alone_are_named_and_left_out():
    a = scores({"x": 0.5, "y": 0.6, "z": 0.7, "only": 0.1})
    b = scores({"extra": 0.9, "x": 0.6, "y": 0.7, "z": 0.9})
    found = compare(Side("A", [a]), Side("B", [b]))
    assert (found.only_a, found.only_b, found.overall.cases) == (("only",), ("extra",), 3)
    told = comparison_markdown(found)
    assert "In A and not in all of B, so left out: only." in told
    assert "In B and not in all of A, so left out: extra." in told


def test_a_case_that_one_model_alone_defines_is_named():
    a = scores({"x": 0.5, "y": 0.6, "empty": None})
    b = scores({"x": 0.6, "y": 0.7, "empty": 0.0})
    found = compare(Side("A", [a]), Side("B", [b]))
    assert found.overall.cases == 2
    assert found.rows[0].undefined == ("empty",)
    assert any("empty" in text for text in notes(found))


def test_the_mean_over_classes_is_over_those_that_both_define():
    a = scores({"x": (0.5, None), "y": (0.6, 0.8)}, TWO)
    b = scores({"x": (0.7, 0.1), "y": (0.6, 0.9)}, TWO)
    pairs = {
        (pair.case, pair.class_name): (pair.a, pair.b)
        for pair in compare(Side("A", [a]), Side("B", [b])).cases
    }
    assert pairs["x", "mean"] == (0.5, 0.7)
    assert pairs["y", "mean"] == pytest.approx((0.7, 0.75))


def test_one_case_and_none_are_told_and_not_tested():
    one = compare(Side("A", [scores({"x": 0.5})]), Side("B", [scores({"x": 0.7})]))
    assert (one.overall.low, one.overall.verdict) == (None, "open")
    assert "one case is too few to compare them" in sentence(one)
    none = compare(Side("A", [scores({"x": None})]), Side("B", [scores({"x": None})]))
    assert none.overall.cases == 0
    assert "No case defines" in sentence(none)
    assert comparison_markdown(none)


def test_what_does_not_belong_together_is_refused_by_name():
    a = Side("A", [scores({"x": 0.5})], ["runs/a"])
    with pytest.raises(DataError, match=r"no case in common \(x .* against y"):
        compare(a, Side("B", [scores({"y": 0.5})]))
    with pytest.raises(DataError, match=r"runs/b has the classes anterior, posterior, but runs/a tumour"):
        compare(a, Side("B", [scores({"x": (0.5, 0.5)}, TWO)], ["runs/b"]))
    with pytest.raises(DataError, match=r"tolerances \(1 mm and 2 mm\)"):
        compare(a, Side("B", [scores({"x": 0.5}, tolerance_mm=2.0)]), "nsd")
    with pytest.raises(UsageError, match=r"no metric 'dise' \(perhaps dice\?\)"):
        compare(a, a, "dise")
    with pytest.raises(UsageError, match="needs scores of A and of B"):
        compare(a, Side("B", []))


def test_scores_against_another_truth_are_refused():
    a = Scores(
        classes=ONE, tolerance_mm=1, cases=(score("x", "tumour", 0.5, truth_volume_ml=3.0),), summary=()
    )
    b = Scores(
        classes=ONE, tolerance_mm=1, cases=(score("x", "tumour", 0.6, truth_volume_ml=3.3),), summary=()
    )
    with pytest.raises(DataError, match=r"another truth: tumour of x measures 3 ml in the one and 3\.3 ml"):
        compare(Side("A", [a]), Side("B", [b]))
    with pytest.raises(DataError, match=r"Runs of A were scored against another truth: tumour of x"):
        compare(Side("A", [a, b]), Side("B", [a]))
    with pytest.raises(DataError, match=r"A and B were scored against another truth: tumour of x"):
        compare(Side("A", [a, a]), Side("B", [a, b]))


def test_other_tolerances_do_not_matter_to_dice_and_are_told():
    a, b = Side("A", [scores({"x": 0.5})]), Side("B", [scores({"x": 0.6}, tolerance_mm=2.0)])
    assert any("1 mm and 2 mm" in text for text in compare(a, b).remarks)


def test_two_scans_of_each_patient_are_no_more_evidence_than_the_patients():
    generator = np.random.default_rng(30)
    difficulty, gap = generator.beta(20, 3, 9), generator.normal(0.01, 0.02, 9)

    def side(name, values, patients):
        found = scores({f"c{place:02}": value for place, value in enumerate(values)})
        together = {f"c{place:02}": str(place // 2) for place in range(len(values))} if patients else {}
        return Side(name, [found.model_copy(update={"patients": together})])

    def compared(times, patients):
        a, b = np.repeat(difficulty, times), np.repeat(difficulty + gap, times)
        return compare(side("A", a, patients), side("B", b, patients))

    once, twice, known = compared(1, False), compared(2, False), compared(2, True)
    assert twice.overall.wilcoxon_p < once.overall.wilcoxon_p
    assert (known.overall.cases, known.overall.patients) == (18, 9)
    for name in ("wilcoxon_p", "rank_biserial", "cohens_dz", "difference"):
        assert getattr(known.overall, name) == pytest.approx(getattr(once.overall, name))
    for name in ("low", "high", "a_low", "b_high", "detectable"):
        assert getattr(known.overall, name) == pytest.approx(getattr(once.overall, name), abs=0.005)
    assert sentence(known).startswith("Over 18 cases of 9 patients ")
    assert (
        "bootstrap over patients; the test is Wilcoxon's signed rank test over the means" in notes(known)[0]
    )
    one = compare(side("A", difficulty[:2], True), side("B", difficulty[:2] + 0.1, True))
    assert sentence(one).endswith("one patient is too few to compare them.")
