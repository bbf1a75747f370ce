"""Fetch: official data sets by name, downloaded or from a file at hand, unpacked and looked at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vesal.data.dataset import Dataset
from vesal.download.archives import extract, is_archive
from vesal.download.catalogue import (
    ARCHIVES,
    REGISTERED,
    Archive,
    OfficialDataset,
    Options,
    Registered,
    download,
    md5_of,
)
from vesal.errors import DataError, UsageError, VesalError, unknown_name
from vesal.layouts.discover import choose, find_datasets
from vesal.layouts.registry import load_dataset
from vesal.outputs import check_folder
from vesal.parallel import StageProgress, no_progress
from vesal.record import Record
from vesal.run.lock import locked
from vesal.table import Table
from vesal.text import listed

#: All that can be fetched, by name.
DATASETS: dict[str, OfficialDataset] = {**ARCHIVES, **REGISTERED}


class Fetched(Record):
    """A data set on the disk.

    Attributes:
        name: a key of DATASETS.
        folder: the data set's own folder, for `vesal train`.
        cases: how many labelled scans it has.
        fresh: whether it was fetched now; False where it was there already.
    """

    name: str
    folder: Path
    cases: int
    fresh: bool
    licence: str
    citation: str

    def text(self) -> str:
        """What is there, and how it may be used."""
        there = "" if self.fresh else " (already there)"
        return (
            f"{self.cases} labelled scans in {self.folder}{there}\n"
            f"Licence: {self.licence}. Cite: {self.citation}."
        )


def fetch(
    name: str,
    out: Path,
    *,
    source: Path | None = None,
    keep: bool = False,
    stage: StageProgress = no_progress,
    tell: Callable[[str], None] = print,
) -> Fetched:
    """Get a data set by name into a folder of its own in `out`.

    What is there already and whole is not fetched again, and never replaced. An interrupted download goes on where it
    broke off. An archive that lay there before is unpacked and stays.

    Args:
        name: a key of DATASETS.
        out: where its folder comes to lie.
        source: an archive at hand, in place of a download; it stays.
        keep: keep the downloaded archive beside the folder.
        stage: shows progress; tell: takes one-line messages.

    Raises:
        UsageError: no such name; a name that needs a registration, without `source`; a place that is in use.
        DataError: the archive is not what was published, is unsafe, or holds no complete data set.
        VesalError: the download failed or was stopped; what has arrived is kept.
    """
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    known = DATASETS[name]
    folder = out / known.folder
    fresh = not os.path.lexists(folder)
    if fresh:
        check_folder(out)
        if source is None and isinstance(known, Registered):
            raise UsageError(
                f"{name} is given to registered users only: register at {known.page}, download {known.file} there, "
                f"and run vesal fetch {name} --from FILE (.zip or .tar)."
            )
        with _place(folder) as waiting:
            archive = source or out / f"{known.folder}.tar"
            theirs = archive.exists()
            _at_hand(known, archive, source, stage, tell)
            dataset = _unpack(archive, waiting, folder, known, stage, tell)
            if not theirs and not keep:
                archive.unlink()
            elif theirs and source is None:
                tell(f"{archive} was there before, and stays.")
    else:
        dataset = _whole(folder)
        if source is not None:
            tell(f"{folder} is there already: {source} was not unpacked.")
    return Fetched(
        name=name,
        folder=dataset.root,
        cases=len(dataset.cases),
        fresh=fresh,
        licence=known.licence,
        citation=known.citation,
    )


def listing() -> list[dict[str, Any]]:
    """Every data set: name, what it holds, size, licence, and where to register if one must."""
    return [
        {
            "name": name,
            "about": known.about,
            "megabytes": known.megabytes if isinstance(known, Archive) else None,
            "licence": known.licence,
            "register": known.page if isinstance(known, Registered) else None,
        }
        for name, known in DATASETS.items()
    ]


def listing_text() -> str:
    """The same, as a table."""
    rows = [
        (of["name"], f"{of['megabytes']} MB" if of["megabytes"] else "register", of["licence"], of["about"])
        for of in listing()
    ]
    return Table.of(("name", "size", "licence", "what it holds"), rows).plain()


def _at_hand(
    known: OfficialDataset,
    archive: Path,
    source: Path | None,
    stage: StageProgress,
    tell: Callable[[str], None],
) -> None:
    """The archive is downloaded where it is not there, and its checksum compared where one is published."""
    if isinstance(known, Archive) and source is None:
        _download(known, archive, stage, tell)
    elif isinstance(known, Archive):
        _compare(known, archive, tell)


def _download(known: Archive, target: Path, stage: StageProgress, tell: Callable[[str], None]) -> None:
    if target.exists():
        if md5_of(target) == known.md5:
            return
        raise UsageError(
            f"{target} is there but is not the published archive (its checksum differs); move it away."
        )
    tell(f"Downloading {known.url}")
    # Scans do not shrink in a tar: unpacked, it needs its own size again.
    options = Options(stage("Downloading (MB)"), tell, spare=known.megabytes * 10**6)
    try:
        download(known.url, target, known.md5, options)
    except KeyboardInterrupt:
        raise VesalError(
            f"Stopped; what has arrived is in {target}.part, and the same command goes on from there."
        ) from None


def _compare(known: Archive, source: Path, tell: Callable[[str], None]) -> None:
    if not source.is_file():
        raise UsageError(f"There is no file {source}; check the path.")
    if (found := md5_of(source)) != known.md5:
        tell(
            f"{source} has the checksum {found}, not the published {known.md5}: it was packed by someone else."
        )


@contextmanager
def _place(folder: Path) -> Iterator[Path]:
    """A place beside the folder to unpack it in, which one process has at a time; afterwards it is gone."""
    place = folder.with_name(f".checking-{folder.name}")
    with locked(place, "fetch", str(folder)):
        waiting = place / "unpacked"
        shutil.rmtree(waiting, ignore_errors=True)  # of a killed process
        try:
            yield waiting
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _unpack(
    archive: Path,
    waiting: Path,
    folder: Path,
    known: OfficialDataset,
    stage: StageProgress,
    tell: Callable[[str], None],
) -> Dataset:
    """Unpack and look before the folder gets its name, so that a folder of that name is a data set.

    `tell` says where it is not the whole one that its name promises.
    """
    try:
        extract(archive, waiting, progress=stage("Unpacking (MB)"))
        inner = [path for path in sorted(waiting.rglob("*")) if is_archive(path)]
        if inner and not find_datasets(waiting):
            # As Kaggle packs BraTS 2021: a zip of tars.
            names = listed([path.name for path in inner], 4)
            raise DataError(
                f"{archive} holds no scans but archives ({names}); unpack it and name the one with scans by --from."
            )
        dataset = _whole(waiting)
        if isinstance(known, Registered):
            if dataset.layout != known.layout:
                raise DataError(
                    f"{dataset.root} was read as '{dataset.layout}' where '{known.layout}' was expected; "
                    f"take {known.file} from {known.page}."
                )
            for orphan in dataset.orphans[:5]:
                tell(f"{orphan.path.name} has no partner: the {orphan.missing} is missing.")
            if len(dataset.cases) != known.cases:
                tell(f"It holds {len(dataset.cases)} labelled scans where the whole one has {known.cases}.")
        _take_name(waiting, folder)
    except DataError as error:
        # What was unpacked is gone when the message is read.
        raise DataError(str(error).replace(str(waiting.absolute()), str(archive))) from error
    return _whole(folder)


def _take_name(waiting: Path, folder: Path) -> None:
    try:
        waiting.rename(folder)
    except OSError as error:
        if not os.path.lexists(folder):
            raise VesalError(f"Cannot write {folder}: {error.strerror or error}.") from error
        raise UsageError(
            f"{folder} came to be there while it was fetched, and is left as it is; if it is not the data set, move it "
            "away and fetch again."
        ) from error


def _whole(folder: Path) -> Dataset:
    """The data set in a folder, if none of its files is missing."""
    folder = folder.absolute()
    dataset = load_dataset(choose(find_datasets(folder), folder))
    files = [path for case in dataset.cases for path in (*case.images, case.label) if path is not None]
    missing = [path for path in files if not path.exists()]
    if missing or not files:
        such = f", such as {missing[0]}" if missing else ""
        raise DataError(
            f"{folder} is not whole: {len(missing)} of its {len(files)} files are missing{such}; "
            "move it away and fetch the data set again."
        )
    return dataset
