"""The command `vesal-runtime`: predict scans with an exported model, without torch."""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from vesal.errors import VesalError, out_of_memory
from vesal.infer.quality.volumes.interval_level import LEVEL
from vesal.infer.runtime.load_exported import BACKENDS, load_exported
from vesal.infer.runtime.predict_scans import Choices, predict_scans
from vesal.version import __version__


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a failure is one sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        # What the terminal's encoding lacks is written as escapes.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    given = _parser().parse_args(arguments)
    try:
        failed = _predict(given)
    except VesalError as error:
        _fail(str(error), error.exit_code)
    except (OSError, MemoryError, RuntimeError) as error:
        if out_of_memory(error):
            _fail("The memory of this machine is used up; close other programs.", 1)
        if not isinstance(error, OSError):
            raise
        where = f" {error.filename}" if error.filename else ""
        _fail(f"The system refused{where}: {error.strerror or error}.", 1)
    if failed:
        sys.exit(1)


def _predict(given: argparse.Namespace) -> bool:
    began = time.monotonic()
    model = load_exported(
        given.model,
        backend=given.backend,
        postprocess=not given.no_postprocess,
        threads=given.threads,
    )
    choices = Choices(
        mirror=given.tta,
        overlap=given.overlap,
        threshold=given.threshold,
        quality=not given.no_quality,
        interval_level=given.interval_level,
    )
    result = predict_scans(model, given.scans, given.out, choices)
    seconds = time.monotonic() - began
    if given.json:
        print(json.dumps(result.to_dict() | {"total_seconds": round(seconds, 3)}, allow_nan=False))
    else:
        print(f"{result.text()} in {seconds:.1f} s")
    for case, reason in result.failures.items():
        print(f"vesal-runtime: {case}: {reason}", file=sys.stderr)
    return bool(result.failures)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vesal-runtime",
        description="Segment scans with a model that vesal export wrote, without torch.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    predict = verbs.add_parser(
        "predict", help="Segment scans; each result lies on its scan's own grid.", allow_abbrev=False
    )
    predict.add_argument("model", type=Path, metavar="MODEL", help="NAME.vesal, or NAME.xml of OpenVINO.")
    predict.add_argument("scans", type=Path, nargs="+", metavar="SCAN", help="Scans, or folders of scans.")
    predict.add_argument(
        "-o", "--out", type=Path, required=True, help="Folder for the results; for one scan also a file."
    )
    predict.add_argument("--tta", action="store_true", help="Average over mirrored copies: slower.")
    predict.add_argument(
        "--overlap",
        type=_share,
        help="Share of a window that the next one covers; the model's own if not given.",
    )
    predict.add_argument(
        "--threshold", type=_share, default=0.5, help="Probability from which foreground holds."
    )
    predict.add_argument("--no-postprocess", action="store_true", help="Leave label maps as they are.")
    predict.add_argument("--no-quality", action="store_true", help="Do not estimate the quality: faster.")
    predict.add_argument(
        "--interval-level", type=_share, default=LEVEL, help="Of the intervals around volumes."
    )
    predict.add_argument("--backend", default="auto", help=f"What computes: {', '.join(BACKENDS)}.")
    predict.add_argument("--threads", type=_count, help="That compute; one a CPU when not given.")
    predict.add_argument("--json", action="store_true", help="Print one JSON object instead of text.")
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < 1.0:
        raise argparse.ArgumentTypeError(f"{text} is no share from 0 to under 1")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number from 1 on")
    return value


def _fail(sentence: Any, code: int) -> NoReturn:
    print(f"vesal-runtime: {sentence}", file=sys.stderr)
    sys.exit(code)
