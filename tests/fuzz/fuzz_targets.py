"""Every reader of a file that somebody was sent: what it is given to begin with, and how it is called.

A reader gives what the file holds, or refuses it by an error of Vesal's. Whatever else it raises, more memory than a
few times the file, or seconds of work are defects.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import fuzz_monai
import fuzz_nnunet
import nibabel as nib
import numpy as np
import torch
from annotation_examples import Annotated, annotated, made_by
from dicom_examples import Drawn, enhanced_object, random_series, write_objects, write_series
from fuzz_http import answered, requests
from PIL import Image

import vesal
from vesal.data.labels import LabelSet
from vesal.data.split_file import read_split
from vesal.download.archives import extract
from vesal.infer.runtime.exported_model import ENCODER, IMAGE, LOGITS, Exported, read_onnx, write_onnx
from vesal.infer.runtime.onnx_session import OnnxNetwork
from vesal.layouts.registry import load_dataset
from vesal.nn.given_weights import read_weights
from vesal.nn.model_file import Package, load_package, save_package
from vesal.nn.zoo import build_network
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.serve.pacs.study_query import parse_query
from vesal.train.checkpoint import Position, Trained, load_checkpoint, save_checkpoint
from vesal.train.recipe import load_recipe
from vesal.volume.dicom import series_file
from vesal.volume.dicom.annotations.segmentation_writer import SegmentLabel, segmentation
from vesal.volume.dicom.annotations.structure_set_writer import RoiMask, structure_set
from vesal.volume.geometry import Geometry
from vesal.volume.io import read_label, read_volume, write_volume
from vesal.volume.volume import Volume

RECIPES = Path(vesal.__file__).parent / "recipes"
#: Of an annotation, in folders of its own.
ANNOTATION = "study/annotation/a.dcm"


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        file: the name that the data get; what belongs to them lies beside.
        seeds: writes what belongs to them into a folder, and gives data that can be read.
        read: gets the path of the file.
    """

    file: str
    seeds: Callable[[Path], Sequence[bytes]]
    read: Callable[[Path], object]


# --- scans ---------------------------------------------------------------------------------------------------


def _volume() -> Volume:
    generator = np.random.default_rng(0)
    array = generator.integers(0, 255, (1, 5, 4, 3)).astype(np.int16)
    return Volume(array, Geometry.from_spacing((5, 4, 3), (1.0, 1.5, 2.0)))


def _written(name: str) -> Callable[[Path], Sequence[bytes]]:
    def seeds(folder: Path) -> Sequence[bytes]:
        write_volume(folder / name, _volume())
        return [(folder / name).read_bytes()]

    return seeds


def _nifti(folder: Path) -> Sequence[bytes]:
    found = list(_written("a.nii")(folder))
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        for dtype in (np.uint8, np.float64, np.int32):
            image = kind(np.arange(24).reshape(4, 3, 2).astype(dtype), np.diag([1, 2, 3, 1]))
            found.append(image.to_bytes())
    return found


def _nrrd(folder: Path) -> Sequence[bytes]:
    head = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 2\nencoding: raw\nendian: little\n"
    space = (
        b"space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,2)\nspace origin: (0,0,0)\n"
    )
    data = bytes(range(16))
    text = head.replace(b"raw", b"ascii") + b"\n" + b"1 2 3 4 5 6 7 8\n"
    return [*_written("a.nrrd")(folder), head + b"\n" + data, head + space + b"\n" + data, text]


def _metaimage(folder: Path) -> Sequence[bytes]:
    head = (
        b"ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_SHORT\nElementSpacing = 1 1 2\n"
    )
    orient = b"TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
    local = b"ElementDataFile = LOCAL\n"
    return [*_written("a.mha")(folder), head + orient + local + bytes(16), head + local + bytes(16)]


def _pictures(kind: str) -> Callable[[Path], Sequence[bytes]]:
    def seeds(_: Path) -> Sequence[bytes]:
        found = []
        pixels = np.arange(48).reshape(6, 8)
        for image in (
            Image.fromarray(pixels.astype(np.uint8)),
            Image.fromarray((pixels * 900).astype(np.uint16)),
            Image.fromarray(np.stack([pixels] * 3, -1).astype(np.uint8)),
        ):
            image.save(stream := io.BytesIO(), kind)
            found.append(stream.getvalue())
        return found

    return seeds


# --- DICOM ---------------------------------------------------------------------------------------------------


def _slices() -> Drawn:
    """As few as make a volume: each of them is read with every input."""
    return random_series(shape=(7, 6, 3))


def _dicom(folder: Path) -> Sequence[bytes]:
    before, data, *after = (path.read_bytes() for path in write_series(folder / "series", _slices()))
    for number, other in enumerate([before, *after]):
        (folder / f"{number}.dcm").write_bytes(other)
    return [data]


def _enhanced(folder: Path) -> Sequence[bytes]:
    return [path.read_bytes() for path in write_objects(folder / "seeds", [enhanced_object(_slices())])]


def _anew(read: Callable[[Path], object]) -> Callable[[Path], object]:
    """Headers of a folder are kept as long as nothing is added to it or taken away: not so of the input's folder."""

    def anew(path: Path) -> object:
        os.utime(path.parent)
        return read(path)

    return anew


def _annotated(folder: Path) -> Annotated:
    """A scan in a folder beside that of the annotation, so that its headers are kept and nothing else is searched."""
    (folder / ANNOTATION).parent.mkdir(parents=True)
    return annotated(folder / "study" / "scan")


def _segmentation(folder: Path) -> Sequence[bytes]:
    made = _annotated(folder)
    label = [SegmentLabel("ball", (1, 2, 3))]
    masks = np.zeros((1, *made.scan.stack.geometry.shape), dtype=bool)
    masks[0, 2:5, 2:4, 1:3] = True
    found = []
    for kind in ("binary", "labelmap"):
        array = masks if kind == "binary" else masks[0].astype(np.uint8)
        written = segmentation(made.scan.slices(), made.scan.stack.geometry, label, array, made_by(), kind)
        written.save_as(stream := io.BytesIO(), enforce_file_format=True)
        found.append(stream.getvalue())
    return found


def _structures(folder: Path) -> Sequence[bytes]:
    made = _annotated(folder)
    mask = np.zeros(made.scan.stack.geometry.shape, dtype=bool)
    mask[2:5, 2:4, 1:3] = True
    regions = [RoiMask("ball", (1, 2, 3), mask)]
    written = structure_set(made.scan.slices(), made.scan.stack.geometry, regions, made_by())
    written.save_as(stream := io.BytesIO(), enforce_file_format=True)
    return [stream.getvalue()]


# --- models, plans, data sets --------------------------------------------------------------------------------


def tiny_plan() -> Plan:
    return Plan.model_validate(
        {
            "dimension": 2,
            "spacing_mm": (1.0, 1.0),
            "patch": (8, 8),
            "batch": 1,
            "stages": (Stage(features=2, kernel=(3, 3), stride=(1, 1)),),
            "normalisation": (Normalisation(scheme="none"),),
            "mirror_axes": (),
            "channels": ("image",),
            "labels": LabelSet.from_values({"tumour": 1}),
            "median_shape": (8, 8),
        }
    )


def _exported(folder: Path) -> Sequence[bytes]:
    exported = Exported(tiny_plan(), "unet", {}, ("a",), ("model",), scores={"dice": 0.9})
    write_onnx(folder / "exported.vesal", exported, {"model": b"graph"})
    return [(folder / "exported.vesal").read_bytes()]


def _graph(_: Path) -> Sequence[bytes]:
    """A graph as one of an exported model: a convolution, and what the estimate of quality reads."""
    import onnx
    from onnx import helper

    weights = [
        helper.make_tensor("kernel", onnx.TensorProto.FLOAT, (2, 1, 3, 3), [0.1] * 18),
        helper.make_tensor("bias", onnx.TensorProto.FLOAT, (2,), [0.0, 1.0]),
    ]
    nodes = [
        helper.make_node("Conv", [IMAGE, "kernel", "bias"], [LOGITS], pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", [LOGITS], [ENCODER], axes=[2, 3], keepdims=0),
    ]
    window = [helper.make_tensor_value_info(IMAGE, onnx.TensorProto.FLOAT, ("n", 1, 8, 8))]
    found = [
        helper.make_tensor_value_info(LOGITS, onnx.TensorProto.FLOAT, ("n", 2, 8, 8)),
        helper.make_tensor_value_info(ENCODER, onnx.TensorProto.FLOAT, ("n", 2)),
    ]
    graph = helper.make_graph(nodes, "network", window, found, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return [model.SerializeToString()]


def _computed(path: Path) -> object:
    """Without the container, whose checksums would end every search."""
    network = OnnxNetwork(path.read_bytes(), threads=1)
    window = np.zeros((1, 1, 8, 8), dtype=np.float32)
    try:
        return network.encoded(window), network(window)
    except MemoryError:
        # How much a graph takes is not in our hands; the scan fails in a sentence.
        return None


def _model(folder: Path) -> Sequence[bytes]:
    plan = tiny_plan()
    save_package(folder / "m.vesal", Package(plan, "unet", {}, {}, build_network("unet", plan).state_dict()))
    return [(folder / "m.vesal").read_bytes()]


def _plan(_: Path) -> Sequence[bytes]:
    return [tiny_plan().model_dump_json().encode()]


def _weights(_: Path) -> Sequence[bytes]:
    state = build_network("unet", tiny_plan()).state_dict()
    torch.save(state, plain := io.BytesIO())
    torch.save({"state_dict": state, "epoch": 3}, nested := io.BytesIO())
    return [plain.getvalue(), nested.getvalue()]


def _trained() -> Trained:
    network = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    return Trained(network, optimizer, None, torch.amp.GradScaler("cpu", enabled=False))


def _checkpoint(folder: Path) -> Sequence[bytes]:
    save_checkpoint(folder / "a.ckpt", Position(step=3), _trained())
    return [(folder / "a.ckpt").read_bytes()]


def _data_set(folder: Path) -> Sequence[bytes]:
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir()
        image = nib.Nifti1Image(np.zeros((2, 2, 2), dtype=np.uint8), np.eye(4))
        nib.save(image, folder / name / "a.nii.gz")
    (folder / "imagesTr" / "a_0000.nii.gz").write_bytes((folder / "imagesTr" / "a.nii.gz").read_bytes())
    pair = {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}
    decathlon = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "heart"}, "training": [pair]}
    nnunet = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "heart": [1, 2]},
        "file_ending": ".nii.gz",
    }
    return [
        json.dumps(one).encode()
        for one in (decathlon, {"numTraining": 1, **nnunet, "regions_class_order": [1]})
    ]


def _scan_and_label(folder: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        nib.save(nib.Nifti1Image(np.ones((2, 2, 2), dtype=np.uint8), np.eye(4)), folder / name)


def _manifest_json(folder: Path) -> Sequence[bytes]:
    _scan_and_label(folder)
    rows = [{"id": "x", "image": "a.nii.gz", "label": "b.nii.gz", "patient": "p", "annotated": ["heart"]}]
    whole = {"name": "hearts", "labels": {"heart": 1}, "channels": ["MRI"], "cases": rows}
    bare = [{"image": "a.nii.gz", "label": "b.nii.gz"}]
    return [json.dumps(one).encode() for one in (whole, bare)]


def _manifest_csv(folder: Path) -> Sequence[bytes]:
    _scan_and_label(folder)
    return [b"id,image,label,patient\nx,a.nii.gz,b.nii.gz,p\n", b"id;image_T2;label\nx;a.nii.gz;b.nii.gz\n"]


def _zip(_: Path) -> Sequence[bytes]:
    with zipfile.ZipFile(stream := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("scans/a.txt", "one" * 50)
        archive.writestr("b.txt", "two")
    return [stream.getvalue()]


def _tar(_: Path) -> Sequence[bytes]:
    found = []
    for mode in ("w", "w:gz"):
        with tarfile.open(fileobj=(stream := io.BytesIO()), mode=mode) as archive:
            info = tarfile.TarInfo("scans/a.txt")
            info.size = 3
            archive.addfile(info, io.BytesIO(b"one"))
        found.append(stream.getvalue())
    return found


def _extract(path: Path) -> None:
    try:
        extract(path, path.parent / "unpacked")
    finally:
        shutil.rmtree(path.parent / "unpacked", ignore_errors=True)


def _split(_: Path) -> Sequence[bytes]:
    return [
        json.dumps(one).encode()
        for one in (
            [{"train": ["a", "b"], "val": ["c"]}, {"train": ["c"], "val": ["a", "b"]}],
            {"train": ["a", "b"], "val": ["c"]},
            {"training": [{"image": "a.nii.gz", "fold": 0}, {"image": "b.nii.gz", "fold": 1}]},
        )
    ]


def _recipe(_: Path) -> Sequence[bytes]:
    return [path.read_bytes() for path in sorted(RECIPES.glob("*.yaml"))]


def _queries(_: Path) -> Sequence[bytes]:
    return [
        b"Modality=CT StudyDescription='*thorax low dose*' StudyDate=20260101-",
        b"StudyInstanceUID=1.2.3,1.2.4",
    ]


def _http(folder: Path) -> Sequence[bytes]:
    return requests(folder, _model(folder)[0], _written("a.nii")(folder)[0])


TARGETS: dict[str, Target] = {
    "http": Target("request", _http, answered),
    "study-query": Target("a.txt", _queries, lambda path: parse_query(path.read_text(errors="replace"))),
    "split": Target("split.json", _split, read_split),
    "recipe": Target("a.yaml", _recipe, lambda path: load_recipe(str(path))),
    "nifti": Target("a.nii", _nifti, read_volume),
    "nifti-label": Target("a.nii", _nifti, read_label),
    "nrrd": Target("a.nrrd", _nrrd, read_volume),
    "nrrd-label": Target("a.seg.nrrd", _nrrd, read_label),
    "metaimage": Target("a.mha", _metaimage, read_volume),
    "png": Target("a.png", _pictures("png"), read_volume),
    "tiff": Target("a.tif", _pictures("tiff"), read_volume),
    "dicom": Target("a.dcm", _dicom, _anew(series_file.read)),
    "dicom-enhanced": Target("a.dcm", _enhanced, _anew(series_file.read)),
    "dicom-seg": Target(ANNOTATION, _segmentation, _anew(series_file.read_layers)),
    "rtstruct": Target(ANNOTATION, _structures, _anew(series_file.read_layers)),
    "model": Target("a.vesal", _model, load_package),
    "exported": Target("a.vesal", _exported, read_onnx),
    "exported-graph": Target("model.onnx", _graph, _computed),
    "plan": Target("plan.json", _plan, Plan.load),
    "weights": Target("a.pth", _weights, read_weights),
    "checkpoint": Target("last.ckpt", _checkpoint, lambda path: load_checkpoint(path, _trained())),
    "nnunet-plans": Target(
        "plans.json", fuzz_nnunet.plans, lambda path: fuzz_nnunet.imported_quickly(path.parent)
    ),
    "nnunet-dataset": Target(
        "dataset.json", fuzz_nnunet.dataset, lambda path: fuzz_nnunet.imported_quickly(path.parent)
    ),
    "nnunet-checkpoint": Target(
        fuzz_nnunet.CHECKPOINT, fuzz_nnunet.checkpoint, lambda path: fuzz_nnunet.imported(path.parent.parent)
    ),
    "monai-config": Target(fuzz_monai.CONFIG, fuzz_monai.config, fuzz_monai.imported_quickly),
    "monai-regions": Target(fuzz_monai.CONFIG, fuzz_monai.regions, fuzz_monai.imported_quickly),
    "monai-metadata": Target(fuzz_monai.METADATA, fuzz_monai.metadata, fuzz_monai.imported_quickly),
    "monai-weights": Target(fuzz_monai.WEIGHTS, fuzz_monai.weights, fuzz_monai.imported),
    "dataset-json": Target("dataset.json", _data_set, lambda path: load_dataset(path.parent)),
    "manifest-json": Target("manifest.json", _manifest_json, lambda path: load_dataset(path.parent)),
    "manifest-csv": Target("manifest.csv", _manifest_csv, lambda path: load_dataset(path.parent)),
    "zip": Target("a.zip", _zip, _extract),
    "tar": Target("a.tar", _tar, _extract),
}
