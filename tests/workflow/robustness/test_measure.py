"""Every case is read once, corrupted, segmented and scored, and a bad one stops no other."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from vesal.augment.artifacts.benchmark import Corruption, benchmark
from vesal.errors import VesalError
from vesal.evaluate.robustness.degradation import CLEAN, MEAN
from vesal.workflow.robustness import measure


def test_every_artefact_is_measured_at_every_severity_and_stronger_noise_costs_more(
    run, network, model, tiny_data, tmp_path
):
    found = run(model, tiny_data, tmp_path / "out", cases=1, severities=(1, 5))
    conditions = list(dict.fromkeys(row.condition for row in found.rows))
    assert conditions == [CLEAN, *(artifact.title for artifact in benchmark("MR", (1, 5)))]
    assert len(found.rows) == 2 * len(conditions)
    dice = {one.condition: one.dice.mean for one in found.conditions if one.class_name == MEAN}
    assert dice[CLEAN] > 0.9
    assert dice["noise 5"] < dice["noise 1"]
    assert found.headline.severity == 1
    assert found.cost.predictions == len(conditions)
    assert found.failures == ()


def test_a_flip_is_undone_before_the_score(run, network, model, tiny_data, tmp_path):
    """The network looks at single voxels: a scan turned over costs it nothing."""
    found = run(model, tiny_data, tmp_path / "out", artifacts=["flip"])
    for row in found.rows:
        assert row.dice == pytest.approx(row.clean_dice, abs=1e-3)


def test_what_a_cropped_scan_does_not_show_is_judged_in_neither(
    run, network, model, tiny_data, tmp_path, monkeypatch
):
    def hide_half(volume, _artifact, _seed):
        hidden = np.zeros(volume.geometry.shape, dtype=bool)
        hidden[:, : hidden.shape[1] // 2] = True
        return Corruption(volume, hidden)

    monkeypatch.setattr(measure, "corrupt", hide_half)
    network.centres[1] = 1.2  # some of the background is taken for the shell
    found = run(model, tiny_data, tmp_path / "out", artifacts=["crop:5"], cases=1)
    clean = {row.class_name: row.dice for row in found.rows if row.condition == CLEAN}
    for row in (row for row in found.rows if row.condition == "crop 5"):
        assert row.dice == row.clean_dice
    assert found.rows[2].class_name == "shell"
    assert found.rows[2].clean_dice != clean["shell"]


def test_the_same_seed_gives_the_same_rows_and_another_one_others(run, network, model, tiny_data, tmp_path):
    first, again, other = (
        run(model, tiny_data, tmp_path / name, artifacts=["noise:3"], seed=seed).rows
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again != other


def test_one_bad_case_is_named_and_stops_no_other(run, network, model, tiny_data, tmp_path):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    whole = (data / "imagesTr" / "tiny_03.nii.gz").read_bytes()
    (data / "imagesTr" / "tiny_03.nii.gz").write_bytes(b"not a scan")
    found = run(model, data, tmp_path / "out", artifacts=["noise:3"], cases=None)
    assert [failure.id for failure in found.failures] == ["tiny_03"]
    assert found.cases == 6
    (noisy,) = (one for one in found.conditions if (one.condition, one.class_name) == ("noise 3", MEAN))
    assert noisy.count == 6
    (data / "imagesTr" / "tiny_03.nii.gz").write_bytes(whole)
    network.windows = 0
    fixed = run(model, data, tmp_path / "out", artifacts=["noise:3"], cases=None, resume=True)
    assert (fixed.cases, fixed.failures) == (7, ())
    assert 0 < network.windows <= 2 * 27


def test_where_every_case_is_bad_the_reason_is_named(run, network, model, tiny_data, tmp_path):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    for path in (data / "imagesTr").iterdir():
        path.write_bytes(b"not a scan")
    with pytest.raises(VesalError, match="Not one of the 3 cases could be measured; tiny_00"):
        run(model, data, tmp_path / "out", artifacts=["noise:3"])
