"""The file that holds a model: a zip with a description, read without unpacking it and refused where it is hostile.

What is in it beside the description, a model file's weights or an exported model's graphs, is its reader's knowledge.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from vesal.errors import UsageError, VesalError
from vesal.files import atomic_path, parse_json
from vesal.planning.plan import PLAN_VERSION, Plan

#: The description.
JSON = "model.json"

EXPECTED = "a model is a file NAME.vesal as written by vesal train"

# Far above any real model; a file beyond them was made to exhaust memory or time.
_MAX_MEMBERS = 64
_MAX_JSON_BYTES = 32 << 20
_MAX_LIST = 1024  # of items in any list of a plan
_MAX_PATCH_VOXELS = 1 << 28
_MAX_BATCH = 1 << 16

_LOOKS_LIKE = (
    (b"\x1f\x8b", "a gzip-compressed file, such as a .nii.gz scan"),
    (b"\x80", "a Python pickle, such as an old PyTorch checkpoint, which is never opened"),
    (b"\x89PNG", "a PNG image"),
    (b"\x89HDF", "an HDF5 file"),
    (b"NRRD", "an NRRD scan"),
    (b"ObjectType", "a MetaImage scan"),
    (b"\x5c\x01\x00\x00", "a NIfTI scan"),
    (b"{", "a JSON file"),
)


class RefusedError(VesalError):
    """What is wrong with a model, and the fix; the caller adds which file."""

    def __init__(self, what: str, fix: str = "get it again from where it was made") -> None:
        super().__init__(f"The model cannot be used: {what}; {fix}.")
        self.what = what
        self.fix = fix


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Whatever goes wrong while a model file is read becomes a VesalError that names it.

    Raises:
        UsageError: there is no such file.
        VesalError: it is not a model file, is damaged, contradicts itself, or is of a newer Vesal.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise UsageError(f"{path} {what}; name a model file, NAME.vesal.")
    try:
        yield
    except RefusedError as error:
        raise VesalError(f"{path} is not a usable Vesal model: {error.what}; {error.fix}.") from error
    except OSError as error:
        raise VesalError(f"Cannot read {path}: {error.strerror or error}.") from error
    except Exception as error:
        # Zip, JSON, safetensors and pydantic each have their own ways to stumble over hostile bytes.
        raise VesalError(
            f"{path} is damaged ({brief(error)}); get it again from where it was made."
        ) from error


# --- the zip --------------------------------------------------------------------------------------------


def write_archive(path: str | Path, members: Mapping[str, bytes]) -> None:
    """Write a file of these members, whole or not at all; the same ones always give the same bytes.

    Raises:
        VesalError: it cannot be written, or holds more members than are read.
    """
    if len(members) > _MAX_MEMBERS:
        raise VesalError(
            f"{path} would hold {len(members)} files, and at most {_MAX_MEMBERS} are read; let fewer networks vote."
        )
    with (
        atomic_path(path, durable=True) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        for name, data in members.items():
            archive.writestr(_member(name), data)


def _member(name: str) -> zipfile.ZipInfo:
    """An entry without date, owner or system: they would make equal models differ."""
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system = 3
    info.external_attr = 0o644 << 16
    return info


def read_archive(path: Path, wanted: Callable[[Sequence[str]], Sequence[str]]) -> dict[str, bytes]:
    """The bytes of the wanted members. Any other is left alone: nothing is ever unpacked under its own name.

    Args:
        path: of the file.
        wanted: the names that are there -> those to read, each of which is there once.

    Raises:
        RefusedError: it is no such file, or hostile.
    """
    size = path.stat().st_size
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise _not_a_zip(path) from error
    with archive:
        names = archive.namelist()
        if len(names) > _MAX_MEMBERS:
            raise RefusedError(f"it holds {len(names)} files where 2 are expected")
        if any(name.endswith("data.pkl") for name in names):
            raise RefusedError("it looks like a PyTorch checkpoint, which is never opened", EXPECTED)
        members = {}
        for name in wanted(names):
            if names.count(name) != 1:
                found = "there is no" if name not in names else "there is more than one"
                raise RefusedError(f"{found} {name} in it")
            members[name] = _read_member(archive, archive.getinfo(name), size)
    return members


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, archive_bytes: int) -> bytes:
    if info.filename == JSON:
        limit = _MAX_JSON_BYTES
    else:
        # Weights are stored, never compressed: what is in the file is all that can come out of it.
        limit = archive_bytes
        if info.compress_type != zipfile.ZIP_STORED:
            raise RefusedError(f"{info.filename} is compressed, which Vesal never does")
    if info.file_size > limit or info.compress_size > archive_bytes:
        raise RefusedError(f"{info.filename} claims {info.file_size} bytes")
    with archive.open(info) as file:
        data = file.read(info.file_size)
        # Only at the end of the member is its checksum compared.
        if len(data) != info.file_size or file.read(1):
            raise RefusedError(f"{info.filename} is not as long as it says")
    return data


def _not_a_zip(path: Path) -> RefusedError:
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"PK"):
        return RefusedError("it is cut off or damaged")
    for magic, what in _LOOKS_LIKE:
        if start.startswith(magic):
            return RefusedError(f"it looks like {what}", EXPECTED)
    return RefusedError("it is of another kind" if start else "it is empty", EXPECTED)


# --- what it says ---------------------------------------------------------------------------------------


def read_description(data: bytes, form: str, version: int, wanted: Mapping[str, type]) -> dict[str, Any]:
    """The JSON object that describes a model.

    Args:
        data: of the member JSON.
        form: its 'format'.
        version: that this Vesal reads.
        wanted: fields that it has in any case, and their types.

    Raises:
        RefusedError: it is damaged or describes something else.
    """
    try:
        description = parse_json(data, parse_constant=_not_finite, parse_float=_finite)
    except ValueError as error:
        raise RefusedError(f"{JSON} is damaged ({brief(error)})") from error
    if not isinstance(description, dict) or description.get("format") != form:
        raise RefusedError(f"{JSON} does not describe a model")
    check_version("the file", description.get("version"), version)
    for key, kind in wanted.items():
        if not isinstance(description.get(key), kind):
            raise RefusedError(f"{JSON} has no valid '{key}'")
    return description


def read_plan(values: dict[str, Any]) -> Plan:
    """The plan of a description.

    Raises:
        RefusedError: it is not valid, not sensible, or of a newer Vesal.
    """
    check_version("its plan", values.get("version"), PLAN_VERSION)
    try:
        _check_lists(values)
        plan = Plan.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        reason = ".".join(str(part) for part in first["loc"]) + ": " + first["msg"]
        raise RefusedError(f"its plan is not valid ({brief(reason)})") from error
    except (ArithmeticError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise RefusedError(f"its plan is not valid ({brief(error)})") from error
    _check_sizes(plan)
    if plan.locator is not None:
        _check_sizes(plan.locator)
    return plan


def _check_sizes(plan: Plan) -> None:
    sizes = [plan.batch, *plan.patch, *plan.median_shape, *(step for s in plan.stages for step in s.stride)]
    sensible = (
        min(sizes) >= 1
        and plan.batch <= _MAX_BATCH
        and math.prod(plan.patch) <= _MAX_PATCH_VOXELS
        and all(1e-5 < spacing < 1e5 for spacing in plan.spacing_mm)
        and all(0 <= axis < plan.dimension for axis in plan.mirror_axes)
        and len(set(plan.mirror_axes)) == len(plan.mirror_axes)
        and all(abs(value) < 1 << 31 for value in plan.labels.values)
        and all(scale.std is None or scale.std > 0 for scale in plan.normalisation)
    )
    if not sensible:
        raise RefusedError(
            f"its plan is not sensible (patch {brief(plan.patch)}, batch {brief(plan.batch)}, "
            f"spacing {brief(plan.spacing_mm)})"
        )


def check_version(what: str, found: Any, ours: int) -> None:
    """Raise RefusedError unless a version is one that is read here."""
    if type(found) is not int or found < 1:
        raise RefusedError(f"{what} has no version")
    if found > ours:
        raise RefusedError(f"{what} has version {brief(found)} and this Vesal reads {ours}", "update Vesal")


def _check_lists(value: Any) -> None:
    """Plans are short; a long list is there to keep the validators busy."""
    if isinstance(value, list | dict):
        if len(value) > _MAX_LIST:
            raise ValueError(f"a list of {len(value)} items")
        for item in value.values() if isinstance(value, dict) else value:
            _check_lists(item)


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _not_finite(text)


def brief(what: object) -> str:
    """Someone else's words, shortened to one line."""
    line = " ".join(str(what).split()) or type(what).__name__
    line = "".join(letter if letter.isprintable() else "?" for letter in line[:200])
    return line if len(line) <= 160 else line[:157] + "..."
