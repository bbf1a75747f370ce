"""Predict many scans: read ahead, segment, write on each scan's own grid; a scan that fails does not stop the others.

The output folder holds CASE.nii.gz (or the scan's own format); quality.json and quality.csv, where the model has a
quality model; and, where they were asked for, overlays/CASE_overlay.png, probabilities/CLASS/CASE.nii.gz and
uncertainty/CASE.nii.gz. Its files, subfolders apart, are label maps alone, so that it can be scored or read as scans.
What was made of which scan by which model is in the folder's record (`vesal.outputs`).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from vesal.data.case import image_digest
from vesal.data.dataset import Case
from vesal.data.fingerprint import Failure
from vesal.data.labels import LabelSet
from vesal.errors import TOO_LARGE, DataError, UsageError, VesalError, out_of_memory
from vesal.files import content_hash, sweep, write_json
from vesal.infer.channels.missing_channels import channel_numbers, known_costs, refuse_missing
from vesal.infer.model import Model
from vesal.memory_limit import limit, limited
from vesal.nn.licence import licence_remarks
from vesal.outputs import OutputFolder
from vesal.parallel import Progress, read_ahead
from vesal.text import listed, plural
from vesal.volume.io import is_readable, strip_suffix
from vesal.workflow.prediction.case_predictor import PNG_ONE, CasePredictor, CaseResult, Entry
from vesal.workflow.prediction.predict_targets import Target, Targets, plan_targets, try_folder
from vesal.workflow.prediction.quality_files import QualityFiles
from vesal.workflow.prediction.worker_prediction import Cohort, made_of_case
from vesal.workflow.requests.predict_options import PredictOptions

#: Of what a result is made of, what its estimate alone depends on.
_OF_ESTIMATES = ("least Dice", "level of intervals", "quality model")


@dataclass
class PredictResult:
    """The result of a prediction.

    Attributes:
        files, overlays, uncertainty: case -> its label map, its picture, its map of uncertainty.
        probabilities: case -> class -> its map.
        seconds: case -> how long it took.
        failures: cases that failed.
        backend: what computed the network.
        quality: the estimates; None where they were not wanted.
        kept: cases whose results were there already.
        redone: case -> why its result, which was there, was made anew.
        notes: case -> what is to be looked at.
        remarks: what else is to be known, such as files that were left out.
        missing: case -> names of the channels that it was predicted without.
    """

    files: dict[str, Path] = field(default_factory=dict)
    overlays: dict[str, Path] = field(default_factory=dict)
    probabilities: dict[str, dict[str, Path]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    backend: str = "torch"
    uncertainty: dict[str, Path] = field(default_factory=dict)
    quality: QualityFiles | None = None
    kept: list[str] = field(default_factory=list)
    redone: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def note(self, case: str, target: Target) -> None:
        """All files of a case are there."""
        self.files[case] = target.label
        if target.overlay is not None:
            self.overlays[case] = target.overlay
        if target.probabilities:
            self.probabilities[case] = target.probabilities
        if target.uncertainty is not None:
            self.uncertainty[case] = target.uncertainty

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        seconds = {case: round(value, 3) for case, value in self.seconds.items()}
        quality = None if self.quality is None else {case: self.quality.rows[case] for case in self._judged()}
        plain: dict[str, Any] = to_jsonable_python({**vars(self), "seconds": seconds, "quality": quality})
        return plain

    def text(self, cases: int, out: Path) -> str:
        """What was done, what was kept, and what is to be looked at."""
        new = len(self.files) - len(self.kept)
        kept = f" ({len(self.kept)} kept, {new} new)" if self.kept or self.redone else ""
        computed = f"; network by {self.backend}" if self.seconds else ""
        lines = [f"{len(self.files)} of {plural(cases, 'scan')} segmented in {out}{kept}{computed}"]
        if self.redone:
            reasons = Counter(self.redone.values())
            why = ", ".join(f"{reason}: {count}" for reason, count in reasons.items())
            lines.append(f"Made anew: {plural(len(self.redone), 'result')} ({why})")
        if self.quality is not None:
            lines.append(self.quality.text(self._judged()))
        for note in dict.fromkeys(self.notes.values()):
            flagged = [case for case, other in self.notes.items() if other == note]
            lines.append(f"Review {listed(flagged, 5)}: {note}")
        return "\n".join(filter(None, [*lines, *self.remarks]))

    def _judged(self) -> list[str]:
        return [] if self.quality is None else [case for case in self.files if case in self.quality.rows]


def predict_cases(
    model: Model,
    cases: Sequence[Case],
    out: Path,
    options: PredictOptions | None = None,
    *,
    cohort: Cohort | None = None,
    progress: Progress | None = None,
) -> PredictResult:
    """Predict every case into `out`: a folder or, for a single case, a file.

    Args:
        model: that predicts; with a `cohort` its workers load it themselves.
        cases: scans.
        out: where results go.
        options: how.
        cohort: its workers predict, each within the limit of memory, and it keeps a record; None predicts here.
        progress: called with (done, total).

    Raises:
        UsageError: an unknown format, or a result would overwrite a scan or a file that Vesal did not write there.
        VesalError: `out` cannot be written (nothing else would succeed either).
    """
    options = _checked(model, options or PredictOptions())
    result = PredictResult()
    targets = plan_targets(cases, Path(out), options, model.labels.classes)
    shard = cohort is not None and cohort.shard is not None
    most_bytes, writer = (options.max_ram, "") if cohort is None else (None, cohort.writer)
    with limited(most_bytes, targets.folder), OutputFolder(targets.folder, writer=writer) as output:
        # Also where nothing is estimated now: it may hold what was found of the results that are replaced.
        there = QualityFiles(None if shard else targets.folder, model.labels.classes)
        if options.quality:
            result.quality = QualityFiles(None, model.labels.classes) if targets.single else there
        entries: Sequence[Entry] = list(zip(cases, targets.of, strict=True))
        entries = entries if cohort is None else cohort.own(entries)
        files = targets.files()
        known = any(_row(entry, targets) in there.rows for entry in entries)
        output.refuse([*files, *(there.files if known or result.quality is there else ())], is_readable)
        made_of = made_of_model(model, options)
        if cohort is not None:
            cohort.begin(output, model, options, made_of, entries)
            if result.quality is not None:
                cohort.recall(result.quality)
        estimates = _estimates(model, options)
        waiting = _unfinished(output, entries, made_of, result, estimates) if options.resume else entries
        result.remarks += _others(output, targets, made_of, options.resume)
        try_folder(targets)
        for folder in {path.parent for path in files}:
            sweep(folder, below=False)
        if options.probabilities:
            write_json(targets.classes_file, list_classes(model.labels, targets.folders))
        try:
            _Job(model, options, result, output, targets, made_of, there, cohort).run(waiting, progress)
        finally:
            if cohort is not None:
                result.remarks.append(cohort.end())
    result.backend = model.backend if cohort is None else cohort.backend
    result.remarks += [*_missing_remarks(model, result.missing), *_licences(model)]
    return result


def _row(entry: Entry, targets: Targets) -> str:
    """The name under which the folder's quality files know a result; a named file may take the place of another's."""
    case, target = entry
    return strip_suffix(target.label) if targets.single else case.id


def _estimates(model: Model, options: PredictOptions) -> bool:
    return options.quality and model.quality_estimator is not None


def _checked(model: Model, options: PredictOptions) -> PredictOptions:
    """The options; raises where they leave channels out that the model has not, or was not trained to be without."""
    names = [model.plan.channels[place] for place in channel_numbers(model.plan, options.missing)]
    refuse_missing(names, [package.recipe for package in model.packages])
    return options


def _missing_remarks(model: Model, missing: dict[str, tuple[str, ...]]) -> list[str]:
    """What it costs that channels are missing, a sentence for each set of them."""
    if not missing:
        return []
    costs = known_costs(model.packages[0].missing_channels if model.packages else None)
    found = []
    for names in dict.fromkeys(missing.values()):
        cases = [case for case, other in missing.items() if other == names]
        cost = "what that costs was not measured" if costs is None else costs.sentence(names)
        found.append(
            f"Predicted without {listed(names, 6, ' and ')}: {listed(cases, 5)} ({cost}); "
            "no quality is estimated there."
        )
    return found


def _licences(model: Model) -> list[str]:
    return list(dict.fromkeys(text for of in model.packages for text in licence_remarks(of.provenance)))


def made_of_model(model: Model, options: PredictOptions) -> dict[str, Any]:
    """What a label map and its estimate depend on beside the scan."""
    missing = [model.plan.channels[place] for place in channel_numbers(model.plan, options.missing)]
    fitted = json.dumps([package.quality for package in model.packages], sort_keys=True).encode()
    return {
        "model": model.digest,
        "threshold": options.threshold,
        "overlap": model.plan.overlap if options.overlap is None else options.overlap,
        "mirror": options.mirror,
        "least Dice": options.min_dice,
        "level of intervals": options.interval_level,
        # It may be fitted anew to the same weights, which the model's digest does not show.
        **({"quality model": content_hash(fitted)} if model.quality_estimator is not None else {}),
        **({"missing channels": missing} if missing else {}),
    }


def _others(output: OutputFolder, targets: Targets, made_of: dict[str, Any], resume: bool) -> list[str]:
    """Remarks on results in the folder that this prediction neither makes nor keeps, where they would be taken for its
    own: label maps when it is resumed, and whatever another model or other options made, such as pictures of masks
    that are made anew."""
    ours = {target.label.name for target in targets.of}
    made = {path.relative_to(targets.folder).as_posix() for path in targets.files()}
    found: dict[str, list[str]] = {}
    for name, done in output.cases.items():
        why = "by another model or other options"
        names = [file for file in done.files if file not in made] if name in ours else [name]
        if resume and name not in ours:
            why = "whose scans or format were not named now"
        elif all(done.made_of.get(what) == made_of[what] for what in made_of):
            continue
        found.setdefault(why, []).extend(file for file in names if (output.folder / file).exists())
    return [
        f"{targets.folder} also holds {plural(len(names), 'earlier result')}: {listed(names, 3)}, {why}."
        for why, names in found.items()
        if names
    ]


def _unfinished(
    output: OutputFolder,
    entries: Sequence[Entry],
    made_of: dict[str, Any],
    result: PredictResult,
    estimates: bool,
) -> list[Entry]:
    """What is to be predicted; the rest is noted as kept. A scan is only read where all else is as it was."""
    waiting = []
    for case, target in entries:
        known = output.finished(target.label.name)
        # The scan is looked at last: with the digest that is in the record all else is compared.
        left_open = ("scan",) if estimates else ("scan", *_OF_ESTIMATES)
        kept = {} if known is None else known.made_of
        wanted = made_of_case(made_of, case) | {what: kept.get(what) for what in left_open}
        # What records of before did not name was not asked for then.
        wanted = {what: value for what, value in wanted.items() if value is not None or what in kept}
        why = output.why_unfinished(target.label.name, wanted, target.files())
        if why is None and _digest(case) != wanted.get("scan"):
            why = "another scan"
        whole = not case.lacking and "missing channels" not in made_of
        if (
            why is None
            and estimates
            and whole
            and not (result.quality is not None and result.quality.is_estimated(case.id))
        ):
            why = "not estimated"
        if why is None:
            result.note(case.id, target)
            result.kept.append(case.id)
        else:
            waiting.append((case, target))
            if target.label.exists():
                result.redone[case.id] = why
    return waiting


def _digest(case: Case) -> str | None:
    try:
        return image_digest(case)
    except (VesalError, OSError):
        return None


#: A case that came to its end: how long it took (s), and what is known of its result, or why there is none.
_Ended = tuple[Entry, float, CaseResult | str]


@dataclass(frozen=True, eq=False)
class _Job:
    """Predicts the cases that are waiting, one after the other here or by the workers of an engine."""

    model: Model
    options: PredictOptions
    result: PredictResult
    output: OutputFolder
    targets: Targets
    made_of: dict[str, Any]
    there: QualityFiles
    cohort: Cohort | None = None

    def run(self, waiting: Sequence[Entry], progress: Progress | None) -> None:
        """Predict them; `there` are the folder's quality files, which may be those of the result."""
        estimates = _estimates(self.model, self.options)
        ended = (
            self._here(waiting, estimates) if self.cohort is None else self.cohort.predict(waiting, estimates)
        )
        self.there.drop_estimates([_row(entry, self.targets) for entry in waiting])
        changed = self.result.quality is self.there and bool(waiting or self.cohort)
        try:
            with contextlib.closing(ended):
                for done, (entry, seconds, found) in enumerate(ended, start=1):
                    changed |= self.there.rows.pop(_row(entry, self.targets), None) is not None
                    self._note(entry, seconds, found)
                    if progress is not None:
                        progress(done, len(waiting))
        finally:
            if changed:
                self.there.save(last=True)

    def _note(self, entry: Entry, seconds: float, found: CaseResult | str) -> None:
        result = self.result
        if result.quality is not None:
            result.quality.rows.pop(entry[0].id, None)
        if isinstance(found, str):
            self._failed(entry, found)
        else:
            self._finish(entry, found)
            result.seconds[entry[0].id] = seconds
        if result.quality is not None:
            result.quality.save(last=False)

    def _here(self, waiting: Sequence[Entry], estimates: bool) -> Generator[_Ended, None, None]:
        predictor = CasePredictor(self.model, self.options, estimates)
        # Under a limit of memory one scan at a time is in it.
        ahead = 1 if limit() is None else 0
        for scan, entry in zip(read_ahead(predictor.read, waiting, ahead), waiting, strict=True):
            began = time.monotonic()
            try:
                if isinstance(scan, DataError):
                    raise scan
                found: CaseResult | str = predictor.write(scan, entry)
            except (DataError, UsageError) as error:
                found = str(error)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                found = TOO_LARGE
            yield entry, time.monotonic() - began, found

    def _failed(self, entry: Entry, reason: str) -> None:
        case, target = entry
        if os.path.lexists(target.label):
            reason += f" Its earlier result stays: {target.label}."
        self.result.redone.pop(case.id, None)
        self.result.failures.append(Failure(id=case.id, message=reason))

    def _finish(self, entry: Entry, found: CaseResult) -> None:
        (case, target), quality = entry, self.result.quality
        if quality is not None and found.quality is not None:
            quality.rows[case.id] = found.quality
        if found.note:
            self.result.notes[case.id] = found.note
            if quality is not None:
                quality.flag(case.id, found.note)
        if found.missing:
            self.result.missing[case.id] = found.missing
        made_of = made_of_case(self.made_of, case) | {"scan": found.scan}
        self.output.finish(target.label.name, made_of, target.files())
        self.result.note(case.id, target)


def list_classes(labels: LabelSet, folders: dict[str, str]) -> dict[str, Any]:
    """The content of classes.json."""
    values = {label.name: label.value for label in labels.labels}
    members = {region.name: region.members for region in labels.regions} or {
        name: (name,) for name in labels.names
    }
    background = "regions may overlap" if labels.regions else "background is 1 - the sum of all classes"
    return {
        "classes": [
            {"name": name, "folder": folders[name], "values": [values[member] for member in members[name]]}
            for name in labels.classes
        ],
        "activation": "sigmoid" if labels.regions else "softmax",
        "stored": f"0 to 1; in PNG 0 to {PNG_ONE}; {background}",
    }
