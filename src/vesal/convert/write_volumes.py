"""Writers of layouts of volumes: Medical Segmentation Decathlon, nnU-Net 2, and two plain folders with a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isal import igzip

from vesal.convert.records import Described, Scan, Task, Written, manifest_entry
from vesal.data.case import grid_tolerance_mm
from vesal.data.dataset import Case
from vesal.data.folds import make_folds
from vesal.data.labels import LabelSet, left_right_pairs
from vesal.errors import DataError, UsageError
from vesal.files import write_bytes, write_json
from vesal.text import times
from vesal.volume.formats.raw_bytes import is_gzip, is_nifti, read_bytes
from vesal.volume.io import write_label, write_volume
from vesal.volume.volume import LabelMap, Volume

_ENDING = ".nii.gz"
#: nnU-Net trains five folds.
_FOLDS = 5


def write_whole(scan: Scan, task: Task, folders: Mapping[str, str]) -> Written:
    """One file with all channels, one with the label.

    Args:
        scan: to be written.
        task: what all cases share.
        folders: 'images', 'labels', 'test_images', 'test_labels' -> folder below the task's.
    """
    files: list[Path] = []
    if scan.image is not None:
        path = task.out / _folder(folders, "images", scan) / f"{scan.case.id}{_ENDING}"
        if not _copied(scan.image_file, path):
            write_volume(path, scan.image)
        files.append(path)
    return _with_label(scan, task, folders, files)


def write_channels(scan: Scan, task: Task, folders: Mapping[str, str]) -> Written:
    """CASE_0000, CASE_0001, ...: one file a channel, and one with the label."""
    assert scan.image is not None
    files = []
    for channel in range(scan.image.channels):
        path = task.out / _folder(folders, "images", scan) / f"{scan.case.id}_{channel:04d}{_ENDING}"
        if scan.image.channels > 1 or not _copied(scan.image_file, path):
            write_volume(path, Volume(scan.image.array[channel : channel + 1], scan.image.geometry))
        files.append(path)
    return _with_label(scan, task, folders, files)


def off_grid(scan: Scan) -> str:
    """What is wrong between the grids of image and label, or ''.

    Raises:
        DataError: they have different numbers of voxels.
    """
    if scan.image is None or scan.label is None:
        return ""
    image, label = scan.image.geometry, scan.label.geometry
    if image.shape != label.shape:
        shapes = " and ".join(times(grid.shape) for grid in (image, label))
        raise DataError(
            f"Case {scan.case.id}: image and label have different shapes ({shapes}); resample one onto the other."
        )
    distance = image.distance_mm(label)
    return f"image and label lie {distance:.3g} mm apart" if distance > grid_tolerance_mm(image) else ""


def _with_label(scan: Scan, task: Task, folders: Mapping[str, str], files: list[Path]) -> Written:
    remark = off_grid(scan)
    if scan.label is not None:
        path = task.out / _folder(folders, "labels", scan) / f"{scan.case.id}{_ENDING}"
        if task.relabelling.changes or not _copied(scan.label_file, path):
            write_label(path, LabelMap(task.relabelling.apply(scan.label.array), scan.label.geometry))
        files.append(path)
    grid = scan.image or scan.label
    return Written.of(
        scan,
        task,
        [file.relative_to(task.out).as_posix() for file in files],
        ndim=3 if grid is None else grid.geometry.ndim,
        remark=f"Case {scan.case.id}: {remark}, and were copied so." if remark else "",
    )


def _folder(folders: Mapping[str, str], kind: str, scan: Scan) -> str:
    return folders[f"test_{kind}" if scan.test else kind]


def _copied(source: Path | None, path: Path) -> bool:
    """Whether `source` is NIfTI, and then its very bytes are at `path`: header, scale and position stay as they are."""
    if source is None or not is_nifti(source):
        return False
    data = read_bytes(source)
    write_bytes(path, data if is_gzip(data) else igzip.compress(data, 1, mtime=0))
    return True


# --- descriptions ------------------------------------------------------------------------------------------


def describe_msd(out: Path, described: Described, folders: Mapping[str, str]) -> list[str]:
    """dataset.json of the Decathlon; regions, pairs, patients and annotated lists are Vesal's own entries."""
    training = described.training
    tests = [one for one in described.written if one.test]
    values = _values(described.labels)
    # {"0": "background"} is theirs; a label whose name is a number needs the other direction.
    numbered = any(name.lstrip("+-").isdigit() for name in values)
    write_json(
        out / "dataset.json",
        {
            "name": described.name,
            **described.credits,
            "tensorImageSize": f"{described.written[0].ndim + (len(described.channels) > 1)}D",
            "modality": {str(i): name for i, name in enumerate(described.channels)},
            "labels": values if numbered else {str(value): name for name, value in values.items()},
            **_regions(described.labels),
            **_own_entries(described),
            "numTraining": len(training),
            "numTest": len(tests),
            "training": [
                {
                    "image": f"./{folders['images']}/{one.id}{_ENDING}",
                    "label": f"./{folders['labels']}/{one.id}{_ENDING}",
                }
                for one in training
            ],
            "test": [f"./{folders['test_images']}/{one.id}{_ENDING}" for one in tests],
        },
    )
    return _partly_annotated(described, "the Decathlon's layout")


def describe_nnunet(out: Path, described: Described, folders: Mapping[str, str]) -> list[str]:
    """dataset.json of nnU-Net 2, and splits_final.json where its own split, by case, would leak."""
    training = described.training
    remarks = _partly_annotated(described, "nnU-Net")
    json: dict[str, Any] = {
        "name": described.name,
        **described.credits,
        "channel_names": {str(i): name for i, name in enumerate(described.channels)},
        "numTraining": len(training),
        "file_ending": _ENDING,
    }
    write_json(out / "dataset.json", json | _nnunet_labels(described.labels) | _own_entries(described))
    lone = set(described.labels.names) - {
        name for region in described.labels.regions for name in region.members
    }
    if described.labels.regions and lone:
        remarks.append(
            f"{', '.join(sorted(lone))} is in no region, so nnU-Net takes it for background; Vesal does not."
        )
    return remarks + _split_for_nnunet(out, training, described.seed)


def describe_manifest(out: Path, described: Described, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """manifest.json, which Vesal reads before anything else; `entries` are its cases."""
    manifest = {
        "name": described.name,
        **described.credits,
        "channels": list(described.channels),
        "labels": _values(described.labels),
        "regions": {region.name: list(region.members) for region in described.labels.regions},
        "pairs": [list(pair) for pair in described.labels.pairs],
        "cases": list(entries),
    }
    write_json(out / "manifest.json", manifest)
    return []


def describe_nifti(out: Path, described: Described, folders: Mapping[str, str]) -> list[str]:
    """manifest.json beside images/ and labels/; nothing where there are only masks."""
    entries = []
    for one in described.written:
        image = f"{folders['test_images' if one.test else 'images']}/{one.id}{_ENDING}"
        label = None if one.test else f"{folders['labels']}/{one.id}{_ENDING}"
        if image in one.files:
            entries.append(manifest_entry(one, one.id, [image], label, one.slice_of))
    return describe_manifest(out, described, entries) if entries else []


def _values(labels: LabelSet) -> dict[str, int]:
    """Names -> values, background first and ignore last."""
    values = {"background": labels.background} | {label.name: label.value for label in labels.labels}
    return values if labels.ignore is None else values | {"ignore": labels.ignore}


def _regions(labels: LabelSet) -> dict[str, Any]:
    regions = {region.name: list(region.members) for region in labels.regions}
    return {"regions": regions} if regions else {}


def _own_entries(described: Described) -> dict[str, Any]:
    """Vesal's own: what the layouts have no place for, and other readers pass over."""
    own: dict[str, Any] = {}
    if described.labels.pairs != left_right_pairs(described.labels.names):
        own["pairs"] = [list(pair) for pair in described.labels.pairs]
    if any(one.patient != one.id for one in described.written):
        own["patients"] = {one.id: one.patient for one in described.written}
    annotated = {one.id: list(one.annotated) for one in described.written if one.annotated is not None}
    if annotated:
        own["annotated"] = annotated
    if places := {one.id: one.slice_of.to_dict() for one in described.written if one.slice_of is not None}:
        own["slices"] = places
    return own


def _partly_annotated(described: Described, reader: str) -> list[str]:
    partly = sum(one.annotated is not None for one in described.training)
    if not partly:
        return []
    return [
        f"In {partly} cases only some labels were drawn; Vesal reads that in dataset.json, but other readers of "
        f"{reader} take what was not drawn for background."
    ]


def _nnunet_labels(labels: LabelSet) -> dict[str, Any]:
    """ "labels", and for regions "regions_class_order", as nnU-Net 2 has them.

    Regions are lists of values, and the order says which value is painted where a region is and no later one
    (nnU-Net, documentation/region_based_training.md). Names of the single labels are Vesal's own entry.
    """
    if all(len(region.members) == 1 for region in labels.regions):
        return {"labels": _values(labels)} | _regions(labels)
    value = {label.name: label.value for label in labels.labels}
    declared: dict[str, Any] = {"background": labels.background}
    order = []
    for index, region in enumerate(labels.regions):
        members = [value[name] for name in region.members]
        declared[region.name] = members[0] if len(members) == 1 else sorted(members)
        inner = {name for later in labels.regions[index + 1 :] for name in later.members}
        order.append(next(value[name] for name in region.members if name not in inner))
    if labels.ignore is not None:
        declared["ignore"] = labels.ignore
    return {"labels": declared, "regions_class_order": order, "label_names": value}


def _split_for_nnunet(out: Path, training: Sequence[Written], seed: int) -> list[str]:
    """nnU-Net draws its folds by case: where cases belong together, splits_final.json keeps them so."""
    scans: dict[str, list[str]] = {}
    for one in training:
        scans.setdefault(one.digest, []).append(one.id)
    duplicates = [group for digest, group in scans.items() if digest and len(group) > 1]
    if not duplicates and len({one.patient for one in training}) == len(training):
        return []
    cases = [Case(id=one.id, images=(), patient=one.patient) for one in training]
    for count in range(_FOLDS, 1, -1):
        try:
            folds = make_folds(cases, folds=count, seed=seed, together=duplicates)
        except UsageError:  # fewer groups than folds
            continue
        write_json(
            out / "splits_final.json",
            [{"train": list(folds.train(k)), "val": list(folds.validation(k))} for k in range(count)],
        )
        return [
            "Several scans belong together (one patient, or the same voxels), which nnU-Net's own split would tear "
            f"apart: put splits_final.json ({count} folds) into the data set's folder in nnUNet_preprocessed."
        ]
    return []
