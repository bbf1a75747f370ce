"""The verb list: what there is to choose from, a line each.

The lines of networks, losses, schedules, optimizers and metrics stand here; recipes, artefacts, layouts and checks say
themselves what they are.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable, Iterable
from pathlib import Path

from vesal.errors import UsageError, unknown_name
from vesal.parallel import Progress
from vesal.record import Record
from vesal.text import listed

_NETWORKS = {
    "unet": "U-Net of plain double convolutions, as nnU-Net lays it out, 2D and 3D; the default",
    "residual-unet": "U-Net with residual blocks in the encoder, 2D and 3D",
    "attention-unet": "U-Net with attention gates on the skips (Oktay et al., 2018), 2D and 3D",
    "monai-unet": "MONAI's UNet of residual units; needs vesal[monai]",
    "monai-attention-unet": "MONAI's AttentionUnet; needs vesal[monai]",
    "monai-dynunet": "MONAI's DynUNet, its nnU-Net; needs vesal[monai]",
    "monai-segresnet": "MONAI's SegResNet (Myronenko, 2018); needs vesal[monai]",
    "monai-swin-unetr": "MONAI's SwinUNETR (Hatamizadeh et al., 2022); needs vesal[monai]",
}
_LOSSES = {
    "dice": "soft Dice of the classes",
    "ce": "cross-entropy, the mean over the voxels",
    "balanced_ce": "cross-entropy in which every class weighs alike, however small",
    "dice_ce": "Dice + cross-entropy; the default",
    "dice_balanced_ce": "Dice + balanced cross-entropy, for very small structures",
    "focal": "focal loss: what is right already counts little (Lin et al., 2017)",
    "tversky": "Dice whose false positives and negatives cost what you say (Salehi et al., 2017)",
    "focal_tversky": "Tversky with more weight on classes that are found badly (Abraham and Khan, 2019)",
    "boundary": "distance of the boundaries (Kervadec et al., 2019); use dice_boundary from scratch",
    "dice_boundary": "Dice + boundary loss",
}
_SCHEDULES = {
    "poly": "polynomial decay with power 0.9 over the run, as nnU-Net; the default",
    "cosine": "a half cosine over the run, down to lr_min",
    "constant": "no change after the warm-up",
    "restarts": "cosines with warm restarts: lr_period, lr_growth (Loshchilov and Hutter, 2017)",
    "step": "times lr_factor every lr_period epochs",
    "plateau": "times lr_factor after lr_patience validations without a better monitored quantity",
    "one_cycle": "up over the warm-up and down again (Smith and Topin, 2018)",
}
_OPTIMIZERS = {
    "adamw": "Adam with decoupled weight decay",
    "adam": "Adam with coupled weight decay; amsgrad as an option",
    "sgd": "gradient descent with Nesterov momentum, as nnU-Net",
    "muon": "orthogonal steps of convolutions; recipe auto",
}
_METRICS = {
    "dice": "2 TP / (2 TP + FP + FN)",
    "iou": "TP / (TP + FP + FN)",
    "precision": "share of the prediction that is true",
    "recall": "share of the truth that is found",
    "accuracy": "share of voxels that are right",
    "nsd": "share of the surfaces that lie within a tolerance of each other",
    "boundary_dice": "NSD at tolerance 0",
    "hd95_mm": "95th percentile of the distances between the surfaces",
    "assd_mm": "mean distance between the surfaces",
    "volume_error_ml": "predicted minus true volume",
    "volume_error_relative": "that over the true volume",
    "area_error_mm2": "predicted minus true area of a 2D image",
    "area_error_relative": "that over the true area",
    "lesion_sensitivity": "share of the true lesions that are touched",
    "lesion_precision": "share of the predicted lesions that touch a true one",
    "lesion_f1": "of both",
    "lesion_dice": "Dice of each lesion, missed and false ones 0",
    "false_positives": "predicted lesions that touch no true one",
    "false_positive_ml": "their volume",
    "false_positive_mm2": "their area in a 2D image",
}


class Entry(Record):
    """Something that can be chosen by name, and what it is."""

    name: str
    about: str


def entries(what: str, data: Path | None = None, progress: Progress | None = None) -> list[Entry]:
    """All of one kind, in the order of its registry.

    Args:
        what: a key of `KINDS`.
        data: count the parameters of recipes for these scans, not for each recipe's own.
        progress: of reading them.

    Raises:
        UsageError: there is no such kind, or `data` with another than recipes.
    """
    if what not in KINDS:
        raise unknown_name("list", what, KINDS)
    if what == "recipes":
        return _recipes(data, progress)
    if data is not None:
        raise UsageError("--data goes with vesal list recipes, whose networks are counted for the data.")
    return [Entry(name=name, about=about) for name, about in KINDS[what]()]


def kinds_text() -> str:
    """What can be listed."""
    return f"vesal list WHAT, WHAT being one of: {listed(list(KINDS), len(KINDS))}."


def entries_text(found: Iterable[Entry]) -> str:
    """A line each."""
    rows = [(entry.name, entry.about) for entry in found]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {about}" for name, about in rows)


def _recipes(data: Path | None, progress: Progress | None) -> list[Entry]:
    """The first line of each file, and the size of its network."""
    from vesal.workflow.networks import list_networks

    found = []
    for row in list_networks(data, progress=progress):
        file = importlib.resources.files("vesal") / "recipes" / f"{row.recipe}.yaml"
        about = file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ").rstrip(".")
        size = row.remark.rstrip(".") if row.parameters is None else f"{row.parameters:,} parameters"
        found.append(
            Entry(name=row.recipe, about=f"{about} ({row.network}, {row.dimension}D, {size} for {row.data})")
        )
    return found


def _networks() -> Iterable[tuple[str, str]]:
    from vesal.nn.zoo import NETWORKS

    return [(name, _NETWORKS[name]) for name in NETWORKS]


def _losses() -> Iterable[tuple[str, str]]:
    from vesal.nn.losses.losses import LOSSES

    return [(name, _LOSSES[name]) for name in LOSSES]


def _schedules() -> Iterable[tuple[str, str]]:
    from vesal.train.schedule import SCHEDULES

    return [(name, _SCHEDULES[name]) for name in SCHEDULES]


def _optimizers() -> Iterable[tuple[str, str]]:
    from vesal.train.optimizers import OPTIMIZERS

    return [(name, _OPTIMIZERS[name]) for name in OPTIMIZERS]


def _artifacts() -> Iterable[tuple[str, str]]:
    from vesal.augment.artifacts.registry import ARTIFACTS

    return [(name, _summary(kind.__doc__)) for name, kind in ARTIFACTS.items()]


def _metrics() -> Iterable[tuple[str, str]]:
    from vesal.evaluate.case_scores import ALL_METRICS

    return [
        (name, f"{metric.title}{f' ({metric.unit})' if metric.unit else ''}: {_METRICS[name]}")
        for name, metric in ALL_METRICS.items()
    ]


def _layouts() -> Iterable[tuple[str, str]]:
    from vesal.layouts.registry import LAYOUTS

    return [(name, layout.looks_for) for name, layout in LAYOUTS.items()]


def _checks() -> Iterable[tuple[str, str]]:
    from vesal.audit.checks import DEFECTS

    return [
        (defect.__name__.rpartition(".")[2].replace("_", "-"), _summary(defect.__doc__)) for defect in DEFECTS
    ]


def _summary(docstring: str | None) -> str:
    return (docstring or "").partition("\n")[0].rstrip(".")


#: What can be listed.
KINDS: dict[str, Callable[[], Iterable[tuple[str, str]]]] = {
    "networks": _networks,
    "losses": _losses,
    "schedules": _schedules,
    "optimizers": _optimizers,
    "artifacts": _artifacts,
    "recipes": lambda: [(entry.name, entry.about) for entry in _recipes(None, None)],
    "metrics": _metrics,
    "layouts": _layouts,
    "checks": _checks,
}
