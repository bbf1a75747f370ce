"""Killed at any moment of the whole way from scans to scores: the next start finishes the work, as if nothing had been.

`pytest tests/test_faults.py --kills 50 -s` kills as often, says where, and trains two folds; the default is one or two
kills for each step of the way, and one fold. What a server does that is killed is in tests/serve and
tests/test_serve_load.py.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vesal.files import is_temporary, read_json
from vesal.run_files import CHECKPOINT, MODEL, SCORES

sys.path.insert(0, str(Path(__file__).parent))
from in_process import alone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked from one that is warm")

#: Imported once, by the process that all others are forked from.
WARM = [
    "in_process",
    "vesal.cli.app",
    "vesal.workflow.training.train",
    "vesal.workflow.predict",
    "vesal.workflow.inspect",
    "vesal.workflow.evaluate",
    "vesal.workflow.export",
    "vesal.report.pages.inspect_page",
    "vesal.report.pages.run_page",
    "torch.utils.tensorboard",
    "rich.progress",
]
#: Of the training: enough for several checkpoints and validations.
STEPS = 12
#: From so many kills on both folds are trained.
MANY = 20


@dataclass(frozen=True)
class Way:
    """The steps from scans to scores in one folder.

    Attributes:
        data: scans and labels.
        plan: a small one.
        folder: of all results.
        fold: that is trained.
    """

    data: Path
    plan: Path
    folder: Path
    fold: str

    @property
    def steps(self) -> dict[str, list[str]]:
        """Name -> arguments; each may be given again."""
        run, masks = str(self.folder / "run"), str(self.folder / "masks")
        settings = ["--set", "folds=2", "--set", "checkpoint_s=0.001", "--set", "lr=0.02"]
        return {
            "inspect": ["inspect", str(self.data), "-o", str(self.folder / "look")],
            "train": ["train", str(self.data), "-o", run, "--plan", str(self.plan), "--fold", self.fold,
                      "--device", "cpu", "--steps", str(STEPS), "--deterministic", "--resume", *settings],
            "predict": ["predict", run, str(self.data / "imagesTr"), "-o", masks, "--backend", "torch", "--resume"],
            "evaluate": ["evaluate", masks, str(self.data / "labelsTr"), "-o", str(self.folder / "scores")],
            "export": ["export", run, "--to", "slurm", "--scans", str(self.data / "imagesTr"), "--results",
                       str(self.folder / "results"), "-o", str(self.folder / "jobs")],
        }  # fmt: skip

    def forget(self, step: str) -> None:
        """Remove what a step has made."""
        names = {
            "inspect": "look",
            "train": "run",
            "predict": "masks",
            "evaluate": "scores",
            "export": "jobs",
        }
        shutil.rmtree(self.folder / names[step])

    def results(self) -> dict[str, Any]:
        """What must not depend on kills."""
        models = sorted((self.folder / "run").glob(f"fold_*/{MODEL}"))
        masks = sorted((self.folder / "masks").glob("*.nii.gz"))
        scores = read_json(self.folder / "scores" / SCORES)
        return {
            **{f"{path.parent.name}/{path.name}": path.read_bytes() for path in [*models, *masks]},
            "scores": scores["summary"],
            "jobs": {path.name for path in (self.folder / "jobs").iterdir()},
        }

    def made(self) -> dict[str, int]:
        """When what takes long was made: checkpoints and masks."""
        found = [*self.folder.rglob(CHECKPOINT), *(self.folder / "masks").glob("*.nii.gz")]
        return {str(path): path.stat().st_mtime_ns for path in found}

    def left(self) -> list[Path]:
        """What is half written."""
        return [path for path in self.folder.rglob("*") if is_temporary(path)]


class Processes:
    """Starts commands, and kills them."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(WARM)

    def start(self, arguments: Sequence[str]) -> Any:
        process = self._context.Process(target=alone, args=(list(arguments),))
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
    fold = "all" if kills >= MANY else "0"
    calm, killed = (Way(tiny_data, tiny_plan, tmp_path / name, fold) for name in ("calm", "killed"))
    generator = random.Random(kills)
    took = {name: processes.whole(arguments) for name, arguments in calm.steps.items()}
    hits = 0
    for name, arguments in killed.steps.items():
        # Most of the way is the training.
        wanted = max(1, round(kills * took[name] / sum(took.values())))
        hit = True
        for _ in range(wanted):
            if not hit:
                # It came to its end: the next kill shall not meet what has nothing left to do.
                killed.forget(name)
            seconds = generator.uniform(0.0, took[name])
            hit = processes.kill_after(arguments, seconds)
            hits += hit
            print(
                f"{name}: {'killed' if hit else 'over'} after {seconds:.1f} s, {len(killed.left())} half written"
            )
        seconds = processes.whole(arguments)
        print(f"{name}: finished in {seconds:.1f} s, alone in {took[name]:.1f} s", flush=True)
        assert not killed.left()
        if name in ("train", "predict"):
            # What is done is not done again.
            before = killed.made()
            processes.whole(arguments)
            assert killed.made() == before
    assert hits >= kills // 2
    assert killed.results() == calm.results()
