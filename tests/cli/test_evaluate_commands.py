"""What the verbs about trust print."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from in_process import vesal


def test_a_card_is_made_from_the_command_line_with_what_is_stated(trained_run: Path, tmp_path: Path) -> None:
    done = vesal(
        "card", trained_run, "-o", tmp_path, "--licence", "MIT", "--author", "A", "--author", "B", "--json"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["metadata"]["license"] == "mit"
    assert "A and B" in (tmp_path / "README.md").read_text(encoding="utf-8")
    text = vesal("card", trained_run, "-o", tmp_path).stdout
    assert str(tmp_path / "card.html") in text
    assert "Not known. Robustness:" in text


def test_runs_that_are_not_there_are_named_in_a_sentence(tmp_path: Path) -> None:
    done = vesal("compare", tmp_path / "a", tmp_path / "b")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
