"""What a person writes for a setting, as typed settings take it: 32 for '32', None for null, 128x128x64 for a list.

A setting's help is its field's description: what it shows must be taken after --set and in a recipe.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from vesal.planning.plan import Normalisation

#: Words of other programs for settings, and for their values -> ours.
SETTINGS_ELSEWHERE = {
    **dict.fromkeys(("learning_rate", "base_lr", "initial_lr"), "lr"),
    **dict.fromkeys(("batch_size", "bs"), "plan.batch"),
    **dict.fromkeys(("num_epochs", "max_epochs", "n_epochs", "epoch"), "epochs"),
    **dict.fromkeys(("iterations", "max_iterations", "max_steps", "num_steps"), "steps"),
    **dict.fromkeys(("patience", "early_stop", "early_stopping_patience"), "early_stopping"),
    **dict.fromkeys(("model", "arch", "architecture", "model_name"), "network"),
    **dict.fromkeys(("scheduler", "lr_scheduler"), "schedule"),
    **dict.fromkeys(("criterion", "loss_function", "loss_fn", "loss_name"), "loss"),
    **dict.fromkeys(("accumulation_steps", "accumulate", "accumulate_grad_batches"), "accumulation"),
    **dict.fromkeys(("amp", "fp16", "mixed_precision", "use_amp"), "precision"),
    **dict.fromkeys(("spacing", "pixdim", "voxel_spacing"), "plan.spacing_mm"),
    **dict.fromkeys(("patch_size", "roi_size", "crop_size", "image_size", "img_size"), "plan.patch"),
    **dict.fromkeys(("num_folds", "n_folds", "n_splits", "k_folds"), "folds"),
    **dict.fromkeys(("val_interval", "val_every", "validate_every_epochs"), "validate_epochs"),
    **dict.fromkeys(("grad_clip", "clip_grad", "gradient_clipping", "max_norm"), "clip"),
    **dict.fromkeys(("min_lr", "eta_min"), "lr_min"),
    **dict.fromkeys(("budget", "time"), "budget_s"),
    "ema_decay": "ema",
    "warmup_epochs": "warmup",
    "deep_supervision": "plan.heads",
    "t_0": "lr_period",
    "step_size": "lr_period",
    "factor": "lr_factor",
    "random_state": "seed",
}
WORDS_ELSEWHERE = {
    **dict.fromkeys(("reducelronplateau", "reduce_on_plateau"), "plateau"),
    **dict.fromkeys(("steplr", "step_lr"), "step"),
    **dict.fromkeys(("cosineannealinglr", "cosine_annealing"), "cosine"),
    **dict.fromkeys(("cosineannealingwarmrestarts", "warm_restarts", "cosine_restarts"), "restarts"),
    **dict.fromkeys(("onecyclelr", "onecycle"), "one_cycle"),
    **dict.fromkeys(("polylr", "polynomial"), "poly"),
    "fixed": "constant",
    "nesterov": "sgd",
    **dict.fromkeys(("fp16", "float16", "half", "16-mixed"), "16"),
    **dict.fromkeys(("fp32", "float32", "full", "32-true"), "32"),
    **dict.fromkeys(("bfloat16", "bf16-mixed"), "bf16"),
    **dict.fromkeys(("amp", "mixed"), "auto"),
}

_NOTHING = ("none", "null")


def as_given(model: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, each in the form that the model's field takes; those that fit none stay as they are.

    >>> from vesal.planning.settings import PlanSettings
    >>> as_given(PlanSettings, {"patch": "128x128x64", "norm": "none", "batch": "None", "normalisation": "zscore"})
    {'patch': [128, 128, 64], 'norm': 'none', 'batch': None, 'normalisation': {'scheme': 'zscore'}}
    """
    kinds = _fields(model)
    return {name: _value(kinds[name], value) if name in kinds else value for name, value in values.items()}


def setting_names(model: Any, prefix: str = "") -> Iterator[str]:
    """The names of all fields, those of parts after a dot.

    >>> from vesal.planning.settings import PlanSettings
    >>> [name for name in setting_names(PlanSettings, "plan.") if "scheme" in name or "width" in name]
    ['plan.width', 'plan.normalisation.scheme']
    """
    for name, kind in _fields(model).items():
        yield prefix + name
        for part in filter(_fields, _choices(kind)):
            yield from setting_names(part, f"{prefix}{name}.")


def known_part(model: Any, path: tuple[int | str, ...]) -> str:
    """The beginning of an error's path that is a setting's name: pydantic adds the types that it tried.

    >>> from vesal.planning.settings import PlanSettings
    >>> known_part(PlanSettings, ("patch", 0, "int")), known_part(PlanSettings, ("pach",))
    ('patch', 'pach')
    """
    names: list[str] = []
    for part in path:
        kinds = {} if model is None else _fields(model)
        if part not in kinds:
            # A name that is not there is what the error is about.
            return ".".join([*names, str(part)]) if kinds and isinstance(part, str) else ".".join(names)
        names.append(str(part))
        model = next(filter(_fields, _choices(kinds[str(part)])), None)
    return ".".join(names)


def _fields(model: Any) -> dict[str, Any]:
    """Name -> type of each field; none where it is no class of fields."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        return {name: Annotated[field.annotation, field] for name, field in model.model_fields.items()}
    if isinstance(model, type) and is_dataclass(model):
        return get_type_hints(model)
    return {}


def _choices(kind: Any) -> list[Any]:
    """The types that a field may have."""
    if get_origin(kind) is Annotated:
        return _choices(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [one for choice in get_args(kind) for one in _choices(choice)]
    return [kind]


def _value(kind: Any, value: Any) -> Any:
    choices = _choices(kind)
    if isinstance(value, str) and value.lower() in _NOTHING and type(None) in choices and str not in choices:
        return None
    if isinstance(value, dict):
        model = next(filter(_fields, choices), None)
        return value if model is None else as_given(model, value)
    if Normalisation in choices and isinstance(value, str):
        return {"scheme": value.lower()}
    words = [word for one in choices if get_origin(one) is Literal for word in get_args(one)]
    if (word := _word(words, value)) is not None:
        return word
    if any(get_origin(one) is tuple for one in choices):
        return _several(value)
    numeric = bool({int, float} & set(choices))
    if numeric and isinstance(value, bool) and bool not in choices:
        # Python takes True for 1.
        return str(value).lower()
    if float in choices and isinstance(value, str):
        return _number(value)
    return value


def _word(words: list[Any], value: Any) -> Any:
    """The word of a closed list that is meant: YAML reads 32 as a number, and people write AdamW."""
    if isinstance(value, bool) or value in words:
        return None
    return next((word for word in words if str(word).lower() == str(value).lower()), None)


def _several(value: Any) -> Any:
    """The numbers of '128x128x64', '128, 128, 64' or '1.5 1.5 1'."""
    if not isinstance(value, str):
        return value
    pieces = [piece for piece in re.split(r"[\s,;x×()]+", value.strip("[] ")) if piece]
    try:
        return [float(piece) if "." in piece or "e" in piece else int(piece) for piece in pieces]
    except ValueError:
        return value


def _number(value: str) -> Any:
    """The number of '1/3'; all else as it is."""
    try:
        number = float(Fraction(value)) if "/" in value else math.nan
    except (ValueError, ZeroDivisionError):
        return value
    return value if math.isnan(number) else number
