"""dataset.json of the Decathlon and of nnU-Net: cases, channels, labels, patients."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from layout_examples import (
    describe,
    make_msd,
    make_nnunet,
    scan,
    truth,
)

from vesal.data.case import read_case
from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.layouts.registry import load_dataset


def test_msd_gives_channels_labels_and_test_scans(tmp_path: Path) -> None:
    make_msd(tmp_path)
    dataset = load_dataset(tmp_path)
    assert dataset.name == "Prostate"
    assert dataset.channels == ("T2", "ADC")
    assert dataset.labels.names == ("PZ", "TZ")
    assert [case.id for case in dataset.cases] == ["a", "b"]
    assert [case.id for case in dataset.unlabelled] == ["c"]


def rewrite(folder: Path, **entries: object) -> None:
    json_path = folder / "dataset.json"
    json_path.write_text(json.dumps({**json.loads(json_path.read_text()), **entries}))


def test_a_file_that_dataset_json_names_and_that_is_absent_is_named_when_its_case_is_read(
    tmp_path: Path,
) -> None:
    make_msd(tmp_path)
    (tmp_path / "imagesTr" / "b.nii.gz").unlink()
    dataset = load_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == ["a", "b"]
    read_case(dataset.cases[0])
    with pytest.raises(DataError, match=r"Case b: .*imagesTr/b\.nii\.gz"):
        read_case(dataset.cases[1])


def test_files_without_a_partner_are_orphans_and_whole_unlisted_cases_are_remarked(tmp_path: Path) -> None:
    make_msd(tmp_path)
    lone_image, lone_label = scan(tmp_path / "imagesTr/d.nii.gz"), truth(tmp_path / "labelsTr/e.nii.gz", 1)
    scan(tmp_path / "imagesTr/f.nii.gz")
    truth(tmp_path / "labelsTr/f.nii.gz", 1)
    dataset = load_dataset(tmp_path)
    assert [(orphan.id, orphan.path, orphan.missing) for orphan in dataset.orphans] == [
        ("d", lone_image, "label"),
        ("e", lone_label, "image"),
    ]
    assert any("1 scans with labels are not listed" in remark and "f" in remark for remark in dataset.remarks)
    assert len(dataset.cases) == 2


def test_a_wrong_number_of_training_cases_is_remarked(tmp_path: Path) -> None:
    make_msd(tmp_path)
    rewrite(tmp_path, numTraining=20)
    assert any("20" in remark for remark in load_dataset(tmp_path).remarks)


@pytest.mark.parametrize("path", ["../secret.nii.gz", "/etc/passwd", "./imagesTr/../../x.nii.gz", "", 7])
def test_an_entry_that_leads_out_of_the_folder_is_refused(path: object, tmp_path: Path) -> None:
    make_msd(tmp_path)
    rewrite(tmp_path, training=[{"image": path, "label": "./labelsTr/a.nii.gz"}])
    with pytest.raises(DataError, match=r"dataset\.json names .* not a file in its folder"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"training": "all"}, "not a list"),
        ({"training": ["./imagesTr/a.nii.gz"]}, "without image and label"),
        ({"labels": {}}, "does not declare its labels"),
        ({"labels": {"0": "background"}}, "no foreground label"),
        ({"labels": {"0": "background", "1": "x", "2": "x"}}, "two label values 'x'"),
        ({"labels": {"background": 0, "x": 1.5}}, "whole number"),
        ({"modality": {}}, "does not name its channels"),
    ],
)
def test_a_wrong_dataset_json_is_explained(entries: dict[str, object], words: str, tmp_path: Path) -> None:
    make_msd(tmp_path)
    rewrite(tmp_path, **entries)
    with pytest.raises(DataError, match=words) as caught:
        load_dataset(tmp_path, "msd")
    assert "dataset.json" in str(caught.value)


def test_a_dataset_json_that_is_not_json_is_named(tmp_path: Path) -> None:
    make_msd(tmp_path)
    (tmp_path / "dataset.json").write_text("{'name': ")
    with pytest.raises(DataError, match=r"dataset\.json is not valid JSON"):
        load_dataset(tmp_path)


def test_images_and_labels_without_dataset_json_are_read_and_it_is_said_that_it_is_missing(
    tmp_path: Path,
) -> None:
    make_msd(tmp_path)
    (tmp_path / "dataset.json").unlink()
    with pytest.raises(DataError, match=r"imagesTr and labelsTr but no dataset\.json"):
        load_dataset(tmp_path, "msd")
    dataset = load_dataset(tmp_path)
    assert dataset.layout == "pairs"
    assert dataset.labels.names == ("label_1", "label_2")
    assert any("no dataset.json" in remark for remark in dataset.remarks)


@pytest.mark.parametrize(
    "labels", [{"0": "background", "1": "PZ", "2": "TZ"}, {"background": 0, "PZ": 1, "TZ": 2}]
)
def test_labels_may_be_declared_in_both_directions(labels: dict[str, object], tmp_path: Path) -> None:
    make_msd(tmp_path)
    rewrite(tmp_path, labels=labels)
    assert load_dataset(tmp_path).labels == LabelSet.from_values({"background": 0, "PZ": 1, "TZ": 2})


def test_nnunet_takes_one_file_a_channel(tmp_path: Path) -> None:
    make_nnunet(tmp_path)
    dataset = load_dataset(tmp_path)
    assert dataset.channels == ("T2", "ADC")
    assert [path.name for path in dataset.cases[0].images] == ["case_1_0000.nii.gz", "case_1_0001.nii.gz"]
    assert [case.id for case in dataset.unlabelled] == ["case_9"]


def test_nnunet_regions_and_ignore_label(tmp_path: Path) -> None:
    make_nnunet(tmp_path)
    rewrite(
        tmp_path,
        labels={"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4},
        regions_class_order=[1, 2, 3],
    )
    labels = load_dataset(tmp_path).labels
    assert labels.classes == ("whole", "core", "enhancing")
    assert labels.ignore == 4
    assert labels.values == (0, 1, 2, 3, 4)
    masks = np.array([[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0]], dtype=bool)
    assert labels.decode(labels.paint(masks)).tolist() == [1, 2, 3, 0]


def test_the_class_order_says_which_value_stands_for_a_region(tmp_path: Path) -> None:
    make_nnunet(tmp_path)
    rewrite(
        tmp_path,
        labels={"background": 0, "whole": [1, 2, 3], "enhancing": [3]},
        regions_class_order=[2, 3],
    )
    labels = load_dataset(tmp_path).labels
    assert labels.decode(labels.paint(np.array([[1, 1], [0, 1]], dtype=bool))).tolist() == [2, 3]


def test_nnunet_cases_with_a_missing_channel_label_or_image_are_orphans(tmp_path: Path) -> None:
    make_nnunet(tmp_path)
    (tmp_path / "imagesTr" / "case_2_0001.nii.gz").unlink()
    scan(tmp_path / "imagesTr" / "case_3_0000.nii.gz")
    truth(tmp_path / "labelsTr" / "case_4.nii.gz", 1)
    dataset = load_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == ["case_1"]
    assert [(orphan.id, orphan.missing) for orphan in dataset.orphans] == [
        ("case_2", "channel 0001"),
        ("case_3", "label"),
        ("case_4", "image"),
    ]


def test_nnunet_version_1_lists_cases_without_the_channel(tmp_path: Path) -> None:
    make_nnunet(tmp_path)
    entry = {"image": "./imagesTr/case_1.nii.gz", "label": "./labelsTr/case_1.nii.gz"}
    describe(
        tmp_path, modality={"0": "T2", "1": "ADC"}, labels={"0": "bg", "1": "PZ", "2": "TZ"}, training=[entry]
    )
    dataset = load_dataset(tmp_path)
    assert dataset.layout == "nnunet"
    assert dataset.labels.names == ("PZ", "TZ")


def test_nnunet_version_2_may_list_its_files(tmp_path: Path) -> None:
    scan(tmp_path / "any" / "one.nii.gz")
    truth(tmp_path / "any" / "one_truth.nii.gz", 1)
    listed = {"one": {"images": ["any/one.nii.gz"], "label": "any/one_truth.nii.gz"}}
    describe(
        tmp_path,
        channel_names={"0": "CT"},
        labels={"background": 0, "x": 1},
        file_ending=".nii.gz",
        dataset=listed,
    )
    dataset = load_dataset(tmp_path)
    assert (dataset.layout, dataset.channels, dataset.cases[0].id) == ("nnunet", ("CT",), "one")


@pytest.mark.parametrize("layout", ["msd", "nnunet"])
def test_frames_named_as_in_acdc_are_of_one_patient_in_other_layouts_too(layout: str, tmp_path: Path) -> None:
    make_named(layout, tmp_path, "patient001_frame01", "patient001_frame12", "patient002_frame01")
    dataset = load_dataset(tmp_path)
    assert [case.patient for case in dataset.cases] == ["patient001", "patient001", "patient002"]
    assert not any("own patient" in remark for remark in dataset.remarks)


@pytest.mark.parametrize("layout", ["msd", "nnunet"])
def test_names_that_look_like_scans_of_one_patient_are_remarked(layout: str, tmp_path: Path) -> None:
    make_named(layout, tmp_path / "a", "p1_01", "p1_02", "p2_01")
    dataset = load_dataset(tmp_path / "a")
    assert [case.patient for case in dataset.cases] == ["p1_01", "p1_02", "p2_01"]
    assert sum("p1_01 and p1_02 may be of one" in remark for remark in dataset.remarks) == 1
    make_named(layout, tmp_path / "b", "la_003", "la_004")
    assert not any("may be of one" in remark for remark in load_dataset(tmp_path / "b").remarks)


def make_named(layout: str, folder: Path, *names: str) -> None:
    """A data set with one channel and cases of these names."""
    suffix = "_0000" if layout == "nnunet" else ""
    training = []
    for name in names:
        image = scan(folder / "imagesTr" / f"{name}{suffix}.nii.gz").relative_to(folder)
        label = truth(folder / "labelsTr" / f"{name}.nii.gz", 1).relative_to(folder)
        training.append({"image": str(image), "label": str(label)})
    listed = {"training": training} if layout == "msd" else {"file_ending": ".nii.gz"}
    describe(folder, modality={"0": "MRI"}, labels={"background": 0, "organ": 1}, **listed)


@pytest.mark.parametrize("key", ["training", "test"])
def test_two_files_of_one_name_are_not_one_case_and_the_same_file_twice_is(key: str, tmp_path: Path) -> None:
    make_msd(tmp_path)
    text = json.loads((tmp_path / "dataset.json").read_text())
    again = text[key][0]
    (tmp_path / "dataset.json").write_text(json.dumps(text | {key: [*text[key], again]}))
    dataset = load_dataset(tmp_path)
    assert (len(dataset.cases), len(dataset.unlabelled)) == (2, 1)
    assert any("twice; it is taken once" in remark for remark in dataset.remarks)
    name = "a" if key == "training" else "c"
    scan(tmp_path / f"more/{name}.nii.gz", channels=2)
    other = again | {"image": "more/a.nii.gz"} if isinstance(again, dict) else "more/c.nii.gz"
    (tmp_path / "dataset.json").write_text(json.dumps(text | {key: [*text[key], other]}))
    with pytest.raises(DataError, match=rf"two cases called '{name}' \(.*images.*{name}\.nii.*more"):
        load_dataset(tmp_path)


def test_a_test_image_with_the_name_of_a_training_image_is_left_out_and_remarked(tmp_path: Path) -> None:
    make_msd(tmp_path)
    scan(tmp_path / "imagesTs/a.nii.gz", channels=2)
    text = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps(text | {"test": ["imagesTs/a.nii.gz"]}))
    dataset = load_dataset(tmp_path)
    assert dataset.unlabelled == ()
    assert any("names of training images: a" in remark for remark in dataset.remarks)


@pytest.mark.parametrize(
    ("gone", "declared", "said"),
    [
        (
            "_0001",
            {"0": "T2", "1": "ADC"},
            r"2 channels (T2, ADC), but 2 cases of 2 have 1 file, such as case_1_0000",
        ),
        ("_0000", {"0": "T2", "1": "ADC"}, r"add the files _0000 for T2, or correct channel_names"),
        (
            "none",
            {"0": "T2"},
            r"1 channel (T2), but 2 cases of 2 have 2 files, such as case_1_0001.nii.gz; correct",
        ),
    ],
)
def test_channels_that_no_file_has_or_that_are_not_declared_are_told(
    gone: str, declared: dict[str, str], said: str, tmp_path: Path
) -> None:
    make_nnunet(tmp_path)
    for path in tmp_path.rglob(f"*{gone}.nii.gz"):
        path.unlink()
    rewrite(tmp_path, channel_names=declared)
    assert any(said in remark for remark in load_dataset(tmp_path).remarks)


def test_one_file_may_hold_all_channels_that_are_declared(tmp_path: Path) -> None:
    make_nnunet(tmp_path)
    for path in tmp_path.rglob("*_000?.nii.gz"):
        path.unlink() if "_0001" in path.name else scan(path, channels=2)
    assert not any("declares 2 channels" in remark for remark in load_dataset(tmp_path).remarks)


def test_a_file_ending_that_the_files_do_not_have_is_told(tmp_path: Path) -> None:
    make_nnunet(tmp_path)
    assert not any("files end in" in remark for remark in load_dataset(tmp_path).remarks)
    rewrite(tmp_path, file_ending=".nrrd")
    said = "files end in '.nrrd', and 4 images do not, such as case_1_0000.nii.gz"
    assert any(said in remark for remark in load_dataset(tmp_path).remarks)


def two_raters(folder: Path, *listed: tuple[str, str]) -> None:
    """x and y with a label by each of A and B, of which these (case, rater) are listed."""
    for name in "xy":
        scan(folder / "imagesTr" / f"{name}_0000.nii.gz")
        for rater in "AB":
            truth(folder / f"labels{rater}" / f"{name}.nii.gz", 1)
    training = [
        {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labels{rater}/{name}.nii.gz"}
        for name, rater in listed
    ]
    describe(folder, modality={"0": "CT"}, labels={"0": "bg", "1": "x"}, training=training)


def test_of_labels_in_several_folders_the_listed_one_is_the_truth(tmp_path: Path) -> None:
    two_raters(tmp_path, ("x", "A"), ("y", "B"))
    cases = load_dataset(tmp_path).cases
    assert [(case.id, case.label) for case in cases] == [
        ("x", tmp_path / "labelsA/x.nii.gz"),
        ("y", tmp_path / "labelsB/y.nii.gz"),
    ]


def test_two_listed_labels_of_a_case_are_refused(tmp_path: Path) -> None:
    two_raters(tmp_path, ("x", "A"), ("x", "B"), ("y", "A"))
    with pytest.raises(DataError, match=r"two labels of x \(.*labelsA/x.nii.gz and .*labelsB/x.nii.gz\)"):
        load_dataset(tmp_path)
