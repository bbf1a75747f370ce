"""Phantoms: the truth is exact, the pictures are what they imitate, and the task is not a threshold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from vesal.errors import DataError, UsageError
from vesal.files import read_json
from vesal.phantoms.registry import KINDS, make_phantom, write_phantoms
from vesal.volume.io import read_label, read_volume

SMALL = {
    "heart": (48, 40, 28),
    "short-axis": (64, 64, 8),
    "brain-tumour": (48, 58, 42),
    "lung-tumour": (56, 48, 40),
}
SEEDS = range(4)


@pytest.fixture(scope="module")
def drawn():
    """kind -> [(image (C, X, Y, Z), label (X, Y, Z), geometry)] at the typical size, in RAS-nearest axes."""
    found = {}
    for kind in KINDS:
        found[kind] = []
        for seed in SEEDS:
            volume, truth = make_phantom(kind, seed)
            turn = volume.geometry.turn_to_ras()
            found[kind].append((turn.apply(volume.array), turn.apply(truth.array), volume.geometry))
    return found


def dice(a, b):
    return 2.0 * np.logical_and(a, b).sum() / max(1, a.sum() + b.sum())


def best_threshold_dice(image, truth):
    levels = np.percentile(image, np.linspace(50.0, 99.9, 80))
    return max(dice(image > level, truth) for level in levels)


def ml(mask, geometry):
    return float(mask.sum() * geometry.voxel_volume_mm3 / 1000.0)


# --- every kind --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_phantom_has_the_channels_labels_and_grid_that_its_kind_declares(kind):
    for size in (SMALL[kind], (24, 20, 16)):
        volume, truth = make_phantom(kind, 3, size=size)
        assert volume.array.shape == (len(KINDS[kind].channels), *size)
        assert volume.array.dtype == np.float32
        assert truth.array.dtype == np.uint8
        assert volume.geometry.close_to(truth.geometry)
        assert set(np.unique(truth.array)) == set(KINDS[kind].values.values())
        assert np.isfinite(volume.array).all()
        assert np.array_equal(volume.array, np.rint(volume.array))
        assert np.abs(volume.array).max() < 32768  # is written as int16


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bits_and_another_seed_another_patient(kind):
    first, again, other = (make_phantom(kind, seed, size=SMALL[kind]) for seed in (5, 5, 6))
    assert np.array_equal(first[0].array, again[0].array)
    assert np.array_equal(first[1].array, again[1].array)
    assert np.array_equal(first[0].geometry.affine, again[0].geometry.affine)
    assert first[0].geometry.distance_mm(other[0].geometry) > 1.0
    assert dice(first[1].array > 0, other[1].array > 0) < 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_grids_differ_between_cases_and_stay_nearest_to_the_array_axes(kind):
    grids = [make_phantom(kind, seed, size=(24, 20, 16))[0].geometry for seed in range(9)]
    assert len({grid.axis_codes for grid in grids}) >= 3
    assert len({round(grid.spacing_mm[0], 3) for grid in grids}) > 5
    assert all(grid.turn_to_ras().order == (0, 1, 2) for grid in grids)
    assert any(np.abs(grid.affine[:3, :3] - np.diag(np.diag(grid.affine)[:3])).max() > 0.1 for grid in grids)


def test_organs_lie_on_their_own_side_whatever_way_the_array_is_stored(drawn):
    for image, _, _ in drawn["lung-tumour"]:  # liver right, stomach with air left, spine at the back
        x, y, z = image.shape[1:]
        low = image[0][:, y // 4 : 3 * y // 4, : z // 8]
        assert low[x // 2 + x // 8 : x - x // 5].mean() > low[x // 5 : x // 2 - x // 8].mean() + 50.0
        column = image[0][x // 2 - x // 10 : x // 2 + x // 10]
        assert np.nonzero(column > 300.0)[1].mean() < y / 2
    for _, label, _ in drawn["short-axis"]:  # the right ventricle lies to the patient's right of the left one
        assert np.nonzero(label == 1)[0].mean() > np.nonzero(label == 3)[0].mean() + 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("hart", 0), "heart"),
        (("heart", -1), "seed"),
        (("heart", 0, (2, 2, 2)), "size"),
        (("heart", 0, (32, 32)), "size"),
    ],
)
def test_a_wrong_kind_seed_or_size_is_refused_with_the_fix(arguments, said):
    kind, seed, size = (*arguments, None)[:3]
    with pytest.raises(UsageError, match=said):
        make_phantom(kind, seed, size=size)


# --- heart -------------------------------------------------------------------------------------------------


def test_the_left_atrium_is_one_piece_of_plausible_volume_filled_with_bright_blood(drawn):
    for image, label, geometry in drawn["heart"]:
        atrium = label == 1
        assert ndimage.label(atrium)[1] == 1
        assert 40.0 < ml(atrium, geometry) < 220.0
        inner = ndimage.binary_erosion(atrium)
        assert image[0][inner].mean() > 2.5 * np.median(image[0][image[0] > 100.0])
        assert image[0][inner].std() < 0.25 * image[0][inner].mean()


def test_no_threshold_segments_the_left_atrium(drawn):
    for image, label, _ in drawn["heart"]:
        assert best_threshold_dice(image[0], label == 1) < 0.6


def test_no_threshold_and_component_segments_the_left_atrium(drawn):
    scores = []
    for image, label, _ in drawn["heart"]:
        blood = image[0] > 0.65 * image[0][label == 1].mean()
        parts, count = ndimage.label(blood)
        scores.append(max(dice(parts == i + 1, label == 1) for i in range(min(count, 50))))
    assert np.mean(scores) < 0.7


# --- short axis --------------------------------------------------------------------------------------------


def test_the_myocardium_is_a_ring_around_the_left_ventricle_below_the_valve(drawn):
    for _, label, _ in drawn["short-axis"]:
        slices = [z for z in range(label.shape[2]) if (label[:, :, z] == 3).sum() > 20][:-1]
        assert len(slices) >= 4
        for z in slices:
            ring, cavity = label[:, :, z] == 2, label[:, :, z] == 3
            filled = ndimage.binary_fill_holes(ring)
            assert (filled & cavity).sum() == cavity.sum()
            assert ndimage.label(cavity)[1] == 1


def test_ventricles_taper_from_the_base_to_the_apex_in_thick_slices(drawn):
    for _, label, geometry in drawn["short-axis"]:
        assert geometry.spacing_mm[2] > 4.0 * geometry.spacing_mm[0]
        areas = np.array([(label[:, :, z] >= 2).sum() for z in range(label.shape[2])])
        lowest = np.flatnonzero(areas)[0]
        assert areas[lowest] < 0.6 * areas.max()
        assert np.argmax(areas) > lowest + 2
        assert 30.0 < ml(label == 3, geometry) < 260.0
        assert 50.0 < ml(label == 2, geometry) < 300.0


def test_blood_is_bright_and_myocardium_dark_as_in_balanced_cine(drawn):
    for image, label, _ in drawn["short-axis"]:
        muscle = np.median(image[0][label == 2])
        assert np.median(image[0][label == 3]) > 2.2 * muscle
        assert np.median(image[0][label == 1]) > 1.8 * muscle


# --- brain tumour ------------------------------------------------------------------------------------------


def test_outside_the_brain_all_channels_are_exactly_zero_and_inside_none_is(drawn):
    for image, label, _ in drawn["brain-tumour"]:
        brain = image[0] > 0
        assert all(np.array_equal(channel > 0, brain) for channel in image)
        assert 0.2 < brain.mean() < 0.6
        assert brain[label > 0].all()
        assert not brain[0].any()
        assert not brain[:, :, -1].any()


def test_necrosis_lies_in_the_enhancing_rim_and_the_core_in_the_oedema(drawn):
    for _, label, geometry in drawn["brain-tumour"]:
        whole, core, necrosis = label > 0, np.isin(label, (1, 4)), label == 1
        assert ndimage.label(whole)[1] == 1
        assert necrosis.any()
        shell = ndimage.binary_dilation(necrosis) & ~necrosis
        assert (label[shell] == 4).all()
        assert core.sum() > necrosis.sum()
        assert whole.sum() > 1.3 * core.sum()
        assert 10.0 < ml(whole, geometry) < 250.0


def test_every_tumour_part_shows_in_the_sequence_that_doctors_look_at(drawn):
    for image, label, _ in drawn["brain-tumour"]:
        flair, t1, t1ce, t2 = image
        healthy = (flair > 0) & (label == 0)
        middle = {value: ndimage.binary_erosion(label == value) for value in (1, 2)} | {4: label == 4}
        assert flair[middle[2]].mean() > 1.2 * np.median(flair[healthy])
        assert t2[middle[2]].mean() > 1.25 * np.percentile(t2[healthy], 20)  # white matter
        assert t1ce[middle[4]].mean() > 1.25 * np.median(t1ce[healthy])
        assert t1[middle[4]].mean() < np.percentile(t1[healthy], 75)  # white matter
        if middle[1].any():
            assert t1ce[middle[1]].mean() < 0.8 * np.median(t1ce[healthy])


def test_no_threshold_on_flair_segments_the_whole_tumour_in_all_cases(drawn):
    scores = [best_threshold_dice(image[0], label > 0) for image, label, _ in drawn["brain-tumour"]]
    assert np.mean(scores) < 0.85


# --- lung tumour -------------------------------------------------------------------------------------------


def test_hounsfield_units_are_those_of_air_lung_fat_muscle_and_bone(drawn):
    for image, label, _ in drawn["lung-tumour"]:
        hu = image[0]
        assert hu.min() >= -1024
        assert np.percentile(hu, 5) < -940  # air around the patient
        assert ((hu > -950) & (hu < -750)).mean() > 0.05  # lung
        assert ((hu > -150) & (hu < -50)).mean() > 0.02  # fat
        assert ((hu > 0) & (hu < 110)).mean() > 0.1  # muscle and organs
        assert 0.003 < (hu > 300).mean() < 0.06  # bone
        assert hu.max() < 1600
        inner = ndimage.binary_erosion(label > 0)
        assert -10.0 < hu[inner].mean() < 70.0


def test_the_tumour_is_one_small_piece_that_borders_on_lung(drawn):
    for image, label, _ in drawn["lung-tumour"]:
        tumour = label == 1
        assert ndimage.label(tumour)[1] == 1
        assert 0.0005 < tumour.mean() < 0.006
        around = ndimage.binary_dilation(tumour, iterations=3) & ~ndimage.binary_dilation(tumour)
        assert (image[0][around] < -500).mean() > 0.2


def test_some_tumours_grow_on_the_pleura_and_some_within_the_lung():
    free = []
    for seed in range(9):
        volume, truth = make_phantom("lung-tumour", seed, size=SMALL["lung-tumour"])
        tumour = truth.array == 1
        around = ndimage.binary_dilation(tumour, iterations=3) & ~ndimage.binary_dilation(tumour)
        free.append((volume.array[0][around] < -500).mean())
    assert min(free) < 0.6
    assert max(free) > 0.8


# --- data sets ---------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch):
    """All kinds at a size at which writing a data set takes no time."""
    from dataclasses import replace

    for kind in KINDS:
        monkeypatch.setitem(KINDS, kind, replace(KINDS[kind], size=(24, 20, 16), vary=(0, 0, 0)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_written_data_set_is_read_back_with_its_labels_regions_and_held_out_truth(kind, tiny, tmp_path):
    from vesal.layouts.registry import load_dataset

    steps = []
    write_phantoms(tmp_path / "data", kind, 3, seed=1, progress=lambda *step: steps.append(step))
    dataset = load_dataset(tmp_path / "data")
    assert dataset.layout == "msd"
    assert dataset.channels == KINDS[kind].channels
    assert len(dataset.cases) == 3
    assert len(dataset.unlabelled) == 2
    assert dataset.labels.classes == tuple(
        KINDS[kind].regions or [n for n in KINDS[kind].values if n != "background"]
    )
    assert steps[-1] == (5, 5)
    volume, truth = make_phantom(kind, 100_000)
    assert np.array_equal(read_volume(dataset.cases[0].images[0]).array, volume.array)
    label = read_label(dataset.cases[0].label)
    assert np.array_equal(label.array, truth.array)
    assert label.geometry.close_to(truth.geometry)
    for case in dataset.unlabelled:
        held_out = read_label(tmp_path / "data" / "labelsTs" / f"{case.id}.nii.gz")
        assert held_out.geometry.close_to(read_volume(case.images[0]).geometry)
        assert held_out.array.any()


def test_no_held_out_scan_is_a_training_scan(tiny, tmp_path):
    folder = write_phantoms(tmp_path / "data", "heart", 6, held_out=6)
    scans = [read_volume(path).array.tobytes() for path in sorted(folder.glob("images*/*.nii.gz"))]
    assert len(scans) == len(set(scans)) == 12


def test_a_stopped_writing_goes_on_and_ends_with_the_same_files(tiny, tmp_path):
    whole = write_phantoms(tmp_path / "whole", "heart", 4)

    class StopError(Exception):
        pass

    def stop(done, total):
        if done == 2:
            raise StopError

    with pytest.raises(StopError):
        write_phantoms(tmp_path / "part", "heart", 4, progress=stop)
    assert not (tmp_path / "part" / "dataset.json").exists()
    part = write_phantoms(tmp_path / "part", "heart", 4)
    assert read_json(part / "dataset.json") == read_json(whole / "dataset.json")
    names = sorted(path.relative_to(whole) for path in whole.rglob("*.nii.gz"))
    assert names == sorted(path.relative_to(part) for path in part.rglob("*.nii.gz"))
    for name in names:
        assert np.array_equal(read_volume(whole / name).array, read_volume(part / name).array)


def test_scans_that_are_there_are_not_drawn_again(tiny, tmp_path):
    folder = write_phantoms(tmp_path / "data", "heart", 2)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.nii.gz")}
    write_phantoms(folder, "heart", 2)
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.nii.gz")}


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tiny, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="not empty"):
        write_phantoms(tmp_path, "heart", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(DataError, match="is a file"):
        write_phantoms(tmp_path / "thesis.txt", "heart", 2)


def test_phantoms_of_another_kind_or_seed_are_not_mixed_in(tiny, tmp_path):
    folder = write_phantoms(tmp_path / "data", "heart", 2)
    for kind, cases, seed in (("short-axis", 2, 0), ("heart", 2, 1), ("heart", 3, 0)):
        with pytest.raises(DataError, match="another making"):
            write_phantoms(folder, kind, cases, seed=seed)


@pytest.mark.parametrize(("cases", "seed"), [(0, 0), (-1, 0), (2, -1)])
def test_impossible_numbers_of_cases_and_seeds_are_refused(cases, seed, tmp_path):
    with pytest.raises(UsageError):
        write_phantoms(tmp_path / "data", "heart", cases, seed=seed)
    assert not (tmp_path / "data").exists()
