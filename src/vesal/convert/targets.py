"""The layouts that data sets are converted to: what each holds, how a case is written and how all are described."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from vesal.convert.records import Described, Scan, Task, Written
from vesal.convert.relabel import Relabelling, consecutive, for_pictures
from vesal.convert.slices import SIDECAR
from vesal.convert.write_slices import describe_pictures, write_pictures
from vesal.convert.write_volumes import (
    describe_msd,
    describe_nifti,
    describe_nnunet,
    write_channels,
    write_whole,
)
from vesal.volume.io import strip_suffix

_TASK = {"images": "imagesTr", "labels": "labelsTr", "test_images": "imagesTs", "test_labels": "labelsTs"}
_PLAIN = {"images": "images", "labels": "labels", "test_images": "imagesTs", "test_labels": "labelsTs"}

Folders = Mapping[str, str]


@dataclass(frozen=True)
class Target:
    """One layout to convert to.

    Attributes:
        folders: 'images', 'labels', 'test_images', 'test_labels' -> folder.
        write: one case -> its files.
        describe: (folder, what is in it, folders) -> remarks; writes the description.
        descriptions: names of the files that it may write.
        relabel: the values that the layout asks for, or None where any will do.
        takes_masks: also label maps without images.
    """

    folders: Folders
    write: Callable[[Scan, Task, Folders], Written]
    describe: Callable[[Path, Described, Folders], list[str]]
    descriptions: tuple[str, ...]
    relabel: Callable[[Relabelling], Relabelling] | None = None
    takes_masks: bool = False

    def files_there(self, out: Path, cases: Collection[str]) -> list[Path]:
        """Files below `out` that have the place of one of these cases, or of a slice or channel of it."""
        found = []
        for folder in sorted({out / name for name in self.folders.values()}):
            if folder.is_dir():
                found += [path for path in sorted(folder.iterdir()) if not cases_of(path).isdisjoint(cases)]
        return found


def cases_of(path: Path) -> set[str]:
    """The cases that a file may be written for, by its name.

    >>> sorted(cases_of(Path("imagesTr/heart_0001.nii.gz")))
    ['heart', 'heart_0001']
    >>> sorted(cases_of(Path("images/lung_slice_0042_0000.png")))
    ['lung', 'lung_slice_0042', 'lung_slice_0042_0000']
    """
    stem = strip_suffix(path)
    return {stem, re.sub(r"_\d{4}$", "", stem), re.sub(r"_slice_\d+(_\d{4})?$", "", stem)}


TARGETS: dict[str, Target] = {
    # dataset.json, imagesTr, labelsTr, imagesTs; channels in one 4D file
    "msd": Target(_TASK, write_whole, describe_msd, ("dataset.json",)),
    # nnU-Net 2: dataset.json, CASE_0000.nii.gz and so on, labels from 0 to K
    "nnunet": Target(
        _TASK, write_channels, describe_nnunet, ("dataset.json", "splits_final.json"), consecutive
    ),
    # images and labels as .nii.gz, with manifest.json
    "nifti": Target(_PLAIN, write_whole, describe_nifti, ("manifest.json",), takes_masks=True),
    # images and labels as slices, with slices.json for the way back and manifest.json
    "png": Target(_PLAIN, write_pictures, describe_pictures, (SIDECAR, "manifest.json"), for_pictures),
}
