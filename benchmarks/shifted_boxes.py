"""What two stages do with boxes that are wrong: is what is lost by them repaired, and if not, marked for review?

    python -m benchmarks.shifted_boxes RUN [--shifts 4] [--out FILE]

Each held-out case of the run is segmented in its own box; in that box shifted by a quarter and by half of its sides, in
directions drawn by a seed; and, from its beginning, after its field of view was cut at either end of each axis so that
a quarter or half of the organ's length is lost.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vesal.data.case import read_case
from vesal.data.crop import Box, mask_box
from vesal.files import write_json
from vesal.infer.model import Model
from vesal.infer.predictor import load_model
from vesal.preprocessing.prepare import prepare
from vesal.run.folder import Run
from vesal.run.held_out import held_out_cases
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume

#: A result with a lower Dice is to be marked.
POOR = 0.8


class Trial(NamedTuple):
    """One segmentation: of which case, in what box, its Dice of all classes together, and why it was marked."""

    case: str
    change: str
    dice: float
    concern: str


def shifted(box: Box, share: float, shape: Sequence[int], generator: np.random.Generator) -> Box:
    """The box moved by this share of its sides along one to three axes, and cut by the scan."""
    moved = generator.choice([-1, 0, 1], 3)
    while not moved.any():
        moved = generator.choice([-1, 0, 1], 3)
    by = [round(step * share * (b - a)) for step, a, b in zip(moved.tolist(), *box, strict=True)]
    start = tuple(min(max(0, a + d), size - 1) for a, d, size in zip(box[0], by, shape, strict=True))
    stop = tuple(
        min(max(first + 1, b + d), size) for b, d, size, first in zip(box[1], by, shape, start, strict=True)
    )
    return start, stop


def cut_field(
    volume: Volume, label: NDArray[np.bool_], axis: int, share: float, end: str
) -> tuple[Volume, NDArray[np.bool_]]:
    """The scan without an end ("first", "last") of an axis, so that this share of the organ's length is lost."""
    box = mask_box(label)
    assert box is not None
    lost = round(share * (box[1][axis] - box[0][axis]))
    kept_of_axis = slice(box[0][axis] + lost, None) if end == "first" else slice(0, box[1][axis] - lost)
    part = [slice(None)] * label.ndim
    part[axis] = kept_of_axis
    grid = volume.geometry
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, axis] * kept_of_axis.start
    kept = label[tuple(part)]
    return Volume(volume.array[(slice(None), *part)], Geometry(kept.shape, affine)), kept


def trials(model: Model, case: str, volume: Volume, truth: NDArray[np.bool_], shifts: int) -> Iterator[Trial]:
    """Of one case; `truth` is on the scan's own grid."""
    generator = np.random.default_rng(len(case) + sum(map(ord, case)))
    windows = model.windows()
    grid = volume.geometry

    def within(box: Box, change: str) -> Trial:
        label, last = model.segment_within(volume, prepare(volume, model.plan, box=box), windows)
        return Trial(case, change, _dice(model.labels.encode(label.array) > 0, truth), last.concern)

    assert model.locator is not None
    box = model.locator.locate(volume, model.plan.margin_mm).box
    shape = grid.turned(grid.turn_to_ras()).shape
    if box is not None:
        yield within(box, "none")
        for share in (0.25, 0.5):
            for _ in range(shifts):
                yield within(shifted(box, share, shape, generator), f"box shifted by {share:.0%}")
    for share in (0.25, 0.5):
        for axis, end in itertools.product(range(3), ("first", "last")):
            part, kept = cut_field(volume, truth, axis, share, end)
            found = model.predict(part)
            dice = _dice(model.labels.encode(found.label.array) > 0, kept)
            yield Trial(case, f"field of view cut by {share:.0%} of the organ", dice, found.concern)


def table(found: Sequence[Trial]) -> str:
    """Markdown: by change, how many, their Dice, how many are poor and how many of these are marked."""
    lines = [
        "| change | trials | median Dice | under 0.8 | of these marked | others marked |",
        "|---|---|---|---|---|---|",
    ]
    for change in dict.fromkeys(trial.change for trial in found):
        own = [trial for trial in found if trial.change == change]
        poor = [trial for trial in own if trial.dice < POOR]
        rest = [trial for trial in own if trial.dice >= POOR]
        marked = [sum(bool(trial.concern) for trial in group) for group in (poor, rest)]
        median = np.median([trial.dice for trial in own])
        lines.append(
            f"| {change} | {len(own)} | {median:.3f} | {len(poor)} | {marked[0]} | {marked[1]} of {len(rest)} |"
        )
    return "\n".join(lines)


def _dice(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> float:
    total = np.count_nonzero(one) + np.count_nonzero(two)
    return 2 * np.count_nonzero(one & two) / total if total else 1.0


def main(arguments: Sequence[str]) -> None:
    """Print the table, and write every trial where that is wanted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--shifts", type=int, default=4, help="of each size, of a case")
    parser.add_argument("--out", type=Path, help="JSON of every trial")
    asked = parser.parse_args(arguments)
    run = Run(asked.run)
    found: list[Trial] = []
    for held in held_out_cases(run):
        model = load_model(run.fold(held.fold), device="cpu", postprocess=False)
        raw = read_case(held.case)
        assert raw.label is not None
        truth = model.labels.encode(raw.label.array) > 0
        found += trials(model, held.case.id, raw.image, truth, asked.shifts)
        if asked.out is not None:
            write_json(asked.out, [trial._asdict() for trial in found])
    print(table(found))


if __name__ == "__main__":
    main(sys.argv[1:])
