"""FixSummary: damage is undone to the voxel where it can be, told where it cannot; the originals stay as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy import ndimage
from typer.testing import CliRunner

from vesal.audit.apply_fixes import FIXES, Change, FixedCase, fix_case, plan_fixes
from vesal.audit.checks import Finding
from vesal.audit.editable_case import Order, changed_files, open_case
from vesal.audit.fix_values import islands
from vesal.audit.fixed_copy import write_fixed
from vesal.audit.reference_cases import Cohort
from vesal.cli.app import app
from vesal.data.dataset import Dataset
from vesal.data.fingerprint import fingerprint
from vesal.errors import UsageError, VesalError
from vesal.layouts.registry import load_dataset
from vesal.volume.volume import LabelMap, Volume
from vesal.workflow import fix as workflow
from vesal.workflow.fix import fix_run

CASES = 9
AFFINE = np.array([[1.0, 0, 0, -20], [0, 1.0, 0, 12], [0, 0, 1.5, 7], [0, 0, 0, 1]])
SHAPE = (24, 26, 18)
Damage = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def anatomy(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two channels (X, Y, Z, 2) int16 and a label: a body that is bright on one side, with an organ of two parts."""
    generator = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    move = generator.uniform(-0.04, 0.04, 3)
    organ = ((x - 0.25 - move[0]) / 0.5) ** 2 + ((y + 0.2 - move[1]) / 0.6) ** 2 + ((z - 0.15) / 0.6) ** 2
    label = np.where(organ < 0.35, 2, np.where(organ < 1, 1, 0)).astype(np.uint8)
    body = x**2 + y**2 + z**2 < 1.6
    first = body * (200 + 60 * x + 40 * y + 30 * z) + 150 * (label == 1) + 350 * (label == 2)
    second = body * (900 - 80 * y) - 300 * (label == 1) + 200 * (label == 2)
    image = np.stack([first, second], axis=-1) + generator.normal(0, 12, (*SHAPE, 2))
    return np.clip(image, 0, None).round().astype(np.int16), label


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(path)
    return np.asarray(image.dataobj), image.affine.copy()


def image_of(folder: Path, number: int) -> Path:
    return folder / "imagesTr" / f"case_{number}.nii.gz"


def label_of(folder: Path, number: int) -> Path:
    return folder / "labelsTr" / f"case_{number}.nii.gz"


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean") / "Task"
    for number in range(CASES):
        image, label = anatomy(number)
        save(image_of(folder, number), image)
        save(label_of(folder, number), label)
    names = [f"case_{number}.nii.gz" for number in range(CASES)]
    description = {
        "name": "Organ",
        "licence": "CC0",
        "modality": {"0": "T2", "1": "ADC"},
        "labels": {"0": "background", "1": "rind", "2": "kernel"},
        "numTraining": CASES,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": [],
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    (folder / "LICENSE").write_text("free")
    return folder


@pytest.fixture
def data(clean: Path, tmp_path: Path, others: Cohort) -> Path:
    """A copy of the clean set, to be damaged."""
    return Path(shutil.copytree(clean, tmp_path / "data"))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


# --- one case ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def others(clean: Path) -> Cohort:
    """The sound cases, of which the damaged one is none."""
    dataset = load_dataset(clean)
    found = Cohort.of(dataset, fingerprint(dataset), {"case_4"})
    LEARNED["cohort"] = found
    return found


LEARNED: dict[str, Cohort] = {}


def fixed(folder: Path, kind: str, **details: Any) -> FixedCase:
    """What becomes of case 4 for which an error of this kind is told."""
    case = next(case for case in load_dataset(folder).cases if case.id == "case_4")
    return fix_case(case, [Order(case.id, kind, "error", f"A {kind}.", details)], LEARNED["cohort"], folder)


def only(result: FixedCase) -> Change:
    (change,) = result.changes
    return change


def undone(result: FixedCase, folder: Path, clean: Path, number: int = 4) -> None:
    """The fixed files are the undamaged ones, voxel by voxel and place by place."""
    assert result.files
    for path, volume in result.files.items():
        wanted, affine = load(clean / path.relative_to(folder))
        voxels = np.moveaxis(volume.array, 0, -1)
        np.testing.assert_array_equal(voxels[..., 0] if wanted.ndim == 3 else voxels, wanted)
        np.testing.assert_allclose(volume.geometry.affine, affine, atol=1e-5)


def rewrite(path: Path, change: Damage) -> None:
    save(path, *change(*load(path)))


def moved(
    by: tuple[float, float, float],
) -> Damage:
    return lambda array, affine: (array, affine + np.array([[0, 0, 0, v] for v in (*by, 0)]))


LABEL_DAMAGE: dict[str, tuple[str, Damage, dict[str, Any]]] = {
    "rounded header": ("label-grid", moved((0.2, 0, 0)), {}),
    "wrong header": ("label-grid", moved((4, 0, 0)), {}),
    "finer grid": (
        "label-shape",
        lambda a, f: (a.repeat(2, 0), f @ np.array([[0.5, 0, 0, -0.25], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])),
        {},
    ),
    "cropped, header right": ("label-shape", lambda a, f: (a[1:], moved((1, 0, 0))(a, f)[1]), {}),
    "cropped, header as before": ("label-shape", lambda a, f: (a[:, 1:], f), {}),
    "spread over 255": ("undeclared-value", lambda a, f: (np.array([0, 127, 255], np.uint8)[a], f), {}),
    "times fifty": ("undeclared-value", lambda a, f: (a * 50, f), {}),
    "one value misnamed": ("undeclared-value", lambda a, f: (np.array([0, 1, 9], np.uint8)[a], f), {}),
    "blurred": ("label-values", lambda a, f: (ndimage.shift(a.astype(np.float32), (0.3, 0, 0), order=1), f), {}),
    "in quarters": ("label-values", lambda a, f: ((a * 0.25).astype(np.float32), f), {}),
    "a slip of one voxel": (
        "undeclared-value",
        lambda a, f: (np.where(np.arange(a.size).reshape(a.shape) == 40, 9, a).astype(np.uint8), f),
        {},
    ),
    "axes exchanged": ("label-shape", lambda a, f: (np.ascontiguousarray(a.transpose(2, 0, 1)), f), {}),
    "classes exchanged": (
        "swapped-labels",
        lambda a, f: (np.array([0, 2, 1], np.uint8)[a], f),
        {"exchange": ["rind", "kernel"]},
    ),
    "label flipped": ("label-flipped", lambda a, f: (np.ascontiguousarray(a[:, ::-1]), f), {"axis": 1}),
    "label shifted by about that": (
        "label-shifted",
        lambda a, f: (np.roll(a, 3, 0), f),
        {"voxels": [1, 1, 0]},
    ),
    "label shifted": ("label-shifted", lambda a, f: (np.roll(a, 3, 0), f), {"voxels": [3, 0, 0]}),
}  # fmt: skip


@pytest.mark.parametrize("name", LABEL_DAMAGE)
def test_a_damaged_label_becomes_what_it_was(name: str, data: Path, clean: Path) -> None:
    kind, damage, details = LABEL_DAMAGE[name]
    rewrite(label_of(data, 4), damage)
    result = fixed(data, kind, **details)
    assert only(result).outcome == "fixed"
    assert only(result).files == ("labelsTr/case_4.nii.gz",)
    undone(result, data, clean)


def both(folder: Path, change: Damage) -> None:
    for path in (image_of(folder, 4), label_of(folder, 4)):
        rewrite(path, change)


def scaled(factor: float) -> Damage:
    return lambda array, affine: (array, np.diag([factor, factor, factor, 1]) @ affine)


def test_a_case_in_centimetres_is_put_into_millimetres(data: Path, clean: Path) -> None:
    both(data, scaled(0.1))
    result = fixed(data, "units")
    assert only(result).numbers == {"factor": 10.0}
    undone(result, data, clean)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_a_case_in_metres_or_micrometres_is_put_into_millimetres(
    factor: float, data: Path, clean: Path
) -> None:
    both(data, scaled(factor))
    undone(fixed(data, "units"), data, clean)


def test_a_spacing_ten_times_too_large_is_fixed_and_one_half_again_as_large_is_not(data: Path) -> None:
    both(data, lambda array, affine: (array, affine @ np.diag([1, 1, 10, 1])))
    assert only(fixed(data, "spacing")).numbers == {"factors": [1.0, 1.0, 0.1]}
    both(data, lambda array, affine: (array, affine @ np.diag([1, 1, 0.5, 1])))
    assert only(fixed(data, "spacing")).outcome == "left out"


def test_arrays_are_turned_to_the_axes_of_the_others_without_loss(data: Path, clean: Path) -> None:
    for path in (image_of(data, 4), label_of(data, 4)):
        image = nib.load(path)
        turn = ornt_transform(io_orientation(image.affine), axcodes2ornt("SLP"))
        turned = image.as_reoriented(turn)
        save(path, np.asarray(turned.dataobj), turned.affine)
    assert load(image_of(data, 4))[0].shape == (SHAPE[2], *SHAPE[:2], 2)
    result = fixed(data, "orientation")
    assert only(result).numbers == {"from": "SLP", "to": "RAS"}
    undone(result, data, clean)


def test_of_two_places_in_a_header_the_one_that_fits_label_and_cohort_is_kept_in_both(
    data: Path, clean: Path, tmp_path: Path
) -> None:
    image = nib.load(image_of(data, 4))
    image.set_sform(np.diag([-1, 1, 4, 1]) @ AFFINE, code=1)
    image.set_qform(AFFINE, code=1)
    nib.save(image, image_of(data, 4))
    result = fixed(data, "sform-qform")
    assert only(result).numbers["kept"] == "qform"
    undone(result, data, clean)


def test_a_sheared_grid_becomes_orthogonal_and_image_and_label_stay_where_they_were(data: Path) -> None:
    shear = np.eye(4)
    shear[0, 1] = 0.12
    both(data, lambda array, affine: (array, affine @ shear))
    result = fixed(data, "sheared")
    assert result.files is not None
    volume, label = result.files[image_of(data, 4)], result.files[label_of(data, 4)]
    axes = volume.geometry.affine[:3, :3]
    np.testing.assert_allclose(axes.T @ axes, np.diag(np.diag(axes.T @ axes)), atol=1e-9)
    assert volume.array.dtype == np.int16
    before, affine = load(label_of(data, 4))

    def centre(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
        return affine[:3, :3] @ np.argwhere(array == 2).mean(axis=0) + affine[:3, 3]

    np.testing.assert_allclose(
        centre(label.array[0], label.geometry.affine), centre(before, affine), atol=0.2
    )


def test_voxels_that_are_no_number_become_the_least_of_their_channel(data: Path) -> None:
    def damage(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        array = array.astype(np.float32) + 5
        array[3, 4, 5, 1], array[0, 0, 0, 1] = np.nan, np.inf
        return array, affine

    rewrite(image_of(data, 4), damage)
    result = fixed(data, "not-finite")
    assert only(result).numbers["voxels"] == 2
    assert result.files is not None
    array = result.files[image_of(data, 4)].array
    assert array[1, 3, 4, 5] == array[1, 0, 0, 0] == np.nanmin(load(image_of(data, 4))[0][..., 1])


def test_swapped_channels_are_put_in_the_order_of_the_others(data: Path, clean: Path) -> None:
    rewrite(image_of(data, 4), lambda array, affine: (array[..., ::-1], affine))
    undone(fixed(data, "swapped-channels", order=[1, 0]), data, clean)


def test_an_inverted_channel_is_negated_about_its_range(data: Path, clean: Path) -> None:
    def damage(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        array = array.copy()
        array[..., 0] = array[..., 0].max() - array[..., 0] + array[..., 0].min()
        return array, affine

    rewrite(image_of(data, 4), damage)
    undone(fixed(data, "inverted", channel=0), data, clean)


def test_an_image_flipped_along_two_axes_is_flipped_back_along_both(data: Path, clean: Path) -> None:
    both(data, lambda array, affine: (np.ascontiguousarray(array[::-1, :, ::-1]), affine))
    result = fixed(data, "image-flipped", axes=[0, 2])
    assert "axes 0 and 2" in only(result).wrong
    undone(result, data, clean)


def test_a_header_that_names_metres_and_means_millimetres_is_written_anew(data: Path, clean: Path) -> None:
    image = nib.load(image_of(data, 4))
    image.header.set_xyzt_units("meter")
    nib.save(image, image_of(data, 4))
    result = fixed(data, "units", factor=1.0, unit="m")
    assert only(result).files == ("imagesTr/case_4.nii.gz",)
    undone(result, data, clean)


def test_a_label_that_two_scans_have_stays_with_the_one_that_it_fits(data: Path) -> None:
    turned = np.ascontiguousarray(load(label_of(data, 4))[0][:, ::-1, ::-1])
    for number in (4, 6):  # case 6 is measured as the other one
        save(label_of(data, number), turned)
    rewrite(image_of(data, 6), lambda array, affine: (np.ascontiguousarray(array[:, ::-1, ::-1]), affine))
    dataset = load_dataset(data)
    cohort = Cohort.of(dataset, fingerprint(dataset), {"case_4", "case_6"})
    told = {}
    for case in dataset.cases:
        if case.id in ("case_4", "case_6"):
            order = Order(
                case.id, "mismatched-label", "warning", "One label.", {"cases": ["case_4", "case_6"]}
            )
            told[case.id] = only(fix_case(case, [order], cohort, data)).outcome
    assert told["case_4"] == "left out"


def test_labels_of_two_cases_that_were_exchanged_go_back(data: Path, clean: Path) -> None:
    turned = np.ascontiguousarray(load(image_of(data, 6))[0][:, ::-1, :10])
    held = np.ascontiguousarray(load(label_of(data, 6))[0][:, ::-1, :10])
    whole = load(label_of(data, 4))
    save(image_of(data, 6), turned)
    save(label_of(data, 6), whole[0])
    save(label_of(data, 4), held)
    dataset = load_dataset(data)
    cohort = Cohort.of(dataset, fingerprint(dataset), {"case_4", "case_6"})
    case = next(case for case in dataset.cases if case.id == "case_4")
    details = {"cases": ["case_4", "case_6"]}
    result = fix_case(case, [Order("case_4", "mismatched-label", "warning", "Odd.", details)], cohort, data)
    # Case 6 is upside down besides, so that it fits neither way: nothing is exchanged.
    assert only(result).outcome == "left out"
    save(image_of(data, 6), load(image_of(clean, 6))[0][:, :, :17])
    save(label_of(data, 4), load(label_of(clean, 6))[0][:, :, :17])
    result = fix_case(case, [Order("case_4", "mismatched-label", "warning", "Odd.", details)], cohort, data)
    assert only(result).numbers["with"] == "case_6"
    undone(result, data, clean)


def test_a_header_that_is_mirrored_is_corrected_and_the_voxels_stay(data: Path, clean: Path) -> None:
    both(data, lambda array, affine: (array, np.diag([1, -1, 1, 1]) @ affine))
    result = fixed(data, "orientation")
    assert "header was corrected" in only(result).done
    undone(result, data, clean)


def test_a_label_that_fits_no_scan_when_fixed_is_left_out(data: Path) -> None:
    rewrite(label_of(data, 4), lambda a, f: (np.ascontiguousarray(a[::-1, ::-1, :-1]), f))
    result = fixed(data, "label-shape")
    assert result.files is None
    assert [change.outcome for change in result.changes] == ["fixed", "left out"]
    assert "does not fit its image" in result.changes[-1].wrong


@pytest.mark.parametrize("with_label", [False, True])
def test_a_flipped_image_is_flipped_back_with_its_label_if_that_was_flipped_too(
    with_label: bool, data: Path, clean: Path
) -> None:
    def flip(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.ascontiguousarray(array[::-1]), affine

    rewrite(image_of(data, 4), flip)
    if with_label:
        rewrite(label_of(data, 4), flip)
    result = fixed(data, "image-flipped", axis=0)
    assert result.files is not None
    assert len(result.files) == 1 + with_label
    undone(result, data, clean)


def test_tiny_far_pieces_of_a_label_are_removed_and_near_or_large_ones_stay(data: Path, clean: Path) -> None:
    def damage(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        array = array.copy()
        array[1:3, 24:, 1] = 1
        return array, affine

    rewrite(label_of(data, 4), damage)
    undone(fixed(data, "stray-island"), data, clean)
    drawn = np.zeros((30, 30), np.uint8)
    drawn[:10, :10], drawn[20:, 20:], drawn[12, 2], drawn[2, 28] = 1, 1, 1, 1
    assert np.argwhere(islands(drawn, 0, (1.0, 1.0))).tolist() == [[2, 28]]
    drawn[2, 28] = 2  # all that there is of another class
    assert not islands(drawn, 0, (1.0, 1.0)).any()


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("label-flipped", {"axis": 0}),
        ("image-flipped", {"axis": 1}),
        ("swapped-labels", {"exchange": ["rind", "kernel"]}),
        ("swapped-channels", {"order": [1, 0]}),
        ("inverted", {"channel": 1}),
        ("label-shifted", {"voxels": [0, 2, 0]}),
        ("label-grid", {}),
        ("label-shape", {}),
        ("orientation", {}),
        ("units", {}),
        ("spacing", {}),
        ("sform-qform", {}),
        ("sheared", {}),
        ("not-finite", {}),
        ("label-values", {}),
        ("undeclared-value", {}),
        ("stray-island", {}),
        ("channel-count", {}),
        ("4d-file", {}),
        ("channel-grid", {}),
    ],
)
def test_no_fix_touches_a_sound_case_whatever_a_finding_says(
    kind: str, details: dict[str, Any], data: Path
) -> None:
    result = fixed(data, kind, **details)
    assert only(result).outcome == "kept"
    assert result.files == {}


def test_every_fix_is_asked_about_a_sound_case() -> None:
    # Of the parametrization above; a new fix has to be in it.
    marks = test_no_fix_touches_a_sound_case_whatever_a_finding_says.pytestmark  # type: ignore[attr-defined]
    assert {kind for kind, _ in marks[0].args[1]} == set(FIXES) - {"mismatched-label"}


@pytest.mark.parametrize(
    ("kind", "damage", "reason"),
    [
        ("label-grid", moved((500, 0, 0)), "do not overlap"),
        ("label-shape", lambda a, f: (a[:8], moved((300, 0, 0))(a, f)[1]), "do not overlap"),
        ("undeclared-value", lambda a, f: (a * np.uint8([17, 31]).repeat(12)[:, None, None], f), "not evident"),
        ("label-values", lambda a, f: (ndimage.gaussian_filter(a * 400.0, 2), f), "are declared"),
    ],
)  # fmt: skip
def test_what_cannot_be_fixed_is_left_out_with_the_reason(
    kind: str, damage: Any, reason: str, data: Path
) -> None:
    rewrite(label_of(data, 4), damage)
    result = fixed(data, kind)
    assert result.files is None
    assert only(result).outcome == "left out"
    assert reason in only(result).done


def test_a_file_that_is_cut_off_is_left_out(data: Path) -> None:
    image_of(data, 4).write_bytes(image_of(data, 4).read_bytes()[:900])
    assert fixed(data, "unreadable").files is None


# --- a data set --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def harmed(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine cases: a wrong header, other values, NaN, a damaged file, an empty label, a copy, and three sound ones."""
    folder = Path(shutil.copytree(clean, tmp_path_factory.mktemp("harmed") / "data"))
    rewrite(label_of(folder, 0), moved((0.2, 0, 0)))
    rewrite(label_of(folder, 1), lambda a, f: (np.array([0, 127, 255], np.uint8)[a], f))
    rewrite(
        image_of(folder, 2),
        lambda a, f: (np.where(np.indices(a.shape)[0] == 0, np.nan, a.astype(np.float32)), f),
    )
    image_of(folder, 3).write_bytes(image_of(folder, 3).read_bytes()[:900])
    rewrite(label_of(folder, 4), lambda a, f: (a * 0, f))
    shutil.copyfile(image_of(folder, 6), image_of(folder, 5))
    return folder


@pytest.fixture(scope="module")
def run(harmed: Path, tmp_path_factory: pytest.TempPathFactory) -> workflow.FixSummary:
    return fix_run(harmed, tmp_path_factory.mktemp("out"), pictures=1)


def test_a_fixed_set_reads_as_the_same_layout_and_has_nothing_wrong(run: workflow.FixSummary) -> None:
    dataset = load_dataset(run.folder)
    assert dataset.layout == "msd"
    assert [case.id for case in dataset.cases] == ["case_0", "case_1", "case_2", "case_5", "case_7", "case_8"]
    assert run.remaining == ()
    assert not [remark for remark in dataset.remarks if "numTraining" in remark or "speaks of" in remark]


def test_the_originals_are_untouched_and_sound_files_are_the_same_bytes(
    run: workflow.FixSummary, harmed: Path, clean: Path, tmp_path: Path
) -> None:
    before = contents(harmed)
    fix_run(harmed, tmp_path / "out", pictures=0)
    assert contents(harmed) == before
    after = contents(run.folder)
    changed = {name for change in run.changes for name in change.files}
    assert changed == {
        "labelsTr/case_0.nii.gz",
        "labelsTr/case_1.nii.gz",
        "imagesTr/case_2.nii.gz",
    }
    for name in set(after) & set(before) - changed - {"dataset.json"}:
        assert after[name] == before[name], name
    assert after["LICENSE"] == b"free"
    inodes = {path.stat().st_ino for path in harmed.rglob("*")}
    assert not inodes & {path.stat().st_ino for path in run.folder.rglob("*")}


def test_every_fault_is_told_with_what_became_of_it(run: workflow.FixSummary) -> None:
    told = {(change.case, change.kind): change.outcome for change in run.changes}
    assert told == {
        ("case_0", "label-grid"): "fixed",
        ("case_1", "undeclared-value"): "fixed",
        ("case_2", "not-finite"): "fixed",
        ("case_3", "unreadable"): "left out",
        ("case_4", "empty-label"): "left out",
        ("case_6", "duplicate"): "left out",
    }
    summary = json.loads((run.folder / "changes.json").read_text())
    assert summary["counts"] == {"cases": 6, "fixed": 3, "left_out": 3, "unchanged": 3, "look": 1}
    markdown = (run.folder / "changes.md").read_text()
    page = run.page.read_text()
    for change in run.changes:
        assert change.case in markdown
        assert change.kind in page


def test_a_fixed_set_trains(run: workflow.FixSummary, tmp_path: Path) -> None:
    command = f"train {run.folder} -o {tmp_path / 'run'} --steps 4 --device cpu --fold 0".split()
    settings = ("plan.patch=[16,16,16]", "plan.batch=2", "plan.width=0.1", "plan.measure=false")
    tiny = [word for setting in settings for word in ("--set", setting)]
    result = CliRunner().invoke(app, [*command, *tiny], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "fold_0" / "model.vesal").is_file()


def test_fixing_a_fixed_set_changes_nothing(run: workflow.FixSummary, tmp_path: Path) -> None:
    again = fix_run(run.folder, tmp_path / "again", pictures=0)
    assert again.changes == ()
    for name, data in contents(again.folder / "imagesTr").items():
        assert data == (run.folder / "imagesTr" / name).read_bytes()


def test_a_stopped_fixing_goes_on_and_gives_the_same(
    harmed: Path, run: workflow.FixSummary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def until(case: Any, files: Any, places: Any) -> dict[str, int]:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(case.id)
        return write_fixed(case, files, places)

    monkeypatch.setattr(workflow, "write_fixed", until)
    monkeypatch.setattr(workflow, "scan_workers", lambda *_, **__: 1)
    with pytest.raises(KeyboardInterrupt):
        fix_run(harmed, tmp_path / "out", pictures=0)
    with pytest.raises(UsageError, match="--resume"):
        fix_run(harmed, tmp_path / "out", pictures=0)
    first = list(written)
    written.clear()

    def more(case: Any, files: Any, places: Any) -> dict[str, int]:
        written.append(case.id)
        return write_fixed(case, files, places)

    monkeypatch.setattr(workflow, "write_fixed", more)
    resumed = fix_run(harmed, tmp_path / "out", pictures=0, resume=True)
    assert not set(first) & set(written)
    assert resumed.changes == run.changes
    same = {
        name: data for name, data in contents(run.folder).items() if name.startswith(("im", "la", "data"))
    }
    assert {name: data for name, data in contents(resumed.folder).items() if name in same} == same


def test_the_copy_is_refused_inside_the_data_and_where_something_is(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="inside it"):
        fix_run(data, data / "out")
    (tmp_path / "out" / "fixed").mkdir(parents=True)
    (tmp_path / "out" / "fixed" / "notes.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(UsageError, match="not empty"):
            fix_run(data, tmp_path / "out", resume=resume)


def test_another_data_set_is_not_mixed_into_a_fixing(data: Path, clean: Path, tmp_path: Path) -> None:
    fix_run(data, tmp_path / "out", pictures=0)
    with pytest.raises(UsageError, match="another data"):
        fix_run(clean, tmp_path / "out", resume=True)


def test_where_no_case_is_left_it_says_why(clean: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clean, tmp_path / "data"))
    for number in range(CASES):
        image_of(folder, number).write_bytes(b"no image")
    with pytest.raises(VesalError, match="No case"):
        fix_run(folder, tmp_path / "out")


def test_the_command_tells_every_change_and_ends_well(harmed: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(harmed), "--fix", "-o", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["counts"]["fixed"] == 3
    with pytest.raises(UsageError, match="-o"):
        CliRunner().invoke(app, ["inspect", str(harmed), "--fix"], catch_exceptions=False)


# --- other layouts -----------------------------------------------------------------------------------------


def test_an_nnunet_case_in_one_4d_file_is_split_into_a_file_a_channel(clean: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Dataset001_Organ"
    for number in range(5):
        image, _ = load(image_of(clean, number))
        if number == 2:
            save(folder / "imagesTr" / f"case_{number}_0000.nii.gz", image)
        else:
            for channel in (0, 1):
                save(folder / "imagesTr" / f"case_{number}_000{channel}.nii.gz", image[..., channel])
        (folder / "labelsTr").mkdir(exist_ok=True)
        shutil.copyfile(label_of(clean, number), label_of(folder, number))
    labels = {"background": 0, "rind": 1, "kernel": 2}
    described = {
        "channel_names": {"0": "T2", "1": "ADC"},
        "labels": labels,
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    assert len(load_dataset(folder).cases) == 4
    result = fix_run(folder, tmp_path / "out", pictures=0)
    dataset = load_dataset(result.folder)
    assert dataset.layout == "nnunet"
    assert len(dataset.cases) == 5
    image, _ = load(image_of(clean, 2))
    for channel in (0, 1):
        split, _ = load(result.folder / "imagesTr" / f"case_2_000{channel}.nii.gz")
        np.testing.assert_array_equal(split, image[..., channel])


def test_channels_on_different_grids_are_brought_onto_that_of_the_label(
    clean: Path, tmp_path: Path, others: Cohort
) -> None:
    folder = tmp_path / "Dataset002_Organ"
    for number in range(5):
        image, _ = load(image_of(clean, number))
        save(folder / "imagesTr" / f"case_{number}_0000.nii.gz", image[..., 0])
        second = image[..., 1].astype(np.float32)
        if number == 2:  # half as fine along the first axis, its voxels between those of the first channel
            second = (second[::2] + second[1::2]) / 2
        grid = AFFINE @ np.array([[2, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        save(folder / "imagesTr" / f"case_{number}_0001.nii.gz", second, grid if number == 2 else AFFINE)
        (folder / "labelsTr").mkdir(exist_ok=True)
        shutil.copyfile(label_of(clean, number), label_of(folder, number))
    labels = {"background": 0, "rind": 1, "kernel": 2}
    described = {
        "channel_names": {"0": "T2", "1": "ADC"},
        "labels": labels,
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    case = load_dataset(folder).cases[2]
    result = fix_case(case, [Order(case.id, "channel-grid", "error", "Apart.")], others, folder)
    assert only(result).outcome == "fixed"
    assert result.files is not None
    volume = result.files[folder / "imagesTr" / "case_2_0001.nii.gz"]
    assert volume.geometry.shape == SHAPE
    wanted = load(image_of(clean, 2))[0][..., 1].astype(float)
    assert np.corrcoef(volume.array[0].ravel(), wanted.ravel())[0, 1] > 0.95


def test_a_test_scan_of_a_patient_who_is_trained_on_is_left_out(clean: Path) -> None:
    dataset = load_dataset(clean)
    test = dataset.cases[0].model_copy(update={"id": "case_t", "label": None})
    leaking = dataset.model_copy(update={"unlabelled": (test,)})
    finding = Finding(
        kind="patient-leak",
        severity="warning",
        cases=("case_t", "case_0", "case_1"),
        message="Leak.",
        fix="",
    )
    assert set(plan_fixes(leaking, [finding]).left_out) == {"case_t"}


def test_files_from_elsewhere_come_together_with_a_manifest(clean: Path, tmp_path: Path) -> None:
    rewrite(Path(shutil.copyfile(label_of(clean, 1), tmp_path / "odd.nii.gz")), moved((0.2, 0, 0)))
    cases = [
        {
            "id": f"p{number}",
            "image": str(image_of(clean, number)),
            "label": str(tmp_path / "odd.nii.gz" if number == 1 else label_of(clean, number)),
            "patient": f"patient_{number // 2}",
        }
        for number in range(6)
    ]
    (tmp_path / "data").mkdir()
    labels = {"background": 0, "rind": 1, "kernel": 2}
    manifest = {"channels": ["T2", "ADC"], "labels": labels, "cases": cases}
    (tmp_path / "data" / "manifest.json").write_text(json.dumps(manifest))
    result = fix_run(tmp_path / "data", tmp_path / "out", pictures=0)
    dataset: Dataset = load_dataset(result.folder)
    assert [(case.id, case.patient) for case in dataset.cases] == [
        (case["id"], case["patient"]) for case in cases
    ]
    assert all(path.is_relative_to(result.folder) for case in dataset.cases for path in case.images)
    assert {change.kind for change in result.changes} == {"label-grid"}


def test_only_files_that_changed_are_written_anew(data: Path) -> None:
    case = load_dataset(data).cases[0]
    before = open_case(case)
    assert changed_files(before, before) == {}
    assert before.label is not None
    after = before.with_label(before.label.array + 0)
    assert changed_files(before, after) == {}
    louder = before.with_image(before.image.array + 1)
    assert set(changed_files(before, louder)) == {image_of(data, 0)}
    assert isinstance(changed_files(before, louder)[image_of(data, 0)], Volume)
    assert isinstance(before.label, LabelMap)
