"""After a training: are masks in bfloat16 those in float32? Found out on a few scans, and kept in the model file."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vesal.data.case import read_case
from vesal.data.dataset import Case
from vesal.data.labels import IGNORE, LabelSet
from vesal.errors import VesalError
from vesal.files import write_json
from vesal.infer.backends import openvino
from vesal.infer.backends.bfloat16_agreement import Bfloat16Agreement
from vesal.infer.model import Model
from vesal.infer.predictor import load_model
from vesal.infer.scan_notes import with_channels
from vesal.metrics.overlap import confusions
from vesal.nn.cpu.bfloat16 import computes_bfloat16
from vesal.nn.model_file import load_package, save_package
from vesal.nn.zoo import is_own
from vesal.run_files import BFLOAT16
from vesal.train.state import TrainJob

#: Scans that are compared.
_CASES = 4

#: Time that this may take, as a share of the training's, and seconds that it may take at any rate. One scan is
#: compared, however long it takes, and a further one where it would probably end in that time.
_SHARE, _ALWAYS_S = 0.03, 20.0

#: A case's labels: contiguous, (*S).
_Labels = NDArray[np.uint8]


def check_bfloat16(
    job: TrainJob, cases: Sequence[Case], training_s: float, tell: Callable[[str], None]
) -> Bfloat16Agreement | None:
    """Find out whether a fold's masks are the same in bfloat16, and write it into its model file.

    Held-out scans are taken, or where there are none, some of the training. Each is predicted in float32 and by every
    backend in bfloat16.

    Args:
        job: trained.
        cases: of the data set.
        training_s: that the training took.
        tell: takes the one sentence of it.

    Returns:
        None where this device does not compute in bfloat16, the network is another library's, or the model file
        says it already.

    Raises:
        VesalError: a scan cannot be read, or has no label any more.
    """
    if job.device.type != "cpu" or not computes_bfloat16() or not is_own(job.config.network):
        return None
    package = load_package(job.model_file)
    if package.bfloat16 is not None:
        return None
    names = [case.id for case in job.validation or job.train]
    chosen = set(_spread(names, _CASES))
    limit_s = np.inf if job.config.deterministic else max(_ALWAYS_S, _SHARE * training_s)
    found = compare(job, [case for case in cases if case.id in chosen], limit_s)
    record = found.model_dump(mode="json")
    save_package(job.model_file, replace(package, bfloat16=record))
    write_json(job.folder / BFLOAT16, record)
    tell(found.sentence)
    return found


def compare(job: TrainJob, cases: Sequence[Case], limit_s: float) -> Bfloat16Agreement:
    """What bfloat16 changes in the masks of some cases.

    Args:
        job: trained.
        cases: with labels.
        limit_s: in which it should end; one case is compared at any rate.
    """
    backends = ["torch", *(["openvino"] if openvino.installed() else [])]
    float32 = _model(job, backends[-1], "32")
    narrow = [_model(job, backend, "bf16") for backend in backends]
    tables = [_Table(float32.labels) for _ in narrow]
    began, count = time.monotonic(), 0
    for case in cases:
        if count and (time.monotonic() - began) * (1 + 1 / count) > limit_s:
            break
        expected, *found, truth = _masks([float32, *narrow], job, case)
        for table, mask in zip(tables, found, strict=True):
            table.add(mask, expected, truth, float32.labels.judged(case.annotated))
        count += 1
    dice, lost = ([of(table) for table in tables] for of in (_Table.dice, _Table.lost))
    return Bfloat16Agreement(
        cases=count,
        backends=tuple(dict.fromkeys(model.backend for model in narrow)),
        dice={name: min(one[name] for one in dice if name in one) for name in dict.fromkeys(_keys(dice))},
        lost={name: max(one[name] for one in lost if name in one) for name in dict.fromkeys(_keys(lost))},
    )


class _Table:
    """Dice of one backend in bfloat16, case after case: with float32's masks, and what was lost against the truth."""

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._dice: dict[str, list[float]] = {}
        self._lost: dict[str, list[float]] = {}

    def add(self, mask: _Labels, expected: _Labels, truth: _Labels, judged: Collection[str]) -> None:
        """One case: in bfloat16, in float32, and its truth, in which the classes `judged` are annotated."""
        table, names = self._labels.class_table, self._labels.classes
        for name, both in zip(names, confusions(mask, expected, table), strict=True):
            if both.dice is not None:
                self._dice.setdefault(name, []).append(both.dice)
        pairs = (confusions(one, truth, table, IGNORE) for one in (expected, mask))
        for name, before, after in zip(names, *pairs, strict=True):
            if name in judged and before.dice is not None and after.dice is not None:
                self._lost.setdefault(name, []).append(before.dice - after.dice)

    def dice(self) -> dict[str, float]:
        """Means by class, to five digits."""
        return {name: round(float(np.mean(values)), 5) for name, values in self._dice.items()}

    def lost(self) -> dict[str, float]:
        """Means by class, to five digits."""
        return {name: round(float(np.mean(values)), 5) for name, values in self._lost.items()}


def _keys(found: Sequence[dict[str, float]]) -> Iterator[str]:
    return (name for one in found for name in one)


def _model(job: TrainJob, backend: str, precision: str) -> Model:
    return load_model(
        job.model_file,
        device=str(job.device),
        backend=backend,
        precision=precision,
        postprocess=False,
        quality=False,
    )


def _masks(models: Sequence[Model], job: TrainJob, case: Case) -> list[_Labels]:
    """A case by each model, and its truth."""
    raw = read_case(case)
    if raw.label is None:
        raise VesalError(f"Case {case.id} has lost its label; put it back to where it was.")
    volume, labels = with_channels(raw.image, job.plan), models[0].labels
    found = [
        labels.encode(model.predict(volume, mirror=job.config.tta, overlap=job.config.overlap).label.array)
        for model in models
    ]
    return [*found, labels.encode(raw.label.array)]


def _spread(names: Sequence[str], count: int) -> list[str]:
    """At most so many of them, evenly spread.

    >>> _spread("abcdefgh", 3)
    ['a', 'd', 'h']
    """
    places = np.linspace(0, len(names) - 1, min(count, len(names))).astype(int)
    return [names[place] for place in places.tolist()]
