"""Building blocks of the networks, in two and three dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vesal.errors import UsageError, unknown_name
from vesal.nn.cpu import instance_norm as cpu
from vesal.nn.cpu.bfloat16 import bfloat16_norm_act
from vesal.nn.cpu.convolution import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d

#: Slope of the leaky ReLU left of zero, and the `a` of its Kaiming initialisation (nnU-Net).
SLOPE = 0.01

_CONVOLUTION: dict[int, type[nn.Module]] = {2: Conv2d, 3: Conv3d}
_UPSAMPLING: dict[int, type[nn.Module]] = {2: ConvTranspose2d, 3: ConvTranspose3d}
_MEAN_POOLING: dict[int, type[nn.Module]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
MAX_POOLING: dict[int, type[nn.Module]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}

#: Normalisation by name: (dimension, features) -> module.
NORMS: dict[str, Callable[[int, int], nn.Module]] = {
    "instance": lambda dimension, features: {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dimension](
        features, affine=True
    ),
    "batch": lambda dimension, features: {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dimension](features),
    "group": lambda dimension, features: nn.GroupNorm(math.gcd(8, features), features),
    "none": lambda dimension, features: nn.Identity(),
}

#: Activation by name.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "leaky_relu": lambda: nn.LeakyReLU(SLOPE, inplace=True),
    "relu": lambda: nn.ReLU(inplace=True),
    "prelu": nn.PReLU,
    "gelu": nn.GELU,
}


#: Activations that are a leaky ReLU, by their slope left of zero.
SLOPES = {"leaky_relu": SLOPE, "relu": 0.0}


@dataclass(frozen=True)
class Bricks:
    """What the layers of one network are made of.

    Args:
        dimension: 2 or 3.
        norm: a name in `NORMS`.
        activation: a name in `ACTIVATIONS`.
        bias: convolutions and upsamplings keep a bias though a norm follows, as many published networks do.

    Raises:
        UsageError: a name is not known.
    """

    dimension: int
    norm: str = "instance"
    activation: str = "leaky_relu"
    bias: bool = False

    def __post_init__(self) -> None:
        if self.dimension not in _CONVOLUTION:
            raise unknown_name("network dimension", self.dimension, _CONVOLUTION)
        if self.norm not in NORMS:
            raise unknown_name("norm", self.norm, NORMS)
        if self.activation not in ACTIVATIONS:
            raise unknown_name("activation", self.activation, ACTIVATIONS)

    def convolution(
        self,
        inputs: int,
        features: int,
        kernel: Sequence[int],
        stride: Sequence[int] | None = None,
        *,
        bias: bool = False,
    ) -> nn.Module:
        """A convolution padded so that a stride of 1 keeps the size.

        Raises:
            UsageError: an even kernel, which has no centre, or a size below 1.
        """
        stride = (1,) * self.dimension if stride is None else tuple(stride)
        if min(inputs, features, *kernel, *stride) < 1:
            raise UsageError(
                f"A convolution {inputs} -> {features} with kernel {tuple(kernel)} and stride {stride} "
                "cannot be built; sizes start at 1."
            )
        if any(size % 2 == 0 for size in kernel):
            raise UsageError(f"Kernel {tuple(kernel)} is even along an axis; use odd sizes, such as 1 or 3.")
        padding = tuple(size // 2 for size in kernel)
        return _CONVOLUTION[self.dimension](
            inputs, features, tuple(kernel), stride=stride, padding=padding, bias=bias
        )

    def upsampling(self, inputs: int, features: int, stride: Sequence[int]) -> nn.Module:
        """A transposed convolution that undoes `stride`, without overlap."""
        stride = tuple(stride)
        return _UPSAMPLING[self.dimension](inputs, features, stride, stride=stride, bias=self.bias)

    def normalisation(self, features: int) -> nn.Module:
        """The norm of this network for `features` channels."""
        return NORMS[self.norm](self.dimension, features)

    def nonlinearity(self) -> nn.Module:
        """The activation of this network."""
        return ACTIVATIONS[self.activation]()


class ConvNormAct(nn.Module):
    """Convolution, norm, activation: (N, inputs, *spatial) -> (N, features, *spatial / stride).

    Unless the bricks ask for more, the convolution has a bias only where no norm would take it away again.
    """

    def __init__(
        self,
        bricks: Bricks,
        inputs: int,
        features: int,
        kernel: Sequence[int],
        stride: Sequence[int] | None = None,
        *,
        act: bool = True,
    ) -> None:
        super().__init__()
        self.conv = bricks.convolution(
            inputs, features, kernel, stride, bias=bricks.bias or bricks.norm == "none"
        )
        self.norm = bricks.normalisation(features)
        self.act = bricks.nonlinearity() if act else nn.Identity()

        # What the fused instance norm of the CPU needs to know: the slope left of zero, 1 without activation.
        slope = SLOPES.get(bricks.activation) if act else 1.0
        self._slope = slope if bricks.norm == "instance" else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self._slope is not None and cpu.applies(x):
            return cpu.instance_norm_act(x, self.norm, self._slope)
        if self._slope is not None and x.dtype is torch.bfloat16 and cpu.applies_in_bfloat16(x):
            return bfloat16_norm_act(x, self.norm, self._slope)
        return self.act(self.norm(x))


class ResidualBlock(nn.Module):
    """conv-norm-act-conv-norm plus a shortcut, then act (He et al., 2016; shortcut "D" of He et al., 2019).

    The shortcut is a mean over the stride, then a 1x1 convolution and norm where the features change.
    (N, inputs, *spatial) -> (N, features, *spatial / stride).
    """

    def __init__(
        self,
        bricks: Bricks,
        inputs: int,
        features: int,
        kernel: Sequence[int],
        stride: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        ones = (1,) * bricks.dimension
        stride = ones if stride is None else tuple(stride)
        self.first = ConvNormAct(bricks, inputs, features, kernel, stride)
        self.second = ConvNormAct(bricks, features, features, kernel, act=False)
        self.pool = nn.Identity() if stride == ones else _MEAN_POOLING[bricks.dimension](stride)
        self.project = (
            nn.Identity() if inputs == features else ConvNormAct(bricks, inputs, features, ones, act=False)
        )
        self.act = bricks.nonlinearity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.second(self.first(x)) + self.project(self.pool(x)))


class AttentionGate(nn.Module):
    """Weighs a skip's voxels by what the decoder sees there (Oktay et al., 2018, additive attention).

    q = score(relu(skip_weight skip + signal_weight signal + bias)) + bias, out = skip * sigmoid(q). Unlike in the
    paper the signal has already been upsampled, so that all is at the skip's resolution and nothing is
    interpolated. As there, a gate starts open.

    skip, signal: (N, features, *spatial) -> (N, features, *spatial).
    """

    def __init__(self, bricks: Bricks, features: int) -> None:
        super().__init__()
        ones, hidden = (1,) * bricks.dimension, max(1, features // 2)
        self.skip = bricks.convolution(features, hidden, ones)
        self.signal = bricks.convolution(features, hidden, ones, bias=True)
        self.score = bricks.convolution(hidden, 1, ones, bias=True)

    def forward(self, skip: Tensor, signal: Tensor) -> Tensor:
        seen = torch.relu(self.skip(skip) + self.signal(signal))
        return skip * torch.sigmoid(self.score(seen))


#: Bias of a gate's score at the start: sigmoid(2) = 0.88 is open and still has a slope.
_OPEN = 2.0


def initialise(network: nn.Module) -> None:
    """Kaiming normal for leaky ReLU, zero biases; a residual block starts as its shortcut (nnU-Net).

    Attention gates start open. On the meta device, which has no numbers, nothing is done: drawing there would load
    torch's compiler, a third of the start of a prediction.
    """
    if any(parameter.is_meta for parameter in network.parameters()):
        return
    convolutions = (*_CONVOLUTION.values(), *_UPSAMPLING.values())
    for module in network.modules():
        if isinstance(module, convolutions):
            nn.init.kaiming_normal_(module.weight, a=SLOPE)  # type: ignore[arg-type]
            if module.bias is not None:
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    for module in network.modules():
        if isinstance(module, ResidualBlock) and isinstance(
            weight := getattr(module.second.norm, "weight", None), Tensor
        ):
            nn.init.zeros_(weight)
        if isinstance(module, AttentionGate):
            nn.init.constant_(module.score.bias, _OPEN)  # type: ignore[arg-type]
