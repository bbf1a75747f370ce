"""The program within a process that is warm: loading torch anew would take longer than most of its work."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout

import pytest

from vesal.cli import main


def vesal(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a command line; what it printed, and the code with which it ended."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr("sys.argv", ["vesal", *map(str, words)])
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def alone(arguments: Sequence[str]) -> None:
    """Run a command line as the only work of this process, and end it; nothing is printed."""
    import torch

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    sys.argv = ["vesal", *arguments]
    torch.set_num_threads(1)
    main()
