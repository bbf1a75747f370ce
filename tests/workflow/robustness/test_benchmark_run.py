"""The robustness benchmark: its arithmetic against hand numbers, and the whole way with a network made by hand."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from vesal.augment.artifacts.benchmark import Corruption, benchmark
from vesal.cli.app import app
from vesal.data.folds import Folds
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError, VesalError
from vesal.evaluate.robustness.degradation import (
    CLEAN,
    MEAN,
    ArtifactScore,
    compare_with,
    degradation_table,
    headline,
    worst_cases,
)
from vesal.evaluate.robustness.limits import Limit, check_names, judge
from vesal.evaluate.robustness.result import Robustness
from vesal.infer.predictor import Model
from vesal.layouts.registry import load_dataset
from vesal.planning.plan import Plan
from vesal.workflow.robustness import benchmark_run as workflow
from vesal.workflow.robustness import measure as bench
from vesal.workflow.robustness.benchmark_run import RobustnessRequest, modality, robustness_run
from vesal.workflow.robustness.corrupted_cases import choose_cases, translation

# --- rows by hand ----------------------------------------------------------------------------------------


def rows(values: dict[str, dict[str, float | None]], class_name: str = "a") -> list[ArtifactScore]:
    """Condition -> case -> Dice, of one class; the clean Dice is that of the condition 'clean'."""
    made = []
    for condition, by_case in values.items():
        artefact, _, severity = condition.partition(" ")
        for case, dice in by_case.items():
            made.append(
                ArtifactScore(
                    case=case, artefact=artefact, severity=int(severity) if severity else None, condition=condition,
                    class_name=class_name, dice=dice, hd95_mm=2.0, boundary_dice=0.5, clean_dice=values[CLEAN][case],
                )
            )  # fmt: skip
    return made


TWO = {
    CLEAN: {"x": 0.8, "y": 0.6},
    "noise 1": {"x": 0.8, "y": 0.6},
    "noise 3": {"x": 0.4, "y": 0.6},
    "blur 3": {"x": 0.8, "y": 0.3},
}


def of(levels, condition, class_name=MEAN):
    return next(one for one in levels if (one.condition, one.class_name) == (condition, class_name))


def test_the_drop_is_what_the_same_cases_lose_in_percent_of_their_clean_dice():
    levels = degradation_table(rows(TWO), ["a"])
    assert of(levels, "noise 1").drop_percent.mean == pytest.approx(0.0)
    assert of(levels, "noise 3").drop_percent.mean == pytest.approx(100 * 0.4 / 1.4)
    assert of(levels, "noise 3").dice.mean == pytest.approx(0.5)
    assert of(levels, CLEAN).dice.mean == pytest.approx(0.7)
    assert of(levels, "blur 3", "a").drop_percent.mean == pytest.approx(100 * 0.3 / 1.4)


def test_the_interval_of_the_drop_is_that_of_the_ratio():
    """All lose a tenth of their own Dice: there is nothing to be unsure of, though the Dice differ widely."""
    clean = {str(case): 0.3 + 0.06 * case for case in range(10)}
    corrupted = {case: 0.9 * dice for case, dice in clean.items()}
    drop = of(degradation_table(rows({CLEAN: clean, "noise 3": corrupted}), ["a"]), "noise 3").drop_percent
    assert (drop.low, drop.mean, drop.high) == pytest.approx((10, 10, 10))


def test_a_case_whose_clean_dice_is_almost_nothing_does_not_decide_the_drop():
    some = {CLEAN: {"x": 0.9, "y": 0.9, "z": 0.001}, "noise 3": {"x": 0.9, "y": 0.9, "z": 0.01}}
    assert abs(of(degradation_table(rows(some), ["a"]), "noise 3").drop_percent.mean) < 1.0


def test_what_is_found_of_a_class_that_the_case_lacks_counts_in_the_mean_over_the_classes():
    one = rows({CLEAN: {"x": 0.8}, "noise 3": {"x": 0.8}}, "a")
    other = rows({CLEAN: {"x": None}, "noise 3": {"x": 0.0}}, "b")
    levels = degradation_table([*one, *other], ["a", "b"])
    assert of(levels, "noise 3").drop_percent.mean == pytest.approx(50.0)
    assert of(levels, "noise 3", "b").drop_percent.mean is None


def test_the_headline_is_the_mean_over_artefacts_at_severity_three_or_the_nearest():
    top = headline(rows(TWO))
    assert (top.severity, top.artefacts) == (3, 2)
    assert top.drop_percent.mean == pytest.approx(100 * (0.4 + 0.3) / 2 / 1.4)
    nearest = headline(rows({CLEAN: {"x": 0.8}, "noise 1": {"x": 0.4}, "noise 5": {"x": 0.2}}))
    assert (nearest.severity, nearest.drop_percent.mean) == (1, pytest.approx(50.0))
    assert headline(rows({CLEAN: {"x": 0.8}})) is None


def test_corruption_errors_are_those_of_the_paper_by_hand():
    ours = rows({CLEAN: {"x": 0.9}, "noise 1": {"x": 0.8}, "noise 2": {"x": 0.6}, "blur 1": {"x": 0.9}})
    base = rows({CLEAN: {"x": 0.8}, "noise 1": {"x": 0.6}, "noise 2": {"x": 0.4}, "blur 1": {"x": 0.7}})
    found = compare_with(ours, base, "plain")
    noise, blur = found.artefacts
    assert noise.error == pytest.approx(100 * (0.2 + 0.4) / (0.4 + 0.6))
    assert blur.error == pytest.approx(100 * 0.1 / 0.3)
    assert found.mce == pytest.approx((60 + 100 / 3) / 2)
    assert noise.relative == pytest.approx(100 * (0.1 + 0.3) / (0.2 + 0.4))
    assert blur.relative == pytest.approx(0.0)
    assert (found.clean_dice, found.baseline_clean_dice) == pytest.approx((0.9, 0.8))


def test_a_baseline_is_compared_on_shared_cases_and_conditions_alone():
    base = rows(
        {CLEAN: {"x": 0.8, "z": 0.1}, "noise 3": {"x": 0.4, "z": 0.1}, "gamma 3": {"x": 0.1, "z": 0.1}}
    )
    found = compare_with(rows(TWO), base, "other")
    assert (found.cases, [one.artefact for one in found.artefacts]) == (1, ["noise"])
    assert found.mce == pytest.approx(100.0)
    assert compare_with(rows(TWO), rows({CLEAN: {"z": 0.5}, "noise 3": {"z": 0.5}}), "none shared") is None
    assert compare_with(rows(TWO), [], "empty") is None


def test_a_baseline_that_loses_nothing_has_no_relative_error():
    base = rows({CLEAN: {"x": 0.8, "y": 0.6}, "noise 3": {"x": 0.8, "y": 0.6}})
    assert compare_with(rows(TWO), base, "steady").artefacts[0].relative is None


def test_the_worst_case_of_each_artefact_is_named_once_and_the_hardest_first():
    worst = worst_cases(rows(TWO | {"noise 3": {"x": 0.2, "y": 0.6}}))
    assert [(one.condition, one.case) for one in worst] == [("noise 3", "x"), ("blur 3", "y")]
    assert [one.drop_percent for one in worst] == pytest.approx([75.0, 50.0])


@pytest.mark.parametrize(
    ("text", "name", "severity", "most"),
    [
        ("motion=30", "motion", None, 30),
        ("dice-drop=2.5%", "dice-drop", None, 2.5),
        ("noise:5 = 40", "noise", 5, 40),
    ],
)
def test_a_limit_is_a_name_maybe_a_severity_and_percent(text, name, severity, most):
    limit = Limit.parse(text)
    assert (limit.name, limit.severity, limit.most_percent) == (name, severity, most)


@pytest.mark.parametrize("text", ["motion", "motion=", "=3", "motion=nan", "motion=a lot", "motion:x=3"])
def test_a_limit_that_is_none_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="motion:5=40"):
        Limit.parse(text)


def test_limits_are_judged_by_the_mean_drop_at_their_severity():
    levels = degradation_table(rows(TWO), ["a"])
    limits = [
        Limit.parse(text) for text in ("noise=30", "noise:1=1", "blur=21", "dice-drop=25", "dice-drop=26")
    ]
    verdicts = judge(limits, levels)
    assert [one.passed for one in verdicts] == [True, True, False, True, True]
    assert "blur at severity 3 costs 21.4 % of the Dice, above the 21 % allowed" in verdicts[2].sentence()


def test_limits_on_what_is_not_tested_are_refused_before_the_work():
    tested = [("noise", 1), ("noise", 3), ("blur", 1)]
    check_names([Limit.parse("noise=3"), Limit.parse("blur:1=3")], tested)
    with pytest.raises(UsageError, match="names what is not tested; tested are dice-drop, noise, blur"):
        check_names([Limit.parse("motion=3")], tested)
    with pytest.raises(UsageError, match="severity 3, which is not tested; tested are 1"):
        check_names([Limit.parse("blur=3")], tested)


# --- the whole way ---------------------------------------------------------------------------------------


class ByBrightness:
    """A network for `tiny_data`: a voxel is the class whose usual intensity is nearest; it counts its calls."""

    def __init__(self) -> None:
        self.windows = 0
        self.centres = [-0.3, 2.3, 4.9]  # of the background, the shell and the core, normalised

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        self.windows += len(batch)
        centres = torch.tensor(self.centres).view(1, 3, *[1] * (batch.ndim - 2))
        return -((batch - centres) ** 2)


@pytest.fixture
def network(tiny_plan: Path, monkeypatch: pytest.MonkeyPatch) -> ByBrightness:
    """What every model file is taken for."""
    made, plan = ByBrightness(), Plan.load(tiny_plan)

    def load(path, **_options):
        return Model(plan, (made,), torch.device("cpu"))

    monkeypatch.setattr(workflow, "load_model", load)
    return made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "by-brightness.vesal"
    path.write_bytes(b"a model")
    return path


def run(model: Path, data: Path, out: Path, **wanted) -> Robustness:
    request = RobustnessRequest(model=model, data=data, out=out, **{"pictures": False, "cases": 3, **wanted})
    return robustness_run(request, lambda _title: None, lambda _text: None)


def test_every_artefact_is_measured_at_every_severity_and_noise_harms_the_more_the_stronger(
    network, model, tiny_data, tmp_path
):
    found = run(model, tiny_data, tmp_path / "out", cases=1, severities=(1, 5))
    conditions = list(dict.fromkeys(row.condition for row in found.rows))
    assert conditions == [CLEAN, *(artifact.title for artifact in benchmark("MR", (1, 5)))]
    assert len(found.rows) == 2 * len(conditions)
    assert found.level(CLEAN).dice.mean > 0.9
    assert found.level("noise 5").dice.mean < found.level("noise 1").dice.mean
    assert found.headline.severity == 1
    assert found.cost.predictions == len(conditions)
    assert found.failures == ()


def test_a_flip_is_undone_before_the_score(network, model, tiny_data, tmp_path):
    """The network looks at single voxels: a scan turned over costs it nothing."""
    found = run(model, tiny_data, tmp_path / "out", artifacts=["flip"])
    for row in found.rows:
        assert row.dice == pytest.approx(row.clean_dice, abs=1e-3)


def test_what_a_cropped_scan_does_not_show_is_judged_in_neither(
    network, model, tiny_data, tmp_path, monkeypatch
):
    def hide_half(volume, _artifact, _seed):
        hidden = np.zeros(volume.geometry.shape, dtype=bool)
        hidden[:, : hidden.shape[1] // 2] = True
        return Corruption(volume, {}, hidden)

    monkeypatch.setattr(bench, "corrupt", hide_half)
    network.centres[1] = 1.2  # some of the background is taken for the shell
    found = run(model, tiny_data, tmp_path / "out", artifacts=["crop:5"], cases=1)
    clean = {row.class_name: row.dice for row in found.rows if row.condition == CLEAN}
    for row in (row for row in found.rows if row.condition == "crop 5"):
        assert row.dice == row.clean_dice
    assert found.rows[2].class_name == "shell"
    assert found.rows[2].clean_dice != clean["shell"]


def test_the_same_seed_gives_the_same_rows_and_another_one_others(network, model, tiny_data, tmp_path):
    first, again, other = (
        run(model, tiny_data, tmp_path / name, artifacts=["noise:3"], seed=seed).rows
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again != other


def test_the_results_are_written_for_people_and_for_machines(network, model, tiny_data, tmp_path):
    out = tmp_path / "out"
    found = run(model, tiny_data, out, artifacts=["noise", "blur=1.5"], severities=(1, 3), pictures=True)
    assert Robustness.load(out) == found
    lines = list(csv.DictReader(io.StringIO((out / "robustness.csv").read_text())))
    assert len(lines) == len(found.rows)
    assert lines[0].keys() >= {"case", "artefact", "severity", "class", "dice", "hd95_mm", "boundary_dice"}
    assert "| noise 3 |" in (out / "robustness.md").read_text()
    page = (out / "robustness.html").read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert page.count('class="scan') == 2
    assert "noise 3: Dice" in page
    assert "blur=1.5" in page


def test_a_stopped_battery_goes_on_where_it_was(network, model, tiny_data, tmp_path, monkeypatch):
    whole = run(model, tiny_data, tmp_path / "whole", artifacts=["noise:3", "blur:3"])
    each = network.windows // 9

    def stop_in_the_second_case(done, _total):
        if done == 5:
            raise KeyboardInterrupt

    request = RobustnessRequest(
        model=model,
        data=tiny_data,
        out=tmp_path / "out",
        artifacts=["noise:3", "blur:3"],
        cases=3,
        pictures=False,
    )
    with pytest.raises(KeyboardInterrupt):
        robustness_run(request, lambda _title: stop_in_the_second_case, lambda _text: None)
    journal = tmp_path / "out" / "robustness.jsonl"
    with journal.open("a") as stream:
        stream.write('{"case": "half a li')
    network.windows = 0
    found = run(model, tiny_data, tmp_path / "out", artifacts=["noise:3", "blur:3"], resume=True)
    assert found.rows == whole.rows
    assert network.windows <= 6 * each + 2
    network.windows = 0
    again = run(
        model, tiny_data, tmp_path / "out", artifacts=["noise:3", "blur:3"], resume=True, limits=["blur=1"]
    )
    assert network.windows == 0
    assert (again.rows, len(again.limits)) == (whole.rows, 1)


def test_a_battery_is_not_resumed_with_other_settings_nor_begun_over_another(
    network, model, tiny_data, tmp_path
):
    out = tmp_path / "out"
    run(model, tiny_data, out, artifacts=["noise:3"], cases=1)
    with pytest.raises(UsageError, match="begun with other seed"):
        run(model, tiny_data, out, artifacts=["noise:3"], cases=1, seed=1, resume=True)
    with pytest.raises(UsageError, match="begun with other artefacts"):
        run(model, tiny_data, out, artifacts=["noise:4"], cases=1, resume=True)
    with pytest.raises(UsageError, match="add --resume"):
        run(model, tiny_data, out, artifacts=["noise:3"], cases=1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        run(model, tiny_data, tmp_path / "full", artifacts=["noise:3"])


def test_one_bad_case_is_named_and_stops_no_other(network, model, tiny_data, tmp_path):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    whole = (data / "imagesTr" / "tiny_03.nii.gz").read_bytes()
    (data / "imagesTr" / "tiny_03.nii.gz").write_bytes(b"not a scan")
    found = run(model, data, tmp_path / "out", artifacts=["noise:3"], cases=None)
    assert [failure.id for failure in found.failures] == ["tiny_03"]
    assert found.cases == 6
    assert found.level("noise 3").count == 6
    (data / "imagesTr" / "tiny_03.nii.gz").write_bytes(whole)
    network.windows = 0
    fixed = run(model, data, tmp_path / "out", artifacts=["noise:3"], cases=None, resume=True)
    assert (fixed.cases, fixed.failures) == (7, ())
    assert 0 < network.windows <= 2 * 27


def test_where_every_case_is_bad_the_reason_is_told(network, model, tiny_data, tmp_path):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    for path in (data / "imagesTr").iterdir():
        path.write_bytes(b"not a scan")
    with pytest.raises(VesalError, match="Not one of the 3 cases could be measured; tiny_00"):
        run(model, data, tmp_path / "out", artifacts=["noise:3"])


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"artifacts": ["blurr"]}, "no artefact 'blurr'"),
        ({"severities": (0, 3)}, "whole numbers from 1 to 5"),
        ({"limits": ["motion=3"], "artifacts": ["noise:3"]}, "names what is not tested"),
        ({"cases": 0}, "at least 1"),
        ({"fold": 1}, "--fold is a run folder's"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_written(
    network, model, tiny_data, tmp_path, wanted, told
):
    with pytest.raises(UsageError, match=told):
        run(model, tiny_data, tmp_path / "out", **wanted)
    assert not (tmp_path / "out").exists()


def test_a_baseline_file_gives_the_mean_corruption_error(network, model, tiny_data, tmp_path):
    plain = run(model, tiny_data, tmp_path / "plain", artifacts=["noise:3"])
    again = run(model, tiny_data, tmp_path / "again", artifacts=["noise:3"], baseline=tmp_path / "plain")
    assert again.comparison.mce == pytest.approx(100.0)
    assert "mean corruption error 100.0 %" in again.to_text()
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(VesalError, match="does not hold a robustness benchmark"):
        run(model, tiny_data, tmp_path / "b", baseline=tmp_path / "other.json")
    assert plain.comparison is None


def test_the_verb_ends_with_1_where_a_limit_fails_and_says_so_in_a_sentence(
    network, model, tiny_data, tmp_path
):
    words = [
        "robustness",
        str(model),
        str(tiny_data),
        "--artifact",
        "noise",
        "--severity",
        "1,3",
        "--cases",
        "2",
    ]
    kept = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "a"), "--limit", "noise=99.9"])
    assert kept.exit_code == 0, kept.output
    assert "passed  noise at severity 3 costs" in kept.stdout
    failed = CliRunner().invoke(
        app, [*words, "-o", str(tmp_path / "b"), "--limit", "noise=-50", "--limit", "noise:1=99"]
    )
    assert failed.exit_code == 1
    assert re.search(
        r"vesal: 1 of 2 limits failed: noise at severity 3 costs .* above the -50 % allowed", failed.stderr
    )
    machine = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "c"), "--limit", "noise=-50", "--json"])
    assert machine.exit_code == 1
    assert json.loads(machine.stdout)["limits"][0]["passed"] is False
    assert machine.stderr == ""


# --- who is measured -------------------------------------------------------------------------------------


@pytest.fixture
def trained(tiny_data: Path, tmp_path: Path) -> Path:
    """A run of three folds, as far as the benchmark looks at one."""
    folder = tmp_path / "run"
    dataset = load_dataset(tiny_data)
    dataset.save(folder / "dataset.json")
    names = sorted(case.id for case in dataset.cases)
    Folds(seed=0, parts=(tuple(names[:2]), tuple(names[2:4]), tuple(names[4:]))).save(folder / "folds.json")
    for number in (0, 2):
        (folder / f"fold_{number}").mkdir()
        (folder / f"fold_{number}" / "model.vesal").write_bytes(b"%d" % number)
        (folder / f"fold_{number}" / "finished.json").write_text("{}")
    return folder


def shares(cohort):
    return {share.models[0].parent.name: [case.id for case in share.cases] for share in cohort.shares}


def test_of_a_run_each_held_out_case_is_measured_with_the_model_that_has_not_seen_it(trained, tiny_data):
    expected = {"fold_0": ["tiny_00", "tiny_01"], "fold_2": ["tiny_04", "tiny_05", "tiny_06"]}
    assert shares(choose_cases(trained, None)) == expected
    assert shares(choose_cases(trained, tiny_data)) == expected
    assert shares(choose_cases(trained, None, fold=2)) == {"fold_2": expected["fold_2"]}
    assert shares(choose_cases(trained / "fold_2", None)) == {"fold_2": expected["fold_2"]}
    assert shares(choose_cases(trained / "fold_0" / "model.vesal", tiny_data)) == {
        "fold_0": expected["fold_0"]
    }


def test_on_other_data_all_models_of_a_run_vote_on_all_cases(trained, tiny_data, tmp_path):
    other = shutil.copytree(tiny_data, tmp_path / "other")
    cohort = choose_cases(trained, other)
    assert [len(share.models) for share in cohort.shares] == [2]
    assert len(cohort.names) == 7
    assert len(choose_cases(trained, other, fold=0).shares[0].models) == 1


def test_what_cannot_be_chosen_is_told(trained, model, tiny_data):
    with pytest.raises(UsageError, match="lies in no run"):
        choose_cases(model, None)
    with pytest.raises(UsageError, match="no model of fold 1"):
        choose_cases(trained, None, fold=1)
    with pytest.raises(UsageError, match="has the folds 0 to 2"):
        choose_cases(trained, None, fold=7)
    (trained / "folds.json").unlink()
    with pytest.raises(DataError, match="trained on all cases"):
        choose_cases(trained, None)


def test_a_few_cases_are_spread_evenly_over_all(trained):
    assert choose_cases(trained, None).first(3).names == ["tiny_00", "tiny_04", "tiny_06"]


def test_truth_is_translated_to_the_models_labels_by_name_or_by_value():
    model = LabelSet.from_values({"core": 1, "shell": 2})
    assert translation(LabelSet.from_values({"shell": 5, "core": 9}), model)[:3].tolist() == [0, 2, 1]
    assert translation(LabelSet.from_values({"1": 1, "2": 2, "3": 3}), model)[:4].tolist() == [0, 1, 2, 0]
    with pytest.raises(DataError, match="predicts shell"):
        translation(LabelSet.from_values({"one": 1}), model)


def test_a_model_whose_scans_are_normalised_as_ct_suffers_what_a_ct_suffers(tiny_plan):
    plan = Plan.load(tiny_plan)
    assert modality(plan) == "MR"
    ct = plan.normalisation[0].model_copy(
        update={"scheme": "ct", "lower": 0.0, "upper": 1.0, "mean": 0.5, "std": 1.0}
    )
    assert modality(plan.model_copy(update={"normalisation": (ct,)})) == "CT"
