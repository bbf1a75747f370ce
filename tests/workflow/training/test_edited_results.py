"""What was changed by hand in a run folder is not written over by report, evaluate and a training that goes on."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from in_process import vesal


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained_run, tmp_path / "run", copy_function=shutil.copyfile))


def contents(run: Path) -> dict[Path, bytes]:
    """All files but logs and locks."""
    return {
        path: path.read_bytes() for path in run.rglob("*") if path.is_file() and ".locks" not in path.parts
    }


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("report", "report.html"),
        ("report", "summary.json"),
        ("report", "fold_0/history.csv"),
        ("report", "fold_0/training_curves.png"),
        ("evaluate", "scores.json"),
        ("evaluate", "scores.csv"),
        ("train", "report.html"),
        ("train", "fold_0/predictions/{}"),
    ],
)
def test_what_was_changed_by_hand_is_refused_before_the_first_write(
    run: Path, tiny_data: Path, verb: str, name: str
) -> None:
    words = ("train", tiny_data, "-o", run, "--resume") if verb == "train" else (verb, run)
    if "{}" in name:
        name = name.format(next(iter((run / "fold_0" / "predictions").glob("*.nii.gz"))).name)
    mine = run / name
    ours = mine.read_bytes()
    other = next(iter((tiny_data / "labelsTr").glob("*.nii.gz"))).read_bytes()
    mine.write_bytes(other if name.endswith(".gz") else ours + b"\n")
    before = contents(run)
    done = vesal(*words)
    assert done.returncode == 2
    short = mine.name if "predictions" in name else name
    assert f"changed since: {short}; choose another output folder, or move or delete" in done.stderr
    assert contents(run) == before
    if verb == "evaluate":
        mine.write_bytes(ours)
        assert vesal(*words).returncode == 0


def test_what_nobody_changed_is_written_again_and_what_lies_beside_stays(run: Path) -> None:
    (run / "surfaces").mkdir(exist_ok=True)
    for name in ("notes.md", "surfaces/mine.glb", "fold_0/notes.txt"):
        (run / name).write_text("mine")
    for tolerance_mm in (1, 2):
        assert vesal("evaluate", run, "--tolerance-mm", tolerance_mm).returncode == 0
    assert vesal("report", run, "--npy").returncode == 0
    for name in ("notes.md", "surfaces/mine.glb", "fold_0/notes.txt"):
        assert (run / name).read_text() == "mine"


def test_notes_in_the_configuration_are_kept_where_no_setting_changes(run: Path, tiny_data: Path) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text() + "# as in the paper\n")
    assert vesal("train", tiny_data, "-o", run, "--resume").returncode == 0
    assert config.read_text().endswith("# as in the paper\n")
    assert vesal("train", tiny_data, "-o", run, "--resume", "--steps", "121").returncode == 0
    assert "steps: 121" in config.read_text()
