"""Conversions: cases, labels and grids are the same in every layout, and slices come back as volumes."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from vesal.cli.app import app
from vesal.convert.targets import TARGETS
from vesal.data.case import read_case
from vesal.data.dataset import Case, Dataset
from vesal.data.folds import Folds
from vesal.errors import DataError, UsageError
from vesal.layouts.registry import LAYOUTS, load_dataset
from vesal.volume.geometry import Geometry
from vesal.volume.io import read_label, read_volume, write_label, write_volume
from vesal.volume.volume import LabelMap, Volume
from vesal.workflow.convert import ConvertResult, convert_run
from vesal.workflow.requests.convert_request import ConvertRequest

SHAPE = (6, 7, 4)


def affine_of(number: int) -> np.ndarray:
    """Oblique, in another stored orientation for every number."""
    angle = 0.1 + 0.2 * number
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    order = np.roll(np.eye(3), number, axis=1) * [1, -1, 1]
    affine = np.eye(4)
    affine[:3, :3] = turn @ order @ np.diag([0.7, 0.9, 2.5])
    affine[:3, 3] = [-31.7, 12.3, 5.1 * number]
    return affine.astype(np.float32).astype(np.float64)  # as NIfTI holds it


def grid(number: int) -> Geometry:
    return Geometry(SHAPE, affine_of(number))


def scan(path: Path, number: int, *, channels: int = 1, low: int = 0) -> None:
    array = np.random.default_rng(number).integers(low, low + 800, (channels, *SHAPE)).astype(np.int16)
    write_volume(path, Volume(array, grid(number)))


def truth(path: Path, number: int, *values: int) -> None:
    """A label map with these values; its first and last slices along each axis are empty."""
    array = np.zeros(SHAPE, np.uint8)
    inner = array[1:-1, 1:-1, 1:-1]
    inner[...] = np.random.default_rng(number).choice([0, *values], inner.shape)
    inner.flat[: len(values)] = values
    write_label(path, LabelMap(array, grid(number)))


# --- one folder of each layout -----------------------------------------------------------------------------


def make_msd(folder: Path) -> None:
    for number, name in enumerate(("a_1", "a_2", "b")):
        scan(folder / "imagesTr" / f"{name}.nii.gz", number, channels=2)
        truth(folder / "labelsTr" / f"{name}.nii.gz", number, 1, 7)
    scan(folder / "imagesTs" / "c.nii.gz", 5, channels=2)
    truth(folder / "labelsTs" / "c.nii.gz", 5, 1, 7)
    listed = [
        {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
        for name in ("a_1", "a_2", "b")
    ]
    description = {
        "name": "Prostate",
        "licence": "CC-BY-SA 4.0",
        "modality": {"0": "T2", "1": "ADC"},
        "labels": {"0": "background", "1": "left lobe", "7": "right lobe"},
        "pairs": [],
        "patients": {"a_1": "a", "a_2": "a"},
        "annotated": {"b": ["left lobe"]},
        "training": listed,
        "test": ["./imagesTs/c.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def make_nnunet(folder: Path) -> None:
    """With regions and an ignore label."""
    for number, name in enumerate(("case_1", "case_2")):
        for channel in range(2):
            scan(folder / "imagesTr" / f"{name}_{channel:04}.nii.gz", number, low=channel)
        truth(folder / "labelsTr" / f"{name}.nii.gz", number, 1, 2, 3, 4)
    description = {
        "channel_names": {"0": "T2", "1": "CT"},
        "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": 3, "ignore": 4},
        "regions_class_order": [1, 2, 3],
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def make_acdc(folder: Path, patients: int = 2) -> None:
    for number in range(2 * patients):
        patient = f"patient{number // 2 + 1:03}"
        frame = f"{patient}_frame{('01', '12')[number % 2]}"
        scan(folder / patient / f"{frame}.nii.gz", number)
        truth(folder / patient / f"{frame}_gt.nii.gz", number, 1, 2, 3)


def make_brats(folder: Path) -> None:
    for number, name in enumerate(("Brats18_X_1_1", "Brats18_X_2_1")):
        for channel, role in enumerate(("flair", "t1", "t1ce", "t2")):
            scan(folder / name / f"{name}_{role}.nii.gz", number, low=100 * channel)
        truth(folder / name / f"{name}_seg.nii.gz", number, 1, 2, 4)


def make_png(folder: Path) -> None:
    """Slices without a sidecar."""
    generator = np.random.default_rng(0)
    for volume, slices in (("lung_001", (7, 8, 9)), ("lung_002", (0, 1))):
        for number in slices:
            for kind, array in (
                ("images", generator.integers(0, 256, (6, 8))),
                ("labels", 255 * generator.integers(0, 2, (6, 8))),
            ):
                (folder / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array.astype(np.uint8)).save(
                    folder / kind / f"{volume}_slice_{number:04}.png"
                )


def make_pairs(folder: Path) -> None:
    for number in (1, 2):
        scan(folder / "CT" / f"volume-{number}.nii", number, low=-1000)
        truth(folder / "Liver_masks" / f"segmentation-{number}.nii", number, 1, 2)


def make_manifest(folder: Path) -> None:
    for number, name in enumerate(("x", "y", "z")):
        scan(folder / "scans" / f"{name}.nrrd", number)
        truth(folder / "scans" / f"{name}_seg.mha", number, 7)
    rows = [
        ("x", "scans/x.nrrd", "scans/x_seg.mha", "p1"),
        ("y", "scans/y.nrrd", "scans/y_seg.mha", "p1"),
        ("z", "scans/z.nrrd", "", "p2"),
    ]
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("id", "image", "label", "patient"), *rows])


MAKERS: dict[str, Callable[[Path], None]] = {
    "manifest": make_manifest,
    "nnunet": make_nnunet,
    "msd": make_msd,
    "acdc": make_acdc,
    "brats": make_brats,
    "png": make_png,
    "pairs": make_pairs,
}


def made(layout: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    MAKERS[layout](folder)
    return folder


def convert(data: Path, out: Path, to: str, **options: Any) -> ConvertResult:
    result = convert_run(ConvertRequest(data=data, out=out, to=to, **options))
    assert not result.failures
    return result


def described(dataset: Dataset) -> dict[str, Any]:
    """What all layouts have to say alike, values apart."""
    labels = dataset.labels
    return {
        "channels": dataset.channels,
        "names": labels.names,
        "regions": [(region.name, set(region.members)) for region in labels.regions],
        "pairs": labels.pairs,
        "ignore": labels.ignore is not None,
    }


def cases_of(dataset: Dataset) -> dict[str, tuple[str, tuple[str, ...] | None]]:
    return {case.id: (case.patient, case.annotated) for case in dataset.cases}


def assert_same_case(a: Dataset, b: Dataset, first: Case, second: Case) -> None:
    one, two = read_case(first), read_case(second)
    np.testing.assert_array_equal(one.image.array, two.image.array)
    np.testing.assert_array_equal(one.image.geometry.affine, two.image.geometry.affine)
    assert (one.label is None) == (two.label is None)
    if one.label is not None and two.label is not None:
        np.testing.assert_array_equal(a.labels.encode(one.label.array), b.labels.encode(two.label.array))
        np.testing.assert_array_equal(one.label.geometry.affine, two.label.geometry.affine)


def test_every_layout_has_an_example_here() -> None:
    assert set(MAKERS) == set(LAYOUTS)


@pytest.mark.parametrize("target", ["msd", "nnunet", "nifti"])
@pytest.mark.parametrize("layout", MAKERS)
def test_cases_labels_and_grids_are_the_same_in_every_layout_of_volumes(
    layout: str, target: str, tmp_path: Path
) -> None:
    source = load_dataset(made(layout, tmp_path / "data"))
    convert(tmp_path / "data", tmp_path / "out", target, stack=False)
    result = load_dataset(tmp_path / "out")
    assert result.layout == {"nifti": "manifest"}.get(target, target)
    assert described(result) == described(source)
    assert cases_of(result) == cases_of(source)
    tests = {case.id: case for case in result.unlabelled}
    assert set(tests) == {case.id for case in source.unlabelled}
    found = {case.id: case for case in result.cases} | tests
    for case in source.cases + source.unlabelled:
        assert_same_case(source, result, case, found[case.id])
        assert tests.get(case.id, case).patient == case.patient
    assert not result.orphans


@pytest.mark.parametrize("layout", MAKERS)
def test_slices_keep_the_cases_and_come_back_as_the_volumes_that_they_were(
    layout: str, tmp_path: Path
) -> None:
    source = load_dataset(made(layout, tmp_path / "data"))
    convert(tmp_path / "data", tmp_path / "png", "png", window="full", bits=16, axis="y")
    slices = load_dataset(tmp_path / "png")
    assert described(slices) == described(source)
    assert {case.patient for case in slices.cases} == {case.patient for case in source.cases}
    assert set(slices.labels.values) <= set(range(5)) | {255}
    for case in slices.cases[:3]:
        raw = read_case(case)
        assert raw.label is not None
        assert raw.image.geometry.close_to(raw.label.geometry)
        assert raw.image.channels == len(source.channels)

    convert(tmp_path / "png", tmp_path / "back", "nifti")
    result = load_dataset(tmp_path / "back")
    assert described(result) == described(source)
    assert {label.value for label in result.labels.labels} == {label.value for label in source.labels.labels}
    assert cases_of(result) == cases_of(source)
    found = {case.id: case for case in result.cases + result.unlabelled}
    for case in source.cases + source.unlabelled:
        assert_same_case(source, result, case, found[case.id])
        if case.label is not None:
            mine, theirs = read_label(found[case.id].label or ""), read_label(case.label)
            np.testing.assert_array_equal(mine.array, theirs.array)
            assert mine.array.dtype == theirs.array.dtype
        kinds = {read_volume(path).array.dtype for path in (*case.images, *found[case.id].images)}
        assert len(kinds) == 1


@pytest.mark.parametrize("target", ["msd", "nnunet", "nifti"])
def test_a_conversion_of_a_conversion_loses_nothing(target: str, tmp_path: Path) -> None:
    source = load_dataset(made("nnunet", tmp_path / "data"))
    for step, to in enumerate(("msd", target, "png", "nnunet")):
        before = tmp_path / ("data" if step == 0 else str(step - 1))
        convert(before, tmp_path / str(step), to, window="full", bits=16)
    result = load_dataset(tmp_path / "3")
    assert described(result) == described(source)
    for first, second in zip(source.cases, result.cases, strict=True):
        assert_same_case(source, result, first, second)


# --- layouts of volumes ------------------------------------------------------------------------------------


def test_nifti_files_that_need_no_change_are_copied_byte_for_byte(tmp_path: Path) -> None:
    """Scale, offset and position of the header stay as the scanner wrote them."""
    stored = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), affine_of(1))
    stored.header.set_slope_inter(8.0, -3.0)
    (tmp_path / "scans").mkdir()
    nib.save(stored, tmp_path / "scans" / "a.nii.gz")
    convert(tmp_path / "scans", tmp_path / "out", "nnunet")
    copied = tmp_path / "out" / "imagesTs" / "a_0000.nii.gz"
    assert copied.read_bytes() == (tmp_path / "scans" / "a.nii.gz").read_bytes()
    assert load_dataset(tmp_path / "out").layout == "nnunet"


def test_scans_of_any_format_become_nifti_with_their_type(tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    kinds = {"a.nrrd": np.int16, "b.mha": np.float32, "c.nii": np.uint8}
    for name, kind in kinds.items():
        array = np.random.default_rng(0).integers(0, 200, (1, *SHAPE)).astype(kind)
        write_volume(folder / name, Volume(array, grid(2)))
    result = convert(folder, tmp_path / "out", "nifti")
    assert result.test_cases == ("a", "b", "c")
    for name, kind in kinds.items():
        volume = read_volume(tmp_path / "out" / "imagesTs" / f"{name[0]}.nii.gz")
        assert volume.array.dtype == kind
        assert volume.geometry.close_to(grid(2))
    one = convert(folder / "a.nrrd", tmp_path / "single", "nifti")
    assert one.test_cases == ("a",)


def test_channel_files_of_plain_scans_are_one_case(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for channel in range(3):
            scan(tmp_path / "scans" / f"{name}_{channel:04}.nii.gz", 1, low=channel)
    result = convert(tmp_path / "scans", tmp_path / "out", "msd")
    assert result.test_cases == ("a", "b")
    assert read_volume(tmp_path / "out" / "imagesTs" / "a.nii.gz").channels == 3


def test_brats_for_nnunet_has_consecutive_values_and_regions_and_says_so(tmp_path: Path) -> None:
    made("brats", tmp_path / "data")
    result = convert(tmp_path / "data", tmp_path / "Dataset137_BraTS", "nnunet")
    described = json.loads((tmp_path / "Dataset137_BraTS" / "dataset.json").read_text())
    assert described["labels"] == {
        "background": 0,
        "whole tumour": [1, 2, 3],
        "tumour core": [1, 3],
        "enhancing tumour": 3,
    }
    assert described["regions_class_order"] == [2, 1, 3]
    assert described["channel_names"] == {"0": "FLAIR", "1": "T1", "2": "T1ce", "3": "T2"}
    assert (described["numTraining"], described["file_ending"]) == (2, ".nii.gz")
    assert any("enhancing tumour 4 -> 3" in remark for remark in result.remarks)
    assert not any("DatasetXXX" in remark for remark in result.remarks)
    recorded = json.loads((tmp_path / "Dataset137_BraTS" / "conversion.json").read_text())
    assert {"name": "enhancing tumour", "from": 4, "to": 3, "into": "enhancing tumour"} in recorded["labels"][
        "values"
    ]


def test_a_brats_case_that_lacks_a_modality_is_named_and_the_others_are_converted(tmp_path: Path) -> None:
    made("brats", tmp_path / "data")
    scan(tmp_path / "data" / "Brats18_X_3_1" / "Brats18_X_3_1_flair.nii.gz", 0)
    result = convert_run(ConvertRequest(data=tmp_path / "data", out=tmp_path / "out", to="msd"))
    assert result.cases == ("Brats18_X_1_1", "Brats18_X_2_1")
    assert [failure.id for failure in result.failures] == ["Brats18_X_3_1"]
    assert "lacks its T1" in result.failures[0].message
    for path in tmp_path.glob("data/*/*_t2.nii.gz"):
        path.unlink()
    with pytest.raises(DataError, match="lacks T2 in most cases"):
        convert_run(ConvertRequest(data=tmp_path / "data", out=tmp_path / "other", to="msd"))


def test_frames_of_a_patient_get_a_split_for_nnunet_that_keeps_them_together(tmp_path: Path) -> None:
    made("acdc", tmp_path / "data")
    result = convert(tmp_path / "data", tmp_path / "out", "nnunet")
    folds = Folds.load(tmp_path / "out" / "splits_final.json")
    assert folds.count == 2
    for part in folds.parts:
        assert len({name.split("_")[0] for name in part}) == 1
    assert any("splits_final.json" in remark for remark in result.remarks)


def test_the_same_scan_under_two_names_gets_a_split_for_nnunet_too(tmp_path: Path) -> None:
    made("pairs", tmp_path / "data")
    for kind in ("CT/volume", "Liver_masks/segmentation"):
        shutil.copy(tmp_path / "data" / f"{kind}-1.nii", tmp_path / "data" / f"{kind}-3.nii")
    convert(tmp_path / "data", tmp_path / "out", "nnunet")
    assert {frozenset(part) for part in Folds.load(tmp_path / "out" / "splits_final.json").parts} == {
        frozenset({"volume-1", "volume-3"}),
        frozenset({"volume-2"}),
    }


def test_credits_and_truth_of_test_scans_are_kept(tmp_path: Path) -> None:
    made("msd", tmp_path / "data")
    result = convert(tmp_path / "data", tmp_path / "out", "nnunet")
    described = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert described["licence"] == "CC-BY-SA 4.0"
    assert result.test_cases == ("c",)
    assert set(np.unique(read_label(tmp_path / "out" / "labelsTs" / "c.nii.gz").array)) == {0, 1, 2}
    assert any("only some labels were drawn" in remark for remark in result.remarks)


def test_labels_off_their_image_are_refused_for_slices_and_copied_with_a_remark_otherwise(
    tmp_path: Path,
) -> None:
    made("pairs", tmp_path / "data")
    moved = LabelMap(np.ones(SHAPE, np.uint8), Geometry.from_spacing(SHAPE, (1, 1, 1)))
    write_label(tmp_path / "data" / "Liver_masks" / "segmentation-1.nii", moved)
    result = convert(tmp_path / "data", tmp_path / "out", "msd")
    assert any("volume-1: image and label lie" in remark for remark in result.remarks)
    sliced = convert_run(ConvertRequest(data=tmp_path / "data", out=tmp_path / "png", to="png"))
    assert (sliced.cases, [failure.id for failure in sliced.failures]) == (("volume-2",), ["volume-1"])


# --- slices ------------------------------------------------------------------------------------------------


def test_slices_have_the_volume_in_their_names_and_white_masks(tmp_path: Path) -> None:
    made("manifest", tmp_path / "data")
    convert(tmp_path / "data", tmp_path / "png", "png", window=(0.0, 400.0))
    names = sorted(path.name for path in (tmp_path / "png" / "labels").iterdir())
    assert names[0] == "x_slice_0000.png"
    masks = [np.array(Image.open(path)) for path in (tmp_path / "png" / "labels").iterdir()]
    assert {int(value) for mask in masks for value in np.unique(mask)} == {0, 255}
    image = np.array(Image.open(tmp_path / "png" / "images" / "x_slice_0001.png"))
    assert image.dtype == np.uint8
    assert (image == 255).mean() > 0.3  # half of the values lie above the window
    plain = load_dataset(tmp_path / "png", "png")
    assert {case.patient for case in plain.cases} == {"x", "y"}


def test_empty_slices_may_be_left_out_and_come_back_empty(tmp_path: Path) -> None:
    made("pairs", tmp_path / "data")
    convert(tmp_path / "data", tmp_path / "all", "png")
    result = convert(tmp_path / "data", tmp_path / "png", "png", keep_empty=False)
    assert result.cases == ("volume-1", "volume-2")
    count = len(list((tmp_path / "png" / "images").iterdir()))
    assert 0 < count < len(list((tmp_path / "all" / "images").iterdir()))
    assert all(np.array(Image.open(path)).any() for path in (tmp_path / "png" / "labels").iterdir())
    back = convert(tmp_path / "png", tmp_path / "back", "nifti")
    assert any("Empty slices were left out" in remark for remark in back.remarks)
    for number in (1, 2):
        np.testing.assert_array_equal(
            read_label(tmp_path / "back" / "labels" / f"volume-{number}.nii.gz").array,
            read_label(tmp_path / "data" / "Liver_masks" / f"segmentation-{number}.nii").array,
        )


def test_images_come_back_to_the_quantisation_of_their_window(tmp_path: Path) -> None:
    made("pairs", tmp_path / "data")
    convert(tmp_path / "data", tmp_path / "png", "png", window=(-1000.0, -200.0))
    convert(tmp_path / "png", tmp_path / "back", "nifti")
    for number in (1, 2):
        before = read_volume(tmp_path / "data" / "CT" / f"volume-{number}.nii")
        after = read_volume(tmp_path / "back" / "images" / f"volume-{number}.nii.gz")
        assert after.array.dtype == before.array.dtype
        assert np.abs(after.array.astype(float) - before.array).max() <= 800 / 255 / 2 + 0.5


def test_predicted_masks_come_back_as_label_maps_of_their_volumes(tmp_path: Path) -> None:
    made("brats", tmp_path / "data")
    convert(tmp_path / "data", tmp_path / "png", "png", keep_empty=False)
    shutil.copytree(tmp_path / "png" / "labels", tmp_path / "predicted")
    index = tmp_path / "png" / "slices.json"
    result = convert(tmp_path / "predicted", tmp_path / "back", "nifti", slices=index)
    assert result.cases == ("Brats18_X_1_1", "Brats18_X_2_1")
    for name in result.cases:
        mask = read_label(tmp_path / "back" / "labels" / f"{name}.nii.gz")
        drawn = read_label(tmp_path / "data" / name / f"{name}_seg.nii.gz")
        np.testing.assert_array_equal(mask.array, drawn.array)
        np.testing.assert_array_equal(mask.geometry.affine, drawn.geometry.affine)
    missing = next(path for path in (tmp_path / "predicted").iterdir() if "X_1_1" in path.name)
    missing.unlink()
    again = convert_run(
        ConvertRequest(data=tmp_path / "predicted", out=tmp_path / "gap", to="nifti", slices=index)
    )
    assert again.cases == ("Brats18_X_2_1",)
    assert missing.name in again.failures[0].message
    with pytest.raises(UsageError, match="masks alone"):
        convert(tmp_path / "predicted", tmp_path / "no", "msd", slices=index)
    with pytest.raises(DataError, match="holds the images alone"):
        convert(tmp_path / "png" / "images", tmp_path / "no", "nifti")


def test_slices_without_a_sidecar_are_refused_or_put_together_by_spacing(tmp_path: Path) -> None:
    made("png", tmp_path / "data")
    with pytest.raises(UsageError, match=r"3 pictures of lung_001.*--spacing X,Y,Z.*--no-stack"):
        convert(tmp_path / "data", tmp_path / "out", "nifti")
    assert not (tmp_path / "out").exists()
    result = convert(tmp_path / "data", tmp_path / "out", "nifti", spacing_mm=(0.5, 0.8, 3.0))
    assert result.cases == ("lung_001", "lung_002")
    volume = read_volume(tmp_path / "out" / "images" / "lung_001.nii.gz")
    assert (volume.geometry.shape, volume.geometry.axis_codes) == ((8, 6, 3), "RAS")
    assert volume.geometry.spacing_mm == pytest.approx((0.5, 0.8, 3.0))
    first = np.array(Image.open(tmp_path / "data" / "images" / "lung_001_slice_0007.png"))
    np.testing.assert_array_equal(volume.array[0, :, :, 0], first[::-1, ::-1].T)
    (tmp_path / "data" / "images" / "lung_001_slice_0008.png").unlink()
    gap = convert_run(
        ConvertRequest(data=tmp_path / "data", out=tmp_path / "gap", to="nifti", spacing_mm=(1, 1, 1))
    )
    assert "no slice 8" in gap.failures[0].message


def test_pictures_of_a_volume_without_labels_are_put_together_too(tmp_path: Path) -> None:
    made("png", tmp_path / "data")
    with pytest.raises(UsageError, match="3 pictures of lung_001"):
        convert(tmp_path / "data" / "images", tmp_path / "out", "nifti")
    result = convert(tmp_path / "data" / "images", tmp_path / "out", "nifti", spacing_mm=(1.0, 1.0, 2.0))
    assert result.test_cases == ("lung_001", "lung_002")
    assert read_volume(tmp_path / "out" / "imagesTs" / "lung_002.nii.gz").geometry.shape == (8, 6, 2)


def test_a_sidecar_in_the_folder_above_is_nothing_to_scans_of_other_names(tmp_path: Path) -> None:
    made("pairs", tmp_path / "data")
    convert(tmp_path / "data", tmp_path / "png", "png")
    scan(tmp_path / "png" / "other" / "a.nii.gz", 0)
    assert convert(tmp_path / "png" / "other", tmp_path / "out", "nifti").test_cases == ("a",)
    with pytest.raises(DataError, match="No file of"):
        convert(tmp_path / "png" / "other", tmp_path / "no", "nifti", slices=tmp_path / "png" / "slices.json")


def test_a_sidecar_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    made("pairs", tmp_path / "data")
    convert(tmp_path / "data", tmp_path / "png", "png")
    path = tmp_path / "png" / "slices.json"
    good = json.loads(path.read_text())
    evil = json.loads(path.read_text())
    evil["volumes"]["volume-1"]["labels"] = "../secret"
    path.write_text(json.dumps(evil))
    with pytest.raises(DataError, match="not in its own"):
        convert(tmp_path / "png", tmp_path / "back", "nifti")
    good["volumes"]["../../up"] = good["volumes"].pop("volume-1")
    path.write_text(json.dumps(good))
    with pytest.raises(DataError, match="cannot name a file"):
        convert(tmp_path / "png", tmp_path / "back", "nifti")


def test_a_colour_picture_stays_one_picture(tmp_path: Path) -> None:
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "masks").mkdir()
    colours = np.random.default_rng(0).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    for name in ("mole1", "mole2"):
        Image.fromarray(colours).save(tmp_path / "data" / "images" / f"{name}.png")
        Image.fromarray((colours[..., 0] > 99).astype(np.uint8) * 255).save(
            tmp_path / "data" / "masks" / f"{name}.png"
        )
    convert(tmp_path / "data", tmp_path / "nnunet", "nnunet")
    assert read_volume(tmp_path / "nnunet" / "imagesTr" / "mole1_0002.nii.gz").geometry.ndim == 2
    convert(tmp_path / "nnunet", tmp_path / "png", "png")
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "png" / "images" / "mole1.png")), colours)


# --- labels and cases that are asked for -------------------------------------------------------------------


def test_label_values_are_changed_as_asked_and_it_is_recorded(tmp_path: Path) -> None:
    made("brats", tmp_path / "data")
    result = convert(tmp_path / "data", tmp_path / "out", "msd", mapping=("enhancing tumour=3",))
    array = read_label(tmp_path / "out" / "labelsTr" / "Brats18_X_1_1.nii.gz").array
    drawn = read_label(tmp_path / "data" / "Brats18_X_1_1" / "Brats18_X_1_1_seg.nii.gz").array
    np.testing.assert_array_equal(array, np.where(drawn == 4, 3, drawn))
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"]["3"] == "enhancing tumour"
    assert json.loads((tmp_path / "out" / "conversion.json").read_text())["labels"]["map"] == [
        "enhancing tumour=3"
    ]
    assert any("4 -> 3" in remark for remark in result.remarks)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        (("4=1",), "would both become 1"),
        (("7=1",), "no label value 7"),
        (("4",), "OLD=NEW"),
        (("nose=1",), "OLD=NEW"),
        (("4=3", "4=5"), "two new values"),
    ],
)
def test_an_impossible_mapping_is_refused_before_any_work(
    mapping: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    made("brats", tmp_path / "data")
    with pytest.raises(UsageError, match=words):
        convert(tmp_path / "data", tmp_path / "out", "msd", mapping=mapping)
    assert not (tmp_path / "out").exists()


def test_merging_joins_labels_and_drops_what_became_the_same(tmp_path: Path) -> None:
    made("brats", tmp_path / "data")
    result = convert(tmp_path / "data", tmp_path / "out", "nnunet", mapping=("2=1",), merge=True)
    labels = load_dataset(tmp_path / "out").labels
    assert labels.names == ("necrotic core", "enhancing tumour")
    assert any("tumour core" in remark and "left out" in remark for remark in result.remarks)


def test_only_the_cases_asked_for_are_converted_and_more_can_follow(tmp_path: Path) -> None:
    made("acdc", tmp_path / "data")
    result = convert(tmp_path / "data", tmp_path / "out", "msd", cases=("patient002_frame01",))
    assert result.cases == ("patient002_frame01",)
    with pytest.raises(UsageError, match="no case 'nobody'; there are: patient001_frame01"):
        convert(tmp_path / "data", tmp_path / "no", "msd", cases=("nobody",))
    more = convert(tmp_path / "data", tmp_path / "out", "msd", cases=("patient001_frame01",), resume=True)
    assert more.cases == ("patient001_frame01", "patient002_frame01")
    assert len(load_dataset(tmp_path / "out").cases) == 2


@pytest.mark.parametrize("target", TARGETS)
def test_a_split_holds_out_whole_patients_with_their_labels(target: str, tmp_path: Path) -> None:
    make_acdc(tmp_path / "data", patients=5)
    result = convert(tmp_path / "data", tmp_path / "out", target, split=0.2, seed=1)
    assert len(result.test_cases) == 2
    assert len({name.split("_")[0] for name in result.test_cases}) == 1
    assert not {n.split("_")[0] for n in result.test_cases} & {n.split("_")[0] for n in result.cases}
    assert len(list((tmp_path / "out" / "labelsTs").iterdir())) >= 2
    again = convert(tmp_path / "data", tmp_path / "again", target, split=0.2, seed=1)
    assert again.test_cases == result.test_cases
    resumed = convert(tmp_path / "data", tmp_path / "out", target, split=0.2, seed=1, resume=True)
    assert (resumed.skipped, resumed.test_cases) == (10, result.test_cases)


def test_a_split_that_patients_do_not_allow_is_explained(tmp_path: Path) -> None:
    make_acdc(tmp_path / "data", patients=1)
    with pytest.raises(UsageError, match="by patient"):
        convert(tmp_path / "data", tmp_path / "out", "msd", split=0.2)
    with pytest.raises(UsageError, match="share between 0 and 1"):
        convert(tmp_path / "data", tmp_path / "out", "msd", split=20)
    assert not (tmp_path / "out").exists()


def test_the_same_scan_under_two_names_is_on_one_side_of_a_split(tmp_path: Path) -> None:
    make_acdc(tmp_path / "data", patients=4)
    for frame in ("01", "12"):
        copied = tmp_path / "data" / "patient004" / f"patient004_frame{frame}.nii.gz"
        shutil.copy(tmp_path / "data" / "patient001" / f"patient001_frame{frame}.nii.gz", copied)
    for seed in range(4):
        result = convert(tmp_path / "data", tmp_path / str(seed), "msd", split=0.5, seed=seed)
        sides = {name in result.test_cases for name in ("patient001_frame01", "patient004_frame12")}
        assert len(sides) == 1


# --- stopped, wrong and damaged ----------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_a_resumed_conversion_does_only_what_is_missing_cut_or_changed(target: str, tmp_path: Path) -> None:
    data, out = made("acdc", tmp_path / "data"), tmp_path / "out"
    convert(data, out, target)
    files = sorted(path for path in out.rglob("*") if path.suffix in (".gz", ".png"))
    before = {path: path.read_bytes() for path in files}
    times = {path: path.stat().st_mtime_ns for path in files}
    lost = next(path for path in files if "patient001_frame01" in path.name)
    cut = next(path for path in files if "patient001_frame12" in path.name)
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:20])
    truth(data / "patient002" / "patient002_frame01_gt.nii.gz", 2, 1, 2)
    with (out / "conversion.jsonl").open("a") as stream:
        stream.write('{"written": {"id": "pat')  # killed in the middle of a line
    result = convert(data, out, target, resume=True)
    assert (result.skipped, len(result.cases)) == (1, 4)
    for path in files:
        if "patient002_frame01" not in path.name:
            assert path.read_bytes() == before[path]
        if "patient002_frame12" in path.name:
            assert path.stat().st_mtime_ns == times[path]
    assert len(load_dataset(out).cases) >= 4
    assert convert(data, out, target, resume=True).skipped == 4


def test_a_resumed_conversion_of_other_options_is_refused(tmp_path: Path) -> None:
    data = made("pairs", tmp_path / "data")
    convert(data, tmp_path / "out", "png")
    with pytest.raises(UsageError, match="begun with another bits"):
        convert(data, tmp_path / "out", "png", resume=True, bits=16)
    with pytest.raises(UsageError, match="begun with another to"):
        convert(data, tmp_path / "out", "msd", resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(UsageError, match="not empty"):
            convert(data, tmp_path / "other", "msd", resume=resume)


@pytest.mark.parametrize("inner", [".", "out", "a/b"])
def test_nothing_is_written_into_the_data(inner: str, tmp_path: Path) -> None:
    data = made("pairs", tmp_path / "data")
    with pytest.raises(UsageError, match="is the data set or inside it"):
        convert(data, data / inner, "msd")
    assert {path.name for path in data.iterdir()} == {"CT", "Liver_masks"}


def test_one_bad_case_is_named_and_the_others_are_there(tmp_path: Path) -> None:
    data = made("acdc", tmp_path / "data")
    damaged = data / "patient001" / "patient001_frame12.nii.gz"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:60])
    truth(data / "patient002" / "patient002_frame01_gt.nii.gz", 2, 1, 9)
    result = convert_run(ConvertRequest(data=data, out=tmp_path / "out", to="nnunet"))
    assert result.cases == ("patient001_frame01", "patient002_frame12")
    messages = {failure.id: failure.message for failure in result.failures}
    assert str(damaged) in messages["patient001_frame12"]
    assert "[9] are not declared" in messages["patient002_frame01"]
    assert len(load_dataset(tmp_path / "out").cases) == 2
    damaged.write_bytes(whole)
    again = convert_run(ConvertRequest(data=data, out=tmp_path / "out", to="nnunet", resume=True))
    assert (again.skipped, len(again.failures), len(again.cases)) == (2, 1, 3)
    assert not list((tmp_path / "out").rglob(".writing-*"))


def test_the_verb_tells_what_it_did_and_ends_with_1_for_a_bad_case(tmp_path: Path) -> None:
    data = made("acdc", tmp_path / "data")
    runner = CliRunner()
    good = runner.invoke(app, ["convert", str(data), "--to", "png", "-o", str(tmp_path / "a"), "--json"])
    assert good.exit_code == 0
    assert len(json.loads(good.stdout)["cases"]) == 4
    (data / "patient001" / "patient001_frame12.nii.gz").write_bytes(b"nothing")
    bad = runner.invoke(app, ["convert", str(data), "--to", "msd", "-o", str(tmp_path / "b")])
    assert bad.exit_code == 1
    assert "3 cases in" in bad.stdout
    assert "patient001_frame12" in bad.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "dicom"}, "no layout to convert to 'dicom'; choose one of: msd, nifti, nnunet, png"),
        ({"bits": 12}, "8 or 16 bits"),
        ({"axis": "w"}, "no axis 'w'"),
        ({"spacing_mm": (1.0, 1.0)}, "--spacing takes three"),
        ({"spacing_mm": (1.0, 1.0, 1.0)}, "no pictures of volumes"),
        ({"data": Path("/nowhere")}, "no folder /nowhere"),
    ],
)
def test_wrong_use_is_told_before_anything_is_written(
    options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    data = made("pairs", tmp_path / "data")
    with pytest.raises(UsageError, match=words):
        convert_run(ConvertRequest(**({"data": data, "out": tmp_path / "out", "to": "msd"} | options)))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"patients": ["a"]}, "gives cases their patients"),
        ({"annotated": {"a_1": "left lobe"}}, "a list of names such as .* is wanted"),
        ({"annotated": {"a_1": ["nose"]}}, "Case a_1 of .* has 'nose' as an annotated label"),
        ({"labels": {"background": 0, "all": [1, 7]}, "label_names": ["x"]}, "gives each label its value"),
    ],
)
def test_wrong_entries_of_our_own_in_a_description_are_explained(
    entry: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = made("msd", tmp_path) / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entry))
    with pytest.raises(DataError, match=words):
        load_dataset(tmp_path)


# --- real scans --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cases", "axis"),
    [
        ("ACDC", ("patient001_frame01", "patient001_frame12"), "thick"),
        ("BraTS2018", ("Brats18_TCIA01_201_1",), "z"),
    ],
)
def test_real_scans_to_nnunet_and_to_slices_and_back(
    name: str, cases: tuple[str, ...], axis: str, data_dir: Path, tmp_path: Path
) -> None:
    source = load_dataset(data_dir / name)
    convert(data_dir / name, tmp_path / "nnunet", "nnunet", cases=cases)
    convert(tmp_path / "nnunet", tmp_path / "png", "png", window="full", bits=16, axis=axis, keep_empty=False)
    convert(tmp_path / "png", tmp_path / "back", "nifti")
    result = load_dataset(tmp_path / "back")
    assert described(result) == described(source)
    known = {case.id: case for case in source.cases}
    assert [case.id for case in result.cases] == list(cases)
    for case in result.cases:
        before, after = read_case(known[case.id]), read_case(case)
        assert case.patient == known[case.id].patient
        assert before.label is not None
        assert after.label is not None
        np.testing.assert_array_equal(
            source.labels.encode(before.label.array), result.labels.encode(after.label.array)
        )
        np.testing.assert_array_equal(before.label.geometry.affine, after.label.geometry.affine)
        drawn = before.label.array > 0
        gap = np.abs(before.image.array - after.image.array)[:, drawn]
        assert gap.max() <= np.ptp(before.image.array) / 65535
