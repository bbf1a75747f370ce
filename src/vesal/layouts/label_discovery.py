"""What label files hold where nothing declares it: which classes, or a question where that is not clear."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vesal.data.dataset import Case
from vesal.data.labels import LabelSet
from vesal.data.value_tables import value_counts
from vesal.errors import DataError
from vesal.layouts.scan_files import declared_labels
from vesal.layouts.segment_labels import segment_labels
from vesal.parallel import map_in_order
from vesal.text import listed, plural
from vesal.volume.io import read_label, read_stored_label

#: A label map with more values than this is an image, or a mask that was compressed with loss.
_MOST_VALUES = 254
#: How far a value may lie from the whole number that it stands for, such as 0.988 for 1 after a slope of 8 bits.
_NEAR_WHOLE = 0.1
#: Values that programs write for the foreground of a mask of one class.
_FULL = {1.0, 255.0, 65535.0}
#: The voxels of a soft mask lie near 0 or near its top, by this share of it; its top is at least this.
_BAND, _LEAST_TOP = 0.1, 16
#: So many values between the bands, or so many in 8 bits at all, are shades and no classes.
_SHADES, _MANY_SHADES = 6, 64
#: So many different fractions from 0 to 1 are probabilities and no classes.
_PROBABILITIES = 8

_DECIDE = "declare the labels in dataset.json or by --set labels.NAME=VALUE"
_UNIFY = (
    "make masks of one class of them with vesal inspect DATA --fix -o OUT, or decide with --set label_threshold={at}; "
    "if they are several classes, " + _DECIDE
)
#: Value -> voxels of one file.
Counts = dict[float, int]


def found_labels(cases: Sequence[Case], where: Path) -> tuple[LabelSet, str]:
    """The label set of the values found in the cases' label files, and a remark that says so.

    0 is the background. A single other value is called 'foreground', several are called 'label_1' and so on by
    value. Files that cannot be read are passed over: they turn up again when their case is read. Where values look
    like a soft mask, or may mean something else than a class, the label set has a question.

    Raises:
        DataError: no file can be read, all are empty, or the values are those of no label map.
    """
    paths = [case.label for case in cases if case.label is not None]
    if (named := segment_labels(paths)) is not None:
        return named, f"The labels are the named segments of {len(paths)} files: {', '.join(named.names)}."
    found = list(map_in_order(_counts, paths))
    read = {path: one for path, one in zip(paths, found, strict=True) if not isinstance(one, DataError)}
    if not read:
        raise DataError(f"None of the {len(paths)} label files of {where} can be read: {found[0]}")
    if not any(value for one in read.values() for value in one if np.isfinite(value)):
        raise DataError(
            f"All {len(paths)} label files of {where} are empty; check that they are the right files."
        )
    files = [{value: count for value, count in one.items() if np.isfinite(value)} for one in read.values()]
    soft = _mixed(files, where) or _soft(files, where)
    if soft is not None:
        return soft, soft.question
    values = _whole_values(read)
    question = _question(values, where)
    foreground = [value for value in values if value > 0]
    names = [f"label_{value}" for value in foreground] if len(foreground) > 1 else ["foreground"]
    ignored = next((value for value in values if value < 0), None)
    labels = declared_labels(
        {"background": 0, **dict(zip(names, foreground or [-1], strict=True))},
        where,
        ignore=ignored if foreground else None,
    ).model_copy(update={"question": question})
    shown = ", ".join(f"{name} = {value}" for name, value in zip(names, foreground, strict=False))
    remark = (
        f"Label values are not declared, so they were found in {len(paths)} label files: {shown}. "
        "A dataset.json in this folder can name them."
    )
    return labels, question or remark


def label_values(path: Path) -> set[int] | DataError:
    """The values in a label file, or why it cannot be read."""
    try:
        return set(value_counts(read_label(path).array))
    except DataError as error:
        return error
    except OSError as error:
        return DataError(f"Cannot read {path}: {error.strerror or error}.")


def _counts(path: Path) -> Counts | DataError:
    """Stored value -> voxels, NaN included, or why the file cannot be read."""
    try:
        return {float(value): count for value, count in value_counts(read_label(path).array).items()}
    except DataError:
        pass  # no label map; what it holds may still be clear
    except OSError as error:
        return DataError(f"Cannot read {path}: {error.strerror or error}.")
    try:
        values, counts = np.unique(read_stored_label(path).array, return_counts=True)
    except DataError as error:
        return error
    return dict(zip(values.astype(float).tolist(), counts.tolist(), strict=True))


def _one_class(at: float, value: int, question: str) -> LabelSet:
    labels = LabelSet.from_values({"background": 0, "foreground": value})
    return labels.model_copy(update={"threshold": at, "question": question})


def _mixed(files: Sequence[Counts], where: Path) -> LabelSet | None:
    """0 and 1 in some files, 0 and 255 in others: one class, saved in two ways."""
    drawn = [[value for value in one if value] for one in files]
    counts = Counter(values[0] for values in drawn if len(values) == 1)
    if any(len(values) > 1 for values in drawn) or len(counts) < 2 or not set(counts) <= _FULL:
        return None
    shown = " and ".join(f"0 and {value:g} in {count} files" for value, count in sorted(counts.items()))
    return _one_class(
        1.0,
        int(max(counts)),
        f"The masks of {where} hold {shown}, which looks like one class saved in two ways; "
        f"{_UNIFY.format(at=1)}.",
    )


def _soft(files: Sequence[Counts], where: Path) -> LabelSet | None:
    """Masks of one class with shades: saved with loss, with smooth rims, or probabilities."""
    total: Counter[float] = Counter()
    for one in files:
        total.update(one)
    top, values = max(total), sorted(value for value in total if value)
    if min(total) < 0:
        return None
    if top <= 1 and (len(values) > _PROBABILITIES or (len(values) == 1 and top < 1)):
        at, value = (0.5, 1) if len(values) > 1 else (top / 2, 1)
        looks = "probabilities or a mask with smooth rims" if len(values) > 1 else "one class times a factor"
    elif top >= _LEAST_TOP and _is_shaded(total, top):
        value = 255 if 128 < top <= 255 else round(top)
        at, looks = float((value + 1) // 2), "a soft mask of one class, saved with loss or with smooth rims"
    else:
        return None
    shown = listed([f"{one:.4g}" for one in values], 4)
    return _one_class(
        at,
        value,
        f"The masks of {where} hold {plural(len(values), 'value')} beside 0 ({shown}, at most {top:.4g}), which "
        f"looks like {looks}; {_UNIFY.format(at=f'{at:.4g}')}.",
    )


def _is_shaded(total: Mapping[float, int], top: float) -> bool:
    """Whether most of what is not near 0 is near the top, in more values than classes have there."""
    high = {value: count for value, count in total.items() if value >= top * (1 - _BAND)}
    between = {value: count for value, count in total.items() if _BAND * top < value < top * (1 - _BAND)}
    if 250 <= top <= 255 and len(total) > _MANY_SHADES:
        return True
    most_at_top = sum(high.values()) >= sum(between.values())
    return most_at_top and (len(high) > 1 or len(between) >= _SHADES)


def _whole_values(files: Mapping[Path, Counts]) -> list[int]:
    """The values as whole numbers, without 0: each is one, or near one, or most voxels are.

    Raises:
        DataError: they are not, or too many.
    """
    found: Counter[int] = Counter()
    for path, counts in files.items():
        finite = {value: count for value, count in counts.items() if np.isfinite(value) and value}
        near = {
            value: count
            for value, count in finite.items()
            if abs(value - round(value)) <= _NEAR_WHOLE and round(value)
        }
        exact = {value: count for value, count in finite.items() if abs(value - round(value)) <= 1e-3}
        kept = near if len(near) == len(finite) else exact
        if 2 * sum(kept.values()) < sum(finite.values()):
            shown = listed([f"{value:.4g}" for value in sorted(finite)], 5)
            raise DataError(
                f"{path} holds {shown} where a segmentation has whole numbers, and which classes they are is not "
                f"evident; {_DECIDE}, then vesal inspect --fix rounds them."
            )
        found.update({round(value) for value in kept})
        if len(found) > _MOST_VALUES:
            raise DataError(
                f"{path} and the label files before it hold over {_MOST_VALUES} different values; "
                "label maps are wanted here, saved without lossy compression."
            )
    return sorted(found)


def _question(values: Sequence[int], where: Path) -> str:
    """What has to be asked: negative values, and 255 beside small ones, are no classes in most data sets."""
    if negative := [value for value in values if value < 0]:
        odd = ", ".join(map(str, negative))
        means = "to be ignored, background or a class"
    elif len(values) > 1 and values[-1] == 255 and list(values[:-1]) == list(range(1, len(values))):
        odd, means = (
            "255",
            f"to be ignored (as in Pascal VOC) or a class beside {listed([str(v) for v in values[:-1]], 5)}",
        )
    else:
        return ""
    number = odd.split(",")[0]
    return (
        f"The label files of {where} hold the value {odd}, which may mean {means}; say it: {_DECIDE}, "
        f"with ignore={number} for voxels to leave out."
    )
