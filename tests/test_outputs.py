"""What may be overwritten in a folder of results."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from in_process import vesal
from vesal.errors import UsageError, VesalError
from vesal.files import write_text
from vesal.outputs import OutputFolder, check_folder, predicted_files, results
from vesal.run_files import COHORT, OUTPUTS


def write(folder: Path, **texts: str) -> None:
    with OutputFolder(folder) as output:
        for name, text in texts.items():
            write_text(folder / name, text)
            output.finish(name, {"model": "m"}, [folder / name])


def test_what_vesal_wrote_may_be_written_again(tmp_path: Path) -> None:
    write(tmp_path, a="1", b="2")
    OutputFolder(tmp_path).refuse([tmp_path / "a", tmp_path / "b", tmp_path / "absent"])
    write(tmp_path, a="3")
    assert (tmp_path / "a").read_text() == "3"


@pytest.mark.parametrize("record", [None, b"no record\n", b'["a"]\n', b"\xff\xfe\n", b'{"file": "a"}\n'])
def test_what_others_wrote_is_never_replaced_whatever_the_record_holds(
    tmp_path: Path, record: bytes | None
) -> None:
    (tmp_path / "a").write_text("by hand")
    if record is not None:
        (tmp_path / OUTPUTS).write_bytes(record)
    output = OutputFolder(tmp_path)
    with pytest.raises(UsageError, match=r"1 file .* Vesal did not write") as raised:
        output.refuse([tmp_path / "a"])
    assert (" damaged" in str(raised.value)) == (record is not None)
    with pytest.raises(UsageError, match="a;"):
        write(tmp_path, a="1")
    assert (tmp_path / "a").read_text() == "by hand"


def test_what_was_changed_by_hand_is_never_replaced(tmp_path: Path) -> None:
    write(tmp_path, a="1", b="2")
    (tmp_path / "a").write_text("by hand")
    with pytest.raises(UsageError, match="changed since: a;"):
        OutputFolder(tmp_path).refuse([tmp_path / "a", tmp_path / "b"])


def test_a_file_of_ours_of_which_nothing_can_be_read_may_be_replaced(tmp_path: Path) -> None:
    write(tmp_path, a="1", b="2")
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("")
    output = OutputFolder(tmp_path)
    output.refuse([tmp_path / "a"], lambda _: False)
    with pytest.raises(UsageError, match="changed since: b;"):
        output.refuse([tmp_path / "b"], lambda _: True)
    with pytest.raises(UsageError, match=r"did not write.*: c;"):
        output.refuse([tmp_path / "c"], lambda _: False)


def test_a_file_of_ours_alone_is_removed(tmp_path: Path) -> None:
    write(tmp_path, a="1", b="2")
    (tmp_path / "b").write_text("by hand")
    output = OutputFolder(tmp_path)
    output.remove(tmp_path / "a")
    output.remove(tmp_path / "a")
    with pytest.raises(UsageError, match="changed since: b;"):
        output.remove(tmp_path / "b")
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "b").exists()


def test_a_file_of_the_size_and_time_of_its_writing_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vesal.outputs._TICK_NS", -1)
    write(tmp_path, a="1", b="2")
    (tmp_path / "b").write_text("two")
    read = []
    monkeypatch.setattr("vesal.outputs.file_digest", lambda path: read.append(path) or "")
    output = OutputFolder(tmp_path)
    assert (output.is_ours(tmp_path / "a"), output.is_ours(tmp_path / "b")) == (True, False)
    assert read == [tmp_path / "b"]


def test_a_file_that_was_written_this_very_moment_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, a="1")
    status = (tmp_path / "a").stat()
    (tmp_path / "a").write_text("2")  # of one size, and within one tick of the clock perhaps of one time
    os.utime(tmp_path / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not OutputFolder(tmp_path).is_ours(tmp_path / "a")


def test_a_copy_of_the_folder_with_other_times_is_still_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vesal.outputs._TICK_NS", -1)
    write(tmp_path / "one", a="1")
    shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=shutil.copyfile)
    OutputFolder(tmp_path / "two").refuse([tmp_path / "two" / "a"])


def test_what_was_never_written_there_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, a="1")
    (tmp_path / "large").write_text("by hand")
    monkeypatch.setattr("vesal.outputs.file_digest", lambda path: pytest.fail(f"{path} was read"))
    assert not OutputFolder(tmp_path).is_ours(tmp_path / "large")


def test_another_process_that_is_writing_there_is_known(tmp_path: Path) -> None:
    first = OutputFolder(tmp_path)
    write(tmp_path, a="1")
    first.refuse([tmp_path / "a"])


def test_a_folder_that_is_a_file_or_named_as_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "old.csv").mkdir()
    check_folder(tmp_path / "old.csv")
    check_folder(tmp_path / "new" / "v1.2")
    for name, message in (
        ("file", "file is a file; choose another output folder"),
        ("file/below", "file is a file; choose another output folder"),
        ("gone", "gone is no folder; choose another output folder"),
        ("scores.csv", "named as a file; name the folder, such as .*results"),
        ("new/out.NII.GZ", "named as a file"),
    ):
        with pytest.raises(UsageError, match=message):
            results(tmp_path / name, "scores.json")


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "os.access", lambda path, mode: mode != os.W_OK | os.X_OK
    )  # root may write everywhere
    with pytest.raises(VesalError, match=f"{tmp_path} cannot be written; choose another output folder"):
        results(tmp_path / "new", "scores.json")


def test_links_and_folders_in_the_place_of_a_result_are_refused(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    for name in ("gone", "folder"):
        with pytest.raises(UsageError, match=name):
            OutputFolder(tmp_path).refuse([tmp_path / name])


def test_a_file_that_comes_while_the_work_goes_on_is_spared(tmp_path: Path) -> None:
    with OutputFolder(tmp_path) as output:
        output.refuse([tmp_path / "a"])
        (tmp_path / "a").write_text("by hand")
        with pytest.raises(UsageError, match="overwritten"):
            write_text(tmp_path / "a", "1")
    assert (tmp_path / "a").read_text() == "by hand"


def test_two_processes_write_into_one_folder(tmp_path: Path) -> None:
    first = OutputFolder(tmp_path)
    write(tmp_path, a="1")
    with first:
        write_text(tmp_path / "a", "2")
        write_text(tmp_path / "b", "2")
    OutputFolder(tmp_path).refuse([tmp_path / "a", tmp_path / "b"])


def test_a_kill_before_or_after_the_file_takes_its_name_leaves_it_ours(tmp_path: Path) -> None:
    write(tmp_path, a="1")
    with OutputFolder(tmp_path) as output:
        (tmp_path / "new").write_text("2")
        output._before(tmp_path / "new", tmp_path / "a")  # recorded, and not yet renamed
    OutputFolder(tmp_path).refuse([tmp_path / "a"])
    (tmp_path / "new").rename(tmp_path / "a")  # renamed, and the case not yet finished
    after = OutputFolder(tmp_path)
    after.refuse([tmp_path / "a"])
    assert after.why_unfinished("a", {"model": "m"}, [tmp_path / "a"]) == "changed or damaged"


def test_a_line_that_a_kill_cut_off_costs_that_line_alone(tmp_path: Path) -> None:
    write(tmp_path, a="1")
    with (tmp_path / OUTPUTS).open("a") as stream:
        stream.write('{"file": "b", "dig')
    write(tmp_path, c="3")
    output = OutputFolder(tmp_path)
    assert not output.damaged
    assert set(output.cases) == {"a", "c"}
    rows = [json.loads(line) for line in (tmp_path / OUTPUTS).read_text().splitlines()]
    assert [row["file"] for row in rows if "file" in row] == ["a", "c"]


def test_two_processes_clear_a_line_that_a_kill_cut_off_away_once(tmp_path: Path) -> None:
    write(tmp_path, a="1")
    with (tmp_path / OUTPUTS).open("a") as stream:
        stream.write('{"file": "b", "dig')
    second = OutputFolder(tmp_path)
    write(tmp_path, c="3")
    with second:
        write_text(tmp_path / "d", "4")
    found = OutputFolder(tmp_path)
    assert [found.is_ours(tmp_path / name) for name in "acd"] == [True, True, True]
    assert set(found.cases) == {"a", "c"}


def test_what_a_shard_made_anew_counts_and_not_what_the_folder_knew_of_before(tmp_path: Path) -> None:
    file = tmp_path / "a"
    write(tmp_path, a="of model m")
    with OutputFolder(tmp_path, writer="shard-1") as shard:
        write_text(file, "of model n")
        shard.finish("a", {"model": "n"}, [file])
    whole = OutputFolder(tmp_path)
    assert whole.why_unfinished("a", {"model": "n"}, [file]) is None
    # The other way round: the shard is what is out of date.
    write(tmp_path, a="of model m")
    for _ in range(2):
        whole = OutputFolder(tmp_path)
        assert whole.why_unfinished("a", {"model": "m"}, [file]) is None
        whole.absorb()
    assert not list(tmp_path.glob("vesal-outputs.*.jsonl"))


def test_a_table_of_the_users_makes_no_results_of_the_scans(tmp_path: Path) -> None:
    (tmp_path / COHORT).write_text('{"case": "a", "files": ["a.nii.gz"]}\n{"files": [{}]}\n')
    assert predicted_files(tmp_path) == set()
    (tmp_path / COHORT).write_text('{"version": 1}\n{"case": "a", "files": {"a.nii.gz": [1, "x"]}}\n')
    assert predicted_files(tmp_path) == {"a.nii.gz"}


def test_what_keeps_a_case_from_being_finished_is_named(tmp_path: Path) -> None:
    write(tmp_path, a="1")
    output, file = OutputFolder(tmp_path), tmp_path / "a"
    assert output.why_unfinished("a", {"model": "m"}, [file]) is None
    assert output.why_unfinished("a", {"model": "n"}, [file]) == "another model"
    assert output.why_unfinished("a", {"model": "m"}, [file, tmp_path / "b"]) == "not there"
    assert output.why_unfinished("b", {"model": "m"}, [file]) == "not finished"
    file.write_text("2")
    assert output.why_unfinished("a", {"model": "m"}, [file]) == "changed or damaged"


def test_a_moved_or_linked_folder_is_still_ours(tmp_path: Path) -> None:
    write(tmp_path / "one", a="1")
    (tmp_path / "one").rename(tmp_path / "two")
    (tmp_path / "link").symlink_to("two")
    OutputFolder(tmp_path / "two").refuse([tmp_path / "link" / "a"])
    OutputFolder(tmp_path / "link").refuse([tmp_path / "two" / "a", tmp_path / "link" / "a"])
    write(tmp_path / "link", a="2")
    assert (tmp_path / "two" / "a").read_text() == "2"


def test_files_elsewhere_and_in_subfolders_that_are_left_out_are_not_recorded(tmp_path: Path) -> None:
    with OutputFolder(tmp_path / "one", below=False):
        write_text(tmp_path / "two" / "a", "1")
        write_text(tmp_path / "one" / "below" / "a", "1")
    assert not (tmp_path / "one" / OUTPUTS).exists()


def test_a_record_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / OUTPUTS).mkdir()
    with pytest.raises(VesalError, match=r"Cannot write .*vesal-outputs"):
        write(tmp_path, a="1")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("verb", ["evaluate", "inspect", "fix", "compare", "plan", "export"])
def test_no_verb_replaces_a_file_that_vesal_did_not_write(tmp_path: Path, tiny_data: Path, verb: str) -> None:
    scores = tmp_path / "scores"
    words: dict[str, tuple[tuple[object, ...], str]] = {
        "evaluate": ((tiny_data / "labelsTr", tiny_data / "labelsTr"), "out/scores.csv"),
        "inspect": ((tiny_data,), "out/inspect.html"),
        "fix": ((tiny_data, "--fix", "--resume"), "out/inspect.json"),
        "export": (("--to", "kaggle", "--user", "me", "--fetch", "msd-heart"), "out/kernel-metadata.json"),
        "compare": ((scores / "scores.json", scores / "scores.json"), "out/comparison.md"),
        "plan": ((tiny_data, "--budget", "1m"), "out/plan.json"),
    }
    given, name = words[verb]
    if verb == "compare":
        vesal("evaluate", tiny_data / "labelsTr", tiny_data / "labelsTr", "-o", scores)
    mine = tmp_path / name
    mine.parent.mkdir()
    mine.write_text("by hand")
    out = mine if verb == "plan" else mine.parent
    name = "inspect" if verb == "fix" else verb
    done = vesal(name, *given, "-o", out)
    assert (done.returncode, "did not write" in done.stderr) == (2, True), done.stderr
    assert [path.name for path in mine.parent.iterdir()] == [mine.name]
    assert mine.read_text() == "by hand"
    mine.unlink()
    for _ in range(2):  # and its own files again
        assert vesal(name, *given, "-o", out).returncode == 0


def test_a_folder_in_the_place_of_a_plan_is_refused_by_name(tmp_path: Path, tiny_data: Path) -> None:
    done = vesal("plan", tiny_data, "--budget", "1m", "-o", tmp_path)
    assert done.returncode == 2
    assert f"{tmp_path} is a folder; name the file of the plan" in done.stderr
