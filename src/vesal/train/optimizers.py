"""Optimizers by name, and Muon for convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vesal.train.recipe import TrainConfig


def build_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The configured optimizer; vectors (norms, biases) get no weight decay."""
    return OPTIMIZERS[config.optimizer](network, config)


def _sgd(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    momentum = config.momentum
    return torch.optim.SGD(
        _groups(network, config),
        lr=config.lr,
        momentum=momentum,
        nesterov=momentum > 0,
        fused=_fused(network),
    )


def _adam(
    network: nn.Module, config: TrainConfig, kind: type[torch.optim.Adam] = torch.optim.Adam
) -> torch.optim.Optimizer:
    return kind(_groups(network, config), lr=config.lr, amsgrad=config.amsgrad, fused=_fused(network))


def _muon(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    matrices, others, vectors = [], [], []
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            if parameter.ndim <= 1:
                vectors.append(parameter)
            elif name == "weight" and _is_hidden(module):
                matrices.append(parameter)
            else:
                others.append(parameter)
    transposed = {
        module.weight for module in network.modules() if isinstance(module, nn.modules.conv._ConvTransposeNd)
    }
    decay = config.weight_decay
    groups: list[dict[str, Any]] = [
        {"params": [p for p in matrices if p not in transposed], "rows": 0, "weight_decay": decay},
        {"params": [p for p in matrices if p in transposed], "rows": 1, "weight_decay": decay},
        {"params": others, "rows": None, "weight_decay": decay},
        {"params": vectors, "rows": None, "weight_decay": 0.0},
    ]
    return Muon([group for group in groups if group["params"]], lr=config.lr)


#: Optimizers by name: (network, configuration) -> optimizer.
OPTIMIZERS: dict[str, Callable[[nn.Module, TrainConfig], torch.optim.Optimizer]] = {
    "adamw": partial(_adam, kind=torch.optim.AdamW),
    "adam": _adam,
    "sgd": _sgd,
    "muon": _muon,
}


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal (Jordan et al., 2024), with AdamW beside it.

    The weights of a convolution are taken as a matrix of one row an output channel. Its step has the root mean
    square of an AdamW step, 0.2 sqrt(larger side) times an orthogonal matrix (Liu et al., 2025), so that learning
    rate and weight decay mean what they mean there. torch.optim.Muon takes matrices alone and rounds them to 16
    bits, for which most CPUs have no arithmetic.

    Args:
        groups: parameter groups; `rows` is the dimension of a weight that counts output channels (1 in transposed
            convolutions), or None for AdamW (vectors, the first and the last layers).
        lr: learning rate.
        momentum: decay of the average of the gradients, Nesterov's look ahead included.
        betas, eps: of AdamW.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One step; parameters without a gradient stay."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                torch._foreach_mul_(parameters, 1.0 - group["lr"] * group["weight_decay"])
                if group["rows"] is None:
                    self._adam(parameters, group)
                else:
                    self._orthogonal(parameters, group)

    def _orthogonal(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        averages = [self._kept(p, "momentum") for p in parameters]
        gradients = _gradients(parameters)
        torch._foreach_lerp_(averages, gradients, 1.0 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, averages, group["momentum"])
        # Weights of one shape go through the iteration together: a GPU would spend its time on launches.
        alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
        for parameter, direction in zip(parameters, ahead, strict=True):
            rows = direction.movedim(group["rows"], 0)
            alike.setdefault(rows.shape, []).append((parameter, rows.flatten(1)))
        for shape, pairs in alike.items():
            matrices = orthogonal(torch.stack([matrix for _, matrix in pairs]))
            scale = 0.2 * math.sqrt(max(matrices.shape[1:]))
            for (parameter, _), matrix in zip(pairs, matrices, strict=True):
                change = matrix.view(shape).movedim(0, group["rows"])
                parameter.add_(change, alpha=-group["lr"] * scale)

    def _adam(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = _gradients(parameters)
        firsts = [self._kept(p, "first") for p in parameters]
        seconds = [self._kept(p, "second") for p in parameters]
        group["steps"] = steps = group.get("steps", 0) + 1
        low, high = group["betas"]
        torch._foreach_lerp_(firsts, gradients, 1.0 - low)
        torch._foreach_mul_(seconds, high)
        torch._foreach_addcmul_(seconds, gradients, gradients, 1.0 - high)
        deviations = torch._foreach_sqrt(seconds)
        torch._foreach_div_(deviations, math.sqrt(1.0 - high**steps))
        torch._foreach_add_(deviations, group["eps"])
        torch._foreach_addcdiv_(parameters, firsts, deviations, -group["lr"] / (1.0 - low**steps))

    def _kept(self, parameter: Tensor, name: str) -> Tensor:
        state = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter)
        kept: Tensor = state[name]
        return kept


def orthogonal(matrices: Tensor) -> Tensor:
    """(B, M, N) -> about the nearest (half-)orthogonal matrices, by five Newton-Schulz steps of the fifth order.

    The coefficients are Jordan's: singular values come to lie between about 0.7 and 1.2, not at 1, which is as
    good for training and takes fewer steps.

    A step multiplies X by a polynomial P of X Xᵀ, with which it commutes. So all steps are taken on that product, which
    becomes P X Xᵀ P, and X is multiplied once, by all of their polynomials: for the weights of a convolution, whose
    rows are many times longer than they are many, a third of the time.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    gram = x @ x.mT
    change = _polynomial(gram)
    product = change
    for _ in range(_NEWTON_SCHULZ_STEPS - 1):
        gram = change @ gram @ change
        change = _polynomial(gram)
        product = change @ product
    x = product @ x
    return x.mT if tall else x


#: Steps of the iteration.
_NEWTON_SCHULZ_STEPS = 5


def _polynomial(gram: Tensor) -> Tensor:
    """3.4445 I - 4.7750 G + 2.0315 G² (Jordan et al., 2024)."""
    found = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
    found.diagonal(dim1=-2, dim2=-1).add_(3.4445)
    return found


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _is_hidden(module: nn.Module) -> bool:
    """Whether the module is a convolution between features: neither the scan's first nor a head."""
    if not isinstance(module, nn.modules.conv._ConvNd):
        return False
    taken = all(size == 1 for size in module.kernel_size) and module.bias is not None
    return module.in_channels > _FEW and module.out_channels > _FEW and not taken


#: Up to so many channels a convolution is taken to see the scan, or to give the classes, and AdamW trains it.
_FEW = 4


def _groups(network: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _fused(network: nn.Module) -> bool | None:
    """One kernel for all weights, where the device has it."""
    devices = {parameter.device.type for parameter in network.parameters()}
    return True if devices <= {"cuda", "cpu"} else None
