"""Exported models, ready to predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vesal.cpus import cpu_count
from vesal.errors import UsageError, unknown_name
from vesal.infer.model import Model
from vesal.infer.quality.estimate import QualityEstimator
from vesal.infer.runtime.exported_model import Exported, read_onnx
from vesal.infer.runtime.onnx_session import OnnxNetwork
from vesal.planning.plan import Plan

#: What may compute the networks; auto is ONNX Runtime where it is installed.
BACKENDS = ("auto", "onnxruntime", "openvino")


@dataclass(frozen=True)
class _Origin:
    """One of the model files that an exported model was made of: `Model.digest` is that of these.

    Exported models do not say whether they were trained for missing channels, so that these are refused.
    """

    weights_digest: str
    recipe: Mapping[str, Any] = field(default_factory=dict)


def load_exported(
    path: str | Path,
    *,
    backend: str = "auto",
    postprocess: bool = True,
    quality: bool = True,
    threads: int | None = None,
) -> Model:
    """A model that `vesal export` wrote, as `vesal.infer.model.Model` on numpy's arrays: nothing imports torch.

    Args:
        path: NAME.vesal, or NAME.xml with NAME.bin beside it.
        backend: one of BACKENDS.
        postprocess: do the steps to label maps that the file holds.
        quality: take over its quality models, the temperature of probabilities included.
        threads: that compute; as many as there are CPUs if None.

    Raises:
        UsageError: there is no such file or backend, or it is not installed.
        VesalError: it is no exported model, or damaged.
    """
    path, threads = Path(path), threads or cpu_count()
    if backend not in BACKENDS:
        raise unknown_name("backend", backend, BACKENDS)
    if path.suffix.lower() == ".xml":
        if backend == "onnxruntime":
            raise UsageError(f"{path} is OpenVINO's; choose --backend openvino, or export to onnx.")
        from vesal.infer.runtime.openvino_session import read_openvino

        exported, networks = read_openvino(path, threads)
        return _model(exported, dict(networks), postprocess=postprocess, quality=quality)
    exported, graphs = read_onnx(path)
    if backend == "auto":
        backend = "onnxruntime" if find_spec("onnxruntime") or not find_spec("openvino") else "openvino"
    alone = len(graphs) == 1
    found: dict[str, Any] = {}
    for name, graph in graphs.items():
        if backend == "onnxruntime":
            found[name] = OnnxNetwork(graph, threads, alone=alone)
            continue
        from vesal.infer.runtime.openvino_session import of_onnx

        shape = _window(exported.plan if name in exported.graphs else exported.plan.locator)
        found[name] = of_onnx(graph, shape, threads, alone=alone)
    return _model(exported, found, postprocess=postprocess, quality=quality)


def _window(plan: Plan | None) -> tuple[int, ...]:
    assert plan is not None
    return (plan.inputs, *plan.patch)


def _model(exported: Exported, networks: dict[str, Any], *, postprocess: bool, quality: bool) -> Model:
    locator = None
    origins: Any = tuple(map(_Origin, exported.weights))
    if exported.plan.locator is not None:
        coarse = tuple(networks[name] for name in exported.locators)
        locator = Model(exported.plan.locator, coarse, None)
    return Model(
        exported.plan,
        tuple(networks[name] for name in exported.graphs),
        None,
        packages=origins,
        postprocess=exported.postprocess if postprocess else None,
        quality_estimator=QualityEstimator(exported.quality) if quality and exported.quality else None,
        locator=locator,
    )
