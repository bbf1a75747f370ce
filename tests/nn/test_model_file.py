"""The model file: what goes in comes out, and nothing that is wrong with a file gets past it."""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as save_tensors

from vesal.data.labels import LabelSet
from vesal.errors import UsageError, VesalError
from vesal.nn.model_file import Package, load_package, save_package
from vesal.nn.zoo import build_network
from vesal.planning.plan import Normalisation, Plan, Stage

PLAN = Plan(
    dimension=2,
    spacing_mm=(1.0, 1.5),
    patch=(16, 16),
    batch=2,
    stages=(
        Stage(features=4, kernel=(3, 3), stride=(1, 1)),
        Stage(features=6, kernel=(3, 3), stride=(2, 2), convolutions=1),
    ),
    normalisation=(Normalisation(scheme="ct", lower=-100, upper=200.5, mean=40, std=30),),
    mirror_axes=(0, 1),
    channels=("CT",),
    labels=LabelSet.from_values({"background": 0, "liver": 3, "tumour": 7}),
    median_shape=(16, 16),
)


def make_package(**changes: Any) -> Package:
    torch.manual_seed(0)
    package = Package(
        plan=PLAN,
        network="unet",
        recipe={"loss": "dice_ce", "rate": 0.01},
        provenance={"vesal": "0.1", "cases": ["a", "ü"]},
        weights=build_network("unet", PLAN).state_dict(),
        scores={"dice": 0.8, "hd95_mm": None},
    )
    return replace(package, **changes)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.vesal"
    save_package(path, make_package())
    return path


Members = dict[str, bytes]


def read_zip(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(path: Path, members: Members) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def edit_json(model: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    members = read_zip(model)
    description = json.loads(members["model.json"])
    edit(description)
    members["model.json"] = json.dumps(description).encode()
    return write_zip(model, members)


# --- what goes in comes out -----------------------------------------------------------------------------


def test_a_model_comes_back_as_it_was(model: Path) -> None:
    before, after = make_package(), load_package(model)
    assert replace(after, weights={}) == replace(before, weights={})
    assert after.plan.labels == PLAN.labels
    assert after.weights.keys() == before.weights.keys()
    assert all(torch.equal(after.weights[key], before.weights[key]) for key in before.weights)


@pytest.mark.parametrize("network", ["unet", "residual-unet"])
def test_the_built_network_computes_what_the_saved_one_did(tmp_path: Path, network: str) -> None:
    original = build_network(network, PLAN).eval()
    save_package(tmp_path / "m.vesal", make_package(network=network, weights=original.state_dict()))
    package = load_package(tmp_path / "m.vesal")
    built = package.build()
    x = torch.randn(1, 1, 32, 16)
    assert not built.training
    assert torch.equal(built(x), original(x))
    with torch.no_grad():
        next(built.parameters()).zero_()
    assert torch.equal(package.build()(x), original(x)), "a built network shares its weights with the package"
    shared = package.build(copy=False).state_dict()
    assert all(shared[name].data_ptr() == tensor.data_ptr() for name, tensor in package.weights.items())


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, model: Path) -> None:
    package = make_package(provenance={"cases": ["a", "ü"], "vesal": "0.1"})
    package = replace(package, weights=dict(reversed(package.weights.items())))
    save_package(tmp_path / "again.vesal", package)
    assert (tmp_path / "again.vesal").read_bytes() == model.read_bytes()
    save_package(tmp_path / "copy.vesal", load_package(model))
    assert (tmp_path / "copy.vesal").read_bytes() == model.read_bytes()


def test_weights_are_stored_in_float32_and_readable_by_others(tmp_path: Path) -> None:
    weights = {key: value.double() for key, value in make_package().weights.items()}
    save_package(tmp_path / "m.vesal", make_package(weights=weights))
    members = read_zip(tmp_path / "m.vesal")
    assert set(members) == {"model.json", "weights.safetensors"}
    assert json.loads(members["model.json"])["plan"]["labels"]["labels"][1]["name"] == "tumour"
    assert all(
        tensor.dtype == torch.float32 for tensor in load_package(tmp_path / "m.vesal").weights.values()
    )


def test_other_members_are_left_alone(model: Path, tmp_path: Path) -> None:
    members = read_zip(model) | {"../../evil.txt": b"x", "/etc/evil": b"x", "model.onnx": b"x"}
    before = sorted(tmp_path.rglob("*"))
    load_package(write_zip(model, members))
    assert sorted(tmp_path.rglob("*")) == before


# --- what is refused when writing -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scores": {"dice": math.nan}}, "not JSON"),
        ({"recipe": {"path": Path("x")}}, "not JSON"),
        ({"weights": {}}, "do not fit"),
        ({"network": "residual-unet"}, "weights are missing"),
        ({"plan": PLAN.model_copy(update={"spacing_mm": (1e-9, 1.0)})}, "its plan is not sensible"),
        ({"plan": PLAN.model_copy(update={"channels": ("CT",) * 2000})}, "its plan is not valid"),
    ],
)
def test_a_package_that_could_not_be_read_is_not_written(
    model: Path, changes: dict[str, Any], reason: str
) -> None:
    before = model.read_bytes()
    with pytest.raises(VesalError, match=reason):
        save_package(model, make_package(**changes))
    assert model.read_bytes() == before
    assert list(model.parent.iterdir()) == [model]


def test_a_diverged_model_is_not_written(tmp_path: Path) -> None:
    package = make_package()
    package.weights["heads.0.bias"][1] = math.nan
    with pytest.raises(VesalError, match=r"heads\.0\.bias holds values that are not finite"):
        save_package(tmp_path / "m.vesal", package)
    assert not list(tmp_path.iterdir())


# --- what is refused when reading -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("scan.nii.gz", gzip.compress(b"x", mtime=0), "such as a .nii.gz scan; a model is a file NAME.vesal"),
        ("old.pth", b"\x80\x02}q\x00.", "pickle.*never opened; a model is a file NAME.vesal"),
        ("slice.png", b"\x89PNG\r\n", "PNG image; a model is"),
        ("plan.json", b"{}", "JSON file; a model is"),
        ("empty.vesal", b"", "empty; a model is"),
        ("noise.vesal", bytes(range(90, 200)), "another kind; a model is"),
        ("cut.vesal", b"PK\x03\x04" + bytes(100), "cut off or damaged"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_named_for_what_it_is(
    tmp_path: Path, name: str, data: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(VesalError, match=f"{name} is not a usable Vesal model: .*{reason}"):
        load_package(tmp_path / name)


def test_a_torch_checkpoint_is_recognised_and_not_opened(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "model.pth")
    with pytest.raises(VesalError, match="PyTorch checkpoint, which is never opened"):
        load_package(tmp_path / "model.pth")


def test_an_absent_file_and_a_folder_are_a_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there"):
        load_package(tmp_path / "none.vesal")
    with pytest.raises(UsageError, match="is a folder"):
        load_package(tmp_path)


def test_missing_and_double_members_are_refused(model: Path) -> None:
    members = read_zip(model)
    for absent in members:
        write_zip(model, {name: data for name, data in members.items() if name != absent})
        with pytest.raises(VesalError, match=f"there is no {absent}"):
            load_package(model)
    write_zip(model, members)
    with zipfile.ZipFile(model, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("model.json", members["model.json"])
    with pytest.raises(VesalError, match="more than one"):
        load_package(model)
    write_zip(model, members | {f"{i}.txt": b"" for i in range(100)})
    with pytest.raises(VesalError, match="102 files"):
        load_package(model)


def test_a_zip_bomb_is_refused_before_it_unfolds(model: Path) -> None:
    members = read_zip(model)
    with zipfile.ZipFile(model, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.json", b" " * (40 << 20))
        archive.writestr("weights.safetensors", members["weights.safetensors"], zipfile.ZIP_STORED)
    tracemalloc.start()
    with pytest.raises(VesalError, match="claims 41943040 bytes"):
        load_package(model)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    with zipfile.ZipFile(model, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(VesalError, match="is compressed"):
        load_package(model)


def test_a_size_that_the_directory_makes_up_is_refused(model: Path) -> None:
    data = bytearray(model.read_bytes())
    entry = data.rindex(b"PK\x01\x02")  # the weights' entry in the directory; its sizes are at 20 and 24
    for size in (0x7FFFFFF0, 8):
        data[entry + 20 : entry + 28] = 2 * size.to_bytes(4, "little")
        model.write_bytes(data)
        with pytest.raises(VesalError):
            load_package(model)


def set_plan(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda description: description["plan"].update(values)


def set_stage(index: int, **values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda description: description["plan"]["stages"][index].update(values)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda d: d.update(version=2), "version 2 and this Vesal reads 1; update Vesal"),
        (lambda d: d.update(version="1"), "has no version"),
        (lambda d: d.update(format="onnx"), "does not describe a model"),
        (lambda d: d.update(network="unet-9000"), "'unet-9000'.*residual-unet, unet; update Vesal"),
        (lambda d: d.update(network=["unet"]), "no valid 'network'"),
        (lambda d: d.update(scores=[1]), "no valid 'scores'"),
        (lambda d: d.pop("quality"), "no valid 'quality'"),
        (lambda d: d.pop("recipe"), "no valid 'recipe'"),
        (set_plan(version=2, colour="new"), "its plan has version 2 and this Vesal reads 1; update Vesal"),
        (set_plan(colour="new"), "colour"),
        (set_plan(spacing_mm=[0.0, 1.0]), "above zero"),
        (set_plan(spacing_mm=[1.0, 1e-300]), "not sensible"),
        (set_plan(batch=10**9), "not sensible"),
        (set_plan(patch=[2 * 10**9, 2]), "not sensible"),
        (set_plan(patch=[0, 0]), "above zero"),
        (set_plan(mirror_axes=[2]), "not sensible"),
        (set_plan(mirror_axes=[0, 1] * 500), "not sensible"),
        (set_plan(reasons=["x"] * 5000), "a list of 5000 items"),
        (set_plan(channels=["CT"] * 2), "2 channels but 1"),
        (set_stage(1, stride=[0, 0]), "above zero"),
        (set_stage(1, stride=[-2, 2]), "above zero"),
        (set_stage(1, kernel=[2, 2]), "describes no network.*even"),
        (set_stage(1, features=7), "where the plan needs"),
        (set_stage(1, features=10**12), "where the plan needs|describes no network"),
        (set_stage(1, features=10**30), "describes no network"),
        (set_stage(1, features=-1), "above zero"),
        (set_stage(1, kernel=[10**9 + 1, 10**9 + 1]), "where the plan needs|describes no network"),
        (set_stage(1, convolutions=10**9), "do not fit a plan of 1000000002 convolutions"),
        (set_stage(1, convolutions=3), "weights are missing"),
        (set_stage(0, convolutions=1), "weights are not of this network"),
    ],
)
def test_a_description_that_lies_is_refused_with_the_reason(
    model: Path, edit: Callable[[dict[str, Any]], Any], reason: str
) -> None:
    with pytest.raises(VesalError, match=reason):
        load_package(edit_json(model, edit))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"1" * 10_000,
        b'{"format": "vesal-model", "version": 1' + b"0" * 5000 + b"}",
    ],
)
def test_json_that_is_none_is_refused(model: Path, text: bytes) -> None:
    with pytest.raises(VesalError, match=r"model\.json"):
        load_package(write_zip(model, read_zip(model) | {"model.json": text}))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(model: Path, number: str) -> None:
    members = read_zip(model)
    members["model.json"] = members["model.json"].replace(b"200.5", number.encode())
    with pytest.raises(VesalError, match="no JSON number"):
        load_package(write_zip(model, members))


def test_a_plan_nested_deeper_than_python_goes_is_refused(model: Path) -> None:
    members = read_zip(model)
    nested = b"[" * 900 + b"]" * 900
    members["model.json"] = members["model.json"].replace(b'"reasons": []', b'"reasons": ' + nested)
    with pytest.raises(VesalError):
        load_package(write_zip(model, members))


def test_weights_that_are_none_are_refused(model: Path) -> None:
    members = read_zip(model)
    good = members["weights.safetensors"]
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    for data in (
        b"",
        b"\x00" * 8,
        b"\xff" * 8 + good[8:],
        good[:-4],
        good + b"\x00" * 4,
        len(header).to_bytes(8, "little") + header,
        b"\x80\x02}q\x00.",
    ):
        with pytest.raises(VesalError):
            load_package(write_zip(model, members | {"weights.safetensors": data}))


def test_weights_of_another_kind_are_refused(model: Path) -> None:
    members, weights = read_zip(model), make_package().weights
    bias = weights["heads.0.bias"]
    for wrong, reason in [
        (bias.half(), "float16"),
        (bias[:2].clone(), r"\(2,\) where the plan needs torch.float32 \(3,\)"),
        (bias * math.inf, "not finite"),
    ]:
        data = save_tensors(weights | {"heads.0.bias": wrong})
        with pytest.raises(VesalError, match=reason):
            load_package(write_zip(model, members | {"weights.safetensors": data}))


def test_no_damage_gets_past_as_anything_but_a_told_error(model: Path, tmp_path: Path) -> None:
    good = model.read_bytes()
    chance = np.random.default_rng(11)
    told = 0
    # Most bytes are weights, under one checksum; the directory and the headers are where readers stumble.
    start, end = good.index(b"weights.safetensors"), good.rindex(b"PK\x01\x02") - 200
    delicate = np.r_[0:80, start - 40 : start + 400, end : len(good)]
    for attempt in range(400):
        data = bytearray(good)
        if attempt % 4 == 0:
            del data[chance.integers(len(data)) :]
        elif attempt % 4 == 1:
            data[chance.integers(len(data))] ^= 1 << chance.integers(8)
        else:
            for place in chance.choice(delicate, size=chance.integers(1, 4)):
                data[place] = chance.integers(256)
        path = tmp_path / "fuzzed.vesal"
        path.write_bytes(data)
        try:
            loaded = load_package(path)
        except VesalError:
            told += 1
        else:
            assert loaded.build()(torch.zeros(1, 1, 16, 16)).isfinite().all()
    assert told > 200


def test_damaged_json_under_a_right_checksum_is_told(model: Path) -> None:
    members = read_zip(model)
    chance = np.random.default_rng(12)
    for _ in range(200):
        text = bytearray(members["model.json"])
        for place in chance.integers(len(text), size=chance.integers(1, 3)):
            text[place] = chance.choice(np.frombuffer(b'0123456789-eE."[]{},: nut\x00\xff', dtype=np.uint8))
        with contextlib.suppress(VesalError):  # a valid model, or a told error, nothing else
            load_package(write_zip(model, members | {"model.json": bytes(text)})).build()


def test_damaged_weights_under_a_right_checksum_are_told(model: Path) -> None:
    members = read_zip(model)
    chance = np.random.default_rng(13)
    good = members["weights.safetensors"]
    header = 8 + int.from_bytes(good[:8], "little")
    for _ in range(200):
        data = bytearray(good)
        data[chance.integers(header)] = chance.integers(256)
        with contextlib.suppress(VesalError):
            load_package(write_zip(model, members | {"weights.safetensors": bytes(data)})).build()


def test_a_model_file_can_be_deleted_once_it_is_loaded(model: Path) -> None:
    package = load_package(model)
    model.unlink()
    assert package.build()(torch.zeros(1, 1, 16, 16)).isfinite().all()
