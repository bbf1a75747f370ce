"""The cache of prepared cases: found by content, whole or made again."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scans import make_plan, write_case

from vesal import processes
from vesal.data.dataset import Case
from vesal.data.labels import IGNORE, LabelSet, Threshold
from vesal.errors import VesalError
from vesal.planning.plan import Normalisation
from vesal.preprocessing import cache as cache_module
from vesal.preprocessing import prepare as module
from vesal.preprocessing.cache import Cache, PreparedCase
from vesal.preprocessing.prepare import prepare, prepare_dataset


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    return [write_case(tmp_path / "scans", f"case_{seed}", seed) for seed in range(4)]


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done since: 'read CASE' and 'prepare'."""
    done: list[str] = []
    read, work = module.read_case, module.prepare
    monkeypatch.setattr(module, "read_case", lambda case: done.append(f"read {case.id}") or read(case))
    monkeypatch.setattr(
        module, "prepare", lambda *given, **more: done.append("prepare") or work(*given, **more)
    )
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


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"threshold": Threshold(at=1, value=1)}, {"threshold": Threshold(at=7, value=1)}),
        ({"segments": {"a": 1, "b": 7}}, {"segments": {"a": 7, "b": 1}}),
        ({}, {"pixel_mm": (0.5, 0.5)}),
        ({}, {"fill_slices": True}),
    ],
)
def test_the_same_file_read_in_another_way_is_another_entry(
    before: dict[str, object], after: dict[str, object], cases: list[Case], tmp_path: Path
) -> None:
    def entry(**changes: object) -> Path:
        with Cache(tmp_path / "cache", make_plan()) as cache:
            case = cases[0].model_copy(update=changes)
            return cache._path(cache._key(case, "digest of its bytes"), "json")

    assert entry(**before) == entry(**before)
    assert entry(**before) != entry(**after)


def test_a_soft_mask_is_prepared_anew_for_another_threshold(cases: list[Case], tmp_path: Path) -> None:
    labels = LabelSet.from_values({"any": 1})
    voxels = []
    for at in (1, 7):
        plan = make_plan(labels=labels, spacing_mm=(1.0, 2.0, 3.0))
        case = cases[0].model_copy(update={"threshold": Threshold(at=at, value=1)})
        ready, failed = prepare_dataset([case], plan, tmp_path / "cache", workers=1)
        assert not failed
        voxels.append(int(ready[0].load()[1].sum()))
    assert voxels[0] > voxels[1] > 0


@pytest.mark.parametrize("part", ["image.npy", "label.npy", "json"])
def test_an_entry_of_the_right_size_with_other_bytes_is_made_again(
    part: str, cases: list[Case], tmp_path: Path, worked: list[str]
) -> None:
    one = prepare_dataset(cases[:1], make_plan(), tmp_path / "cache")[0][0]
    path = one.image.with_name(one.image.name.replace("image.npy", part))
    whole, times = path.read_bytes(), path.stat()
    # Near the end: a voxel, or a digit of a place; as a disk does it, without a trace in the times.
    at = (
        len(whole) - 40
        if part.endswith(".npy")
        else max(i for i, byte in enumerate(whole) if chr(byte) in "13579")
    )
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    worked.clear()
    again, failed = prepare_dataset(cases[:1], make_plan(), tmp_path / "cache")
    assert (failed, worked) == ([], ["read case_0", "prepare"])
    assert again[0].image == one.image
    assert path.read_bytes() == whole


def test_a_scan_that_took_the_place_of_another_of_its_size_and_time_is_prepared(
    tmp_path: Path, worked: list[str]
) -> None:
    case = detached_case(tmp_path, seed=0)
    (tmp_path / "other").mkdir()
    detached_case(tmp_path / "other", seed=1)
    for folder in (tmp_path, tmp_path / "other"):
        os.utime(folder / "scan.raw", ns=(1, 1))
    first = prepare_dataset([case], make_plan(), tmp_path / "cache")[0][0]
    (tmp_path / "other" / "scan.raw").replace(tmp_path / "scan.raw")
    worked.clear()
    second = prepare_dataset([case], make_plan(), tmp_path / "cache")[0][0]
    assert worked == ["read scan", "prepare"]
    assert second.image != first.image


def test_a_scan_whose_spacing_beside_it_was_corrected_is_prepared_again(
    tmp_path: Path, worked: list[str]
) -> None:
    tifffile.imwrite(tmp_path / "scan.tif", np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5))
    case = Case(id="scan", images=(tmp_path / "scan.tif",), patient="scan")
    shapes = []
    for depth_mm in (3, 3, 6):
        if depth_mm != 3 or not shapes:
            (tmp_path / "scan.json").write_text(json.dumps({"spacing": [depth_mm, 2, 1]}))
        ready, failed = prepare_dataset([case], make_plan(), tmp_path / "cache", workers=1)
        assert not failed
        shapes.append(ready[0].crop.shape)
    assert shapes == [(5, 4, 6), (5, 4, 6), (5, 4, 12)]
    assert worked == ["read scan", "prepare"] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
def test_processes_prepare_many_cases_as_threads_do_and_what_they_found_is_remembered(
    tmp_path: Path, worked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [write_case(tmp_path / "scans", f"case_{seed}", seed) for seed in range(9)]
    cases[4].images[0].write_bytes(b"not a scan")
    alone, failed = prepare_dataset(cases, make_plan(), tmp_path / "alone", workers=1)
    worked.clear()
    monkeypatch.setattr(processes, "can_fork", lambda: True)
    ready, also_failed = prepare_dataset(cases, make_plan(), tmp_path / "cache", workers=2)
    assert not worked  # not in this process
    assert also_failed == failed
    assert [one.id for one in ready] == [f"case_{number}" for number in (0, 1, 2, 3, 5, 6, 7, 8)]
    for one, other in zip(ready, alone, strict=True):
        assert one.image.read_bytes() == other.image.read_bytes()
        assert one.label.read_bytes() == other.label.read_bytes()
        assert {value: places.tolist() for value, places in one.foreground.items()} == {
            value: places.tolist() for value, places in other.foreground.items()
        }
    assert (tmp_path / "cache" / "index.json").read_text() == (tmp_path / "alone" / "index.json").read_text()
    prepare_dataset(cases, make_plan(), tmp_path / "cache", workers=1)
    assert worked == ["read case_4"]


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


def test_entries_of_another_cache_are_taken_over_and_outlive_it(
    cases: list[Case], tmp_path: Path, worked: list[str]
) -> None:
    there, own = tmp_path / "there", tmp_path / "own"
    prepare_dataset(cases[:3], make_plan(), there)
    before = {file.name: file.stat().st_mtime_ns for file in there.iterdir()}
    cache_module.take_over(there, own)
    worked.clear()
    prepare_dataset(cases[:4], make_plan(), own)
    assert worked.count("prepare") == 1
    assert {file.name: file.stat().st_mtime_ns for file in there.iterdir()} == before
    shutil.rmtree(there)
    worked.clear()
    ready, _ = prepare_dataset(cases[:4], make_plan(), own)
    assert "prepare" not in worked
    assert all(one.load()[0].size for one in ready)


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
