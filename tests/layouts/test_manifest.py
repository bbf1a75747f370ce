"""Manifests in CSV and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from layout_examples import (
    make_manifest,
    scan,
    truth,
)
from PIL import Image

from vesal.data.case import read_case
from vesal.data.dataset import SliceOf
from vesal.errors import DataError
from vesal.layouts.registry import load_dataset


def test_a_manifest_names_cases_patients_and_test_scans(tmp_path: Path) -> None:
    make_manifest(tmp_path)
    dataset = load_dataset(tmp_path)
    assert [(case.id, case.patient) for case in dataset.cases] == [("x", "p1")]
    assert [case.id for case in dataset.unlabelled] == ["y"]
    assert dataset.labels.values == (0, 7)
    assert load_dataset(tmp_path / "manifest.csv").cases == dataset.cases


def test_a_manifest_may_have_columns_for_channels_semicolons_and_partial_annotation(tmp_path: Path) -> None:
    for name in ("t2", "adc"):
        scan(tmp_path / f"{name}.nii.gz")
    truth(tmp_path / "seg.nii.gz", 1, 2)
    (tmp_path / "list.csv").write_text(
        "\ufeffID;Image_T2;Image_ADC;Label;Annotated;age\nc;t2.nii.gz;adc.nii.gz;seg.nii.gz;label_1|label_2;61\n",
        encoding="utf-8",
    )
    dataset = load_dataset(tmp_path / "list.csv")
    assert dataset.channels == ("T2", "ADC")
    assert dataset.cases[0].annotated == ("label_1", "label_2")
    assert dataset.cases[0].patient == "c"
    assert any("age" in remark for remark in dataset.remarks)


def test_a_json_manifest_declares_labels_regions_and_the_ignore_value(tmp_path: Path) -> None:
    scan(tmp_path / "a.nii.gz", channels=2)
    truth(tmp_path / "b.nii.gz", 1, 2, 9)
    manifest = {
        "name": "Mine",
        "channels": ["T1", "CT"],
        "labels": {"oedema": 1, "core": 2},
        "regions": {"whole": ["oedema", "core"], "core": ["core"]},
        "ignore": 9,
        "cases": [{"image": "a.nii.gz", "label": "b.nii.gz", "annotated": ["core"]}],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    dataset = load_dataset(tmp_path)
    assert (dataset.name, dataset.channels, dataset.cases[0].id) == ("Mine", ("T1", "CT"), "a")
    assert (dataset.labels.classes, dataset.labels.ignore) == (("whole", "core"), 9)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,image,label\n", "lists no case"),
        ("id,scan,label\nx,a.nii.gz,b.nii.gz\n", "no column 'image'"),
        ("id,image,label\nx,,b.nii.gz\n", "does not name all of its images"),
        ("id,image,label\n../x,a.nii.gz,b.nii.gz\n", "cannot name a file"),
        ("id,image,label\n.x,a.nii.gz,b.nii.gz\n", "cannot name a file"),
        ("id,image,label\nx,a.nii.gz,\n", "names no label file"),
        ("id,image,image_T1,label\nx,a.nii.gz,a.nii.gz,b.nii.gz\n", "both 'image' and 'image_T1'"),
        ("id,image,label,Label\nx,a.nii.gz,b.nii.gz,a.nii.gz\n", "two columns 'label'"),
        ("id,image,label,annotated\nx,a.nii.gz,b.nii.gz,liver\n", "'liver' as an annotated label"),
        ("id,image,label\nx,a.nii.gz,b.nii.gz\nx,a.nii.gz,b.nii.gz\n", "Two cases are called 'x'"),
    ],
)
def test_a_wrong_manifest_is_explained(text: str, words: str, tmp_path: Path) -> None:
    scan(tmp_path / "a.nii.gz")
    truth(tmp_path / "b.nii.gz", 1)
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        load_dataset(tmp_path)


@pytest.mark.parametrize("annotated", [1, {"core": 1}, [1], True])
def test_an_annotated_that_is_no_list_of_names_is_explained(annotated: object, tmp_path: Path) -> None:
    scan(tmp_path / "a.nii.gz")
    truth(tmp_path / "b.nii.gz", 1)
    case = {"image": "a.nii.gz", "label": "b.nii.gz", "annotated": annotated}
    (tmp_path / "manifest.json").write_text(json.dumps({"labels": {"core": 1}, "cases": [case]}))
    with pytest.raises(DataError, match='as "annotated"; a list of names'):
        load_dataset(tmp_path)


@pytest.mark.parametrize("json_text", ["[1, 2]", '{"cases": {}}', '{"cases": [', '"text"'])
def test_a_wrong_json_manifest_is_explained(json_text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json_text)
    with pytest.raises(DataError, match=r"manifest\.json"):
        load_dataset(tmp_path)


def test_a_name_with_a_tilde_of_nobody_is_a_file_beside_the_manifest(tmp_path: Path) -> None:
    scan(tmp_path / "~nobody is called so.nii.gz")
    truth(tmp_path / "seg.nii.gz", 1)
    text = "image,label\n~nobody is called so.nii.gz,seg.nii.gz\n"
    (tmp_path / "list.csv").write_text(text)
    (case,) = load_dataset(tmp_path / "list.csv").cases
    assert case.images == (tmp_path / "~nobody is called so.nii.gz",)
    (tmp_path / "list.csv").write_text(text.replace("~", "\0"))
    with pytest.raises(DataError, match="no name has such a character"):
        load_dataset(tmp_path / "list.csv")


def test_a_manifest_says_which_slice_of_which_volume_a_case_is(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("L", (6, 5), number).save(tmp_path / f"{number}.png")
        Image.new("L", (6, 5), 1).save(tmp_path / f"{number}_m.png")
    (tmp_path / "manifest.csv").write_text(
        "image,label,volume,slice,slice_mm\n0.png,0_m.png,v,-3,2.5\n1.png,1_m.png,v,4,\n2.png,2_m.png,,,\n",
        encoding="utf-8",
    )
    first, second, third = load_dataset(tmp_path).cases
    assert first.slice_of == SliceOf(volume="v", number=-3, distance_mm=2.5)
    assert second.slice_of == SliceOf(volume="v", number=4)
    assert (first.patient, second.patient) == ("v", "v")
    assert (third.slice_of, third.patient) == (None, "2")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.png,a.png,v,1,0\n", "Case 1 of .* slice_mm '0'; slice is a whole number"),
        ("a.png,a.png,v,first,5\n", "has slice 'first'"),
        ("a.png,a.png,v,1.5,5\n", "has slice '1.5'"),
        ("a.png,a.png,v,1,5 mm\n", "slice_mm '5 mm'"),
        ("a.png,a.png,v,1,nan\n", "slice_mm 'nan'"),
        ("a.png,a.png,v,1,5\nb.png,b.png,v,1,5\n", "a and b of .* are both slice 1 of v; give each its own"),
        ("a.png,a.png,../v,1,5\n", "which cannot name a file"),
    ],
)
def test_what_is_no_slice_is_refused(tmp_path: Path, rows: str, message: str) -> None:
    for name in "ab":
        Image.new("L", (6, 5), 1).save(tmp_path / f"{name}.png")
    (tmp_path / "manifest.csv").write_text(f"image,label,volume,slice,slice_mm\n{rows}", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path)


def test_slices_of_one_volume_are_of_one_patient(tmp_path: Path) -> None:
    for name in "ab":
        Image.new("L", (6, 5), 1).save(tmp_path / f"{name}.png")
    (tmp_path / "manifest.csv").write_text(
        "image,label,volume,slice,patient\na.png,a.png,v,1,p\nb.png,b.png,v,2,q\n", encoding="utf-8"
    )
    with pytest.raises(DataError, match="slices of v but of the patients p and q; name one patient"):
        load_dataset(tmp_path)


def test_a_manifest_may_say_from_where_on_soft_masks_are_drawn(tmp_path: Path) -> None:
    head = {"labels": {"polyp": 255}, "threshold": 100, "cases": [{"image": "i.png", "label": "m.png"}]}
    Image.new("L", (4, 4), 7).save(tmp_path / "i.png")
    Image.new("L", (4, 4), 101).save(tmp_path / "m.png")
    (tmp_path / "manifest.json").write_text(json.dumps(head))
    dataset = load_dataset(tmp_path)
    assert dataset.labels.threshold == 100
    label = read_case(dataset.cases[0]).label
    assert label is not None
    assert (label.array == 255).all()
    (tmp_path / "manifest.json").write_text(json.dumps(head | {"threshold": True}))
    with pytest.raises(DataError, match=r'manifest.json: "threshold" is a number'):
        load_dataset(tmp_path)


def test_names_in_json_may_be_numbers_and_0_is_one(tmp_path: Path) -> None:
    rows = []
    for number, name in enumerate("abc"):
        scan(tmp_path / f"{name}.nii.gz")
        truth(tmp_path / f"{name}_seg.nii.gz", 1)
        files = {"image": f"{name}.nii.gz", "label": f"{name}_seg.nii.gz"}
        rows.append({"id": number, "patient": number // 2, **files})
    (tmp_path / "manifest.json").write_text(json.dumps(rows))
    cases = load_dataset(tmp_path).cases
    assert [(case.id, case.patient) for case in cases] == [("0", "0"), ("1", "0"), ("2", "1")]
