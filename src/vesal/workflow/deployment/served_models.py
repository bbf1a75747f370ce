"""What a server says about its models, read once when it starts."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from vesal.files import file_digest
from vesal.infer.model_packages import joint_estimator, read_packages, shared_plan
from vesal.nn.model_file import Package
from vesal.record import Record
from vesal.report.figures.colours import class_colours, colours_by_class


class ServedLabel(Record):
    """A label: its name, its value in label maps, its colour (#rrggbb)."""

    name: str
    value: int
    colour: str


class ServedModel(Record):
    """A model, as a client sees it.

    Attributes:
        labels: of its label maps.
        classes: for which it gives volumes: its labels, or regions of several of them.
        regions: whether its classes may overlap.
        channels: names of the images of a scan, in order.
        modality: MR, CT, or '' where the plan does not tell.
        measured: class -> mean Dice on held-out scans, where it was measured.
        quality: whether it estimates the quality of its results.
        dicom: whether this server reads and writes DICOM.
        digest: of the weights, of several networks the first one's; DICOM objects name that of all a result depends on.
    """

    name: str
    labels: tuple[ServedLabel, ...]
    classes: tuple[str, ...]
    regions: bool
    channels: tuple[str, ...]
    modality: str
    measured: dict[str, float]
    quality: bool
    dicom: bool
    digest: str


def describe_models(models: Mapping[str, Path]) -> dict[str, ServedModel]:
    """All models by name.

    Raises:
        VesalError: one cannot be used.
    """
    return {name: _described(name, path) for name, path in models.items()}


def model_digest(path: Path) -> str:
    """A digest of all files of a model, and so of whatever its results depend on: a plan, a post-processing or another
    fold may change with the same first weights.

    Raises:
        VesalError: it cannot be used.
    """
    return file_digest(*read_packages(path)[0])


def _described(name: str, path: Path) -> ServedModel:
    files, packages = read_packages(path)
    plan = shared_plan(packages)
    labels = plan.labels
    colours = dict(zip(labels.classes, class_colours(labels), strict=True))
    if labels.regions:
        colours = colours_by_class(labels.names)
    return ServedModel(
        name=name,
        labels=tuple(
            ServedLabel(name=label.name, value=label.value, colour=colours[label.name])
            for label in labels.labels
        ),
        classes=labels.classes,
        regions=bool(labels.regions),
        channels=plan.channels,
        modality=plan.modality,
        measured=_measured(packages),
        quality=joint_estimator(packages, files) is not None,
        dicom=importlib.util.find_spec("highdicom") is not None,
        digest=packages[0].weights_digest[:16],
    )


def _measured(packages: Sequence[Package]) -> dict[str, float]:
    """Class -> mean over the folds; empty unless all were measured."""
    found: dict[str, list[float]] = {}
    for package in packages:
        for row in (package.scores or {}).get("summary", ()):
            if row["metric"] == "dice" and row["mean"] is not None:
                found.setdefault(row["class"], []).append(float(row["mean"]))
    return {name: round(fmean(values), 4) for name, values in found.items() if len(values) == len(packages)}
