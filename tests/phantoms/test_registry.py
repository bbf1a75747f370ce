"""Phantoms of every kind, and data sets of them."""

from __future__ import annotations

import numpy as np
import pytest
from phantom_examples import SMALL, dice

from vesal.errors import DataError, UsageError
from vesal.files import read_json
from vesal.phantoms.registry import KINDS, make_phantom, write_phantoms
from vesal.volume.io import read_label, read_volume


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
    folder = write_phantoms(tmp_path / "data", "heart", 10)
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
    with pytest.raises(UsageError, match="is a file"):
        write_phantoms(tmp_path / "thesis.txt", "heart", 2)


@pytest.mark.parametrize("name", ["imagesTr/heart-001.nii.gz", "labelsTs/heart-003.nii.gz", "dataset.json"])
def test_a_phantom_that_was_changed_by_hand_is_refused_and_a_damaged_one_is_drawn_anew(tiny, tmp_path, name):
    folder = write_phantoms(tmp_path / "data", "heart", 2)
    file, content = folder / name, (folder / name).read_bytes()
    other = (folder / "imagesTr" / "heart-002.nii.gz").read_bytes()
    file.write_bytes(other if name.endswith(".gz") else content + b"\n")
    mine, before = (
        file.read_bytes(),
        {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()},
    )
    with pytest.raises(UsageError, match=f"changed since: {name}; choose another"):
        write_phantoms(folder, "heart", 2)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert file.read_bytes() == mine
    file.write_bytes(b"")
    write_phantoms(folder, "heart", 2)
    assert file.read_bytes() == content


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
