"""Vesal: from a folder of labelled medical scans to a segmenter that can be trusted.

The verbs are loaded when they are first used, so that `import vesal` is quick and loads no torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vesal.data.fingerprint import fingerprint as fingerprint
    from vesal.data.layouts import load_dataset as load_dataset
    from vesal.data.planner import make_plan as make_plan
    from vesal.infer.predictor import load_model as load_model
    from vesal.volume.reading import read_label as read_label
    from vesal.volume.reading import read_volume as read_volume
    from vesal.volume.reading import write_label as write_label
    from vesal.workflow.evaluate import evaluate_run as evaluate
    from vesal.workflow.predict import predict_cases as predict
    from vesal.workflow.train import TrainRequest as TrainRequest
    from vesal.workflow.train import train_run as train

_VERBS = {
    "TrainRequest": ("vesal.workflow.train", "TrainRequest"),
    "evaluate": ("vesal.workflow.evaluate", "evaluate_run"),
    "fingerprint": ("vesal.data.fingerprint", "fingerprint"),
    "load_dataset": ("vesal.data.layouts", "load_dataset"),
    "load_model": ("vesal.infer.predictor", "load_model"),
    "make_plan": ("vesal.data.planner", "make_plan"),
    "predict": ("vesal.workflow.predict", "predict_cases"),
    "read_label": ("vesal.volume.reading", "read_label"),
    "read_volume": ("vesal.volume.reading", "read_volume"),
    "train": ("vesal.workflow.train", "train_run"),
    "write_label": ("vesal.volume.reading", "write_label"),
}

__all__ = ["__version__", *sorted(_VERBS)]


def __getattr__(name: str) -> Any:
    if name not in _VERBS:
        raise AttributeError(f"module 'vesal' has no attribute '{name}'")
    module, attribute = _VERBS[name]
    return getattr(import_module(module), attribute)


class _PackageAndVerb(ModuleType):
    """A package whose name is also a verb: vesal.train holds modules, and vesal.train(request) trains."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return __getattr__(self.__name__.removeprefix("vesal."))(*arguments, **named)


class _Vesal(ModuleType):
    """Python sets each package that is imported as an attribute, where it would hide the verb of its name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _VERBS and isinstance(value, ModuleType):
            value.__class__ = _PackageAndVerb
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Vesal


def __dir__() -> list[str]:
    return sorted([*globals(), *_VERBS])
