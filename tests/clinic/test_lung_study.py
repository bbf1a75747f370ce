"""A lung CT with its structure set (LUNG1-003 of NSCLC-Radiomics): what Vesal makes of the contours, and what it writes
of that, agree with plastimatch and dcmqi."""

from __future__ import annotations

import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from annotation_examples import made_by
from numpy.typing import NDArray
from referees import centroid, dcmqi_segments, needs_dcmqi, needs_plastimatch, plastimatch_masks

from vesal.volume.dicom import series_file
from vesal.volume.dicom.annotations.segmentation_writer import SegmentLabel, segmentation
from vesal.volume.dicom.annotations.structure_set_writer import RoiMask, structure_set
from vesal.volume.dicom.dicom_scan import DicomScan
from vesal.volume.dicom.series import STRUCTURE_SET, read_study
from vesal.volume.dicom.source import open_source

pytest.importorskip("highdicom", reason="the extra dicom is not installed")
pytest.importorskip("SimpleITK", reason="SimpleITK, which reads the referees' files, is not installed")
pytestmark = [pytest.mark.clinic, pytest.mark.filterwarnings("ignore::UserWarning")]

#: Structures of the collection's own description.
NAMED = ("GTV-1", "GTV-2", "GTV-3", "Lung L", "Lung R", "Heart", "Esophagus", "Spinal cord")


@dataclass(frozen=True, eq=False)
class LungStudy:
    """The study.

    Attributes:
        folder: of all its objects.
        structures: its own structure set.
        masks: name of a structure -> (columns, rows, slices), as Vesal rasterises it.
        ct: the folder of the series alone.
    """

    folder: Path
    structures: Path
    scan: DicomScan
    masks: dict[str, NDArray[np.bool_]]
    ct: Path


@pytest.fixture(scope="module")
def study(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> LungStudy:
    archive = data_dir / "LUNG1-003" / "LUNG1-003.zip"
    if not archive.is_file():
        pytest.skip(f"the real scans hold no {archive}")
    folder = tmp_path_factory.mktemp("lung")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    found = read_study(open_source(folder))
    (annotation,) = (one for one in found.annotations if one.kind == STRUCTURE_SET)
    structures = folder / annotation.file
    series = next(one for one in found.series if one.uid in annotation.series)
    paths = [folder / frame.file for frame in series.frames]
    layers, _, segments = series_file.read_layers(structures)
    masks = {one.name: layers[one.layer] == one.value for one in segments}
    ct = tmp_path_factory.mktemp("ct")
    for path in paths:
        shutil.copy(path, ct / path.name)
    return LungStudy(folder, structures, series_file.scan_of(paths[0]), masks, ct)


def by_name(masks: dict[str, NDArray[np.uint8]], name: str) -> NDArray[np.bool_]:
    """A structure of plastimatch's, which writes other characters in place of blanks and slashes."""
    plain = {re.sub("[^a-z0-9]", "", key.lower()): mask for key, mask in masks.items()}
    return plain[re.sub("[^a-z0-9]", "", name.lower())] != 0


def agree(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> None:
    """Within 1 % of the volume and 0.1 voxel of the centroid."""
    assert abs(int(ours.sum()) - int(theirs.sum())) <= 0.01 * theirs.sum()
    assert np.abs(centroid(ours) - centroid(theirs)).max() <= 0.1


@needs_plastimatch
def test_its_structures_have_the_volumes_that_plastimatch_finds(study: LungStudy, tmp_path: Path) -> None:
    theirs = plastimatch_masks(study.structures, study.ct, tmp_path / "out")
    assert set(NAMED) <= set(study.masks)
    for name, mask in study.masks.items():
        agree(mask, by_name(theirs, name))


@needs_dcmqi
@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_they_go_out_as_a_segmentation(study: LungStudy, kind: str, tmp_path: Path) -> None:
    masks = study.masks if kind == "binary" else apart(study.masks)
    labels = [SegmentLabel(name, (200, 30, 60)) for name in masks]
    stacked = np.stack(list(masks.values()))
    if kind == "labelmap":
        numbers = np.arange(1, len(masks) + 1, dtype=np.uint8)[:, None, None, None]
        stacked = (stacked * numbers).sum(axis=0, dtype=np.uint8)
    grid = study.scan.stack.geometry
    written = segmentation(study.scan.slices(), grid, labels, stacked, made_by(), kind)
    written.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    theirs = dcmqi_segments(tmp_path / "seg.dcm", grid, tmp_path / "out")
    assert len(theirs) == len(masks)
    for number, mask in enumerate(masks.values(), start=1):
        assert np.array_equal(theirs[number], mask)


@needs_plastimatch
def test_they_go_out_as_a_structure_set(study: LungStudy, tmp_path: Path) -> None:
    regions = [RoiMask(name, (200, 30, 60), mask) for name, mask in study.masks.items()]
    written = structure_set(study.scan.slices(), study.scan.stack.geometry, regions, made_by())
    written.save_as(tmp_path / "rt.dcm", enforce_file_format=True)
    theirs = plastimatch_masks(tmp_path / "rt.dcm", study.ct, tmp_path / "out")
    for name, mask in study.masks.items():
        agree(mask, by_name(theirs, name))


def apart(masks: dict[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.bool_]]:
    """The structures without what an earlier one holds: a label map has one value a voxel."""
    taken = np.zeros(next(iter(masks.values())).shape, dtype=bool)
    found = {}
    for name, mask in masks.items():
        if (own := mask & ~taken).any():
            found[name] = own
        taken |= mask
    return found
