"""The result of a benchmark: what follows from its rows, and its file."""

from __future__ import annotations

import pytest

from vesal.data.labels import MEAN
from vesal.errors import VesalError
from vesal.evaluate.robustness.degradation import CLEAN
from vesal.evaluate.robustness.limits import Limit
from vesal.evaluate.robustness.result import Robustness
from vesal.evaluate.robustness.result_text import save_robustness


def test_the_clean_dice_is_the_mean_over_the_classes_of_the_clean_scans(result):
    found = result()
    table = {(one.condition, one.class_name): one for one in found.conditions}
    assert table["noise 3", MEAN].drop_percent.mean == pytest.approx(100 * 0.4 / 1.4)
    assert table[CLEAN, MEAN].dice == table[CLEAN, "a"].dice == found.clean_dice


def test_a_result_passes_where_every_limit_is_kept(result):
    assert result().passed
    assert result(limits=[Limit.parse("noise=30")]).passed
    assert not result(limits=[Limit.parse("noise=30"), Limit.parse("blur=3")]).passed


def test_what_makes_a_comparison_partial_or_impossible_is_remarked(result, rows):
    own = result()
    assert result(baseline=own).remarks == ()
    fewer = result(rows({CLEAN: {"x": 0.8}, "noise 3": {"x": 0.4}}))
    (remark,) = result(baseline=fewer).remarks
    assert "over the 1 cases that both" in remark
    other = result(rows({CLEAN: {"z": 0.8}, "noise 3": {"z": 0.4}}), about={"settings": {"seed": 1}})
    first, second = result(baseline=other).remarks
    assert "there is no comparison" in first
    assert "another seed" in second
    (remark,) = result(baseline=own.model_copy(update={"data": "elsewhere"})).remarks
    assert "m.vesal was measured on the scans in elsewhere; cases are paired by their names" in remark
    (remark,) = result(baseline=own.model_copy(update={"classes": ("a", "c")})).remarks
    assert "there is no comparison" in remark


def test_the_file_comes_back_and_another_one_is_refused_with_the_cure(result, tmp_path):
    found = result(limits=[Limit.parse("noise=30")], baseline=result())
    save_robustness(tmp_path, found)
    assert Robustness.load(tmp_path) == Robustness.load(tmp_path / "robustness.json") == found
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(
        VesalError, match=r"other\.json does not hold a robustness benchmark .*vesal robustness"
    ):
        Robustness.load(tmp_path / "other.json")
