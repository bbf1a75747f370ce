"""Cases whose label is a folder of masks, one an organ, as TotalSegmentator's data set has them."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vesal.data.dataset import Case, Dataset
from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.layouts.matching_names import LABEL_WORDS, words_in
from vesal.layouts.scan_files import declared_labels, image_files, visible
from vesal.text import listed, plural
from vesal.volume.io import mask_files, strip_suffix

#: More masks than a label map of 8 bits holds are no organs.
_MOST_MASKS = 254


def label_of_folder(case: Path) -> Path | None:
    """The folder of masks in a case's folder (segmentations, masks, labels), or the only file in it; None without.

    Raises:
        DataError: there are several such folders.
    """
    inner = [path for path in visible(case) if path.is_dir() and words_in(path.name) & LABEL_WORDS]
    found = [path for path in inner if image_files(path)]
    if len(found) > 1:
        raise DataError(
            f"{case} holds several folders of labels ({listed([path.name for path in found])}); leave one there, or "
            "write a manifest."
        )
    if not found:
        return None
    files = image_files(found[0])
    return found[0] if len(files) > 1 else files[0]


def with_lone_masks(cases: Sequence[Case]) -> list[Case]:
    """The cases; where some have folders of masks, the only mask of another one's folder is such a folder, too."""
    folders = [case.label for case in cases if case.label is not None and case.label.is_dir()]
    names = {name for folder in folders for name in mask_files(folder)}
    return [
        case.model_copy(update={"label": case.label.parent})
        if case.label is not None
        and strip_suffix(case.label) in names
        and not case.label.is_dir()
        and words_in(case.label.parent.name) & LABEL_WORDS
        else case
        for case in cases
    ]


def organ_labels(cases: Sequence[Case], where: Path) -> LabelSet:
    """A label for each name of a mask, numbered from 1 in alphabetical order.

    Raises:
        DataError: the masks of the cases are not called alike.
    """
    folders = [case.label for case in cases if case.label is not None]
    counts = Counter(name for folder in folders if folder.is_dir() for name in mask_files(folder))
    recurring = max(counts.values()) > 1 or len(folders) == 1
    if len(counts) > _MOST_MASKS or not recurring or not all(folder.is_dir() for folder in folders):
        raise DataError(
            f"The folders of masks in {where} hold {plural(len(counts), 'name')} ({listed(sorted(counts), 3)}), which "
            "are not the same labels in each case; call the mask of a label alike in all cases."
        )
    names = {name: number for number, name in enumerate(sorted(counts), start=1)}
    return declared_labels({"background": 0, **names}, where)


def with_organs(dataset: Dataset, split: Path) -> Dataset:
    """The data set, whose cases name the organs that were drawn in them; those of the split 'test' are a test set.

    Args:
        dataset: with folders of masks as labels.
        split: meta.csv of TotalSegmentator's data set, or a file that is not there.

    Raises:
        DataError: the split cannot be read.
    """
    names = dataset.labels.names
    held_out = _test_cases(split)
    cases, tests, partly = [], [], []
    for case in dataset.cases:
        if case.id in held_out:
            tests.append(case.model_copy(update={"label": None}))
            continue
        assert case.label is not None
        # Where labels are declared, a case may as well have a label map.
        there = mask_files(case.label) if case.label.is_dir() else names
        drawn = tuple(name for name in names if name in there)
        if len(drawn) < len(names):
            partly.append(case.id)
            case = case.model_copy(update={"annotated": drawn})
        cases.append(case)
    remarks = [
        f"Each case has a folder of masks, of {plural(len(names), 'label')} in alphabetical order; where masks overlap "
        "the later one wins. vesal convert writes them as one label map, which is read faster."
    ]
    if partly:
        remarks.append(
            f"{plural(len(partly), 'case')} without masks of some labels, which count as not annotated there: "
            f"{listed(partly, 5)}."
        )
    if tests:
        remarks.append(f"Kept as a test set: {plural(len(tests), 'case')} that {split.name} calls test.")
    return dataset.model_copy(
        update={
            "cases": tuple(cases),
            "unlabelled": (*dataset.unlabelled, *tests),
            "remarks": (*dataset.remarks, *remarks),
        }
    )


def _test_cases(path: Path) -> set[str]:
    """Cases with 'test' in the column split, by the column image_id; none where there is no such file.

    Raises:
        DataError: it cannot be read, so that test cases would be trained on.
    """
    if not path.is_file():
        return set()
    try:
        # Both columns are ASCII; others, such as the name of a hospital, may be in any encoding.
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise DataError(
            f"Cannot read {path}, which says which cases are a test set: {error.strerror or error}."
        ) from error
    separator = ";" if ";" in text.partition("\n")[0] else ","
    rows = csv.DictReader(text.splitlines(), delimiter=separator)
    return {row["image_id"] for row in rows if row.get("image_id") and row.get("split") == "test"}
