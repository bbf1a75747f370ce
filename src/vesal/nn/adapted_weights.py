"""The weights of a model for another task: what fits is moved, the first layer and the head are matched by names.

Where channels or classes enter a network is found by building it once more for one more channel and one more class:
the axes that grow are theirs. So this holds for every network of the zoo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vesal.data.labels import Label, Region
from vesal.errors import VesalError
from vesal.nn.adaptation import CHANCE, MEAN, ZEROS, Adaptation
from vesal.nn.model_file import Package
from vesal.nn.zoo import build_network, is_own
from vesal.planning.plan import Plan

#: Names of what is no channel of the scan and no class, in brackets as no file has them.
_MASK, _BACKGROUND = "(foreground mask)", "(background)"

#: The parts of Vesal's own networks that see the scan before it is decoded.
_ENCODER = ("stem.", "encoder.")


@dataclass(frozen=True, eq=False)
class AdaptedWeights:
    """Weights of a model, fitted to a network for other channels or classes.

    Attributes:
        tensors: name in the network -> values; what is not there begins by chance.
        whole: names of those that are as they were.
        channels, classes: as of `Adaptation`.
        anew: names that are not in `tensors`.
        share: of the network's weights that come from the model.
    """

    tensors: dict[str, Tensor]
    whole: tuple[str, ...]
    channels: dict[str, str]
    classes: dict[str, str]
    anew: tuple[str, ...]
    share: float


def adapt_weights(model: Package, plan: Plan) -> AdaptedWeights:
    """Fit the first network of a model to the channels and classes of a plan that was made of its own.

    A tensor of the same shape is moved. Where channels enter, each takes the weights of the model's channel of its name
    (whatever the case of its letters); one that the model does not know begins with zeros, so that the network puts out
    at first what the model did, or, where the model knows none of them, with the mean of the model's channels, scaled
    such that as many channels together weigh as much. Where classes leave, each takes the weights of the model's class
    of its name, the background those of the background; a new class begins with zeros.

    Raises:
        VesalError: nothing of the model fits.
    """
    own = _shapes(model.network, plan)
    inputs = _matched(_inputs(model.plan), _inputs(plan))
    outputs = _matched(_outputs(model.plan), _outputs(plan))
    if bool(model.plan.labels.regions) != bool(plan.labels.regions):
        # A softmax' logits mean something else than those of sigmoids.
        outputs = [None] * len(outputs)
    known = any(
        source is not None for source, name in zip(inputs, _inputs(plan), strict=True) if name != _MASK
    )
    entering = _growing(model.network, plan, _wider(plan))
    leaving = _growing(model.network, plan, _with_a_class(plan))
    tensors, whole, taken = dict[str, Tensor](), [], 0.0
    for name, shape in own.items():
        given = model.weights.get(name)
        if given is None:
            continue
        if name in entering:
            found = _along(given, entering[name], inputs, mean=not known)
            kept = sum(source is not None for source in inputs) / len(inputs) if known else 1.0
        elif name in leaving:
            found = _along(given, leaving[name], outputs, mean=False)
            kept = sum(source is not None for source in outputs) / len(outputs)
        else:
            found, kept = given, 1.0
        if found.shape != shape:
            continue
        if name in leaving and not any(source is not None for source in outputs):
            continue
        tensors[name] = found
        taken += kept * found.numel()
        if found.shape == given.shape and torch.equal(found, given):
            whole.append(name)
    if taken == 0:
        raise VesalError("Nothing of the model fits this plan; train from the start with vesal train.")
    start = ZEROS if known else MEAN
    names = _inputs(model.plan)
    return AdaptedWeights(
        tensors,
        tuple(whole),
        {
            name: start if at is None else names[at]
            for name, at in zip(_inputs(plan), inputs, strict=True)
            if name != _MASK
        },
        _class_sources(model.plan, plan, outputs),
        tuple(name for name in own if name not in tensors),
        taken / sum(shape.numel() for shape in own.values()),
    )  # fmt: skip


def described(
    model: Package, source: str, weights: AdaptedWeights, *, freeze_encoder: bool = False
) -> Adaptation:
    """The record of what was taken from the model in a file.

    Args:
        model: that the weights were taken from.
        source: its file.
        weights: as they were fitted.
        freeze_encoder: the encoder's tensors that are as they were are not trained.
    """
    frozen = [name for name in weights.whole if name.startswith(_ENCODER)] if freeze_encoder else []
    used = set(weights.channels.values()), set(weights.classes.values())
    return Adaptation(
        model=source,
        weights_digest=model.weights_digest,
        channels=weights.channels,
        classes=weights.classes,
        left_channels=tuple(name for name in model.plan.channels if name not in used[0] and MEAN not in used[0]),
        left_classes=tuple(name for name in model.plan.labels.classes if name not in used[1]),
        tensors=len(weights.tensors) + len(weights.anew),
        moved=len(weights.whole),
        adapted=len(weights.tensors) - len(weights.whole),
        anew=weights.anew,
        share=weights.share,
        frozen=tuple(frozen),
        voters=len(model.voters),
    )  # fmt: skip


def has_encoder(network: str) -> bool:
    """Whether the encoder of the network of that name can be told from the rest, to be frozen."""
    return is_own(network)


def same_name(one: str, other: str) -> bool:
    """Whether two names of channels or classes mean the same: letters' case and spaces around do not count."""
    return one.strip().casefold() == other.strip().casefold()


def _inputs(plan: Plan) -> list[str]:
    return [*plan.channels, *[_MASK] * plan.foreground_channel]


def _outputs(plan: Plan) -> list[str]:
    labels = plan.labels
    return list(labels.classes) if labels.regions else [_BACKGROUND, *labels.names]


def _matched(old: Sequence[str], new: Sequence[str]) -> list[int | None]:
    """Of each new name the place among the old ones; each old one is taken once."""
    free = dict(enumerate(old))
    found: list[int | None] = []
    for name in new:
        at = next((at for at, other in free.items() if same_name(name, other)), None)
        if at is not None:
            del free[at]
        found.append(at)
    return found


def _along(given: Tensor, axis: int, sources: Sequence[int | None], *, mean: bool) -> Tensor:
    """`given` with other entries along an axis: those of the sources; where there is none zeros, or the scaled mean."""
    if max((at for at in sources if at is not None), default=-1) >= given.shape[axis]:
        return given.new_zeros(())  # of another kind of layer: no tensor has this shape
    blank = torch.zeros_like(given.select(axis, 0))
    if mean:
        left = [at for at in range(given.shape[axis]) if at not in sources]
        count = sum(at is None for at in sources)
        blank = given.index_select(axis, torch.tensor(left)).sum(dim=axis) / max(1, count)
    return torch.stack([blank if at is None else given.select(axis, at) for at in sources], dim=axis)


def _shapes(network: str, plan: Plan) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in build_network(network, plan).state_dict().items()}


def _growing(network: str, plan: Plan, grown: Plan) -> dict[str, int]:
    """Names of the tensors of which one axis grows by one from plan to plan -> that axis."""
    small, large = _shapes(network, plan), _shapes(network, grown)
    found = {}
    for name, shape in small.items():
        longer = [axis for axis, size in enumerate(shape) if large[name][axis] != size]
        if len(longer) == 1 and large[name][longer[0]] == shape[longer[0]] + 1:
            found[name] = longer[0]
    return found


def _wider(plan: Plan) -> Plan:
    """The plan with one more channel."""
    return plan.model_copy(
        update={
            "channels": (*plan.channels, "(one more)"),
            "normalisation": (*plan.normalisation, plan.normalisation[0]),
        }
    )


def _with_a_class(plan: Plan) -> Plan:
    """The plan with one more class."""
    labels = plan.labels
    more = Label(name="(one more)", value=max(labels.values) + 1)
    regions = (*labels.regions, Region(name=more.name, members=(more.name,))) if labels.regions else ()
    grown = labels.model_copy(update={"labels": (*labels.labels, more), "regions": regions})
    return plan.model_copy(update={"labels": grown})


def _class_sources(old: Plan, new: Plan, sources: Sequence[int | None]) -> dict[str, str]:
    names = _outputs(old)
    start = CHANCE if all(at is None for at in sources) else ZEROS
    return {
        name: start if at is None else names[at]
        for name, at in zip(_outputs(new), sources, strict=True)
        if name != _BACKGROUND
    }
