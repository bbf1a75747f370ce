"""Choose a run's post-processing on its held-out predictions, and ship it: in predictions and model files.

`fold_N/predictions` hold what the model ships. Where the chosen steps change a prediction, the network's own is kept in
`fold_N/predictions_raw`; a choice always starts from there, so choosing again gives the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from vesal.data.case import read_case_label, scan_workers
from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.evaluate.postprocessing.choice_record import PostprocessChoice, save_choice
from vesal.evaluate.postprocessing.choose import choose, too_few
from vesal.evaluate.postprocessing.validation_cases import ValidationCase, ValidationCases
from vesal.files import write_bytes
from vesal.infer.postprocess import Postprocess, nested
from vesal.nn.model_file import load_package, save_package
from vesal.outputs import OutputFolder
from vesal.parallel import Progress, map_in_order
from vesal.run.folder import Run
from vesal.run.held_out import HeldOut, held_out_cases
from vesal.run_files import MODEL
from vesal.volume.io import read_label, write_label
from vesal.volume.volume import LabelMap


def choose_postprocess(run: Run, *, progress: Progress | None = None) -> PostprocessChoice:
    """Choose the steps on all held-out predictions of a run, pooled over its finished folds, and ship them.

    The choice, with all that was tried, is written as postprocess.json and postprocess.md; the steps go into every
    finished fold's model file, and the folds' predictions are made to be what these models give.

    Args:
        run: with at least one finished fold.
        progress: called with (done, total) as cases are read.

    Raises:
        VesalError: the run held nothing out, a held-out case has no prediction, or its truth is not where it was.
    """
    labels = run.dataset().labels
    held = held_out_cases(run)
    patients = len({one.case.patient for one in held})
    # Before any file is read.
    choice = too_few(len(held), patients)
    if choice is None and not nested(labels):
        choice = PostprocessChoice(
            cases=len(held),
            patients=patients,
            reason="Post-processing is not done for regions that overlap without one being part of the other.",
        )
    if choice is None:
        choice = _choose(held, labels, progress)
    steps = choice.postprocess
    workers = scan_workers([one.unprocessed for one in held])
    with ExitStack() as recorded:
        for folder in {one.prediction.parent for one in held}:
            output = recorded.enter_context(OutputFolder(folder))
            for one in held:
                if one.prediction.parent == folder:
                    output.adopt(one.prediction)  # all predictions of a run are its own
        list(map_in_order(lambda one: _ship(one, steps, labels), held, workers=workers))
    for number in run.trained_folds():
        file = run.fold(number) / MODEL
        package = load_package(file)
        wanted = None if steps is None else steps.to_dict()
        if package.postprocess != wanted:
            save_package(file, replace(package, postprocess=wanted))
    save_choice(run.folder, choice)
    return choice


def _choose(held: Sequence[HeldOut], labels: LabelSet, progress: Progress | None) -> PostprocessChoice:
    workers = scan_workers([one.unprocessed for one in held])

    read = map_in_order(lambda one: _read(one, labels), held, workers=workers, progress=progress)
    return choose(ValidationCases(labels, list(read), workers), [one.fold for one in held])


def _read(one: HeldOut, labels: LabelSet) -> ValidationCase:
    """The network's own prediction of a case, and its truth."""
    assert one.case.label is not None
    prediction, truth = read_label(one.unprocessed), read_case_label(one.case)
    if prediction.array.shape != truth.array.shape:
        raise DataError(
            f"The prediction {one.unprocessed} has the shape {prediction.array.shape}, but the truth of {one.case.id} "
            f"{truth.array.shape}; was the scan replaced since?"
        )
    names = one.case.id, one.case.patient
    try:
        maps = labels.encode(prediction.array), labels.encode(truth.array)
    except DataError as error:
        raise DataError(f"{one.case.id}: {error}.") from error
    # On the prediction's grid, which is the scan's: the steps will be done there, and a mask may state no size.
    return ValidationCase.of(names, *maps, prediction.geometry, labels, one.case.annotated)


def _ship(one: HeldOut, steps: Postprocess | None, labels: LabelSet) -> None:
    """Make the prediction what the model gives with these steps; the network's own is kept, or comes back."""
    changed = 0
    if steps is not None:
        own = read_label(one.unprocessed)
        contiguous = labels.encode(own.array)
        changed = steps.apply(contiguous, labels, own.geometry.voxel_volume_mm3)
    if changed:
        if not one.raw.exists():
            write_bytes(one.raw, one.prediction.read_bytes())
        write_label(one.prediction, LabelMap(labels.decode(contiguous), own.geometry))
    elif one.raw.exists():
        write_bytes(one.prediction, one.raw.read_bytes())
        one.raw.unlink()
