"""Independent programs that judge what Vesal writes: dciodvfy, dcmqi, plastimatch. None of Vesal's code is in them."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vesal.volume.geometry import Geometry


def needs_program(name: str, package: str) -> pytest.MarkDecorator:
    """Skips where a program of Debian's is not installed."""
    return pytest.mark.skipif(
        shutil.which(name) is None, reason=f"{name} (Debian: {package}) is not installed"
    )


needs_dciodvfy = needs_program("dciodvfy", "dicom3tools")
needs_plastimatch = needs_program("plastimatch", "plastimatch")
DCMQI = importlib.util.find_spec("dcmqi")
needs_dcmqi = pytest.mark.skipif(DCMQI is None, reason="dcmqi (pip install dcmqi) is not installed")


def dciodvfy_errors(path: Path) -> list[str]:
    """Sentences in which dciodvfy finds the standard broken."""
    found = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    assert "Error - " in found.stderr or found.returncode == 0, found.stderr
    return [line for line in found.stderr.splitlines() if line.startswith("Error")]


def dcmqi_segments(path: Path, geometry: Geometry, folder: Path) -> dict[int, NDArray[np.bool_]]:
    """Number of a segment -> its mask on the scan's grid, as dcmqi reads it."""
    import json

    folder.mkdir()
    assert DCMQI is not None
    assert DCMQI.origin is not None
    program = Path(DCMQI.origin).with_name("bin") / "segimage2itkimage"
    _run([program, "--inputDICOM", path, "--outputDirectory", folder, "-t", "nrrd", "-p", "seg"])
    found = {}
    described = json.loads((folder / "seg-meta.json").read_text())["segmentAttributes"]
    for file, items in zip(sorted(folder.glob("*.nrrd"), key=_number), described, strict=True):
        for item in items:
            value = item["labelID"]
            found[value] = on_grid(file, geometry, None if len(items) == 1 else value)
    return found


def plastimatch_masks(structures: Path, scan: Path, folder: Path) -> dict[str, NDArray[np.uint8]]:
    """Name of a structure, as plastimatch writes it -> its mask (columns, rows, slices) on the scan's own grid.

    Args:
        structures: a structure set.
        scan: the folder of its series.
        folder: where plastimatch writes.
    """
    import SimpleITK

    _run(["plastimatch", "convert", "--input", structures, "--referenced-ct", scan, "--output-prefix", folder,
          "--prefix-format", "nrrd"])  # fmt: skip
    return {
        file.stem: SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file))).T
        for file in sorted(folder.glob("*.nrrd"))
    }


def on_grid(file: Path, geometry: Geometry, value: int | None = None) -> NDArray[np.bool_]:
    """Where a label map that another program wrote has a value, or any: each voxel at the place in mm that its own
    header gives it, on the scan's grid."""
    import SimpleITK

    image = SimpleITK.ReadImage(str(file))
    array = SimpleITK.GetArrayFromImage(image).T
    inside = np.argwhere(array != 0 if value is None else array == value)
    direction = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    lps = inside @ direction.T + np.array(image.GetOrigin())
    ras = lps * (-1.0, -1.0, 1.0)
    places = np.c_[ras, np.ones(len(ras))] @ np.linalg.inv(geometry.affine).T
    voxels = np.rint(places[:, :3]).astype(int)
    assert np.abs(places[:, :3] - voxels).max(initial=0.0) < 0.01, "between the voxels of the scan"
    found = np.zeros(geometry.shape, dtype=bool)
    found[tuple(voxels.T)] = True
    return found


def centroid(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """In voxels."""
    return np.argwhere(mask).mean(axis=0)


def _number(path: Path) -> int:
    (found,) = re.findall(r"(\d+)\.nrrd$", path.name)
    return int(found)


def _run(command: list[str | Path]) -> None:
    found = subprocess.run([str(one) for one in command], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
