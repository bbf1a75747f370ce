"""Prediction under --max-ram: the same masks, less memory, and a refusal where that cannot be."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor

from vesal.data.labels import LabelSet
from vesal.infer.model import Model
from vesal.infer.postprocess import Postprocess, Step
from vesal.layouts.input_scans import cases_to_predict
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.volume.geometry import Geometry, Turn
from vesal.volume.io import read_label, write_volume
from vesal.volume.volume import Volume
from vesal.workflow.predict import PredictResult, predict_cases
from vesal.workflow.requests.predict_options import PredictOptions

Limited = Callable[[], AbstractContextManager[None]]
TWO = LabelSet.from_values({"dim": 3, "bright": 900})
NESTED = LabelSet.from_values({"rim": 1, "core": 4}, regions={"whole": ["rim", "core"], "core": ["core"]})
FLAT = {
    "dimension": 2,
    "patch": (16, 16),
    "spacing_mm": (1.0, 1.0),
    "stages": (Stage(features=4, kernel=(3, 3), stride=(1, 1)),),
    "median_shape": (30, 30),
}


def plan(**changes: object) -> Plan:
    values: dict[str, object] = {
        "dimension": 3,
        "spacing_mm": (1.0, 1.0, 1.0),
        "patch": (12, 14, 16),
        "batch": 1,
        "stages": (Stage(features=4, kernel=(3, 3, 3), stride=(1, 1, 1)),),
        "normalisation": (Normalisation(scheme="zscore_nonzero"),),
        "image_order": 1,
        "mirror_axes": (),
        "channels": ("MRI",),
        "labels": TWO,
        "median_shape": (30, 30, 30),
    }
    return Plan.model_validate(values | changes)


def blurred(outputs: int, dimension: int = 3) -> Callable[[Tensor], Tensor]:
    """A network whose logits depend on a neighbourhood, so that windows differ where they overlap."""
    convolution = getattr(torch.nn, f"Conv{dimension}d")(1, outputs, 3, padding=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        convolution.weight.copy_(torch.randn(convolution.weight.shape, generator=generator))
        convolution.bias.zero_()
    return torch.inference_mode()(convolution)


def model(made: Plan, **changes: object) -> Model:
    networks = (blurred(made.labels.outputs, made.dimension),)
    return Model(made, networks, torch.device("cpu"), **changes)  # type: ignore[arg-type]


def blob(shape: tuple[int, ...] = (30, 26, 34), seed: int = 0) -> np.ndarray:
    """A bright ellipsoid in noise, with a rim of zeros."""
    generator = np.random.default_rng(seed)
    places = np.indices(shape)
    distance = sum(((of - size / 2) / (size / 4)) ** 2 for of, size in zip(places, shape, strict=True))
    image = 100 + 200 * (distance < 1) + generator.normal(0, 20, shape)
    image[:3] = 0
    return image.astype(np.int16)


def scan_file(path: Path, turn: Turn | None = None, **options: object) -> Path:
    volume = Volume(blob(**options)[None], Geometry.from_spacing(blob(**options).shape, (0.9, 1.1, 0.7)))  # type: ignore[arg-type]
    if turn is not None:
        volume = Volume(turn.apply(volume.array), volume.geometry.turned(turn))
    write_volume(path, volume)
    return path


def predicted(made: Model, scans: list[Path], out: Path, **options: object) -> PredictResult:
    cases = cases_to_predict(scans, 1, made.labels)
    found = predict_cases(made, cases, out, PredictOptions(**options))  # type: ignore[arg-type]
    assert not found.failures
    return found


def content(path: Path) -> bytes:
    if path.suffix == ".nrrd":  # whose header holds the time
        return read_label(path).array.tobytes()
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def same_files(made: Model, scans: list[Path], tmp_path: Path, **options: object) -> list[Path]:
    """What is written with everything on the disk, after a comparison with what is written without a limit."""
    predicted(made, scans, tmp_path / "whole", **options)
    predicted(made, scans, tmp_path / "parts", max_ram=1 << 40, **options)
    names = [path.relative_to(tmp_path / "whole") for path in sorted((tmp_path / "whole").rglob("*.*"))]
    results = [name for name in names if name.suffix in (".gz", ".nii", ".png", ".nrrd", ".csv")]
    for name in results:
        assert content(tmp_path / "parts" / name) == content(tmp_path / "whole" / name), name
    masks = [name for name in results if len(name.parts) == 1 and name.suffix != ".csv"]
    assert masks
    for name in masks:
        if name.suffix == ".gz":
            assert len(np.unique(np.asarray(nib.load(tmp_path / "whole" / name).dataobj))) > 1
    return results


CASES = {
    "classes": ({}, {}),
    "finer than the network": ({"spacing_mm": (2.0, 1.5, 1.4)}, {"threshold": 0.3, "mirror": True}),
    "regions": ({"labels": NESTED, "spacing_mm": (1.4, 1.4, 1.4)}, {"threshold": 0.6}),
    "slices": ({**FLAT, "slice_axis": 2}, {}),
    "smaller than a window": ({"patch": (40, 14, 16)}, {}),
    "maps": ({"spacing_mm": (1.4, 1.4, 1.4)}, {"probabilities": True, "uncertainty": True, "overlay": True}),
}


@pytest.mark.usefixtures("all_on_disk")
@pytest.mark.parametrize("name", CASES)
def test_masks_and_maps_are_the_same_to_the_byte(name: str, tmp_path: Path) -> None:
    changes, options = CASES[name]
    made = model(plan(**changes), postprocess=Postprocess(steps=(Step(do="largest", of=None),)))
    scan = scan_file(tmp_path / "scan.nii.gz")
    results = same_files(made, [scan], tmp_path, **options)
    assert len(results) == (5 if name == "maps" else 1)


@pytest.mark.usefixtures("all_on_disk")
@pytest.mark.parametrize(
    "turn",
    [
        Turn((2, 0, 1), (True, False, True)),
        Turn((1, 2, 0), (False, True, False)),
        Turn((0, 2, 1), (True,) * 3),
    ],
)
def test_however_the_scan_lies_in_its_file(tmp_path: Path, turn: Turn) -> None:
    scans = [scan_file(tmp_path / "a.nii", turn), scan_file(tmp_path / "b.nrrd", turn, seed=1)]
    same_files(model(plan(spacing_mm=(1.4, 1.0, 1.0))), scans, tmp_path)


@pytest.mark.usefixtures("all_on_disk")
def test_two_stages_look_at_the_same_box(tmp_path: Path) -> None:
    one = LabelSet.from_values({"organ": 1})
    coarse = plan(spacing_mm=(3.0, 3.0, 3.0), patch=(8, 8, 8), blocks=True, labels=one)
    fine = plan(locator=coarse, margin_mm=4.0, labels=one, label_sizes=(100.0, 90_000.0))
    bright = (lambda batch: torch.cat([0.5 - batch, batch - 0.5], dim=1) * 5,)
    made = replace(model(fine, locator=replace(model(coarse), networks=bright)), networks=bright)
    scan = scan_file(tmp_path / "scan.nii.gz")
    same_files(made, [scan], tmp_path, overlay=True)
    organ = np.asarray(nib.load(tmp_path / "parts" / "scan.nii.gz").dataobj)
    assert 0.5 < organ.sum() / (blob() > 200).sum() < 1.5


def test_what_cannot_be_done_is_refused_with_estimate_and_fix_and_the_others_go_on(tmp_path: Path) -> None:
    good = scan_file(tmp_path / "good.nii.gz")
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 3))
    header.set_data_dtype(np.int16)
    (tmp_path / "large.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(1000)))
    made = model(plan())
    cases = cases_to_predict([tmp_path / "large.nii.gz", good], 1, made.labels)
    found = predict_cases(made, cases, tmp_path / "out", PredictOptions(max_ram=4 * 10**9))
    assert list(found.files) == ["good"]
    assert found.failures[0].id == "large"
    assert "To prepare large takes about" in found.failures[0].message
    assert "where --max-ram allows 4 GB; allow more, or cut the scan into parts." in found.failures[0].message
    assert [path.name for path in (tmp_path / "out").glob("*.nii*")] == ["good.nii.gz"]


_CHILD = """
import sys, torch
from pathlib import Path
import test_bounded_prediction as here
from vesal.memory_limit import held_bytes
torch.set_num_threads(1)
made = here.model(here.plan(spacing_mm=(4.0, 4.0, 4.0)))
folder = Path(sys.argv[1])
here.predicted(made, [folder / "small.nii"], folder / "warm")
limit = max(300_000_000, held_bytes()) + 90_000_000
for name, most in (("within", limit), ("whole", None)):
    Path("/proc/self/clear_refs").write_text("5")
    here.predicted(made, [folder / "large.nii"], folder / name, max_ram=most)
    print(limit, flush=True)
    sys.stdin.readline()
"""


def test_the_process_keeps_to_the_limit_as_seen_from_outside(tmp_path: Path) -> None:
    """And takes more without it, with the same mask."""
    scan_file(tmp_path / "small.nii")
    image = np.zeros((256, 256, 320), dtype=np.int16)
    image[100:160, 80:180, 90:200] = 300
    write_volume(tmp_path / "large.nii", Volume(image[None], Geometry.from_spacing(image.shape, (1, 1, 1))))
    here = Path(__file__).parent
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    peaks = []
    with child:
        for _ in range(2):
            limit = int(child.stdout.readline())
            status = Path(f"/proc/{child.pid}/status").read_text()
            peaks.append(1024 * int(status.split("VmHWM:")[1].split()[0]))
            child.stdin.write("on\n")
            child.stdin.flush()
    assert peaks[0] <= limit < peaks[1], (limit, peaks)
    within, whole = (content(tmp_path / name / "large.nii.gz") for name in ("within", "whole"))
    assert within == whole


def test_the_command_refuses_a_limit_that_the_program_alone_exceeds(
    trained_run: Path, tiny_data: Path
) -> None:
    from typer.testing import CliRunner

    from vesal.cli.app import app
    from vesal.errors import UsageError

    command = ["predict", str(trained_run), str(tiny_data / "imagesTs"), "-o", str(trained_run / "masks")]
    found = CliRunner().invoke(app, [*command, "--max-ram", "50M"])
    assert isinstance(found.exception, UsageError)
    assert "--max-ram 50 MB is less than the program itself takes" in str(found.exception)
