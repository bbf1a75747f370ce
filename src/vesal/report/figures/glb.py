"""Surfaces as one binary glTF 2.0 file (.glb), which browsers, Blender, PowerPoint and 3D viewers open.

Coordinates: the stored positions are the patient's, in millimetres, RAS+ (x to the right, y to the front, z to the
head), as everywhere in Vesal. glTF's scenes are in metres with Y up and the front towards +Z; each group's node
carries the matrix between the two: a turn and a scale of 1/1000, no mirroring, so the patient stands upright, faces
+Z and has the left hand at +X. The file states this too, in asset.extras.

Format: Khronos glTF 2.0, https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html (also ISO/IEC 12113:2022).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.files import write_bytes
from vesal.report.figures.colours import class_colours, rgb
from vesal.report.figures.render import class_opacities
from vesal.report.figures.surfaces import Mesh
from vesal.version import __version__

_MAGIC, _VERSION, _JSON, _BIN = 0x46546C67, 2, 0x4E4F534A, 0x004E4942
_FLOAT, _UINT = 5126, 5125
_ARRAY_BUFFER, _ELEMENT_BUFFER = 34962, 34963
#: Column by column, RAS mm -> metres with Y up: (x, y, z) -> (-x, z, y) / 1000.
_RAS_TO_GLTF = (-0.001, 0, 0, 0, 0, 0, 0.001, 0, 0, 0.001, 0, 0, 0, 0, 0, 1)
_COORDINATES = "positions: RAS+ millimetres; scene: metres, Y up (node matrix (x, y, z) -> (-x, z, y) / 1000)"
#: In the scene that shows several groups at once, all but the last are this translucent, as truth around prediction.
_BEHIND = 0.4
_ROUGHNESS = 0.45


def write_glb(path: Path, groups: Mapping[str, Sequence[Mesh | None]], labels: LabelSet) -> None:
    """Write `glb_bytes`, whole or not at all.

    Raises:
        DataError: there is no surface at all.
        VesalError: the file cannot be written.
    """
    write_bytes(path, glb_bytes(groups, labels))


def glb_bytes(groups: Mapping[str, Sequence[Mesh | None]], labels: LabelSet) -> bytes:
    """A binary glTF of the surfaces of every class.

    Each group, such as truth and prediction, is a node of its own that holds one named node and mesh a class.
    Scene 0 shows all groups, the last one solid; one more scene a group shows that alone. A class in which another
    lies is translucent.

    Args:
        groups: name -> one mesh a class of `labels.classes`, None where the group has none.
        labels: names and colours.

    Raises:
        DataError: there is no surface at all.
    """
    shown = {name: meshes for name, meshes in groups.items() if any(mesh is not None for mesh in meshes)}
    if not shown:
        raise DataError("There is no surface to write: no class has a voxel; check the label map.")
    opacity = class_opacities(list(shown.values()), labels)
    file = _File()
    roots = []
    for number, (name, meshes) in enumerate(shown.items()):
        behind = _BEHIND if number < len(shown) - 1 else 1.0
        children = [
            file.surface(mesh, name, class_name, colour, float(part) * behind)
            for mesh, class_name, colour, part in zip(
                meshes, labels.classes, class_colours(labels), opacity, strict=True
            )
            if mesh is not None
        ]
        file.nodes.append({"name": name, "matrix": list(_RAS_TO_GLTF), "children": children})
        roots.append(len(file.nodes) - 1)
    scenes = [{"name": " and ".join(shown), "nodes": roots}]
    if len(roots) > 1:
        scenes += [{"name": name, "nodes": [root]} for name, root in zip(shown, roots, strict=True)]
    return file.packed(scenes)


@dataclass
class _File:
    """The parts of a glTF as they grow."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
    meshes: list[dict[str, Any]] = field(default_factory=list)
    materials: list[dict[str, Any]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)
    blob: bytearray = field(default_factory=bytearray)

    def surface(self, mesh: Mesh, group: str, name: str, colour: str, alpha: float) -> int:
        """Add a mesh with its material; the number of its node."""
        self.materials.append(_material(f"{group}: {name}", colour, alpha))
        vertices = mesh.vertices.astype("<f4")
        attributes = {
            "POSITION": self._accessor(vertices, "VEC3", _ARRAY_BUFFER, bounds=True),
            "NORMAL": self._accessor(_unit(mesh.normals), "VEC3", _ARRAY_BUFFER),
        }
        indices = self._accessor(mesh.faces.astype("<u4").reshape(-1), "SCALAR", _ELEMENT_BUFFER)
        primitive = {"attributes": attributes, "indices": indices, "material": len(self.materials) - 1}
        self.meshes.append({"name": f"{group}: {name}", "primitives": [primitive]})
        self.nodes.append({"name": name, "mesh": len(self.meshes) - 1})
        return len(self.nodes) - 1

    def _accessor(self, array: NDArray[Any], kind: str, target: int, *, bounds: bool = False) -> int:
        """All components are of 4 bytes, so every view starts at a multiple of 4."""
        data = np.ascontiguousarray(array).tobytes()
        self.views.append(
            {"buffer": 0, "byteOffset": len(self.blob), "byteLength": len(data), "target": target}
        )
        self.blob += data
        accessor: dict[str, Any] = {
            "bufferView": len(self.views) - 1,
            "componentType": _FLOAT if array.dtype.kind == "f" else _UINT,
            "count": len(array),
            "type": kind,
        }
        if bounds:
            accessor |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def packed(self, scenes: list[dict[str, Any]]) -> bytes:
        """Header, JSON chunk padded with spaces, binary chunk."""
        document = {
            "asset": {
                "version": "2.0",
                "generator": f"Vesal {__version__}",
                "extras": {"coordinates": _COORDINATES},
            },
            "scene": 0,
            "scenes": scenes,
            "nodes": self.nodes,
            "meshes": self.meshes,
            "materials": self.materials,
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.blob)}],
        }
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<II", len(text), _JSON) + text
        chunks += struct.pack("<II", len(self.blob), _BIN) + bytes(self.blob)
        return struct.pack("<III", _MAGIC, _VERSION, 12 + len(chunks)) + chunks


def _material(name: str, colour: str, alpha: float) -> dict[str, Any]:
    """Coloured plastic. glTF's factors are linear, colours on pages are sRGB (IEC 61966-2-1)."""
    shade = rgb(colour).astype(float)
    linear = np.where(shade <= 0.04045, shade / 12.92, ((shade + 0.055) / 1.055) ** 2.4)
    factors = [*(round(float(value), 5) for value in linear), round(alpha, 3)]
    return {
        "name": name,
        "pbrMetallicRoughness": {
            "baseColorFactor": factors,
            "metallicFactor": 0,
            "roughnessFactor": _ROUGHNESS,
        },
        "alphaMode": "OPAQUE" if alpha >= 1 else "BLEND",
    }


def _unit(normals: NDArray[np.floating]) -> NDArray[np.float32]:
    """Of length 1, also where a vertex lies on faces without area."""
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    unit = np.where(lengths > 0.5, normals / np.maximum(lengths, 1e-12), (0.0, 0.0, 1.0))
    return np.asarray(unit, dtype="<f4")
