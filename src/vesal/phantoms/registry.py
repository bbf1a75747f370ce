"""Synthetic scans with exact truth: for the demo, for tests, and to see whether a pipeline can be trusted.

Every scan follows from its kind, its seed and its size alone. Sizes of organs, their place, shape and contrast,
spacing, tilt and stored orientation differ from seed to seed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.errors import DataError, UsageError, unknown_name
from vesal.files import read_json, write_json
from vesal.outputs import OutputFolder, check_folder, holds_something
from vesal.parallel import Progress, map_in_order
from vesal.phantoms import brain_tumour, heart, lung_tumour, short_axis
from vesal.phantoms.canvas import Field
from vesal.volume.geometry import Geometry
from vesal.volume.io import is_readable, write_label, write_volume
from vesal.volume.volume import LabelMap, Volume

Size = tuple[int, int, int]
Draw = Callable[[np.random.Generator, Size], tuple[Field, NDArray[np.uint8], Geometry]]


@dataclass(frozen=True)
class Kind:
    """What a phantom imitates.

    Attributes:
        about: one line of description.
        channels: their names; "CT" is in Hounsfield units.
        values: label name -> value in the file.
        size: typical voxels along right/left, anterior/posterior, superior/inferior.
        vary: how far each of these differs from case to case when no size is asked for.
        draw: (generator, size) -> image (C, X, Y, Z), label (X, Y, Z), grid.
        regions: overlapping unions of labels, outer before inner.
    """

    about: str
    channels: tuple[str, ...]
    values: Mapping[str, int]
    size: Size
    vary: Size
    draw: Draw
    regions: Mapping[str, Sequence[str]] = field(default_factory=dict)


KINDS: dict[str, Kind] = {
    "heart": Kind(
        "chest MRI with bright blood; the left atrium is labelled",
        ("MRI",), heart.VALUES, heart.SIZE, (4, 4, 4), heart.draw,
    ),
    "short-axis": Kind(
        "cine MRI across the heart in thick slices; both ventricles and the myocardium are labelled",
        ("MRI",), short_axis.VALUES, short_axis.SIZE, (8, 8, 2), short_axis.draw,
    ),
    "brain-tumour": Kind(
        "skull-stripped MRI in four contrasts; oedema, necrotic core and enhancing tumour are labelled",
        brain_tumour.CHANNELS, brain_tumour.VALUES, brain_tumour.SIZE, (0, 0, 0),
        brain_tumour.draw, brain_tumour.REGIONS,
    ),
    "lung-tumour": Kind(
        "chest CT; one tumour in or at the lung is labelled",
        ("CT",), lung_tumour.VALUES, lung_tumour.SIZE, (0, 0, 8), lung_tumour.draw,
    ),
}  # fmt: skip

#: Raised whenever the same seed begins to give other voxels, so that no folder mixes two generations.
GENERATION = 2

_SMALLEST = 4
_MARK = "phantom.json"
_SEEDS = 100_000  # cases of one data set draw from seed * _SEEDS + number, held-out ones from half way


def make_phantom(kind: str, seed: int, *, size: Sequence[int] | None = None) -> tuple[Volume, LabelMap]:
    """One synthetic scan and its truth.

    Args:
        kind: a key of KINDS.
        seed: not negative; the same seed gives the same voxels, bit for bit.
        size: voxels along the three array axes, which lie nearest to right/left, anterior/posterior and
            superior/inferior; the field of view stays, so fewer voxels are larger. By default typical of the kind.

    Returns:
        The image, float32 whole numbers (C, X, Y, Z), and its label map, uint8 (X, Y, Z), on the same grid.

    Raises:
        UsageError: there is no such kind, or the seed or the size is impossible.

    >>> scan, truth = make_phantom("heart", 7, size=(24, 20, 16))
    >>> scan.array.shape, int(truth.array.max())
    ((1, 24, 20, 16), 1)
    """
    if kind not in KINDS:
        raise unknown_name("phantom", kind, KINDS)
    if seed < 0:
        raise UsageError(f"A phantom's seed is {seed}; give 0 or a larger number.")
    wanted = KINDS[kind]
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
    vary = [int(rng.integers(-reach, reach + 1)) for reach in wanted.vary]
    if size is None:
        x, y, z = (typical + change for typical, change in zip(wanted.size, vary, strict=True))
    elif len(size) != 3 or min(size) < _SMALLEST:
        raise UsageError(f"A phantom's size is {tuple(size)}; give three numbers of at least {_SMALLEST}.")
    else:
        x, y, z = (int(voxels) for voxels in size)
    image, label, geometry = wanted.draw(rng, (x, y, z))
    return Volume(np.rint(image).astype(np.float32), geometry), LabelMap(label, geometry)


def write_phantoms(
    folder: str | Path,
    kind: str,
    cases: int,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Write a data set of phantoms in the layout of the Medical Segmentation Decathlon; return its folder.

    Beside imagesTr and labelsTr there are held-out scans in imagesTs, a quarter as many and at least two, and, as no
    real challenge would do, their truth in labelsTs.

    A stopped writing goes on where it was when it is called again with the same arguments; what is damaged is drawn
    anew, and dataset.json comes last.

    Args:
        folder: new, empty, or begun by this function with the same arguments.
        kind: a key of KINDS.
        cases: labelled scans to train on.
        seed: of the whole data set.
        progress: called after each scan.

    Raises:
        UsageError: the arguments are impossible; or a file would be replaced that was put there, or changed since.
        DataError: the folder holds something else.
    """
    if kind not in KINDS:
        raise unknown_name("phantom", kind, KINDS)
    held_out = max(2, cases // 4)
    if not 0 < cases < _SEEDS // 2 or seed < 0:
        raise UsageError(f"{cases} cases, seed {seed}: give at least one case and no negative number.")
    folder = Path(folder)
    mark = {"kind": kind, "seed": seed, "cases": cases, "held_out": held_out, "generation": GENERATION}
    _claim(folder, mark)
    jobs = [(f"{kind}-{i + 1:03d}", "Tr", seed * _SEEDS + i) for i in range(cases)]
    jobs += [(f"{kind}-{cases + i + 1:03d}", "Ts", (2 * seed + 1) * _SEEDS // 2 + i) for i in range(held_out)]

    def files(job: tuple[str, str, int]) -> tuple[Path, Path]:
        name, part, _ = job
        return folder / f"images{part}/{name}.nii.gz", folder / f"labels{part}/{name}.nii.gz"

    output = OutputFolder(folder)
    described = folder / "dataset.json"
    waiting = [job for job in jobs if not all(output.is_ours(path) for path in files(job))]
    output.refuse([*(path for job in waiting for path in files(job)), described], is_readable)

    def write(job: tuple[str, str, int]) -> None:
        volume, truth = make_phantom(kind, job[2])
        image, label = files(job)
        write_volume(image, Volume(volume.array.astype(np.int16), volume.geometry))
        write_label(label, truth)

    with output:
        for _ in map_in_order(write, waiting, progress=progress):
            pass
        write_json(described, _description(kind, jobs))
    return folder


def _claim(folder: Path, mark: dict[str, Any]) -> None:
    """Make the folder ours, or see that it is."""
    check_folder(folder)
    if (folder / _MARK).is_file():
        found = read_json(folder / _MARK)
        if found != mark:
            raise DataError(
                f"{folder} holds phantoms of another making ({found}, now {mark}); "
                "give the same arguments or name a new folder."
            )
    elif holds_something(folder):
        raise DataError(f"{folder} is not empty and holds no phantoms; name a new folder.")
    else:
        write_json(folder / _MARK, mark)


def _description(kind: str, jobs: Sequence[tuple[str, str, int]]) -> dict[str, Any]:
    """The Decathlon's dataset.json; `regions` is ours."""
    wanted = KINDS[kind]
    training = [name for name, part, _ in jobs if part == "Tr"]
    test = [name for name, part, _ in jobs if part == "Ts"]
    description: dict[str, Any] = {
        "name": f"phantom-{kind}",
        "description": f"Synthetic: {wanted.about}",
        "tensorImageSize": "4D" if len(wanted.channels) > 1 else "3D",
        "modality": {str(i): name for i, name in enumerate(wanted.channels)},
        "labels": {str(value): name for name, value in wanted.values.items()},
        "numTraining": len(training),
        "numTest": len(test),
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in training
        ],
        "test": [f"./imagesTs/{name}.nii.gz" for name in test],
    }
    if wanted.regions:
        description["regions"] = {name: list(members) for name, members in wanted.regions.items()}
    return description
