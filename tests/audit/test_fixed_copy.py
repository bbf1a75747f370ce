"""The fixed copy of data from several folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import tifffile
from organs import image_of, label_of, load, moved, rewrite, save

from vesal.data.dataset import Dataset
from vesal.layouts.registry import load_dataset
from vesal.volume.formats.nrrd import encode
from vesal.volume.io import read_geometry, read_label, read_segments
from vesal.volume.segments import Segment
from vesal.volume.volume import Volume
from vesal.workflow.inspect import fix_run


def test_files_from_elsewhere_come_together_with_a_manifest(clean: Path, tmp_path: Path) -> None:
    rewrite(Path(shutil.copyfile(label_of(clean, 1), tmp_path / "odd.nii.gz")), moved((0.2, 0, 0)))
    cases = [
        {
            "id": f"p{number}",
            "image": str(image_of(clean, number)),
            "label": str(tmp_path / "odd.nii.gz" if number == 1 else label_of(clean, number)),
            "patient": f"patient_{number // 2}",
        }
        for number in range(6)
    ]
    (tmp_path / "data").mkdir()
    labels = {"background": 0, "rind": 1, "kernel": 2}
    manifest = {"channels": ["T2", "ADC"], "labels": labels, "cases": cases}
    (tmp_path / "data" / "manifest.json").write_text(json.dumps(manifest))
    result = fix_run(tmp_path / "data", tmp_path / "out", pictures=0)
    dataset: Dataset = load_dataset(result.folder)
    assert [(case.id, case.patient) for case in dataset.cases] == [
        (case["id"], case["patient"]) for case in cases
    ]
    assert all(path.is_relative_to(result.folder) for case in dataset.cases for path in case.images)
    assert {record.kind for record in result.records} == {"label-grid"}


def test_the_spacing_beside_a_tiff_from_elsewhere_goes_with_it(clean: Path, tmp_path: Path) -> None:
    cases = []
    for number in range(6):
        entry = {"id": f"p{number}"}
        for kind, path in (("image", image_of(clean, number)), ("label", label_of(clean, number))):
            array = load(path)[0].astype(np.uint8)
            name = tmp_path / "scans" / f"{kind}{number}.tif"
            name.parent.mkdir(exist_ok=True)
            tifffile.imwrite(name, array.reshape(*array.shape[:3], -1)[..., 0].T, photometric="minisblack")
            name.with_suffix(".json").write_text('{"spacing": [3, 2, 1]}')
            entry[kind] = str(name)
        cases.append(entry)
    tifffile.imwrite(tmp_path / "scans" / "label1.tif", np.zeros((1, 1), np.uint8))
    (tmp_path / "data").mkdir()
    manifest = {
        "channels": ["T2"],
        "labels": {"background": 0, "rind": 1, "kernel": 2},
        "cases": cases,
    }
    (tmp_path / "data" / "manifest.json").write_text(json.dumps(manifest))
    result = fix_run(tmp_path / "data", tmp_path / "out", pictures=0)
    found = [path for case in load_dataset(result.folder).cases for path in case.files]
    assert len(found) == 10
    assert {read_geometry(path).spacing_mm for path in found} == {(1.0, 2.0, 3.0)}


def test_what_nnunet_1_lists_without_the_channel_stays_listed(clean: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    names = [f"case_{number}.nii.gz" for number in range(6)]
    for number, name in enumerate(names):
        array, affine = load(image_of(clean, number))
        for channel in range(2):
            save(root / "imagesTr" / f"case_{number}_{channel:04d}.nii.gz", array[..., channel], affine)
        save(root / "labelsTr" / name, *load(label_of(clean, number)))
    rewrite(root / "labelsTr" / names[1], moved((0.2, 0, 0)))
    training = [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]
    labels = {"0": "background", "1": "rind", "2": "kernel"}
    about = {"modality": {"0": "T2", "1": "ADC"}, "labels": labels, "numTraining": 6, "training": training}
    (root / "dataset.json").write_text(json.dumps(about))
    result = fix_run(root, tmp_path / "out", pictures=0)
    assert json.loads((result.folder / "dataset.json").read_text()) == about


def test_cases_that_are_listed_with_paths_of_windows_stay_listed(clean: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(clean, tmp_path / "data"))
    about = json.loads((root / "dataset.json").read_text())
    for entry in about["training"]:
        entry.update({key: path.replace("/", "\\") for key, path in entry.items()})
    (root / "dataset.json").write_text(json.dumps(about))
    rewrite(label_of(root, 1), moved((0.2, 0, 0)))
    result = fix_run(root, tmp_path / "out", pictures=0)
    assert json.loads((result.folder / "dataset.json").read_text())["training"] == about["training"]
    assert load_dataset(result.folder).layout == "msd"


def test_a_segmentation_of_slicer_keeps_names_and_colours_where_it_is_fixed(
    clean: Path, tmp_path: Path
) -> None:
    segments = (Segment("rind", 1, 0, more={"Color": "1 0.5 0"}), Segment("kernel", 2, 0))
    for number in range(6):
        (tmp_path / "data" / "images").mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "labels").mkdir(exist_ok=True)
        shutil.copyfile(image_of(clean, number), tmp_path / "data" / "images" / f"c{number}.nii.gz")
        odd = Path(shutil.copyfile(label_of(clean, number), tmp_path / "odd.nii.gz"))
        if number == 1:
            rewrite(odd, moved((0.2, 0, 0)))
        label = read_label(odd)
        path = tmp_path / "data" / "labels" / f"c{number}.seg.nrrd"
        path.write_bytes(encode(path, Volume(label.array[None], label.geometry), segments))
    result = fix_run(tmp_path / "data", tmp_path / "out", pictures=0)
    assert [(record.case, record.kind) for record in result.records] == [("c1", "label-grid")]
    fixed = result.folder / "labels" / "c1.seg.nrrd"
    assert [(one.name, one.value, one.more.get("Color")) for one in read_segments(fixed)] == [
        ("rind", 1, "1 0.5 0"),
        ("kernel", 2, None),
    ]
    assert (read_label(fixed).array == read_label(label_of(clean, 1)).array).all()
    assert load_dataset(result.folder).labels.names == ("rind", "kernel")
