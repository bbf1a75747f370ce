"""Backends that compute a model's networks: torch, or on the CPU OpenVINO where it is installed and faster.

On AVX2 OpenVINO takes 0.15 to 0.7 of torch's time where the first stage has 8 or 16 features, 0.8 in 2D, and as long
as torch where all stages are wide; a large window takes it half of torch's memory. To convert a network takes half a
second or more, and so a small scan is sooner done by torch.
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
from vesal.nn.model_file import Package
from vesal.nn.unet import UNet
from vesal.planning.cost import count_operations

_LOG = logging.getLogger(__name__)

#: What `--backend` takes: 'auto' is OpenVINO for our networks on the CPU as soon as it pays, else torch.
BACKENDS = ("auto", "torch", "openvino")

#: Multiply-adds for each thread from which converting pays. Torch does some 40e9 a second on a core of an EPYC of 2021,
#: a conversion takes 0.5 to 1 s, and OpenVINO saves between nothing and most of the time: two seconds of torch's work.
#: A number, not a measurement, so that the same command gives the same result to the last bit.
WORTH = 80e9

#: Sizes of window for which a network stays compiled.
_SIZES = 2


def backend_networks(
    packages: Sequence[Package], device: torch.device, backend: str = "auto"
) -> tuple[Network, ...]:
    """The packages' networks on `device`, ready to predict.

    Args:
        packages: the models.
        device: where to compute.
        backend: one of BACKENDS.

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
    for package in packages:
        network = package.build(copy=False).to(device)
        at_once = backend == "openvino"
        if version is not None and (at_once or isinstance(network, UNet)):
            # A training step is three passes of a batch, a multiply-add two operations.
            operations = 0.0 if at_once else count_operations(package.plan, package.network)
            work = operations / 6 / package.plan.batch / int(np.prod(package.plan.patch))
            networks.append(CpuNetwork(network, version, turn, work, at_once))
        else:
            networks.append(network)
    return tuple(networks)


def backend_name(networks: Sequence[Network]) -> str:
    """What has computed these networks last, such as 'OpenVINO 2026.4.1' or 'torch'."""
    return ", ".join(dict.fromkeys(getattr(network, "backend", "torch") for network in networks))


class _Turn:
    """Of networks that vote: one computes at a time, and only the last one keeps its feature maps in memory."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.last: openvino.Compiled | None = None

    def take(self, compiled: openvino.Compiled) -> None:
        if self.last is not None and self.last is not compiled:
            self.last.release()
        self.last = compiled


class CpuNetwork:
    """A network that OpenVINO computes from the moment that converting it pays, and torch until then.

    Where OpenVINO cannot, torch goes on, and the log says why. The logits of both agree up to rounding.

    Attributes:
        backend: what has computed last.
        module: torch's network.

    Args:
        network: in eval mode on the CPU.
        version: OpenVINO's.
        turn: shared by networks that vote.
        work: multiply-adds for a voxel of a window.
        at_once: convert whatever it costs.
    """

    def __init__(self, network: nn.Module, version: str, turn: _Turn, work: float, at_once: bool) -> None:
        self.backend = "torch"
        self.module = network
        self._version = version
        self._turn = turn
        self._work, self._at_once = work, at_once
        self._done = 0.0
        self._refused = False
        self._compile = lru_cache(_SIZES)(partial(openvino.Compiled, network))

    def __call__(self, batch: Tensor) -> Tensor:
        """(N, C, *patch) float32 -> logits (N, K, *patch)."""
        with self._turn.lock:
            if self._pays(batch):
                try:
                    compiled = self._compile(tuple(batch.shape[1:]), torch.get_num_threads())
                    self._turn.take(compiled)
                    logits = compiled(batch)
                    self.backend = f"OpenVINO {self._version}"
                    return logits
                except Exception as error:  # whatever the library could not do: torch can
                    self._refuse(error)
        with torch.inference_mode():
            logits = self.module(batch)
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
        return begun or self._done > WORTH * torch.get_num_threads()

    def _refuse(self, error: Exception) -> None:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1][:160] if lines else type(error).__name__
        if out_of_memory(error) or "alloc" in str(error).lower():
            reason = "the memory does not suffice"
        self._refused = True
        self._compile.cache_clear()
        self._turn.last = None
        self.backend = f"torch (not OpenVINO {self._version}: {reason})"
        level = logging.WARNING if self._at_once else logging.INFO
        _LOG.log(level, "torch predicts in place of OpenVINO %s: %s", self._version, reason)
