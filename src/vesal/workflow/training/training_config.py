"""The configuration of a run: of the recipe and the options, or the one that a resumed run was begun with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vesal.errors import UsageError
from vesal.planning.adapted_plan import STILL_CHOSEN
from vesal.planning.plan import Plan
from vesal.run.folder import Run
from vesal.text import listed
from vesal.train.recipe import (
    TrainConfig,
    changed_settings,
    load_recipe,
    recipe_overrides,
    resumed,
)
from vesal.workflow.requests.train_request import TrainRequest

#: The word for no fold.
NO_FOLD = "none"

_OVERLAPS = ("dice", "dice_ce", "dice_balanced_ce", "dice_boundary", "tversky", "focal_tversky")
_ENTROPIES = ("ce", "balanced_ce", "dice_ce", "dice_balanced_ce", "focal")

#: Setting -> the field on which it depends whether it does anything, and the values with which it does.
_ACTS_WITH: dict[str, tuple[str, tuple[str, ...]]] = {
    "momentum": ("optimizer", ("sgd",)),
    "amsgrad": ("optimizer", ("adam", "adamw")),
    "lr_period": ("schedule", ("restarts", "step")),
    "lr_growth": ("schedule", ("restarts",)),
    "lr_factor": ("schedule", ("step", "plateau")),
    "lr_patience": ("schedule", ("plateau",)),
    "loss_options.label_smoothing": ("loss", _ENTROPIES),
    "loss_options.batch_dice": ("loss", _OVERLAPS),
    "loss_options.background": ("loss", (*_OVERLAPS, "boundary")),
    "loss_options.smooth": ("loss", _OVERLAPS),
    "loss_options.focal_gamma": ("loss", ("focal",)),
    "loss_options.tversky_alpha": ("loss", ("tversky", "focal_tversky")),
    "loss_options.tversky_beta": ("loss", ("tversky", "focal_tversky")),
    "loss_options.focal_tversky_gamma": ("loss", ("focal_tversky",)),
    "loss_options.boundary_weight": ("loss", ("dice_boundary",)),
}

#: Settings that do nothing where no case is held out.
_NEED_HELD_OUT = (
    *("monitor", "early_stopping", "target", "validate_every", "validate_epochs", "validation_time"),
    *("overlap", "tta", "folds"),
)


def run_config(
    request: TrainRequest, run: Run, *, going_on: bool, tell: Callable[[str], None] = print
) -> TrainConfig:
    """The configuration; options that can do nothing are told.

    Args:
        request: what was asked for.
        run: to be written.
        going_on: there is a run, which keeps its settings.
        tell: takes messages.

    Raises:
        UsageError: contradictory options, or others than a resumed run has.
    """
    overrides = recipe_overrides(
        request.settings,
        budget=request.budget,
        dimension=request.dimension,
        steps=request.steps,
        epochs=request.epochs,
        seed=request.seed,
        deterministic=request.deterministic or None,
        fold=request.fold,
        tta=request.mirror or None,
        # Absolute, for a resumed run may be called from elsewhere.
        initial_weights=None if request.from_file is None else str(request.from_file.absolute()),
    )
    overrides |= request.overrides
    if overrides.get("fold") == NO_FOLD:
        overrides["fold"] = None
    if going_on:
        return _resumed_config(request, run, overrides)
    config = load_recipe(request.recipe or "auto", overrides)
    if request.folds_file is not None and config.fold is None:
        raise UsageError(
            f"{request.folds_file} says which cases are held out, but no fold is asked for; "
            "add --fold 0 (or another number, or all)."
        )
    for sentence in without_effect(request, config, overrides):
        tell(sentence)
    if config.fold is None:
        tell(held_out_sentence(config))
    return config


def _resumed_config(request: TrainRequest, run: Run, overrides: Mapping[str, Any]) -> TrainConfig:
    stored = TrainConfig.load(run.config_file)
    given = request.plan_file
    if given is not None and run.plan_file.exists() and Plan.load(given) != Plan.load(run.plan_file):
        raise UsageError(f"{run.folder} has its plan; leave out --plan, or begin another run.")
    config = resumed(stored, overrides)
    if request.recipe is not None and (
        other := changed_settings(stored, load_recipe(request.recipe, overrides))
    ):
        raise UsageError(
            f"A resumed run keeps its settings, and with --recipe {request.recipe} others would be "
            f"{listed(other, 4)}; leave out --recipe, or begin another run."
        )
    return config


def without_effect(request: TrainRequest, config: TrainConfig, overrides: Mapping[str, Any]) -> list[str]:
    """A sentence for each setting that was asked for and can do nothing."""
    found = []
    for name, (field, values) in _ACTS_WITH.items():
        chosen = getattr(config, field)
        if name in overrides and chosen not in values:
            found.append(
                f"{name} has no effect: {field} is {chosen}, and it acts with {listed(values, 6, ' or ')}."
            )
    for name in overrides:
        if name in _NEED_HELD_OUT and config.fold is None:
            found.append(f"{name} has no effect: no case is held out (--fold).")
        if name.startswith("plan.") and request.plan_file is not None:
            found.append(f"{name} has no effect: --plan gives the plan.")
        if config.adapt and name.startswith("plan.") and name.removeprefix("plan.") not in STILL_CHOSEN:
            found.append(f"{name} has no effect: the model that it begins with gives the plan.")
        if name.startswith("augment.") and name != "augment.enabled" and not config.augment.enabled:
            found.append(f"{name} has no effect: augment.enabled is false.")
    if "validate_every" in overrides and config.validate_epochs is not None and config.fold is not None:
        found.append(f"validate_every has no effect: validate_epochs is {config.validate_epochs:g}.")
    if config.network_s is not None and "network_s" in overrides and config.budget_s is None:
        found.append("network_s has no effect: steps or epochs set the length; plan.networks=2 trains two.")
    found += _idle_ranges(config, overrides)
    if "folds" in overrides and request.folds_file is not None:
        found.append(f"folds has no effect: {request.folds_file} has its own number of folds.")
    return found


def _idle_ranges(config: TrainConfig, overrides: Mapping[str, Any]) -> list[str]:
    """Ranges and sizes of transforms of the augmentation whose probability is 0."""
    end, augment = "_probability", config.augment
    chances = {
        name.removesuffix(end): value
        for name, value in augment
        if name.endswith(end) and name != f"channel{end}"
    }
    chances["gamma"] = max(chances["gamma"], chances["gamma_of_inverse"])
    return [
        f"{name} has no effect: augment.{kind}{end} is 0."
        for name in overrides
        for kind, chance in chances.items()
        if augment.enabled and not chance and name.startswith(f"augment.{kind}_") and not name.endswith(end)
    ]


def held_out_sentence(config: TrainConfig) -> str:
    """What it means that no case is held out."""
    idle = [
        name
        for name, there in (
            ("early stopping", config.early_stopping is not None),
            ("the reduction on a plateau", config.schedule == "plateau"),
            ("the target", config.target is not None),
        )
        if there
    ]
    more = f"; {listed(idle, last=' and ')} cannot act" if idle else ""
    return (
        "No case is held out: nothing is measured, and the last weights are kept, not the best"
        f"{more}. --fold 0 holds {_fraction(config.folds)} of the patients out."
    )


def _fraction(parts: int) -> str:
    """One of so many equal parts, with its article.

    >>> _fraction(5), _fraction(8), _fraction(7)
    ('a fifth', 'an eighth', '1/7')
    """
    words = {2: "a half", 3: "a third", 4: "a quarter", 5: "a fifth", 8: "an eighth", 10: "a tenth"}
    return words.get(parts, f"1/{parts}")
