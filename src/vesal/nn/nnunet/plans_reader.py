"""nnU-Net's `plans.json` and `dataset.json` -> a plan of Vesal's that prepares, predicts and restores as nnU-Net does.

Read of nnU-Net 2.0 to 2.8; whatever it says that Vesal does not follow is refused, never passed over.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from vesal.data.labels import LabelSet
from vesal.errors import VesalError, reason_of, unknown_name
from vesal.layouts.dataset_description import json_channels, json_labels
from vesal.planning.plan import Normalisation, Plan, Stage

#: nnU-Net's classes of networks -> Vesal's, and what the former call the number of their convolutions.
_NETWORKS = {
    "PlainConvUNet": ("unet", "n_conv_per_stage"),
    "ResidualEncoderUNet": ("residual-unet", "n_blocks_per_stage"),
}
#: Its readers of files -> whether they keep the axes as the file stores them.
_AS_STORED = {
    "SimpleITKIO": True,
    "NibabelIO": True,
    "NaturalImage2DIO": True,
    "Tiff3DIO": True,
    "SimpleITKIOWithReorient": False,
    "NibabelIOWithReorient": False,
}
#: What its resampling is given, as its planners write it: order, the mode along z, and no decision about it.
_RESAMPLING = "resample_data_or_seg_to_shape"
_RESAMPLED = {"resampling_fn_data": 3, "resampling_fn_probabilities": 1}
#: The same of label maps, which the second stage of a cascade takes.
_MASKS = "resampling_fn_seg"
#: Of an axis that pictures lack.
_NO_SPACING = 500.0
#: More than any data set has: how they are painted is tried for every three of them.
_MOST_REGIONS = 64
#: Letters of the name of a configuration, which is part of that of a folder.
_LONGEST_NAME = 100
#: More than any network of nnU-Net: its planner ends where an axis has fewer than 8 voxels.
_MOST_STAGES = 16


@dataclass(frozen=True)
class TheirModel:
    """What `plans.json` and `dataset.json` say of a trained model.

    Attributes:
        plans, dataset: the files.
        configuration: the one that was trained, such as 3d_fullres.
    """

    plans: Mapping[str, Any]
    dataset: Mapping[str, Any]
    configuration: str

    @property
    def network(self) -> str:
        """Its name in `vesal.nn.zoo.NETWORKS`.

        Raises:
            VesalError: Vesal has none like it.
        """
        return _NETWORKS[self._network_class()][0]

    def _network_class(self) -> str:
        found = self._found
        name = (
            found["architecture"]["network_class_name"]
            if "architecture" in found
            else found["UNet_class_name"]
        )
        name = str(name).rpartition(".")[2]
        if name not in _NETWORKS:
            raise VesalError(
                f"The network of this model is {name[:80]}, which Vesal has not; it imports {' and '.join(_NETWORKS)}."
            )
        return name

    @property
    def _found(self) -> dict[str, Any]:
        return configuration_of(self.plans, self.configuration)

    @property
    def previous_stage(self) -> str | None:
        """Of the second stage of a cascade the configuration whose label map it takes; None of any other.

        Raises:
            VesalError: it is not as nnU-Net writes it.
        """
        name = self._found.get("previous_stage")
        if name is None:
            return None
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or {"/", "\\"} & set(name):
            raise VesalError(
                f"plans.json gives the previous stage of {self.configuration} as {str(name)[:60]!r}, which is no "
                "configuration; get it again from where the model was trained."
            )
        return name

    def plan(
        self,
        *,
        networks: int,
        mirror_axes: Sequence[int],
        heads: int,
        norm: str,
        first_stage: Plan | None = None,
    ) -> Plan:
        """The plan that Vesal predicts with.

        Args:
            networks: that vote.
            mirror_axes: that the training mirrored.
            heads: resolutions with outputs.
            norm: instance or batch.
            first_stage: plan of the previous stage, of the second stage of a cascade.

        Raises:
            VesalError: something is asked for that Vesal does not do, or the files contradict themselves.
        """
        try:
            cascade = {} if first_stage is None else {"locator": first_stage, "handed_on": "mask"}
            return self._plan(
                networks=networks, mirror_axes=tuple(mirror_axes), heads=heads, norm=norm, **cascade
            )
        except ValidationError as error:
            raise VesalError(f"plans.json describes no plan: {reason_of(error)}.") from error
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
            what = f"{type(error).__name__}: {error}"[:120]
            raise VesalError(
                f"plans.json or dataset.json is not as nnU-Net v2 writes it ({what}); get both again from where the "
                "model was trained."
            ) from error

    def _plan(self, **given: Any) -> Plan:
        found = self._found
        self._check(found, given.get("locator"))
        dimension: Literal[2, 3] = 2 if len(found["patch_size"]) == 2 else 3
        order, as_stored, flat = self._axes()
        if flat and dimension == 3:
            raise VesalError(
                "The configuration is 3D and its scans are pictures; import its configuration 2d."
            )
        channels = json_channels(self.dataset, Path())
        return Plan(
            rules="nnunet",
            dimension=dimension,
            axis_order=order,
            as_stored=as_stored,
            slice_axis=0 if dimension == 2 and not flat else None,
            spacing_mm=tuple(float(step) for step in found["spacing"]),
            patch=tuple(found["patch_size"]),
            batch=found["batch_size"],
            stages=self._stages(found),
            bias=bool(_kwargs(found).get("conv_bias", False)),
            normalisation=self._normalisation(found, len(channels)),
            channels=channels,
            labels=labels_of(self.dataset),
            median_shape=tuple(
                max(1, round(size)) for size in found["median_image_size_in_voxels"][-dimension:]
            ),
            reasons=("as nnU-Net planned it",),
            **given,
        )

    def _check(self, found: Mapping[str, Any], first_stage: Plan | None) -> None:
        """Refuse what Vesal does not follow."""
        self._network_class()
        if self.previous_stage is not None:
            self._check_first_stage(first_stage)
        if (preprocessor := found.get("preprocessor_name", "DefaultPreprocessor")) != "DefaultPreprocessor":
            raise VesalError(
                f"The model prepares scans by {str(preprocessor)[:60]}, not by nnU-Net's own way."
            )
        if (manager := self.plans.get("label_manager", "LabelManager")) != "LabelManager":
            raise VesalError(
                f"The model turns logits into labels by {str(manager)[:60]}, not nnU-Net's own way."
            )
        for function, order in (_RESAMPLED | ({} if first_stage is None else {_MASKS: 1})).items():
            masks = function == _MASKS
            name = found.get(function, _RESAMPLING)
            given = found.get(f"{function}_kwargs", {"is_seg": masks, "order": order})
            wanted = {"is_seg": masks, "order": order, "order_z": 0, "force_separate_z": None}
            if name != _RESAMPLING or {**wanted, **given} != wanted:
                raise VesalError(
                    f"The model resamples by {str(name)[:60]} with {str(dict(given))[:120]}; Vesal follows "
                    f"{_RESAMPLING} with {wanted} alone."
                )

    def _check_first_stage(self, first: Plan | None) -> None:
        both = f"The configuration {self.configuration} is the second stage of a cascade"
        if first is None:
            raise VesalError(
                f"{both}, which needs its first, {self.previous_stage}; import it from its folder."
            )
        channels = json_channels(self.dataset, Path())
        if (first.labels, first.channels) != (labels_of(self.dataset), channels):
            raise VesalError(
                f"{both}, whose first, {self.previous_stage}, has other channels or labels; take both folders of one "
                "data set."
            )

    def _axes(self) -> tuple[tuple[int, ...], bool, bool]:
        """(axis of the scan along each of the network's, as the file stores them or turned to RAS+, of pictures).

        nnU-Net reads arrays along z, y, x and turns them by `transpose_forward`.
        """
        reader = self.plans.get("image_reader_writer", "SimpleITKIO")
        if reader not in _AS_STORED:
            raise unknown_name("reader of nnU-Net's that Vesal knows", reader, _AS_STORED)
        spacing = self.plans["original_median_spacing_after_transp"]
        flat = reader == "NaturalImage2DIO" or spacing[0] > _NO_SPACING * max(spacing[1:])
        turned = [2 - int(axis) for axis in self.plans["transpose_forward"]]
        if sorted(turned) != [0, 1, 2] or (flat and turned[0] != 2):
            raise ValueError(f"transpose_forward {self.plans['transpose_forward']}")
        return tuple(turned[1:] if flat else turned), _AS_STORED[reader], flat

    def _stages(self, found: Mapping[str, Any]) -> tuple[Stage, ...]:
        kwargs = _kwargs(found)
        count, dimension = int(kwargs["n_stages"]), len(found["patch_size"])
        if not 1 <= count <= _MOST_STAGES:
            raise VesalError(f"plans.json describes {count} stages; a network has 1 to {_MOST_STAGES}.")
        for name in (
            "dropout_op",
            "nonlin_first",
            "bottleneck_channels",
            "squeeze_excitation",
            "stochastic_depth_p",
        ):
            if kwargs.get(name):
                raise VesalError(f"The network has {name} = {str(kwargs[name])[:60]}, which Vesal's has not.")
        nonlinearity = str(kwargs.get("nonlin", "LeakyReLU")).rpartition(".")[2]
        slope = (kwargs.get("nonlin_kwargs") or {}).get("negative_slope", 0.01)
        norm = str(kwargs.get("norm_op", "InstanceNorm")).rpartition(".")[2]
        small = (kwargs.get("norm_op_kwargs") or {}).get("eps", 1e-5)
        known = nonlinearity == "LeakyReLU" and slope == 0.01 and small == 1e-5
        if not known or not norm.startswith(("InstanceNorm", "BatchNorm")):
            raise VesalError(
                f"The network has {norm[:40]} (eps {small}) and {nonlinearity[:40]} (slope {slope}); Vesal imports "
                "instance or batch norm (1e-05) with LeakyReLU (0.01)."
            )
        stem = kwargs.get("stem_channels")
        features = _each(kwargs["features_per_stage"], count)
        if stem not in (None, features[0]):
            raise VesalError(
                f"The network's stem has {stem} channels, and Vesal's as many as the first stage."
            )
        decoder = _each(kwargs["n_conv_per_stage_decoder"], count - 1)[::-1]
        rows = zip(
            features,
            _sizes(kwargs["kernel_sizes"], count, dimension),
            _sizes(kwargs["strides"], count, dimension),
            _each(kwargs[_NETWORKS[self._network_class()][1]], count),
            [*decoder, None],
            strict=True,
        )
        return tuple(
            Stage(
                features=width,
                kernel=kernel,
                stride=stride,
                convolutions=convolutions,
                decoder=None if up == convolutions else up,
            )
            for width, kernel, stride, convolutions, up in rows
        )

    def _normalisation(self, found: Mapping[str, Any], channels: int) -> tuple[Normalisation, ...]:
        schemes, masked = found["normalization_schemes"], found["use_mask_for_norm"]
        properties = self.plans.get("foreground_intensity_properties_per_channel")
        if properties is None:  # as nnU-Net called them before 2.1
            properties = self.plans.get("foreground_intensity_properties_by_modality", {})
        if not len(schemes) == len(masked) == channels:
            raise VesalError(
                f"plans.json normalises {len(schemes)} channels and dataset.json names {channels}."
            )
        return tuple(
            _scheme(scheme, within, properties.get(str(number), {}))
            for number, (scheme, within) in enumerate(zip(schemes, masked, strict=True))
        )


def configuration_of(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration of `plans.json` with all that it inherits.

    Raises:
        UsageError: there is none of that name.
        VesalError: it inherits from itself.
    """
    configurations = plans.get("configurations")
    if not isinstance(configurations, Mapping):
        raise VesalError("plans.json has no configurations; it is not one of nnU-Net v2.")
    chain: list[str] = []
    following: str | None = name
    while following is not None:
        if following in chain:
            raise VesalError(f"The configuration {name} in plans.json inherits from itself.")
        if not isinstance(configurations.get(following), Mapping):
            raise unknown_name("configuration in plans.json", following, configurations)
        chain.append(following)
        following = configurations[following].get("inherits_from")
    found: dict[str, Any] = {}
    for one in reversed(chain):
        found |= configurations[one]
    return found


def labels_of(dataset: Mapping[str, Any]) -> LabelSet:
    """The labels of `dataset.json`, with its regions and its ignore label.

    Raises:
        VesalError: they are not such as nnU-Net trains with, or cannot be had in Vesal.
    """
    # Without Vesal's own entries, which nnU-Net passes over.
    theirs = {key: value for key, value in dataset.items() if key not in ("regions", "threshold")}
    labels = json_labels(theirs, Path("dataset.json"))
    if not labels.regions:
        values = labels.by_name
        if labels.background != 0 or list(values.values()) != list(range(1, len(values) + 1)):
            raise VesalError(
                f"The labels {values} of dataset.json do not count from 1 on, as nnU-Net needs them to."
            )
        return labels
    if len(labels.regions) > _MOST_REGIONS:
        raise VesalError(
            f"dataset.json has {len(labels.regions)} regions; at most {_MOST_REGIONS} are imported."
        )
    painted = [int(value) for value in dataset["regions_class_order"]]
    if not painted_alike(labels, painted):
        raise VesalError(
            f"The regions of dataset.json are painted with the values {painted}, one after the other; Vesal paints a "
            "region with a label that no later region has, and would write other values."
        )
    return labels


def painted_alike(labels: LabelSet, values: Sequence[int]) -> bool:
    """Whether Vesal writes the values that nnU-Net does: of all regions that hold at a voxel the last one's.

    Args:
        labels: with regions.
        values: one a region, nnU-Net's `regions_class_order`.

    >>> organs = LabelSet.from_values({"rim": 1, "core": 2}, regions={"all": ["rim", "core"], "core": ["core"]})
    >>> painted_alike(organs, [1, 2]), painted_alike(organs, [2, 1])
    (True, False)
    """
    count = len(labels.regions)
    together = [
        rows for size in range(min(count, 3) + 1) for rows in itertools.combinations(range(count), size)
    ]
    masks = np.array([[row in rows for rows in together] for row in range(count)])
    theirs = [0 if not rows else values[max(rows)] for rows in together]
    return len(values) == count and labels.decode(labels.paint(masks)).tolist() == theirs


def _scheme(scheme: str, within: bool, values: Mapping[str, Any]) -> Normalisation:
    if scheme == "CTNormalization":
        low, high = values["percentile_00_5"], values["percentile_99_5"]
        return Normalisation(
            scheme="ct", lower=low, upper=high, mean=values["mean"], std=max(values["std"], 1e-8)
        )
    if scheme == "ZScoreNormalization":
        return Normalisation(scheme="zscore_mask" if within else "zscore")
    if scheme == "NoNormalization":
        return Normalisation(scheme="none")
    if scheme == "RescaleTo01Normalization":
        return Normalisation(scheme="minmax")
    if scheme == "RGBTo01Normalization":
        return Normalisation(scheme="window", lower=0.0, upper=255.0)
    raise VesalError(f"The model normalises by {str(scheme)[:60]}, which is none of nnU-Net's own schemes.")


def _kwargs(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the network is built from; made of the older form of plans as nnU-Net's `plans_handler.py` does."""
    if "architecture" in found:
        return dict(found["architecture"]["arch_kwargs"])
    count = len(found["n_conv_per_stage_encoder"])
    base, most = found["UNet_base_num_features"], found["unet_max_num_features"]
    encoder = found["n_conv_per_stage_encoder"]
    return {
        "n_stages": count,
        "features_per_stage": [min(base * 2**level, most) for level in range(count)],
        "kernel_sizes": found["conv_kernel_sizes"],
        "strides": found["pool_op_kernel_sizes"],
        "n_conv_per_stage": encoder,
        "n_blocks_per_stage": encoder,
        "n_conv_per_stage_decoder": found["n_conv_per_stage_decoder"],
        "conv_bias": True,
    }


def _each(value: Any, count: int) -> list[int]:
    """One a stage; nnU-Net takes a single number for all."""
    return [int(one) for one in value] if isinstance(value, list | tuple) else [int(value)] * count


def _sizes(value: Any, count: int, dimension: int) -> list[tuple[int, ...]]:
    """Sizes along the axes, one tuple a stage."""
    stages = value if isinstance(value, list | tuple) else [value] * count
    return [tuple(_each(one, dimension)) for one in stages]
