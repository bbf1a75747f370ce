"""One look at every case: what is recorded, and that a bad case stops no other."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from engine_work import Losing

from vesal import processes
from vesal.data import fingerprint as module
from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import Fingerprint, fingerprint
from vesal.data.labels import LabelSet
from vesal.engine.local_engine import LocalEngine

LABELS = LabelSet.from_values({"background": 0, "shell": 1, "core": 7, "ignore": 9})


def make_dataset(folder: Path, scans: dict[str, tuple[np.ndarray, np.ndarray]], affine=None) -> Dataset:
    cases = []
    for name, (image, label) in scans.items():
        affine = np.diag([1.0, 2.0, 3.0, 1.0]) if affine is None else affine
        nib.save(nib.Nifti1Image(image, affine), folder / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), folder / f"{name}_label.nii.gz")
        label_path = folder / f"{name}_label.nii.gz"
        cases.append(Case(id=name, images=(folder / f"{name}.nii.gz",), label=label_path, patient=name))
    channels = ("MRI",)
    return Dataset(
        name="set", root=folder, layout="pairs", channels=channels, labels=LABELS, cases=tuple(cases)
    )


def scan(seed: int = 0, shape: tuple[int, ...] = (12, 10, 8)) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    image = np.zeros(shape, np.float32)
    image[2:9, 1:8, 3:6] = generator.normal(100, 20, (7, 7, 3))
    label = np.zeros(shape, np.uint8)
    label[3:6, 2:5, 4], label[3, 2, 4], label[8, 7, 5] = 1, 7, 9
    return image, label


def test_a_record_tells_geometry_box_and_intensities(tmp_path: Path) -> None:
    image, label = scan()
    record = fingerprint(make_dataset(tmp_path, {"one": (image, label)})).cases[0]
    assert (record.shape, record.axis_codes) == ((12, 10, 8), "RAS")
    assert record.spacing_mm == pytest.approx((1.0, 2.0, 3.0))
    assert record.crop_shape == (7, 7, 3)
    assert record.voxel_volume_mm3 == pytest.approx(6.0)
    assert record.voxels == {"shell": 8, "core": 1}
    assert record.undeclared == ()
    assert (record.label_shape, record.label_distance_mm, record.nan_voxels) == ((12, 10, 8), 0.0, 0)
    found = record.channels[0]
    assert (found.minimum, found.maximum) == (image.min(), image.max())
    assert found.mean == pytest.approx(image.mean(), rel=1e-6)
    assert found.std == pytest.approx(image.std(), rel=1e-5)
    assert found.percentiles == pytest.approx(np.percentile(image, (0.5, 50, 99.5)))
    # All nine labelled voxels are few enough to be kept; the ignored one is not among them.
    assert sorted(found.foreground_samples) == pytest.approx(sorted(image[3:6, 2:5, 4].ravel()))


def test_a_turned_scan_is_recorded_in_ras_axes(tmp_path: Path) -> None:
    # Array axes: superior, left, anterior.
    affine = np.array([[0, -2.0, 0, 5], [0, 0, 1.0, 6], [3.0, 0, 0, 7], [0, 0, 0, 1]])
    record = fingerprint(make_dataset(tmp_path, {"one": scan()}, affine)).cases[0]
    assert (record.axis_codes, record.spacing_mm) == ("SLA", (3.0, 2.0, 1.0))
    assert record.ras_shape == (10, 8, 12)
    assert record.ras_spacing_mm == (2.0, 1.0, 3.0)
    assert record.crop_shape == (7, 3, 7)


def test_a_bad_case_becomes_a_failure_and_the_others_go_on(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {name: scan(seed) for seed, name in enumerate(("a", "b", "c", "d"))})
    whole = (tmp_path / "b.nii.gz").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "c_label.nii.gz").unlink()
    found = fingerprint(dataset)
    assert [record.id for record in found.cases] == ["a", "d"]
    assert [failure.id for failure in found.failures] == ["b", "c"]
    assert "b.nii.gz" in found.failures[0].message
    assert "c_label.nii.gz" in found.failures[1].message


def test_scans_without_a_label_are_looked_at_where_asked_for_and_kept_apart(tmp_path: Path) -> None:
    full = make_dataset(tmp_path, {name: scan(seed) for seed, name in enumerate(("a", "b", "t", "u"))})
    tests = tuple(case.model_copy(update={"label": None}) for case in full.cases[2:])
    dataset = full.model_copy(update={"cases": full.cases[:2], "unlabelled": tests})
    whole = (tmp_path / "u.nii.gz").read_bytes()
    (tmp_path / "u.nii.gz").write_bytes(whole[: len(whole) // 2])
    without, found = fingerprint(dataset), fingerprint(dataset, unlabelled=True)
    assert found.cases == without.cases
    assert (without.unlabelled, without.failures) == ((), ())
    assert [(record.id, record.label_shape, record.voxels) for record in found.unlabelled] == [
        ("t", None, {})
    ]
    assert [failure.id for failure in found.failures] == ["u"]


def test_undeclared_values_and_nan_are_counted_and_not_fatal(tmp_path: Path) -> None:
    image, label = scan()
    image[3, 2, 4], image[0, 0, 0] = np.nan, np.inf
    label[0, 0, 0] = 5
    record = fingerprint(make_dataset(tmp_path, {"one": (image, label)})).cases[0]
    assert (record.nan_voxels, record.undeclared) == (2, (5,))
    assert np.isfinite(
        [record.channels[0].mean, record.channels[0].std, *record.channels[0].percentiles]
    ).all()
    assert np.isfinite(record.channels[0].foreground_samples).all()


def test_values_far_apart_are_counted(tmp_path: Path) -> None:
    image, label = scan()
    label = label.astype(np.int32)
    label[0, 0, 0], label[0, 0, 1] = 100_000, -3
    record = fingerprint(make_dataset(tmp_path, {"one": (image, label)})).cases[0]
    assert record.undeclared == (-3, 100_000)
    assert record.voxels == {"shell": 8, "core": 1}


def test_a_label_of_another_shape_is_recorded_without_samples(tmp_path: Path) -> None:
    image, label = scan()
    record = fingerprint(make_dataset(tmp_path, {"one": (image, label[:-1])})).cases[0]
    assert (record.label_shape, record.label_distance_mm) == ((11, 10, 8), None)
    assert record.channels[0].foreground_samples == ()


def test_the_digest_is_of_the_voxels_alone(tmp_path: Path) -> None:
    image, label = scan()
    other = image.copy()
    other[5, 5, 4] += 1
    found = fingerprint(
        make_dataset(tmp_path, {"a": (image, label), "b": (image, label * 0), "c": (other, label)})
    )
    a, b, c = (record.image_digest for record in found.cases)
    assert a == b != c
    (tmp_path / "turned").mkdir()
    header = fingerprint(
        make_dataset(tmp_path / "turned", {"a": (image, label)}, np.diag([5.0, 5, 5, 1]))
    ).cases[0]
    assert header.image_digest == a


def test_the_result_is_the_same_for_any_number_of_workers(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "_CASE_SAMPLES", (1, 5))
    dataset = make_dataset(tmp_path, {name: scan(seed) for seed, name in enumerate("abcdef")})
    alone = fingerprint(dataset, workers=1)
    assert len(alone.cases[0].channels[0].foreground_samples) == 5
    assert alone == fingerprint(dataset, workers=4)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
def test_processes_look_at_many_cases_as_threads_do(tmp_path: Path, monkeypatch) -> None:
    dataset = make_dataset(tmp_path, {name: scan(seed) for seed, name in enumerate("abcdefgh")})
    (tmp_path / "c.nii.gz").write_bytes(b"not a scan")
    alone = fingerprint(dataset, workers=1)
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(processes, "can_fork", lambda: True)
    monkeypatch.setattr(processes, "map_in_order", lambda *_, **__: pytest.fail("by threads"))
    found = fingerprint(dataset, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert found == alone
    assert [failure.id for failure in found.failures] == ["c"]
    assert seen == [(done, 8) for done in range(1, 9)]


def test_each_file_is_read_once(tmp_path: Path, monkeypatch) -> None:
    dataset = make_dataset(tmp_path, {"a": scan(0), "b": scan(1)})
    opened: list[str] = []
    plain = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *how: opened.append(path.name) or plain(path, *how))
    for owner in (nib, gzip):
        monkeypatch.setattr(
            owner, "load" if owner is nib else "open", lambda *_: pytest.fail("read elsewhere")
        )
    fingerprint(dataset, workers=2)
    assert sorted(opened) == ["a.nii.gz", "a_label.nii.gz", "b.nii.gz", "b_label.nii.gz"]


def test_it_survives_json_and_tells_progress(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": scan(0), "b": scan(1)})
    seen: list[tuple[int, int]] = []
    found = fingerprint(dataset, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    assert Fingerprint.model_validate_json(found.model_dump_json()) == found


def test_the_heart_scans_that_are_one_share_a_digest(data_dir: Path) -> None:
    from vesal.layouts.registry import load_dataset

    found = fingerprint(load_dataset(data_dir / "Task02_Heart"))
    digests = {record.id: record.image_digest for record in found.cases}
    assert digests["la_005"] == digests["la_026"]
    assert len(set(digests.values())) == len(digests) - 1
    assert found.cases[0].spacing_mm == pytest.approx((1.25, 1.25, 1.37), abs=1e-3)


def test_the_workers_of_an_engine_find_the_same(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {f"case_{number}": scan(number) for number in range(3)})
    dataset.cases[1].images[0].write_bytes(b"not a scan")
    assert fingerprint(dataset, engine=LocalEngine(2)) == fingerprint(dataset)


def test_a_case_that_kills_its_worker_is_a_failure_and_the_others_are_read(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {f"case_{number}": scan(number) for number in range(3)})
    found = fingerprint(dataset, engine=Losing(lost=(1,)))
    assert [record.id for record in found.cases] == ["case_0", "case_2"]
    assert [failure.message for failure in found.failures] == [
        "Case case_1: its worker died 2 times (signal 9)."
    ]
