"""Preparation: exact on the way in and on the way out, the same for training and prediction, cached by content."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from engine_work import Losing
from scans import LABELS, ORIENTATIONS, make_plan, make_scan, oriented, write_case

from vesal.data.dataset import Case
from vesal.engine.local_engine import LocalEngine
from vesal.errors import DataError
from vesal.preprocessing import prepare as module
from vesal.preprocessing.prepare import prepare, prepare_dataset
from vesal.volume.geometry import Geometry
from vesal.volume.volume import LabelMap, Volume

# --- there and back --------------------------------------------------------------------------------------


@pytest.mark.parametrize("slice_axis", [None, 0, 1, 2])
def test_pasting_gives_the_label_back_bit_for_bit_in_all_48_orientations(slice_axis: int | None) -> None:
    for order, signs in ORIENTATIONS:
        grid = oriented(order, signs)
        image, label = make_scan(grid)
        spacing = tuple(value for axis, value in enumerate((1.0, 2.0, 3.0)) if axis != slice_axis)
        plan = make_plan(len(spacing), slice_axis=slice_axis, spacing_mm=spacing)
        prepared = prepare(image, plan, label)
        assert prepared.crop.shape == prepared.crop.crop_shape
        back = LABELS.decode(prepared.crop.paste(prepared.label))
        assert np.array_equal(back, label.array)
        # Channels and other leading axes go along.
        pasted = prepared.crop.paste(prepared.image)
        assert pasted.shape == image.array.shape
        assert np.corrcoef(pasted.ravel(), image.array.ravel())[0, 1] > 0.999


def test_the_same_head_in_any_orientation_is_prepared_to_the_same_array() -> None:
    reference, _ = make_scan(oriented((0, 1, 2), (1, 1, 1)))
    expected = prepare(reference, make_plan()).image
    for order, signs in ORIENTATIONS:
        array = reference.array[0].transpose(order)
        array = np.flip(array, [axis for axis, sign in enumerate(signs) if sign < 0])
        found = prepare(Volume(array[None], oriented(order, signs)), make_plan()).image
        assert np.allclose(found, expected, atol=2e-3)


def test_a_cropped_and_resampled_scan_keeps_its_place() -> None:
    grid = oriented((2, 0, 1), (-1, 1, -1), spacing=(0.5, 1.0, 1.5), shape=(40, 30, 20))
    image, label = make_scan(grid)
    image.array[:, :5], image.array[:, :, -12:] = 0, 0
    prepared = prepare(image, make_plan(), label)
    crop = prepared.crop
    assert crop.crop_shape == (28, 30, 15)
    assert crop.shape == prepared.image.shape[1:] == prepared.label.shape == (14, 15, 8)
    inside = crop.paste(np.ones(crop.crop_shape, np.uint8), fill=0)
    assert np.array_equal(inside == 1, image.array[0] != 0)
    assert np.array_equal(crop.cut(inside), np.ones(crop.crop_shape))
    labelled = np.isin(label.array, (1, 7))
    assert prepared.outside == np.count_nonzero(labelled & (image.array[0] == 0)) > 0


def test_slices_keep_their_own_spacing() -> None:
    image, label = make_scan(oriented((0, 1, 2), (1, 1, 1), spacing=(1.0, 1.0, 8.0), shape=(20, 30, 6)))
    plan = make_plan(2, slice_axis=2, spacing_mm=(2.0, 2.0))
    prepared = prepare(image, plan, label)
    assert prepared.image.shape == (1, 6, 10, 15)
    assert prepared.label.shape == (6, 10, 15)


def test_a_2d_image_is_a_stack_of_one() -> None:
    grid = Geometry.from_spacing((12, 16), (1.0, 1.0))
    image, label = make_scan(grid, channels=3)
    prepared = prepare(image, make_plan(2, channels=3, spacing_mm=(1.0, 1.0)), label)
    assert prepared.image.shape == (3, 1, 12, 16)
    assert np.array_equal(LABELS.decode(prepared.crop.paste(prepared.label)), label.array)


def test_spacings_that_differ_by_rounding_are_not_resampled() -> None:
    image, _ = make_scan(oriented((0, 1, 2), (1, 1, 1), spacing=(1.0009, 2.0, 3.0), shape=(900, 4, 4)))
    assert prepare(image, make_plan()).crop.shape == (900, 4, 4)


# --- intensities -----------------------------------------------------------------------------------------


def test_preparing_changes_nothing_of_its_input() -> None:
    image, label = make_scan(Geometry.from_spacing((9, 8, 7), (1.0, 2.0, 3.0)))
    before = image.array.copy(), label.array.copy()
    prepare(image, make_plan(), label)
    assert np.array_equal(image.array, before[0])
    assert np.array_equal(label.array, before[1])


# --- what cannot be prepared -----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["zscore", "zscore_nonzero"])
def test_the_order_in_memory_does_not_matter(scheme: str) -> None:
    """Files have the first axis fastest, arrays of numpy the last; both are prepared to the bit alike."""
    image, label = make_scan(oriented((1, 0, 2), (1, -1, 1), spacing=(0.7, 1.1, 2.0), shape=(40, 33, 21)))
    plan = make_plan(scheme=scheme)
    found = [
        prepare(
            Volume(np.array(image.array, order=order), image.geometry),
            plan,
            LabelMap(np.array(label.array, order=order), label.geometry),
        )
        for order in ("C", "F")
    ]
    assert np.array_equal(found[0].image, found[1].image)
    assert np.array_equal(found[0].label, found[1].label)
    for one in found:
        assert one.image.flags.c_contiguous
        assert one.label.flags.c_contiguous


def test_a_few_labels_are_resampled_without_scipy() -> None:
    """Its ndimage takes as long to import as some scans to prepare."""
    program = (
        "import sys, numpy as np\n"
        "from vesal.volume.resample import resize, resize_label\n"
        "resize_label(np.eye(8, dtype=np.uint8), (5, 5), 1); resize(np.ones((1, 8, 8)), (5, 5), 1)\n"
        "sys.exit('scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_bad_input_is_told_in_a_sentence() -> None:
    grid = Geometry.from_spacing((9, 8, 7), (1.0, 2.0, 3.0))
    image, label = make_scan(grid)
    flat, _ = make_scan(Geometry.from_spacing((9, 8), (1.0, 2.0)))
    with pytest.raises(DataError, match=r"2 axes .* needs 3; give a 3D image"):
        prepare(flat, make_plan())
    with pytest.raises(DataError, match=r"3 axes .* needs 2; give slices"):
        prepare(image, make_plan(2, spacing_mm=(1.0, 2.0)))
    with pytest.raises(DataError, match=r"1 channel where the plan needs 2 \(c0, c1\)"):
        prepare(image, make_plan(channels=2))
    with pytest.raises(DataError, match="the label has shape"):
        prepare(image, make_plan(), LabelMap(label.array[:-1], Geometry.from_spacing((8, 8, 7), (1, 2, 3))))
    with pytest.raises(DataError, match=r"up to 4 mm .* vesal inspect"):
        prepare(image, make_plan(), LabelMap(label.array, Geometry.from_spacing((9, 8, 7), (1.5, 2.0, 3.0))))
    with pytest.raises(DataError, match=r"\[3\] are not declared"):
        prepare(image, make_plan(), LabelMap(np.where(label.array == 7, 3, 0), grid))
    image.array[0, 1, 2, 3], image.array[0, 0, 0, 0] = np.nan, np.inf
    with pytest.raises(DataError, match="2 voxels that no finite 32-bit number holds"):
        prepare(image, make_plan())
    large = np.zeros((1, 9, 8, 7))
    large[0, 1, 2, 3] = 1e300
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match="1 voxel that no finite"):
            prepare(Volume(large, grid), make_plan())


def test_a_spacing_that_would_need_terabytes_is_refused_before_they_are_asked_for() -> None:
    image, _ = make_scan(Geometry.from_spacing((9, 8, 7), (1000.0, 2000.0, 3000.0)))
    with pytest.raises(
        DataError, match=r"9000 x 8000 x 7000 voxels, 2,016 GB where .* 1000 x 2000 x 3000 mm"
    ):
        prepare(image, make_plan())


def test_a_header_that_differs_by_rounding_is_accepted() -> None:
    image, label = make_scan(Geometry.from_spacing((9, 8, 7), (1.0, 2.0, 3.0)))
    close = LabelMap(label.array, Geometry.from_spacing((9, 8, 7), (1.001, 2.0, 3.0)))
    assert np.array_equal(prepare(image, make_plan(), close).label, prepare(image, make_plan(), label).label)


@pytest.mark.parametrize(
    "name", ["Task02_Heart", "Task04_Hippocampus", "Task05_Prostate", "ACDC", "BraTS2018"]
)
def test_real_scans_of_every_layout_are_planned_prepared_and_put_back(
    name: str, data_dir: Path, tmp_path: Path
) -> None:
    from vesal.data.fingerprint import fingerprint
    from vesal.layouts.registry import load_dataset
    from vesal.planning.planner import make_plan as plan_for

    dataset = load_dataset(data_dir / name)
    dataset = dataset.model_copy(update={"cases": dataset.cases[:2]})
    plan = plan_for(fingerprint(dataset), dataset.labels, budget_s=1200)
    ready, failed = prepare_dataset(dataset.cases, plan, tmp_path)
    assert not failed
    for case, one in zip(dataset.cases, ready, strict=True):
        raw = module.read_case(case)
        image, label = one.load()
        assert image.shape == (len(plan.channels), *label.shape)
        assert np.isfinite(image).all()
        assert abs(float(image.mean())) < 1
        assert one.outside == 0
        crop = one.crop
        truth = dataset.labels.encode(raw.label.array)
        assert np.array_equal(crop.paste(crop.cut(truth)), truth)
        # Classes keep their size through resampling, to a few percent.
        share = crop.crop_shape[0] * crop.crop_shape[1] * crop.crop_shape[2] / label.size
        assert np.count_nonzero(label) * share == pytest.approx(np.count_nonzero(truth), rel=0.05)


def test_the_foreground_channel_is_one_inside_and_comes_last() -> None:
    grid = Geometry.from_spacing((8, 9, 10), (1.0, 2.0, 3.0))
    image, _ = make_scan(grid, channels=2)
    array = image.array.copy()
    array[:, 3:5] = 0.0
    array[1, 3] = 7.0
    plan = make_plan(channels=2, scheme="zscore_nonzero", foreground_channel=True)
    prepared = prepare(Volume(array, grid), plan).image
    assert prepared.shape == (plan.inputs, 8, 9, 10)
    expected = np.ones((8, 9, 10), np.float32)
    expected[4] = 0.0
    assert np.array_equal(prepared[-1], expected)
    coarse = make_plan(channels=2, foreground_channel=True, spacing_mm=(2.0, 4.0, 6.0))
    assert set(np.unique(prepare(Volume(array, grid), coarse).image[-1])) <= {0.0, 1.0}


# --- a box ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slice_axis", [None, 0, 1, 2])
def test_a_box_is_cut_out_of_what_is_prepared_without_it_in_all_48_orientations(
    slice_axis: int | None,
) -> None:
    spacing = tuple(value for axis, value in enumerate((1.0, 2.0, 3.0)) if axis != slice_axis)
    plan = make_plan(len(spacing), slice_axis=slice_axis, spacing_mm=spacing)
    for order, signs in ORIENTATIONS:
        image, label = make_scan(oriented(order, signs))
        whole = prepare(image, plan, label)
        start, stop = (1, 2, 1), tuple(size - 1 for size in image.geometry.turned(whole.crop.turn).shape)
        part = prepare(image, plan, label, box=(start, stop))
        assert (part.crop.crop_start, part.crop.crop_stop) == (start, stop)
        # Its intensities are normalised by the whole scan, and both lie on the scan's own voxels.
        inside = part.crop.paste(np.ones(part.crop.crop_shape, dtype=bool), fill=False)
        pasted, expected = part.crop.paste(part.image), whole.crop.paste(whole.image)
        assert np.array_equal(pasted[:, inside], expected[:, inside])
        assert part.label is not None
        assert part.outside == np.count_nonzero(np.isin(label.array, (1, 7)) & ~inside)


def test_a_box_beside_the_scan_s_voxels_keeps_all_of_them() -> None:
    image, _ = make_scan(oriented((0, 1, 2), (1, 1, 1)))
    image.array[:, :5] = 0
    prepared = prepare(image, make_plan(), box=((0, 0, 0), (4, 9, 9)))
    assert prepared.crop.crop_start[0] == 5
    assert prepared.crop.crop_shape[1:] == image.geometry.shape[1:]


def test_a_plan_with_a_locator_is_trained_on_the_labels_and_a_margin() -> None:
    grid = Geometry.from_spacing((30, 30, 30), (1.0, 1.0, 2.0))
    array = np.zeros(grid.shape, dtype=np.uint8)
    array[10:14, 5:9, 20:25] = 1
    image = Volume(np.random.default_rng(0).normal(50, 5, (1, *grid.shape)).astype(np.float32), grid)
    plan = make_plan(spacing_mm=(1.0, 1.0, 2.0))
    two = plan.model_copy(update={"locator": plan, "margin_mm": 3.0})
    # The margin and as much again, so that patches may lie a margin off.
    crop = prepare(image, two.model_copy(update={"patch": (2, 2, 2)}), LabelMap(array, grid)).crop
    assert crop.box == ((4, 0, 17), (20, 15, 28))
    # In a larger patch the labels lie off by as much, as far as the scan goes.
    crop = prepare(image, two.model_copy(update={"patch": (12, 8, 6)}), LabelMap(array, grid)).crop
    assert crop.box == ((3, 0, 17), (21, 15, 28))
    # Without a label nobody knows where to look.
    assert prepare(image, two).crop.crop_shape == grid.shape
    empty = LabelMap(np.zeros_like(array), grid)
    assert prepare(image, two, empty).crop.crop_shape == grid.shape


@pytest.mark.parametrize("slice_axis", [None, 0, 1, 2])
def test_a_fine_stage_sees_the_scan_itself_as_far_as_a_patch_reaches(slice_axis: int | None) -> None:
    spacing = tuple(value for axis, value in enumerate((1.0, 2.0, 3.0)) if axis != slice_axis)
    plan = make_plan(len(spacing), slice_axis=slice_axis, spacing_mm=spacing, patch=(6,) * len(spacing))
    two = plan.model_copy(update={"locator": plan, "margin_mm": 1.0})
    image, _ = make_scan(oriented((0, 1, 2), (1, 1, 1), shape=(9, 8, 7)))
    crop = prepare(image, two, box=((3, 3, 5), (5, 5, 7))).crop
    sides = [last - first for first, last in zip(*crop.box, strict=True)]
    assert sides == [2 if axis == slice_axis else 6 for axis in range(3)]
    assert crop.crop_stop[2] == 7
    everywhere = ((0, 0, 0), (9, 8, 7))
    assert prepare(image, two, box=everywhere).crop.box == everywhere


def test_places_elsewhere_are_as_large_and_hold_the_labels_that_are_there(tmp_path: Path) -> None:
    grid = Geometry.from_spacing((40, 40, 40), (1.0, 1.0, 1.0))
    image = np.random.default_rng(0).normal(50, 5, grid.shape).astype(np.float32)
    label = np.zeros(grid.shape, dtype=np.uint8)
    label[2:8, 3:9, 4:10] = 1
    for name, array in (("image", image), ("label", label)):
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
    case = Case(id="a", patient="a", images=(tmp_path / "image.nii.gz",), label=tmp_path / "label.nii.gz")
    plan = make_plan(spacing_mm=(1.0, 1.0, 1.0), patch=(16, 6, 6))
    two = plan.model_copy(update={"locator": plan, "margin_mm": 2.0})
    boxes = []
    for place in (0, 1, 2):
        (found,), _ = prepare_dataset([case], two, tmp_path / "cache", place=place)
        boxes.append((found.crop.crop_start, found.crop.crop_stop))
        assert found.crop.shape == ((20, 13, 14) if place == 0 else (16, 10, 10))
        held = found.load()[1]
        box = tuple(map(slice, *boxes[-1]))
        assert np.array_equal(held, label[box])
    assert boxes[0] == ((0, 0, 0), (20, 13, 14))
    assert len(set(boxes)) == 3
    again = prepare_dataset([case], two, tmp_path / "other", place=1)[0][0].crop
    assert (again.crop_start, again.crop_stop) == boxes[1]


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "index.json"}


def test_the_workers_of_an_engine_prepare_the_same_and_nothing_twice(tmp_path: Path) -> None:
    cases = [write_case(tmp_path, str(number), number) for number in range(3)]
    plan = make_plan()
    cases[1].images[0].write_bytes(b"not a scan")
    failures = []
    for name, engine in (("alone", None), ("engine", LocalEngine(2))):
        ready, failed = prepare_dataset(cases, plan, tmp_path / name, engine=engine)
        assert [case.id for case in ready] == ["0", "2"]
        failures.append(failed)
    assert failures[0] == failures[1]
    assert _contents(tmp_path / "engine") == _contents(tmp_path / "alone")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "engine").glob("*.npy")}
    prepare_dataset(cases, plan, tmp_path / "engine", engine=Losing())
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_case_that_kills_its_worker_is_left_out_of_the_preparation(tmp_path: Path) -> None:
    cases = [write_case(tmp_path, str(number), number) for number in range(3)]
    plan = make_plan()
    ready, failed = prepare_dataset(cases, plan, tmp_path / "cache", engine=Losing(lost=(2,)))
    assert [case.id for case in ready] == ["0", "1"]
    assert [failure.message for failure in failed] == ["Case 2: its worker died 2 times (signal 9)."]
