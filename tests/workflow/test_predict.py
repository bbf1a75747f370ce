"""Predicting files and folders: which files come out, on which grid, with which values."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vesal.data.case import read_case
from vesal.data.dataset import Case
from vesal.data.fingerprint import fingerprint
from vesal.data.labels import LabelSet
from vesal.errors import UsageError
from vesal.evaluate.score_folders import score_folders
from vesal.infer.model import Model
from vesal.layouts.input_scans import cases_to_predict
from vesal.layouts.registry import load_dataset
from vesal.nn.model_file import Package, save_package
from vesal.nn.zoo import build_network
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.planning.planner import make_plan
from vesal.planning.settings import PlanSettings
from vesal.preprocessing.prepare import prepare
from vesal.volume.geometry import Geometry
from vesal.volume.io import read_label, read_volume, write_volume
from vesal.volume.volume import Volume
from vesal.workflow.predict import predict_cases
from vesal.workflow.requests.predict_options import PredictOptions

pytestmark = pytest.mark.pictures

MASK = LabelSet.from_values({"tumour": 255})
TWO = LabelSet.from_values({"dim": 3, "bright": 9})
NESTED = LabelSet.from_values({"rim": 1, "core": 4}, regions={"whole": ["rim", "core"], "core": ["core"]})


def plan(dimension: int = 2, **changes: object) -> Plan:
    values: dict[str, object] = {
        "dimension": dimension,
        "spacing_mm": (1.0,) * dimension,
        "patch": (16,) * dimension,
        "batch": 1,
        "stages": (Stage(features=4, kernel=(3,) * dimension, stride=(1,) * dimension),),
        "normalisation": (Normalisation(scheme="none"),),
        "mirror_axes": (),
        "channels": ("image",),
        "labels": MASK if dimension == 2 else TWO,
        "median_shape": (20,) * dimension,
    }
    return Plan.model_validate(values | changes)


def over_100(batch: Tensor) -> Tensor:
    """One class where the mean of the channels is over 100."""
    value = (batch.mean(dim=1, keepdim=True) - 100.0) / 40.0
    return torch.cat([-value, value], dim=1)


def two_classes(batch: Tensor) -> Tensor:
    return torch.cat([60.0 - batch, 40.0 - (batch - 110.0).abs(), batch - 160.0], dim=1) / 20.0


def nested(batch: Tensor) -> Tensor:
    return torch.cat([batch - 60.0, batch - 160.0], dim=1) / 20.0


def model(made: Plan | None = None, network: object = over_100) -> Model:
    return Model(made or plan(), (network,), torch.device("cpu"))  # type: ignore[arg-type]


def gray(seed: int = 0, shape: tuple[int, int] = (20, 28), dtype: type = np.uint8) -> np.ndarray:
    """(rows, columns) with a bright disc on a dim ground."""
    generator = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    centre = generator.uniform(0.4, 0.6, 2) * shape
    disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < 36
    return (generator.integers(1, 60, shape) + 140 * disc).astype(dtype)


def save_slices(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        Image.fromarray(gray(seed)).save(folder / f"{name}.png")
    return folder


def volume(shape: tuple[int, ...] = (20, 24, 10), spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Volume:
    array = np.random.default_rng(1).uniform(5, 250, shape).astype(np.float32)
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = (30.0, -12.0, 7.0)
    return Volume(array[None], Geometry(shape, affine))


def predict(made: Model, paths: list[Path], out: Path, **options: object):
    cases = cases_to_predict(paths, len(made.plan.channels), made.labels)
    return predict_cases(made, cases, out, PredictOptions(**options))  # type: ignore[arg-type]


# --- from training to results, on slices ----------------------------------------------------------------


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slices of three volumes with masks of 0 and 255, as images/ and masks/."""
    root = tmp_path_factory.mktemp("slices")
    for name in ("images", "masks"):
        (root / name).mkdir()
    for number in range(9):
        name = f"lung_{number // 3:03}_{number % 3:04}.png"
        image = gray(number, (36, 28))
        Image.fromarray(image).save(root / "images" / name)
        Image.fromarray(np.where(image > 100, 255, 0).astype(np.uint8)).save(root / "masks" / name)
    return root


@pytest.fixture(scope="module")
def trained(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network that learned them, as a model file."""
    dataset = load_dataset(slices)
    made = make_plan(fingerprint(dataset), dataset.labels, PlanSettings(patch=(32, 32), batch=2))
    stages = [Stage(features=4, kernel=(3, 3), stride=(step, step)) for step in (1, 2)]
    made = Plan.model_validate(made.model_dump() | {"stages": stages, "heads": 1})
    torch.manual_seed(0)
    network = build_network("unet", made).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    cases = [prepare(raw.image, made, raw.label) for raw in map(read_case, dataset.cases)]
    for step in range(45):
        item = cases[step % len(cases)]
        assert item.label is not None
        even = [size // 2 * 2 for size in item.image.shape[-2:]]
        image = torch.from_numpy(item.image[:, 0, : even[0], : even[1]])[None]
        label = torch.from_numpy(item.label[0, : even[0], : even[1]].astype(np.int64))[None]
        loss = torch.nn.functional.cross_entropy(network(image), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    file = tmp_path_factory.mktemp("model") / "model.vesal"
    save_package(file, Package(made, "unet", {}, {}, network.state_dict()))
    return file


def test_slices_with_masks_of_0_and_255_give_masks_of_0_and_255(
    slices: Path, trained: Path, tmp_path: Path
) -> None:
    words = ["predict", trained, slices / "images", "-o", tmp_path, "--overlay", "--probabilities", "--json"]
    command = [sys.executable, "-m", "vesal.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    names = sorted(path.name for path in (slices / "images").iterdir())
    assert sorted(Path(path).name for path in told["files"].values()) == names
    written = set(tmp_path.rglob("*.png"))
    listed = [*told["files"].values(), *told["overlays"].values()]
    listed += [path for maps in told["probabilities"].values() for path in maps.values()]
    assert written == set(map(Path, listed))
    for name in names:
        with Image.open(tmp_path / name) as picture:
            assert (picture.mode, picture.size) == ("L", (28, 36))
            assert set(np.unique(np.asarray(picture)).tolist()) == {0, 255}
        stem = name.removesuffix(".png")
        with Image.open(tmp_path / "overlays" / f"{stem}_overlay.png") as picture:
            assert picture.size == (28, 36)
        with Image.open(tmp_path / "probabilities" / "foreground" / name) as picture:
            probability = np.asarray(picture).astype(np.float64) / 65535
        np.testing.assert_array_equal(probability > 0.5, np.asarray(Image.open(tmp_path / name)) > 0)
    scores = score_folders(tmp_path, slices / "masks")
    assert not scores.failures
    assert not scores.remarks
    dice = [row.dice for row in scores.cases]
    assert len(dice) == 9
    assert min(dice) > 0.8
    # What is read again as a folder of scans is the label maps alone.
    assert len(cases_to_predict([tmp_path], channels=1)) == 9


def test_the_model_holds_the_values_of_the_masks(slices: Path) -> None:
    labels = load_dataset(slices).labels
    assert labels.values == (0, 255)
    decoded = labels.decode(np.array([0, 1], dtype=np.uint8))
    assert decoded.tolist() == [0, 255]
    assert decoded.dtype == np.uint8


# --- formats and pictures -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scan", "result"),
    [
        (".nii.gz", ".nii.gz"),
        (".nii", ".nii.gz"),
        (".nrrd", ".nrrd"),
        (".mha", ".mha"),
        (".tif", ".tif"),
    ],
)
def test_a_volume_comes_back_in_its_format_on_its_grid(tmp_path: Path, scan: str, result: str) -> None:
    write_volume(tmp_path / f"a{scan}", volume(spacing=(1.0, 0.8, 2.0)))
    made = model(plan(3), two_classes)
    found = predict(made, [tmp_path / f"a{scan}"], tmp_path / "out", probabilities=True)
    assert not found.failures
    assert found.files["a"] == tmp_path / "out" / f"a{result}"
    label = read_label(found.files["a"])
    assert label.geometry.close_to(read_volume(tmp_path / f"a{scan}").geometry)
    assert set(np.unique(label.array)) == {0, 3, 9}
    assert {path.name for path in found.probabilities["a"].values()} == {f"a{result}"}


def test_masks_and_maps_take_over_both_forms_of_their_scans_header(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((20, 24, 10))
    header.set_sform(volume().geometry.affine, 2)
    header.set_qform(np.diag([1.0, -1, 1, 1]), 1)
    header.set_xyzt_units("mm", "sec")
    nib.save(nib.Nifti1Image(volume().array[0], None, header), tmp_path / "a.nii.gz")
    found = predict(
        model(plan(3), two_classes),
        [tmp_path / "a.nii.gz"],
        tmp_path / "out",
        probabilities=True,
        uncertainty=True,
    )
    theirs = nib.load(tmp_path / "a.nii.gz").header
    for path in (found.files["a"], *found.probabilities["a"].values(), found.uncertainty["a"]):
        ours = nib.load(path).header
        for field in ("sform_code", "qform_code", "srow_x", "qoffset_x", "quatern_b", "pixdim", "xyzt_units"):
            np.testing.assert_array_equal(ours[field], theirs[field])


@pytest.mark.parametrize(
    ("scan", "result"), [(".png", ".png"), (".jpg", ".png"), (".bmp", ".png"), (".tif", ".tif")]
)
def test_a_picture_comes_back_on_its_own_pixels(tmp_path: Path, scan: str, result: str) -> None:
    Image.fromarray(gray()).save(tmp_path / f"a{scan}", dpi=(30, 30))
    found = predict(model(), [tmp_path / f"a{scan}"], tmp_path / "out", overlay=True)
    with Image.open(tmp_path / "out" / f"a{result}") as picture:
        assert picture.size == (28, 20)
    label = read_label(found.files["a"])
    if scan != ".jpg":
        shown = read_volume(tmp_path / f"a{scan}")
        assert label.geometry.close_to(shown.geometry)
        # The model sees pixels of 1 mm and these are of 0.85 mm, so the border may move, not the disc.
        agree = (label.array > 0) == (shown.array[0] > 100)
        assert agree.mean() > 0.9
    assert set(np.unique(label.array)) <= {0, 255}


def test_the_format_that_is_asked_for_is_written(tmp_path: Path) -> None:
    save_slices(tmp_path, "a")
    for to, ending in {"nifti": ".nii.gz", "nrrd": ".nrrd", "mha": ".mha", "tiff": ".tif"}.items():
        found = predict(model(), [tmp_path / "a.png"], tmp_path / "out", to=to)
        assert found.files["a"].name == f"a{ending}"
        assert read_label(found.files["a"]).array.shape[:2] == (28, 20)
    with pytest.raises(UsageError, match="nifti, nrrd"):
        PredictOptions(to="jpg")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA"])
def test_a_gray_picture_may_be_saved_as_any_kind_of_picture(tmp_path: Path, mode: str) -> None:
    Image.fromarray(gray()).convert(mode).save(tmp_path / "a.png")
    found = predict(model(), [tmp_path / "a.png"], tmp_path / "out", overlay=True)
    assert not found.failures
    np.testing.assert_array_equal(read_label(found.files["a"]).array.T, np.where(gray() > 100, 255, 0))


def test_sixteen_bits_are_seen_in_full(tmp_path: Path) -> None:
    Image.fromarray(gray().astype(np.uint16) * 200).save(tmp_path / "a.png")
    made = model(network=lambda batch: over_100(batch / 200))
    found = predict(made, [tmp_path / "a.png"], tmp_path / "out", overlay=True)
    np.testing.assert_array_equal(read_label(found.files["a"]).array.T, np.where(gray() > 100, 255, 0))


def test_a_model_of_colours_takes_gray_and_one_of_gray_refuses_colours(tmp_path: Path) -> None:
    colours = plan(channels=("red", "green", "blue"), normalisation=(Normalisation(scheme="none"),) * 3)
    Image.fromarray(gray()).save(tmp_path / "gray.png")
    Image.fromarray(np.stack([gray(0), gray(1), gray(2)], axis=-1)).save(tmp_path / "colour.png")
    paths = [tmp_path / "gray.png", tmp_path / "colour.png"]
    both = predict(model(colours), paths, tmp_path / "colours")
    assert set(both.files) == {"gray", "colour"}
    assert both.notes == {"gray": "the scan is grey and the model was trained on colours"}
    found = predict(model(), paths, tmp_path / "gray")
    assert list(found.files) == ["gray"]
    assert "3 channels where" in found.failures[0].message


# --- overlays and probabilities -------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.7])
def test_the_label_map_follows_from_the_probabilities_of_classes(tmp_path: Path, threshold: float) -> None:
    write_volume(tmp_path / "a.nii.gz", volume(spacing=(0.9, 0.8, 1.7)))
    made = model(plan(3), two_classes)
    found = predict(made, [tmp_path], tmp_path / "out", probabilities=True, threshold=threshold)
    maps = {name: read_volume(path) for name, path in found.probabilities["a"].items()}
    label = read_label(found.files["a"])
    assert all(map_.array.dtype == np.float32 for map_ in maps.values())
    assert all(map_.geometry.close_to(label.geometry) for map_ in maps.values())
    foreground = np.stack([maps["dim"].array[0], maps["bright"].array[0]])
    background = 1 - foreground.sum(axis=0)
    best = foreground.max(axis=0)
    margin = best * (1 - threshold) - background * threshold
    expected = np.where(margin > 0, np.array([3, 9])[foreground.argmax(axis=0)], 0)
    clear = (np.abs(margin) > 1e-5) & (np.abs(foreground[0] - foreground[1]) > 1e-5)
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(label.array[clear], expected[clear])
    if threshold == 0.5:
        every = np.concatenate([background[None], foreground]).argmax(axis=0)
        np.testing.assert_array_equal(label.array[clear], np.array([0, 3, 9])[every][clear])


def test_the_label_map_follows_from_the_probabilities_of_regions(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz", volume(spacing=(0.9, 0.8, 1.7)))
    made = model(plan(3, labels=NESTED), nested)
    found = predict(made, [tmp_path], tmp_path / "out", probabilities=True, threshold=0.3)
    whole, core = (read_volume(found.probabilities["a"][name]).array[0] for name in ("whole", "core"))
    expected = np.where(core > 0.3, 4, np.where(whole > 0.3, 1, 0))
    clear = (np.abs(core - 0.3) > 1e-5) & (np.abs(whole - 0.3) > 1e-5)
    np.testing.assert_array_equal(read_label(found.files["a"]).array[clear], expected[clear])
    told = json.loads((tmp_path / "out" / "probabilities" / "classes.json").read_text())
    assert told["activation"] == "sigmoid"
    assert told["classes"][0] == {"name": "whole", "folder": "whole", "values": [1, 4]}


def test_what_the_crop_left_out_has_no_probability(tmp_path: Path) -> None:
    scan = volume()
    scan.array[:, :6] = 0
    write_volume(tmp_path / "a.nii.gz", scan)
    network = model(plan(3), lambda batch: torch.cat([-batch * 0 - 5, batch * 0, batch * 0], dim=1))
    found = predict(network, [tmp_path], tmp_path / "out", probabilities=True)
    for path in found.probabilities["a"].values():
        array = read_volume(path).array[0]
        assert (array[:6] == 0).all()
        assert (array[6:] > 0.4).all()


def test_an_overlay_of_a_volume_is_a_picture(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz", volume())
    found = predict(model(plan(3), two_classes), [tmp_path], tmp_path / "out", overlay=True)
    assert found.overlays["a"] == tmp_path / "out" / "overlays" / "a_overlay.png"
    with Image.open(found.overlays["a"]) as picture:
        assert min(picture.size) > 20


# --- many scans -----------------------------------------------------------------------------------------


def test_bad_scans_are_named_and_the_others_go_on(tmp_path: Path) -> None:
    folder = save_slices(tmp_path / "in", "a", "b", "c")
    (folder / "b.png").write_bytes(b"no picture")
    write_volume(folder / "deep.nii.gz", volume())
    found = predict(model(), [folder], tmp_path / "out", overlay=True, probabilities=True)
    assert sorted(found.files) == sorted(found.overlays) == sorted(found.probabilities) == ["a", "c"]
    assert [failure.id for failure in found.failures] == ["b", "deep"]
    assert not [path for path in (tmp_path / "out").rglob("*") if "b" in path.name.split(".")[0].split("_")]


def test_what_fits_no_png_is_told_before_it_is_predicted(tmp_path: Path) -> None:
    def never(batch: Tensor) -> Tensor:
        raise AssertionError("predicted in vain")

    write_volume(tmp_path / "a.nii.gz", volume())
    found = predict(model(plan(3), never), [tmp_path / "a.nii.gz"], tmp_path / "out", to="png")
    assert "one slice" in found.failures[0].message
    save_slices(tmp_path, "b")
    far = plan(labels=LabelSet.from_values({"far": 70_000}))
    found = predict(model(far, never), [tmp_path / "b.png"], tmp_path / "out")
    assert "70000 do not fit" in found.failures[0].message
    assert not list((tmp_path / "out").iterdir())


def test_resuming_leaves_a_result_where_all_that_is_asked_for_is_there(tmp_path: Path) -> None:
    folder = save_slices(tmp_path / "in", "a", "b")
    out = tmp_path / "out"
    predict(model(), [folder], out)
    kept = predict(model(), [folder], out, resume=True)
    assert set(kept.files) == {"a", "b"}
    assert not kept.seconds
    more = predict(model(), [folder], out, resume=True, overlay=True, probabilities=True)
    assert set(more.seconds) == set(more.overlays) == set(more.probabilities) == {"a", "b"}
    more.probabilities["b"]["tumour"].unlink()
    again = predict(model(), [folder], out, resume=True, overlay=True, probabilities=True)
    assert set(again.seconds) == {"b"}
    assert set(again.overlays) == set(again.probabilities) == {"a", "b"}
    assert again.probabilities["b"]["tumour"].exists()


@pytest.mark.parametrize("options", [{}, {"overlay": True}, {"resume": True}])
def test_no_result_takes_the_place_of_a_scan(tmp_path: Path, options: dict[str, bool]) -> None:
    folder = save_slices(tmp_path / "in", "a")
    before = (folder / "a.png").read_bytes()
    (tmp_path / "linked").symlink_to(folder)
    with pytest.raises(UsageError, match="overwrite"):
        predict(model(), [folder], tmp_path / "linked", **options)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.png").symlink_to(folder / "a.png")
    with pytest.raises(UsageError, match="overwrite"):
        predict(model(), [tmp_path / "other"], folder, **options)
    assert (folder / "a.png").read_bytes() == before


def test_thousands_of_slices_are_not_read_before_the_first_is_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3000):
        (folder / f"lung_{number // 100:03}_slice_{number % 100:04}.png").touch()
    seen: list[Case] = []

    def stop(case: Case) -> tuple[Volume, str]:
        seen.append(case)
        raise KeyboardInterrupt

    monkeypatch.setattr("vesal.workflow.prediction.case_predictor.read_image_and_digest", stop)
    cases = cases_to_predict([folder], channels=1)
    assert len(cases) == 3000
    with pytest.raises(KeyboardInterrupt):
        predict_cases(model(), cases, tmp_path / "out", PredictOptions(overlay=True, probabilities=True))
    assert len(seen) <= 2


def test_one_network_and_its_copy_vote_as_one(tmp_path: Path) -> None:
    folder = save_slices(tmp_path / "in", "a")
    made = model()
    twice = replace(made, networks=made.networks * 2)
    one = predict(made, [folder], tmp_path / "one", probabilities=True)
    two = predict(twice, [folder], tmp_path / "two", probabilities=True)
    for name in ("files", "probabilities"):
        first, second = (getattr(found, name)["a"] for found in (one, two))
        first, second = (path["tumour"] if isinstance(path, dict) else path for path in (first, second))
        assert first.read_bytes() == second.read_bytes()
