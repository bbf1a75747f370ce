"""The zip of a model, and its description."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from vesal.errors import UsageError, VesalError
from vesal.nn.model_archive import (
    JSON,
    RefusedError,
    read_archive,
    read_description,
    refusing,
    write_archive,
)


def test_members_come_back_and_the_same_ones_give_the_same_bytes(tmp_path: Path) -> None:
    members = {JSON: b"{}", "graph.onnx": b"\0" * 1000}
    for name in ("one", "other"):
        write_archive(tmp_path / name, members)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert read_archive(tmp_path / "one", lambda names: names) == members
    assert read_archive(tmp_path / "one", lambda _: [JSON]) == {JSON: b"{}"}


def test_more_members_than_are_read_are_not_written(tmp_path: Path) -> None:
    members = {JSON: b"{}"} | {f"weights_{number}": b"" for number in range(64)}
    with pytest.raises(VesalError, match="would hold 65 files, and at most 64 are read"):
        write_archive(tmp_path / "model", members)
    assert list(tmp_path.iterdir()) == []
    del members["weights_0"]
    write_archive(tmp_path / "model", members)
    assert read_archive(tmp_path / "model", lambda names: names) == members


def test_what_is_not_there_or_twice_or_compressed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    write_archive(path, {JSON: b"{}"})
    with pytest.raises(RefusedError, match="no graph"):
        read_archive(path, lambda _: ["graph"])
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(JSON, "{}")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(JSON, "{}")
    with pytest.raises(RefusedError, match="more than one"):
        read_archive(path, lambda _: [JSON])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("graph", b"\0" * 10**6)
    with pytest.raises(RefusedError, match="is compressed"):
        read_archive(path, lambda _: ["graph"])


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"format": "other"}, "does not describe"),
        ({"format": "mine", "version": 3}, "has version 3 and this Vesal reads 2"),
        ({"format": "mine", "version": True}, "has no version"),
        ({"format": "mine", "version": 1, "plan": []}, "no valid 'plan'"),
    ],
)
def test_a_description_of_something_else_is_refused(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(RefusedError, match=sentence):
        read_description(json.dumps(values).encode(), "mine", 2, {"plan": dict})


def test_numbers_that_are_none_are_refused() -> None:
    for text in (b'{"format": NaN}', b'{"format": 1e999}', b"[[", b"\xff"):
        with pytest.raises(RefusedError, match="is damaged"):
            read_description(text, "mine", 1, {})


def test_whatever_goes_wrong_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.vesal"
    with pytest.raises(UsageError, match="is not there"), refusing(path):
        pass
    path.write_bytes(b"x")
    for error in (RefusedError("it is odd"), KeyError("plan"), OSError(5, "no")):
        with pytest.raises(VesalError, match=r"model\.vesal"), refusing(path):
            raise error
