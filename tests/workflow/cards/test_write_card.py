"""`vesal card` writes both files, overwrites nothing that is no card of Vesal's, and names what it does not know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vesal.errors import UsageError
from vesal.nn.model_file import load_package
from vesal.workflow.cards.write_card import write_card
from vesal.workflow.requests.card_request import CardRequest


def test_the_card_of_a_trained_run(trained_run: Path) -> None:
    found = write_card(CardRequest(trained_run, author=("A. One",)))
    assert [path.parent for path in found.files] == [trained_run / "card"] * 2
    text, page = (path.read_text(encoding="utf-8") for path in found.files)
    package = load_package(trained_run / "fold_0" / "model.vesal")
    assert package.weights_digest[:16] in text
    assert "shell" in text
    assert "A. One" in text
    assert page.startswith("<!DOCTYPE html>")
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["metadata"]["library_name"] == "vesal"
    # Two cases were held out: too few for a quality model.
    assert "Quality estimate: It holds none" in found.text()
    # Once more, over its own files.
    write_card(CardRequest(trained_run))


def test_a_readme_of_somebody_else_stays(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(UsageError):
        write_card(CardRequest(trained_run / "fold_0" / "model.vesal", tmp_path))
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        write_card(CardRequest(tmp_path / "nowhere.vesal", tmp_path / "card"))


def test_a_run_has_its_card_inside_and_a_file_beside_the_reader(tmp_path: Path) -> None:
    assert CardRequest(tmp_path).folder == tmp_path / "card"
    assert CardRequest(tmp_path / "a.vesal").folder == Path("card")
