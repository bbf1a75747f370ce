"""A training where a platform gives the folders: finds the data, goes on with an earlier run, leaves little behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vesal.download.archives import extract, is_archive
from vesal.errors import DataError, VesalError
from vesal.files import content_hash, read_json
from vesal.layouts.discover import choose, find_datasets
from vesal.layouts.scan_files import folders_below, visible
from vesal.run.folder import Run
from vesal.run_files import ALL, CONFIG, FINISHED, PLAN, PREPARED
from vesal.train.recipe import LENGTHS, TrainConfig
from vesal.workflow.fetch import fetch
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training.train import TrainResult, train_run

_DEPTH = 6


@dataclass(frozen=True)
class PlatformRun:
    """What to train with the folders that a platform gives.

    Attributes:
        input: folder of everything that was attached; it is only read.
        working: folder whose content the platform keeps; the run lies in its folder run/.
        scratch: folder for what need not be kept: unpacked data and prepared scans.
        data: which data set of the input, by the end of its path; needed where there are several.
        fetch: an official data set to download where the input holds none.
        recipe: name or YAML file.
        overrides: fields of the recipe to replace.
        device: 'auto', 'cpu', 'cuda', ...
    """

    input: Path
    working: Path
    scratch: Path
    data: str | None = None
    fetch: str | None = None
    recipe: str = "auto"
    overrides: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"


def run_on_platform(request: PlatformRun, tell: Callable[[str], None] = print) -> TrainResult:
    """Find the data, train, score; go on where the working folder or the input holds an earlier run.

    A run that had come to its end is prolonged by the length that `overrides` ask for; one that had not keeps its
    settings and goes on to its end.

    Raises:
        DataError, UsageError: no data set, several, or one that cannot be trained on.
        VesalError: as `train_run`.
    """
    data = find_data(request, tell)
    tell(f"Data: {data}")
    run = Run(request.working / "run")
    overrides = request.overrides
    resume = run.config_file.exists() or _bring_earlier(request, run, tell)
    if resume:
        overrides = _prolonged(run, overrides, tell)
    return train_run(
        TrainRequest(
            data=data,
            out=run.folder,
            # A resumed run keeps its own.
            recipe=None if resume else request.recipe,
            overrides=overrides,
            device=request.device,
            # Elsewhere than in the run, so that what the platform collects stays small, also of a run that is killed.
            cache=request.scratch / PREPARED,
            resume=resume,
        ),
        tell=tell,
    )


def find_data(request: PlatformRun, tell: Callable[[str], None] = print) -> Path:
    """The folder of the data set: in the input, in its archives, or fetched.

    Raises:
        UsageError: there are several and `data` names none of them.
        DataError: there is none.
    """
    if found := _attached(request.input):
        return choose(found, request.input, request.data)
    unpacked = request.scratch / "unpacked"
    found = []
    for archive in _archives(request.input, request.data):
        status = archive.stat()
        mark = content_hash(f"{archive} {status.st_size} {status.st_mtime_ns}".encode())
        folder = unpacked / mark / archive.name.split(".")[0]
        if not folder.exists():
            tell(f"Unpacking {archive}")
            extract(archive, folder)
        found += find_datasets(folder)
    if found:
        return choose(found, unpacked, request.data)
    if request.fetch is not None:
        return fetch(request.fetch, request.scratch / "fetched", tell=tell).folder
    raise DataError(
        f"{request.input} holds no data set and no archive of one; attach one "
        "(--dataset OWNER/NAME of vesal export), or look whether it is of a layout that Vesal knows."
    )


def is_run(folder: Path) -> bool:
    """Whether a folder is a run of Vesal, which is no data set though it has a dataset.json."""
    return (folder / CONFIG).is_file() and (folder / PLAN).is_file()


def _attached(folder: Path) -> list[Path]:
    """Each attached folder is looked into by itself, so that two of one layout stay two."""
    each = [path for path in visible(folder) if path.is_dir()]
    return [found for path in each for found in find_datasets(path, skip=is_run)] or find_datasets(
        folder, skip=is_run
    )


def _archives(folder: Path, wanted: str | None) -> list[Path]:
    found = [path for below in folders_below(folder, _DEPTH) for path in visible(below) if is_archive(path)]
    named = [path for path in found if wanted is not None and path.name.split(".")[0] == Path(wanted).name]
    return named or found


def _bring_earlier(request: PlatformRun, run: Run, tell: Callable[[str], None]) -> bool:
    """Copy the newest run of the input into the working folder; whether there was one."""
    runs = [folder for folder in folders_below(request.input, _DEPTH) if is_run(folder)]
    if not runs:
        return False
    newest = max(runs, key=_date)
    tell(f"Going on with {newest}")
    temporary = run.folder.with_name(".arriving")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        # Contents only: files of the input are read-only.
        shutil.copytree(
            newest, temporary, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns(PREPARED)
        )
        for folder in (temporary, *(path for path in temporary.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        temporary.rename(run.folder)
    except OSError as error:
        raise VesalError(f"Cannot copy {newest} to {run.folder}: {error}; free some space.") from error
    return True


def _date(folder: Path) -> str:
    try:
        return str(read_json(Run(folder).environment_file)["date"])
    except (VesalError, KeyError, TypeError):
        return ""


def _prolonged(run: Run, overrides: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    """What a resumed run may change: its length, once it has come to its end."""
    config = TrainConfig.load(run.config_file)
    names = range(config.folds) if config.fold == "all" else [ALL if config.fold is None else config.fold]
    if not all((run.fold(name) / FINISHED).exists() for name in names):
        return {}
    for name in LENGTHS:
        before, more = getattr(config, name), overrides.get(name)
        if before is not None and more is not None:
            tell(f"The earlier run had come to its end ({name} {before:g}); it is prolonged by {more:g}.")
            return {name: before + more}
    tell("The earlier run had come to its end, and no length of its kind was asked for; it stays as it is.")
    return {}
