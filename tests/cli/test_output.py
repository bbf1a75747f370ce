"""What verbs print."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import typer

from vesal.cli.output import logger, print_result, progress, report_failures

FAILURE = SimpleNamespace(id="case_1", message="It is damaged.")


def test_a_result_is_json_for_machines_and_text_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(True, {"dice": 0.5}, "Dice 0.5")
    assert json.loads(capsys.readouterr().out) == {"dice": 0.5}
    print_result(False, {"dice": 0.5}, "Dice 0.5")
    assert capsys.readouterr().out == "Dice 0.5\n"


def test_failures_are_named_on_standard_error_and_end_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    report_failures([], False)
    with pytest.raises(typer.Exit) as ended:
        report_failures([FAILURE], False)
    assert ended.value.exit_code == 1
    assert capsys.readouterr() == ("", "vesal: case_1: It is damaged.\n")


def test_in_json_mode_messages_and_failures_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    logger(True)("reading")
    with pytest.raises(typer.Exit):
        report_failures([FAILURE], True)
    assert capsys.readouterr() == ("", "")
    logger(False)("reading")
    assert capsys.readouterr() == ("", "reading\n")


@pytest.mark.parametrize("quiet", [True, False])
def test_where_nobody_looks_there_is_no_progress(quiet: bool) -> None:
    with progress(quiet) as stage:
        assert stage("Reading") is None


EVIL = "a\x1b[31mred\u202e"


def test_letters_that_steer_a_terminal_are_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(False, {}, f"{EVIL}\ndone")
    logger(False)(f"Left out {EVIL}")
    with pytest.raises(typer.Exit):
        report_failures([SimpleNamespace(id=f"{EVIL}\nb", message=f"{EVIL}\nc.nii.gz is damaged.")], False)
    shown = r"a\x1b[31mred\u202e"
    out, err = capsys.readouterr()
    assert out == f"{shown}\ndone\n"
    assert err == f"Left out {shown}\nvesal: {shown}\\nb: {shown}\\nc.nii.gz is damaged.\n"
    # JSON escapes them by itself.
    print_result(True, {"case": EVIL}, "")
    assert capsys.readouterr().out.isascii()
