"""What people name on the command line -> cases to predict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.errors import UsageError
from vesal.layouts.dicom.chosen_series import WantedScan
from vesal.layouts.input_scans import ChannelFiles, cases_to_predict
from vesal.outputs import OutputFolder
from vesal.volume.geometry import Geometry
from vesal.volume.io import write_volume
from vesal.volume.volume import Volume


def touch(folder: Path, *names: str, ending: str = ".nii.gz") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for name in names:
        (folder / f"{name}{ending}").touch()
    return folder


def test_numbered_files_are_the_channels_of_a_case_where_they_are_as_many_as_the_model_has(
    tmp_path: Path,
) -> None:
    folder = touch(tmp_path / "scans", "a_0000", "a_0001", "b_0000", "b_0001")
    cases = cases_to_predict([folder], channels=2)
    assert [case.id for case in cases] == ["a", "b"]
    assert [path.name for path in cases[0].images] == ["a_0000.nii.gz", "a_0001.nii.gz"]


def test_scans_whose_names_only_end_in_digits_stay_apart(tmp_path: Path) -> None:
    names = [f"patient_{number:04}" for number in range(1, 13)]
    cases = cases_to_predict([touch(tmp_path / "scans", *names)], channels=1)
    assert [case.id for case in cases] == names
    cases = cases_to_predict([tmp_path / "scans"], channels=4)
    assert [case.id for case in cases] == names


def test_a_single_channel_is_named_without_its_number(tmp_path: Path) -> None:
    assert [case.id for case in cases_to_predict([touch(tmp_path / "s", "a_0000")], channels=1)] == ["a"]


def test_an_incomplete_case_does_not_hold_up_the_others(tmp_path: Path) -> None:
    folder = touch(tmp_path / "scans", "a_0000", "a_0001", "b_0000")
    assert [case.id for case in cases_to_predict([folder], channels=2)] == ["a", "b_0000"]


def test_files_of_a_channel_that_is_missing_are_not_looked_for_and_not_taken(tmp_path: Path) -> None:
    folder = touch(tmp_path / "scans", "a_0000", "a_0001", "b_0001", "c")
    cases = {case.id: case for case in cases_to_predict([folder], ChannelFiles(2, missing=(0,)))}
    assert set(cases) == {"a", "b", "c"}
    assert [path.name for path in cases["a"].images] == ["a_0001.nii.gz"]
    assert cases["b"].lacking == ()


def test_a_case_may_be_without_a_channel_where_the_model_can_do_without(tmp_path: Path) -> None:
    folder = touch(tmp_path / "scans", "a_0000", "a_0002", "b_0000", "b_0001", "b_0002", "c_0007")
    cases = {case.id: case for case in cases_to_predict([folder], ChannelFiles(3, optional=True))}
    assert (cases["a"].lacking, cases["b"].lacking) == ((1,), ())
    assert [path.name for path in cases["a"].images] == ["a_0000.nii.gz", "a_0002.nii.gz"]
    # That number is no channel of the model's.
    assert cases["c_0007"].lacking == ()
    assert "a" not in {case.id for case in cases_to_predict([folder], ChannelFiles(3))}


def test_a_scan_that_holds_all_channels_is_a_case_of_its_own_whatever_its_number(tmp_path: Path) -> None:
    """Where a model can do without a channel, patients 0001 and 0003 look like two channels of one."""
    for name, channels in (
        ("brats_0000", 4),
        ("brats_0001", 4),
        ("brats_0003", 4),
        ("b_0001", 1),
        ("b_0002", 1),
    ):
        write_volume(
            tmp_path / f"{name}.nii.gz",
            Volume(np.zeros((channels, 3, 4, 5), np.float32), Geometry.from_spacing((3, 4, 5), (1.0,) * 3)),
        )
    cases = {case.id: case for case in cases_to_predict([tmp_path], ChannelFiles(4, optional=True))}
    assert sorted(cases) == ["b", "brats_0000", "brats_0001", "brats_0003"]
    assert (cases["b"].lacking, cases["brats_0001"].lacking) == ((0, 3), ())


def test_two_scans_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = touch(tmp_path / "one", "a"), touch(tmp_path / "other", "a")
    with pytest.raises(UsageError, match="named a"):
        cases_to_predict([one, other], channels=1)


def test_an_absent_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        cases_to_predict([tmp_path / "nowhere"], channels=1)


@pytest.mark.parametrize("channels", [1, 3])
def test_slices_numbered_from_0000_are_named_as_their_files(tmp_path: Path, channels: int) -> None:
    names = [f"lung_{volume:03}_{number:04}" for volume in (1, 2) for number in range(5)]
    folder = touch(tmp_path / "slices", *names, ending=".png")
    assert [case.id for case in cases_to_predict([folder], channels)] == names


def test_a_volume_of_a_single_slice_keeps_its_number_beside_others(tmp_path: Path) -> None:
    names = ["lung_001_0000", "lung_001_0001", "lung_002_0000"]
    folder = touch(tmp_path / "slices", *names, ending=".png")
    assert [case.id for case in cases_to_predict([folder], channels=1)] == names


def test_a_slice_that_says_so_keeps_its_number_where_it_is_alone(tmp_path: Path) -> None:
    folder = touch(tmp_path / "slices", "lung_001_slice_0000", ending=".png")
    assert [case.id for case in cases_to_predict([folder], channels=1)] == ["lung_001_slice_0000"]


def test_channels_named_one_by_one_are_a_case_as_in_a_folder(tmp_path: Path) -> None:
    folder = touch(tmp_path / "scans", "a_0000", "a_0001", "b_0000", "b_0001")
    files = sorted(folder.iterdir())
    assert [case.id for case in cases_to_predict(files, channels=2)] == ["a", "b"]
    assert [case.id for case in cases_to_predict(files[:1], channels=1)] == ["a_0000"]


def test_a_data_set_gives_all_its_scans_without_reading_one(tmp_path: Path) -> None:
    names = [f"lung_001_slice_{number:04}" for number in range(4)]
    touch(tmp_path / "images", *names, ending=".png")
    touch(tmp_path / "masks", *names[:3], ending=".png")  # empty files: whoever reads one fails
    cases = cases_to_predict([tmp_path], channels=1, labels=LabelSet.from_values({"tumour": 255}))
    assert sorted(case.id for case in cases) == names


def test_a_data_set_with_other_labels_than_the_models_is_taken(tmp_path: Path) -> None:
    touch(tmp_path / "scans", "a")
    (tmp_path / "manifest.json").write_text(
        '{"labels": {"liver": 1}, "cases": [{"id": "a", "image": "scans/a.nii.gz", "label": "scans/a.nii.gz", '
        '"patient": "a", "annotated": ["liver"]}]}'
    )
    cases = cases_to_predict([tmp_path], channels=1, labels=LabelSet.from_values({"tumour": 255}))
    assert [case.id for case in cases] == ["a"]


def test_hidden_files_are_no_scans(tmp_path: Path) -> None:
    folder = touch(tmp_path / "scans", "a", "._a")
    assert [case.id for case in cases_to_predict([folder], channels=1)] == ["a"]


def test_scans_in_folders_of_folders_are_found_and_named_apart(tmp_path: Path) -> None:
    for folder in ("p1/day1", "p2/day1"):
        touch(tmp_path / "in" / folder, "t1")
    touch(tmp_path / "in" / "p3", "other")
    found = cases_to_predict([tmp_path / "in"], channels=1)
    assert sorted(case.id for case in found) == ["other", "p1_day1_t1", "p2_day1_t1"]


def test_links_whose_targets_are_gone_are_named_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").symlink_to("/nowhere/a.nii.gz")
    with pytest.raises(UsageError, match="links whose targets are gone") as raised:
        cases_to_predict([tmp_path], channels=1)
    assert "/nowhere/a.nii.gz" in str(raised.value)
    assert "layout" not in str(raised.value)


def test_a_folder_without_scans_says_what_it_holds(tmp_path: Path) -> None:
    touch(tmp_path, "report", ending=".pdf")
    with pytest.raises(UsageError, match=r"such as .*report.pdf, but readable endings"):
        cases_to_predict([tmp_path], channels=1)


def told(*inputs: Path, channels: int = 1) -> tuple[list[str], str]:
    """Names of the cases, and what was said."""
    remarks: list[str] = []
    cases = cases_to_predict(inputs, channels, remark=remarks.append)
    return sorted(case.id for case in cases), " ".join(remarks)


def test_label_maps_in_folders_of_folders_are_left_out_with_a_word(tmp_path: Path) -> None:
    touch(tmp_path / "site" / "p1", "t1", "t1_seg", "gt")
    touch(tmp_path / "site" / "p2", "other")
    touch(tmp_path / "site" / "p2" / "labelsTr", "other")
    names, said = told(tmp_path)
    assert names == ["other", "t1"]
    assert "Left out 3 files (label maps by name)" in said
    names, said = told(tmp_path / "site" / "p1" / "t1_seg.nii.gz")  # what is named itself is meant
    assert (names, said) == (["t1_seg"], "")


def test_label_maps_beside_scans_are_left_out_and_alone_are_taken(tmp_path: Path) -> None:
    folder = touch(tmp_path / "labelsTr", "a", "a_seg", "brainmask")
    assert told(folder)[0] == ["a", "brainmask"]
    assert told(touch(tmp_path / "masks", "a_mask", "mask_2")) == (["a_mask", "mask_2"], "")


def test_what_a_prediction_wrote_is_no_scan_of_the_next(tmp_path: Path) -> None:
    touch(tmp_path / "p1", "a")
    out = touch(tmp_path / "made", "a")
    touch(out / "overlays", "a_overlay", ending=".png")
    with OutputFolder(out) as output:
        output.finish("a", {}, [out / "a.nii.gz", out / "overlays" / "a_overlay.png"])
    names, said = told(tmp_path)
    assert names == ["a"]
    assert "Left out 2 files (results of vesal predict)" in said
    assert told(out) == (["a"], "")  # nothing else is there: it is meant


def test_what_a_prediction_wrote_into_a_data_set_is_none_of_its_scans(tmp_path: Path) -> None:
    for case in ("p1", "p2"):
        touch(tmp_path / case, "image", "label")
    out = touch(tmp_path / "out", "p1", "p2")
    with OutputFolder(out) as output:
        for case in ("p1", "p2"):
            output.finish(case, {}, [out / f"{case}.nii.gz"])
    remarks: list[str] = []
    labels = LabelSet.from_values({"tumour": 1})
    cases = cases_to_predict([tmp_path], 1, labels, remark=remarks.append)
    assert sorted(case.images[0].parent.name for case in cases) == ["p1", "p2"]
    assert "Left out 2 files (results of vesal predict)" in " ".join(remarks)


def test_folders_below_one_of_scans_are_said_not_to_be_searched(tmp_path: Path) -> None:
    touch(tmp_path, "a")
    assert told(tmp_path)[1] == ""
    touch(tmp_path / "labels", "a")
    assert told(tmp_path)[1] == ""
    touch(tmp_path / "more" / "day2", "b")
    names, said = told(tmp_path)
    assert names == ["a"]
    assert f"not taken, such as {tmp_path / 'more' / 'day2' / 'b.nii.gz'}; name their folders" in said


def test_a_link_upwards_does_not_give_scans_again(tmp_path: Path) -> None:
    touch(tmp_path / "p1", "a")
    (tmp_path / "p1" / "up").symlink_to("..")
    assert told(tmp_path)[0] == ["a"]


def test_a_scan_named_twice_is_one(tmp_path: Path) -> None:
    folder = touch(tmp_path / "scans", "a", "b")
    assert told(folder / "a.nii.gz", folder, folder / "a.nii.gz")[0] == ["a", "b"]
    assert told(folder, folder, channels=2)[0] == ["a", "b"]


def test_two_files_of_one_name_are_both_named(tmp_path: Path) -> None:
    touch(touch(tmp_path, "a"), "a", ending=".nii")
    with pytest.raises(UsageError, match=r"a\.nii and .*a\.nii\.gz"):
        told(tmp_path)


def test_a_manifest_may_be_named_where_it_is_alone(tmp_path: Path) -> None:
    touch(tmp_path / "scans", "a", "b")
    (tmp_path / "some.csv").write_text("image\nscans/b.nii.gz\n")
    cases = cases_to_predict([tmp_path / "some.csv"], 1, LabelSet.from_values({"tumour": 1}))
    assert [case.id for case in cases] == ["b"]


def test_a_folder_of_archives_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(bytes(40))
    with pytest.raises(UsageError, match=r"x.zip is an archive; unpack it"):
        told(tmp_path)


def test_a_study_beside_images_is_passed_over_and_that_is_said(tmp_path: Path) -> None:
    wanted, said = WantedScan(("MR",), (1.0, 1.0, 1.0)), list[str]()
    folder = touch(tmp_path / "scans", "a")
    (folder / "study").mkdir()
    (folder / "study" / "1.dcm").write_bytes(bytes(128) + b"DICM")
    assert [case.id for case in cases_to_predict([folder], 1, dicom=wanted, remark=said.append)] == ["a"]
    assert len(said) == 1
    assert "its DICOM objects were not taken, such as" in said[0]
    assert "study/1.dcm" in said[0]
    (folder / "study" / "1.dcm").write_bytes(bytes(200))
    cases_to_predict([folder], 1, dicom=wanted, remark=said.append)
    assert len(said) == 1
