"""Learn a run's doubt from the scans that its folds held out, and put it into their model files."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vesal.augment.artifacts.benchmark import (
    Artifact,
    Corruption,
    Modality,
    applicable,
    artifact_seed,
    benchmark,
    corrupt,
)
from vesal.data.case import read_case
from vesal.data.dataset import Case
from vesal.data.labels import IGNORE
from vesal.errors import VesalError
from vesal.files import content_hash, read_json, write_json
from vesal.infer.predictor import Model, load_model
from vesal.infer.quality.calibrate import FEWEST, Observed, learn
from vesal.infer.quality.features import look_at, scan_signals
from vesal.infer.quality.fit import fit_temperature
from vesal.infer.windows import Network, Windows
from vesal.metrics.overlap import confusions
from vesal.nn.model_file import load_package, save_package
from vesal.parallel import Progress, read_ahead
from vesal.preprocessing.prepare import Prepared, prepare
from vesal.run.folder import Run
from vesal.run_files import METRICS, MODEL, QUALITY
from vesal.volume.volume import Volume

#: In the run folder: what was learned, scan by scan.

#: What learning may take, of the time that training took, and seconds that it may take at any rate.
SHARE, _ALWAYS_S = 0.25, 60.0

#: Scans of a fold that are looked at; more teach little more.
_MOST_CASES = 64

#: Networks of other folds that look on, to learn what it means when networks agree.
_WITNESSES = 2

#: Voxels of a scan whose probabilities the temperature is learned from.
_VOXELS = 4000

#: A voxel counts as unsure where the two largest logits lie nearer than this: the likelier has under 99.9 %.
_UNSURE = 7.0

#: Severity of the artefacts that the flag is measured with, and the seed of their choice.
_SEVERITY, _SEED = 5, 0


@dataclass(frozen=True)
class _Task:
    """A held-out scan as it is, or corrupted."""

    case: Case
    fold: int
    artifact: Artifact | None


def learn_doubt(
    run: Run,
    *,
    mirror: bool = False,
    overlap: float = 0.5,
    device: str = "auto",
    allowed_s: float | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] = print,
) -> bool:
    """Learn it from all trained folds, and write it into their model files and into the run.

    Each held-out scan (at most 64 of a fold) is predicted twice by the network that has not seen it, once as it is and
    once with a random artefact of severity 5, and two networks of other folds look on where there are so many: six to
    nine times what it took to predict the held-out scans.

    Args:
        run: trained and predicted.
        mirror, overlap: as the run predicts.
        device: where.
        allowed_s: how long it may take, about; fewer scans are looked at then.
        progress: called with (done, total).
        tell: takes the one sentence that says what is missing.

    Returns:
        Whether the model files know their doubt now: not where fewer than 8 scans were held out.

    What was learned from the same models before is not learned again.
    """
    folds = run.folds()
    held_out = {} if folds is None else {number: folds.validation(number) for number in run.trained_folds()}
    count = sum(len(names) for names in held_out.values())
    if count < FEWEST:
        tell(
            f"The model does not know its doubt: that takes {FEWEST} held-out scans at least, and there "
            f"{'is' if count == 1 else 'are'} {count}; train more folds (--fold all)."
        )
        return False
    models = {str(number): _digest(run.fold(number) / MODEL) for number in held_out}
    if _known(run, models):
        return True
    observed, voxels = observe_run(
        run, mirror=mirror, overlap=overlap, device=device, allowed_s=allowed_s, progress=progress
    )
    labels = load_package(run.fold(next(iter(held_out))) / MODEL).labels
    temperature = fit_temperature(
        np.concatenate([of.logits for of in voxels]),
        np.concatenate([of.truth for of in voxels]),
        np.concatenate([of.weight for of in voxels]),
        regions=bool(labels.regions),
    )
    learned = learn(observed, labels.classes, temperature)
    for number, quality in learned.qualities.items():
        file = run.fold(number) / MODEL
        save_package(file, replace(load_package(file), quality=quality.model_dump(mode="json")))
    write_json(run.folder / QUALITY, {**learned.to_dict(), "models": models})
    return True


def observe_run(
    run: Run,
    *,
    mirror: bool = False,
    overlap: float = 0.5,
    device: str = "auto",
    allowed_s: float | None = None,
    progress: Progress | None = None,
) -> tuple[list[Observed], list[Voxels]]:
    """Predict what each trained fold held out, as it is and corrupted, and note what shows.

    Where there are three folds or more, the networks of two others look on. Where `allowed_s` is too short for all
    scans, fewer are looked at, but FEWEST in all; and where it is too short for these, none is corrupted.
    """
    folds, numbers = run.folds(), run.trained_folds()
    assert folds is not None
    cases = {case.id: case for case in run.dataset().cases}
    names = {number: _chosen(folds.validation(number)) for number in numbers}
    total = sum(len(of) for of in names.values())
    share_s = np.inf if allowed_s is None else allowed_s / len(numbers)
    observed: list[Observed] = []
    voxels: list[Voxels] = []
    corrupts = True
    for place, number in enumerate(numbers):
        began, first = time.monotonic(), len(voxels)
        model = load_model(run.fold(number) / MODEL, device=device, quality=False)
        others = (numbers[place + 1 :] + numbers[:place])[:_WITNESSES] if len(numbers) > _WITNESSES else []
        files = [run.fold(other) / MODEL for other in others]
        witnesses = (
            load_model(files, device=device, quality=False, postprocess=False).networks if files else ()
        )
        look = _Look(model, model.windows(mirror=mirror, overlap=overlap), witnesses)
        for found, sample in look.at([cases[name] for name in names[number]], number):
            observed.append(found)
            voxels += [] if sample is None else [sample]
            # A scan as it is and then corrupted.
            if found.artifact is None and corrupts:
                continue
            spent_s, count = time.monotonic() - began, len(voxels) - first
            if len(voxels) == 1:
                corrupts = look.corrupts = spent_s * FEWEST < share_s * len(numbers)
            if progress is not None:
                progress(len(voxels), total)
            if count >= -(-FEWEST // len(numbers)) and spent_s * (1 + 1 / count) > share_s:
                break
    if progress is not None:
        progress(total, total)
    return [one for one in observed if corrupts or one.artifact is None], voxels


def allowance_s(run: Run) -> float:
    """Seconds for `learn_doubt`: a quarter of those that its trained folds took, and a minute at least."""
    spent_s = 0.0
    for number in run.trained_folds():
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError, TypeError):
            lines = (run.fold(number) / METRICS).read_text(encoding="utf-8").splitlines()
            spent_s += float(json.loads(lines[-1])["time_s"])
    return max(_ALWAYS_S, SHARE * spent_s)


def _digest(file: Path) -> str:
    """Of the weights and of the steps after them: what the doubt of a model depends on."""
    package = load_package(file)
    return content_hash(
        package.weights_digest.encode(), json.dumps(package.postprocess, sort_keys=True).encode()
    )


def _known(run: Run, models: dict[str, str]) -> bool:
    """Whether it was learned from these models, and they hold it."""
    try:
        same = read_json(run.folder / QUALITY)["models"] == models
    except (VesalError, KeyError, TypeError):
        return False
    files = [run.fold(number) / MODEL for number in models]
    return same and all(load_package(file).quality is not None for file in files)


def _chosen(names: Sequence[str]) -> list[str]:
    """At most _MOST_CASES of them, in an order of which every beginning is spread over all of them."""
    order = np.random.default_rng([_SEED, len(names)]).permutation(len(names))
    return [names[number] for number in order[:_MOST_CASES]]


def _modality(model: Model) -> Modality:
    """CT where intensities mean the same in every scan."""
    return "CT" if any(how.scheme in ("ct", "window") for how in model.plan.normalisation) else "MR"


# --- one scan ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Held:
    """A scan that is ready, its contiguous truth on its own grid, what it shows, and the damage that was done to it."""

    volume: Volume
    prepared: Prepared
    truth: NDArray[np.uint8]
    looks: dict[str, dict[str, float]]
    corruption: Corruption | None


@dataclass(eq=False)
class _Look:
    """Predicts held-out scans with a network that has not seen them, while others look on.

    Attributes:
        harms: each scan comes once more, with an artefact. May be changed on the way.
    """

    model: Model
    windows: Windows
    witnesses: Sequence[Network]
    corrupts: bool = True

    def at(self, cases: Sequence[Case], fold: int) -> Iterator[tuple[Observed, Voxels | None]]:
        """Yield what shows of each scan, with voxels for the temperature, and then of the same scan corrupted."""
        tasks = self._tasks(cases, fold)
        for task, scan in zip(tasks, read_ahead(self._read, tasks), strict=True):
            if self.corrupts or task.artifact is None:
                yield self._observe(task, scan)

    def _tasks(self, cases: Sequence[Case], fold: int) -> list[_Task]:
        """Each scan as it is, and with one artefact: all kinds about equally often, which one by chance."""
        model = self.model
        pictures = model.plan.dimension == 2 and model.plan.slice_axis is None
        artifacts = applicable(benchmark(_modality(model), (_SEVERITY,)), 2 if pictures else 3)
        generator = np.random.default_rng([_SEED, fold])
        order: list[int] = []
        while len(order) < len(cases):
            order += generator.permutation(len(artifacts)).tolist()
        return [
            task
            for case, number in zip(cases, order, strict=False)
            for task in (_Task(case, fold, None), _Task(case, fold, artifacts[number]))
        ]

    def _read(self, task: _Task) -> _Held:
        raw = read_case(task.case)
        if raw.label is None:
            raise VesalError(f"Case {task.case.id} has lost its label; put it back to where it was.")
        volume, corruption = raw.image, None
        if task.artifact is not None:
            corruption = corrupt(
                volume, task.artifact, artifact_seed(_SEED, task.case.id, task.artifact.name)
            )
            volume = corruption.volume
        truth = self.model.labels.encode(raw.label.array)
        # The truth of an clean scan is prepared too: the temperature is learned on the prepared grid.
        prepared = prepare(volume, self.model.plan, raw.label if corruption is None else None)
        return _Held(volume, prepared, truth, look_at(volume, prepared), corruption)

    def _observe(self, task: _Task, scan: _Held) -> tuple[Observed, Voxels | None]:
        model, labels = self.model, self.model.labels
        watch = model.watch(self.windows, witnesses=self.witnesses)
        sample = (
            None if scan.corruption is not None else _Sample(scan.prepared, model, self.windows, task.case.id)
        )
        label = model.segment(scan.prepared, self.windows, watch=watch, seen=sample)
        found = labels.encode(label.array)
        signals = scan_signals(scan.looks, watch, found, label.geometry, labels)
        truth = scan.truth
        if scan.corruption is not None:
            found = scan.corruption.restore(found)
            if scan.corruption.hidden is not None:
                truth = np.where(scan.corruption.hidden, np.uint8(IGNORE), truth)
        counted = confusions(np.ascontiguousarray(found), truth, labels.class_table, IGNORE)
        judged = labels.judged(task.case.annotated)
        dice = {
            name: float(counts.dice)
            for name, counts in zip(labels.classes, counted, strict=True)
            if name in judged and counts.dice is not None
        }
        gap = None
        if len(self.witnesses) == _WITNESSES:
            agreement = watch.agreement().mean(axis=2)
            gap = float(agreement[1, 2] - (agreement[0, 1] + agreement[0, 2]) / 2)
        artifact = None if task.artifact is None else task.artifact.name
        observed = Observed(task.case.id, task.fold, artifact, signals, dice, gap, task.case.patient)
        return observed, None if sample is None else sample.voxels()


# --- voxels for the temperature -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Voxels:
    """logits (n, K), truth (n,) or (n, K) of regions, and how many voxels each of them stands for (n,)."""

    logits: NDArray[np.float64]
    truth: NDArray[np.int64]
    weight: NDArray[np.float64]


class _Sample:
    """Takes rows of logits as they are finished and keeps a few voxels: half of them where the network is unsure.

    Which are kept depends on the logits and on chance alone, not on the truth, and each counts for as many as it was
    drawn from: the mean over them is that over the scan.
    """

    def __init__(self, prepared: Prepared, model: Model, windows: Windows, seed: str) -> None:
        assert prepared.label is not None
        self._axis = windows.stream_axis(prepared.crop.shape)
        self._truth = np.moveaxis(prepared.label, self._axis, 0)
        self._labels = model.labels
        self._share = min(1.0, _VOXELS / 2 / prepared.label.size)
        self._seed = int(content_hash(seed.encode())[:8], 16)
        self._kept: list[Voxels] = []

    def __call__(self, rows: Tensor, first: int) -> None:
        """Rows (K, *S), of which the first along the axis is row `first`."""
        logits = rows.movedim(self._axis + 1, 1).flatten(1)
        truth = self._truth[first : first + rows.shape[self._axis + 1]].ravel()
        generator = torch.Generator().manual_seed(self._seed + first)
        top = logits.topk(min(2, len(logits)), dim=0).values
        gap = logits.abs().amin(dim=0) if self._labels.regions else top[0] - top[-1]
        unsure = (gap < _UNSURE).cpu()
        chance = torch.rand(len(unsure), generator=generator)
        share = torch.full_like(chance, self._share)
        # About as many where the network is unsure, however few these are.
        share[unsure] = min(1.0, self._share * len(unsure) / max(int(unsure.sum()), 1))
        kept = (chance < share) & torch.from_numpy(truth != IGNORE)
        places = kept.nonzero().flatten()
        chosen = truth[places.numpy()].astype(np.int64)
        if self._labels.regions:
            chosen = self._labels.class_table[:, chosen].T.astype(np.int64)
        self._kept.append(
            Voxels(
                logits[:, places.to(logits.device)].T.double().cpu().numpy(),
                chosen,
                (1 / share[places]).double().numpy(),
            )
        )

    def voxels(self) -> Voxels:
        """All that was kept."""
        return Voxels(
            np.concatenate([of.logits for of in self._kept]),
            np.concatenate([of.truth for of in self._kept]),
            np.concatenate([of.weight for of in self._kept]),
        )
