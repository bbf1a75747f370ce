"""Options that are derived from requests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from vesal.cli.options import command
from vesal.workflow.requests.fields import Argument, Option


@dataclass(frozen=True)
class _Request:
    place: Annotated[Path, Argument("Where.")]
    count: Annotated[int, Option("How many.", min=1)] = 2
    names: Annotated[tuple[str, ...], Option("Who.", ("--name",), many=True)] = ()
    sizes: Annotated[
        tuple[int, ...] | None, Option("1,2", parse=lambda text: tuple(map(int, text.split(","))))
    ] = None
    drawn: Annotated[bool, Option("Do not draw.", ("--no-drawing",), inverted=True)] = True
    hidden: int = 7


def called(*words: str) -> tuple[Any, ...]:
    seen: list[Any] = []

    def verb(request: _Request, json_output: Annotated[bool, Option("JSON.", ("--json",))] = False) -> None:
        """What it does."""
        seen.extend([request, json_output])

    # The annotations of a function in a function are found nowhere else.
    verb.__annotations__.update(request=_Request, json_output=Annotated[bool, Option("JSON.", ("--json",))])
    app = typer.Typer()
    app.command()(command(verb))
    result = CliRunner().invoke(app, list(words))
    return (result.exit_code, result.output, *seen)


def test_a_verb_gets_its_request_with_the_defaults_of_the_class() -> None:
    assert called("here") == (0, "", _Request(Path("here")), False)


def test_every_kind_of_option_becomes_the_field_that_it_says() -> None:
    words = ("here", "--count", "3", "--name", "a", "--name", "b", "--sizes", "4,5", "--no-drawing", "--json")
    assert called(*words)[2:] == (_Request(Path("here"), 3, ("a", "b"), (4, 5), False), True)


@pytest.mark.parametrize(
    "words", [(), ("here", "--count", "0"), ("here", "--hidden", "1"), ("here", "--no-such")]
)
def test_what_the_class_does_not_allow_is_refused(words: tuple[str, ...]) -> None:
    assert called(*words)[0] == 2


def test_the_help_is_that_of_the_fields() -> None:
    text = called("--help")[1]
    assert all(part in text for part in ("What it does.", "How many.", "--name", "--no-drawing", "x>=1"))
    assert "hidden" not in text


def test_what_may_be_given_again_comes_in_the_type_of_its_field() -> None:
    seen: list[Any] = []

    def verb(files: Annotated[tuple[Path, ...], Option("Files.", ("--file",), many=True)] = ()) -> None:
        """What it does."""
        seen.append(files)

    verb.__annotations__.update(files=Annotated[tuple[Path, ...], Option("Files.", ("--file",), many=True)])
    app = typer.Typer()
    app.command()(command(verb))
    assert CliRunner().invoke(app, ["--file", "a", "--file", "b"]).exit_code == 0
    assert CliRunner().invoke(app, []).exit_code == 0
    assert seen == [(Path("a"), Path("b")), ()]
