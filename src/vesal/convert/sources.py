"""What can be converted: data sets in any layout, pictures of volumes with their sidecar, masks, plain scans."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vesal.convert.image_stacks import masks, names_slices, placed, series, sliced, stacked
from vesal.convert.records import Job, Scan, Source, credits_of
from vesal.convert.slices import SIDECAR, SliceIndex, find_sidecar
from vesal.data.case import files_of, read_case_label, read_image
from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import Failure
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError
from vesal.files import expanded
from vesal.layouts.by_case.acdc_brats import BRATS_CHANNELS
from vesal.layouts.registry import LAYOUTS, load_dataset
from vesal.layouts.scan_files import (
    by_stem,
    channel_files,
    found_channels,
    image_files,
    is_picture,
    volume_id,
)
from vesal.layouts.segment_labels import with_segments
from vesal.volume.formats.raw_bytes import is_nifti, read_bytes
from vesal.volume.io import read_volume, strip_suffix
from vesal.volume.volume import Volume


def open_source(
    data: Path,
    *,
    layout: str = "auto",
    volumes: bool = True,
    spacing_mm: Sequence[float] | None = None,
    stack: bool = True,
    sidecar: Path | None = None,
) -> Source:
    """Find out what a folder holds.

    Args:
        data: a data set, a folder of pictures with slices.json in it or beside it, or scans without labels.
        layout: a key of LAYOUTS, or 'auto'.
        volumes: volumes are wanted, so that pictures of one volume must be put together or declared to be single.
        spacing_mm: of columns, rows and slices, to put pictures together for which there is no sidecar.
        stack: put pictures together where it is known how; if not, each is taken as what it is.
        sidecar: a slices.json elsewhere.

    Raises:
        UsageError: the folder is not there, or pictures of volumes could be put together in several ways.
        DataError: the folder fits no layout, or its description is damaged.
    """
    root = expanded(data).absolute()
    if not root.exists():
        raise UsageError(f"There is no folder {root}; check the path.")
    found = sidecar or (find_sidecar(root) if root.is_dir() else None)
    if stack and spacing_mm is None and found is not None and layout in ("auto", "manifest", "png"):
        index = SliceIndex.load(found)
        if (root / SIDECAR).is_file() and any((root / one.images).is_dir() for one in index.volumes.values()):
            return sliced(root, index)
        if sidecar is not None or names_slices(root, index):
            return masks(root, index, found)
    source = _scans(root) if _plain(root, layout) else _cases(load_dataset(root, layout))
    pictures = series(source)
    if pictures and stack and (spacing_mm is not None or (volumes and placed(pictures))):
        return stacked(source, pictures, spacing_mm)
    if spacing_mm is not None:
        raise UsageError(f"{root} holds no pictures of volumes, so leave out --spacing.")
    if pictures and volumes and stack:
        name = max(pictures, key=lambda patient: len(pictures[patient]))
        raise UsageError(
            f"{root} holds {len(pictures[name])} pictures of {name}, and no {SIDECAR} says how they lie; add "
            "--spacing X,Y,Z (mm) to put them together, or --no-stack to keep each as a 2D image."
        )
    return source


# --- data sets ---------------------------------------------------------------------------------------------


def _cases(dataset: Dataset) -> Source:
    dataset = dataset.decided(None, None)
    failures = _checked_brats(dataset)
    remarks = list(dataset.remarks)
    if dataset.orphans and not failures:
        first = dataset.orphans[0]
        remarks.append(
            f"Left out are {len(dataset.orphans)} files without a partner, such as {first.path.name}, "
            f"whose {first.missing} is missing."
        )
    held_out = by_stem(dataset.root / "labelsTs")
    jobs = [_case_job(case, test=False) for case in dataset.cases]
    # Their labels are read as those of the training cases are.
    tests = tuple(
        case.model_copy(update={"label": held_out.get(case.id), "threshold": dataset.labels.reading})
        for case in dataset.unlabelled
    )
    read = with_segments(dataset.model_copy(update={"cases": tests}))
    jobs += [_case_job(case, test=True) for case in read.cases]
    return Source(
        name=dataset.name,
        channels=dataset.channels,
        # Soft masks become hard ones when they are read.
        labels=dataset.labels.hard,
        jobs=tuple(jobs),
        read_as=dataset.layout,
        dataset=dataset,
        failures=tuple(failures),
        remarks=tuple(remarks),
        credits=credits_of(dataset.root),
    )


def _checked_brats(dataset: Dataset) -> list[Failure]:
    """Cases of BraTS that lack a modality or their label, one failure each.

    Raises:
        DataError: most cases lack the same modality.
    """
    if dataset.layout != "brats":
        return []
    if absent := [name for name in BRATS_CHANNELS if name not in dataset.channels]:
        raise DataError(
            f"{dataset.root} lacks {', '.join(absent)} in most cases; BraTS has {', '.join(BRATS_CHANNELS)}, so "
            "complete it, or list the channels that are there in a manifest."
        )
    return [
        Failure(
            id=orphan.id,
            message=f"Case {orphan.id} lacks its {orphan.missing} beside {orphan.path}; "
            "add the file or remove the case.",
        )
        for orphan in dataset.orphans
    ]


def _case_job(case: Case, *, test: bool) -> Job:
    try:
        files = files_of(case)
    except DataError:  # reported when the case is read
        files = case.files
    return Job(case, test, partial(_read_case, case, test), files)


def _read_case(case: Case, test: bool) -> Scan:
    image = read_image(case, floating=False)
    label = label_file = None
    if case.label is not None:
        data = None if case.label.is_dir() else read_bytes(case.label)
        label = read_case_label(case, image, data)
        stored = read_volume(case.label, data) if is_nifti(case.label) else None
        # A file that holds the label as integers may be copied.
        whole = stored is not None and stored.array.dtype.kind in "ui" and not label.soft
        if stored is not None and whole and _as_stored(case.label, stored):
            label_file = case.label
    single = case.images[0] if len(case.images) == 1 and _as_stored(case.images[0], image) else None
    return Scan(case, test, image, label, single, label_file)


def _as_stored(path: Path, volume: Volume) -> bool:
    """Whether a NIfTI file has just the axes and samples that are read from it: then its bytes can be copied."""
    # Imported here: pictures alone should not wait for nibabel.
    import nibabel

    if not is_nifti(path):
        return False
    try:
        header = nibabel.load(path).header
    except Exception:  # it is nibabel's reader that stumbles, not ours: write the file anew
        return False
    channels = (volume.channels,) if volume.channels > 1 else ()
    plain = header.get_data_dtype().fields is None
    return bool(plain and header.get_data_shape() == (*volume.geometry.shape, *channels))


# --- scans without labels ----------------------------------------------------------------------------------


def _plain(root: Path, layout: str) -> bool:
    """Whether these are scans alone: a file, or a folder of images that fits no layout."""
    if layout != "auto":
        return False
    if root.is_file():
        return root.suffix.lower() not in (".csv", ".json")
    try:
        return bool(image_files(root)) and all(each.detect(root) is None for each in LAYOUTS.values())
    except (DataError, OSError):
        return False


def _scans(root: Path) -> Source:
    files = [root] if root.is_file() else image_files(root)
    cases = [
        Case(id=name, images=tuple(images), patient=volume_id(name) if is_picture(images[0]) else name)
        for name, images in _by_channel(files)
    ]
    return Source(
        name=strip_suffix(root),
        channels=found_channels(cases),
        labels=LabelSet.from_values({"foreground": 1}),
        jobs=tuple(_case_job(case, test=True) for case in cases),
        read_as="plain scans",
        remarks=("There are no labels, so all scans are test scans.",),
    )


def _by_channel(files: Sequence[Path]) -> list[tuple[str, list[Path]]]:
    """CASE_0000, CASE_0001, ... are one scan where all volumes are named so with the same numbers."""
    groups = channel_files(file for file in files if not is_picture(file))
    counts = {tuple(sorted(members)) for members in groups.values()}
    whole = sum(len(members) for members in groups.values()) == len(files) and len(counts) == 1
    if whole and (numbers := counts.pop()) == tuple(range(len(numbers))):
        return [(name, [members[number] for number in numbers]) for name, members in groups.items()]
    return [(strip_suffix(file), [file]) for file in files]
