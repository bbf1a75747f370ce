"""4D files are split, and channels brought onto one grid."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from organs import AFFINE, SHAPE, finding, image_of, label_of, load, only, save

from vesal.audit.apply_fixes import fix_case
from vesal.audit.reference_cases import ReferenceCases
from vesal.layouts.registry import load_dataset
from vesal.workflow.inspect import fix_run


def test_an_nnunet_case_in_one_4d_file_is_split_into_a_file_a_channel(clean: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Dataset001_Organ"
    for number in range(5):
        image, _ = load(image_of(clean, number))
        if number == 2:
            save(folder / "imagesTr" / f"case_{number}_0000.nii.gz", image)
        else:
            for channel in (0, 1):
                save(folder / "imagesTr" / f"case_{number}_000{channel}.nii.gz", image[..., channel])
        (folder / "labelsTr").mkdir(exist_ok=True)
        shutil.copyfile(label_of(clean, number), label_of(folder, number))
    labels = {"background": 0, "rind": 1, "kernel": 2}
    described = {
        "channel_names": {"0": "T2", "1": "ADC"},
        "labels": labels,
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    assert len(load_dataset(folder).cases) == 4
    result = fix_run(folder, tmp_path / "out", pictures=0)
    dataset = load_dataset(result.folder)
    assert dataset.layout == "nnunet"
    assert len(dataset.cases) == 5
    image, _ = load(image_of(clean, 2))
    for channel in (0, 1):
        split, _ = load(result.folder / "imagesTr" / f"case_2_000{channel}.nii.gz")
        np.testing.assert_array_equal(split, image[..., channel])


def test_channels_on_different_grids_are_brought_onto_that_of_the_label(
    clean: Path, tmp_path: Path, others: ReferenceCases
) -> None:
    folder = tmp_path / "Dataset002_Organ"
    for number in range(5):
        image, _ = load(image_of(clean, number))
        save(folder / "imagesTr" / f"case_{number}_0000.nii.gz", image[..., 0])
        second = image[..., 1].astype(np.float32)
        if number == 2:  # half as fine along the first axis, its voxels between those of the first channel
            second = (second[::2] + second[1::2]) / 2
        grid = AFFINE @ np.array([[2, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        save(folder / "imagesTr" / f"case_{number}_0001.nii.gz", second, grid if number == 2 else AFFINE)
        (folder / "labelsTr").mkdir(exist_ok=True)
        shutil.copyfile(label_of(clean, number), label_of(folder, number))
    labels = {"background": 0, "rind": 1, "kernel": 2}
    described = {
        "channel_names": {"0": "T2", "1": "ADC"},
        "labels": labels,
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    case = load_dataset(folder).cases[2]
    result = fix_case(case, [finding(case.id, "channel-grid")], others, folder)
    assert only(result).outcome == "fixed"
    assert result.files is not None
    volume = result.files[folder / "imagesTr" / "case_2_0001.nii.gz"]
    assert volume.geometry.shape == SHAPE
    wanted = load(image_of(clean, 2))[0][..., 1].astype(float)
    assert np.corrcoef(volume.array[0].ravel(), wanted.ravel())[0, 1] > 0.95
