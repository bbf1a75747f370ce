"""A shorter run within a longer one, whose first networks are those that the shorter run would have trained.

On a CPU a budget is shared by networks that are trained one after the other, each for 20 minutes (docs/plan.md), with
the seeds that follow: so 80 minutes hold what 40 would have trained, and each network alone is 20 minutes with another
seed.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vesal.files import read_json, read_json_lines, write_json
from vesal.infer.predictor import load_model
from vesal.nn.model_file import Package, load_package, save_package
from vesal.run.folder import SET_UP, Run
from vesal.run_files import FINISHED, FURTHER_NETWORK, METRICS, MODEL, PREDICTIONS, VOTES, fold_folder
from vesal.workflow.choose_postprocess import choose_postprocess
from vesal.workflow.evaluate import score_run
from vesal.workflow.predict import predict_cases
from vesal.workflow.requests.predict_options import PredictOptions


def voters(fold: Path, networks: Sequence[int]) -> list[int]:
    """Those of the first networks that the held-out cases kept, or the one that is asked for.

    Args:
        fold: folder of a fold that came to its end.
        networks: from 1: `[1, 2]` for the first two, `[2]` for the second alone.
    """
    if len(networks) == 1:
        return list(networks)
    tried = read_json(fold / VOTES)[: len(networks)]
    kept = [of["networks"] for of in tried if of["kept"]]
    return list(kept[-1])


def joined(fold: Path, networks: Sequence[int]) -> Package:
    """One model of some networks of a fold."""
    whole = load_package(fold / MODEL)
    packages = {1: whole}
    for number in networks:
        if number != 1:
            packages[number] = load_package(fold / f"{FURTHER_NETWORK}{number}" / MODEL)
    first, *others = networks
    more = tuple(packages[number].weights for number in others)
    return replace(whole, weights=packages[first].weights, more_weights=more)


def steps(fold: Path, networks: Sequence[int] | None = None) -> int:
    """That some networks of a fold took, or all, together."""
    folders = [fold, *sorted(fold.glob(f"{FURTHER_NETWORK}*"))]
    if networks is not None:
        folders = [folders[number - 1] for number in networks]
    return sum(max(row.get("step", 0) for row in read_json_lines(of / METRICS)) for of in folders)


def cut(run: Path, number: int, networks: Sequence[int], out: Path) -> None:
    """Predict and score a fold's held-out scans with some of its networks, in a run folder of their own."""
    source, folder = fold_folder(run, number), fold_folder(out, number)
    folder.mkdir(parents=True, exist_ok=True)
    for name in SET_UP:
        if (run / name).is_file():
            shutil.copyfile(run / name, out / name)
    save_package(folder / MODEL, joined(source, voters(source, networks)))
    model = load_model(folder / MODEL, device="cpu", postprocess=False, quality=False)
    held_out = set(Run(run).folds().validation(number))  # type: ignore[union-attr]
    cases = [case for case in Run(run).dataset().cases if case.id in held_out]
    predict_cases(model, cases, folder / PREDICTIONS, PredictOptions())
    write_json(folder / FINISHED, {"step": steps(source, networks)})
    choose_postprocess(Run(out))
    score_run(Run(out))
