"""A run's post-processing: chosen on its held-out predictions, shipped in them and in its model files."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from vesal.data.dataset import Case, Dataset
from vesal.data.folds import Folds
from vesal.data.labels import LabelSet
from vesal.errors import VesalError
from vesal.files import write_json
from vesal.infer.postprocess import Postprocess
from vesal.infer.predictor import load_model
from vesal.nn.model_file import Package, load_package, save_package
from vesal.nn.zoo import build_network
from vesal.planning.plan import Plan
from vesal.report.pages.postprocess_section import postprocess_section
from vesal.report.pages.run_page import write_run_report
from vesal.run.folder import Run
from vesal.run.held_out import HeldOut
from vesal.run_files import FINISHED, OUTPUTS, RAW_PREDICTIONS
from vesal.volume.geometry import Geometry
from vesal.volume.io import write_label
from vesal.volume.volume import LabelMap
from vesal.workflow.choose_postprocess import _read, choose_postprocess
from vesal.workflow.evaluate import score_run

LABELS = LabelSet.from_values({"shell": 1, "core": 7})
AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.astype(np.uint8), AFFINE), path)


def maps(number: int, island: bool) -> tuple[np.ndarray, np.ndarray]:
    """(truth, prediction): a box with a core; the prediction is off by a voxel here and there."""
    truth = np.zeros((20, 18, 12), dtype=np.uint8)
    truth[5 : 14 + number % 3, 5:14, 3:10] = 1
    truth[7:12, 7:12, 5:8] = 7
    prediction = np.roll(truth, number % 2, axis=1)
    if island:
        prediction[0:3, 0:2, 0:3] = 7
    return truth, prediction


def make_run(folder: Path, plan_file: Path, cases: int, islands: int) -> Run:
    """A finished run of two folds; every other case is held out by the first."""
    run = Run(folder / "run")
    names = [f"case_{number:02}" for number in range(cases)]
    described = []
    for number, name in enumerate(names):
        truth, prediction = maps(number, number < islands)
        write(folder / "data" / f"{name}_label.nii.gz", truth)
        write(folder / "data" / f"{name}.nii.gz", truth)
        write(run.fold(number % 2) / "predictions" / f"{name}.nii.gz", prediction)
        described.append(
            Case(
                id=name,
                images=(folder / "data" / f"{name}.nii.gz",),
                label=folder / "data" / f"{name}_label.nii.gz",
                patient=name,
            )
        )
    Dataset(
        name="planted",
        root=folder / "data",
        layout="manifest",
        channels=("MRI",),
        labels=LABELS,
        cases=tuple(described),
    ).save(run.dataset_file)
    Folds(seed=0, parts=(tuple(names[::2]), tuple(names[1::2]))).save(run.folds_file)
    plan = Plan.load(plan_file)
    for fold in (0, 1):
        weights = build_network("unet", plan).state_dict()
        save_package(run.fold(fold) / "model.vesal", Package(plan, "unet", {}, {}, weights))
        write_json(run.fold(fold) / FINISHED, {"step": 1})
    return run


def label_maps(run: Run, folder: str = "predictions") -> dict[str, np.ndarray]:
    return {
        path.name: np.asarray(nib.load(path).dataobj)
        for path in sorted(run.folder.glob(f"fold_*/{folder}/*.nii.gz"))
    }


def test_the_steps_are_chosen_and_shipped_in_predictions_and_in_every_model_file(
    tmp_path: Path, tiny_plan: Path
) -> None:
    run = make_run(tmp_path, tiny_plan, cases=16, islands=8)
    own = label_maps(run)
    before = score_run(run).of("dice").mean
    choice = choose_postprocess(run)
    assert choice.steps
    for fold in (0, 1):
        stored = load_package(run.fold(fold) / "model.vesal").postprocess
        assert stored is not None
        assert Postprocess.model_validate(stored).steps == choice.steps
    assert load_model(run.folder, device="cpu", backend="torch").postprocess == choice.postprocess
    shipped, raw = label_maps(run), label_maps(run, RAW_PREDICTIONS)
    assert len(raw) == 8
    for name, array in own.items():
        np.testing.assert_array_equal(raw.get(name, shipped[name]), array)
        contiguous = LABELS.encode(array)
        choice.postprocess.apply(contiguous, LABELS, 3.0)
        np.testing.assert_array_equal(shipped[name], LABELS.decode(contiguous))
        assert not shipped[name][:3, :2, :3].any()
    scores = score_run(run)
    assert scores.of("dice").mean == pytest.approx(before + choice.gain.mean, abs=1e-9)
    assert any("optimism" in remark for remark in scores.remarks)
    # Without what the pictures are drawn from, which take their time.
    (run.folder / "scores.json").unlink()
    run.dataset_file.unlink()
    page = write_run_report(run.folder).read_text()
    assert 'id="postprocess"' in page
    assert choice.steps[0].title in page
    assert "steps that were tried" in page


def test_choosing_again_starts_from_the_networks_own_predictions_and_gives_the_same(
    tmp_path: Path, tiny_plan: Path
) -> None:
    run = make_run(tmp_path, tiny_plan, cases=16, islands=8)
    first = choose_postprocess(run)

    def contents() -> dict[Path, bytes]:
        files = (path for path in sorted(run.folder.rglob("*")) if path.is_file() and path.name != OUTPUTS)
        return {path: path.read_bytes() for path in files}

    files = contents()
    assert choose_postprocess(run) == first
    again = contents()
    assert [path for path in files if files[path] != again.get(path)] == []
    assert again.keys() == files.keys()


def test_where_the_network_got_better_the_steps_are_taken_back(tmp_path: Path, tiny_plan: Path) -> None:
    run = make_run(tmp_path, tiny_plan, cases=16, islands=8)
    assert choose_postprocess(run).steps
    better = {f"case_{number:02}.nii.gz": maps(number, island=number == 0)[1] for number in range(16)}
    for path in run.folder.glob("fold_*/predictions*/*.nii.gz"):
        write(path, better[path.name])
    assert choose_postprocess(run).steps == ()
    assert label_maps(run, RAW_PREDICTIONS) == {}
    for name, array in label_maps(run).items():
        np.testing.assert_array_equal(array, better[name])
    assert load_package(run.fold(0) / "model.vesal").postprocess is None
    assert score_run(run).remarks == ()


def test_too_few_held_out_cases_are_told_and_left_as_they_are(tmp_path: Path, tiny_plan: Path) -> None:
    run = make_run(tmp_path, tiny_plan, cases=6, islands=6)
    own = label_maps(run)
    choice = choose_postprocess(run)
    assert choice.steps == ()
    assert "8 held-out patients" in choice.sentence
    for name, array in label_maps(run).items():
        np.testing.assert_array_equal(array, own[name])
    section = postprocess_section(choice)
    assert section["note"] == choice.sentence
    assert section["trials"] is None


def test_a_missing_prediction_and_a_changed_truth_are_named(tmp_path: Path, tiny_plan: Path) -> None:
    run = make_run(tmp_path, tiny_plan, cases=16, islands=8)
    write(tmp_path / "data" / "case_04_label.nii.gz", np.ones((4, 4, 4)))
    with pytest.raises(VesalError, match=r"case_04.*\(20, 18, 12\)|\(20, 18, 12\).*case_04"):
        choose_postprocess(run)
    (run.fold(1) / "predictions" / "case_03.nii.gz").unlink()
    with pytest.raises(VesalError, match="case_03"):
        choose_postprocess(run)


def test_limits_of_size_are_of_the_scan_s_pixels_where_the_label_states_none(tmp_path: Path) -> None:
    drawn = np.zeros((6, 5), np.uint8)
    drawn[1:4, 2:4] = 7
    Image.fromarray(drawn.T).save(tmp_path / "label.png")
    grid = Geometry.from_spacing((6, 5), (0.1, 0.1))
    write_label(tmp_path / "prediction.png", LabelMap(drawn, grid))
    case = Case(id="a", images=(tmp_path / "a.tif",), label=tmp_path / "label.png", patient="a")
    files = tmp_path / "prediction.png", tmp_path / "raw.png"
    assert _read(HeldOut(case, 0, *files), LABELS).geometry.spacing_mm == pytest.approx((0.1, 0.1))
