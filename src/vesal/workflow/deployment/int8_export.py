"""Networks in int8: calibrated on training cases of a run, and measured on cases that it held out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.data.case import read_case
from vesal.data.dataset import Case
from vesal.data.labels import IGNORE
from vesal.errors import UsageError, VesalError
from vesal.evaluate.scores import patient_numbers
from vesal.infer.exporting.int8_graph import int8_graph
from vesal.infer.exporting.onnx_graph import onnx_graph, require_onnx
from vesal.infer.model import Model
from vesal.infer.scan_notes import with_channels
from vesal.metrics.overlap import confusions
from vesal.metrics.statistics import bootstrap_interval
from vesal.nn.model_file import Package
from vesal.run.folder import Run
from vesal.text import interval, number, plural

#: Mean Dice over classes and held-out cases that int8 may lose; more is refused.
MOST_LOST = 0.005

#: Training cases that ranges are found on, windows of each at most, and held-out cases that are measured on at most.
_CALIBRATION, _WINDOWS, _MEASURED = 8, 4, 20

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Int8Cost:
    """What int8 was found to cost and to gain beside float32, both computed by OpenVINO.

    Attributes:
        cases: held-out cases that both predicted.
        dice, float32_dice: mean over classes and cases.
        low, high: 95 % interval of what the Dice loses; None of a single case.
        worst: the most that a case loses.
        seconds, float32_seconds: processor seconds for all of these predictions, preparation of scans left out.
    """

    cases: int
    dice: float
    float32_dice: float
    low: float | None
    high: float | None
    worst: float
    seconds: float
    float32_seconds: float

    @property
    def lost(self) -> float:
        """Mean Dice."""
        return self.float32_dice - self.dice

    def text(self) -> str:
        """For a reader."""
        bounds = "" if self.low is None or self.high is None else f" ({interval(self.low, self.high, 4)})"
        return (
            f"int8 costs {number(self.lost, 4)}{bounds} of the mean Dice of {plural(self.cases, 'held-out case')} "
            f"({number(self.float32_dice, 4)} in float32; the worst case loses {number(self.worst, 4)}) and takes "
            f"{self.seconds:.2g} processor seconds where float32 takes {self.float32_seconds:.2g}"
        )


@dataclass(frozen=True)
class Int8Cases:
    """Cases of a run: what ranges are found on, and what is measured on."""

    calibration: tuple[Case, ...]
    held_out: tuple[Case, ...]

    @classmethod
    def of(cls, source: Path) -> Int8Cases:
        """Those of the first trained fold.

        Raises:
            UsageError: `source` is no run folder that held cases out.
        """
        require_onnx()
        run = Run(source)
        folds = run.folds() if source.is_dir() else None
        if folds is None or not (numbers := run.trained_folds()):
            raise UsageError(
                "int8 is calibrated on training cases and measured on held-out ones; name a run folder of trained "
                "folds, or leave out --precision."
            )
        cases = {case.id: case for case in run.dataset().cases}

        def chosen(names: Sequence[str], most: int) -> tuple[Case, ...]:
            places = np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int)
            return tuple(cases[names[place]] for place in places)

        first = numbers[0]
        return cls(chosen(folds.train(first), _CALIBRATION), chosen(folds.validation(first), _MEASURED))


def int8_graphs(model: Model, parts: Sequence[Package], cases: Int8Cases) -> list[bytes]:
    """ONNX of each network of the model that votes, its convolutions in int8.

    Args:
        model: the same in float32.
        parts: packages of these networks.
        cases: that ranges are found on.
    """
    windows = calibration_windows(model, cases.calibration)
    return [int8_graph(onnx_graph(part), windows) for part in parts]


def calibration_windows(model: Model, cases: Sequence[Case]) -> list[Floats]:
    """Windows (1, C, *patch) as the networks get them: of each case a few, spread over it.

    No network computes.
    """
    found: list[Floats] = []
    for case in cases:
        seen: list[Floats] = []

        def keep(batch: Floats, seen: list[Floats] = seen) -> Floats:
            seen.extend(window[None].copy() for window in batch)
            return np.zeros((len(batch), model.labels.outputs, *batch.shape[2:]), np.float32)

        recording = replace(model, networks=(keep,), quality_estimator=None)
        prepared = recording.prepare(_read(recording, case)[0])
        recording.segment(prepared, recording.windows())
        places = np.linspace(0, len(seen) - 1, min(_WINDOWS, len(seen))).round().astype(int)
        found += [seen[place] for place in places]
    return found


def measured(model: Model, int8: Model, cases: Int8Cases) -> Int8Cost:
    """Both on the held-out cases.

    Raises:
        VesalError: int8 loses more than MOST_LOST, or there is nothing to measure on.
    """
    rows: dict[str, NDArray[Any]] = {}
    patients = {case.id: case.patient for case in cases.held_out}
    seconds = np.zeros(2)
    for case in cases.held_out:
        volume, truth = _read(model, case)
        both = []
        for place, one in enumerate((model, int8)):
            prepared, windows = one.prepare(volume), one.windows()
            if not rows:
                # Compiles.
                one.segment(prepared, windows)
            began = time.process_time()
            label = one.segment(prepared, windows)
            seconds[place] += time.process_time() - began
            counted = confusions(one.labels.encode(label.array), truth, one.labels.class_table, IGNORE)
            scored = one.labels.judged(case.annotated)
            both.append(
                [of.dice for name, of in zip(one.labels.classes, counted, strict=True) if name in scored]
            )
        # A class that the case does not have: who found nothing is right, and beside it 0 is that of who found some.
        pairs = [
            [1.0 if of is None else of for of in pair]
            for pair in zip(*both, strict=True)
            if pair != (None, None)
        ]
        if pairs:
            rows[case.id] = np.mean(np.array(pairs), axis=0)
    if not rows:
        raise VesalError(
            "No held-out case has a Dice, so the cost of int8 cannot be measured; leave out --precision."
        )
    full, found = np.transpose([*rows.values()])
    low, high, numbers = None, None, patient_numbers([*rows], patients)
    if len(rows) > 1 and numbers != [0] * len(rows):
        low, high = bootstrap_interval(full - found, numbers, bounds=(-1.0, 1.0))
    cost = Int8Cost(
        len(rows),
        float(found.mean()),
        float(full.mean()),
        low,
        high,
        float((full - found).max()),
        *map(float, seconds[::-1]),
    )
    if not cost.lost <= MOST_LOST:
        raise VesalError(
            f"{cost.text()}. That is more than {MOST_LOST} of the Dice, so nothing was written; leave out --precision."
        )
    return cost


def _read(model: Model, case: Case) -> tuple[Any, NDArray[np.uint8]]:
    raw = read_case(case.model_copy(update={"pixel_mm": model.plan.pixel_mm}))
    if raw.label is None:
        raise VesalError(f"Case {case.id} has lost its label; put it back to where it was.")
    return with_channels(raw.image, model.plan), model.labels.encode(raw.label.array)
