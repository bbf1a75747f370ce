"""A disk that is full, read-only or gone while a verb is at work: one sentence, nothing half written, and the next
start finishes the work.

The disks are small tmpfs mounts. Where nothing may be mounted, the tests run in a user namespace of their own; where
there is none, they are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from vesal.evaluate.score_folders import score_folders
from vesal.nn.model_file import load_package
from vesal.run_files import CHECKPOINT, FINISHED

sys.path.insert(0, str(Path(__file__).parent))
from in_process import vesal

#: Set where these tests run in a namespace.
WITHIN = "VESAL_DISKS_WITHIN"


def command(*words: object) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(words, 127, "", str(error))


@dataclass(frozen=True)
class Disk:
    """A file system.

    Attributes:
        place: where it is used.
        stays: where it lies; there it is mounted all the time.
    """

    place: Path
    stays: Path

    def mounted(self) -> str:
        """Why it cannot be; '' where it is."""
        for folder in (self.place, self.stays):
            folder.mkdir()
        done = command("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", self.stays)
        if not done.returncode:
            self.bring_back()
        return done.stderr

    def leave(self, kib: int) -> None:
        """Make it so small that so much is free."""
        state = os.statvfs(self.stays)
        used = (state.f_blocks - state.f_bfree) * state.f_frsize // 1024
        # 0 would be without limit.
        self._remount(f"size={max(4, used + kib)}k")

    def be_written(self, may: bool) -> None:
        self._remount("rw" if may else "ro")

    def go(self) -> None:
        subprocess.run(["umount", "-l", str(self.place)], check=True)

    def bring_back(self) -> None:
        subprocess.run(["mount", "--bind", str(self.stays), str(self.place)], check=True)

    def end(self) -> None:
        for folder in (self.place, self.stays):
            command("umount", "-l", folder)

    def _remount(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.stays)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk", tmp_path / "stays")
    if why := made.mounted():
        pytest.skip(f"nothing can be mounted here: {why.strip()}")
    yield made
    made.end()


@pytest.mark.skipif(WITHIN in os.environ, reason="these are the tests that run in it")
def test_where_nothing_may_be_mounted_a_namespace_holds_the_disks(tmp_path: Path) -> None:
    trial = Disk(tmp_path / "disk", tmp_path / "stays")
    if not trial.mounted():
        trial.end()
        pytest.skip("disks can be mounted here: all tests of this file run")
    if why := command("unshare", "-rm", "true").stderr:
        pytest.skip(f"there is no namespace to be had here: {why.strip()}")
    words = ["unshare", "-rm", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, WITHIN: "1"})
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Work:
    """Verbs on the synthetic scans, with their results below one folder."""

    data: Path
    plan: Path
    model: Path
    out: Path

    def words(self, verb: str) -> list[object]:
        run, scans, truth = self.out / "run", self.data / "imagesTr", self.data / "labelsTr"
        settings = ["--set", "checkpoint_s=0.001", "--set", "folds=2"]
        return {
            "inspect": ["inspect", self.data, "-o", self.out / "look"],
            "train": ["train", self.data, "-o", run, "--plan", self.plan, "--fold", "0", "--device", "cpu", "--steps",
                      "3", "--resume", *settings],
            "predict": ["predict", self.model, scans, "-o", self.out / "masks", "--backend", "torch", "--resume"],
            "evaluate": ["evaluate", truth, truth, "-o", self.out / "scores"],
            "export": ["export", self.model, "--to", "slurm", "--scans", scans, "--results", self.out / "results", "-o",
                       self.out / "jobs"],
        }[verb]  # fmt: skip

    def does(self, verb: str) -> subprocess.CompletedProcess[str]:
        return vesal(*self.words(verb))


VERBS = ["inspect", "predict", "evaluate", "export"]


@pytest.fixture
def work(disk: Disk, tiny_data: Path, tiny_plan: Path, trained_run: Path) -> Work:
    return Work(tiny_data, tiny_plan, trained_run / "fold_0" / "model.vesal", disk.place)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The verb ended with one sentence that holds these words."""
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("vesal: ")]
    for word in words:
        assert word in sentence, sentence


def whole(folder: Path) -> None:
    """Every file there can be read to its end, and none is half written."""
    readers: dict[str, Callable[[Path], object]] = {
        ".json": lambda path: json.loads(path.read_text()),
        ".gz": lambda path: nib.load(path).get_fdata(),
        ".npy": np.load,
        ".vesal": load_package,
        ".ckpt": lambda path: zipfile.ZipFile(path).testzip(),
        ".html": lambda path: path.read_text().rindex("</html>"),
        ".csv": lambda path: path.read_text().rindex("\n"),
    }
    for path in folder.rglob("*"):
        assert not path.name.startswith(".writing-"), path
        if path.is_file() and path.suffix in readers:
            readers[path.suffix](path)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.nii.gz")}


def at_the_writing_of(name: str, number: int, do: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    """Call `do` when a file of that ending was written for the number-th time."""
    replace, seen = os.replace, []

    def then(source: object, target: object) -> None:
        replace(source, target)  # type: ignore[arg-type]
        if str(target).endswith(name):
            seen.append(target)
            if len(seen) == number:
                do()

    patch.setattr(os, "replace", then)


@pytest.mark.parametrize("verb", VERBS)
def test_a_full_disk_is_a_sentence_and_with_space_the_work_is_finished(
    verb: str, disk: Disk, work: Work, tmp_path: Path
) -> None:
    for room in (0, 12):
        disk.leave(room)
        done = work.does(verb)
        if room == 0 or done.returncode:
            refused(done, str(disk.place), "No space left on device", "free some space")
        whole(disk.place)
    disk.leave(1 << 14)
    done = work.does(verb)
    assert done.returncode == 0, done.stderr
    whole(disk.place)


def test_a_training_on_a_full_disk_goes_on_from_wherever_it_was(disk: Disk, work: Work) -> None:
    failed = 0
    for room in (0, 130, 300):
        disk.leave(room)
        done = work.does("train")
        if done.returncode:
            failed += 1
            assert "No space left on device" in done.stderr + done.stdout
            assert "free some space" in done.stderr + done.stdout
            assert "Traceback" not in done.stderr
        whole(disk.place)
    assert failed >= 2
    disk.leave(1 << 15)
    done = work.does("train")
    assert done.returncode == 0, done.stderr
    whole(disk.place)
    assert (work.out / "run" / "fold_0" / FINISHED).exists()


@pytest.mark.parametrize("verb", VERBS)
def test_a_read_only_disk_is_refused_before_the_work(verb: str, disk: Disk, work: Work) -> None:
    disk.be_written(False)
    refused(work.does(verb), str(disk.place), "cannot be written", "choose another output folder")


def test_a_disk_that_is_read_only_from_now_on_keeps_what_is_done(
    disk: Disk, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        at_the_writing_of(".nii.gz", 2, lambda: disk.be_written(False), patch)
        refused(
            work.does("predict"), str(disk.place), "Read-only file system", "choose another output folder"
        )
    disk.be_written(True)
    whole(disk.place)
    kept = contents(disk.place)
    assert len(kept) == 2
    done = work.does("predict")
    assert "7 of 7 scans" in done.stdout
    assert kept.items() <= contents(disk.place).items()


@pytest.mark.parametrize("verb", ["predict", "evaluate", "train"])
def test_a_disk_that_went_away_is_missed_and_nothing_is_written_in_its_place(
    verb: str, disk: Disk, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        if verb == "evaluate":
            before_the_first_is_written(disk.go, patch)
        else:
            at_the_writing_of({"predict": ".nii.gz", "train": CHECKPOINT}[verb], 2, disk.go, patch)
        refused(work.does(verb), str(disk.place), "removed, replaced or unmounted", "bring it back")
    assert not list(disk.place.rglob("*"))
    disk.bring_back()
    whole(disk.place)
    kept = contents(disk.place / "masks")
    done = work.does(verb)
    assert done.returncode == 0, done.stderr
    assert kept.items() <= contents(disk.place).items()


def before_the_first_is_written(do: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    """Call `do` when all scores are computed."""

    def then(*given: Any, **more: Any) -> object:
        found = score_folders(*given, **more)
        do()
        return found

    patch.setattr("vesal.workflow.evaluate.score_folders", then)


def test_scans_that_went_away_are_named_and_the_rest_is_predicted_once_they_are_back(
    disk: Disk, work: Work, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("cp", "-r", tiny_data / "imagesTr", disk.place / "scans")
    words = [
        "predict",
        work.model,
        disk.place / "scans",
        "-o",
        tmp_path / "masks",
        "--backend",
        "torch",
        "--resume",
    ]
    with monkeypatch.context() as patch:
        at_the_writing_of(".nii.gz", 2, disk.go, patch)
        done = vesal(*words)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    failed = [line for line in done.stderr.splitlines() if line.startswith("vesal: ")]
    kept = contents(tmp_path / "masks")
    assert len(failed) + len(kept) == 7
    assert len(failed) >= 3  # two were read ahead
    assert all(str(disk.place / "scans") in line for line in failed)
    disk.bring_back()
    done = vesal(*words)
    assert done.returncode == 0, done.stderr
    assert f"({len(kept)} kept, {len(failed)} new)" in done.stdout
