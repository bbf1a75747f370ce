"""MONAI bundles with small random networks, written as those of its model zoo are, and run by MONAI itself."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

#: As in the model zoo's spleen_ct_segmentation.
SPLEEN: dict[str, Any] = {
    "imports": ["$import glob", "$import os"],
    "bundle_root": ".",
    "output_dir": "$@bundle_root + '/eval'",
    "datalist": "$list(sorted(glob.glob(@dataset_dir + '/imagesTs/*.nii.gz')))",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": {
        "_target_": "UNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 2,
        "channels": [4, 8, 16],
        "strides": [2, 2],
        "num_res_units": 2,
        "norm": "batch",
    },
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2.0], "mode": "bilinear"},
            {
                "_target_": "ScaleIntensityRanged",
                "keys": "image",
                "a_min": -57,
                "a_max": 164,
                "b_min": 0,
                "b_max": 1,
                "clip": True,
            },
            {"_target_": "EnsureTyped", "keys": "image"},
        ],
    },
    "inferer": {
        "_target_": "SlidingWindowInferer",
        "roi_size": [16, 16, 16],
        "sw_batch_size": 4,
        "overlap": 0.5,
    },
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {
                "_target_": "Invertd",
                "keys": "pred",
                "transform": "@preprocessing",
                "orig_keys": "image",
                "nearest_interp": False,
                "to_tensor": True,
            },
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
        ],
    },
    "handlers": [{"_target_": "StatsHandler", "iteration_log": False}],
    "checkpointloader": {
        "_target_": "CheckpointLoader",
        "load_path": "$@bundle_root + '/models/model.pt'",
        "load_dict": {"model": "@network"},
    },
    "run": ["$@evaluator.run()"],
}

#: As in brats_mri_segmentation: regions in another order than they are painted, four files a scan, no resampling.
BRATS: dict[str, Any] = {
    "bundle_root": ".",
    "network_def": {
        "_target_": "SegResNet",
        "blocks_down": [1, 2, 2, 4],
        "blocks_up": [1, 1, 1],
        "init_filters": 8,
        "in_channels": 4,
        "out_channels": 3,
        "dropout_prob": 0.2,
    },
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True},
        ],
    },
    "inferer": {
        "_target_": "SlidingWindowInferer",
        "roi_size": [16, 24, 16],
        "sw_batch_size": 1,
        "overlap": 0.5,
    },
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
            {
                "_target_": "Invertd",
                "keys": "pred",
                "transform": "@preprocessing",
                "orig_keys": "image",
                "meta_keys": "pred_meta_dict",
                "nearest_interp": False,
                "to_tensor": True,
            },
            {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
            {
                "_target_": "Lambdad",
                "keys": "pred",
                "func": "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, "
                "torch.where(x[[1]] > 0, 2, 0)))",
            },
            {"_target_": "SaveImaged", "keys": "pred", "output_dtype": "uint8", "resample": False},
        ],
    },
    "handlers": [
        {
            "_target_": "CheckpointLoader",
            "load_path": "$@bundle_root + '/models/model.pt'",
            "load_dict": {"model": "@network"},
        }
    ],
}


def metadata_of(inputs: list[str], outputs: list[str], **more: Any) -> dict[str, Any]:
    def entry(names: list[str]) -> dict[str, Any]:
        return {"channel_def": {str(number): name for number, name in enumerate(names)}}

    return {
        "version": "0.5.3",
        "monai_version": "1.4.0",
        "task": "Small",
        "copyright": "Copyright (c) Tiny University",
        "license": "Apache-2.0",
        "network_data_format": {"inputs": {"image": entry(inputs)}, "outputs": {"pred": entry(outputs)}},
        **more,
    }


def changed(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy with other values at `a__b__0`."""
    config = copy.deepcopy(config)
    for place, value in changes.items():
        *path, last = place.split("__")
        found: Any = config
        for key in path:
            found = found[int(key)] if key.isdecimal() else found[key]
        if isinstance(found, list):
            found[int(last)] = value
        else:
            found[last] = value
    return config


def network_of(config: dict[str, Any], seed: int = 0) -> nn.Module:
    """The network that MONAI builds of `network_def`, with running statistics and outputs that say something."""
    from monai.bundle import ConfigParser

    torch.manual_seed(seed)
    parser = ConfigParser(config)
    network: nn.Module = parser.get_parsed_content("network_def")
    for name, value in network.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.is_floating_point() and value.ndim == 1:
            value += torch.randn_like(value) * 0.3
    return network.eval()


def write_bundle(
    folder: Path, config: dict[str, Any], network: nn.Module | None, metadata: dict[str, Any] | None
) -> Path:
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    if metadata is not None:
        (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    if network is not None:
        torch.save(network.state_dict(), folder / "models" / "model.pt")
    return folder


def by_monai(config: dict[str, Any], network: nn.Module, files: list[Path]) -> np.ndarray:
    """The mask (*scan shape) that MONAI makes of a scan, one file a channel, by the configuration itself."""
    from monai.bundle import ConfigParser

    # What writes files is left out.
    steps = [one for one in config["postprocessing"]["transforms"] if one["_target_"] != "SaveImaged"]
    config = config | {
        "imports": ["$import torch"],
        "postprocessing": {"_target_": "Compose", "transforms": steps},
    }
    parser = ConfigParser(config)
    data = parser.get_parsed_content("preprocessing")({"image": [str(file) for file in files]})
    with torch.inference_mode():
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None].float(), network)[0]
    return np.asarray(parser.get_parsed_content("postprocessing")(data)["pred"])[0]
