"""The robustness benchmark from the request to its files: results, resuming, baselines, limits, the verb."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from engine_work import Losing
from typer.testing import CliRunner

from vesal import parallel
from vesal.cli.app import app
from vesal.engine.in_process import InProcess
from vesal.errors import UsageError, VesalError
from vesal.evaluate.robustness.result import Robustness
from vesal.evaluate.robustness.result_text import robustness_text
from vesal.infer.model import Model
from vesal.layouts.registry import load_dataset
from vesal.planning.plan import Plan
from vesal.workflow.requests.robustness_request import RobustnessRequest
from vesal.workflow.robustness import benchmark_run, measure
from vesal.workflow.robustness.benchmark_run import robustness_run


def test_the_results_are_written_for_people_and_for_machines(run, network, model, tiny_data, tmp_path):
    out = tmp_path / "out"
    found = run(model, tiny_data, out, artifacts=["noise", "blur=1.5"], severities=(1, 3), pictures=True)
    assert Robustness.load(out) == found
    lines = list(csv.DictReader(io.StringIO((out / "robustness.csv").read_text())))
    assert len(lines) == len(found.rows)
    assert lines[0].keys() >= {"case", "artifact", "severity", "class", "dice", "hd95_mm", "boundary_dice"}
    assert re.search(r"\| noise 3 +\|", (out / "robustness.md").read_text())
    page = (out / "robustness.html").read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert page.count('class="scan') == 2
    assert "noise 3: Dice" in page
    assert "blur=1.5" in page


def test_without_a_listener_the_benchmark_tells_in_print_what_it_measures(
    network, model, tiny_data, tmp_path, capsys
):
    found = robustness_run(
        RobustnessRequest(
            model=model, data=tiny_data, out=tmp_path / "out", artifacts=("noise:3",), cases=1, pictures=False
        )
    )
    assert (found.cases, found.cost.predictions) == (1, 2)
    assert capsys.readouterr().out == "1 case, 2 conditions\n"


def test_a_stopped_benchmark_is_resumed_after_the_last_case(
    run, network, model, tiny_data, tmp_path, monkeypatch
):
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


def test_a_resumed_benchmark_measures_a_case_anew_whose_files_changed(
    run, network, model, tiny_data, tmp_path
):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    before = run(model, data, tmp_path / "out", artifacts=["noise:3"])
    path = data / "labelsTr" / f"{before.rows[0].case}.nii.gz"
    label, each = nib.load(path), network.windows // 3
    nib.save(nib.Nifti1Image(np.roll(np.asarray(label.dataobj), 2, axis=0), label.affine), path)
    network.windows = 0
    after = run(model, data, tmp_path / "out", artifacts=["noise:3"], resume=True)
    assert network.windows <= 1.5 * each
    changed = {row.case for row, old in zip(after.rows, before.rows, strict=True) if row != old}
    assert changed == {before.rows[0].case}


def test_the_result_names_the_weights_that_were_measured(
    run, network, model, tiny_data, tiny_plan, tmp_path, monkeypatch
):
    packages = (SimpleNamespace(weights_digest="a1", recipe={}),)
    known = Model(Plan.load(tiny_plan), (network,), torch.device("cpu"), packages)
    monkeypatch.setattr(benchmark_run, "load_model", lambda _path, **_options: known)
    assert run(model, tiny_data, tmp_path / "out", artifacts=["noise:3"], cases=1).weights == ("a1",)


def test_a_case_whose_files_are_gone_is_not_taken_for_changed(tiny_data, tmp_path):
    case = load_dataset(tiny_data).cases[0]
    assert benchmark_run._made_of(case) == benchmark_run._made_of(case) is not None
    assert benchmark_run._made_of(case.model_copy(update={"label": tmp_path / "gone.nii.gz"})) is None


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which two processes share the cases, whatever was imported by other tests."""
    torch.set_num_threads(2)
    monkeypatch.setattr(parallel, "cpu_count", lambda: 2)
    monkeypatch.setattr(benchmark_run, "can_fork", lambda: sys.platform == "linux")


linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


@linux
def test_two_processes_measure_what_one_measures(run, network, model, tiny_data, tmp_path, two_cores):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    (data / "imagesTr" / "tiny_03.nii.gz").write_bytes(b"not a scan")
    ticks = []

    def measured(name: str, threads: int) -> Robustness:
        torch.set_num_threads(threads)
        ticks.clear()
        wanted = RobustnessRequest(
            model=model, data=data, out=tmp_path / name, artifacts=("noise", "crop:3"), pictures=False
        )
        return robustness_run(
            wanted, lambda _title: lambda done, total: ticks.append((done, total)), lambda _: None
        )

    one = measured("one", 1)
    network.windows = 0
    two = measured("two", 2)
    assert network.windows == 0  # none was segmented in this process
    assert ticks == [(done, 7 * 7) for done in range(1, 7 * 7 + 1)]
    assert two.rows == one.rows
    assert two.failures == one.failures
    assert [failure.id for failure in two.failures] == ["tiny_03"]
    assert two.cost.predictions == one.cost.predictions == 6 * 7
    assert (one.cost.processes, two.cost.processes) == (1, 2)
    assert "in each of 2 processes" in robustness_text(two)


@linux
def test_two_processes_that_are_stopped_lose_no_finished_case(
    run, network, model, tiny_data, tmp_path, two_cores
):
    whole = run(model, tiny_data, tmp_path / "whole", artifacts=["noise:3"], cases=5)
    journal = tmp_path / "out" / "robustness.jsonl"

    def stop_after_a_case(_done: int, _total: int) -> None:
        if len(journal.read_text().splitlines()) > 1:
            raise KeyboardInterrupt

    request = RobustnessRequest(
        model=model, data=tiny_data, out=tmp_path / "out", artifacts=("noise:3",), cases=5, pictures=False
    )
    with pytest.raises(KeyboardInterrupt):
        robustness_run(request, lambda _title: stop_after_a_case, lambda _text: None)
    assert multiprocessing.active_children() == []
    done = len(journal.read_text().splitlines()) - 1
    assert 1 <= done < 5
    again = run(model, tiny_data, tmp_path / "out", artifacts=["noise:3"], cases=5, resume=True)
    assert again.rows == whole.rows


@linux
def test_a_process_that_runs_out_of_memory_ends_the_benchmark_in_a_sentence(
    network, model, tiny_data, tmp_path, two_cores, monkeypatch
):
    parent = os.getpid()

    def killed(_volume, _artifact, _seed):
        assert os.getpid() != parent
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(measure, "corrupt", killed)
    words = ["robustness", str(model), str(tiny_data), "--artifact", "noise:3", "-o", str(tmp_path / "out")]
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 1
    assert isinstance(ended.exception, VesalError)
    assert str(ended.exception) == (
        "A process at work was ended by the system (signal 9), as it is where memory runs out; end other programs and "
        "add --resume, which keeps the finished cases."
    )
    assert not (tmp_path / "out" / "robustness.json").exists()


def test_processes_are_no_more_than_cases_threads_and_memory_are_for(
    network, model, tiny_data, tmp_path, two_cores, monkeypatch
):
    def processes(cases: int, name: str) -> int:
        request = RobustnessRequest(
            model=model,
            data=tiny_data,
            out=tmp_path / name,
            artifacts=("noise:3",),
            cases=cases,
            pictures=False,
        )
        return robustness_run(request, tell=lambda _text: None).cost.processes

    assert processes(1, "one case") == 1
    monkeypatch.setattr(parallel, "available_memory", lambda: 3 << 30)
    assert processes(2, "little memory") == 1
    monkeypatch.setattr(parallel, "available_memory", lambda: 8 << 30)
    monkeypatch.setattr(benchmark_run, "can_fork", lambda: False)
    assert processes(2, "no fork") == 1


def test_a_benchmark_is_not_resumed_with_other_settings_nor_begun_over_another(
    run, network, model, tiny_data, tmp_path
):
    out = tmp_path / "out"
    run(model, tiny_data, out, artifacts=["noise:3"], cases=1)
    with pytest.raises(UsageError, match="begun with another seed"):
        run(model, tiny_data, out, artifacts=["noise:3"], cases=1, seed=1, resume=True)
    with pytest.raises(UsageError, match="begun with another artifact_list"):
        run(model, tiny_data, out, artifacts=["noise:4"], cases=1, resume=True)
    with pytest.raises(UsageError, match="add --resume"):
        run(model, tiny_data, out, artifacts=["noise:3"], cases=1)


@pytest.mark.parametrize("name", ["robustness.json", "robustness.csv", "robustness.md", "robustness.html"])
def test_a_result_of_another_hand_is_refused_before_a_scan_is_segmented(
    run, network, model, tiny_data, tmp_path, name
):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    (out / "thesis.doc").write_text("mine")  # in nobody's way
    with pytest.raises(UsageError, match=rf"Vesal did not write.*: {name}; choose another"):
        run(model, tiny_data, out, artifacts=["noise:3"], cases=1)
    assert network.windows == 0
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        name: "mine",
        "thesis.doc": "mine",
    }
    (out / name).unlink()
    run(model, tiny_data, out, artifacts=["noise:3"], cases=1)
    run(model, tiny_data, out, artifacts=["noise:3"], cases=1, resume=True, limits=["noise=100"])
    (out / name).write_text((out / name).read_text() + "by hand")
    with pytest.raises(UsageError, match=f"changed since: {name};"):
        run(model, tiny_data, out, artifacts=["noise:3"], cases=1, resume=True, limits=["noise=100"])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"artifacts": ["blurr"]}, "no artefact 'blurr'"),
        ({"severities": (0, 3)}, "whole number from 1 to 5"),
        ({"limits": ["motion=3"], "artifacts": ["noise:3"]}, "names what is not tested"),
        ({"cases": 0}, "at least 1"),
        ({"fold": 1}, "--fold is a run folder's"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_written(
    run, network, model, tiny_data, tmp_path, wanted, message
):
    with pytest.raises(UsageError, match=message):
        run(model, tiny_data, tmp_path / "out", **wanted)
    assert not (tmp_path / "out").exists()


def test_the_network_computes_where_by_what_and_in_what_precision_it_was_asked_to(
    network, model, tiny_data, tmp_path, monkeypatch
):
    asked, load = [], benchmark_run.load_model
    monkeypatch.setattr(
        benchmark_run, "load_model", lambda path, **options: asked.append(options) or load(path, **options)
    )
    words = ["robustness", str(model), str(tiny_data), "--artifact", "noise:3", "--cases", "1"]
    options = ["--device", "cpu", "--backend", "torch", "--precision", "32", "-o", str(tmp_path / "out")]
    ended = CliRunner().invoke(app, [*words, *options])
    assert ended.exit_code == 0, ended.output
    assert asked == [{"device": "cpu", "backend": "torch", "precision": "32"}]


def test_a_baseline_file_gives_the_mean_corruption_error(run, network, model, tiny_data, tmp_path):
    plain = run(model, tiny_data, tmp_path / "plain", artifacts=["noise:3"])
    again = run(model, tiny_data, tmp_path / "again", artifacts=["noise:3"], baseline=tmp_path / "plain")
    assert again.comparison.mce == pytest.approx(100.0)
    assert "mean corruption error 100.0 %" in robustness_text(again)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(VesalError, match="does not hold a robustness benchmark"):
        run(model, tiny_data, tmp_path / "b", baseline=tmp_path / "other.json")
    assert plain.comparison is None


def test_the_verb_ends_with_1_where_a_limit_fails_and_says_so_in_a_sentence(
    run, network, model, tiny_data, tmp_path
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


def test_an_engine_measures_what_one_process_measures_and_sets_aside_what_kills(
    run, network, model, tiny_data, tmp_path
):
    whole = run(model, tiny_data, tmp_path / "whole", artifacts=["noise:3"], cases=4)

    ticks = []

    def by(engine: InProcess, **more) -> Robustness:
        ticks.clear()
        request = RobustnessRequest(
            model=model,
            data=tiny_data,
            out=tmp_path / "out",
            artifacts=("noise:3",),
            cases=4,
            pictures=False,
            **more,
        )
        return robustness_run(
            request, lambda _title: lambda *at: ticks.append(at), lambda _text: None, engine=engine
        )

    found = by(Losing(lost=(0,)))
    (failure,) = found.failures
    assert failure.message == "its worker died 2 times (signal 9)."
    assert {row.case for row in found.rows} == {row.case for row in whole.rows} - {failure.id}
    assert ticks == [(done, 8) for done in range(1, 9)]
    again = by(InProcess(), resume=True)
    # The case that was set aside is measured, and no other.
    assert ticks == [(1, 2), (2, 2)]
    assert (again.rows, again.failures) == (whole.rows, ())


def test_workers_that_load_a_model_by_themselves_measure_the_same(trained_run, tmp_path):
    words = ["robustness", str(trained_run), "--artifact", "noise:3", "--cases", "2"]
    words += ["--backend", "torch", "--device", "cpu"]
    for name, options in (("alone", []), ("engine", ["--engine", "local", "--workers", "2"])):
        done = CliRunner().invoke(app, [*words, "-o", str(tmp_path / name), *options])
        assert done.exit_code == 0, done.output
    alone, engine = (Robustness.load(tmp_path / name) for name in ("alone", "engine"))
    assert engine.rows == alone.rows
    assert engine.cost.predictions == alone.cost.predictions
