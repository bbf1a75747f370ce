"""A MONAI bundle -> one model file.

Nothing of the bundle is run: its configuration is read as plain values, its weights as tensors alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vesal.data.labels import LabelSet
from vesal.errors import UsageError, VesalError, reason_of
from vesal.files import read_json
from vesal.nn.model_file import Package, save_package
from vesal.nn.monai_bundle.bundle_config import BundleConfig, Component, read_config
from vesal.nn.monai_bundle.bundle_networks import BundleNetwork, bundle_network, bundle_weights
from vesal.nn.monai_bundle.bundle_steps import (
    Restoring,
    channel_names,
    preparation,
    restoring,
    sliding,
)
from vesal.nn.nnunet.plans_reader import painted_alike
from vesal.nn.nnunet.safe_checkpoint import read_checkpoint, tensors_of
from vesal.outputs import results
from vesal.planning.plan import Plan
from vesal.version import __version__
from vesal.workflow.model_exchange.imported import Imported, licence_of
from vesal.workflow.requests.import_request import ImportRequest

#: Of a bundle's folder.
_CONFIGS, _METADATA, _MODELS, _WEIGHTS = "configs", "metadata.json", "models", "model.pt"
_INFERENCE = ("inference.json", "inference.yaml", "inference.yml")
#: What metadata.json calls a licence, and who made the weights.
_LICENCE_KEYS, _ORIGIN_KEYS = ("license", "licence"), ("copyright", "authors")
#: Of scans that keep their own spacing (mm): what is shown.
_UNKNOWN_SPACING = (1.0, 1.0, 1.0)


def is_bundle(folder: Path) -> bool:
    """Whether this is the folder of a MONAI bundle, with its configuration of the inference or without."""
    configs = folder / _CONFIGS
    return any((configs / name).is_file() for name in (_METADATA, *_INFERENCE))


def import_bundle(request: ImportRequest) -> Imported:
    """Read a MONAI bundle, and write it as a model file.

    Raises:
        UsageError: an option is for nnU-Net's models, a file is not there, or the licence is not known and not given.
        VesalError: a file is damaged or hostile, or the bundle does what Vesal does not.
    """
    folder = request.folder
    if request.configuration or request.folds or request.checkpoint or request.custom_trainer:
        raise UsageError(
            f"{folder} is a MONAI bundle, which has no --configuration, --fold, --checkpoint or --custom-trainer."
        )
    output = results(request.out.parent, request.out.name)
    config, metadata = _config(folder), _metadata(folder)
    described = licence_of(
        request,
        stated=[metadata.get(key) for key in _LICENCE_KEYS],
        origin=next((metadata[key] for key in _ORIGIN_KEYS if isinstance(metadata.get(key), str)), None),
        where=folder / _CONFIGS / _METADATA,
        name=folder.resolve().name,
    )
    network = _network(config)
    plan, order = _plan(config, metadata, network)
    file = _weights_file(folder, config)
    weights = bundle_weights(_state_dict(file), plan, network, file, order)
    provenance: dict[str, Any] = {
        "versions": {"vesal": __version__},
        "dataset": folder.resolve().name[:200],
        "imported": {
            "from": "MONAI bundle",
            "version": str(metadata.get("version", ""))[:80],
            "monai": str(metadata.get("monai_version", ""))[:80],
            "task": str(metadata.get("task", ""))[:200],
            "configuration": config.path.name,
            "checkpoint": file.name,
        },
        **described,
    }
    with output:
        save_package(output.folder / request.out.name, Package(plan, network.name, {}, provenance, weights))
    return Imported(request.out, network.name, plan, provenance)


def _network(config: BundleConfig) -> BundleNetwork:
    found = config.component(config.raw("network_def"))
    if found is None:
        raise VesalError(f"{config.path} has a network_def that is disabled; get the bundle again.")
    return bundle_network(Component(found.name, config.plain(dict(found.arguments))))


def _plan(
    config: BundleConfig, metadata: Mapping[str, Any], network: BundleNetwork
) -> tuple[Plan, list[int]]:
    """The plan that does what the bundle does, and which output of the network each of the plan's is."""
    prepared = preparation(config, network.inputs)
    labels, order = _labels(restoring(config, prepared, network.outputs), metadata, network)
    windows = sliding(config)
    try:
        plan = Plan(
            rules="monai",
            dimension=3,
            as_stored=not prepared.turned,
            spacing_mm=prepared.spacing_mm or _UNKNOWN_SPACING,
            keeps_spacing=prepared.spacing_mm is None,
            patch=windows.patch,
            overlap=windows.overlap,
            blend=windows.blend,
            batch=2,
            stages=network.stages,
            heads=network.heads,
            norm=network.norm,
            activation=network.activation,
            bias=network.bias,
            normalisation=(prepared.normalisation,) * network.inputs,
            crop_to_nonzero=False,
            image_order=1,
            label_order=0,
            mirror_axes=(),
            channels=_channels(metadata, network.inputs),
            labels=labels,
            median_shape=windows.patch,
            reasons=("as the MONAI bundle has it",),
        )
    except ValidationError as error:
        raise VesalError(f"{config.path} describes no plan: {reason_of(error)}.") from error
    return plan, order


def _config(folder: Path) -> BundleConfig:
    found = [path for name in _INFERENCE if (path := folder / _CONFIGS / name).is_file()]
    if not found:
        raise UsageError(
            f"{folder / _CONFIGS} holds no {_INFERENCE[0]} or {_INFERENCE[1]}, which say how the bundle predicts; get "
            "the bundle again."
        )
    return read_config(found[0])


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / _CONFIGS / _METADATA
    if not path.is_file():
        return {}
    found = read_json(path)
    if not isinstance(found, dict):
        raise VesalError(f"{path} is not as MONAI has it; get the bundle again.")
    return found


def _channels(metadata: Mapping[str, Any], count: int) -> tuple[str, ...]:
    names = channel_names(metadata, "inputs", count)
    return tuple(names or [f"channel {number}" for number in range(count)])


def _labels(
    found: Restoring, metadata: Mapping[str, Any], network: BundleNetwork
) -> tuple[LabelSet, list[int]]:
    """The labels, and which output of the network each of the plan's is.

    Regions are painted from outer to inner, each over those before: what lies inside another has its label too.
    """
    count = network.outputs
    names = channel_names(metadata, "outputs", count) or [f"class {number}" for number in range(count)]
    try:
        if not found.regions:
            values = {name: number for number, name in enumerate(names) if number}
            return LabelSet.from_values({"background": 0, **values}), list(range(count))
        order = [output for output, _ in reversed(found.painted)]
        values = {f"label {value}": value for _, value in reversed(found.painted)}
        if sorted(order) != list(range(count)) or len(values) != count:
            raise VesalError(
                f"The bundle's network puts out {count} regions and paints {len(order)}, or two with one value."
            )
        inside = list(values)
        regions = {names[output]: inside[place:] for place, output in enumerate(order)}
        labels = LabelSet.from_values({"background": 0, **values}, regions=regions)
    except ValidationError as error:
        raise VesalError(f"The bundle's classes are none that Vesal can have: {reason_of(error)}.") from error
    if not painted_alike(labels, list(values.values())):
        raise VesalError("The bundle paints its regions otherwise than from outer to inner, as Vesal does.")
    return labels, order


def _weights_file(folder: Path, config: BundleConfig) -> Path:
    """The file that the bundle's checkpoint loader names, else models/model.pt."""
    handlers = config.values.get("handlers")
    entries = [*config.values.values(), *(handlers if isinstance(handlers, list) else [])]
    loaders = [
        one
        for one in entries
        if isinstance(one, dict)
        and one.get("_target_") in ("CheckpointLoader", "monai.handlers.CheckpointLoader")
    ]
    name = f"{_MODELS}/{_WEIGHTS}"
    if loaders and (path := loaders[0].get("load_path")) is not None:
        name = str(config.plain(path))
    file = folder / _MODELS / Path(name).name
    if Path(name).parent.name != _MODELS or not file.is_file():
        raise UsageError(
            f"{folder} holds no weights at {_MODELS}/{Path(name).name}; put the bundle's state dict there (bundles "
            "often say in large_files.yml where it is)."
        )
    return file


def _state_dict(file: Path) -> dict[str, Any]:
    held = read_checkpoint(file)
    for key in ("model", "state_dict", "network"):
        if isinstance(held, dict) and isinstance(held.get(key), dict):
            held = held[key]
            break
    weights = tensors_of(held, file)
    if not weights:
        raise VesalError(
            f"{file} holds no weights; save the state dict alone: torch.save(network.state_dict(), FILE)."
        )
    return weights
