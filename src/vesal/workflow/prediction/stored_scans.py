"""The scans in folders at addresses: recognised by their names, and fetched one by one where they are predicted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vesal.data.dataset import Case
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError
from vesal.layouts.input_scans import cases_to_predict
from vesal.outputs import holds_record
from vesal.text import shortened
from vesal.volume.io import is_image, strip_suffix
from vesal.workflow.prediction.stored_files import StoredFile, StoredFolder

#: Formats whose voxels lie in a file beside the header, which is fetched with it.
_PAIRS = (".mhd", ".nhdr", ".hdr")
#: What has to be free for a scan, in sizes of its files: its results are written beside it.
_ROOM = 3


@dataclass(frozen=True)
class StoredScan:
    """A scan that is not here yet.

    Attributes:
        case: whose images are names below `source`.
        source: where they lie.
        files: name -> file, of the images and what belongs to them.
    """

    case: Case
    source: StoredFolder
    files: dict[str, StoredFile]

    @property
    def stamp(self) -> list[Any]:
        """Of the content, as far as the listing shows it; for JSON."""
        return [[name, *file.stamp] for name, file in sorted(self.files.items())]

    def fetch(self, folder: Path) -> Case:
        """The case with its files in a folder of this machine.

        Raises:
            DataError: they are gone or changed, or there is no room for them.
        """
        needed = sum(file.size for file in self.files.values())
        free = shutil.disk_usage(folder).free
        if _ROOM * needed > free:
            raise DataError(
                f"{needed / 1e9:.3g} GB are to be fetched and {free / 1e9:.3g} GB are free in {folder.parent}; free "
                "some, or set TMPDIR to a larger disk."
            )
        for name, file in self.files.items():
            self.source.fetch(name, folder / name, file.size)
        return self.case.model_copy(update={"images": tuple(folder / path for path in self.case.images)})


def scans_at(
    inputs: Sequence[str],
    channels: int,
    labels: LabelSet,
    scratch: Path,
    remark: Callable[[str], object] = str,
) -> list[StoredScan]:
    """The scans of folders and files, in the same way as `cases_to_predict`; no scan is fetched.

    Records of predictions are, so that results that lie among the scans are left out.

    Args:
        inputs: addresses, and paths of this machine.
        channels: how many the model wants.
        labels: of the model.
        scratch: an empty folder, which takes an empty file for each image, so that names are all that is looked at,
            and the records.
        remark: is told what was left out.

    Raises:
        UsageError: no scan is there, or two have the same name.
        VesalError: a storage does not answer.
    """
    sources: list[tuple[Path, StoredFolder, dict[str, StoredFile]]] = []
    places = []
    for number, text in enumerate(inputs):
        source, only = StoredFolder.of(text), ""
        if source.holds_file():
            source, only = source.parent()
        root = scratch / str(number)
        files = source.files()
        if only:
            files = {name: file for name, file in files.items() if _stem(name) == _stem(only)}
        sources.append((root, source, files))
        images = [only] if only else [name for name in files if is_image(name) and _is_visible(name)]
        if not images:
            raise UsageError(
                f"No scan is at {source!r}; DICOM has to be copied here, other scans end as usual."
            )
        for name in images:
            _note(root / name, name, source)
        for name in () if only else filter(holds_record, files):
            source.fetch(name, root / name)
        places.append(root / only if only else root)

    def shown(text: str) -> str:
        for root, source, _ in sources:
            text = text.replace(str(root), repr(source))
        return text

    try:
        cases = cases_to_predict(places, channels, labels, remark=lambda text: remark(shown(text)))
    except UsageError as error:
        raise UsageError(shown(str(error))) from None
    return [_scan(case, sources) for case in cases]


def _scan(case: Case, sources: Sequence[tuple[Path, StoredFolder, dict[str, StoredFile]]]) -> StoredScan:
    root, source, files = next(one for one in sources if case.images[0].is_relative_to(one[0]))
    names = [path.relative_to(root).as_posix() for path in case.images]
    wanted = {*names}
    for name in names:
        if name.lower().endswith(_PAIRS):
            wanted |= {other for other in files if _stem(other) == _stem(name)}
    images = tuple(Path(name) for name in names)
    return StoredScan(
        case.model_copy(update={"images": images}), source, {name: files[name] for name in sorted(wanted)}
    )


def _note(place: Path, name: str, source: StoredFolder) -> None:
    """An empty file for a scan; a key of a storage need not be a name that a disk takes."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    except OSError as error:
        raise UsageError(
            f"{shortened(name, 60)} at {source!r} cannot be a file of this machine ({error.strerror or error}); give "
            "it another name, or name the folders of the other scans."
        ) from error


def _stem(name: str) -> str:
    """The name without its ending, also that of voxels beside a header, such as .raw and .img.gz."""
    path = PurePosixPath(name)
    return str(
        path.with_name(strip_suffix(name) if is_image(name) else Path(path.name.removesuffix(".gz")).stem)
    )


def _is_visible(name: str) -> bool:
    return not any(part.startswith(".") for part in PurePosixPath(name).parts)
