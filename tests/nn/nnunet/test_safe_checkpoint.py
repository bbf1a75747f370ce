"""Checkpoints are read without running them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from their_networks import Hostile

from vesal.errors import UsageError, VesalError
from vesal.nn.nnunet.safe_checkpoint import read_checkpoint, tensors_of


def test_tensors_and_texts_are_read_and_numbers_of_numpys_forgotten(tmp_path: Path) -> None:
    held = {
        "network_weights": {"a": torch.arange(3.0)},
        "logging": [np.float64(1.5), np.float32(2.0), np.int64(3), np.bool_(True), np.arange(4)],
        "init_args": {"configuration": "2d", "device": torch.device("cpu")},
    }
    torch.save(held, tmp_path / "c.pth")
    found = read_checkpoint(tmp_path / "c.pth")
    assert found["init_args"]["configuration"] == "2d"
    assert not any(isinstance(one, np.generic | np.ndarray) for one in found["logging"])
    assert torch.equal(tensors_of(found["network_weights"], tmp_path / "c.pth")["a"], torch.arange(3.0))


def test_a_hostile_checkpoint_is_refused_and_nothing_of_it_runs(tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    torch.save({"network_weights": {"a": torch.ones(1)}, "logging": Hostile(mark)}, tmp_path / "c.pth")
    with pytest.raises(VesalError, match="which is never opened"):
        read_checkpoint(tmp_path / "c.pth")
    assert not mark.exists()


def test_a_damaged_file_an_absent_one_and_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "c.pth").write_bytes(b"\x80\x02}q\x00")
    with pytest.raises(VesalError, match="damaged"):
        read_checkpoint(tmp_path / "c.pth")
    with pytest.raises(UsageError, match="is not there"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(UsageError, match="is a folder"):
        read_checkpoint(tmp_path)


def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1).expand(1 << 20, 1 << 10)}, tmp_path / "c.pth")
    with pytest.raises(VesalError, match="a is larger than the file itself"):
        tensors_of(read_checkpoint(tmp_path / "c.pth"), tmp_path / "c.pth")
