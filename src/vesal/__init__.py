"""Vesal: from a folder of labelled medical scans to a segmenter that can be trusted.

The names are loaded when they are first used, so that `import vesal` is quick and loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vesal.cpus import bound_spinning
from vesal.version import __version__

if TYPE_CHECKING:
    from vesal.data.fingerprint import fingerprint as fingerprint
    from vesal.infer.predictor import load_model as load_model
    from vesal.layouts.registry import load_dataset as load_dataset
    from vesal.planning.planner import make_plan as make_plan
    from vesal.volume.io import read_label as read_label
    from vesal.volume.io import read_volume as read_volume
    from vesal.volume.io import write_label as write_label
    from vesal.workflow.convert import convert_run as convert_run
    from vesal.workflow.evaluate import evaluate_run as evaluate_run
    from vesal.workflow.finetuning.finetune import finetune_run as finetune_run
    from vesal.workflow.overfit import overfit_run as overfit_run
    from vesal.workflow.predict import predict_cases as predict_cases
    from vesal.workflow.requests.convert_request import ConvertRequest as ConvertRequest
    from vesal.workflow.requests.finetune_request import FinetuneRequest as FinetuneRequest
    from vesal.workflow.requests.predict_options import PredictOptions as PredictOptions
    from vesal.workflow.requests.robustness_request import RobustnessRequest as RobustnessRequest
    from vesal.workflow.requests.train_request import OverfitRequest as OverfitRequest
    from vesal.workflow.requests.train_request import TrainRequest as TrainRequest
    from vesal.workflow.robustness.benchmark_run import robustness_run as robustness_run
    from vesal.workflow.training.train import train_run as train_run

bound_spinning()

_PUBLIC = {
    "ConvertRequest": ("vesal.workflow.requests.convert_request", "ConvertRequest"),
    "FinetuneRequest": ("vesal.workflow.requests.finetune_request", "FinetuneRequest"),
    "OverfitRequest": ("vesal.workflow.requests.train_request", "OverfitRequest"),
    "PredictOptions": ("vesal.workflow.requests.predict_options", "PredictOptions"),
    "RobustnessRequest": ("vesal.workflow.requests.robustness_request", "RobustnessRequest"),
    "TrainRequest": ("vesal.workflow.requests.train_request", "TrainRequest"),
    "convert_run": ("vesal.workflow.convert", "convert_run"),
    "evaluate_run": ("vesal.workflow.evaluate", "evaluate_run"),
    "fingerprint": ("vesal.data.fingerprint", "fingerprint"),
    "finetune_run": ("vesal.workflow.finetuning.finetune", "finetune_run"),
    "load_dataset": ("vesal.layouts.registry", "load_dataset"),
    "load_model": ("vesal.infer.predictor", "load_model"),
    "make_plan": ("vesal.planning.planner", "make_plan"),
    "overfit_run": ("vesal.workflow.overfit", "overfit_run"),
    "predict_cases": ("vesal.workflow.predict", "predict_cases"),
    "read_label": ("vesal.volume.io", "read_label"),
    "read_volume": ("vesal.volume.io", "read_volume"),
    "robustness_run": ("vesal.workflow.robustness.benchmark_run", "robustness_run"),
    "train_run": ("vesal.workflow.training.train", "train_run"),
    "write_label": ("vesal.volume.io", "write_label"),
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'vesal' has no attribute '{name}'")
    module, attribute = _PUBLIC[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
