"""Conversions: cases, labels and grids are the same in every layout; what is asked for, stopped or wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from convert_examples import (
    MAKERS,
    assert_same_case,
    cases_of,
    convert,
    described,
    made,
    make_acdc,
    truth,
)
from typer.testing import CliRunner

from vesal.cli.app import app
from vesal.convert.targets import TARGETS
from vesal.data.case import read_case
from vesal.errors import UsageError
from vesal.layouts.registry import LAYOUTS, load_dataset
from vesal.volume.io import read_label, read_volume
from vesal.workflow.convert import convert_run
from vesal.workflow.requests.convert_request import ConvertRequest


def test_every_layout_has_an_example_here() -> None:
    assert set(MAKERS) == set(LAYOUTS)


@pytest.mark.parametrize("target", ["msd", "nnunet", "nifti"])
@pytest.mark.parametrize("layout", MAKERS)
def test_cases_labels_and_grids_are_the_same_in_every_layout_of_volumes(
    layout: str, target: str, tmp_path: Path
) -> None:
    source = load_dataset(made(layout, tmp_path / "data"))
    convert(tmp_path / "data", tmp_path / "out", target, stack=False)
    result = load_dataset(tmp_path / "out")
    assert result.layout == {"nifti": "manifest"}.get(target, target)
    assert described(result) == described(source)
    assert cases_of(result) == cases_of(source)
    tests = {case.id: case for case in result.unlabelled}
    assert set(tests) == {case.id for case in source.unlabelled}
    found = {case.id: case for case in result.cases} | tests
    for case in source.cases + source.unlabelled:
        assert_same_case(source, result, case, found[case.id])
        assert tests.get(case.id, case).patient == case.patient
    assert not result.orphans


@pytest.mark.parametrize("layout", MAKERS)
def test_slices_keep_the_cases_and_come_back_as_the_volumes_that_they_were(
    layout: str, tmp_path: Path
) -> None:
    source = load_dataset(made(layout, tmp_path / "data"))
    convert(tmp_path / "data", tmp_path / "png", "png", window="full", bits=16, axis="y")
    slices = load_dataset(tmp_path / "png")
    assert described(slices) == described(source)
    assert {case.patient for case in slices.cases} == {case.patient for case in source.cases}
    assert set(slices.labels.values) <= set(range(5)) | {255}
    for case in slices.cases[:3]:
        raw = read_case(case)
        assert raw.label is not None
        assert raw.image.geometry.close_to(raw.label.geometry)
        assert raw.image.channels == len(source.channels)

    convert(tmp_path / "png", tmp_path / "back", "nifti")
    result = load_dataset(tmp_path / "back")
    assert described(result) == described(source)
    assert {label.value for label in result.labels.labels} == {label.value for label in source.labels.labels}
    assert cases_of(result) == cases_of(source)
    found = {case.id: case for case in result.cases + result.unlabelled}
    for case in source.cases + source.unlabelled:
        assert_same_case(source, result, case, found[case.id])
        if case.label is not None:
            mine = read_label(found[case.id].label or "")
            theirs = read_label(case.label, values=case.segment_values)
            np.testing.assert_array_equal(mine.array, theirs.array)
            assert mine.array.dtype == theirs.array.dtype
        kinds = {read_volume(path).array.dtype for path in (*case.images, *found[case.id].images)}
        assert len(kinds) == 1


def test_every_conversion_keeps_both_forms_of_a_header(tmp_path: Path) -> None:
    """One sform, another qform, as SPM leaves them: programs that prefer the qform find image and mask together."""
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    (data / "labels").mkdir()
    affine = np.diag([-1.0, 1, 1.5, 1])
    affine[:3, 3] = (9, -8, 7)
    for number in range(2):
        array = np.random.default_rng(number).integers(0, 900, (6, 7, 5, 2)).astype(np.int16)
        for folder, values in (("images", array), ("labels", (array[..., 0] > 500).astype(np.uint8))):
            image = nib.Nifti1Image(values, affine)
            image.set_sform(affine + np.diag([0.2, 0, 0, 0]), 2)
            image.set_qform(affine, 1)
            nib.save(image, data / folder / f"a{number}.nii.gz")
    wanted = nib.load(data / "labels" / "a0.nii.gz").header
    convert(data, tmp_path / "out_png", "png")
    for step, (source, target) in enumerate(
        ((data, "nnunet"), (data, "msd"), (data, "nifti"), (tmp_path / "out_png", "nifti"))
    ):
        out = tmp_path / f"out_{step}"
        convert(source, out, target, mapping=("1=3",) if step < 2 else ())
        files = list(out.rglob("a0*.nii.gz"))
        assert len(files) >= 2
        for path in files:
            header = nib.load(path).header
            assert (int(header["sform_code"]), int(header["qform_code"])) == (2, 1)
            np.testing.assert_array_equal(header.get_sform(), wanted.get_sform())
            np.testing.assert_array_equal(header.get_qform(), wanted.get_qform())


@pytest.mark.parametrize("target", ["msd", "nnunet", "nifti"])
def test_a_conversion_of_a_conversion_loses_nothing(target: str, tmp_path: Path) -> None:
    source = load_dataset(made("nnunet", tmp_path / "data"))
    for step, to in enumerate(("msd", target, "png", "nnunet")):
        before = tmp_path / ("data" if step == 0 else str(step - 1))
        convert(before, tmp_path / str(step), to, window="full", bits=16)
    result = load_dataset(tmp_path / "3")
    assert described(result) == described(source)
    for first, second in zip(source.cases, result.cases, strict=True):
        assert_same_case(source, result, first, second)


def test_options_of_pictures_are_told_to_have_no_effect_on_volumes(tmp_path: Path) -> None:
    made("nnunet", tmp_path / "data")
    result = convert(tmp_path / "data", tmp_path / "out", "nifti", window=(0, 400), keep_empty=False)
    assert "Without effect, for --to png alone takes it: --window, --skip-empty." in result.remarks
    pictures = convert(tmp_path / "data", tmp_path / "png", "png", window=(0, 400))
    assert not any("effect" in remark for remark in pictures.remarks)


def test_label_values_are_changed_as_asked_and_it_is_recorded(tmp_path: Path) -> None:
    made("brats", tmp_path / "data")
    result = convert(tmp_path / "data", tmp_path / "out", "msd", mapping=("enhancing tumour=3",))
    array = read_label(tmp_path / "out" / "labelsTr" / "Brats18_X_1_1.nii.gz").array
    drawn = read_label(tmp_path / "data" / "Brats18_X_1_1" / "Brats18_X_1_1_seg.nii.gz").array
    np.testing.assert_array_equal(array, np.where(drawn == 4, 3, drawn))
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"]["3"] == "enhancing tumour"
    assert json.loads((tmp_path / "out" / "conversion.json").read_text())["labels"]["map"] == [
        "enhancing tumour=3"
    ]
    assert any("4 -> 3" in remark for remark in result.remarks)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        (("4=1",), "would both become 1"),
        (("7=1",), "no label value 7"),
        (("4",), "OLD=NEW"),
        (("nose=1",), "OLD=NEW"),
        (("4=3", "4=5"), "two new values"),
    ],
)
def test_an_impossible_mapping_is_refused_before_any_work(
    mapping: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    made("brats", tmp_path / "data")
    with pytest.raises(UsageError, match=words):
        convert(tmp_path / "data", tmp_path / "out", "msd", mapping=mapping)
    assert not (tmp_path / "out").exists()


def test_merging_joins_labels_and_drops_what_became_the_same(tmp_path: Path) -> None:
    made("brats", tmp_path / "data")
    result = convert(tmp_path / "data", tmp_path / "out", "nnunet", mapping=("2=1",), merge=True)
    labels = load_dataset(tmp_path / "out").labels
    assert labels.names == ("necrotic core", "enhancing tumour")
    assert any("tumour core" in remark and "left out" in remark for remark in result.remarks)


def test_only_the_cases_asked_for_are_converted_and_more_can_follow(tmp_path: Path) -> None:
    made("acdc", tmp_path / "data")
    result = convert(tmp_path / "data", tmp_path / "out", "msd", cases=("patient002_frame01",))
    assert result.cases == ("patient002_frame01",)
    with pytest.raises(UsageError, match="no case 'nobody'; there are: patient001_frame01"):
        convert(tmp_path / "data", tmp_path / "no", "msd", cases=("nobody",))
    more = convert(tmp_path / "data", tmp_path / "out", "msd", cases=("patient001_frame01",), resume=True)
    assert more.cases == ("patient001_frame01", "patient002_frame01")
    assert len(load_dataset(tmp_path / "out").cases) == 2


@pytest.mark.parametrize("target", TARGETS)
def test_a_split_holds_out_whole_patients_with_their_labels(target: str, tmp_path: Path) -> None:
    make_acdc(tmp_path / "data", patients=5)
    result = convert(tmp_path / "data", tmp_path / "out", target, split=0.2, seed=1)
    assert len(result.test_cases) == 2
    assert len({name.split("_")[0] for name in result.test_cases}) == 1
    assert not {n.split("_")[0] for n in result.test_cases} & {n.split("_")[0] for n in result.cases}
    assert len(list((tmp_path / "out" / "labelsTs").iterdir())) >= 2
    again = convert(tmp_path / "data", tmp_path / "again", target, split=0.2, seed=1)
    assert again.test_cases == result.test_cases
    resumed = convert(tmp_path / "data", tmp_path / "out", target, split=0.2, seed=1, resume=True)
    assert (resumed.skipped, resumed.test_cases) == (10, result.test_cases)


def test_a_split_that_patients_do_not_allow_is_explained(tmp_path: Path) -> None:
    make_acdc(tmp_path / "data", patients=1)
    with pytest.raises(UsageError, match="by patient"):
        convert(tmp_path / "data", tmp_path / "out", "msd", split=0.2)
    with pytest.raises(UsageError, match="share between 0 and 1"):
        convert(tmp_path / "data", tmp_path / "out", "msd", split=20)
    assert not (tmp_path / "out").exists()


def test_the_same_scan_under_two_names_is_on_one_side_of_a_split(tmp_path: Path) -> None:
    make_acdc(tmp_path / "data", patients=4)
    for frame in ("01", "12"):
        copied = tmp_path / "data" / "patient004" / f"patient004_frame{frame}.nii.gz"
        shutil.copy(tmp_path / "data" / "patient001" / f"patient001_frame{frame}.nii.gz", copied)
    for seed in range(4):
        result = convert(tmp_path / "data", tmp_path / str(seed), "msd", split=0.5, seed=seed)
        sides = {name in result.test_cases for name in ("patient001_frame01", "patient004_frame12")}
        assert len(sides) == 1


@pytest.mark.parametrize("target", TARGETS)
def test_a_resumed_conversion_does_only_what_is_missing_cut_or_changed(target: str, tmp_path: Path) -> None:
    data, out = made("acdc", tmp_path / "data"), tmp_path / "out"
    convert(data, out, target)
    files = sorted(path for path in out.rglob("*") if path.suffix in (".gz", ".png"))
    before = {path: path.read_bytes() for path in files}
    times = {path: path.stat().st_mtime_ns for path in files}
    lost = next(path for path in files if "patient001_frame01" in path.name)
    cut = next(path for path in files if "patient001_frame12" in path.name)
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:20])
    truth(data / "patient002" / "patient002_frame01_gt.nii.gz", 2, 1, 2)
    with (out / "conversion.jsonl").open("a") as stream:
        stream.write('{"written": {"id": "pat')  # killed in the middle of a line
    result = convert(data, out, target, resume=True)
    assert (result.skipped, len(result.cases)) == (1, 4)
    for path in files:
        if "patient002_frame01" not in path.name:
            assert path.read_bytes() == before[path]
        if "patient002_frame12" in path.name:
            assert path.stat().st_mtime_ns == times[path]
    assert len(load_dataset(out).cases) >= 4
    assert convert(data, out, target, resume=True).skipped == 4


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_edited_or_added_by_hand_is_neither_replaced_nor_deleted(
    target: str, tmp_path: Path
) -> None:
    data, out = made("acdc", tmp_path / "data"), tmp_path / "out"
    convert(data, out, target, cases=("patient001_frame01",))
    described = "dataset.json" if target in ("msd", "nnunet") else "manifest.json"
    mask = next(path for path in sorted((out).rglob("*")) if path.parent.name.startswith("labels"))
    added = mask.with_name(mask.name.replace("frame01", "frame12"))
    source = data / "patient001" / "patient001_frame01_gt.nii.gz"
    for mine, content in (
        (mask, added.name.encode()),
        (added, mask.read_bytes()),
        (out / described, (out / described).read_bytes() + b"\n"),
        (out / "conversion.json", b"{}"),
    ):
        old = mine.read_bytes() if mine.exists() else None
        if mine == mask:  # another mask of the same format
            other = next(path for path in sorted(mask.parent.parent.rglob(f"*{mask.suffix}")) if path != mask)
            content = other.read_bytes()
        mine.write_bytes(content)
        source.touch()  # the case is to be made anew
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        with pytest.raises(UsageError, match="Vesal did not write") as raised:
            convert(data, out, target, resume=True)
        assert f": {mine.relative_to(out).as_posix()}; choose another" in str(raised.value)
        before.pop(out / "conversion.jsonl")
        after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        after.pop(out / "conversion.jsonl")
        assert after == before
        mine.unlink()
        if old is not None:
            mine.write_bytes(old)
    assert convert(data, out, target, resume=True).skipped == 0
    assert convert(data, out, target, resume=True).skipped == 4


def test_a_resumed_conversion_makes_cases_anew_of_which_the_data_set_says_something_else_now(
    tmp_path: Path,
) -> None:
    data, out = made("msd", tmp_path / "data"), tmp_path / "out"
    convert(data, out, "msd")
    described = json.loads((data / "dataset.json").read_text())
    described |= {"patients": {"a_1": "a", "a_2": "b", "b": "b"}, "annotated": {"b": ["right lobe"]}}
    (data / "dataset.json").write_text(json.dumps(described))
    assert convert(data, out, "msd", resume=True).skipped == 2
    found = {case.id: (case.patient, case.annotated) for case in load_dataset(out).cases}
    assert found == {"a_1": ("a", None), "a_2": ("b", None), "b": ("b", ("right lobe",))}


def test_a_resumed_conversion_names_cases_that_the_data_hold_no_longer(tmp_path: Path) -> None:
    data, out = made("acdc", tmp_path / "data"), tmp_path / "out"
    convert(data, out, "msd")
    shutil.rmtree(data / "patient001")
    some = convert(data, out, "msd", resume=True, cases=("patient002_frame01",))
    for result in (some, convert(data, out, "msd", resume=True)):
        assert len(result.cases) == 4
        told = next(remark for remark in result.remarks if "no longer" in remark)
        assert "patient001_frame01 and patient001_frame12" in told
        assert "patient002" not in told


def test_a_resumed_conversion_of_other_options_is_refused(tmp_path: Path) -> None:
    data = made("pairs", tmp_path / "data")
    convert(data, tmp_path / "out", "png")
    with pytest.raises(UsageError, match="begun with another bits"):
        convert(data, tmp_path / "out", "png", resume=True, bits=16)
    with pytest.raises(UsageError, match="begun with another to"):
        convert(data, tmp_path / "out", "msd", resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(UsageError, match="not empty"):
            convert(data, tmp_path / "other", "msd", resume=resume)


@pytest.mark.parametrize("inner", [".", "out", "a/b"])
def test_nothing_is_written_into_the_data(inner: str, tmp_path: Path) -> None:
    data = made("pairs", tmp_path / "data")
    with pytest.raises(UsageError, match="is the data set or inside it"):
        convert(data, data / inner, "msd")
    assert {path.name for path in data.iterdir()} == {"CT", "Liver_masks"}


def test_one_bad_case_is_named_and_the_others_are_there(tmp_path: Path) -> None:
    data = made("acdc", tmp_path / "data")
    damaged = data / "patient001" / "patient001_frame12.nii.gz"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:60])
    truth(data / "patient002" / "patient002_frame01_gt.nii.gz", 2, 1, 9)
    result = convert_run(ConvertRequest(data=data, out=tmp_path / "out", to="nnunet"))
    assert result.cases == ("patient001_frame01", "patient002_frame12")
    messages = {failure.id: failure.message for failure in result.failures}
    assert str(damaged) in messages["patient001_frame12"]
    assert "[9] are not declared" in messages["patient002_frame01"]
    assert len(load_dataset(tmp_path / "out").cases) == 2
    damaged.write_bytes(whole)
    again = convert_run(ConvertRequest(data=data, out=tmp_path / "out", to="nnunet", resume=True))
    assert (again.skipped, len(again.failures), len(again.cases)) == (2, 1, 3)
    assert not list((tmp_path / "out").rglob(".writing-*"))


def test_the_verb_tells_what_it_did_and_ends_with_1_for_a_bad_case(tmp_path: Path) -> None:
    data = made("acdc", tmp_path / "data")
    runner = CliRunner()
    good = runner.invoke(app, ["convert", str(data), "--to", "png", "-o", str(tmp_path / "a"), "--json"])
    assert good.exit_code == 0
    assert len(json.loads(good.stdout)["cases"]) == 4
    (data / "patient001" / "patient001_frame12.nii.gz").write_bytes(b"nothing")
    bad = runner.invoke(app, ["convert", str(data), "--to", "msd", "-o", str(tmp_path / "b")])
    assert bad.exit_code == 1
    assert "3 cases in" in bad.stdout
    assert "patient001_frame12" in bad.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "dicom"}, "no layout to convert to 'dicom'; choose one of: msd, nifti, nnunet, png"),
        ({"bits": 12}, "8 or 16 bits"),
        ({"axis": "w"}, "no axis 'w'"),
        ({"spacing_mm": (1.0, 1.0)}, "--spacing takes three"),
        ({"spacing_mm": (1.0, 1.0, 1.0)}, "no pictures of volumes"),
        ({"data": Path("/nowhere")}, "no folder /nowhere"),
    ],
)
def test_wrong_use_is_told_before_anything_is_written(
    options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    data = made("pairs", tmp_path / "data")
    with pytest.raises(UsageError, match=words):
        convert_run(ConvertRequest(**({"data": data, "out": tmp_path / "out", "to": "msd"} | options)))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "cases", "axis"),
    [
        ("ACDC", ("patient001_frame01", "patient001_frame12"), "thick"),
        ("BraTS2018", ("Brats18_TCIA01_201_1",), "z"),
    ],
)
def test_real_scans_to_nnunet_and_to_slices_and_back(
    name: str, cases: tuple[str, ...], axis: str, data_dir: Path, tmp_path: Path
) -> None:
    source = load_dataset(data_dir / name)
    convert(data_dir / name, tmp_path / "nnunet", "nnunet", cases=cases)
    convert(tmp_path / "nnunet", tmp_path / "png", "png", window="full", bits=16, axis=axis, keep_empty=False)
    convert(tmp_path / "png", tmp_path / "back", "nifti")
    result = load_dataset(tmp_path / "back")
    assert described(result) == described(source)
    known = {case.id: case for case in source.cases}
    assert [case.id for case in result.cases] == list(cases)
    for case in result.cases:
        before, after = read_case(known[case.id]), read_case(case)
        assert case.patient == known[case.id].patient
        assert before.label is not None
        assert after.label is not None
        np.testing.assert_array_equal(
            source.labels.encode(before.label.array), result.labels.encode(after.label.array)
        )
        np.testing.assert_array_equal(before.label.geometry.affine, after.label.geometry.affine)
        drawn = before.label.array > 0
        gap = np.abs(before.image.array - after.image.array)[:, drawn]
        assert gap.max() <= np.ptp(before.image.array) / 65535
