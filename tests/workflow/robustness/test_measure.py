"""Every case is read once, corrupted, segmented and scored, and a bad one stops no other."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from vesal.augment.artifacts.benchmark import Corruption, benchmark
from vesal.data.case import RawCase
from vesal.data.dataset import Case
from vesal.data.labels import MEAN, LabelSet
from vesal.errors import VesalError
from vesal.evaluate.robustness.degradation import CLEAN
from vesal.infer.model import Model
from vesal.planning.plan import Normalisation, Plan
from vesal.preprocessing.prepare import Prepared, prepare
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume
from vesal.workflow.robustness import benchmark_run, measure


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
    # Not twice under 'scale', of which z-scoring leaves nothing.
    assert found.cost.predictions == len(conditions) - 2
    assert found.failures == ()


def test_what_preparation_undoes_is_not_segmented_again_and_is_said(
    run, network, model, tiny_data, tmp_path, monkeypatch
):
    def measured(name: str):
        network.windows = 0
        return run(model, tiny_data, tmp_path / name, artifacts=["scale", "noise:1"], cases=2)

    found, windows = measured("saved"), network.windows
    monkeypatch.setattr(measure, "_alike", lambda _clean, _other: False)
    whole = measured("whole")
    assert network.windows / windows == 7 / 2  # clean, five times scaled, noise
    assert found.cost.predictions == 4
    assert whole.cost.predictions == 14
    assert found.remarks[-1] == (
        "10 scans under scale had the clean scan's prediction: preparation undoes the artefact."
    )
    assert len(found.rows) == len(whole.rows)
    for one, other in zip(found.rows, whole.rows, strict=True):
        assert one.condition == other.condition
        assert one.dice == pytest.approx(other.dice, abs=1e-3)


def test_no_artefact_is_undone_where_intensities_stay_as_they_are(
    run, network, model, tiny_data, tmp_path, tiny_plan, monkeypatch
):
    plan = Plan.load(tiny_plan)
    plain = plan.model_copy(update={"normalisation": (Normalisation(scheme="none"),)})
    raw = Model(plain, (network,), torch.device("cpu"))
    monkeypatch.setattr(benchmark_run, "load_model", lambda _path, **_options: raw)
    found = run(model, tiny_data, tmp_path / "out", artifacts=["scale"], cases=1)
    assert found.cost.predictions == 6


def test_voxels_that_differ_by_one_rounding_to_16_bits_are_alike_and_by_more_are_not(tiny_plan):
    plan = Plan.load(tiny_plan)
    grid = Geometry.from_spacing((8, 8, 8), (1, 1, 1))
    values = np.random.default_rng(0).normal(5, 2, (1, 8, 8, 8)).astype(np.float32)
    clean = prepare(Volume(values, grid), plan)

    def moved(by: float) -> Prepared:
        image = clean.image.copy()
        image[0, 3, 3, 3] += by * (abs(image[0, 3, 3, 3]) + image.std())
        return replace(clean, image=image)

    assert measure._alike(clean, moved(0.9 * 2**-10))
    assert not measure._alike(clean, moved(1.1 * 2**-10))
    assert not measure._alike(None, clean)
    elsewhere = replace(clean.crop, crop_start=(1, 0, 0))
    assert not measure._alike(clean, replace(clean, crop=elsewhere))


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


def test_what_was_annotated_is_named_by_the_data_and_may_be_more_than_the_model_knows(network, tiny_plan):
    plan = Plan.load(tiny_plan)
    model = Model(plan, (network,), torch.device("cpu"))
    first, second = model.labels.names[:2]
    data = LabelSet.from_values({"other": 1, first: 2, second: 3})
    runner = measure.RobustnessRunner(model, data, ())
    grid = Geometry.from_spacing((4, 4, 4), (1, 1, 1))
    masks = np.zeros(grid.shape, np.uint8)
    case = Case(id="a", images=(), patient="a", annotated=("other", second))
    subject = measure._Subject(case, RawCase(Volume(masks[None], grid), None, ""), masks)
    assert list(runner._scores(subject, masks)) == [second]
