"""Surfaces as one binary STL file, which printers and CAD programs take.

Coordinates: the patient's, in millimetres, RAS+. The format has neither units, names nor colours: of several classes
the surfaces follow one another in the file.

Format: 3D Systems, StereoLithography Interface Specification (1988): 80 bytes of header, the number of triangles, and
of each its normal, its corners and two bytes of nothing, little-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vesal.errors import DataError
from vesal.files import write_bytes
from vesal.report.figures.surfaces import Mesh

_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("nothing", "<u2")])
_HEADER = 80


def write_stl(path: Path, meshes: Sequence[Mesh | None], classes: Sequence[str]) -> None:
    """Write `stl_bytes`, whole or not at all.

    Raises:
        DataError: there is no surface at all.
        VesalError: the file cannot be written.
    """
    write_bytes(path, stl_bytes(meshes, classes))


def stl_bytes(meshes: Sequence[Mesh | None], classes: Sequence[str]) -> bytes:
    """A binary STL of all surfaces.

    Args:
        meshes: of each class, None where it has none.
        classes: their names, for the header.

    Raises:
        DataError: there is no surface at all.
    """
    found = [mesh for mesh in meshes if mesh is not None]
    if not found:
        raise DataError("There is no surface to write: the label map is empty.")
    triangles = np.concatenate([_triangles(mesh) for mesh in found])
    # Readers take a file whose header begins with "solid" for text.
    header = f"vesal, RAS mm: {', '.join(classes)}".encode("ascii", "replace")[:_HEADER]
    return header.ljust(_HEADER) + np.uint32(len(triangles)).astype("<u4").tobytes() + triangles.tobytes()


def _triangles(mesh: Mesh) -> NDArray[np.void]:
    corners = mesh.vertices[mesh.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    found = np.zeros(len(corners), dtype=_TRIANGLE)
    # Of a triangle without an area there is none.
    found["normal"] = np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)
    found["corners"] = corners
    return found
