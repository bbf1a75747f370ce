"""The training configuration: a typed object, and named recipes that hold only what differs."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vesal.augment.policy import AugmentConfig
from vesal.errors import UsageError, nearest_name, unknown_name
from vesal.files import write_text
from vesal.infer.window_overlap import OVERLAP
from vesal.nn.losses.losses import LossOptions
from vesal.planning.given_values import (
    SETTINGS_ELSEWHERE,
    WORDS_ELSEWHERE,
    as_given,
    known_part,
    setting_names,
)
from vesal.planning.settings import PlanSettings
from vesal.planning.yaml_settings import parse_yaml, read_yaml
from vesal.text import listed

#: Quantities that may choose the best weights.
MONITORED = ("val_dice", "val_loss", "train_loss")


class TrainConfig(BaseModel):
    """All that is chosen, not derived. Each field's description is also its help."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    recipe: str = "auto"
    """Name of the recipe that this configuration came from."""
    network: str = "unet"
    """Network by name (vesal.nn.zoo)."""
    initial_weights: str | None = None
    """File of weights to begin with (--from), as far as they fit: a model file, safetensors or a state dict."""
    adapt: bool = False
    """initial_weights are a model whose plan is taken over, and which is fitted by names to the channels and classes of
    the data (vesal finetune)."""
    freeze_encoder: bool = False
    """The encoder's weights that such a model brings are not trained."""
    labels: dict[str, int] | None = None
    """Names and values of the labels (labels.tumour=1, labels.ignore=255), in place of what is declared or found."""
    label_threshold: float | None = None
    """Masks are of one class, which is where they are at or above this, whatever values they hold."""
    plan: PlanSettings = PlanSettings()
    """What is wanted of the plan; whatever is not set follows from data, budget and device."""
    budget_s: float | None = Field(default=None, gt=0)
    """Wall-clock seconds of training and validation together; the schedule fits itself to them."""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps, in place of a time budget."""
    epochs: int | None = Field(default=None, ge=1)
    """Passes over the training cases (in 2D plans over as many slices as they have), in place of a time budget."""
    epoch_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps that count as an epoch, in place of a pass over the cases."""
    network_s: float | None = Field(default=None, gt=0)
    """Seconds of a time budget that a network gets before one more is trained, whose vote counts too (at most 4, on a
    CPU); None trains one. plan.networks gives their number."""
    accumulation: int = Field(default=1, ge=1)
    """Forward passes whose gradients are added up into one optimizer step."""
    optimizer: Literal["adamw", "adam", "sgd", "muon"] = "adamw"
    """AdamW, Adam (coupled weight decay), SGD with Nesterov momentum, or Muon (orthogonal steps of convolutions)."""
    amsgrad: bool = False
    """AMSGrad's maximum of the second moments, in Adam and AdamW."""
    lr: float = Field(default=3e-3, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Weight decay; norms and biases are left out of it."""
    momentum: float = Field(default=0.99, ge=0, lt=1)
    """Momentum of SGD."""
    schedule: Literal["poly", "cosine", "constant", "restarts", "step", "plateau", "one_cycle"] = "poly"
    """Learning rate: polynomial decay (power 0.9), cosine, constant, cosine with warm restarts, steps, reduction on
    a plateau of the monitored quantity, or one cycle."""
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Share of the run over which the learning rate rises linearly from 0; of one cycle, all of its rise."""
    lr_min: float = Field(default=0.0, ge=0)
    """Learning rate below which no schedule goes, but for warm-up."""
    lr_period: float = Field(default=10.0, gt=0)
    """Epochs of the first cycle of warm restarts, or between the reductions of steps."""
    lr_growth: float = Field(default=2.0, ge=1)
    """How many times longer each cycle of warm restarts is than the one before."""
    lr_factor: float = Field(default=0.5, gt=0, lt=1)
    """Factor of each reduction, of steps and on a plateau."""
    lr_patience: int = Field(default=5, ge=0)
    """Validations without a better monitored quantity that a plateau may last before the rate is reduced."""
    loss: str = "dice_ce"
    """Loss by name (vesal.nn.losses.losses)."""
    loss_options: LossOptions = LossOptions()
    """Class weights, label smoothing and the numbers of the focal and the Tversky loss."""
    clip: float | None = Field(default=12.0, gt=0)
    """Largest norm of the gradient; None does not clip."""
    ema: float | None = Field(default=0.999, gt=0, lt=1)
    """Decay of the exponential average of the weights that validates and ships; None ships the last weights."""
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
    """Arithmetic of the forward pass; auto is bf16 on GPUs and CPUs (AVX-512 BF16, AMX) that have it, else 32."""
    channels_last: bool | None = None
    """On a CUDA GPU, keep channels innermost in memory; None does. A CPU does so wherever it is faster."""
    gradient_checkpointing: bool = False
    """Compute activations again on the way back instead of keeping them: less memory, a third more time."""
    foreground_share: float = Field(default=1 / 3, ge=0, le=1)
    """Share of the patches that are centred on a labelled voxel."""
    augment: AugmentConfig = AugmentConfig()
    """Augmentation."""
    validate_every: float = Field(default=0.05, gt=0, le=1)
    """Share of the run between validations."""
    validate_epochs: float | None = Field(default=None, gt=0)
    """Epochs between validations, in place of a share of the run."""
    validation_time: float = Field(default=0.1, gt=0, le=1)
    """Largest share of a time budget that validation may take; it waits or looks at fewer cases to keep it."""
    overlap: float = Field(default=OVERLAP, ge=0, lt=1)
    """Share of a window that its neighbour covers, when held-out cases are predicted."""
    monitor: str = "val_dice"
    """What selects the best weights and drives early stopping and the plateau: val_dice, val_dice/CLASS, val_loss or
    train_loss. Where validations show fewer than four cases, the last weights are taken."""
    early_stopping: int | None = Field(default=None, ge=1)
    """Stop after so many validations without a better monitored quantity."""
    target: float | None = None
    """Stop as soon as the monitored quantity is as good as this."""
    checkpoint_s: float = Field(default=60.0, gt=0)
    """Seconds between checkpoints, beside those of every validation."""
    fold: Annotated[int, Field(ge=0)] | Literal["all"] | None = None
    """Fold whose cases are held out; all for cross-validation; None holds no case out."""
    tta: bool = False
    """Predict the held-out cases with test-time mirroring."""
    folds: int = Field(default=5, ge=2)
    """Number of folds of the cross-validation."""
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    """Everything random is derived from it."""
    deterministic: bool = False
    """Bitwise the same result for the same seed on the same device; needs steps or epochs."""
    compile: bool | Literal["auto", "graphs"] = "auto"
    """Compile network and loss, after a comparison with plain torch on one batch; auto does on CUDA GPUs in runs of
    at least 5 minutes or 2000 steps that need not be deterministic. graphs records CUDA graphs too."""
    device_cache: bool | None = None
    """Keep the prepared cases in the memory of the device that trains; None does on a CUDA GPU where they fit."""

    @model_validator(mode="after")
    def _no_contradictions(self) -> TrainConfig:
        lengths = [name for name in LENGTHS if getattr(self, name) is not None]
        if len(lengths) > 1:
            raise ValueError(f"{' and '.join(lengths)} both set the length of the run; choose one")
        if self.deterministic and self.budget_s is not None:
            raise ValueError(
                "a time budget ends after as many steps as the machine manages, so it cannot be deterministic; "
                "choose steps or epochs"
            )
        if self.adapt and self.initial_weights is None:
            raise ValueError("adapt needs a model to begin with; use vesal finetune MODEL DATA")
        if self.freeze_encoder and not self.adapt:
            raise ValueError(
                "freeze_encoder keeps what a model brings; use vesal finetune MODEL DATA --freeze-encoder"
            )
        if self.lr_min > self.lr:
            raise ValueError(f"lr_min {self.lr_min:g} is above lr {self.lr:g}; lower it")
        name, slash, of = self.monitor.partition("/")
        if name not in MONITORED or bool(slash) != bool(of) or (of and name != "val_dice"):
            raise ValueError(f"monitor is {', '.join(MONITORED)} or val_dice/CLASS, not '{self.monitor}'")
        return self

    def save(self, path: str | Path) -> None:
        """Write every field as YAML."""
        write_text(path, yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))

    @classmethod
    def load(cls, path: str | Path) -> TrainConfig:
        """Read what `save` wrote.

        Raises:
            UsageError: the file is absent or no valid configuration.
        """
        return _validated(read_yaml(Path(path)), str(path))


#: Fields that set the length of a run; one of them is not None.
LENGTHS = ("budget_s", "steps", "epochs")

#: Length of a run for which nothing was chosen.
DEFAULT_BUDGET_S = 20 * 60.0


def recipe_names() -> list[str]:
    """Names of the recipes that ship with Vesal."""
    folder = resources.files("vesal") / "recipes"
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def load_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """A recipe by name or by the path of a YAML file, with fields replaced.

    Args:
        name: of a shipped recipe, or a path that ends in .yaml.
        overrides: field -> value; nested fields by dots, such as "augment.noise_probability" ("augmentation" will do).
            Setting one of budget_s, steps and epochs replaces whichever the recipe had.

    Raises:
        UsageError: no such recipe, field, or value.
    """
    if name.endswith((".yaml", ".yml")):
        values = read_yaml(Path(name))
        values.setdefault("recipe", Path(name).stem)
    elif name in recipe_names():
        values = yaml.safe_load((resources.files("vesal") / "recipes" / f"{name}.yaml").read_text()) or {}
        values.setdefault("recipe", name)
    else:
        raise unknown_name("recipe", name, recipe_names())
    overrides = dict(overrides or {})
    if any(field in overrides for field in LENGTHS):
        values = {field: value for field, value in values.items() if field not in LENGTHS}
    values = _with(values, overrides)
    if all(values.get(field) is None for field in LENGTHS):
        values["budget_s"] = DEFAULT_BUDGET_S
    return _validated(values, f"recipe '{name}'")


def _with(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The values with some replaced; names of parts come after a dot."""
    found = copy.deepcopy(dict(values))
    for field, value in overrides.items():
        path = re.sub(r"^augmentation(?=\.|$)", "augment", field).split(".")
        part = found
        for key in path[:-1]:
            if part.get(key) is None:
                part[key] = {}
            part = part[key]
            if not isinstance(part, dict):
                raise UsageError(f"'{'.'.join(path)}' is not a setting: '{key}' has no parts.")
        part[path[-1]] = value
    return found


def resumed(config: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    """The configuration of a run that goes on: another fold, or another length, and nothing else may change.

    What is named with the value that the run has changes nothing.

    Raises:
        UsageError: another field is named, or the length contradicts the rest.
    """
    values = config.model_dump(mode="json")
    if any(name in changes for name in LENGTHS):
        values = {name: value for name, value in values.items() if name not in LENGTHS}
    wanted = _validated(_with(values, changes), "the resumed run")
    if other := changed_settings(config, wanted):
        raise UsageError(
            f"A resumed run keeps its settings; leave out {', '.join(other)}, or begin another run."
        )
    return wanted


def changed_settings(config: TrainConfig, wanted: TrainConfig) -> list[str]:
    """Names of the settings that a resumed run may not change and that differ, with the value of the run."""
    before, after = (dict(_flat(one.model_dump(mode="json"))) for one in (config, wanted))
    may_change = {*LENGTHS, "fold", "recipe"}
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return [f"{name} ({_text(before.get(name))} in the run)" for name in names if name not in may_change]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _text(value: Any) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def recipe_overrides(
    settings: Sequence[str], *, budget: str | None = None, dimension: int | None = None, **chosen: Any
) -> dict[str, Any]:
    """What the options of a verb replace in a recipe.

    Args:
        settings: `--set` pairs.
        budget: such as '20m'.
        dimension: of the plan, 2 or 3.
        chosen: more fields; None leaves what `settings` and the recipe say.

    >>> recipe_overrides(["lr=0.1"], budget="1m", dimension=None, seed=2)
    {'lr': 0.1, 'seed': 2, 'budget_s': 60.0}

    Raises:
        UsageError: a pair or the budget cannot be read, or a field is given twice and not alike.
    """
    chosen["budget_s"] = None if budget is None else parse_duration(budget)
    chosen["plan.dimension"] = dimension
    found = parse_overrides(settings)
    options = {name: value for name, value in chosen.items() if value is not None}
    if both := [name for name in options if name in found and found[name] != options[name]]:
        raise UsageError(
            f"{both[0]} is given by an option ({_text(options[both[0]])}) and by --set "
            f"({_text(found[both[0]])}); leave one out."
        )
    return found | options


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """`--set key=value` pairs; values are read as YAML.

    >>> parse_overrides(["lr=1e-3", "ema=null", "augment.enabled=false"])
    {'lr': 0.001, 'ema': None, 'augment.enabled': False}
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--set takes key=value, not '{pair}'; for example --set lr=0.001.")
        try:
            value = parse_yaml(text)
        except ValueError as error:
            raise UsageError(f"--set {pair}: the value is not YAML; quote it.") from error
        # YAML 1.1 wants a dot in 1e-3; people do not.
        if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
            value = float(value)
        key = key.strip()
        if key in values and values[key] != value:
            raise UsageError(
                f"--set gives {key} twice ({_text(values[key])}, {_text(value)}); leave one out."
            )
        values[key] = value
    return values


def parse_duration(text: str) -> float:
    """Seconds of '90s', '20m', '1.5h', '1h30m', or a bare number of seconds; not of '1h30', which may be either.

    >>> parse_duration("1h30m")
    5400.0
    """
    number = r"(\d+(?:\.\d+)?)"
    seconds_alone = r"s?" if re.fullmatch(number, text.strip()) else "s"
    match = re.fullmatch(rf"(?:{number}h)?(?:{number}m)?(?:{number}{seconds_alone})?", text.strip())
    seconds = 0.0
    if match and text.strip():
        hours, minutes, rest = (float(group) if group else 0.0 for group in match.groups())
        seconds = hours * 3600 + minutes * 60 + rest
    if not seconds or not math.isfinite(seconds):
        raise UsageError(f"'{text}' is not a length of time; write for example 90s, 20m or 1h30m.")
    return seconds


def _validated(values: dict[str, Any], where: str) -> TrainConfig:
    for name in ("budget_s", "checkpoint_s"):
        if isinstance(values.get(name), str):
            values = values | {name: parse_duration(values[name])}
    try:
        return TrainConfig.model_validate(as_given(TrainConfig, values))
    except ValidationError as error:
        errors = error.errors()
        first, field = errors[0], known_part(TrainConfig, errors[0]["loc"])
        if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            raise _unknown_setting(field, where) from error
        if first["type"] == "literal_error":
            raise unknown_name(field, first["input"], _literals(first), WORDS_ELSEWHERE) from error
        if first["type"] == "value_error":
            message = first["msg"].removeprefix("Value error, ")
            raise UsageError(f"{where}: {field + ': ' if field else ''}{message}.") from error
        wanted = [_wanted(one) for one in errors if known_part(TrainConfig, one["loc"]) == field]
        raise UsageError(
            f"{where}: {field} {' or '.join(dict.fromkeys(wanted))}, not {_text(first['input'])}."
        ) from error


def _wanted(error: Any) -> str:
    """What pydantic wants of a value, in our words."""
    if error["type"] in ("tuple_type", "list_type"):
        return "must be a list, such as [128, 128, 64]"
    if error["type"] in ("model_type", "model_attributes_type", "dataclass_type", "dict_type"):
        return "has parts, of which each is set by itself after a dot"
    if error["type"] == "literal_error":
        return listed(_literals(error), 20, " or ")
    message = error["msg"].removeprefix("Value error, ").partition(", unable to")[0]
    message = message.replace("a valid integer", "a whole number").replace("valid ", "")
    return message.replace("Input should", "must")


def _literals(error: Any) -> list[str]:
    expected = str(error["ctx"]["expected"])
    return re.findall(r"'([^']*)'", expected) or expected.split(" or ")


def _unknown_setting(field: str, where: str) -> UsageError:
    """The error about a name that is no setting, with the one that was probably meant."""
    names = list(setting_names(TrainConfig))
    *parents, last = field.split(".")
    prefix = ".".join(parents) + "." if parents else ""
    beside = [name for name in names if name.startswith(prefix) and "." not in name[len(prefix) :]]
    # A part of a name in this place counts most; the same word in another place more than a similar one in this.
    within = next((name for name in sorted(beside) if parents and name.endswith(f"_{last}")), None)
    elsewhere = {name.rpartition(".")[2]: name for name in reversed(names)} | SETTINGS_ELSEWHERE
    near = (
        within
        or nearest_name(last, [], elsewhere)
        or nearest_name(field, beside)
        or nearest_name(last, names)
    )
    perhaps = f" (perhaps {near}?)" if near else ""
    return UsageError(
        f"There is no setting '{field}' in {where}{perhaps}; choose one of: {', '.join(sorted(beside))}."
    )
