"""The layouts that data sets are converted to: what each holds, how a case is written and how all are described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vesal.convert.records import Described, Scan, Task, Written
from vesal.convert.relabel import Relabelling, consecutive, for_pictures
from vesal.convert.write_slices import describe_pictures, write_pictures
from vesal.convert.write_volumes import (
    describe_msd,
    describe_nifti,
    describe_nnunet,
    write_channels,
    write_whole,
)

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
        relabel: the values that the layout asks for, or None where any will do.
        takes_masks: also label maps without images.
    """

    folders: Folders
    write: Callable[[Scan, Task, Folders], Written]
    describe: Callable[[Path, Described, Folders], list[str]]
    relabel: Callable[[Relabelling], Relabelling] | None = None
    takes_masks: bool = False


TARGETS: dict[str, Target] = {
    # dataset.json, imagesTr, labelsTr, imagesTs; channels in one 4D file
    "msd": Target(_TASK, write_whole, describe_msd),
    # nnU-Net 2: dataset.json, CASE_0000.nii.gz and so on, labels from 0 to K
    "nnunet": Target(_TASK, write_channels, describe_nnunet, consecutive),
    # images and labels as .nii.gz, with manifest.json
    "nifti": Target(_PLAIN, write_whole, describe_nifti, takes_masks=True),
    # images and labels as slices, with slices.json for the way back and manifest.json
    "png": Target(_PLAIN, write_pictures, describe_pictures, for_pictures),
}
