"""Robustness: the same scans clean and under each artefact, what that costs, and whether it is within limits.

On a CPU the cases are shared among as many processes as there are cores and memory, each with one thread; or an engine
has workers for them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from vesal.augment.artifacts.benchmark import Artifact, applicable, benchmark, parse_artifact
from vesal.data.case import files_of
from vesal.data.dataset import Case
from vesal.data.fingerprint import Failure
from vesal.engine.outcome import Engine
from vesal.errors import DataError, UsageError, VesalError
from vesal.evaluate.robustness.degradation import WorstCase
from vesal.evaluate.robustness.limits import Limit, check_limit_names
from vesal.evaluate.robustness.result import Cost, Robustness, conclude
from vesal.evaluate.robustness.result_text import NAME, save_robustness
from vesal.evaluate.scores import shared_patients
from vesal.files import content_hash
from vesal.infer.model import Model
from vesal.infer.predictor import load_model
from vesal.journal import Journal, file_stamps
from vesal.memory_limit import held_bytes, keep_within, limit, limited, room
from vesal.outputs import results
from vesal.parallel import Progress, StageProgress, no_progress, workers_within
from vesal.planning.plan import Plan
from vesal.processes import Tick, can_fork, map_in_processes
from vesal.report.figures.robustness_charts import CorruptedScan
from vesal.report.pages.robustness_page import write_robustness_report
from vesal.text import plural
from vesal.workflow.prediction.worker_prediction import ModelSource, settled
from vesal.workflow.requests.robustness_request import RobustnessRequest
from vesal.workflow.robustness.benchmark_cases import RobustnessCases, choose_cases
from vesal.workflow.robustness.measure import Measured, RobustnessRunner, scan_bytes

#: Worst cases that the page shows as pictures.
PICTURES = 4

#: What the networks of a process on the CPU need in memory beside the scans.
_NETWORK_BYTES = 2 << 30


def robustness_run(
    request: RobustnessRequest,
    stage: StageProgress = no_progress,
    tell: Callable[[str], None] = print,
    *,
    engine: Engine | None = None,
) -> Robustness:
    """Measure, conclude, and write robustness.json, .csv, .md and .html.

    What is done already is in robustness.jsonl, a line a case: a stopped benchmark goes on with `resume`, and a
    finished one is only compared with other limits or another baseline.

    Args:
        request: what to measure.
        stage, tell: show progress, and take one-line messages.
        engine: has the workers that measure; None takes processes of this one.

    Raises:
        UsageError: the request contradicts itself or names what is not there; or a file would be replaced that Vesal
            did not write there, or that was changed since.
        VesalError: nothing could be measured, or the folder cannot be written.
    """
    with limited(request.max_ram, request.folder):
        return _robustness(request, stage, tell, engine)


def _robustness(
    request: RobustnessRequest, stage: StageProgress, tell: Callable[[str], None], engine: Engine | None
) -> Robustness:
    output = results(request.folder, *(f"{NAME}{ending}" for ending in (".json", ".csv", ".md", ".html")))
    limits = [Limit.parse(text) for text in request.limits]
    baseline = None if request.baseline is None else Robustness.load(request.baseline)
    chosen = choose_cases(request.model, request.data, layout=request.layout, fold=request.fold)
    chosen = chosen.first(request.cases)
    if not chosen.names:
        raise VesalError("Not one case is left to measure; look at the folds, or name other data.")
    first = _load(request, chosen.groups[0].models)
    artifacts, remarks = _artifacts(request, first.plan)
    check_limit_names(limits, [(artifact.name, artifact.severity) for artifact in artifacts])
    journal = _journal(request, chosen, artifacts)
    waiting = [name for name in chosen.names if name not in journal.entries]
    tell(
        f"{plural(len(chosen.names), 'case')}, {1 + len(artifacts)} conditions"
        + (f"; done already: {len(chosen.names) - len(waiting)}" if journal.entries else "")
    )
    runners = _Runners(request, chosen, artifacts, first)
    runners.measure(journal, waiting, stage("Robustness"), engine)
    measured = [journal.entries[name] for name in chosen.names if name in journal.entries]
    found = _result(runners, measured, limits, baseline, remarks)
    with output:
        save_robustness(request.folder, found)
        scans = runners.scans(found.worst[:PICTURES], stage("Drawing")) if request.pictures else []
        write_robustness_report(request.folder / f"{NAME}.html", found, first.labels, scans, baseline)
    return found


def _load(request: RobustnessRequest, models: Sequence[Path]) -> Model:
    return load_model(models, device=request.device, backend=request.backend, precision=request.precision)


def _artifacts(request: RobustnessRequest, plan: Plan) -> tuple[tuple[Artifact, ...], list[str]]:
    """Every condition but the clean one, each once, and remarks on them."""
    kind, severities = plan.modality, sorted(set(request.chosen_severities))
    if request.artifacts:
        named = [one for text in request.artifacts for one in parse_artifact(text, severities, kind)]
    else:
        named = list(benchmark(kind, severities))
    every = tuple({one.title: one for one in named}.values())
    possible = applicable(every, plan.scan_dimension)
    if not possible:
        raise UsageError("None of these artefacts is possible in these scans; name others with --artifact.")
    left_out = dict.fromkeys(one.name for one in every if one not in possible)
    remarks = [f"Left out, as not possible in single pictures: {', '.join(left_out)}."] if left_out else []
    return possible, remarks


def _journal(
    request: RobustnessRequest, chosen: RobustnessCases, artifacts: Sequence[Artifact]
) -> Journal[Measured]:
    """Begun with all that the rows depend on; resumed without the cases in which something failed, or whose files
    changed."""
    head = {
        "version": 1,
        "model": [content_hash(file.read_bytes()) for group in chosen.groups for file in group.models],
        "data": str(chosen.data.root),
        "case_list": chosen.names,
        "artifact_list": [[artifact.title, repr(artifact.settings)] for artifact in artifacts],
        "seed": request.seed,
        "tta": request.mirror,
    }
    path = request.folder / f"{NAME}.jsonl"
    journal = Journal[Measured].open(
        path, Measured, head, resume=request.resume, work="benchmark", alone=False
    )
    cases = {case.id: case for group in chosen.groups for case in group.cases}
    for one in list(journal.entries.values()):
        now = _made_of(cases[one.id])
        # What failed is tried again: the file may have been fixed since.
        if one.failures or (None not in (one.made_of, now) and one.made_of != now):
            journal.drop(one.id)
    return journal


def _made_of(case: Case) -> list[list[int]] | None:
    """Size and times of a case's files; None where one is not there, so that what was measured is all there is."""
    try:
        stamps = file_stamps(files_of(case))
    except DataError:
        return None
    return None if [] in stamps else stamps


#: A case, and the number of the group whose models segment it.
_Task = tuple[int, Case]


@dataclass(eq=False)
class _Runners:
    """A runner for each group of cases; one group's models at a time are in memory."""

    request: RobustnessRequest
    chosen: RobustnessCases
    artifacts: tuple[Artifact, ...]
    model: Model
    group: int = 0

    def of(self, group: int) -> RobustnessRunner:
        request = self.request
        if group != self.group:
            self.model = _load(request, self.chosen.groups[group].models)
            self.group = group
        return RobustnessRunner(
            self.model, self.chosen.data.labels, self.artifacts, request.seed, request.mirror
        )

    def measure(
        self,
        journal: Journal[Measured],
        waiting: Sequence[str],
        progress: Progress | None,
        engine: Engine | None = None,
    ) -> None:
        done, total = 0, len(waiting) * (1 + len(self.artifacts))

        def tick() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, total)

        groups = enumerate(self.chosen.groups)
        tasks = [(index, case) for index, group in groups for case in group.cases if case.id in waiting]
        made_of = {case.id: _made_of(case) for _, case in tasks}
        began = time.monotonic()
        if engine is None:
            processes = self._most_processes([case for _, case in tasks])
            found = self._measured(tasks, processes, tick)
        else:
            found = self._by_engine(engine, tasks, tick)
        with contextlib.closing(found) as measured:
            for number, one in measured:
                now = time.monotonic()
                seconds, began = round(now - began, 3), now
                known = {"seconds": seconds, "processes": number, "made_of": made_of[one.id]}
                journal.add(one.model_copy(update=known))

    def _measured(
        self, tasks: Sequence[_Task], processes: int, tick: Tick
    ) -> Generator[tuple[int, Measured], None, None]:
        """Each case, with the number of processes that share them."""
        if processes == 1:
            for task in tasks:
                yield 1, self.one(task, tick)
            return
        left = room()
        most = None if left is None else held_bytes() + left // processes
        begin = partial(_begin, most, self.request.folder)
        again = "add --resume, which keeps the finished cases"
        tasks = _largest_first(tasks)
        for _, found in map_in_processes(self.one, tasks, processes, begin=begin, tick=tick, again=again):
            yield processes, found

    def _by_engine(
        self, engine: Engine, tasks: Sequence[_Task], tick: Tick
    ) -> Generator[tuple[int, Measured], None, None]:
        """The same by the workers of an engine, as many as have been seen."""
        tasks, workers = _largest_first(tasks), set[str]()
        request = self.request
        source = ModelSource(request.model, request.device, request.backend, request.precision)
        request = replace(request, backend=settled(source, self.model).backend)
        with contextlib.closing(engine.run(_MeasureWork(request, self.chosen, self.artifacts), tasks)) as run:
            for outcome in run:
                if outcome.hopeless:
                    raise VesalError(outcome.reason)
                for _ in range(1 + len(self.artifacts)):
                    tick()
                workers.add(outcome.worker)
                found = outcome.result
                if outcome.failed:
                    case = tasks[outcome.number][1].id
                    failure = Failure(id=case, message=outcome.reason)
                    megabytes = round(outcome.peak_bytes / 1e6, 1) or None
                    found = Measured(id=case, rows=(), failures=(failure,), memory_mb=megabytes)
                yield len(workers), found

    def one(self, task: _Task, tick: Tick) -> Measured:
        """A case in every condition, by the models of its group."""
        group, case = task
        return next(self.of(group).measure([case], tick))

    def _most_processes(self, cases: Sequence[Case]) -> int:
        """As many as torch would use threads, and memory and cases are enough for."""
        if self.model.device.type != "cpu" or not cases or not can_fork():
            return 1
        room = workers_within(_NETWORK_BYTES + scan_bytes(cases))
        return min(len(cases), torch.get_num_threads(), room)

    def scans(self, worst: Sequence[WorstCase], progress: Progress | None) -> list[CorruptedScan]:
        """To be drawn. One that cannot be made again is left out; its numbers are there."""
        groups = enumerate(self.chosen.groups)
        places = {case.id: (index, case) for index, group in groups for case in group.cases}
        found = []
        for number, one in enumerate(worst, start=1):
            index, case = places[one.case]
            try:
                found.append(self.of(index).scan(case, one))
            except (VesalError, MemoryError):
                continue
            if progress is not None:
                progress(number, len(worst))
        return found


def _begin(most_bytes: int | None, folder: Path) -> None:
    """In each process: one thread, and its share of the memory; what they have in common counts once."""
    torch.set_num_threads(1)
    if most_bytes is not None:
        keep_within(most_bytes, folder)


def _largest_first(tasks: Sequence[_Task]) -> list[_Task]:
    """The largest last would have one process work while the others wait."""
    return sorted(tasks, key=lambda task: (task[0], -scan_bytes([task[1]])))


@dataclass(frozen=True, eq=False)
class _MeasureWork:
    """What a worker of an engine does, which loads the models by itself."""

    request: RobustnessRequest
    chosen: RobustnessCases
    artifacts: tuple[Artifact, ...]

    def __call__(self) -> Callable[[_Task], Measured]:
        if self.request.max_ram is not None and limit() is None:
            keep_within(self.request.max_ram, self.request.folder)
        model = _load(self.request, self.chosen.groups[0].models)
        runners = _Runners(self.request, self.chosen, self.artifacts, model)
        return lambda task: runners.one(task, lambda: None)


def _result(
    runners: _Runners,
    measured: Sequence[Measured],
    limits: Sequence[Limit],
    baseline: Robustness | None,
    remarks: Sequence[str],
) -> Robustness:
    request, artifacts, model = runners.request, runners.artifacts, runners.model
    rows = [row for one in measured for row in one.rows]
    failures = [failure for one in measured for failure in one.failures]
    if not rows:
        raise VesalError(
            f"Not one of the {len(measured)} cases could be measured; {failures[0].id}: {failures[0].message}"
        )
    remarks = [*runners.chosen.remarks, *remarks, *_undone(measured)]
    patients = {case.id: case.patient for case in runners.chosen.data.cases}
    memory = [one.memory_mb for one in measured if one.memory_mb is not None]
    about = {
        "model": str(request.model),
        "data": str(runners.chosen.data.root),
        "settings": {
            "severities": sorted({one.severity for one in artifacts if one.severity is not None}),
            "artifacts": list(dict.fromkeys(one.name for one in artifacts)),
            "own_settings": [one.title for one in artifacts if one.severity is None],
            "modality": model.plan.modality,
            "seed": request.seed,
            "tta": request.mirror,
            "overlap": model.windows().overlap,
        },
        "cost": Cost(
            seconds=round(sum(one.seconds for one in measured), 1),
            predictions=sum(one.predictions for one in measured),
            memory_mb=max(memory, default=None),
            processes=max(one.processes for one in measured),
            backend=model.backend,
        ),
        "weights": tuple(dict.fromkeys(digest for one in measured for digest in one.weights)),
        "failures": tuple(failures),
        "remarks": remarks,
        "patients": shared_patients(dict.fromkeys(row.case for row in rows), patients),
    }
    return conclude(rows, model.labels.classes, about=about, limits=limits, baseline=baseline)


def _undone(measured: Sequence[Measured]) -> list[str]:
    """A remark on the conditions that were not segmented, as preparation turns them into the clean scan."""
    undone = [title for one in measured for title in one.undone]
    if not undone:
        return []
    names = ", ".join(dict.fromkeys(title.partition(" ")[0] for title in undone))
    return [
        f"{plural(len(undone), 'scan')} under {names} had the clean scan's prediction: preparation undoes the artefact."
    ]
