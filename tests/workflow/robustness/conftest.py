"""A network made by hand, and the whole robustness benchmark with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from vesal.evaluate.robustness.result import Robustness
from vesal.infer.model import Model
from vesal.planning.plan import Plan
from vesal.workflow.requests.robustness_request import RobustnessRequest
from vesal.workflow.robustness import benchmark_run
from vesal.workflow.robustness.benchmark_run import robustness_run


class ByBrightness:
    """A network for `tiny_data`: a voxel is the class whose usual intensity is nearest; it counts its calls."""

    def __init__(self) -> None:
        self.windows = 0
        self.centres = [-0.3, 2.3, 4.9]  # of the background, the shell and the core, normalised

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        self.windows += len(batch)
        centres = torch.tensor(self.centres).view(1, 3, *[1] * (batch.ndim - 2))
        return -((batch - centres) ** 2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One process works on all cases, so that the network counts its calls here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def network(tiny_plan: Path, monkeypatch: pytest.MonkeyPatch) -> ByBrightness:
    """What every model file is taken for."""
    made, plan = ByBrightness(), Plan.load(tiny_plan)

    def load(path, **_options):
        return Model(plan, (made,), torch.device("cpu"))

    monkeypatch.setattr(benchmark_run, "load_model", load)
    return made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "by-brightness.vesal"
    path.write_bytes(b"a model")
    return path


@pytest.fixture
def run(network: ByBrightness) -> Callable[..., Robustness]:
    """(model, data, out, fields of the request) -> the result."""

    def measured(model: Path, data: Path, out: Path, **wanted) -> Robustness:
        request = RobustnessRequest(
            model=model, data=data, out=out, **{"pictures": False, "cases": 3, **wanted}
        )
        return robustness_run(request, lambda _title: None, lambda _text: None)

    return measured
