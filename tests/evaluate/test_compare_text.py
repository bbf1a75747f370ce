"""A comparison in words and as tables."""

from __future__ import annotations

import numpy as np

from vesal.evaluate.case_scores import METRICS, ClassScore
from vesal.evaluate.compare_text import comparison_markdown, sentence
from vesal.evaluate.paired_comparison import Comparison, Side, compare
from vesal.evaluate.scores import Scores

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


def test_a_clear_difference_reads_as_one_sentence_to_quote():
    a, b = cohort(np.random.default_rng(11), gap=0.03)
    text = sentence(compare(a, b))
    assert text.startswith("Over 50 cases B's mean Dice is higher (better) than A's by 0.0")
    assert "95% interval 0.0" in text
    assert text.endswith("the difference is unlikely to be chance.")
    turned = sentence(compare(Side("A", b.scores), Side("B", a.scores)))
    assert "B's mean Dice is lower (worse) than A's by 0.0" in turned
    assert "95% interval 0.0" in turned


def test_no_clear_difference_says_what_would_have_been_found():
    text = sentence(compare(*cohort(np.random.default_rng(12), cases=8)))
    assert "no clear difference; a true difference of 0.0" in text


def test_the_markdown_holds_the_sentence_every_class_and_every_case():
    found = compare(*cohort(np.random.default_rng(13), gap=0.02, classes=TWO))
    text = comparison_markdown(found)
    assert sentence(found) in text
    assert all(sentence(found, row) in text for row in found.rows)
    assert text.count("| c07 ") == 3
    assert Comparison.model_validate(found.to_dict()) == found


def test_classes_that_no_case_defines_are_none_of_the_tests_that_are_corrected():
    three = (*TWO, "neither")

    def with_third(side):
        rows = side.scores[0].cases
        empty = [score(case, "neither", None) for case in dict.fromkeys(row.case for row in rows)]
        return Side(
            side.name, [side.scores[0].model_copy(update={"classes": three, "cases": (*rows, *empty)})]
        )

    a, b = cohort(np.random.default_rng(14), gap=0.02, classes=TWO)
    assert "Holm-corrected over 2 classes" in comparison_markdown(compare(with_third(a), with_third(b)))
