"""Killed at any moment of the whole way from scans to scores: the next start finishes the work, as if nothing had been.

`pytest tests/test_faults.py --kills 50` kills as often; the default is a few for each step of the way.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vesal.files import read_json
from vesal.run_files import MODEL, SCORES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked from one that is warm")

#: Imported once, by the process that all others are forked from.
WARM = [
    "vesal.cli.app",
    "vesal.workflow.training.train",
    "vesal.workflow.predict",
    "vesal.workflow.inspect",
    "vesal.workflow.evaluate",
]
#: Of the training: enough for several checkpoints and validations of two folds.
STEPS = 12


def run_vesal(arguments: Sequence[str]) -> None:
    """The command line in a process of its own."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    sys.argv = ["vesal", *arguments]
    import torch

    from vesal.cli import main

    torch.set_num_threads(1)
    main()


@dataclass(frozen=True)
class Way:
    """The steps from scans to scores in one folder.

    Attributes:
        data: scans and labels.
        plan: a small one.
        folder: of all results.
    """

    data: Path
    plan: Path
    folder: Path

    @property
    def steps(self) -> dict[str, list[str]]:
        """Name -> arguments; each may be given again."""
        run, masks = str(self.folder / "run"), str(self.folder / "masks")
        settings = ["--set", "folds=2", "--set", "checkpoint_s=0.001", "--set", "lr=0.02"]
        return {
            "inspect": ["inspect", str(self.data), "-o", str(self.folder / "look")],
            "train": ["train", str(self.data), "-o", run, "--plan", str(self.plan), "--fold", "all", "--device", "cpu",
                      "--steps", str(STEPS), "--deterministic", "--resume", *settings],
            "predict": ["predict", run, str(self.data / "imagesTr"), "-o", masks, "--backend", "torch", "--resume"],
            "evaluate": ["evaluate", masks, str(self.data / "labelsTr"), "-o", str(self.folder / "scores")],
        }  # fmt: skip

    def results(self) -> dict[str, Any]:
        """What must not depend on kills."""
        models = sorted((self.folder / "run").glob(f"fold_*/{MODEL}"))
        masks = sorted((self.folder / "masks").glob("*.nii.gz"))
        scores = read_json(self.folder / "scores" / SCORES)
        return {
            **{f"{path.parent.name}/{path.name}": path.read_bytes() for path in [*models, *masks]},
            "scores": scores["summary"],
        }


class Processes:
    """Starts commands, and kills them."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(WARM)

    def start(self, arguments: Sequence[str]) -> Any:
        process = self._context.Process(target=run_vesal, args=(list(arguments),))
        process.start()
        return process

    def whole(self, arguments: Sequence[str]) -> float:
        """Seconds of a command that nobody kills."""
        began = time.monotonic()
        process = self.start(arguments)
        process.join(300)
        assert process.exitcode == 0, arguments
        return time.monotonic() - began

    def kill_after(self, arguments: Sequence[str], seconds: float) -> bool:
        """Whether the command was still at work after so many seconds; then it is dead now."""
        process = self.start(arguments)
        process.join(seconds)
        alive = process.exitcode is None
        process.kill()
        process.join()
        return alive


def test_whatever_is_killed_the_next_start_finishes_the_same_work(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    kills = request.config.getoption("--kills")
    processes = Processes()
    calm, killed = (
        Way(tiny_data, tiny_plan, tmp_path / "calm"),
        Way(tiny_data, tiny_plan, tmp_path / "killed"),
    )
    generator = random.Random(kills)
    took = {name: processes.whole(arguments) for name, arguments in calm.steps.items()}
    hits = 0
    for name, arguments in killed.steps.items():
        # Most of the way is the training.
        wanted = max(1, round(kills * took[name] / sum(took.values())))
        for _ in range(wanted):
            hits += processes.kill_after(arguments, generator.uniform(0.0, took[name]))
        processes.whole(arguments)
        # Nothing that is done is done again.
        assert processes.whole(arguments) < max(5.0, took[name])
    assert hits >= kills // 2
    assert killed.results() == calm.results()
