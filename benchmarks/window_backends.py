"""One window of a network by every backend and precision: processor seconds, and how far its logits are from float32's.

python -m benchmarks.window_backends PLAN.json [PLAN.json ...] [--heart] [--runs 3] [--only WAY ...]

Weights are drawn by chance. "plain torch" is torch's own modules, channels first, as nnU-Net and MONAI compute them.
--heart adds the network that nnU-Net 2.8.1 plans for Task02_Heart (3d_fullres): 6 stages of 32 to 320 features, windows
of 160x192x80. The runs take turns. Threads are OMP_NUM_THREADS's.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from vesal.data.labels import LabelSet
from vesal.infer.backends.openvino import Compiled
from vesal.infer.backends.registry import Bfloat16Network
from vesal.nn.unet import UNet
from vesal.nn.zoo import build_network
from vesal.planning.plan import Normalisation, Plan, Stage

Network = Callable[[Tensor], Tensor]


def plain(network: nn.Module, window: Tensor) -> Network:
    """Traced, on a small window: what Vesal does faster on a CPU is left out then."""
    assert isinstance(network, UNet)
    sizes = zip(network.total_stride, window.shape[2:], strict=True)
    part = tuple(slice(0, min(2 * step, size)) for step, size in sizes)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, window[(slice(None), slice(None), *part)], check_trace=False)
    return lambda batch: traced(batch)


def openvino(network: nn.Module, window: Tensor, *, bfloat16: bool) -> Network:
    """Compiled for the window."""
    return Compiled(network, tuple(window.shape[1:]), torch.get_num_threads(), bfloat16=bfloat16)


#: Name -> what makes a network's way of computing.
WAYS: dict[str, Callable[[nn.Module, Tensor], Network]] = {
    "plain torch": plain,
    "torch": lambda network, _: network,
    "torch bfloat16": lambda network, _: Bfloat16Network(network),
    "OpenVINO": lambda network, window: openvino(network, window, bfloat16=False),
    "OpenVINO bfloat16": lambda network, window: openvino(network, window, bfloat16=True),
}


def nnunet_heart() -> Plan:
    """As nnU-Net plans it, axes (x, y, z)."""
    strides = ((1, 1, 1), *(((2, 2, 2),) * 4), (2, 2, 1))
    features = (32, 64, 128, 256, 320, 320)
    return Plan(
        dimension=3,
        spacing_mm=(1.25, 1.25, 1.37),
        patch=(160, 192, 80),
        batch=2,
        stages=tuple(
            Stage(features=count, kernel=(3, 3, 3), stride=stride)
            for count, stride in zip(features, strides, strict=True)
        ),
        bias=True,
        normalisation=(Normalisation(scheme="zscore"),),
        mirror_axes=(0, 1, 2),
        channels=("MRI",),
        labels=LabelSet.from_values({"left atrium": 1}),
        median_shape=(320, 320, 115),
    )


def measure(plan: Plan, runs: int, names: list[str]) -> list[str]:
    """A line a way."""
    torch.manual_seed(0)
    network = build_network("unet", plan).eval()
    window = torch.randn(1, plan.inputs, *plan.patch)
    made = {name: WAYS[name](network, window) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    logits: dict[str, Tensor] = {}
    with torch.inference_mode():
        for number in range(runs + 1):
            for name, way in made.items():
                began = time.process_time()
                logits[name] = way(window)
                if number or runs == 1:
                    seconds[name].append(time.process_time() - began)
    first = logits[names[0]]
    span = float(first.max() - first.min())
    rows = []
    for name in names:
        away = float((logits[name] - first).abs().max()) / span
        rows.append(f"| {name} | {statistics.median(seconds[name]):.3f} | {away:.1e} |")
    return rows


def main() -> None:
    """Print a table a plan."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("plans", type=Path, nargs="*")
    parser.add_argument("--heart", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=list(WAYS), action="append")
    chosen = parser.parse_args()
    plans = {str(path): Plan.load(path) for path in chosen.plans}
    plans |= {"nnU-Net's for Task02_Heart": nnunet_heart()} if chosen.heart else {}
    for title, plan in plans.items():
        size = " x ".join(map(str, plan.patch))
        print(
            f"\n{title}: windows of {size}, {' '.join(str(stage.features) for stage in plan.stages)} features"
        )
        print("| way | processor seconds a window | largest difference from the first, share of the range |")
        print("|---|---|---|")
        print("\n".join(measure(plan, chosen.runs, chosen.only or list(WAYS))), flush=True)
    print(f"\n{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB at most")


if __name__ == "__main__":
    main()
