"""Training by several processes: the same losses as by one, whoever goes on, and one end for all of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import team_work
import torch

from vesal import cpus
from vesal.cpus import cpu_count
from vesal.engine.memory import memory_of
from vesal.errors import UsageError, VesalError
from vesal.layouts.registry import load_dataset
from vesal.nn.model_file import load_package
from vesal.parallel import no_progress
from vesal.run.folder import Run
from vesal.run_files import CHECKPOINT, FINGERPRINT, METRICS, MODEL
from vesal.train.distributed import ALONE, Team
from vesal.train.recipe import TrainConfig
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training import train
from vesal.workflow.training.devices import train_on_devices
from vesal.workflow.training.train import train_run
from vesal.workflow.training.training_session import Session

STEPS = 16
#: No augmentation: a batch of four draws other numbers for it than two of two.
SETTINGS = {"steps": STEPS, "lr": 0.01, "fold": 0, "augment.enabled": False, "precision": "32"}


def request(data: Path, plan: Path, out: Path, **options: Any) -> TrainRequest:
    overrides = SETTINGS | options.pop("overrides", {})
    made = TrainRequest(data=data, out=out, overrides=overrides, plan_file=plan, device="cpu", quiet=True)
    return replace(made, **options)


def losses(run: Path) -> dict[int, float]:
    """Step -> the mean loss since the row before."""
    lines = (run / "fold_0" / METRICS).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return {row["step"]: row["train_loss"] for row in rows if "train_loss" in row}


def weights(run: Path) -> dict[str, Any]:
    return dict(load_package(run / "fold_0" / MODEL).weights)


def silent(_text: str) -> None:
    """No messages."""


@pytest.fixture(scope="module")
def alone(tiny_data: Path, tiny_plan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process, whose steps go through two batches."""
    out = tmp_path_factory.mktemp("alone") / "run"
    train_run(request(tiny_data, tiny_plan, out, overrides={"accumulation": 2}), tell=silent)
    return out


def test_two_processes_learn_what_one_does_with_two_batches_a_step(
    alone: Path, tiny_data: Path, tiny_plan: Path, tmp_path: Path
) -> None:
    heard: list[str] = []
    result = train_run(request(tiny_data, tiny_plan, tmp_path / "run", devices=2), tell=heard.append)
    assert result.scores is not None
    assert "2 devices train together: a step goes through 2 batches, 1 on each." in heard
    assert losses(tmp_path / "run") == pytest.approx(losses(alone), abs=1e-4)
    theirs = weights(alone)
    apart = [float((of - theirs[name]).abs().max()) for name, of in weights(tmp_path / "run").items()]
    assert max(apart) < 1e-3
    assert (tmp_path / "run" / FINGERPRINT).read_bytes() == (alone / FINGERPRINT).read_bytes()


def test_two_processes_learn_what_one_does_with_a_batch_of_twice_the_size(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path
) -> None:
    # Of a loss that is a mean over patches; a Dice of the counts of a batch is of each process' own. And by SGD: Muon
    # makes directions without a gradient, which rounding alone decides, as long as all others.
    plain = {"optimizer": "sgd", "loss_options.batch_dice": False}
    train_run(request(tiny_data, tiny_plan, tmp_path / "two", devices=2, overrides=plain), tell=silent)
    plan = json.loads(tiny_plan.read_text())
    doubled = tmp_path / "plan.json"
    doubled.write_text(json.dumps(plan | {"batch": 2 * plan["batch"]}))
    train_run(request(tiny_data, doubled, tmp_path / "one", overrides=plain), tell=silent)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def command(data: Path, plan: Path, out: Path, *options: str, steps: int = STEPS) -> list[str]:
    settings = {**SETTINGS, "steps": steps, "checkpoint_s": 0.001}
    sets = [part for name, value in settings.items() if name not in ("steps", "fold")
            for part in ("--set", f"{name}={str(value).lower()}")]  # fmt: skip
    begin = ["train", str(data), "-o", str(out), "--plan", str(plan), "--device", "cpu", "--resume"]
    return ["-m", "vesal", *begin, "--steps", str(steps), "--fold", "0", *sets, *options]


def step_of(run: Path) -> int:
    """The newest step in the log."""
    file = run / "fold_0" / METRICS
    return max(losses(run), default=0) if file.exists() and file.read_text().endswith("\n") else 0


def test_a_stopped_run_goes_on_with_another_number_of_processes(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path
) -> None:
    whole, parts, steps = tmp_path / "whole", tmp_path / "parts", 50
    train_run(
        request(tiny_data, tiny_plan, whole, overrides={"accumulation": 2, "steps": steps}), tell=silent
    )
    options = [sys.executable, *command(tiny_data, tiny_plan, parts, steps=steps)]
    for devices in ("2", "1"):
        begun = step_of(parts)
        with subprocess.Popen([*options, "--devices", devices], stderr=subprocess.PIPE) as process:
            until(lambda begun=begun, process=process: step_of(parts) > begun or process.poll() is not None)
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            printed = process.stderr.read().decode()
        assert "Stopped after step" in printed, printed
        assert (parts / "fold_0" / CHECKPOINT).exists()
    subprocess.run([*options, "--devices", "2"], check=True, capture_output=True)
    found, expected = losses(parts), losses(whole)
    assert max(found) == steps
    early = [step for step in expected if step <= 30]
    assert [found[step] for step in early] == pytest.approx([expected[step] for step in early], abs=1e-3)


def test_torchrun_starts_them_too(tiny_data: Path, tiny_plan: Path, alone: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(
        torchrun + command(tiny_data, tiny_plan, tmp_path / "run"),
        check=True,
        env=environment,
        capture_output=True,
    )
    assert losses(tmp_path / "run") == pytest.approx(losses(alone), abs=1e-4)


def test_a_process_that_is_killed_ends_them_all_and_the_rest_is_done_by_a_resume(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    options = command(tiny_data, tiny_plan, out, "--devices", "2", steps=30)
    with subprocess.Popen([sys.executable, *options], stderr=subprocess.PIPE) as process:
        until(lambda: step_of(out) > 2)
        # Of the process that they are forked from.
        children = [grandchild for child in children_of(process.pid) for grandchild in children_of(child)]
        os.kill(children[-1], signal.SIGKILL)
        assert process.stderr is not None
        printed = process.stderr.read().decode()
    assert process.returncode == 1
    assert "was ended by the system (signal 9)" in printed
    assert "Traceback" not in printed
    until(lambda: not any(memory_of(child) for child in children))
    subprocess.run([sys.executable, *options], check=True, capture_output=True)
    assert max(losses(out)) == 30


def ask(**options: Any) -> TrainRequest:
    return TrainRequest(data=Path("data"), out=Path("out"), device="cpu", **{"devices": 2, **options})


def test_what_processes_exchange() -> None:
    heard: list[Any] = []

    def stage(title: str) -> Callable[[int, int], None]:
        return lambda done, total: heard.append((title, done, total))

    found = train_on_devices(team_work.adds_up, ask(), stage, heard.append)
    assert heard == ["rank 0", ("Working", 1, 2)]
    assert found == [
        5.0, [[1.0, 1.0]], [[3.0, 3.0]], None, (10.0, True), [0, 1], "first", ["a", "c", "e"], (0,)
    ]  # fmt: skip


def children_of(pid: int) -> list[int]:
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]


@pytest.mark.parametrize(
    ("work", "kind", "words"),
    [
        (
            team_work.fails,
            RuntimeError,
            r"(?s)Process 1 of the training failed.*team_work\.py.*nobody foresaw",
        ),
        (team_work.refuses, UsageError, r"There is no fold 7\."),
        (team_work.dies, VesalError, r"Process 1 of 2 of the training was ended by the system \(signal 9\)"),
    ],
)
def test_the_failure_of_one_is_that_of_all_in_its_own_words(
    work: Any, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        train_on_devices(work, ask(), lambda _title: None, silent)


def test_devices_are_not_numbered_twice() -> None:
    with pytest.raises(UsageError, match="leave the number out of --device cuda:1"):
        train_on_devices(team_work.fails, replace(ask(), device="cuda:1"), lambda _title: None, silent)


def test_the_first_process_reads_and_prepares_with_the_processors_of_those_that_wait(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def read(*_: Any) -> None:
        found.append(cpu_count())
        raise UsageError("read")

    monkeypatch.setattr(cpus, "_share", None)
    monkeypatch.setattr(train, "read_fingerprint", read)
    everything = cpu_count()
    for team in (ALONE, Team(0, 2, 0)):
        session = Session(
            TrainRequest(data=tiny_data, out=tmp_path),
            Run(tmp_path),
            TrainConfig(steps=1),
            torch.device("cpu"),
            no_progress,
            silent,
            team=team,
        )
        # As each process of --devices does when it begins.
        with cpus.kept_to(1), pytest.raises(UsageError, match="read"):
            train._set_up(session, load_dataset(tiny_data, "auto"))
    assert found == [1, everything]
