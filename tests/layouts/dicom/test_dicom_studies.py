"""A folder of DICOM is a data set: scans with what was drawn on them, by pseudonyms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from annotation_examples import Annotated, annotated, made_by
from dicom_examples import random_series, write_series

from vesal.data.case import files_of, read_case
from vesal.errors import DataError
from vesal.evaluate.score_folders import score_folders
from vesal.layouts.registry import load_dataset
from vesal.volume.dicom.annotations.segmentation_writer import SegmentLabel, segmentation
from vesal.volume.dicom.annotations.structure_set_writer import RoiMask, structure_set
from vesal.volume.io import write_label

pytest.importorskip("pydicom", reason="the extra dicom is not installed")


@pytest.fixture(autouse=True)
def _salt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def drawn_case(folder: Path, number: int, names: tuple[str, ...] = ("left atrium", "tumour")) -> Annotated:
    tags = {"PatientID": f"P{number}", "StudyInstanceUID": f"1.2.{number}", "PatientName": f"Doe^J{number}"}
    example = annotated(folder / "ct", uid=f"1.2.{number}.4", tags=tags)
    regions = [
        RoiMask(name, (9, 9, 9), mask) for name, mask in zip(names, example.masks.values(), strict=True)
    ]
    found = structure_set(example.scan.slices(), example.scan.stack.geometry, regions, made_by(number))
    (folder / "rt").mkdir()
    found.save_as(folder / "rt" / "rs.dcm", enforce_file_format=True)
    return example


def test_each_annotation_with_its_series_is_a_case_and_others_are_unlabelled(tmp_path: Path) -> None:
    root = tmp_path / "data"
    examples = [drawn_case(root / f"folder{number}", number) for number in (1, 2)]
    write_series(root / "folder3", random_series(uid="1.2.3.4"))
    dataset = load_dataset(root)
    assert dataset.layout == "dicom"
    assert dataset.channels == ("CT",)
    assert dataset.labels.by_name == {"left atrium": 1, "tumour": 2}
    assert (len(dataset.cases), len(dataset.unlabelled)) == (2, 1)
    assert len({case.patient for case in dataset.cases}) == 2
    assert not any(
        "Doe" in text or "P1" in text for text in (*dataset.remarks, *(case.id for case in dataset.cases))
    )
    by_folder = {case.images[0].parents[1].name: case for case in dataset.cases}
    for number, example in enumerate(examples, start=1):
        case = by_folder[f"folder{number}"]
        raw = read_case(case)
        assert np.array_equal(raw.image.array[0], example.drawn.values)
        first, second = example.masks.values()
        assert raw.label is not None
        assert np.array_equal(raw.label.array, np.where(second, 2, np.where(first, 1, 0)))
        assert len(files_of(case)) == 7


def test_a_table_joins_names_and_leaves_others_out(tmp_path: Path) -> None:
    root = tmp_path / "data"
    drawn_case(root / "a", 1, ("LUNG LEFT", "ring"))
    drawn_case(root / "b", 2, ("Lung_L", "ring"))
    told = " ".join(load_dataset(root).remarks)
    assert "'LUNG LEFT' (1) and 'Lung_L' (1)" in told
    (root / "roi-names.csv").write_text("roi,label\nLUNG LEFT,lung\nLung_L,lung\nring,\n")
    dataset = load_dataset(root)
    assert dataset.labels.by_name == {"lung": 1}
    for case in dataset.cases:
        raw = read_case(case)
        assert raw.label is not None
        assert np.unique(raw.label.array).tolist() == [0, 1]


def test_an_evaluation_reads_its_truth_by_the_table_of_names(tmp_path: Path) -> None:
    root = tmp_path / "data"
    drawn_case(root / "a", 1, ("LUNG LEFT", "ring"))
    drawn_case(root / "b", 2, ("Lung_L", "ring"))
    (root / "roi-names.csv").write_text("roi,label\nLUNG LEFT,lung\nLung_L,lung\nring,ring\n")
    for case in load_dataset(root).cases:
        truth = read_case(case).label
        assert truth is not None
        write_label(tmp_path / "predicted" / f"{case.id}.nii.gz", truth)
    scores = score_folders(tmp_path / "predicted", root)
    assert [(row.class_name, row.dice) for row in scores.cases] == [("lung", 1.0), ("ring", 1.0)] * 2


def test_names_that_few_cases_have_are_no_labels(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number, names in enumerate((("a", "b"), ("a", "c"), ("a", "d")), start=1):
        drawn_case(root / str(number), number, names)
    dataset = load_dataset(root)
    assert list(dataset.labels.by_name) == ["a"]
    assert any("Left out as labels" in one and "b, c, d" in one for one in dataset.remarks)
    chosen = dataset.decided({"a": 1, "c": 7}, None)
    assert {7} <= set(np.unique([read_case(case).label.array for case in chosen.cases]).tolist())  # type: ignore[union-attr]


def test_a_structure_set_without_its_scan_is_an_orphan(tmp_path: Path) -> None:
    root = tmp_path / "data"
    drawn_case(root / "a", 1)
    drawn_case(root / "b", 2)
    for path in (root / "b" / "ct").iterdir():
        path.unlink()
    dataset = load_dataset(root)
    assert [orphan.missing for orphan in dataset.orphans] == ["image"]
    assert len(dataset.cases) == 1


def test_a_series_that_is_no_volume_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    root = tmp_path / "data"
    drawn_case(root / "a", 1)
    drawn_case(root / "b", 2)
    lost = sorted((root / "b" / "ct").iterdir())
    by_place = {path: path.read_bytes().count(b"1.2.2.4.3\0") for path in lost}
    next(path for path, count in by_place.items() if count).unlink()
    dataset = load_dataset(root)
    assert len(dataset.cases) == 1
    assert any("1 slice missing between" in one for one in dataset.remarks)


def test_scans_of_two_modalities_are_no_one_data_set(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_series(root / "a", random_series(uid="1.1"))
    write_series(root / "b", random_series(uid="1.2", modality="MR"))
    with pytest.raises(DataError, match=r"several modalities \(CT, MR\)"):
        load_dataset(root)


def segmented_case(folder: Path, number: int) -> Annotated:
    """A segmentation of a whole and the core in it, whose masks share voxels."""
    tags = {"PatientID": f"P{number}", "StudyInstanceUID": f"1.2.{number}"}
    example = annotated(folder / "ct", uid=f"1.2.{number}.4", tags=tags)
    whole = example.masks["left atrium"] | example.masks["tumour"]
    masks = {"whole": whole, "core": example.masks["tumour"]}
    segments = [SegmentLabel(name, (9, 9, 9)) for name in masks]
    found = segmentation(
        example.scan.slices(),
        example.scan.stack.geometry,
        segments,
        np.stack(list(masks.values())),
        made_by(number),
    )
    (folder / "seg").mkdir()
    found.save_as(folder / "seg" / "seg.dcm", enforce_file_format=True)
    return Annotated(example.drawn, example.paths, example.scan, masks)


def test_segments_that_overlap_become_regions_and_lose_no_voxel(tmp_path: Path) -> None:
    examples = [segmented_case(tmp_path / "data" / f"folder{number}", number) for number in (1, 2)]
    dataset = load_dataset(tmp_path / "data")
    assert [region.name for region in dataset.labels.regions] == ["whole", "core"]
    assert dataset.labels.classes == ("whole", "core")
    by_folder = {case.images[0].parents[1].name: case for case in dataset.cases}
    for number, example in enumerate(examples, start=1):
        label = read_case(by_folder[f"folder{number}"]).label
        assert label is not None
        contiguous = dataset.labels.encode(label.array)
        for mask, row in zip(example.masks.values(), dataset.labels.class_table, strict=True):
            assert np.array_equal(row[contiguous], mask)
        assert label.overlaps == {}


def test_where_a_table_names_the_labels_the_later_value_wins(tmp_path: Path) -> None:
    segmented_case(tmp_path / "data" / "folder1", 1)
    (tmp_path / "data" / "roi-names.csv").write_text("roi,label\nwhole,whole\n")
    dataset = load_dataset(tmp_path / "data")
    assert (dataset.labels.regions, dataset.labels.by_name) == ((), {"core": 1, "whole": 2})
