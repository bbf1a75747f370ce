"""The model file: one NAME.vesal that holds all that prediction needs, and no executable code.

It is a zip of `model.json` (network, plan with its labels, recipe, provenance, scores) and
`weights.safetensors`, with `weights_2.safetensors` and so on where several networks vote, all stored as they
are. The same content gives the same bytes. Nothing is unpacked to the disk and no pickle is read, so a model
file from elsewhere is safe to open: whatever is wrong with it, `load_package` says so in a VesalError, and takes
no more memory than a few times the file's own size.
"""

from __future__ import annotations

import itertools
import json
import math
import zipfile
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from pydantic import ValidationError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from vesal.errors import UsageError, VesalError
from vesal.files import atomic_path, content_hash
from vesal.nn.monai_networks import MissingExtraError
from vesal.nn.zoo import NETWORKS, build_network
from vesal.planning.plan import PLAN_VERSION, Plan

#: Of `model.json`.
PACKAGE_VERSION = 1

_FORMAT = "vesal-model"
_JSON, _WEIGHTS = "model.json", "weights.safetensors"
#: Only there where the plan has a locator, whose network is always this.
_LOCATOR, _LOCATOR_NETWORK = "locator.safetensors", "unet"
#: Members of `model.json` that are null before something was measured.
_MEASURED = ("scores", "quality", "postprocess", "bfloat16")
_EXPECTED = "a model is a file NAME.vesal as written by vesal train"

# Far above any real model; a file beyond them was made to exhaust memory or time.
_MAX_MEMBERS = 64
_MAX_JSON_BYTES = 32 << 20
_MAX_TENSORS = 20_000
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


class _RefusedError(VesalError):
    """What is wrong with a model, and the fix; the caller adds which file."""

    def __init__(self, what: str, fix: str = "get it again from where it was made") -> None:
        super().__init__(f"The model cannot be used: {what}; {fix}.")
        self.what = what
        self.fix = fix


@dataclass(frozen=True)
class Package:
    """A trained model.

    Attributes:
        plan: how scans are prepared and what the network looks like.
        network: its name in `vesal.nn.zoo.NETWORKS`.
        recipe: the training configuration, as JSON values.
        provenance: versions, data fingerprint, dates and the like, as JSON values.
        weights: the network's state dict, on the CPU.
        more_weights: of further networks of the same kind, which vote with the first; each as `weights`.
        locator_weights: of the network of the plan's locator; None where it has none.
        scores: what it reached, as JSON values; None if not measured.
        quality: its quality model (`vesal.infer.quality.quality_model`), as JSON values; None if not fitted.
        postprocess: what is done to its label maps (`vesal.infer.postprocess`), as JSON values; None for nothing.
        bfloat16: whether its masks are the same in it (`vesal.infer.backends.bfloat16_agreement`), as JSON values; None
            if not compared.
    """

    plan: Plan
    network: str
    recipe: dict[str, Any]
    provenance: dict[str, Any]
    weights: dict[str, Tensor]
    scores: dict[str, Any] | None = None
    quality: dict[str, Any] | None = None
    postprocess: dict[str, Any] | None = None
    bfloat16: dict[str, Any] | None = None
    more_weights: tuple[dict[str, Tensor], ...] = ()
    locator_weights: dict[str, Tensor] | None = None

    @property
    def weights_digest(self) -> str:
        """A digest of the weights alone."""
        return content_hash(
            *(save_tensors(dict(of)) for of in (self.weights, *self.more_weights, self.locator_weights or {}))
        )

    @property
    def voters(self) -> tuple[Package, ...]:
        """Each of the networks that vote, as a model of its own."""
        return tuple(replace(self, weights=of, more_weights=()) for of in (self.weights, *self.more_weights))

    @property
    def locator(self) -> Package | None:
        """The coarse network that finds the place, as a model of its own; None where there is none."""
        if self.plan.locator is None or self.locator_weights is None:
            return None
        return replace(
            self, plan=self.plan.locator, network=_LOCATOR_NETWORK, weights=self.locator_weights,
            more_weights=(), locator_weights=None, scores=None, quality=None, postprocess=None, bfloat16=None,
        )  # fmt: skip

    def build(self, *, copy: bool = True) -> nn.Module:
        """The first network with its weights, on the CPU, in eval mode.

        Args:
            copy: it has its own copy of them; else it shares them with the package, and must not be trained.

        Raises:
            VesalError: the weights are not those of the plan's network.
        """
        _check_weights(self.weights, self.plan, self.network)
        # On meta nothing is allocated or drawn at random: the weights come next.
        with torch.device("meta"):
            network = build_network(self.network, self.plan)
        weights = {name: tensor.clone() if copy else tensor for name, tensor in self.weights.items()}
        network.load_state_dict(weights, strict=True, assign=True)
        return network.eval()


def save_package(path: str | Path, package: Package) -> None:
    """Write a model file, whole or not at all; the same package always gives the same bytes.

    Floating-point weights are stored as float32.

    Raises:
        VesalError: the weights are not those of the plan's network or not finite, the recipe, provenance or
            what was measured is not JSON (NaN is not), or the file cannot be written.
    """
    voters = {_weights_name(number): of for number, of in enumerate(package.more_weights, 2)}
    members = {_WEIGHTS: package.weights, **voters, _LOCATOR: package.locator_weights}
    stored = {name: _as_stored(weights) for name, weights in members.items() if weights is not None}
    description = {
        "format": _FORMAT,
        "version": PACKAGE_VERSION,
        "network": package.network,
        "plan": package.plan.model_dump(mode="json"),
        "recipe": package.recipe,
        "provenance": package.provenance,
        **{name: getattr(package, name) for name in _MEASURED},
    }
    try:
        for name in (_WEIGHTS, *voters):
            _check_weights(stored[name], package.plan, package.network)
        _check_locator(stored.get(_LOCATOR), package.plan)
        text = json.dumps(description, indent=1, sort_keys=True, allow_nan=False)
    except _RefusedError as error:
        raise VesalError(f"Cannot write the model {path}: {error.what}; train it again.") from error
    except (TypeError, ValueError) as error:
        raise VesalError(f"Cannot write the model {path}: its description is not JSON ({error}).") from error
    with (
        atomic_path(path, durable=True) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        archive.writestr(_member(_JSON), text.encode())
        for name, weights in stored.items():
            archive.writestr(_member(name), save_tensors(weights))


def _as_stored(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tensor.detach().to("cpu", torch.float32 if tensor.is_floating_point() else None).contiguous()
        for name, tensor in weights.items()
    }


def load_package(path: str | Path) -> Package:
    """Read a model file, valid, damaged or hostile.

    Raises:
        UsageError: there is no such file.
        VesalError: it is not a model file, is damaged, contradicts itself, or is of a newer Vesal.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise UsageError(f"{path} {what}; name a model file, NAME.vesal.")
    try:
        members = _read_members(path)
        description = _parse(members[_JSON])
        plan = _plan(description["plan"])
        weights, *more_weights = (load_tensors(members[name]) for name in _voters(members))
        locator_weights = load_tensors(members[_LOCATOR]) if _LOCATOR in members else None
        for of in (weights, *more_weights):
            _check_weights(of, plan, description["network"])
        _check_locator(locator_weights, plan)
    except _RefusedError as error:
        raise VesalError(f"{path} is not a usable Vesal model: {error.what}; {error.fix}.") from error
    except OSError as error:
        raise VesalError(f"Cannot read {path}: {error.strerror or error}.") from error
    except Exception as error:
        # Zip, JSON, safetensors and pydantic each have their own ways to stumble over hostile bytes.
        raise VesalError(
            f"{path} is damaged ({_brief(error)}); get it again from where it was made."
        ) from error
    return Package(
        plan=plan,
        network=description["network"],
        recipe=description["recipe"],
        provenance=description["provenance"],
        weights=weights,
        more_weights=tuple(more_weights),
        locator_weights=locator_weights,
        **{name: description[name] for name in _MEASURED},
    )


# --- the zip --------------------------------------------------------------------------------------------


def _member(name: str) -> zipfile.ZipInfo:
    """An entry without date, owner or system: they would make equal models differ."""
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system = 3
    info.external_attr = 0o644 << 16
    return info


def _weights_name(number: int) -> str:
    """Of the network of that number, from 1."""
    return _WEIGHTS if number == 1 else f"weights_{number}.safetensors"


def _voters(names: Container[str]) -> list[str]:
    """Names of the weights that are there, of the first network in any case."""
    there = itertools.takewhile(names.__contains__, map(_weights_name, itertools.count(2)))
    return [_WEIGHTS, *there]


def _read_members(path: Path) -> dict[str, bytes]:
    """The known members' bytes. Any other is left alone: nothing is ever unpacked under its own name."""
    size = path.stat().st_size
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise _not_a_zip(path) from error
    with archive:
        names = archive.namelist()
        if len(names) > _MAX_MEMBERS:
            raise _RefusedError(f"it holds {len(names)} files where 2 are expected")
        if any(name.endswith("data.pkl") for name in names):
            raise _RefusedError("it looks like a PyTorch checkpoint, which is never opened", _EXPECTED)
        members = {}
        for name in (_JSON, *_voters(names), *([_LOCATOR] if _LOCATOR in names else [])):
            if names.count(name) != 1:
                found = "there is no" if name not in names else "there is more than one"
                raise _RefusedError(f"{found} {name} in it")
            members[name] = _read_member(archive, archive.getinfo(name), size)
    return members


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, archive_bytes: int) -> bytes:
    if info.filename == _JSON:
        limit = _MAX_JSON_BYTES
    else:
        # Weights are stored, never compressed: what is in the file is all that can come out of it.
        limit = archive_bytes
        if info.compress_type != zipfile.ZIP_STORED:
            raise _RefusedError(f"{info.filename} is compressed, which Vesal never does")
    if info.file_size > limit or info.compress_size > archive_bytes:
        raise _RefusedError(f"{info.filename} claims {info.file_size} bytes")
    with archive.open(info) as file:
        data = file.read(info.file_size)
        # Only at the end of the member is its checksum compared.
        if len(data) != info.file_size or file.read(1):
            raise _RefusedError(f"{info.filename} is not as long as it says")
    return data


def _not_a_zip(path: Path) -> _RefusedError:
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"PK"):
        return _RefusedError("it is cut off or damaged")
    for magic, what in _LOOKS_LIKE:
        if start.startswith(magic):
            return _RefusedError(f"it looks like {what}", _EXPECTED)
    return _RefusedError("it is of another kind" if start else "it is empty", _EXPECTED)


# --- what it says ---------------------------------------------------------------------------------------


def _parse(data: bytes) -> dict[str, Any]:
    try:
        description = json.loads(data, parse_constant=_not_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise _RefusedError(f"{_JSON} is damaged ({_brief(error)})") from error
    if not isinstance(description, dict) or description.get("format") != _FORMAT:
        raise _RefusedError(f"{_JSON} does not describe a model")
    _check_version("the file", description.get("version"), PACKAGE_VERSION)
    wanted = {"network": str, "plan": dict, "recipe": dict, "provenance": dict}
    for key, kind in wanted.items():
        if not isinstance(description.get(key), kind):
            raise _RefusedError(f"{_JSON} has no valid '{key}'")
    for key in _MEASURED:
        if key not in description or not isinstance(description[key], dict | None):
            raise _RefusedError(f"{_JSON} has no valid '{key}'")
    if description["network"] not in NETWORKS:
        known = ", ".join(sorted(NETWORKS))
        name = _brief(description["network"])
        raise _RefusedError(f"it names the network '{name}', and this Vesal knows: {known}", "update Vesal")
    return description


def _plan(values: dict[str, Any]) -> Plan:
    _check_version("its plan", values.get("version"), PLAN_VERSION)
    try:
        _check_lists(values)
        plan = Plan.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        reason = ".".join(str(part) for part in first["loc"]) + ": " + first["msg"]
        raise _RefusedError(f"its plan is not valid ({_brief(reason)})") from error
    except (ArithmeticError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise _RefusedError(f"its plan is not valid ({_brief(error)})") from error
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
        and all(abs(value) < 1 << 31 for value in plan.labels.values)
        and all(scale.std is None or scale.std > 0 for scale in plan.normalisation)
    )
    if not sensible:
        raise _RefusedError(
            f"its plan is not sensible (patch {_brief(plan.patch)}, batch {_brief(plan.batch)}, "
            f"spacing {_brief(plan.spacing_mm)})"
        )


def _check_version(what: str, found: Any, ours: int) -> None:
    if type(found) is not int or found < 1:
        raise _RefusedError(f"{what} has no version")
    if found > ours:
        raise _RefusedError(f"{what} has version {_brief(found)} and this Vesal reads {ours}", "update Vesal")


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


def _brief(what: object) -> str:
    """Someone else's words, shortened to one line."""
    line = " ".join(str(what).split()) or type(what).__name__
    line = "".join(letter if letter.isprintable() else "?" for letter in line[:200])
    return line if len(line) <= 160 else line[:157] + "..."


# --- do the weights fit -----------------------------------------------------------------------------------


def _check_weights(weights: Mapping[str, Tensor], plan: Plan, network: str) -> None:
    """Raise _RefusedError unless `weights` are finite and just those of the plan's network.

    A plan can ask for terabytes. Every convolution needs a tensor of its own, so the count of those that are
    there bounds the layers, and the network is compared on the meta device, which has no memory to fill.
    """
    convolutions = sum(max(1, stage.convolutions, stage.decoder_convolutions) for stage in plan.stages)
    if convolutions > len(weights) or len(weights) > _MAX_TENSORS:
        raise _RefusedError(f"{len(weights)} weights do not fit a plan of {convolutions} convolutions")
    try:
        with torch.device("meta"):
            expected = build_network(network, plan).state_dict()
    except MissingExtraError as error:
        fix = "install it: pip install 'vesal[monai]'"
        raise _RefusedError(f"its network {network} needs a library that is not installed", fix) from error
    except Exception as error:
        raise _RefusedError(f"its plan describes no network ({_brief(error)})") from error
    if missing := sorted(expected.keys() - weights.keys()):
        raise _RefusedError(f"{len(missing)} weights are missing, such as {_brief(missing[0])}")
    if unknown := sorted(weights.keys() - expected.keys()):
        raise _RefusedError(f"{len(unknown)} weights are not of this network, such as {_brief(unknown[0])}")
    for name, tensor in weights.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise _RefusedError(
                f"weight {name} is {tensor.dtype} {tuple(tensor.shape)} where the plan needs {wanted.dtype} "
                f"{tuple(wanted.shape)}"
            )
        if not tensor.isfinite().all():
            raise _RefusedError(f"weight {name} holds values that are not finite")


def _check_locator(weights: Mapping[str, Tensor] | None, plan: Plan) -> None:
    """Raise _RefusedError unless there are weights of a locator just where the plan has one, and they are its own."""
    if (weights is None) != (plan.locator is None):
        raise _RefusedError(f"{_LOCATOR} and the plan's locator are not both there")
    if weights is not None and plan.locator is not None:
        _check_weights(weights, plan.locator, _LOCATOR_NETWORK)
