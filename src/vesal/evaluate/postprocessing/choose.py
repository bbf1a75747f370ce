"""Which steps the held-out cases support: greedy, class by class, and kept only where they help beyond noise.

A step is chosen where, on top of those before it, the mean Dice of its class rises by at least `LEAST_GAIN`, the lower
end of the paired bootstrap interval of that rise lies above 0, and the mean HD95 does not rise. Patients, not scans,
are drawn: two scans of a patient fail alike. The whole choice is then made once more on all parts of the cases but one
and measured on that one, part by part; the steps of a class which gain nothing there are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vesal.evaluate.postprocessing.choice_record import ClassGain, Gain, PostprocessChoice, Trial
from vesal.evaluate.postprocessing.validation_cases import Floats, Steps, ValidationCases
from vesal.infer.postprocess import Kind, Step, in_order
from vesal.metrics.statistics import bootstrap_interval

#: Held-out patients below which nothing is chosen.
LEAST_PATIENTS = 8
#: Rise of the mean Dice below which a step is not worth its risk.
LEAST_GAIN = 0.001
#: Of the interval of a step's gain: stricter than that of a single question, as dozens of steps are tested.
CONFIDENCE = 0.99
#: Parts for the choice on other cases, where the folds are too few to be the parts.
PARTS = 5
_ENOUGH_PARTS = 4

#: Limits of size are shares of the smallest size in the truth, which spare all of it, and quantiles of its sizes.
_SHARES = (0.003, 0.01, 0.03, 0.1, 0.3)
_QUANTILES = (0.0, 0.05, 0.1, 0.25, 0.5)
#: A mean HD95 that rises by less has not risen.
_ROUNDING_MM = 1e-9
#: Voxel volumes that differ by less than this share are one.
_SAME_VOXEL = 0.01


def choose(validation: ValidationCases, parts: Sequence[int]) -> PostprocessChoice:
    """Choose the steps.

    Args:
        validation: the held-out cases.
        parts: the part of each case, such as its fold; a patient's cases are all in one part. Where there are
            fewer than four the patients are dealt out to `PARTS` parts: a choice on half of the cases finds little.
    """
    everyone = list(range(len(validation.cases)))
    if (refused := too_few(len(everyone), len(set(validation.patients)))) is not None:
        return refused
    if len(set(parts)) < _ENOUGH_PARTS:
        # About equal numbers of patients, in the order in which they come.
        parts = (validation.patients % PARTS).tolist()
    banned: dict[str | None, list[Trial]] = {}
    while True:
        search = _Search(validation, everyone, frozenset(banned))
        steps = search.run()
        crossfit: list[Steps] = []
        if steps:
            # For each case the steps that are chosen on all parts but its own.
            others = {part: [case for case in everyone if parts[case] != part] for part in sorted(set(parts))}
            found = {part: _Search(validation, of, frozenset(banned)).run() for part, of in others.items()}
            crossfit = [found[part] for part in parts]
        dropped = _failing(validation, steps, crossfit)
        if not dropped:
            break
        # Once more without them: where all foreground is left alone, its classes may ask for a step.
        for of in dropped:
            failed = {"verdict": "no gain where it was chosen on other cases"}
            banned[of] = [
                trial.model_copy(update=failed if trial.verdict == "chosen" else {})
                for trial in search.trials
                if trial.step.of == of
            ]
    trials = [*(trial for tried in banned.values() for trial in tried), *search.trials]
    return _record(validation, steps, crossfit, trials, len(set(parts)))


def too_few(cases: int, patients: int) -> PostprocessChoice | None:
    """The choice of nothing where there are too few held-out patients to choose on; else None."""
    if patients >= LEAST_PATIENTS:
        return None
    return PostprocessChoice(
        cases=cases,
        patients=patients,
        reason=f"Post-processing is chosen on {LEAST_PATIENTS} held-out patients or more and here are {patients}, "
        "so none is done.",
    )


# --- the search --------------------------------------------------------------------------------------------


@dataclass
class _Search:
    """Greedy, on some of the cases."""

    validation: ValidationCases
    cases: Sequence[int]
    banned: frozenset[str | None] = frozenset()
    chosen: Steps = ()
    trials: list[Trial] = field(default_factory=list)

    def run(self) -> Steps:
        """All foreground first, then each class, outer regions before inner ones; holes last."""
        classes = range(len(self.validation.names))
        self._grow(None, ("largest",))
        for index in classes:
            self._grow(index, ("min_size", "largest", "min_volume"))
        for index in reversed(classes):
            self._grow(index, ("fill_holes",))
        return self.chosen

    def _grow(self, index: int | None, kinds: Sequence[Kind]) -> None:
        """Add the best step of a class until none helps; each kind once."""
        name = None if index is None else self.validation.names[index]
        left = [] if name in self.banned else list(kinds)
        while left:
            tried: dict[tuple[Kind, int, float], Trial] = {}
            for kind in left:
                for step in self._candidates(kind, index):
                    trial = self._try(step, index)
                    # Limits between the same two sizes do the same: the mildest is kept for all.
                    tried.setdefault((kind, trial.changed, round(trial.gain, 12)), trial)
            trials = list(tried.values())
            best = self._best(trials, index)
            self.trials += trials
            if best is None:
                return
            self.chosen = in_order((*self.chosen, best), self.validation.labels)
            left.remove(best.do)

    def _candidates(self, kind: Kind, index: int | None) -> list[Step]:
        if index is None:
            return [Step(do=kind)]
        name = self.validation.names[index]
        if kind in ("largest", "fill_holes"):
            return [Step(do=kind, of=name)]
        cases = [self.validation.cases[case] for case in self.cases]
        volumes = [case.geometry.voxel_volume_mm3 for case in cases]
        voxels = [case.truth_sizes[index] for case in cases]
        if kind == "min_volume":
            voxels = [true.sum(keepdims=True) if len(true) else true for true in voxels]
        sizes = [true * volume for true, volume in zip(voxels, volumes, strict=True)]
        steps = [Step(do=kind, of=name, mm3=limit) for limit in _limits(np.concatenate(sizes))]
        if max(volumes) > min(volumes) * (1 + _SAME_VOXEL):
            counts = {int(limit) for limit in _limits(np.concatenate(voxels)) if limit >= 2}
            steps += [Step(do=kind, of=name, voxels=count) for count in sorted(counts)]
        return steps

    def _try(self, step: Step, index: int | None) -> Trial:
        """The step on top of the chosen ones, before its HD95 is measured."""
        steps = in_order((*self.chosen, step), self.validation.labels)
        changed = int(self.validation.changed(index, steps, self.chosen)[self.cases].sum())
        difference = self.validation.dice(index, steps) - self.validation.dice(index, self.chosen)
        gains = _of_patients(self.validation, self.cases, difference)
        gain, low, high = float(gains.mean()) if len(gains) else 0.0, None, None
        if not changed:
            verdict = "changes nothing"
        elif gain < LEAST_GAIN:
            verdict = f"gains less than {LEAST_GAIN:g}" if gain > 0 else "no gain"
        else:
            low, high = bootstrap_interval(gains, confidence=CONFIDENCE)
            verdict = "" if low > 0 else "within noise"
        return Trial(step=step, gain=gain, low=low, high=high, changed=changed, verdict=verdict)

    def _best(self, trials: list[Trial], index: int | None) -> Step | None:
        """The step with the largest gain that passes; of equal ones that which comes first, the mildest."""
        best = None
        for place in sorted(range(len(trials)), key=lambda place: -round(trials[place].gain, 9)):
            trial, change = trials[place], None
            if trial.verdict:
                continue
            verdict = "another gains as much or more"
            if best is None:
                change = self._hd95_change(trial.step, index)
                verdict = "chosen" if change <= _ROUNDING_MM else "HD95 rises"
                best = trial.step if verdict == "chosen" else None
            trials[place] = trial.model_copy(update={"verdict": verdict, "hd95_change_mm": change})
        return best

    def _hd95_change(self, step: Step, index: int | None) -> float:
        steps = in_order((*self.chosen, step), self.validation.labels)
        where = self.validation.changed(index, steps, self.chosen)
        changed = [case for case in self.cases if where[case]]
        after = self.validation.hd95(changed, index, steps)
        before = self.validation.hd95(changed, index, self.chosen)
        return float((after - before).sum() / len(self.cases))


def _limits(sizes: NDArray[np.float64] | NDArray[np.int64]) -> list[float]:
    """Limits of size from the sizes in the truth, ascending, with three digits."""
    if not len(sizes):
        return []
    found = [float(np.quantile(sizes, share)) for share in _QUANTILES]
    return sorted(
        {float(f"{limit:.3g}") for limit in (*(found[0] * share for share in _SHARES), *found) if limit > 0}
    )


def _of_patients(validation: ValidationCases, cases: Sequence[int], values: Floats) -> Floats:
    """(patients,) the mean over each patient's cases of (all cases,) values; NaN ones are left out."""
    there = np.array([case for case in cases if not np.isnan(values[case])], dtype=np.int64)
    if not len(there):
        return np.zeros(0)
    _, patient = np.unique(validation.patients[there], return_inverse=True)
    return np.asarray(np.bincount(patient, values[there]) / np.bincount(patient), dtype=np.float64)


def _crossfit_gains(validation: ValidationCases, crossfit: Sequence[Steps], index: int | None) -> Floats:
    """(patients,) gains of each case by its own steps."""
    gains = np.full(len(crossfit), np.nan)
    for steps in set(crossfit):
        mine = np.array([one == steps for one in crossfit])
        gains[mine] = (validation.dice(index, steps) - validation.dice(index, ()))[mine]
    return _of_patients(validation, range(len(crossfit)), gains)


# --- the crossfit gain ---------------------------------------------------------------------------------------


def _failing(validation: ValidationCases, steps: Steps, crossfit: Sequence[Steps]) -> list[str | None]:
    """The classes (None: all foreground) whose steps gain nothing where they were chosen on other cases."""
    failing = []
    for of in dict.fromkeys(step.of for step in steps):
        gains = _crossfit_gains(validation, crossfit, None if of is None else validation.names.index(of))
        if not len(gains) or gains.mean() <= 0:
            failing.append(of)
    return failing


def _record(
    validation: ValidationCases, steps: Steps, crossfit: Sequence[Steps], trials: Sequence[Trial], parts: int
) -> PostprocessChoice:
    """All of it."""
    everyone = range(len(validation.cases))
    classes = []
    for index, name in enumerate(validation.names):
        before = _of_patients(validation, everyone, validation.dice(index, ()))
        after = _of_patients(validation, everyone, validation.dice(index, steps))
        if len(before):
            classes.append(
                ClassGain(
                    class_name=name,
                    before=float(before.mean()),
                    after=float(after.mean()),
                    gain=float(after.mean() - before.mean()),
                    crossfit_gain=float(_crossfit_gains(validation, crossfit, index).mean())
                    if steps
                    else None,
                )
            )
    final = [steps] * len(validation.cases)
    return PostprocessChoice(
        cases=len(validation.cases),
        patients=len(set(validation.patients)),
        steps=steps,
        gain=_gain(_crossfit_gains(validation, final, None)) if steps else None,
        crossfit_gain=_gain(_crossfit_gains(validation, crossfit, None)) if steps else None,
        parts=parts if steps else 0,
        classes=tuple(classes),
        trials=tuple(trials),
    )


def _gain(gains: Floats) -> Gain:
    low, high = bootstrap_interval(gains)
    return Gain(mean=float(gains.mean()), low=low, high=high)
