"""vesal compare: what it reads, what it writes, and how it says that something does not fit."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from vesal.data.folds import Folds
from vesal.errors import UsageError, VesalError
from vesal.evaluate.case_scores import METRICS, ClassScore
from vesal.evaluate.paired_comparison import Comparison
from vesal.evaluate.scores import Scores
from vesal.workflow.compare import compare_runs, scores_files, separate

CLASSES = ("anterior", "posterior")


def write(folder, seed, by=0.0, cases=12, first=0):
    """Scores of a model on some cases; `by` is how much better than chance leaves it."""
    difficulty = np.random.default_rng(0).beta(20, 3, (40, 2))[first : first + cases]
    dice = np.clip(difficulty + by + np.random.default_rng(seed).normal(0, 0.01, difficulty.shape), 0, 1)
    rows = [
        ClassScore(case=f"c{first + index:02}", class_name=name, volume_ml=1.0, truth_volume_ml=1.0, empty=None,
                   **(dict.fromkeys(METRICS) | {"dice": value}))
        for index, values in enumerate(dice)
        for name, value in zip(CLASSES, values, strict=True)
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    scores = Scores(classes=CLASSES, tolerance_mm=1.0, cases=tuple(rows), summary=())
    (folder / "scores.json").write_text(json.dumps(scores.to_dict()))
    return folder


def test_run_folders_files_and_folders_of_runs_are_read(tmp_path):
    one, other = write(tmp_path / "seeds" / "0", 1), write(tmp_path / "seeds" / "1", 2)
    assert scores_files(one) == [one / "scores.json"]
    assert scores_files(one / "scores.json") == [one / "scores.json"]
    assert scores_files(tmp_path / "seeds") == [one / "scores.json", other / "scores.json"]
    loose = tmp_path / "loose"
    loose.mkdir()
    for name in ("b.json", "a.json"):
        (loose / name).write_bytes((one / "scores.json").read_bytes())
    assert scores_files(loose) == [loose / "a.json", loose / "b.json"]


def test_several_seeds_of_either_model_are_runs(tmp_path):
    a = [write(tmp_path / f"a{seed}", seed) for seed in (1, 2, 3)]
    b = [write(tmp_path / f"b{seed}", seed, 0.02) for seed in (4, 5)]
    found = compare_runs(a, b, names=("old", "new"), out=tmp_path / "out")
    assert (found.runs_a, found.runs_b, found.a, found.b) == (3, 2, "old", "new")
    assert found.sources_b == tuple(map(str, b))
    assert found.overall.verdict == "b"
    assert any("Two trainings say little" in line for line in (tmp_path / "out" / "comparison.md").open())


def test_folds_of_a_run_are_drawn_whole(tmp_path):
    a, b = write(tmp_path / "a", 1), write(tmp_path / "b", 2)
    cases = [f"c{index:02}" for index in range(12)]
    for run in (a, b):
        Folds(seed=0, parts=tuple(tuple(cases[start::4]) for start in range(4))).save(run / "folds.json")
    assert compare_runs([a], [b]).groups == 4
    (b / "folds.json").unlink()
    assert compare_runs([a], [b]).groups == 0


def test_the_files_hold_everything_and_the_page_loads_nothing(tmp_path):
    a, b = write(tmp_path / "a", 1), write(tmp_path / "b", 2, 0.03)
    found = compare_runs([a], [b], out=tmp_path / "out", names=("a_$x$", "<b>"))
    assert Comparison.model_validate_json((tmp_path / "out" / "comparison.json").read_text()) == found
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "is unlikely to be chance" in page
    assert "<b>" not in page.replace("<b>{", "")
    assert page.count("data:image/png;base64") == 4
    assert "http://" not in page
    assert "https://" not in page


def test_the_page_of_two_equal_models_and_of_one_case_can_be_drawn(tmp_path):
    a = write(tmp_path / "a", 1)
    copy = write(tmp_path / "b", 1)
    compare_runs([a], [copy], out=tmp_path / "same")
    one, other = write(tmp_path / "one", 1, cases=1), write(tmp_path / "other", 2, cases=1)
    compare_runs([one], [other], out=tmp_path / "single")
    assert (tmp_path / "single" / "comparison.html").exists()


def test_paths_may_stand_with_commas_between_and_may_hold_one(tmp_path):
    odd = tmp_path / "a,b"
    odd.mkdir()
    assert separate([f"{tmp_path}/x,{tmp_path}/y", str(odd)]) == [f"{tmp_path}/x", f"{tmp_path}/y", str(odd)]


def test_what_is_no_scores_is_told_with_its_fix(tmp_path):
    a = write(tmp_path / "a", 1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.json").write_text('{"version": 1, "cases": []}')
    (tmp_path / "torn.json").write_text('{"version": 1, "ca')
    with pytest.raises(UsageError, match=r"holds no scores\.json; make it with vesal evaluate"):
        compare_runs([a], [tmp_path / "empty"])
    with pytest.raises(UsageError, match=r"There is no .*nowhere"):
        compare_runs([a], [tmp_path / "nowhere"])
    with pytest.raises(VesalError, match=r"other\.json does not hold scores .*vesal evaluate"):
        compare_runs([a], [tmp_path / "other.json"])
    with pytest.raises(VesalError, match=r"torn\.json is not valid JSON"):
        compare_runs([a], [tmp_path / "torn.json"])
    with pytest.raises(UsageError, match="is named twice for B"):
        compare_runs([a], [a, a / "scores.json"])
    with pytest.raises(UsageError, match="two different names"):
        compare_runs([a], [a], names=("x", "x"))


def vesal(*words):
    return subprocess.run(
        [sys.executable, "-m", "vesal.cli", *map(str, words)], capture_output=True, text=True
    )


def test_the_verb_prints_a_sentence_or_json_and_fails_with_a_sentence(tmp_path):
    a, b = write(tmp_path / "a", 1), write(tmp_path / "b", 2, 0.03)
    shown = vesal("compare", a, b, "-o", tmp_path / "out")
    assert shown.returncode == 0, shown.stderr
    assert "Over 12 cases B's mean Dice is higher (better) than A's by 0.0" in shown.stdout
    assert (tmp_path / "out" / "comparison.html").exists()
    found = json.loads(vesal("compare", f"{a}", "--b", b, "--json", "--metric", "dice").stdout)
    assert found["overall"]["verdict"] == "b"
    wrong = vesal("compare", a)
    assert wrong.returncode == 2
    assert "needs scores of A and of B" in wrong.stderr
    assert "Traceback" not in wrong.stderr
