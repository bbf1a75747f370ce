"""Fit a run's quality model to the scans that its folds held out."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vesal.augment.artifacts.benchmark import (
    Artifact,
    Corruption,
    applicable,
    artifact_seed,
    benchmark,
    corrupt,
)
from vesal.data.case import read_case
from vesal.data.dataset import Case
from vesal.data.labels import IGNORE, LabelSet
from vesal.errors import VesalError
from vesal.files import content_hash, write_json
from vesal.infer.predictor import load_model
from vesal.infer.quality.calibrate import FEWEST, HeldOutScan, calibrate
from vesal.infer.quality.image_features import image_features
from vesal.infer.quality.quality_model import CalibrationRecord
from vesal.infer.quality.temperature import Voxels, VoxelSampler, concatenated, fit_temperature
from vesal.infer.window_overlap import OVERLAP
from vesal.infer.windows import Network
from vesal.metrics.overlap import confusions
from vesal.nn.model_file import load_package, save_package
from vesal.parallel import Progress, read_ahead
from vesal.preprocessing.prepare import Prepared
from vesal.run.folder import Run
from vesal.run_files import METRICS, MODEL
from vesal.text import plural

#: Time that calibration may take, as a share of the training's, and seconds that it may take at any rate.
_SHARE, _ALWAYS_S = 0.25, 60.0

#: Scans of a fold that are used; more improve it little.
_MOST_CASES = 64

#: Networks of other folds that a prediction is compared with.
_REFERENCE_NETWORKS = 2

#: What is fitted; another word has runs of an earlier Vesal fitted anew.
_FITTED = b"volume intervals, offsets of folds"

#: Severity of the artefacts that the flag is measured with, and the seed of their choice.
_SEVERITY, _SEED = 5, 0


@dataclass(frozen=True)
class CalibrationOptions:
    """How held-out scans are predicted.

    Attributes:
        mirror, overlap: as the run predicts.
        device: where.
        allowed_s: about how long it may take; fewer scans are used then. None for all, however long.
        severity, seed: of the artefacts; a quality model is fitted to those of the defaults.
    """

    mirror: bool = False
    overlap: float = OVERLAP
    device: str = "auto"
    allowed_s: float | None = None
    severity: int = _SEVERITY
    seed: int = _SEED


def calibrate_run(
    run: Run,
    options: CalibrationOptions | None = None,
    *,
    progress: Progress | None = None,
    tell: Callable[[str], None] = print,
) -> bool:
    """Fit a quality model to all trained folds, and write it into their model files and into the run.

    Each held-out scan (at most 64 of a fold) is predicted twice by the network that was not trained on it, once clean
    and once with a random artefact of severity 5, and compared with two networks of other folds where there are so
    many: six to nine times what it took to predict the held-out scans.

    Args:
        run: trained and predicted.
        tell: takes the one sentence that says what is missing.

    Returns:
        Whether the model files have a quality model now: not where scans of fewer than 8 patients were held out.

    What was fitted to the same models before is not fitted again.
    """
    folds = run.folds()
    held_out = {} if folds is None else {number: folds.validation(number) for number in run.trained_folds()}
    patients = {case.id: case.patient for case in run.dataset().cases}
    names = [name for of in held_out.values() for name in of]
    if too_few := _too_few(len(names), len({patients[name] or name for name in names})):
        tell(too_few)
        return False
    models, fitted = {}, True
    for number in held_out:
        package = load_package(run.fold(number) / MODEL)
        fitted &= package.quality is not None
        # A quality model depends on the weights and on the steps after them.
        steps = json.dumps(package.postprocess, sort_keys=True)
        models[str(number)] = content_hash(package.weights_digest.encode(), steps.encode(), _FITTED)
    with contextlib.suppress(VesalError):
        if fitted and CalibrationRecord.load(run.calibration_file).models == models:
            return True
    scans, voxels = predict_held_out(run, options, progress=progress)
    # Less than all where the time is short.
    clean = [one.group for one in scans if one.artifact is None]
    if too_few := _too_few(len(clean), len(set(clean))):
        tell(too_few)
        return False
    labels = load_package(run.fold(next(iter(held_out))) / MODEL).plan.labels
    temperature = fit_temperature(concatenated(voxels), regions=bool(labels.regions))
    calibrations, record = calibrate(scans, labels.classes, temperature)
    for number, calibration in calibrations.items():
        file = run.fold(number) / MODEL
        save_package(file, replace(load_package(file), quality=calibration.model_dump(mode="json")))
    write_json(run.calibration_file, record.model_copy(update={"models": models}).model_dump(mode="json"))
    return True


def _too_few(scans: int, patients: int) -> str | None:
    """The sentence about too few held-out patients: of the scans of one patient none is left out by itself."""
    if patients >= FEWEST:
        return None
    there = (
        plural(scans, "scan")
        if scans == patients
        else f"{plural(scans, 'scan')} of {plural(patients, 'patient')}"
    )
    return (
        f"The model gets no quality model: that takes held-out scans of {FEWEST} patients at least, and there "
        f"{'is' if scans == 1 else 'are'} {there}; train more folds (--fold all)."
    )


def predict_held_out(
    run: Run, options: CalibrationOptions | None = None, *, progress: Progress | None = None
) -> tuple[list[HeldOutScan], list[Voxels]]:
    """Predict what each trained fold held out, clean and corrupted, and record its features.

    Where there are three folds or more, the networks of two others are compared with it. Where `allowed_s` is too short
    for all scans, fewer are used, but those of FEWEST patients in all; and where it is too short for these, none is
    corrupted.
    """
    options = options or CalibrationOptions()
    folds, numbers = run.folds(), run.trained_folds()
    assert folds is not None
    cases = {case.id: case for case in run.dataset().cases}
    names = {number: _chosen([cases[name] for name in folds.validation(number)]) for number in numbers}
    total = sum(len(of) for of in names.values())
    share_s = np.inf if options.allowed_s is None else options.allowed_s / len(numbers)
    scans: list[HeldOutScan] = []
    voxels: list[Voxels] = []
    corrupts = True
    for number in numbers:
        began, first, patients = time.monotonic(), len(voxels), set[str]()
        predictor = _FoldPredictor(run, number, options)
        for scan, sample in predictor.predict([cases[name] for name in names[number]]):
            scans.append(scan)
            patients.add(scan.group)
            voxels += [] if sample is None else [sample]
            # A clean scan, and then the same one corrupted.
            if scan.artifact is None and corrupts:
                continue
            spent_s, count = time.monotonic() - began, len(voxels) - first
            if len(voxels) == 1:
                corrupts = predictor.corrupts = spent_s * FEWEST < share_s * len(numbers)
            if progress is not None:
                progress(len(voxels), total)
            if len(patients) >= -(-FEWEST // len(numbers)) and spent_s * (1 + 1 / count) > share_s:
                break
    if progress is not None:
        progress(total, total)
    return [one for one in scans if corrupts or one.artifact is None], voxels


def time_limit_s(run: Run) -> float:
    """Seconds for `calibrate_run`: a quarter of those that its trained folds took, and a minute at least."""
    spent_s = 0.0
    for number in run.trained_folds():
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError, TypeError):
            lines = (run.fold(number) / METRICS).read_text(encoding="utf-8").splitlines()
            spent_s += float(json.loads(lines[-1])["time_s"])
    return max(_ALWAYS_S, _SHARE * spent_s)


def _chosen(cases: Sequence[Case]) -> list[str]:
    """At most _MOST_CASES of them, in an order of which every beginning is spread over all patients and scans."""
    order = np.random.default_rng([_SEED, len(cases)]).permutation(len(cases))
    seen: Counter[str] = Counter()
    turns = []
    for place, number in enumerate(order.tolist()):
        case = cases[number]
        patient = case.patient or case.id
        # The first scan of each patient, then the second of each.
        turns.append((seen[patient], place, case.id))
        seen[patient] += 1
    return [name for _, _, name in sorted(turns)[:_MOST_CASES]]


# --- one held-out scan -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Scan:
    """A prepared scan, its contiguous truth on its own grid, its features, and what was done to it.

    Attributes:
        voxel_ml: volume of a voxel of the truth; None of a picture.
    """

    prepared: Prepared
    truth: NDArray[np.uint8]
    voxel_ml: float | None
    features: dict[str, dict[str, float]]
    corruption: Corruption | None


class _FoldPredictor:
    """Predicts what a fold held out by its network, where there are three or more beside the networks of the next two.

    Attributes:
        corrupts: each scan comes once more, with an artefact. May be changed on the way.
    """

    def __init__(self, run: Run, fold: int, options: CalibrationOptions) -> None:
        self.corrupts = True
        self._fold, self._severity, self._seed = fold, options.severity, options.seed
        self._model = load_model(run.fold(fold) / MODEL, device=options.device, quality=False)
        self._windows = self._model.windows(mirror=options.mirror, overlap=options.overlap)
        self._references: Sequence[Network] = ()
        numbers = run.trained_folds()
        place = numbers.index(fold)
        others = [*numbers[place + 1 :], *numbers[:place]][:_REFERENCE_NETWORKS]
        if len(others) == _REFERENCE_NETWORKS:
            files = [run.fold(other) / MODEL for other in others]
            references = load_model(files, device=options.device, quality=False, postprocess=False)
            self._references = references.networks

    def predict(self, cases: Sequence[Case]) -> Iterator[tuple[HeldOutScan, Voxels | None]]:
        """Yield each scan with voxels for the temperature, and then the same scan corrupted."""
        plan = self._model.plan
        artifacts = applicable(benchmark(plan.modality, (self._severity,)), plan.scan_dimension)
        # All kinds of artefacts about equally often, which one by chance.
        generator = np.random.default_rng([self._seed, self._fold])
        order: list[int] = []
        while len(order) < len(cases):
            order += generator.permutation(len(artifacts)).tolist()
        pairs = zip(cases, order, strict=False)
        tasks = [task for case, number in pairs for task in ((case, None), (case, artifacts[number]))]
        for (case, artifact), scan in zip(tasks, read_ahead(self._read, tasks), strict=True):
            if self.corrupts or artifact is None:
                yield self._predict(case, artifact, scan)

    def _read(self, task: tuple[Case, Artifact | None]) -> _Scan:
        case, artifact = task
        raw = read_case(case)
        if raw.label is None:
            raise VesalError(f"Case {case.id} has lost its label; put it back to where it was.")
        corruption = None
        if artifact is not None:
            corruption = corrupt(raw.image, artifact, artifact_seed(self._seed, case.id, artifact.name))
        volume = raw.image if corruption is None else corruption.volume
        truth = self._model.labels.encode(raw.label.array)
        # The truth of a clean scan is prepared too: the temperature is fitted on the prepared grid.
        prepared = self._model.prepare(volume, raw.label if corruption is None else None)
        grid = raw.label.geometry
        voxel_ml = grid.voxel_volume_mm3 / 1000.0 if grid.ndim == 3 else None
        return _Scan(prepared, truth, voxel_ml, image_features(volume, prepared), corruption)

    def _predict(
        self, case: Case, artifact: Artifact | None, scan: _Scan
    ) -> tuple[HeldOutScan, Voxels | None]:
        labels, prepared, windows = self._model.labels, scan.prepared, self._windows
        recorder = self._model.feature_recorder(windows, reference_networks=self._references)
        sampler = None
        if prepared.label is not None:
            axis = windows.stream_axis(prepared.crop.shape)
            sampler = VoxelSampler(prepared.label, labels, axis, case.id, case.annotated)
        label = self._model.segment(prepared, windows, recorder=recorder, on_rows=sampler)
        found = labels.encode(label.array)
        gap = None
        if self._references:
            agreement = recorder.agreement().mean(axis=2)
            gap = float(agreement[1, 2] - (agreement[0, 1] + agreement[0, 2]) / 2)
        dice, volumes = _measured(found, scan, labels, case.annotated)
        held_out = HeldOutScan(
            case=case.id,
            fold=self._fold,
            artifact=None if artifact is None else artifact.name,
            features=recorder.features(scan.features, found, label.geometry),
            dice=dice,
            training_gap=gap,
            patient=case.patient,
            volumes_ml=volumes,
        )
        return held_out, None if sampler is None else sampler.voxels()


def _measured(
    found: NDArray[np.uint8], scan: _Scan, labels: LabelSet, annotated: Collection[str] | None
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Of the annotated classes, where the scan shows them: class -> Dice, if the truth or `found` holds it; and class
    -> (predicted, true) volume (ml), but for pictures."""
    truth = scan.truth
    if scan.corruption is not None:
        found = scan.corruption.restore(found)
        if scan.corruption.hidden is not None:
            truth = np.where(scan.corruption.hidden, np.uint8(IGNORE), truth)
    counted = confusions(np.ascontiguousarray(found), truth, labels.class_table, IGNORE)
    scored = labels.judged(annotated)
    known = [pair for pair in zip(labels.classes, counted, strict=True) if pair[0] in scored]
    dice = {name: float(of.dice) for name, of in known if of.dice is not None}
    if scan.voxel_ml is None:
        return dice, {}
    ml = scan.voxel_ml
    return dice, {name: (of.predicted * ml, of.actual * ml) for name, of in known}
