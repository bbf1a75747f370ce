"""Which files the result of each scan becomes, before the first is predicted."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vesal.data.dataset import Case
from vesal.errors import UsageError
from vesal.files import write_bytes
from vesal.layouts.input_scans import default_ending
from vesal.text import shortened
from vesal.volume.dicom.source import is_dicom_file
from vesal.volume.io import SUFFIXES, is_image, strip_suffix
from vesal.workflow.requests.predict_options import DICOM_FORMATS, FORMATS, PredictOptions

PROBABILITIES = "probabilities"
#: No usual file system takes a longer name, in bytes.
_LONGEST_NAME = 255
#: The file of the classes, below PROBABILITIES.
CLASSES = "classes.json"


@dataclass(frozen=True)
class Target:
    """The files of one case's result.

    Attributes:
        label: the label map; where none is asked for, the first of the DICOM objects.
        probabilities: class -> its map.
        dicom: key of DICOM_FORMATS -> the object.
    """

    label: Path
    overlay: Path | None
    probabilities: dict[str, Path]
    uncertainty: Path | None = None
    dicom: dict[str, Path] = field(default_factory=dict)

    @property
    def writes_volume(self) -> bool:
        """Whether a label map is asked for."""
        return self.label not in self.dicom.values()

    def files(self) -> Iterator[Path]:
        """All of them."""
        others = [path for path in self.dicom.values() if path != self.label]
        return filter(
            None, (self.label, self.overlay, *self.probabilities.values(), self.uncertainty, *others)
        )


@dataclass(frozen=True)
class Targets:
    """Where results go.

    Attributes:
        folder: that holds them.
        of: one for each case, in order.
        single: the user named the result's file, not a folder.
        folders: class -> its folder of probabilities, where they are wanted.
    """

    folder: Path
    of: tuple[Target, ...]
    single: bool
    folders: dict[str, str]

    @property
    def classes_file(self) -> Path:
        """What the folders of probabilities hold."""
        return self.folder / PROBABILITIES / CLASSES

    def files(self) -> list[Path]:
        """All that results become."""
        described = [self.classes_file] if self.folders else []
        return [*(path for target in self.of for path in target.files()), *described]


def plan_targets(
    cases: Sequence[Case], out: Path, options: PredictOptions, classes: Sequence[str]
) -> Targets:
    """The files of all results.

    Raises:
        UsageError: `out` names a file for several scans or in a format that is not written; two results would be one
            file; a result would overwrite a scan; or its name is longer than file systems take.
    """
    folders = class_folders(classes) if options.probabilities else {}
    if single := _names_file(out):
        folder, stem, ending = out.parent, strip_suffix(out), _ending_of(out, len(cases), options)
        targets = [replace(_target(stem, ending, folder, options, folders), label=out) for _ in cases]
    else:
        folder = out
        wanted = options.volume_format
        endings = [default_ending(case) if wanted is None else FORMATS[wanted] for case in cases]
        targets = [
            _target(case.id, ending, out, options, folders)
            for case, ending in zip(cases, endings, strict=True)
        ]
    if options.dicom_formats:
        targets = [_with_dicom(*one, folder, options) for one in zip(targets, cases, strict=True)]
    _refuse_long(targets)
    _spare_inputs(cases, targets)
    return Targets(folder, tuple(targets), single, folders)


def try_folder(targets: Targets) -> None:
    """Raise before the first scan is predicted where nothing can be written, or names would be mixed up there.

    Raises:
        UsageError: two results differ in letters that this file system takes for the same.
        VesalError: the folder cannot be written.
    """
    test = targets.folder / ".writing-test"
    write_bytes(test, b"\0")
    ignores_case = (test.parent / test.name.upper()).exists()
    test.unlink(missing_ok=True)
    if ignores_case:
        refuse_alike(target.label.name for target in targets.of)


def refuse_alike(names: Iterable[str]) -> None:
    """Raise where two file names differ only in capitals or in the form of accented letters.

    Raises:
        UsageError: it names them.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise UsageError(
                f"The results {other} and {name} would be one file on this disk, which does not tell capitals apart; "
                "predict them into two folders."
            )


def class_folders(classes: Sequence[str]) -> dict[str, str]:
    """Class -> a folder's name that every system takes, different from the others also where case is ignored.

    >>> class_folders(["left atrium", "ED/ET", "ed et"])
    {'left atrium': 'left_atrium', 'ED/ET': 'ED_ET', 'ed et': 'ed_et-2'}
    """
    found: dict[str, str] = {}
    for name in classes:
        plain = re.sub(r"[^\w.-]+", "_", name).strip("._-") or "class"
        taken = {folder.casefold() for folder in found.values()}
        numbered = (plain, *(f"{plain}-{number}" for number in range(2, len(classes) + 1)))
        found[name] = next(folder for folder in numbered if folder.casefold() not in taken)
    return found


def _names_file(out: Path) -> bool:
    """Whether the output is a scan's file and no folder."""
    return is_image(out) and not out.is_dir()


def _ending_of(out: Path, count: int, options: PredictOptions) -> str:
    """Of the file that the user named."""
    ending = out.name[len(strip_suffix(out)) :].lower()
    if count != 1:
        raise UsageError(
            f"{out} names one file and {count} scans are to be segmented; name a folder for the results."
        )
    written = {*FORMATS.values(), ".nii"}
    if ending not in written:
        known = f"no format for results; choose one of {', '.join(sorted(written))}"
        raise UsageError(
            f"{out} is to be written, but '{ending}' is {known if ending in SUFFIXES else 'unknown'}."
        )
    if (wanted := options.volume_format) is not None and FORMATS[wanted] not in (ending, f"{ending}.gz"):
        raise UsageError(f"{out} and --to {options.to} name two formats; leave out --to.")
    return ending


def _target(stem: str, ending: str, folder: Path, options: PredictOptions, folders: dict[str, str]) -> Target:
    return Target(
        label=folder / f"{stem}{ending}",
        overlay=folder / "overlays" / f"{stem}_overlay.png" if options.overlay else None,
        probabilities={
            name: folder / PROBABILITIES / class_folder / f"{stem}{ending}"
            for name, class_folder in folders.items()
        },
        uncertainty=folder / "uncertainty" / f"{stem}{ending}" if options.uncertainty else None,
    )


def _with_dicom(target: Target, case: Case, folder: Path, options: PredictOptions) -> Target:
    """The result as DICOM objects too, or as such alone where no other format is asked for."""
    if not is_dicom_file(case.images[0]):
        raise UsageError(
            f"{case.images[0]} is no DICOM, so its result cannot be one ({', '.join(options.dicom_formats)}); give the "
            "study itself."
        )
    objects = {name: folder / f"{case.id}{DICOM_FORMATS[name]}" for name in options.dicom_formats}
    label = target.label if options.volume_format is not None else next(iter(objects.values()))
    return replace(target, label=label, dicom=objects)


def _refuse_long(targets: Sequence[Target]) -> None:
    """The name of a scan may have just as many letters as a name can, to which its result's adds some."""
    for name in (path.name for target in targets for path in target.files()):
        if (size := len(os.fsencode(name))) > _LONGEST_NAME:
            raise UsageError(
                f"The result {shortened(name, 60)} would have a name of {size} bytes where file systems take "
                f"{_LONGEST_NAME}; give its scan, or the folders that it is named after, shorter names."
            )


def _spare_inputs(cases: Sequence[Case], targets: Sequence[Target]) -> None:
    """No result may take the place of a scan or of a true label.

    Only what is there already can be one; in a new folder nothing is, and the thousands of inputs of a folder of
    slices need not be looked at.
    """
    results = {
        _identity(path): path for target in targets for path in target.files() if os.path.lexists(path)
    }
    results.pop(None, None)
    for file in (file for case in cases for file in case.files) if results else ():
        if (identity := _identity(file)) in results:
            raise UsageError(
                f"The result would overwrite the scan {results[identity]}; choose another output folder."
            )


def _identity(path: Path) -> tuple[int, int] | None:
    """The same for two names of one file; None where there is no file."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino
