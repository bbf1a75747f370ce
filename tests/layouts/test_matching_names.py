"""Images and labels by their names: words at the ends and the form of accents make no difference."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from layout_examples import scan, truth

from vesal.errors import DataError
from vesal.layouts.matching_names import match_names
from vesal.layouts.registry import load_dataset


def matched(images: list[str], labels: list[str]) -> dict[str, str]:
    return match_names({name: Path(name) for name in images}, {name: Path(name) for name in labels})


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("img0001", "label0001"),
        ("volume-12", "segmentation-12"),
        ("x", "x.seg"),
        ("case3_0000", "case3"),
        ("p01image", "p01mask"),
        ("A_Image", "a_label"),
        ("x", "x_pred"),
    ],
)
def test_words_that_say_what_a_file_is_are_passed_over(image: str, label: str) -> None:
    assert matched([image], [label]) == {image: label}


@pytest.mark.parametrize(
    ("image", "label"), [("img0001", "label0002"), ("imga", "labela"), ("data1b", "1b2")]
)
def test_other_names_do_not_match(image: str, label: str) -> None:
    assert matched([image], [label]) == {}


def test_equal_names_go_before_names_without_their_words() -> None:
    assert matched(["1", "img1"], ["1", "label1"]) == {"1": "1", "img1": "label1"}


def test_a_label_for_two_images_is_refused_with_all_names() -> None:
    with pytest.raises(DataError, match=r"could belong to several.*img1, scan1, label1"):
        matched(["img1", "scan1"], ["label1"])


def test_a_data_set_of_the_names_of_btcv_is_read(tmp_path: Path) -> None:
    for number in (1, 2):
        scan(tmp_path / "img" / f"img000{number}.nii.gz")
        truth(tmp_path / "label" / f"label000{number}.nii.gz", 1)
    cases = load_dataset(tmp_path).cases
    assert [(case.id, case.label and case.label.name) for case in cases] == [
        ("img0001", "label0001.nii.gz"),
        ("img0002", "label0002.nii.gz"),
    ]


@pytest.mark.parametrize("manifest", [False, True], ids=["pairs", "manifest"])
def test_accents_match_in_both_forms_of_unicode(tmp_path: Path, manifest: bool) -> None:
    name = "Jos\u00e9_1"
    decomposed = unicodedata.normalize("NFD", name)
    scan(tmp_path / "images" / f"{decomposed}.nii.gz")
    truth(tmp_path / "labels" / f"{name}.nii.gz", 1)
    if manifest:
        (tmp_path / "manifest.csv").write_text(
            f"image,label\nimages/{name}.nii.gz,labels/{decomposed}.nii.gz\n", encoding="utf-8"
        )
    (case,) = load_dataset(tmp_path).cases
    assert case.id == name
    assert all(path.exists() for path in case.files)


def test_entries_of_dataset_json_match_files_in_the_other_form(tmp_path: Path) -> None:
    name = "Jos\u00e9_1.nii.gz"
    decomposed = unicodedata.normalize("NFD", name)
    scan(tmp_path / "imagesTr" / decomposed)
    truth(tmp_path / "labelsTr" / decomposed, 1)
    entry = {"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"}
    described = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "x"}, "training": [entry]}
    (tmp_path / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    (case,) = load_dataset(tmp_path).cases
    assert all(path.exists() for path in case.files)


def test_a_number_of_four_noughts_is_a_channel_only_where_it_is_no_name() -> None:
    images = {name: Path(name) for name in ("ISIC_0000", "ISIC_0001", "b_0000")}
    labels = {name: Path(name) for name in ("ISIC_0000_mask", "ISIC_0001_mask", "b_mask")}
    assert match_names(images, labels) == {
        "ISIC_0000": "ISIC_0000_mask",
        "ISIC_0001": "ISIC_0001_mask",
        "b_0000": "b_mask",
    }


def test_a_word_glued_to_a_number_inside_a_name_is_passed_over() -> None:
    assert match_names({"tr_im1": Path("a")}, {"tr_mask1": Path("b"), "tr_mask2": Path("c")}) == {
        "tr_im1": "tr_mask1"
    }
