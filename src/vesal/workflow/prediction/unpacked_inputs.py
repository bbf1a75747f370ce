"""Archives among the inputs of a prediction, unpacked for as long as it takes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from vesal.download.archives import extract, is_archive
from vesal.errors import VesalError
from vesal.files import scratch_folder, sweep_scratch


@contextlib.contextmanager
def unpacked(inputs: Sequence[Path], *, spare: int = 0) -> Iterator[list[Path]]:
    """The inputs, with a folder in the place of each archive.

    An error that is raised meanwhile names the archive in the place of the folder, which nobody finds afterwards.

    Args:
        inputs: files and folders.
        spare: bytes that must stay free on the disk.

    Raises:
        DataError: an archive is damaged, leads out of its folder, or unpacks to much more than its size suggests.
        VesalError: there is no room for it.
    """
    with contextlib.ExitStack() as stack:
        found: list[Path] = []
        for path in inputs:
            if path.is_file() and is_archive(path):
                sweep_scratch()  # what killed processes unpacked
                folder = stack.enter_context(scratch_folder())
                extract(path, folder / path.stem, spare=spare)
                path = folder / path.stem
            found.append(path)
        try:
            yield found
        except VesalError as error:
            error.args = (as_named(str(error), inputs, found),)
            raise


def as_named(text: str, inputs: Sequence[Path], paths: Sequence[Path]) -> str:
    """A sentence about what was unpacked, with the archives' own names.

    >>> as_named("/tmp/x1/study/inner.zip is an archive.", [Path("study.zip")], [Path("/tmp/x1/study")])
    'study.zip/inner.zip is an archive.'

    Args:
        text: the sentence.
        inputs, paths: as `unpacked` takes and gives them.
    """
    for named, path in zip(inputs, paths, strict=True):
        if path != named:
            text = text.replace(str(path), str(named))
    return text
