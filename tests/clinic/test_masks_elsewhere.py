"""Masks that Vesal writes are the same in other programs: dcmqi reads segmentations voxel for voxel, plastimatch
rasterises structure sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotation_examples import made_by
from dicom_examples import axial, random_series, write_series
from numpy.typing import NDArray
from referees import dcmqi_segments, needs_dcmqi, needs_plastimatch, plastimatch_masks
from test_stack import orientations
from test_structure_set_writer import oblique
from written_objects import APART, NESTED, written

from vesal.volume.dicom.annotations.made_by import object_bytes
from vesal.volume.dicom.annotations.structure_set_writer import RoiMask, structure_set
from vesal.volume.dicom.series_file import scan_of

pytest.importorskip("highdicom", reason="the extra dicom is not installed")
pytest.importorskip("SimpleITK", reason="SimpleITK, which reads the referees' files, is not installed")
pytestmark = [pytest.mark.clinic, pytest.mark.filterwarnings("ignore::UserWarning")]

#: Along each plane of the body, with axes that go either way; and none of them.
PLANES = [*orientations()[::9], oblique()]


@needs_dcmqi
@pytest.mark.parametrize("affine", PLANES)
@pytest.mark.parametrize(("kind", "labels"), [("dicom-seg", NESTED), ("dicom-labelmap", APART)])
def test_dcmqi_reads_every_voxel(kind: str, labels: Any, affine: NDArray[Any], tmp_path: Path) -> None:
    example = written(tmp_path, labels, kind, affine=affine)
    found = dcmqi_segments(example.files[kind], example.geometry, tmp_path / "out")
    assert len(found) == len(example.masks)
    for number, mask in enumerate(example.masks.values(), start=1):
        assert np.array_equal(found[number], mask)


@needs_plastimatch
def test_plastimatch_rasterises_every_structure(tmp_path: Path) -> None:
    # It reads axial series alone.
    example = written(tmp_path, NESTED, "rtstruct", affine=axial())
    found = plastimatch_masks(example.files["rtstruct"], example.scan, tmp_path / "out")
    assert sorted(found) == sorted(example.masks)
    for name, mask in example.masks.items():
        assert abs(int(found[name].astype(bool).sum()) - int(mask.sum())) <= 0.01 * mask.sum()
        assert np.array_equal(found[name] != 0, mask)


@needs_plastimatch
def test_plastimatch_rasterises_a_contour_of_more_than_64_kilobytes(tmp_path: Path) -> None:
    affine = axial(spacing=(0.703125, 0.703125, 1.25))
    scan = scan_of(write_series(tmp_path / "scan", random_series(shape=(150, 150, 3), affine=affine))[0])
    mask = np.ones(scan.stack.geometry.shape, dtype=bool)
    mask[1:-1:6, 1:-1:6, 1] = False
    regions = [RoiMask("lung", (255, 0, 80), mask)]
    found = structure_set(scan.slices(), scan.stack.geometry, regions, made_by())
    (tmp_path / "rt.dcm").write_bytes(object_bytes(found))
    (drawn,) = plastimatch_masks(tmp_path / "rt.dcm", tmp_path / "scan", tmp_path / "out").values()
    assert np.array_equal(drawn != 0, mask)
