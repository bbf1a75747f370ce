"""Names of files that hold letters to steer a terminal or to turn the direction of writing, in whatever people read."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from in_process import vesal

NAMES = (
    "a\x1b[31mred", "b\u202etxt", "c\nline", "d\ttab", "e\x07\x9bbell", "f\u2066iso", "g\rback", "h\u2028separated",
)  # fmt: skip
#: None of them may come out as it is.
FORBIDDEN = set("\x1b\u202e\x07\x9b\u2066\r\u2028\udce9")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Scans with labels, the last of them damaged, and one whose name is no text in any encoding."""
    folder = tmp_path / "data"
    for number, name in enumerate([*NAMES, os.fsdecode(b"caf\xe9")]):
        label = np.zeros((12, 10, 8), np.uint8)
        label[2 : 6 + number % 3, 3:7, 2 : 5 + number % 2] = 1
        image = np.random.default_rng(number).normal(100, 10, label.shape).astype(np.float32) + 60 * label
        for part, array in (("images", image), ("labels", label)):
            path = folder / part / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                nib.save(nib.Nifti1Image(array, np.eye(4)), path)
            except OSError:
                pytest.skip("this file system refuses such names")
    for part in ("images", "labels"):
        (folder / part / "z\x1b[32mbad\nname.nii.gz").write_bytes(b"no scan")
    return folder


def read_by_people(folder: Path) -> dict[str, str]:
    kinds = (".html", ".md", ".csv", ".txt", ".log")
    return {path.name: path.read_bytes().decode() for path in folder.rglob("*") if path.suffix in kinds}


def test_inspect_shows_them_and_does_not_obey_them(data: Path, tmp_path: Path) -> None:
    ended = vesal("inspect", data, "-o", tmp_path / "out")
    assert ended.returncode == 1
    texts = {"console": ended.stdout + ended.stderr} | read_by_people(tmp_path / "out")
    assert "inspect.html" in texts
    for text in texts.values():
        assert not FORBIDDEN & set(text)
        for shown in (r"a\x1b[31mred", r"b\u202etxt", r"e\x07\x9bbell", r"z\x1b[32mbad\nname"):
            assert shown in text
    unreadable = [line for line in texts["console"].splitlines() if "Case z" in line]
    assert len(unreadable) == 1
    assert unreadable[0].startswith(r"ERROR: Case z\x1b[32mbad\nname: ")


def test_scores_of_them_are_a_row_a_case_and_their_json_has_the_true_names(
    data: Path, tmp_path: Path
) -> None:
    ended = vesal("evaluate", data / "labels", data / "labels", "-o", tmp_path / "out")
    texts = {"console": ended.stdout + ended.stderr} | read_by_people(tmp_path / "out")
    assert {"scores.csv", "scores.md"} <= set(texts)
    for text in texts.values():
        assert not FORBIDDEN & set(text)
    rows = texts["scores.csv"].splitlines()[1:]
    assert [row.partition(",")[0] for row in rows] == [
        r"a\x1b[31mred", r"b\u202etxt", r"c\nline", r"caf\udce9", r"d\ttab", r"e\x07\x9bbell", r"f\u2066iso",
        r"g\rback", r"h\u2028separated",
    ]  # fmt: skip
    cases = {row["case"] for row in json.loads((tmp_path / "out" / "scores.json").read_text())["cases"]}
    assert cases == {*NAMES, "caf\udce9"}
    assert ended.returncode == 1
    assert r"vesal: z\x1b[32mbad\nname: " in ended.stderr


def test_a_prediction_without_truth_is_named_in_its_line(data: Path, tmp_path: Path) -> None:
    (data / "labels" / "z\x1b[32mbad\nname.nii.gz").unlink()
    truth = tmp_path / "truth"
    truth.mkdir()
    for path in (data / "labels").iterdir():
        if path.name != "c\nline.nii.gz":
            shutil.copy(path, truth / path.name)
    lines = vesal("evaluate", data / "labels", truth).stdout.splitlines()
    assert f"Predictions without truth in {truth} were not scored: c\\nline." in lines
