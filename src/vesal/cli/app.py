"""The program: its verbs in the order of its help, and what becomes of a failure."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Callable
from typing import Annotated

import typer

from vesal.cli import data_commands, evaluate_commands, predict_commands, serve_commands, train_commands
from vesal.cli.options import command
from vesal.errors import VesalError, out_of_memory
from vesal.version import __version__

app = typer.Typer(
    name="vesal",
    help="From a folder of labelled medical scans to a segmenter that can be trusted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _global(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")] = False,
) -> None:
    """Options before the verb."""


#: Of verbs whose functions cannot be called as they are: these names are Python's own.
_NAMES: dict[Callable[..., None], str] = {
    train_commands.list_choices: "list",
    train_commands.import_model: "import",
}

for _verb in (
    train_commands.demo,
    data_commands.fetch,
    data_commands.phantom,
    data_commands.inspect,
    data_commands.convert,
    data_commands.plan,
    train_commands.list_choices,
    train_commands.overfit,
    train_commands.train,
    train_commands.import_model,
    train_commands.finetune,
    predict_commands.predict,
    predict_commands.evaluate,
    evaluate_commands.compare,
    evaluate_commands.robustness,
    predict_commands.report,
    evaluate_commands.card,
    predict_commands.export,
    serve_commands.serve,
    serve_commands.view,
):
    app.command(_NAMES.get(_verb))(command(_verb))


def main() -> None:
    """Run the command line; a failure is one sentence and an exit code, a traceback only with --debug."""
    _write_any_name()
    debug = "--debug" in sys.argv[1:]
    if debug:
        # Accepted anywhere on the line, not only before the verb.
        sys.argv = [sys.argv[0], *(word for word in sys.argv[1:] if word != "--debug")]
    try:
        app()
    except VesalError as error:
        if debug:
            traceback.print_exc()
        typer.echo(f"vesal: {error}", err=True)
        sys.exit(error.exit_code)
    except UnicodeEncodeError as error:
        # Only of file names: whatever is printed is escaped.
        if debug:
            traceback.print_exc()
        lacking = error.object[error.start : error.end]
        typer.echo(
            f"vesal: This system's encoding of file names ({error.encoding}) lacks '{lacking}'; set PYTHONUTF8=1 in "
            "the environment, or a locale with UTF-8, and run again.",
            err=True,
        )
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output went away (| head); Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (OSError, MemoryError, RuntimeError) as error:
        if not isinstance(error, OSError) and not out_of_memory(error):
            raise
        if debug:
            traceback.print_exc()
        text = "The memory of this machine is used up; close other programs or choose a smaller batch."
        if isinstance(error, OSError):
            where = f" {error.filename}" if error.filename else ""
            text = f"The system refused{where}: {error.strerror or error}; {_cure(error)}."
        typer.echo(f"vesal: {text}", err=True)
        sys.exit(1)


def _cure(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space and run again"
    if error.errno == errno.EROFS:
        return "choose another output folder"
    if error.errno in (errno.EIO, errno.ENODEV, errno.ESTALE, errno.ENOTCONN):
        return "see that the drive or network folder is there, and run again"
    return "run again with --debug for a traceback"


def _write_any_name() -> None:
    """Let names that the terminal's encoding lacks be written as escapes, where Python would end with a traceback.

    Windows' code pages and LANG=C have no Chinese, no dashes, and no squared millimetres.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
