"""Archives among the inputs of a prediction, unpacked for as long as it takes."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from vesal.download.archives import extract, is_archive


@contextlib.contextmanager
def unpacked(inputs: Sequence[Path]) -> Iterator[list[Path]]:
    """The inputs, with a folder in the place of each archive.

    Raises:
        DataError: an archive is damaged, leads out of its folder, or unpacks to much more than its size suggests.
        VesalError: there is no room for it.
    """
    with contextlib.ExitStack() as stack:
        found = []
        for path in inputs:
            if path.is_file() and is_archive(path):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vesal-")))
                extract(path, folder / path.stem)
                path = folder / path.stem
            found.append(path)
        yield found
