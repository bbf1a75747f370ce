"""What is minimised: the loss of the network's output, by plain torch or compiled."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vesal.nn.losses.losses import Loss
from vesal.train.batches import Batch
from vesal.train.logs.training_dice import TrainingDice
from vesal.train.precision import Precision
from vesal.train.recipe import TrainConfig
from vesal.train.sample_threads import SampleThreads

#: Compiling takes about a minute; a run that is shorter than this would not win it back.
_LONG_S = 300.0

#: The same in steps, where a run is not as long as a time.
_LONG_STEPS = 2000

#: How far loss and gradients of the compiled function may lie from plain torch's, as a share, where plain torch does
#: not round more itself.
_LOSS_TOLERANCE, _GRADIENT_TOLERANCE = 2e-3, 0.03

#: How many times further than plain torch's own rounding moves them.
_NOISE_TOLERANCE = 3.0

#: What shows that rounding: images brighter by this. A norm takes it away again, but every number is rounded anew.
_BRIGHTER = 1.003

#: A parameter's gradient is measured by at least this share of the whole gradient's norm.
_COUNTS = 0.01

#: Image, label, annotated classes -> the loss, and what the network put out.
_Function = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor | Sequence[Tensor]]]


def to_train(network: nn.Module) -> nn.Module:
    """The network in train mode, but for batch norms that are not trained: they keep the statistics that they have."""
    network.train()
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.weight is not None and not module.weight.requires_grad:
            module.eval()
    return network


class Objective:
    """Gradients of the loss of a batch, in the precision that was chosen.

    Args:
        network: in train mode when called.
        loss: of its output.
        precision: of the forward pass.
        threads: that compute a batch's samples side by side; None computes the batch as a whole.
    """

    def __init__(
        self, network: nn.Module, loss: Loss, precision: Precision, threads: SampleThreads | None = None
    ) -> None:
        self._network = network
        self._loss = loss
        self._precision = precision
        self._threads = threads

        def plain(
            image: Tensor, label: Tensor, annotated: Tensor | None
        ) -> tuple[Tensor, Tensor | Sequence[Tensor]]:
            logits = network(image)
            return loss(logits, label, annotated), logits

        self._plain: _Function = plain
        self._compiled: _Function | None = None

    def gradients(self, batch: Batch, dice: TrainingDice | None = None, share: float = 1.0) -> Tensor:
        """Add the gradients of a share of the batch's loss to those of the parameters.

        Args:
            batch: of one forward pass.
            dice: takes in what the network put out.
            share: of the loss that counts.

        Returns:
            That share of the loss, () float32, without gradients.
        """
        if self._threads is not None and self._compiled is None:
            loss, logits = self._threads.gradients(
                batch.image, lambda logits: self._loss(logits, batch.label, batch.annotated), share
            )
        else:
            function = self._compiled or self._plain
            with self._precision.forward():
                loss, logits = function(batch.image, batch.label, batch.annotated)
            loss = loss * share
            self._precision.backward(loss)
        if dice is not None:
            dice.add(logits, batch)
        return loss.detach()

    def compile(self, batch: Batch, *, graphs: bool = False) -> str:
        """Compile, if the compiled function agrees with plain torch on a batch; the network itself stays as it is.

        So state_dict, copies of the network and its use in validation know nothing of it. No state changes: neither
        gradients nor statistics of norms nor random numbers.

        Args:
            batch: of the size of all batches to come.
            graphs: record the kernels' launches as CUDA graphs too.

        Returns:
            One line that says what came of it. Whatever goes wrong, plain torch is used.
        """
        began = time.monotonic()
        mode = "reduce-overhead" if graphs else None
        random = [batch.image.device] if batch.image.is_cuda else []
        try:
            with torch.random.fork_rng(random):
                expected = self._probe(self._plain, batch)
                again = self._probe(self._plain, replace(batch, image=batch.image * _BRIGHTER))
                function = torch.compile(self._plain, dynamic=False, mode=mode)
                found = self._probe(function, batch)
        except Exception as error:  # compilers fail in many ways, and none of them is the user's
            reason = str(error).strip().partition("\n")[0]
            return f"Not compiled ({type(error).__name__}: {reason}); plain torch computes."
        if difference := _difference(expected, again, found):
            return f"Not compiled, for on one batch {difference}; plain torch computes."
        self._compiled = function
        return f"Network and loss are compiled and agree with plain torch; that took {time.monotonic() - began:.0f} s."

    def _probe(self, function: _Function, batch: Batch) -> _Probe:
        """Loss and gradients by parameter, after which the network is as before, in train mode without gradients."""
        to_train(self._network).zero_grad(set_to_none=True)
        buffers = {name: buffer.clone() for name, buffer in self._network.named_buffers()}
        try:
            with self._precision.forward():
                value, _ = function(batch.image, batch.label, batch.annotated)
            value.backward()
            return _Probe(
                float(value.detach()),
                {
                    name: parameter.grad.detach().float().clone()
                    for name, parameter in self._network.named_parameters()
                    if parameter.grad is not None
                },
            )
        finally:
            self._network.zero_grad(set_to_none=True)
            with torch.no_grad():
                for name, buffer in self._network.named_buffers():
                    buffer.copy_(buffers[name])


def wants_compiling(config: TrainConfig, steps: int | None, device: torch.device) -> bool:
    """Whether to compile: as chosen, or where a CUDA GPU and Triton are there and the run is long enough.

    Not in a deterministic run, for Triton chooses kernels by timing them, nor with gradient checkpointing, which
    torch 2.13 cannot trace as the networks do it.
    """
    choice: bool | Literal["auto", "graphs"] = config.compile
    if choice != "auto":
        return bool(choice)
    if device.type != "cuda" or config.deterministic or config.gradient_checkpointing:
        return False
    if importlib.util.find_spec("triton") is None:
        return False
    return steps >= _LONG_STEPS if steps is not None else (config.budget_s or 0.0) >= _LONG_S


@dataclass(frozen=True)
class _Probe:
    """Loss and gradients by parameter."""

    loss: float
    gradients: dict[str, Tensor]

    def norms(self, less: dict[str, Tensor] | None = None) -> dict[str, float]:
        """Of the gradients, or of their differences to others; the whole's by the name of ''."""
        norms = [
            torch.linalg.vector_norm(of if less is None else of - less[name])
            for name, of in self.gradients.items()
        ]
        whole = torch.linalg.vector_norm(torch.stack(norms))
        return dict(zip([*self.gradients, ""], torch.stack([*norms, whole]).tolist(), strict=True))


def _difference(expected: _Probe, again: _Probe, found: _Probe) -> str | None:
    """What differs by more than rounding, of which `expected` and `again` differ, or None."""
    noise = abs(expected.loss - again.loss)
    allowed = _LOSS_TOLERANCE * max(1.0, abs(expected.loss)) + _NOISE_TOLERANCE * noise
    if not abs(expected.loss - found.loss) <= allowed:
        return f"the loss is {found.loss:.5g} in place of {expected.loss:.5g}"
    if expected.gradients.keys() != found.gradients.keys():
        return "other parameters have gradients"
    norms, noises, distances = (expected.norms(less) for less in (None, again.gradients, found.gradients))
    # The whole first: it is what rounding moves least.
    for name in reversed(norms):
        scale = max(norms[name], _COUNTS * norms[""])
        if not distances[name] <= _GRADIENT_TOLERANCE * scale + _NOISE_TOLERANCE * noises[name]:
            return f"the gradient{name and f' of {name}'} is off by {distances[name] / scale:.0%}"
    return None
