"""What a dataset.json says: its entries, the files that it names, the channels, the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.files import read_json
from vesal.layouts.scan_files import declared_labels, declared_pairs, on_disk, with_threshold


def description(root: Path) -> dict[str, Any]:
    """The object in `root`/dataset.json; a DataError says what it should hold."""
    path = root / "dataset.json"
    if not path.is_file() and (root / "imagesTr").is_dir() and (root / "labelsTr").is_dir():
        raise DataError(
            f"{root} has imagesTr and labelsTr but no dataset.json; add it, or read the folder with layout 'pairs', "
            "which finds the label values itself."
        )
    if not path.is_file():
        raise DataError(f"{root} has no dataset.json, which layout 'msd' needs; give the folder that has it.")
    json = read_json(path)
    if not isinstance(json, dict):
        raise DataError(
            f"{path} is not a description of a data set: it needs 'training', 'labels' and 'modality'."
        )
    return json


def listed_entries(json: Mapping[str, Any], key: str, root: Path) -> Sequence[Any]:
    """The list under `key`, [] where there is none; a DataError where it is something else."""
    entries = json.get(key, [])
    if not isinstance(entries, list):
        raise DataError(f"'{key}' in {root / 'dataset.json'} is not a list.")
    return entries


def inside(root: Path, entry: object) -> Path:
    """The path of an entry such as './imagesTr/a.nii.gz' or, from Windows, '.\\imagesTr\\a.nii.gz'.

    Raises:
        DataError: it leads out of the folder `root`, or is no path.
    """
    path = PurePosixPath(str(entry))
    if "\\" in path.as_posix() and not root.joinpath(path).exists():
        path = PurePosixPath(PureWindowsPath(str(entry)).as_posix())
    if path.is_absolute() and path.is_relative_to(root.as_posix()):
        path = path.relative_to(root.as_posix())
    bad = not isinstance(entry, str) or path.is_absolute() or ".." in path.parts or not path.parts
    if bad or "\0" in str(entry) or PureWindowsPath(str(entry)).drive:
        raise DataError(
            f"{root / 'dataset.json'} names {entry!r}, which is not a file in its folder; correct the entry."
        )
    return on_disk(root.joinpath(*path.parts))


def json_channels(json: Mapping[str, Any], root: Path) -> tuple[str, ...]:
    """Names by number, {"0": "CT"}, in either direction, or a list.

    Raises:
        DataError: there are none, or a number or a name is given to two channels.
    """
    named = json.get("channel_names", json.get("modality"))
    if isinstance(named, Mapping):
        named = _numbered_channels(named, root / "dataset.json")
    if isinstance(named, str):
        named = [named]
    if not isinstance(named, list) or not named:
        raise DataError(
            f'{root / "dataset.json"} does not name its channels; add "modality": {{"0": "MRI"}}.'
        )
    return tuple(str(name) for name in named)


def _numbered_channels(named: Mapping[str, Any], path: Path) -> list[str]:
    if all(map(_is_integer, named)):
        numbers = {_integer(number, path): str(name) for number, name in named.items()}
    elif all(map(_is_integer, named.values())):
        numbers = {_integer(number, path): name for name, number in named.items()}
    else:
        raise DataError(f'{path} does not number its channels; write them as "channel_names": {{"0": "CT"}}.')
    if len(numbers) < len(named):
        raise DataError(f"{path} gives two channels one number; give each its own.")
    return [numbers[number] for number in sorted(numbers)]


def labels_beside(root: Path) -> LabelSet | None:
    """What a dataset.json declares in a folder of another layout; None without one, or without labels in it."""
    if not (root / "dataset.json").is_file():
        return None
    json = description(root)
    return json_labels(json, root / "dataset.json") if json.get("labels") else None


def json_labels(json: Mapping[str, Any], path: Path) -> LabelSet:
    """The labels that a dataset.json, the file `path`, declares."""
    return with_threshold(_named_labels(json, path), json, path)


def _named_labels(json: Mapping[str, Any], path: Path) -> LabelSet:
    """Labels in either direction: {"0": "background"} as MSD has them or {"background": 0} as nnU-Net 2 has them.

    A list of values is a region, as in nnU-Net 2; the plain names beside it are then regions of one value.
    """
    named = json.get("labels")
    if not isinstance(named, Mapping) or not named:
        raise DataError(
            f'{path} does not declare its labels; add "labels": {{"0": "background", "1": "..."}}.'
        )
    entries: dict[str, list[int]] = {}
    for key, value in named.items():
        values, name = (value, key) if isinstance(value, list) else ([value], key)
        if _is_integer(key) and not isinstance(value, list) and not _is_integer(value):
            values, name = [key], value
        if str(name) in entries:
            raise DataError(f"{path} calls two label values '{name}'; give each its own name.")
        entries[str(name)] = [_integer(item, path) for item in values]
    if all(len(values) == 1 for values in entries.values()):
        return declared_labels(
            {name: values[0] for name, values in entries.items()},
            path,
            regions=_named_regions(json, path),
            pairs=declared_pairs(json, path),
        )
    named = json.get("label_names", {})
    if not isinstance(named, Mapping):
        raise DataError(f'{path}: "label_names" gives each label its value, such as {{"oedema": 2}}.')
    return _region_labels(
        entries,
        json.get("regions_class_order"),
        path,
        declared_pairs(json, path),
        {_integer(value, path): str(name) for name, value in named.items()},
    )


def _named_regions(json: Mapping[str, Any], path: Path) -> dict[str, list[str]] | None:
    """Vesal's own "regions": {"whole tumour": ["oedema", ...]}, outer before inner, beside plain labels."""
    regions = json.get("regions")
    if regions is None:
        return None
    if not isinstance(regions, Mapping) or not all(isinstance(members, list) for members in regions.values()):
        raise DataError(f'{path}: "regions" gives each region a list of label names; correct or remove it.')
    return {str(name): [str(member) for member in members] for name, members in regions.items()}


def _region_labels(
    entries: Mapping[str, list[int]],
    order: object,
    path: Path,
    pairs: Sequence[tuple[str, str]] | None,
    label_names: Mapping[int, str],
) -> LabelSet:
    """Where a region holds several values that no inner one has, `regions_class_order` says which is painted:
    that one comes first. `label_names` are Vesal's own, for nnU-Net names regions alone.
    """
    special = {
        name: values[0] for name, values in entries.items() if name.lower() in ("background", "ignore")
    }
    regions = {name: sorted(values) for name, values in entries.items() if name not in special}
    singles = {values[0]: name for name, values in regions.items() if len(values) == 1}
    every = sorted({value for values in regions.values() for value in values} | set(label_names))
    names = {value: label_names.get(value) or singles.get(value, f"label_{value}") for value in every}
    if isinstance(order, list) and len(order) == len(regions):
        for values, painted in zip(regions.values(), order, strict=True):
            if painted in values:
                values.insert(0, values.pop(values.index(painted)))
    return declared_labels(
        special | {names[value]: value for value in every},
        path,
        regions={name: [names[value] for value in values] for name, values in regions.items()},
        pairs=pairs,
    )


def _is_integer(value: object) -> bool:
    try:
        return float(str(value)).is_integer()
    except ValueError:
        return False


def _integer(value: object, path: Path) -> int:
    if isinstance(value, bool) or not _is_integer(value):
        raise DataError(f"{path} gives {value!r} as a label value; a whole number is wanted.")
    return int(float(str(value)))
