"""Backends that compute a model's networks: torch, or on the CPU OpenVINO where it is installed and faster.

On AVX2 OpenVINO takes 0.15 to 0.7 of torch's time where the first stage has 8 or 16 features, 0.8 in 2D, and as long
as torch where all stages are wide; a large window takes it half of torch's memory. To convert a network takes half a
second or more, and so a small scan is sooner done by torch.

In bfloat16, on processors that compute it, OpenVINO and torch each take 0.5 to 0.6 of their time in float32; torch's is
1.3 to 2.1 times OpenVINO's (records/2026-11-29-prediction.md).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache, partial
from threading import RLock

import numpy as np
import torch
from torch import Tensor, nn

from vesal.errors import UsageError, out_of_memory, unknown_name
from vesal.infer.backends import openvino
from vesal.infer.windows import Network
from vesal.nn.cpu.bfloat16 import computes_bfloat16
from vesal.nn.model_file import Package
from vesal.nn.unet import UNet
from vesal.nn.zoo import is_own
from vesal.planning.cost import count_operations

_LOG = logging.getLogger(__name__)

#: What `--backend` takes: 'auto' is OpenVINO for our networks on the CPU as soon as it pays, else torch.
BACKENDS = ("auto", "torch", "openvino")

#: What `--precision` takes: 'auto' is bfloat16 on a CPU that computes it, for models whose masks are the same in it.
PRECISIONS = ("auto", "bf16", "32")

#: Multiply-adds for each thread from which converting pays. Torch does some 40e9 a second on a core of an EPYC of 2021,
#: a conversion takes 0.5 to 1 s, and OpenVINO saves between nothing and most of the time: two seconds of torch's work.
#: A number, not a measurement, so that the same command gives the same result to the last bit.
WORTH = 80e9

#: The same in bfloat16, in which torch does 24e9 to 60e9 a second on a core of an EPYC of 2022: a second.
WORTH_BFLOAT16 = 40e9

#: Behind a backend's name.
_BFLOAT16 = " in bfloat16"

#: Sizes of window for which a network stays compiled.
_SIZES = 2


def backend_networks(
    packages: Sequence[Package],
    device: torch.device,
    backend: str = "auto",
    bfloat16: Sequence[bool] | None = None,
) -> tuple[Network, ...]:
    """The packages' networks on `device`, ready to predict.

    Args:
        packages: the models, of each of which all networks vote.
        device: where to compute.
        backend: one of BACKENDS.
        bfloat16: which of them compute in it (`in_bfloat16`); None for none.

    Raises:
        UsageError: no such backend, or OpenVINO is requested and is not installed, or not for the CPU.
    """
    if backend not in BACKENDS:
        raise unknown_name("backend", backend, BACKENDS)
    version = openvino.installed() if backend != "torch" and device.type == "cpu" else None
    if backend == "openvino" and version is None:
        if device.type != "cpu":
            raise UsageError(
                f"OpenVINO computes on the CPU and not on {device}; choose --device cpu, or another --backend."
            )
        raise UsageError(
            "OpenVINO is not installed; pip install 'vesal[openvino]', or choose --backend torch."
        )
    turn = _Turn()
    networks: list[Network] = []
    chosen = zip(packages, bfloat16 or [False] * len(packages), strict=True)
    for package, narrow in ((voter, narrow) for of, narrow in chosen for voter in of.voters):
        network = package.build(copy=False).to(device)
        by_torch = Bfloat16Network(network) if narrow else network
        at_once = backend == "openvino"
        if version is not None and (at_once or isinstance(network, UNet)):
            # A training step is three passes of a batch, a multiply-add two operations.
            operations = 0.0 if at_once else count_operations(package.plan, package.network)
            work = operations / 6 / package.plan.batch / int(np.prod(package.plan.patch))
            networks.append(CpuNetwork(by_torch, version, turn, work, at_once))
        else:
            networks.append(by_torch)
    return tuple(networks)


def in_bfloat16(package: Package, device: torch.device, precision: str, agrees: bool) -> bool:
    """Whether a model's network computes in bfloat16.

    Args:
        package: the model.
        device: where.
        precision: one of PRECISIONS.
        agrees: whether its masks were found to be the same in it.

    Raises:
        UsageError: no such precision, or bfloat16 is requested where it is not computed.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    able = device.type == "cpu" and computes_bfloat16()
    if precision == "bf16" and not able:
        what = "this processor" if device.type == "cpu" else f"Vesal on {device}"
        raise UsageError(f"{what[0].upper()}{what[1:]} does not predict in bfloat16; leave out --precision.")
    return able and (precision == "bf16" or (precision == "auto" and agrees and is_own(package.network)))


class _Turn:
    """Of networks that vote: one computes at a time, and only the last one keeps its feature maps in memory."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.last: openvino.Compiled | None = None

    def take(self, compiled: openvino.Compiled) -> None:
        if self.last is not None and self.last is not compiled:
            self.last.release()
        self.last = compiled


class Bfloat16Network:
    """A network that torch computes in bfloat16; its sums and norms are in float32.

    Attributes:
        backend: what computes.
        in_bfloat16: that it does so in it.
        module: torch's network.

    Args:
        network: in eval mode on the CPU.
    """

    backend, in_bfloat16 = "torch" + _BFLOAT16, True

    def __init__(self, network: nn.Module) -> None:
        self.module = network

    def __call__(self, batch: Tensor) -> Tensor:
        """(N, C, *patch) float32 -> logits (N, K, *patch) float32."""
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            logits = self.module(batch)
        assert isinstance(logits, Tensor)
        return logits.float()


class CpuNetwork:
    """A network that OpenVINO computes from the moment that converting it pays, and torch until then.

    Where OpenVINO cannot, torch goes on, and the log says why. The logits of both agree up to rounding.

    Attributes:
        backend: what has computed last.
        in_bfloat16: whether it computes in it.
        module: torch's network.

    Args:
        network: in eval mode on the CPU; a `Bfloat16Network` is computed in bfloat16 by OpenVINO too.
        version: OpenVINO's.
        turn: shared by networks that vote.
        work: multiply-adds for a voxel of a window.
        at_once: convert whatever it costs.
    """

    def __init__(
        self, network: nn.Module | Bfloat16Network, version: str, turn: _Turn, work: float, at_once: bool
    ) -> None:
        self.in_bfloat16 = isinstance(network, Bfloat16Network)
        self.module = network.module if isinstance(network, Bfloat16Network) else network
        self._suffix = _BFLOAT16 if self.in_bfloat16 else ""
        self.backend = f"torch{self._suffix}"
        self._by_torch = network
        self._version = version
        self._turn = turn
        self._work, self._at_once = work, at_once
        self._done = 0.0
        self._refused = False
        self._compile = lru_cache(_SIZES)(partial(openvino.Compiled, self.module, bfloat16=self.in_bfloat16))

    def __call__(self, batch: Tensor) -> Tensor:
        """(N, C, *patch) float32 -> logits (N, K, *patch)."""
        with self._turn.lock:
            if self._pays(batch):
                try:
                    compiled = self._compile(tuple(batch.shape[1:]), torch.get_num_threads())
                    self._turn.take(compiled)
                    logits = compiled(batch)
                    self.backend = f"OpenVINO {self._version}{self._suffix}"
                    return logits
                except Exception as error:  # whatever the library could not do: torch can
                    self._refuse(error)
        with torch.inference_mode():
            logits = self._by_torch(batch)
        assert isinstance(logits, Tensor)
        return logits

    def _pays(self, batch: Tensor) -> bool:
        """Whether what torch has done, with this batch, would have paid for the conversion.

        How many windows are still to come is unknown. A change when as much has been spent as the change costs
        never takes more than twice the time of the best choice (the ski rental problem).
        """
        if self._refused or not len(batch):
            return False
        self._done += self._work * batch[:, 0].numel()
        begun = self._at_once or self._compile.cache_info().currsize > 0
        worth = WORTH_BFLOAT16 if self.in_bfloat16 else WORTH
        return begun or self._done > worth * torch.get_num_threads()

    def _refuse(self, error: Exception) -> None:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1][:160] if lines else type(error).__name__
        if out_of_memory(error) or "alloc" in str(error).lower():
            reason = "the memory does not suffice"
        self._refused = True
        self._compile.cache_clear()
        self._turn.last = None
        self.backend = f"torch{self._suffix} (not OpenVINO {self._version}: {reason})"
        level = logging.WARNING if self._at_once else logging.INFO
        _LOG.log(level, "torch predicts in place of OpenVINO %s: %s", self._version, reason)
