"""The model file: one NAME.vesal that holds all that prediction needs, and no executable code.

It is a zip of `model.json` (network, plan with its labels, recipe, provenance, scores) and
`weights.safetensors`, with `weights_2.safetensors` and so on where several networks vote, and in the same way
`locator.safetensors` ... of a coarse network that comes first, all stored as they are. The same content gives
the same bytes. Nothing is unpacked to the disk and no pickle is read, so a model file from elsewhere is safe to
open: whatever is wrong with it, `load_package` says so in a VesalError, and takes no more memory than a few
times the file's own size.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from vesal.errors import VesalError
from vesal.files import content_hash
from vesal.nn.model_archive import (
    JSON,
    RefusedError,
    brief,
    read_archive,
    read_description,
    read_plan,
    refusing,
    write_archive,
)
from vesal.nn.monai_networks import MissingExtraError
from vesal.nn.zoo import NETWORKS, build_network
from vesal.planning.plan import Plan

#: Of `model.json`.
PACKAGE_VERSION = 1

_FORMAT = "vesal-model"
_WEIGHTS = "weights.safetensors"
#: Only there where the plan has a locator, whose network is this where it finds a box.
_LOCATOR, _LOCATOR_NETWORK = "locator.safetensors", "unet"
#: Members of `model.json` that are null before something was measured.
_MEASURED = ("scores", "quality", "postprocess", "bfloat16")
#: The same of members that are left out then: files of earlier versions do not have them.
_ADDED = ("missing_channels",)

# Far above any real model; a file beyond it was made to exhaust memory or time.
_MAX_TENSORS = 20_000


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
        more_locator_weights: of further networks of the locator, which vote with it.
        scores: what it reached, as JSON values; None if not measured.
        quality: its quality model (`vesal.infer.quality.quality_model`), as JSON values; None if not fitted.
        postprocess: what is done to its label maps (`vesal.infer.postprocess`), as JSON values; None for nothing.
        bfloat16: whether its masks are the same in it (`vesal.infer.backends.bfloat16_agreement`), as JSON values; None
            if not compared.
        missing_channels: what it costs that a channel is missing (`vesal.infer.channels.missing_channels`), as JSON
            values; None if not measured.
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
    missing_channels: dict[str, Any] | None = None
    more_weights: tuple[dict[str, Tensor], ...] = ()
    locator_weights: dict[str, Tensor] | None = None
    more_locator_weights: tuple[dict[str, Tensor], ...] = ()

    @cached_property
    def weights_digest(self) -> str:
        """A digest of the weights alone."""
        coarse = (self.locator_weights or {}, *self.more_locator_weights)
        return content_hash(*(save_tensors(dict(of)) for of in (self.weights, *self.more_weights, *coarse)))

    @property
    def voters(self) -> tuple[Package, ...]:
        """Each of the networks that vote, as a model of its own."""
        return tuple(replace(self, weights=of, more_weights=()) for of in (self.weights, *self.more_weights))

    @property
    def locator(self) -> Package | None:
        """The coarse network, or those that vote, as a model of its own; None where there is none."""
        if self.plan.locator is None or self.locator_weights is None:
            return None
        return replace(
            self, plan=self.plan.locator, network=_locator_network(self.plan, self.network),
            weights=self.locator_weights, more_weights=self.more_locator_weights, locator_weights=None,
            more_locator_weights=(), scores=None, quality=None, postprocess=None, bfloat16=None, missing_channels=None,
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
    voters = {_numbered(_WEIGHTS, number): of for number, of in enumerate(package.more_weights, 2)}
    coarse = {_numbered(_LOCATOR, number): of for number, of in enumerate(package.more_locator_weights, 2)}
    members = {_WEIGHTS: package.weights, **voters, _LOCATOR: package.locator_weights, **coarse}
    stored = {name: _as_stored(weights) for name, weights in members.items() if weights is not None}
    description = {
        "format": _FORMAT,
        "version": PACKAGE_VERSION,
        "network": package.network,
        "plan": package.plan.model_dump(mode="json"),
        "recipe": package.recipe,
        "provenance": package.provenance,
        **{name: getattr(package, name) for name in _MEASURED},
        **{name: of for name in _ADDED if (of := getattr(package, name)) is not None},
    }
    try:
        # What is written can be read.
        read_plan(description["plan"])
        for name in (_WEIGHTS, *voters):
            _check_weights(stored[name], package.plan, package.network)
        _check_locator([stored[name] for name in _voters(_LOCATOR, stored)], package.plan, package.network)
        text = json.dumps(description, indent=1, sort_keys=True, allow_nan=False)
    except RefusedError as error:
        raise VesalError(f"Cannot write the model {path}: {error.what}; train it again.") from error
    except (TypeError, ValueError) as error:
        raise VesalError(f"Cannot write the model {path}: its description is not JSON ({error}).") from error
    write_archive(path, {JSON: text.encode()} | {name: save_tensors(of) for name, of in stored.items()})


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
    with refusing(path):
        members = read_archive(path, _wanted)
        description = _description(members[JSON])
        plan = read_plan(description["plan"])
        weights, *more_weights = (load_tensors(members[name]) for name in _voters(_WEIGHTS, members))
        coarse = [load_tensors(members[name]) for name in _voters(_LOCATOR, members)]
        for of in (weights, *more_weights):
            _check_weights(of, plan, description["network"])
        _check_locator(coarse, plan, description["network"])
    return Package(
        plan=plan,
        network=description["network"],
        recipe=description["recipe"],
        provenance=description["provenance"],
        weights=weights,
        more_weights=tuple(more_weights),
        locator_weights=coarse[0] if coarse else None,
        more_locator_weights=tuple(coarse[1:]),
        **{name: description.get(name) for name in (*_MEASURED, *_ADDED)},
    )


def _wanted(names: Sequence[str]) -> list[str]:
    if _WEIGHTS not in names and any(name.endswith(".onnx") for name in names):
        fix = "predict with vesal-runtime, or name the model that it was exported from"
        raise RefusedError("it was exported and holds graphs in place of weights", fix)
    return [JSON, *(_voters(_WEIGHTS, names) or [_WEIGHTS]), *_voters(_LOCATOR, names)]


def _numbered(first: str, number: int) -> str:
    """The name of the weights of that number, from 1, of networks that vote.

    >>> _numbered("weights.safetensors", 1), _numbered("weights.safetensors", 2)
    ('weights.safetensors', 'weights_2.safetensors')
    """
    stem, dot, ending = first.partition(".")
    return first if number == 1 else f"{stem}_{number}{dot}{ending}"


def _voters(first: str, names: Container[str]) -> list[str]:
    """Names of the weights that are there of networks that vote."""
    numbered = (_numbered(first, number) for number in itertools.count(1))
    return list(itertools.takewhile(names.__contains__, numbered))


def _description(data: bytes) -> dict[str, Any]:
    wanted = {"network": str, "plan": dict, "recipe": dict, "provenance": dict}
    description = read_description(data, _FORMAT, PACKAGE_VERSION, wanted)
    for key in _MEASURED:
        if key not in description or not isinstance(description[key], dict | None):
            raise RefusedError(f"{JSON} has no valid '{key}'")
    if bad := [key for key in _ADDED if not isinstance(description.get(key), dict | None)]:
        raise RefusedError(f"{JSON} has no valid '{bad[0]}'")
    if description["network"] not in NETWORKS:
        known = ", ".join(sorted(NETWORKS))
        name = brief(description["network"])
        raise RefusedError(f"it names the network '{name}', and this Vesal knows: {known}", "update Vesal")
    return description


# --- do the weights fit -----------------------------------------------------------------------------------


def _check_weights(weights: Mapping[str, Tensor], plan: Plan, network: str) -> None:
    """Raise RefusedError unless `weights` are finite and just those of the plan's network.

    A plan can ask for terabytes. Every convolution needs a tensor of its own, so the count of those that are
    there bounds the layers, and the network is compared on the meta device, which has no memory to fill.
    """
    if plan.least_convolutions > len(weights) or len(weights) > _MAX_TENSORS:
        raise RefusedError(
            f"{len(weights)} weights do not fit a plan of {plan.least_convolutions} convolutions"
        )
    try:
        with torch.device("meta"):
            expected = build_network(network, plan).state_dict()
    except MissingExtraError as error:
        fix = "install it: pip install 'vesal[monai]'"
        raise RefusedError(f"its network {network} needs a library that is not installed", fix) from error
    except Exception as error:
        raise RefusedError(f"its plan describes no network ({brief(error)})") from error
    if missing := sorted(expected.keys() - weights.keys()):
        raise RefusedError(f"{len(missing)} weights are missing, such as {brief(missing[0])}")
    if unknown := sorted(weights.keys() - expected.keys()):
        raise RefusedError(f"{len(unknown)} weights are not of this network, such as {brief(unknown[0])}")
    for name, tensor in weights.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise RefusedError(
                f"weight {name} is {tensor.dtype} {tuple(tensor.shape)} where the plan needs {wanted.dtype} "
                f"{tuple(wanted.shape)}"
            )
        if not tensor.isfinite().all():
            raise RefusedError(f"weight {name} holds values that are not finite")


def _locator_network(plan: Plan, network: str) -> str:
    """The kind of a locator's network: both stages of a cascade are of one."""
    return network if plan.takes_masks else _LOCATOR_NETWORK


def _check_locator(weights: Sequence[Mapping[str, Tensor]], plan: Plan, network: str) -> None:
    """Raise RefusedError unless there are weights of a locator just where the plan has one, and they are its own."""
    if (not weights) != (plan.locator is None):
        raise RefusedError(f"{_LOCATOR} and the plan's locator are not both there")
    if plan.locator is not None:
        for of in weights:
            _check_weights(of, plan.locator, _locator_network(plan, network))
