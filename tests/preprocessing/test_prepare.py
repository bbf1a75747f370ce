"""Preparation: exact on the way in and on the way out, the same for training and prediction, cached by content."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vesal.data.crop import Crop, nonzero_box
from vesal.data.dataset import Case
from vesal.data.labels import IGNORE, LabelSet
from vesal.data.moments import moments
from vesal.errors import DataError, VesalError
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.preprocessing import cache as cache_module
from vesal.preprocessing import prepare as module
from vesal.preprocessing.normalise import normalise
from vesal.preprocessing.prepare import PreparedCase, prepare, prepare_dataset
from vesal.volume.geometry import Geometry
from vesal.volume.volume import LabelMap, Volume

LABELS = LabelSet.from_values({"background": 0, "shell": 1, "core": 7, "ignore": 9})
ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def make_plan(dimension: int = 3, *, scheme: str = "zscore", channels: int = 1, **changes) -> Plan:
    axes = (1,) * dimension
    settings = {
        "dimension": dimension,
        "spacing_mm": (1.0, 2.0, 3.0)[-dimension:],
        "patch": (8,) * dimension,
        "batch": 2,
        "stages": (Stage(features=4, kernel=axes, stride=axes),),
        "normalisation": (Normalisation(scheme=scheme),) * channels,
        "mirror_axes": tuple(range(dimension)),
        "channels": tuple(f"c{i}" for i in range(channels)),
        "labels": LABELS,
        "median_shape": (8,) * dimension,
    }
    return Plan(**(settings | changes))


def oriented(order, signs, spacing=(1.0, 2.0, 3.0), shape=(9, 8, 7)) -> Geometry:
    """A grid whose array axis i runs along world axis order[i], with that axis' spacing."""
    affine = np.zeros((4, 4))
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, axis] = sign * spacing[world]
    affine[:, 3] = (-7.0, 11.0, 3.0, 1.0)
    return Geometry(tuple(shape[world] for world in order), affine)


def make_scan(grid: Geometry, seed: int = 0, channels: int = 1) -> tuple[Volume, LabelMap]:
    generator = np.random.default_rng(seed)
    image = generator.normal(100, 30, (channels, *grid.shape)).astype(np.float32)
    label = generator.choice(np.array([0, 1, 7, 9], np.uint8), grid.shape)
    return Volume(image, grid), LabelMap(label, grid)


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


def test_a_placement_survives_json() -> None:
    image, _ = make_scan(oriented((1, 2, 0), (1, -1, 1)))
    crop = prepare(image, make_plan(2, slice_axis=1, spacing_mm=(1.0, 3.0))).crop
    again = Crop.from_dict(json.loads(json.dumps(crop.to_dict())))
    assert again.to_dict() == crop.to_dict()
    part = np.arange(np.prod(crop.crop_shape)).reshape(crop.crop_shape)
    assert np.array_equal(again.paste(part, fill=-1), crop.paste(part, fill=-1))
    with pytest.raises(ValueError, match="cropped shape"):
        crop.paste(np.zeros((2, 2, 2)))


def test_spacings_that_differ_by_rounding_are_not_resampled() -> None:
    image, _ = make_scan(oriented((0, 1, 2), (1, 1, 1), spacing=(1.0009, 2.0, 3.0), shape=(900, 4, 4)))
    assert prepare(image, make_plan()).crop.shape == (900, 4, 4)


def test_the_box_of_nonzero_voxels_is_that_of_all_channels() -> None:
    image = np.zeros((2, 10, 11, 12), np.float32)
    image[0, 2, 3, 4], image[1, 7, 3, 9] = 5, np.nan
    for array in (image, np.asfortranarray(image), image[:, ::-1][:, ::-1]):
        assert nonzero_box(array) == ((2, 3, 4), (8, 4, 10))
    assert nonzero_box(image * 0 + 1) == ((0, 0, 0), (10, 11, 12))
    assert nonzero_box(np.zeros((1, 4, 5))) == ((0, 0), (4, 5))
    volume = Volume(np.nan_to_num(image[:1]) * 0, Geometry.from_spacing((10, 11, 12), (1.0, 2.0, 3.0)))
    assert not prepare(volume, make_plan()).image.any()


# --- intensities -----------------------------------------------------------------------------------------


def test_moments_agree_with_numpy_far_from_zero() -> None:
    values = np.random.default_rng(0).normal(1e6, 3, (70, 60, 50)).astype(np.float32)
    found = moments(np.asfortranarray(values))
    assert (found.minimum, found.maximum, found.count) == (values.min(), values.max(), values.size)
    assert found.mean == pytest.approx(values.mean(dtype=float), rel=1e-12)
    assert found.std == pytest.approx(values.std(dtype=float), rel=1e-9)
    assert moments(np.full(3, np.nan)).not_finite == 3


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"scheme": "zscore"}, lambda x: (x - x.mean()) / x.std()),
        (
            {"scheme": "zscore_nonzero"},
            lambda x: np.where(x != 0, (x - x[x != 0].mean()) / x[x != 0].std(), 0),
        ),
        (
            {"scheme": "ct", "lower": -50, "upper": 120, "mean": 20, "std": 40},
            lambda x: (np.clip(x, -50, 120) - 20) / 40,
        ),
        ({"scheme": "minmax"}, lambda x: (x - x.min()) / (x.max() - x.min())),
        ({"scheme": "window", "lower": 0, "upper": 100}, lambda x: np.clip(x, 0, 100) / 100),
        ({"scheme": "none"}, lambda x: x),
    ],
)
def test_each_scheme_is_its_formula(how: dict, expected) -> None:
    values = np.random.default_rng(1).normal(50, 60, (10, 11, 12)).astype(np.float32)
    values[:4] = 0
    wanted = expected(values.astype(float))
    normalise(values, Normalisation(**how))
    assert np.allclose(values, wanted, atol=1e-4)


@pytest.mark.parametrize("scheme", ["zscore", "zscore_nonzero", "minmax"])
def test_a_constant_image_becomes_zero(scheme: str) -> None:
    values = np.full((4, 4), 1000.1, np.float32)
    normalise(values, Normalisation(scheme=scheme))
    assert not values.any()


def test_preparing_changes_nothing_of_its_input() -> None:
    image, label = make_scan(Geometry.from_spacing((9, 8, 7), (1.0, 2.0, 3.0)))
    before = image.array.copy(), label.array.copy()
    prepare(image, make_plan(), label)
    assert np.array_equal(image.array, before[0])
    assert np.array_equal(label.array, before[1])


# --- what cannot be prepared -----------------------------------------------------------------------------


def test_bad_input_is_told_in_a_sentence() -> None:
    grid = Geometry.from_spacing((9, 8, 7), (1.0, 2.0, 3.0))
    image, label = make_scan(grid)
    flat, _ = make_scan(Geometry.from_spacing((9, 8), (1.0, 2.0)))
    with pytest.raises(DataError, match=r"2 axes .* needs 3; give a 3D image"):
        prepare(flat, make_plan())
    with pytest.raises(DataError, match=r"3 axes .* needs 2; give a 2D image"):
        prepare(image, make_plan(2, spacing_mm=(1.0, 2.0)))
    with pytest.raises(DataError, match=r"channels is 1 where the plan needs 2 \(c0, c1\)"):
        prepare(image, make_plan(channels=2))
    with pytest.raises(DataError, match="the label has shape"):
        prepare(image, make_plan(), LabelMap(label.array[:-1], Geometry.from_spacing((8, 8, 7), (1, 2, 3))))
    with pytest.raises(DataError, match=r"up to 4 mm .* vesal inspect"):
        prepare(image, make_plan(), LabelMap(label.array, Geometry.from_spacing((9, 8, 7), (1.5, 2.0, 3.0))))
    with pytest.raises(DataError, match=r"\[3\] are not declared"):
        prepare(image, make_plan(), LabelMap(np.where(label.array == 7, 3, 0), grid))
    image.array[0, 1, 2, 3], image.array[0, 0, 0, 0] = np.nan, np.inf
    with pytest.raises(DataError, match="2 voxels that are not finite"):
        prepare(image, make_plan())


def test_a_header_that_differs_by_rounding_is_accepted() -> None:
    image, label = make_scan(Geometry.from_spacing((9, 8, 7), (1.0, 2.0, 3.0)))
    close = LabelMap(label.array, Geometry.from_spacing((9, 8, 7), (1.001, 2.0, 3.0)))
    assert np.array_equal(prepare(image, make_plan(), close).label, prepare(image, make_plan(), label).label)


# --- the cache -------------------------------------------------------------------------------------------


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    return [write_case(tmp_path / "scans", f"case_{seed}", seed) for seed in range(4)]


def write_case(folder: Path, name: str, seed: int) -> Case:
    folder.mkdir(exist_ok=True)
    image, label = make_scan(oriented((0, 1, 2), (1, 1, 1), shape=(20, 10, 8)), seed)
    nib.save(nib.Nifti1Image(image.array[0], image.geometry.affine), folder / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(label.array, label.geometry.affine), folder / f"{name}_label.nii.gz")
    paths = folder / f"{name}.nii.gz", folder / f"{name}_label.nii.gz"
    return Case(id=name, images=paths[:1], label=paths[1], patient=f"patient of {name}")


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done since: 'read CASE' and 'prepare'."""
    done: list[str] = []
    read, work = module.read_case, module.prepare
    monkeypatch.setattr(module, "read_case", lambda case: done.append(f"read {case.id}") or read(case))
    monkeypatch.setattr(module, "prepare", lambda *given: done.append("prepare") or work(*given))
    return done


def test_the_cache_holds_to_the_bit_what_prediction_sees(cases: list[Case], tmp_path: Path) -> None:
    plan = make_plan(spacing_mm=(1.5, 2.0, 3.0))
    ready, failed = prepare_dataset(cases, plan, tmp_path / "cache")
    assert not failed
    assert [case.id for case in ready] == [case.id for case in cases]
    assert ready[1].patient == "patient of case_1"
    for case, one in zip(cases, ready, strict=True):
        raw = module.read_case(case)
        direct = prepare(raw.image, plan, raw.label)
        image, label = one.load()
        assert image.dtype == np.float32
        assert label.dtype == np.uint8
        assert np.array_equal(image, direct.image)
        assert np.array_equal(label, direct.label)
        mapped, _ = one.load(mmap=True)
        assert isinstance(mapped, np.memmap)
        assert mapped.dtype == np.float16
        assert np.array_equal(mapped.astype(np.float32), image)
        assert one.crop.to_dict() == direct.crop.to_dict()
        assert one.nbytes == one.image.stat().st_size + one.label.stat().st_size


def test_places_of_the_foreground_are_where_the_classes_are(
    cases: list[Case], tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(cache_module, "PLACES", 50)
    for one in prepare_dataset(cases, make_plan(), tmp_path / "cache")[0]:
        _, label = one.load()
        assert sorted(one.foreground) == [1, 2]
        assert IGNORE in label
        for value, places in one.foreground.items():
            assert places.shape == (50, 3)
            assert len(np.unique(places, axis=0)) == 50
            assert (label[tuple(places.T)] == value).all()


def test_intensities_left_as_they_are_keep_32_bits(cases: list[Case], tmp_path: Path) -> None:
    ready, _ = prepare_dataset(cases[:1], make_plan(scheme="none"), tmp_path / "cache")
    assert np.array_equal(ready[0].load(mmap=True)[0], module.read_case(cases[0]).image.array)


def test_a_second_run_neither_reads_nor_prepares(
    cases: list[Case], tmp_path: Path, worked: list[str]
) -> None:
    first, _ = prepare_dataset(cases, make_plan(), tmp_path / "cache")
    assert worked.count("prepare") == 4
    worked.clear()
    second, _ = prepare_dataset(cases, make_plan(), tmp_path / "cache")
    assert not worked
    assert [one.image for one in second] == [one.image for one in first]


def test_only_what_is_new_changed_or_damaged_is_done_again(
    cases: list[Case], tmp_path: Path, worked: list[str]
) -> None:
    folder, scans = tmp_path / "cache", tmp_path / "scans"
    ready, _ = prepare_dataset(cases, make_plan(), folder, workers=1)
    expected = [one.load() for one in ready]
    # 0: nothing changed; 1: another content; 2: an array cut short; 3: its description lost; 4: new.
    write_case(scans, "case_1", 77)
    ready[2].image.write_bytes(ready[2].image.read_bytes()[:-10])
    ready[3].image.with_name(ready[3].image.name.replace("image.npy", "json")).unlink()
    worked.clear()
    again, failed = prepare_dataset([*cases, write_case(scans, "case_4", 4)], make_plan(), folder, workers=1)
    assert not failed
    assert len(again) == 5
    assert worked == [word for case in (1, 2, 3, 4) for word in (f"read case_{case}", "prepare")]
    for index in (0, 2, 3):
        assert np.array_equal(again[index].load()[0], expected[index][0])
    assert not np.array_equal(again[1].load()[0], expected[1][0])


def test_a_touched_file_of_the_same_content_is_read_but_not_prepared(
    cases: list[Case], tmp_path: Path, worked: list[str]
) -> None:
    prepare_dataset(cases[:1], make_plan(), tmp_path / "cache")
    worked.clear()
    os.utime(cases[0].images[0], ns=(1, 1))
    prepare_dataset(cases[:1], make_plan(), tmp_path / "cache")
    assert worked == ["read case_0"]


@pytest.mark.parametrize("which", ["image", "label"])
def test_a_corrected_data_file_of_a_header_is_prepared_again(
    which: str, tmp_path: Path, worked: list[str]
) -> None:
    case = detached_case(tmp_path, seed=0)
    first, _ = prepare_dataset([case], make_plan(), tmp_path / "cache")
    detached_case(tmp_path, seed=1, only=which)
    worked.clear()
    second, failed = prepare_dataset([case], make_plan(), tmp_path / "cache")
    assert not failed
    assert worked == ["read scan", "prepare"]
    assert second[0].image != first[0].image


def test_scans_of_equal_headers_are_told_apart(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        (tmp_path / name).mkdir()
        detached_case(tmp_path / name, seed)
    one, other = (
        Case(
            id=name,
            images=(tmp_path / name / "scan.mhd",),
            label=tmp_path / name / "label.nhdr",
            patient=name,
        )
        for name in "ab"
    )
    assert one.images[0].read_bytes() == other.images[0].read_bytes()
    assert module.read_case(one).digest != module.read_case(other).digest


def detached_case(folder: Path, seed: int, only: str | None = None) -> Case:
    """An image and a label whose headers are files of their own; `only` one of them is written."""
    generator = np.random.default_rng(seed)
    if only != "label":
        (folder / "scan.raw").write_bytes(generator.integers(1, 900, 120).astype("<i2").tobytes())
    if only != "image":
        (folder / "label.raw").write_bytes((7 * generator.integers(0, 2, 120)).astype("u1").tobytes())
    (folder / "scan.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 6 5 4\nElementType = MET_SHORT\nElementDataFile = scan.raw\n"
    )
    (folder / "label.nhdr").write_text(
        "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 6 5 4\nencoding: raw\ndata file: label.raw\n\n"
    )
    return Case(id="scan", images=(folder / "scan.mhd",), label=folder / "label.nhdr", patient="scan")


@pytest.mark.parametrize(
    ("changes", "again"),
    [
        ({"spacing_mm": (2.0, 2.0, 3.0)}, True),
        ({"normalisation": (Normalisation(scheme="minmax"),)}, True),
        ({"crop_to_nonzero": False}, True),
        ({"labels": LabelSet.from_values({"background": 0, "all": 1, "x": 7, "y": 9})}, True),
        ({"labels": LabelSet.from_values({"background": 9, "shell": 1, "core": 7, "ignore": 0})}, True),
        ({"batch": 7, "patch": (4, 4, 4), "reasons": ("x",), "mirror_axes": ()}, False),
    ],
)
def test_another_plan_is_another_entry_only_if_it_prepares_otherwise(
    changes: dict, again: bool, cases: list[Case], tmp_path: Path, worked: list[str]
) -> None:
    prepare_dataset(cases[:1], make_plan(), tmp_path / "cache")
    worked.clear()
    prepare_dataset(cases[:1], make_plan(**changes), tmp_path / "cache")
    assert ("prepare" in worked) == again


def test_bad_cases_are_named_and_the_others_are_prepared(cases: list[Case], tmp_path: Path) -> None:
    whole = cases[1].images[0].read_bytes()
    cases[1].images[0].write_bytes(whole[: len(whole) // 2])
    cases[2].label.unlink()
    ready, failed = prepare_dataset(cases, make_plan(), tmp_path / "cache")
    assert [one.id for one in ready] == ["case_0", "case_3"]
    assert [failure.id for failure in failed] == ["case_1", "case_2"]
    assert "case_1.nii.gz" in failed[0].message
    assert "case_2_label.nii.gz" in failed[1].message


def test_an_unlabelled_case_is_prepared_but_cannot_be_trained_on(cases: list[Case], tmp_path: Path) -> None:
    bare = cases[0].model_copy(update={"label": None})
    ready, failed = prepare_dataset([bare, cases[0]], make_plan(), tmp_path / "cache")
    assert not failed
    assert (ready[0].label, ready[0].foreground) == (None, {})
    assert ready[1].label is not None
    with pytest.raises(VesalError, match="case_0 was prepared without a label"):
        ready[0].load()


def test_leftovers_of_a_killed_run_are_swept_and_those_of_a_running_one_spared(
    cases: list[Case], tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    for name, age in ((".writing-old.npy", 1e5), (".writing-new.npy", 0)):
        (folder / name).write_bytes(b"x")
        now = (folder / name).stat().st_mtime
        os.utime(folder / name, (now - age, now - age))
    prepare_dataset(cases[:1], make_plan(), folder)
    assert [path.name for path in folder.glob(".writing-*")] == [".writing-new.npy"]


def test_a_damaged_index_costs_a_read_and_nothing_else(
    cases: list[Case], tmp_path: Path, worked: list[str]
) -> None:
    prepare_dataset(cases[:1], make_plan(), tmp_path / "cache")
    (tmp_path / "cache" / "index.json").write_text("{")
    worked.clear()
    prepare_dataset(cases[:1], make_plan(), tmp_path / "cache")
    assert worked == ["read case_0"]


def test_a_cache_that_cannot_be_written_is_told(cases: list[Case], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(VesalError, match="Cannot write"):
        prepare_dataset(cases, make_plan(), tmp_path / "file" / "cache")


def test_prepared_files_that_vanished_are_told(cases: list[Case], tmp_path: Path) -> None:
    one: PreparedCase = prepare_dataset(cases[:1], make_plan(), tmp_path / "cache")[0][0]
    one.image.unlink()
    with pytest.raises(VesalError, match="cannot be read"):
        one.load()


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
