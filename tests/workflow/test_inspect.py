"""A data set is fixed in a copy, resumed when stopped, and trains; the originals stay as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from organs import CASES, SHAPE, Damage, contents, image_of, label_of, load, moved, rewrite, write_organs
from typer.testing import CliRunner

from vesal.audit.fixed_copy import write_fixed
from vesal.cli.app import app
from vesal.errors import UsageError, VesalError
from vesal.layouts.registry import load_dataset
from vesal.workflow import inspect as workflow
from vesal.workflow.inspect import FixSummary, fix_run


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_organs(tmp_path_factory.mktemp("clean") / "Task")


@pytest.fixture
def data(clean: Path, tmp_path: Path) -> Path:
    """A copy of the clean set, to be damaged."""
    return Path(shutil.copytree(clean, tmp_path / "data"))


@pytest.fixture(scope="module")
def damaged(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine cases: a wrong header, other values, NaN, a damaged file, an empty label, a copy, and three sound ones."""
    folder = Path(shutil.copytree(clean, tmp_path_factory.mktemp("damaged") / "data"))
    rewrite(label_of(folder, 0), moved((0.2, 0, 0)))
    rewrite(label_of(folder, 1), lambda a, f: (np.array([0, 127, 255], np.uint8)[a], f))
    rewrite(
        image_of(folder, 2),
        lambda a, f: (np.where(np.indices(a.shape)[0] == 0, np.nan, a.astype(np.float32)), f),
    )
    image_of(folder, 3).write_bytes(image_of(folder, 3).read_bytes()[:900])
    rewrite(label_of(folder, 4), lambda a, f: (a * 0, f))
    shutil.copyfile(image_of(folder, 6), image_of(folder, 5))
    return folder


@pytest.fixture(scope="module")
def run(damaged: Path, tmp_path_factory: pytest.TempPathFactory) -> FixSummary:
    return fix_run(damaged, tmp_path_factory.mktemp("out"), pictures=1)


def test_a_fixed_set_reads_as_the_same_layout_and_has_nothing_wrong(run: FixSummary) -> None:
    dataset = load_dataset(run.folder)
    assert dataset.layout == "msd"
    assert [case.id for case in dataset.cases] == ["case_0", "case_1", "case_2", "case_5", "case_7", "case_8"]
    assert run.remaining == ()
    assert not [
        remark for remark in dataset.remarks if "numTraining" in remark or "dataset.json states" in remark
    ]


def test_the_originals_are_untouched_and_sound_files_are_the_same_bytes(
    run: FixSummary, damaged: Path, clean: Path, tmp_path: Path
) -> None:
    before = contents(damaged)
    fix_run(damaged, tmp_path / "out", pictures=0)
    assert contents(damaged) == before
    after = contents(run.folder)
    changed = {name for record in run.records for name in record.files}
    assert changed == {
        "labelsTr/case_0.nii.gz",
        "labelsTr/case_1.nii.gz",
        "imagesTr/case_2.nii.gz",
    }
    for name in set(after) & set(before) - changed - {"dataset.json"}:
        assert after[name] == before[name], name
    assert after["LICENSE"] == b"free"
    inodes = {path.stat().st_ino for path in damaged.rglob("*")}
    assert not inodes & {path.stat().st_ino for path in run.folder.rglob("*")}


def test_every_defect_is_recorded_with_what_became_of_it(run: FixSummary) -> None:
    outcomes = {(record.case, record.kind): record.outcome for record in run.records}
    assert outcomes == {
        ("case_0", "label-grid"): "fixed",
        ("case_1", "undeclared-value"): "fixed",
        ("case_2", "not-finite"): "fixed",
        ("case_3", "unreadable"): "left out",
        ("case_4", "empty-label"): "left out",
        ("case_6", "duplicate"): "left out",
    }
    summary = json.loads((run.folder / "changes.json").read_text())
    assert summary["counts"] == {"cases": 6, "fixed": 3, "left_out": 3, "unchanged": 3, "look": 1}
    markdown = (run.folder / "changes.md").read_text()
    page = run.page.read_text()
    for record in run.records:
        assert record.case in markdown
        assert record.kind in page


def test_a_fixed_set_trains(run: FixSummary, tmp_path: Path) -> None:
    command = f"train {run.folder} -o {tmp_path / 'run'} --steps 4 --device cpu --fold 0".split()
    settings = ("plan.patch=[16,16,16]", "plan.batch=2", "plan.width=0.1", "plan.measure=false")
    tiny = [word for setting in settings for word in ("--set", setting)]
    result = CliRunner().invoke(app, [*command, *tiny], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "fold_0" / "model.vesal").is_file()


def test_fixing_a_fixed_set_changes_nothing(run: FixSummary, tmp_path: Path) -> None:
    again = fix_run(run.folder, tmp_path / "again", pictures=0)
    assert again.records == ()
    for name, data in contents(again.folder / "imagesTr").items():
        assert data == (run.folder / "imagesTr" / name).read_bytes()


def test_a_stopped_fixing_goes_on_and_gives_the_same(
    damaged: Path, run: FixSummary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def until(case: Any, files: Any, places: Any) -> tuple[str, ...]:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(case.id)
        return write_fixed(case, files, places)

    monkeypatch.setattr(workflow, "write_fixed", until)
    monkeypatch.setattr(workflow, "scan_workers", lambda *_, **__: 1)
    with pytest.raises(KeyboardInterrupt):
        fix_run(damaged, tmp_path / "out", pictures=0)
    with pytest.raises(UsageError, match="--resume"):
        fix_run(damaged, tmp_path / "out", pictures=0)
    first = list(written)
    written.clear()

    def more(case: Any, files: Any, places: Any) -> tuple[str, ...]:
        written.append(case.id)
        return write_fixed(case, files, places)

    monkeypatch.setattr(workflow, "write_fixed", more)
    resumed = fix_run(damaged, tmp_path / "out", pictures=0, resume=True)
    assert not set(first) & set(written)
    assert resumed.records == run.records
    same = {
        name: data for name, data in contents(run.folder).items() if name.startswith(("im", "la", "data"))
    }
    assert {name: data for name, data in contents(resumed.folder).items() if name in same} == same


def test_the_copy_is_refused_inside_the_data_and_where_something_is(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="inside it"):
        fix_run(data, data / "out")
    (tmp_path / "out" / "fixed").mkdir(parents=True)
    (tmp_path / "out" / "fixed" / "notes.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(UsageError, match="not empty"):
            fix_run(data, tmp_path / "out", resume=resume)


def test_soft_masks_with_a_declared_threshold_are_hard_in_the_copy_and_every_one_is_named(
    data: Path, tmp_path: Path
) -> None:
    def soft(number: int) -> Damage:
        shades = np.random.default_rng(number).integers(0, 50, SHAPE).astype(np.uint8)
        return lambda array, affine: (np.where(array > 0, 200, 0).astype(np.uint8) + shades, affine)

    for number in range(CASES - 1):
        rewrite(label_of(data, number), soft(number))
    rewrite(label_of(data, CASES - 1), lambda array, affine: ((array > 0).astype(np.uint8) * 255, affine))
    description = json.loads((data / "dataset.json").read_text())
    description |= {"labels": {"0": "background", "255": "organ"}, "threshold": 128}
    (data / "dataset.json").write_text(json.dumps(description))
    rewrite(label_of(data, 0), moved((0.2, 0, 0)))
    found = fix_run(data, tmp_path / "out", pictures=0)
    assert found.remaining == ()
    assert {record.case for record in found.records if record.kind == "soft-mask"} == {
        f"case_{number}" for number in range(CASES - 1)
    }
    copied = load_dataset(found.folder)
    assert copied.labels.threshold is None
    for case in copied.cases:
        assert case.label is not None
        array, _ = load(case.label)
        assert set(np.unique(array)) == {0, 255}, case.id
    whole = label_of(data, CASES - 1)
    assert (found.folder / whole.relative_to(data)).read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("name", ["labelsTr/{}.nii.gz", "dataset.json", "changes.md", "LICENCE.txt"])
def test_what_was_edited_in_the_fixed_copy_is_neither_replaced_nor_deleted(
    data: Path, clean: Path, tmp_path: Path, name: str
) -> None:
    (data / "LICENCE.txt").write_text("CC")
    out, case = tmp_path / "out", image_of(data, 0).name.removesuffix(".nii.gz")
    fix_run(data, out, pictures=0)
    mine = out / "fixed" / name.format(case)
    # By hand: a corrected mask, or a note more.
    mine.write_bytes(label_of(clean, 1).read_bytes() if mine.suffix == ".gz" else mine.read_bytes() + b"\n")
    before = {
        path: path.read_bytes() for path in out.rglob("*") if path.name != "fixing.jsonl" and path.is_file()
    }
    for change in ("another", "damaged"):  # the case is to be made anew; then it is to be left out
        image_of(data, 0).write_bytes(image_of(data, 1).read_bytes() if change == "another" else b"no image")
        with pytest.raises(UsageError, match="changed since") as raised:
            fix_run(data, out, pictures=0, resume=True)
        assert f": {mine.relative_to(out / 'fixed').as_posix()}; choose another" in str(raised.value)
        assert {path: path.read_bytes() for path in before} == before
    mine.unlink()
    fix_run(data, out, pictures=0, resume=True)
    assert not (out / "fixed" / f"labelsTr/{case}.nii.gz").exists()


def test_a_copy_of_a_copy_has_its_own_record_and_journal(data: Path, tmp_path: Path) -> None:
    fix_run(data, tmp_path / "one", pictures=0)
    fix_run(tmp_path / "one" / "fixed", tmp_path / "two", pictures=0)
    again = fix_run(tmp_path / "one" / "fixed", tmp_path / "two", pictures=0, resume=True)
    assert again.cases == CASES


def test_another_data_set_is_not_mixed_into_a_fixing(data: Path, clean: Path, tmp_path: Path) -> None:
    fix_run(data, tmp_path / "out", pictures=0)
    with pytest.raises(UsageError, match="another data"):
        fix_run(clean, tmp_path / "out", resume=True)


def test_where_no_case_is_left_it_says_why(clean: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clean, tmp_path / "data"))
    for number in range(CASES):
        image_of(folder, number).write_bytes(b"no image")
    with pytest.raises(VesalError, match="No case"):
        fix_run(folder, tmp_path / "out")


def test_the_command_tells_every_change_and_ends_well(damaged: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["inspect", str(damaged), "--fix", "-o", str(tmp_path / "out"), "--json"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["counts"]["fixed"] == 3
    with pytest.raises(UsageError, match="-o"):
        CliRunner().invoke(app, ["inspect", str(damaged), "--fix"], catch_exceptions=False)
