"""Cases in folders of their own or side by side, whose files say by a word what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from layout_examples import scan, slice_of, truth

from vesal.data.dataset import Dataset
from vesal.errors import DataError
from vesal.layouts.registry import load_dataset


def made(root: Path, *names: str) -> Dataset:
    """Labels are the files whose names end in one of these words."""
    for name in names:
        stem = name.split(".")[0].lower()
        is_label = stem.endswith(("label", "seg", "mask", "gt"))
        if name.endswith(".png"):
            slice_of(root / name, 255) if is_label else slice_of(root / name, 1, 2, 3)
        else:
            truth(root / name, 1) if is_label else scan(root / name)
    return load_dataset(root)


@pytest.mark.parametrize(
    ("image", "label", "channel"),
    [
        ("image", "label", "image"),
        ("img", "mask", "image"),
        ("volume", "segmentation_seg", "image"),
        ("ct", "gt", "CT"),
        ("MRI", "Label", "MRI"),
        ("{}", "GT", "image"),
        ("{}_ct", "{}_seg", "CT"),
    ],
)
def test_a_folder_a_case_is_read_by_words(image: str, label: str, channel: str, tmp_path: Path) -> None:
    names = [f"{p}/{name.format(p)}.nii.gz" for p in ("p0", "Patient_01") for name in (image, label)]
    dataset = made(tmp_path, *names)
    assert dataset.layout == "cases"
    assert [case.id for case in dataset.cases] == ["Patient_01", "p0"]
    assert dataset.channels == (channel,)
    assert dataset.cases[1].images[0].name == f"{image.format('p0')}.nii.gz"
    assert dataset.cases[1].label == tmp_path / f"p0/{label.format('p0')}.nii.gz"


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("{}", "{}_seg"),
        ("{}_image", "{}_label"),
        ("img{}", "mask{}"),
        ("{}_ct", "{}_ct_gt"),
        ("{}_0000", "{}_mask"),
    ],
)
def test_files_side_by_side_are_paired_by_a_word_at_an_end(image: str, label: str, tmp_path: Path) -> None:
    dataset = made(tmp_path, *[f"{name.format(n)}.nii.gz" for n in ("001", "002") for name in (image, label)])
    assert (dataset.layout, [case.id for case in dataset.cases]) == ("cases", ["001", "002"])
    assert dataset.cases[0].label == tmp_path / f"{label.format('001')}.nii.gz"


def test_several_images_of_a_case_are_channels_by_their_words(tmp_path: Path) -> None:
    names = [f"p{n}/{name}.nii.gz" for n in range(3) for name in ("adc", "t2", "label")]
    dataset = made(tmp_path, *names)
    assert dataset.channels == ("ADC", "T2")
    assert [path.name for path in dataset.cases[0].images] == ["adc.nii.gz", "t2.nii.gz"]
    (tmp_path / "p2/t2.nii.gz").unlink()
    (tmp_path / "p1/label.nii.gz").unlink()
    dataset = load_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == ["p0"]
    assert {(orphan.id, orphan.missing) for orphan in dataset.orphans} == {("p1", "label"), ("p2", "t2")}


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("p1/ct.nii.gz", r"Case p1 has several images beside .*label.nii.gz \(ct.nii.gz and image.nii.gz\)"),
        (
            "p1/observer_mask.nii.gz",
            r"Case p1 has several labels beside .*\(label.nii.gz and observer_mask.nii.gz\)",
        ),
    ],
)
def test_a_case_that_can_be_read_in_two_ways_is_refused_with_both(
    extra: str, said: str, tmp_path: Path
) -> None:
    names = [f"p{n}/{name}.nii.gz" for n in range(2) for name in ("image", "label")]
    if "observer" in extra:
        (tmp_path / "p1").mkdir()
        truth(tmp_path / "p1/tumour_mask.nii.gz", 1)
        names = ["p0/image.nii.gz", "p0/label.nii.gz", "p1/image.nii.gz"]
        said = r"several labels beside .*\(observer_mask.nii.gz and tumour_mask.nii.gz\)"
    with pytest.raises(DataError, match=said) as caught:
        made(tmp_path, *names, extra)
    assert "manifest.csv" in str(caught.value)


def test_a_folder_of_several_cases_is_one_patient(tmp_path: Path) -> None:
    """As the LGG slices on Kaggle: TCGA_1/TCGA_1_2.png with TCGA_1/TCGA_1_2_mask.png."""
    names = [f"TCGA_{p}/TCGA_{p}_{n}{end}.png" for p in range(6) for n in (1, 2) for end in ("", "_mask")]
    dataset = made(tmp_path, *names)
    assert dataset.layout == "cases"
    assert [(case.id, case.patient) for case in dataset.cases[:3]] == [
        ("TCGA_0_1", "TCGA_0"),
        ("TCGA_0_2", "TCGA_0"),
        ("TCGA_1_1", "TCGA_1"),
    ]


def test_the_training_cases_of_a_split_are_read_and_the_others_named(tmp_path: Path) -> None:
    names = [
        f"{part}/p{n}/{name}.nii.gz" for part in ("train", "test") for n in (1, 2) for name in ("ct", "gt")
    ]
    dataset = made(tmp_path, *names)
    assert [str(case.images[0].relative_to(tmp_path)) for case in dataset.cases] == [
        "train/p1/ct.nii.gz",
        "train/p2/ct.nii.gz",
    ]
    assert "Left out are the folders beside train: test." in dataset.remarks


def test_predictions_beside_the_labels_are_left_out_and_named(tmp_path: Path) -> None:
    dataset = made(tmp_path, "a.nii.gz", "a_seg.nii.gz", "a_pred.nii.gz", "b.nii.gz", "b_seg.nii.gz")
    assert [case.files for case in dataset.cases] == [
        (tmp_path / "a.nii.gz", tmp_path / "a_seg.nii.gz"),
        (tmp_path / "b.nii.gz", tmp_path / "b_seg.nii.gz"),
    ]
    assert "Left out are files with the name of a prediction: a." in dataset.remarks


def test_cases_side_by_side_and_in_folders_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"side by side \(x\) and in folders \(p0\)"):
        made(tmp_path, "x.nii.gz", "x_seg.nii.gz", "p0/image.nii.gz", "p0/label.nii.gz")


def test_a_word_of_a_modality_before_a_number_is_a_name(tmp_path: Path) -> None:
    names = [f"{kind}_{n}{end}.nii.gz" for kind in ("CT", "MR") for n in (1, 2) for end in ("", "_seg")]
    assert [case.id for case in made(tmp_path, *names).cases] == ["CT_1", "CT_2", "MR_1", "MR_2"]


def test_pictures_beside_volumes_are_no_cases_and_do_not_hide_the_channel(tmp_path: Path) -> None:
    names = [f"p{n}/{name}" for n in (1, 2) for name in ("ct.nii.gz", "label.nii.gz", "preview.png")]
    dataset = made(tmp_path, *names)
    assert (dataset.channels, dataset.orphans) == (("CT",), ())
    assert "Left out are pictures beside volumes, without a label: p1_preview, p2_preview." in dataset.remarks


def test_names_that_differ_by_a_number_are_no_case_though_they_are_alone_in_a_folder(tmp_path: Path) -> None:
    dataset = made(
        tmp_path, "p1/visit_1.nii.gz", "p1/visit_2_seg.nii.gz", "p2/visit_1.nii.gz", "p2/visit_1_seg.nii.gz"
    )
    assert [case.id for case in dataset.cases] == ["p2"]
    assert [(orphan.id, orphan.missing) for orphan in dataset.orphans] == [
        ("p1_visit_1", "label"),
        ("p1_visit_2", "image"),
    ]
