"""Models from their files, ready to predict with torch or a backend of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from vesal.infer.backends.registry import backend_networks, in_bfloat16
from vesal.infer.model import Model
from vesal.infer.model_packages import agreed_steps, agreements, joint_estimator, read_packages, shared_plan
from vesal.nn.model_file import Package
from vesal.nn.zoo import resolve_device


def load_model(
    path: str | Path | Sequence[str | Path],
    *,
    device: str = "auto",
    backend: str = "auto",
    precision: str = "auto",
    postprocess: bool = True,
    quality: bool = True,
) -> Model:
    """Load a model file, a run folder (all its folds vote), or several of these.

    Args:
        path: of the model, or of each.
        device: auto, cpu, cuda, cuda:N or mps.
        backend: what computes the networks, one of `vesal.infer.backends.registry.BACKENDS`.
        precision: in which, one of `vesal.infer.backends.registry.PRECISIONS`.
        postprocess: do the steps to label maps that the files hold; else they stay as the networks say.
        quality: take over the quality models of the files, the temperature of probabilities included.

    Raises:
        UsageError: the path, the device, the backend or the precision is not there.
        VesalError: a file is absent, damaged, or no model, or the models do not belong together.
    """
    files, packages = read_packages(path)
    steps = agreed_steps(packages, files) if postprocess else None
    target = resolve_device(device)
    estimator = joint_estimator(packages, files) if quality else None
    narrow = [
        in_bfloat16(package, target, precision, agrees)
        for package, agrees in zip(packages, agreements(packages, files), strict=True)
    ]
    networks = backend_networks(packages, target, backend, narrow)
    locator = _locator(packages, target, backend, narrow)
    return Model(shared_plan(packages), networks, target, packages, steps, estimator, locator)


def _locator(
    packages: Sequence[Package], device: torch.device, backend: str, bfloat16: Sequence[bool]
) -> Model | None:
    """The coarse networks of all packages, which vote, each in the precision of its fine one; None without any."""
    coarse = [package.locator for package in packages]
    known = tuple(package for package in coarse if package is not None)
    if not known:
        return None
    return Model(known[0].plan, backend_networks(known, device, backend, bfloat16), device, known)
