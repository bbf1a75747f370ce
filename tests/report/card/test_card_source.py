"""What is known of a model, from its file alone or with its run."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from vesal.errors import VesalError
from vesal.evaluate.robustness.degradation import ArtifactScore
from vesal.evaluate.robustness.result import Cost, conclude
from vesal.nn.model_file import Package, save_package
from vesal.report.card.card_source import Stated, read_card_source

sys.path.insert(0, str(Path(__file__).parents[1]))
from example_run import make_run


def test_a_file_gives_what_it_holds_and_a_run_more(package: Package, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    file = run / "fold_0" / "model.vesal"
    save_package(file, package)
    alone, whole = read_card_source(file), read_card_source(run)
    assert alone.run is None
    assert whole.run is not None
    assert alone.held_out == whole.held_out == 4
    assert alone.quality is not None
    assert alone.quality == whole.quality
    assert alone.robustness is None
    assert alone.name.startswith("Hearts *of* <b>ours</b>: atrium")
    assert read_card_source(file, Stated(name="Atria")).name == "Atria"


def test_robustness_of_other_weights_is_not_that_of_the_model(package: Package, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    save_package(run / "fold_0" / "model.vesal", package)
    cost = Cost(seconds=1.0, predictions=1)
    score = ArtifactScore(case="c", class_name="atrium", dice=0.8, hd95_mm=1, boundary_dice=1, clean_dice=0.8)
    for weights, there in ((package.weights_digest,), True), (("other",), False), ((), True):
        about = {"model": "run", "data": "d", "settings": {}, "cost": cost, "weights": weights}
        conclude([score], ["atrium"], about=about).save(run / "robustness" / "robustness.json")
        found = read_card_source(run)
        assert (found.robustness is not None) is there
        assert found.run is not None
        assert any("other weights" in text for text in found.run.missing) is not there


def test_licence_and_origin_of_imported_weights_are_those_of_the_file_unless_stated(
    bare: Package, tmp_path: Path
) -> None:
    given = bare.provenance | {"licence": "CC BY-NC 4.0", "origin": "Tiny University"}
    save_package(tmp_path / "a.vesal", replace(bare, provenance=given))
    stated = read_card_source(tmp_path / "a.vesal").stated
    assert (stated.licence, stated.authors) == ("CC BY-NC 4.0", ("Tiny University",))
    other = read_card_source(tmp_path / "a.vesal", Stated(licence="MIT", authors=("Us",))).stated
    assert (other.licence, other.authors) == ("MIT", ("Us",))


def test_a_folder_of_model_files_alone_is_no_run(bare: Package, tmp_path: Path) -> None:
    save_package(tmp_path / "a.vesal", bare)
    shutil.copy(tmp_path / "a.vesal", tmp_path / "b.vesal")
    found = read_card_source(tmp_path)
    assert (len(found.packages), found.run, found.scores, found.quality) == (2, None, None, None)


def test_scores_that_are_none_are_refused_in_a_sentence(package: Package, tmp_path: Path) -> None:
    save_package(tmp_path / "a.vesal", replace(package, scores={"dice": 0.8}))
    with pytest.raises(VesalError, match=r"a\.vesal is not a usable Vesal model: its scores"):
        read_card_source(tmp_path / "a.vesal")
