"""From a folder to a data set: the layouts of labelled scans.

Each layout is one pair of functions. `detect(folder)` returns in a few words what it recognised, or None;
`read(folder, labels)` gives the data set, with `labels` in place of what the files declare if they are given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from vesal.data.dataset import Case, Dataset
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError, unknown_name
from vesal.files import expanded
from vesal.layouts.by_case.acdc_brats import detect_acdc, detect_brats, read_acdc, read_brats
from vesal.layouts.by_case.case_roles import detect_cases, read_cases
from vesal.layouts.dataset_json import detect_msd, detect_nnunet, read_msd, read_nnunet
from vesal.layouts.dicom.dicom_studies import detect_dicom, read_dicom
from vesal.layouts.folders import detect_pairs, detect_png, read_pairs, read_png
from vesal.layouts.manifest import detect_manifest, read_manifest
from vesal.layouts.pictures import as_pictures
from vesal.layouts.segment_labels import with_segments
from vesal.layouts.unrecognised import left_alone, what_fits_nothing


@dataclass(frozen=True)
class Layout:
    """How one kind of folder is recognised and read.

    Attributes:
        looks_for: what `detect` needs to find, for messages.
        detect: folder -> what it recognised, or None.
        read: (folder, labels or None) -> data set.
        general: also fits folders of more special layouts, so 'auto' asks it last.
    """

    looks_for: str
    detect: Callable[[Path], str | None]
    read: Callable[[Path, LabelSet | None], Dataset]
    general: bool = False


#: In the order in which 'auto' prefers them.
LAYOUTS: dict[str, Layout] = {
    "manifest": Layout(
        "manifest.csv or manifest.json with the columns id, image, label, patient", detect_manifest, read_manifest
    ),
    "nnunet": Layout(
        "imagesTr/CASE_0000.nii.gz beside labelsTr/CASE.nii.gz, with dataset.json", detect_nnunet, read_nnunet
    ),
    "msd": Layout("dataset.json with a list 'training'", detect_msd, read_msd),
    "acdc": Layout(
        "patientXXX/patientXXX_frameNN.nii.gz and patientXXX_frameNN_gt.nii.gz", detect_acdc, read_acdc
    ),
    "brats": Layout(
        "four files a case, _flair, _t1, _t1ce, _t2 (or -t2f, -t1n, -t1c, -t2w), and _seg", detect_brats, read_brats
    ),
    "png": Layout("images/ and labels/ (or masks/) with PNG files of the same names", detect_png, read_png),
    "dicom": Layout(
        "DICOM series, with segmentations (SEG) or structure sets (RTSTRUCT) that name them",
        detect_dicom, read_dicom, general=True,
    ),
    "pairs": Layout(
        "two folders such as images and labels with files of matching names", detect_pairs, read_pairs, general=True
    ),
    "cases": Layout(
        "a folder a case with files such as image and label (or a folder of masks, one a label), or files such as x "
        "and x_seg side by side",
        detect_cases, read_cases, general=True,
    ),
}  # fmt: skip


def load_dataset(folder: str | Path, layout: str = "auto", *, labels: LabelSet | None = None) -> Dataset:
    """Read which files of a folder belong to which case, and what their labels mean.

    Images are not read; label maps are only where the layout does not declare their values.

    Args:
        folder: holds the data set; a manifest may also be given as a file.
        layout: a key of LAYOUTS, or 'auto'.
        labels: what the label maps hold, in place of what the layout declares or finds.

    Raises:
        DataError: the folder is empty, damaged, fits no layout (the message says what is there and what the nearest
            one misses), or could be read in two ways.
        UsageError: there is no such folder or layout.
    """
    if layout != "auto" and layout not in LAYOUTS:
        raise unknown_name("layout", layout, ["auto", *LAYOUTS])
    root = expanded(Path(folder)).absolute()
    _usable(root)
    remarks = []
    if layout == "auto":
        found = _matches(root)
        if not found:
            raise DataError(_nothing_recognised(root))
        layout, reason = found[0]
        remarks.append(f"Read as '{layout}', because there is {reason}.")
        if len(found) > 1 and LAYOUTS[layout].general:
            ways = "; ".join(f"as '{name}', because there is {why}" for name, why in found)
            raise DataError(f"{root} can be read in {len(found)} ways: {ways}. Choose by --layout.")
        # A manifest says itself which files are meant, also that of a conversion to PNG.
        if len(found) > 1 and layout != "manifest":
            others = ", ".join(f"'{other}'" for other, _ in found[1:])
            remarks.append(f"The folder also looks like {others}; name the layout if that is what you mean.")
    dataset = with_segments(as_pictures(LAYOUTS[layout].read(root, labels)))
    if dataset.labels.threshold is not None:
        dataset = dataset.with_labels(dataset.labels)
    _check(dataset)
    if not dataset.cases and not dataset.unlabelled:
        seen = "no image was found"
        if dataset.orphans:
            seen = f"such as {dataset.orphans[0].path}, whose {dataset.orphans[0].missing} is missing"
        raise DataError(
            f"{dataset.root} (read as '{dataset.layout}') holds no complete case, {seen}; "
            "check that images and labels lie where the layout has them."
        )
    if not dataset.cases:
        remarks.append("No case is annotated: these scans can be predicted, not trained on.")
    unread = _left_alone(dataset)
    said = [*remarks, *dataset.remarks, *([unread] if unread else [])]
    return dataset.model_copy(update={"remarks": tuple(said)})


def is_recognised(folder: Path) -> bool:
    """Whether 'auto' would read the folder as a data set, or would say what is wrong with its description."""
    try:
        return bool(_matches(expanded(folder).absolute()))
    except DataError:
        return True


def _usable(root: Path) -> None:
    if not root.exists():
        raise UsageError(f"There is no folder {root}; check the path.")
    if root.is_file():
        if root.suffix.lower() in (".csv", ".json") and root.name != "dataset.json":
            return
        # Imported here: a prediction starts without the libraries of archives.
        from vesal.download.archives import is_archive
        from vesal.download.catalogue import name_of

        if is_archive(root):
            raise UsageError(
                f"{root} is an archive; unpack it by vesal fetch {name_of(root) or 'NAME'} --from {root}, or by "
                "yourself where vesal fetch --list does not name the data set, and give the folder."
            )
        raise UsageError(f"{root} is a file; give the folder of the data set, such as {root.parent}.")
    try:
        empty = next(root.iterdir(), None) is None
    except OSError as error:
        raise DataError(f"Cannot read the folder {root}: {error.strerror or error}.") from error
    if empty:
        raise DataError(f"The folder {root} is empty; give the folder that holds the data set.")


def _matches(root: Path) -> list[tuple[str, str]]:
    """The layouts that fit, the special ones if any does, and what each recognised.

    What cannot be scanned is no match. It is reported where nothing else fits, and where there is a description that a
    more general layout would pass over.
    """
    failures: list[DataError] = []
    for general in (False, True):
        if found := list(recognised(root, general, failures)):
            return found
        if failures and (general or (root / "dataset.json").exists()):
            raise failures[0]
    return []


def recognised(root: Path, general: bool, failures: list[DataError]) -> Iterator[tuple[str, str]]:
    """The general or the special layouts that fit, and what each recognised; errors are added to `failures`."""
    for name, layout in LAYOUTS.items():
        if layout.general != general:
            continue
        try:
            if (reason := layout.detect(root)) is not None:
                yield name, reason
        except DataError as error:
            failures.append(error)
        except OSError as error:
            failures.append(DataError(f"Cannot read {error.filename or root}: {error.strerror or error}."))


def _nothing_recognised(root: Path) -> str:
    inside = []
    for sub in sorted(path for path in root.iterdir() if path.is_dir())[:50]:
        with contextlib.suppress(DataError):
            inside += [f"{sub.name} ({name})" for name, _ in _matches(sub)[:1]]
    return what_fits_nothing(root, inside)


def _left_alone(dataset: Dataset) -> str:
    """Of files in the folders of the scans that are not read; a manifest names those that are meant."""
    if dataset.layout in ("manifest", "dicom"):
        return ""
    folders = {path.parent: None for case in dataset.cases + dataset.unlabelled for path in case.files}
    folders |= {orphan.path.parent: None for orphan in dataset.orphans}
    return left_alone(folders, dataset.root)


def _check(dataset: Dataset) -> None:
    """Names that cannot be files, or are there twice; label files with loss; labels that are not declared."""
    first: dict[str, Case] = {}
    for case in dataset.cases + dataset.unlabelled:
        if no_file_name(case.id):
            raise DataError(
                f"A case of {dataset.root} is called {case.id!r}, which cannot name a file; choose another name."
            )
        if (other := first.setdefault(case.id, case)) is not case:
            files = f"{other.images[0]} and {case.images[0]}"
            raise DataError(f"Two cases are called '{case.id}' ({files}); give each its own name.")
    _check_slices(dataset)
    for case in dataset.cases:
        lossy = case.label is not None and case.label.suffix.lower() in (".jpg", ".jpeg")
        if lossy and case.threshold is None:
            raise DataError(
                f"{case.label} is a JPEG, whose lossy compression changes label values; "
                "save it as PNG from the original."
            )
        if unknown := sorted(set(case.annotated or ()) - set(dataset.labels.names)):
            raise DataError(
                f"Case {case.id} of {dataset.root} has '{unknown[0]}' as an annotated label; "
                f"there are: {', '.join(dataset.labels.names)}."
            )


def _check_slices(dataset: Dataset) -> None:
    """Slices of one volume: each number once, and all of one patient, so that no split tears them apart."""
    first: dict[str, Case] = {}
    taken: dict[tuple[str, int], Case] = {}
    for case in dataset.cases + dataset.unlabelled:
        if (place := case.slice_of) is None:
            continue
        if no_file_name(place.volume):
            raise DataError(
                f"{case.id} of {dataset.root} is a slice of {place.volume!r}, which cannot name a file; "
                "choose another name."
            )
        if (other := taken.setdefault((place.volume, place.number), case)) is not case:
            raise DataError(
                f"{other.id} and {case.id} of {dataset.root} are both slice {place.number} of {place.volume}; "
                "give each its own number, or leave one out."
            )
        if (other := first.setdefault(place.volume, case)).patient != case.patient:
            raise DataError(
                f"{other.id} and {case.id} of {dataset.root} are slices of {place.volume} but of the patients "
                f"{other.patient} and {case.patient}; name one patient for all of a volume."
            )


def no_file_name(name: str) -> bool:
    """Whether a file of this name would lie elsewhere than in its folder, be hidden, or cannot be, on any system."""
    elsewhere = any(sign in name for sign in "/\\\0") or PureWindowsPath(name).drive != ""
    return elsewhere or not name or name.startswith(".")
