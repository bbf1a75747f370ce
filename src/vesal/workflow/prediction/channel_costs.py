"""What it costs that a channel is missing: each held-out case is predicted once more without each channel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from vesal.data.case import read_case
from vesal.data.dataset import Case
from vesal.evaluate.case_scores import score_case
from vesal.evaluate.scores import Scores, patient_numbers
from vesal.files import write_json
from vesal.infer.channels.missing_channels import ChannelCost, MissingChannels, may_miss, without_channels
from vesal.infer.model import Model
from vesal.infer.predictor import load_model
from vesal.metrics.statistics import bootstrap_interval
from vesal.nn.model_file import load_package, save_package
from vesal.parallel import Progress
from vesal.run.folder import Run
from vesal.run_files import MISSING_CHANNELS, MODEL
from vesal.train.recipe import TrainConfig

#: Held-out cases of a fold that are predicted again.
_MOST_CASES = 32


def measure_channel_costs(
    run: Run, scores: Scores, config: TrainConfig, device: str, *, progress: Progress | None = None
) -> MissingChannels | None:
    """Measure what each channel is worth, and write it into the run and its model files.

    A case's Dice without a channel is compared with that of its scores, the mean over the classes that both define; all
    steps after the network are the model's.

    Args:
        run: trained, predicted and scored.
        scores: of its held-out cases.
        config: of the run.
        device: that predicts.
        progress: called with (done, total).

    Returns:
        The costs; None where the models are not trained for missing channels, or no case defines a Dice.
    """
    folds, numbers = run.folds(), run.trained_folds()
    if folds is None or not numbers or not may_miss(config.model_dump(mode="json")):
        return None
    cases = {case.id: case for case in run.dataset().cases}
    chosen = {number: _chosen([cases[name] for name in folds.validation(number)]) for number in numbers}
    channels = load_package(run.fold(numbers[0]) / MODEL).plan.channels
    whole = {(row.case, row.class_name): row.dice for row in scores.cases}
    pairs: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in channels}
    patients = {case.id: case.patient for own in chosen.values() for case in own}
    done, total = 0, len(channels) * sum(map(len, chosen.values()))
    for number, own in chosen.items():
        model = load_model(run.fold(number) / MODEL, device=device)
        for case in own:
            for name, without in _dice_without(model, case, config):
                both = [
                    (full, dice)
                    for class_name, dice in without.items()
                    if dice is not None and (full := whole.get((case.id, class_name))) is not None
                ]
                if both:
                    pairs[name][case.id] = (float(np.mean(both, axis=0)[0]), float(np.mean(both, axis=0)[1]))
                done += 1
                if progress is not None:
                    progress(done, total)
    found = {name: _cost(values, patients) for name, values in pairs.items() if values}
    if not found:
        return None
    record = MissingChannels(channels=found)
    write_json(run.folder / MISSING_CHANNELS, record.to_dict())
    for number in numbers:
        file = run.fold(number) / MODEL
        save_package(file, replace(load_package(file), missing_channels=record.to_dict()))
    return record


def _dice_without(
    model: Model, case: Case, config: TrainConfig
) -> Iterator[tuple[str, dict[str, float | None]]]:
    """Of each channel: class -> Dice of a case that is predicted without it."""
    raw = read_case(case.model_copy(update={"pixel_mm": model.plan.pixel_mm}))
    assert raw.label is not None
    truth = model.labels.encode(raw.label.array)
    for place, name in enumerate(model.plan.channels):
        volume = without_channels(raw.image, model.plan, (place,))
        label = model.predict(volume, mirror=config.tta, overlap=config.overlap).label
        rows = score_case(
            case.id,
            model.labels.encode(label.array),
            truth,
            raw.image.geometry,
            model.labels,
            annotated=case.annotated,
            lesions=(),
        )
        yield name, {row.class_name: row.dice for row in rows}


def _cost(pairs: Mapping[str, tuple[float, float]], patients: Mapping[str, str]) -> ChannelCost:
    """Of (Dice with all channels, Dice without one) of each case; of one patient there is no interval."""
    full, without = np.transpose([*pairs.values()])
    lost, numbers = full - without, patient_numbers([*pairs], patients)
    low, high = None, None
    if len(lost) > 1 and numbers != [0] * len(lost):
        low, high = bootstrap_interval(lost, numbers, bounds=(-1.0, 1.0))
    return ChannelCost(
        dice=round(float(without.mean()), 6),
        lost=round(float(lost.mean()), 6),
        low=None if low is None else round(low, 6),
        high=None if high is None else round(high, 6),
        cases=len(lost),
    )


def _chosen(cases: Sequence[Case]) -> Sequence[Case]:
    """At most `_MOST_CASES`, spread evenly."""
    if len(cases) <= _MOST_CASES:
        return cases
    places = np.linspace(0, len(cases) - 1, _MOST_CASES).round().astype(int)
    return [cases[place] for place in places]
