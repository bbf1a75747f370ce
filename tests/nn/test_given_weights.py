"""Weights of other files: read without running anything, fitted by name, and reported."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vesal.errors import UsageError, VesalError
from vesal.nn.given_weights import fit_weights, read_weights


def network(outputs: int = 2) -> nn.Module:
    return nn.Sequential(
        OrderedDict(enter=nn.Conv2d(1, 4, 3), norm=nn.BatchNorm2d(4), head=nn.Conv2d(4, outputs, 1))
    )


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"model_state_dict": weights, "optimizer": {"state": {}}},
        lambda weights: {"network_weights": weights},
        lambda weights: {"state_dict": {f"module.{name}": one for name, one in weights.items()}},
        lambda weights: {f"module._orig_mod.{name}": one for name, one in weights.items()},
    ],
)
def test_a_state_dict_is_found_where_programs_keep_it(wrap: Any, tmp_path: Path) -> None:
    weights = network().state_dict()
    torch.save(wrap(weights), tmp_path / "w.pth")
    fitted = fit_weights(read_weights(tmp_path / "w.pth"), network(), tmp_path / "w.pth")
    assert same(fitted.tensors, weights)
    assert "9 of 9 tensors taken (100.0% of the weights)." in fitted.sentence


def test_safetensors_are_read(tmp_path: Path) -> None:
    weights = network().state_dict()
    save_file(weights, tmp_path / "w.safetensors")
    assert same(read_weights(tmp_path / "w.safetensors"), weights)


def test_a_head_of_other_classes_is_begun_anew_and_all_that_did_not_fit_is_reported() -> None:
    weights = dict(network(3).state_dict()) | {"decoder.weight": torch.ones(2)}
    del weights["norm.bias"]
    fitted = fit_weights(weights, network(2), Path("w.pth"))
    assert set(fitted.tensors) == set(network().state_dict()) - {"head.weight", "head.bias", "norm.bias"}
    assert "head.weight (3 x 4 x 1 x 1 there, 2 x 4 x 1 x 1 here)" in fitted.sentence
    assert "not in it, so begun anew: norm.bias" in fitted.sentence
    assert "in it, but not in the network: decoder.weight" in fitted.sentence


def test_where_all_shapes_agree_in_their_order_the_names_may_differ() -> None:
    weights = {f"layer{number}": one for number, one in enumerate(network().state_dict().values())}
    fitted = fit_weights(weights, network(), Path("w.pth"))
    assert fitted.tensors["head.weight"] is weights["layer7"]
    assert "in their order" in fitted.sentence


def test_weights_of_another_network_are_refused_with_what_both_hold() -> None:
    other = nn.Sequential(nn.Conv3d(1, 7, 3), nn.Conv3d(7, 2, 3)).state_dict()
    with pytest.raises(
        VesalError, match=r"it holds 0\.weight \(7 x 1 x 3 x 3 x 3\).*the network has enter\.weight"
    ):
        fit_weights(other, network(), Path("w.pth"))


class _Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("hostile-was-run"),))


def test_code_in_a_file_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": network().state_dict(), "extra": _Hostile()}, tmp_path / "w.pth")
    (tmp_path / "old.pkl").write_bytes(pickle.dumps(_Hostile()))
    for name in ("w.pth", "old.pkl"):
        with pytest.raises(VesalError, match="more than tensors, which is never opened"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "hostile-was-run").exists()


def test_what_holds_no_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("not weights")
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    torch.save({"a": torch.tensor([float("nan")])}, tmp_path / "nan.pth")
    for name, words in (("text", "cannot be read"), ("none", "holds no tensors"), ("nan", "not finite")):
        with pytest.raises(VesalError, match=words):
            read_weights(tmp_path / f"{name}.pth")
    for path, words in ((tmp_path, "is a folder"), (tmp_path / "absent", "is not there")):
        with pytest.raises(UsageError, match=words):
            read_weights(path)
