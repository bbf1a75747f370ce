"""The model that a fine-tuning begins with, and what its run says of the scans that it has seen."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from vesal.data.fingerprint import Fingerprint
from vesal.errors import UsageError
from vesal.nn.adapted_weights import AdaptedWeights, described
from vesal.nn.model_file import save_package
from vesal.run.folder import Run
from vesal.workflow.finetuning.source_model import source_model


def test_a_model_in_its_run_knows_what_it_learned_from(trained_run: Path) -> None:
    found = source_model(trained_run)
    folds = Run(trained_run).folds()
    assert folds is not None
    assert found.fold == "0"
    assert found.trained_on() == set(folds.train(0))
    assert found.prepared == trained_run / "prepared"
    assert found.planned == source_model(trained_run / "fold_0" / "model.vesal").planned
    # The last two scans are one, whose voxels have one digest.
    assert 0 < len(found.seen_images()) <= len(folds.train(0))
    assert found.knows_scans


def test_a_model_that_was_fine_tuned_itself_has_seen_what_its_first_model_saw(
    trained_run: Path, tmp_path: Path
) -> None:
    first = source_model(trained_run)
    folds = Run(trained_run).folds()
    assert folds is not None
    second = tmp_path / "run"
    (second / "fold_1").mkdir(parents=True)
    for name in ("dataset.json", "folds.json", "fingerprint.json"):
        shutil.copy(trained_run / name, second)
    package = replace(first.package, provenance={"finetuned_from": {}})
    save_package(second / "fold_1" / "model.vesal", package)
    adapted = AdaptedWeights({}, (), {}, {}, (), 1.0)
    record = described(first.package, str(first.file), adapted)
    record.save(second / "fold_1" / "finetuning.json")

    found = source_model(second)
    images = {case.id: case.image_digest for case in Fingerprint.load(second / "fingerprint.json").cases}
    both = {*folds.train(0), *folds.train(1)}
    assert found.trained_on() == set(folds.train(1))
    assert found.seen_images() == {images[name] for name in both} > {images[name] for name in folds.train(1)}
    assert found.knows_scans
    # Another model lies in its place now.
    record.model_copy(update={"weights_digest": "0" * 64}).save(second / "fold_1" / "finetuning.json")
    assert not found.knows_scans
    assert found.seen_images() == {images[name] for name in folds.train(1)}


def test_a_model_elsewhere_knows_nothing_of_that(trained_run: Path, tmp_path: Path) -> None:
    shutil.copy(trained_run / "fold_0" / "model.vesal", tmp_path / "heart.vesal")
    found = source_model(tmp_path / "heart.vesal")
    assert (found.run, found.trained_on(), found.seen_images(), found.prepared) == (None, None, set(), None)
    assert not found.knows_scans
    assert found.planned == found.package.plan


def test_one_of_several_models_is_to_be_named(trained_run: Path, tmp_path: Path) -> None:
    for fold in ("fold_0", "fold_1"):
        (tmp_path / fold).mkdir()
        shutil.copy(trained_run / "fold_0" / "model.vesal", tmp_path / fold)
    with pytest.raises(UsageError, match=r"holds 2 models; name the one to begin with, such as .*fold_0"):
        source_model(tmp_path)
