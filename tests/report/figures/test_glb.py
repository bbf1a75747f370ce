"""GLB files: read by the letter of the glTF 2.0 specification, and by an independent reader."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.report.figures.glb import glb_bytes, write_glb
from vesal.report.figures.surfaces import class_surfaces
from vesal.volume.geometry import Geometry

LABELS = LabelSet.from_values({"background": 0, "ventricle": 1, "wall <é>": 2})
GRID = Geometry((40, 36, 30), np.array([[-1.0, 0, 0, 30], [0, 1, 0, -20], [0, 0, 1.5, 5], [0, 0, 0, 1]]))


def heart(shift: int = 0) -> np.ndarray:
    x, y, z = np.meshgrid(*(np.arange(n) for n in GRID.shape), indexing="ij")
    radius = np.sqrt((x - 18 - shift) ** 2 + (y - 18) ** 2 + (1.5 * (z - 15)) ** 2)
    return ((radius < 14).astype(np.uint8) * 2 - (radius < 9)).astype(np.uint8)


def groups() -> dict[str, list]:
    maps = {"truth": heart(), "prediction": heart(2)}
    return {name: class_surfaces(map_, GRID, LABELS) for name, map_ in maps.items()}


class Glb:
    """A file by the specification: header, chunks, and every accessor as an array."""

    def __init__(self, data: bytes) -> None:
        magic, version, length = struct.unpack_from("<4sII", data)
        assert (magic, version, length) == (b"glTF", 2, len(data))
        json_length, json_kind = struct.unpack_from("<I4s", data, 12)
        assert json_kind == b"JSON"
        assert json_length % 4 == 0
        self.json = json.loads(data[20 : 20 + json_length])
        at = 20 + json_length
        bin_length, bin_kind = struct.unpack_from("<I4s", data, at)
        assert bin_kind == b"BIN\0"
        assert bin_length % 4 == 0
        assert at + 8 + bin_length == len(data)
        self.blob = data[at + 8 :]
        assert 0 <= bin_length - self.json["buffers"][0]["byteLength"] <= 3

    def array(self, number: int) -> np.ndarray:
        accessor = self.json["accessors"][number]
        view = self.json["bufferViews"][accessor["bufferView"]]
        kind = {5126: "<f4", 5125: "<u4"}[accessor["componentType"]]
        width = {"SCALAR": 1, "VEC3": 3}[accessor["type"]]
        start = view["byteOffset"] + accessor.get("byteOffset", 0)
        assert start % 4 == 0
        assert 4 * width * accessor["count"] <= view["byteLength"]
        assert start + view["byteLength"] <= self.json["buffers"][view["buffer"]]["byteLength"]
        found = np.frombuffer(self.blob, kind, width * accessor["count"], start)
        return found.reshape(-1, width) if width > 1 else found


@pytest.fixture(scope="module")
def meshes() -> dict[str, list]:
    return groups()


@pytest.fixture(scope="module")
def data(meshes) -> bytes:
    return glb_bytes(meshes, LABELS)


def test_header_chunks_and_accessors_follow_the_specification(data):
    file = Glb(data)
    assert file.json["asset"]["version"] == "2.0"
    for mesh in file.json["meshes"]:
        (primitive,) = mesh["primitives"]
        positions, normals = (file.array(primitive["attributes"][name]) for name in ("POSITION", "NORMAL"))
        accessor = file.json["accessors"][primitive["attributes"]["POSITION"]]
        np.testing.assert_array_equal(np.float32(accessor["min"]), positions.min(axis=0))
        np.testing.assert_array_equal(np.float32(accessor["max"]), positions.max(axis=0))
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-3)
        assert len(normals) == len(positions)
        indices = file.array(primitive["indices"])
        assert len(indices) % 3 == 0
        assert indices.max() == len(positions) - 1
        assert 0 <= primitive["material"] < len(file.json["materials"])


def test_every_class_is_a_named_node_with_a_material_under_its_group(data):
    file = Glb(data)
    nodes = file.json["nodes"]
    scenes = {
        scene["name"]: [nodes[root]["name"] for root in scene["nodes"]] for scene in file.json["scenes"]
    }
    assert scenes == {
        "truth and prediction": ["truth", "prediction"],
        "truth": ["truth"],
        "prediction": ["prediction"],
    }
    for group in ("truth", "prediction"):
        (node,) = (node for node in nodes if node["name"] == group)
        assert [nodes[child]["name"] for child in node["children"]] == ["ventricle", "wall <é>"]
    by_name = {material["name"]: material for material in file.json["materials"]}
    solid, shell = by_name["prediction: ventricle"], by_name["prediction: wall <é>"]
    assert solid["alphaMode"] == "OPAQUE"
    assert solid["pbrMetallicRoughness"]["baseColorFactor"][3] == 1
    # The wall holds the ventricle, so one looks through it.
    assert shell["alphaMode"] == "BLEND"
    assert shell["pbrMetallicRoughness"]["baseColorFactor"][3] < 0.5
    # #e6550d in linear light.
    assert solid["pbrMetallicRoughness"]["baseColorFactor"][:3] == pytest.approx(
        [0.7913, 0.0908, 0.0040], abs=1e-3
    )


def test_positions_are_the_patients_millimetres_and_the_scene_stands_upright_in_metres(data, meshes):
    file = Glb(data)
    node = next(node for node in file.json["nodes"] if node["name"] == "truth")
    mesh = file.json["meshes"][file.json["nodes"][node["children"][0]]["mesh"]]
    positions = file.array(mesh["primitives"][0]["attributes"]["POSITION"])
    np.testing.assert_allclose(positions, meshes["truth"][0].vertices)
    # The middle of the ventricle: voxel (18, 18, 15).
    assert positions.mean(axis=0) == pytest.approx([12, -2, 27.5], abs=0.3)
    matrix = np.array(node["matrix"]).reshape(4, 4).T
    right, front, head = (matrix[:3, :3] @ direction for direction in np.eye(3))
    np.testing.assert_allclose([right, front, head], [[-0.001, 0, 0], [0, 0, 0.001], [0, 0.001, 0]])
    assert np.linalg.det(matrix[:3, :3]) > 0
    assert "RAS+" in file.json["asset"]["extras"]["coordinates"]


def test_faces_turn_outwards_as_gltf_demands(data):
    file = Glb(data)
    for mesh in file.json["meshes"]:
        (primitive,) = mesh["primitives"]
        corners = file.array(primitive["attributes"]["POSITION"])[
            file.array(primitive["indices"]).reshape(-1, 3)
        ]
        a, b, c = corners.astype(float).transpose(1, 0, 2)
        assert (a * np.cross(b, c)).sum() > 0


def test_the_same_surfaces_give_the_same_bytes_on_the_disk_too(data, meshes, tmp_path):
    write_glb(tmp_path / "surfaces" / "case.glb", meshes, LABELS)
    assert (tmp_path / "surfaces" / "case.glb").read_bytes() == data


def test_a_group_or_a_class_without_voxels_is_left_out_and_nothing_at_all_is_told():
    some = class_surfaces((heart() == 2).astype(np.uint8), GRID, LABELS)
    file = Glb(glb_bytes({"truth": [None, None], "prediction": some}, LABELS))
    assert [scene["name"] for scene in file.json["scenes"]] == ["prediction"]
    assert [mesh["name"] for mesh in file.json["meshes"]] == ["prediction: ventricle"]
    with pytest.raises(DataError, match="no class has a voxel"):
        glb_bytes({"prediction": [None, None]}, LABELS)


def test_an_independent_reader_finds_closed_surfaces_of_the_right_volume(data):
    trimesh = pytest.importorskip("trimesh", reason="trimesh is the independent reader")
    scene = trimesh.load(io.BytesIO(data), file_type="glb")
    found = {name: mesh.volume for name, mesh in scene.geometry.items()}
    assert set(found) == {f"{group}: {name}" for group in ("truth", "prediction") for name in LABELS.names}
    assert all(mesh.is_watertight for mesh in scene.geometry.values())
    voxels = (heart() == 1).sum() * GRID.voxel_volume_mm3
    assert found["truth: ventricle"] == pytest.approx(voxels, rel=0.05)
    low, high = scene.bounds
    assert (high - low).max() < 0.1  # metres
