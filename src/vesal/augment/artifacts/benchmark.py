"""The robustness benchmark: a scan as it was read, and the same scan with one artefact of a chosen severity.

An artefact strikes the scan itself, on its own grid and in its own intensities, before anything is prepared: what a
scanner would have delivered. All its channels suffer it. The numbers behind a severity are in
vesal.augment.artifacts.severity, what an artefact does in vesal.augment.artifacts.signal.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from vesal.augment.artifacts.artifact_text import own_settings
from vesal.augment.artifacts.draw import Frame, draw_artifacts
from vesal.augment.artifacts.field_of_view import Cropped, Flipped
from vesal.augment.artifacts.severity import BATTERIES, LEVELS, SEVERITIES, directed, fitted
from vesal.augment.random_parameters import record_to_dict
from vesal.errors import UsageError, unknown_name
from vesal.volume.volume import Volume

Modality = Literal["MR", "CT"]

#: Slices so many times as thick as their voxels are wide were measured slice by slice.
_THICK = 2.0


@dataclass(frozen=True)
class Artifact:
    """One artefact, how hard it strikes, and the kind of scan that it strikes.

    Attributes:
        name: a key of vesal.augment.artifacts.severity.LEVELS.
        severity: 1 to 5, or None for settings of one's own.
        settings: fields of ArtifactConfig, or those of LEVELS in millimetres and shares.
        modality: MR or CT.
        text: what a user wrote, where settings are his own.
    """

    name: str
    severity: int | None
    settings: Mapping[str, Any]
    modality: Modality = "MR"
    text: str = ""

    @property
    def title(self) -> str:
        """Such as 'noise 3' or 'noise=0.03'."""
        return self.text if self.severity is None else f"{self.name} {self.severity}"


@dataclass(frozen=True, eq=False)
class Corruption:
    """A corrupted scan.

    Attributes:
        volume: float32, on the same grid as before.
        parameters: the record of what was done, as JSON values.
        hidden: (*spatial) bool, voxels that the field of view no longer covers: no prediction of them is judged;
            None for none.
        flipped: the axes along which the patient was turned.
    """

    volume: Volume
    parameters: dict[str, Any]
    hidden: NDArray[np.bool_] | None = None
    flipped: tuple[int, ...] = ()

    def restore(self, label: NDArray[Any]) -> NDArray[Any]:
        """A label map (*spatial) of the corrupted scan -> where the same tissue lies in the clean one."""
        return np.flip(label, self.flipped) if self.flipped else label


def benchmark(modality: Modality, severities: Sequence[int] = SEVERITIES) -> tuple[Artifact, ...]:
    """Every artefact of a kind of scan, at every severity.

    >>> [artefact.title for artefact in benchmark("CT", (3,))][:3]
    ['noise 3', 'hu_shift 3', 'streaks 3']
    """
    return tuple(at(name, severity, modality) for name in BATTERIES[modality] for severity in severities)


def at(name: str, severity: int, modality: Modality = "MR") -> Artifact:
    """An artefact of a severity from 1 to 5.

    Raises:
        UsageError: there is no such artefact or severity.
    """
    if name not in BATTERIES[modality]:
        raise unknown_name("artefact", name, BATTERIES[modality])
    if severity not in SEVERITIES:
        raise UsageError(f"A severity is a whole number from 1 to 5, not {severity}.")
    return Artifact(name, severity, LEVELS[name][severity - 1], modality)


def parse_artifact(
    text: str, severities: Sequence[int] = SEVERITIES, modality: Modality = "MR"
) -> tuple[Artifact, ...]:
    """What a user writes for an artefact.

    `motion` is all of `severities`, `motion:3` one, `noise=0.03`, `motion=10deg,5px`, `bias=0.3` and
    `spike=5,0.8..1.2` are settings of one's own (vesal.augment.artifacts.artifact_text).

    Raises:
        UsageError: no such artefact, or its numbers are not understood.

    >>> [artefact.title for artefact in parse_artifact("motion=10deg,5px")], len(parse_artifact("bias"))
    (['motion=10deg,5px'], 5)
    """
    name, equals, values = text.partition("=")
    name, colon, severity = name.partition(":")
    if name not in BATTERIES[modality]:
        raise unknown_name("artefact", name, BATTERIES[modality])
    if colon:
        if equals or severity not in map(str, SEVERITIES):
            raise UsageError(f"'{text}': a severity is a whole number from 1 to 5, as in {name}:3.")
        return (at(name, int(severity), modality),)
    if not equals:
        return tuple(at(name, severity, modality) for severity in severities)
    return (Artifact(name, None, own_settings(name, values), modality, text),)


def artifact_seed(seed: int, case: str, name: str) -> int:
    """The same for all severities of an artefact in a case: the damage grows, its pattern stays.

    >>> artifact_seed(0, "la_003", "noise") == artifact_seed(0, "la_003", "noise") != artifact_seed(0, "la_003", "blur")
    True
    """
    return zlib.crc32(f"{seed}/{case}/{name}".encode())


def applicable(artifacts: Iterable[Artifact], ndim: int) -> tuple[Artifact, ...]:
    """Without those that a picture of `ndim` axes cannot suffer: in a single slice, no other slice fails."""
    return tuple(artifact for artifact in artifacts if not (artifact.name == "slice" and ndim == 2))


def corrupt(volume: Volume, artifact: Artifact, seed: int) -> Corruption:
    """The scan as it would be with this artefact; the same seed gives the same damage.

    Raises:
        UsageError: an artefact that this scan cannot suffer.
    """
    frame, shape = _frame(volume, artifact.modality), volume.geometry.shape
    if not applicable((artifact,), len(shape)):
        raise UsageError(f"{artifact.title}: a picture of one slice has no other slices; leave it out.")
    generator = torch.Generator().manual_seed(seed)
    slices = 1 if frame.through is None else shape[frame.through]
    settings = directed({**artifact.settings, f"{artifact.name}_chance": 1.0}, generator)
    if "flip_axes" in settings:
        settings["flip_axes"] = tuple(axis for axis in settings["flip_axes"] if axis < len(shape))
    config = fitted(settings, frame.step_mm, slices)
    record = draw_artifacts(config, frame, 1, shape, generator)[artifact.name]
    image = torch.from_numpy(np.ascontiguousarray(volume.array, dtype=np.float32))[None]
    with torch.no_grad():
        corrupted = record.apply(image)[0].numpy()
    hidden, flipped = None, ()
    if isinstance(record, Cropped):
        hidden = np.ones(shape, dtype=bool)
        hidden[record.limits(shape, 0)] = False
    if isinstance(record, Flipped):
        flipped = tuple(record.flips[0].nonzero().flatten().tolist())
    return Corruption(Volume(corrupted, volume.geometry), record_to_dict(record), hidden, flipped)


def _frame(volume: Volume, modality: Modality) -> Frame:
    """How the scan lies in the scanner, from its voxels alone."""
    spacing_mm = volume.geometry.spacing_mm
    axes = tuple(range(len(spacing_mm)))
    plane = axes
    if len(axes) == 3:
        coarsest = max(axes, key=lambda axis: (spacing_mm[axis], axis))
        others = tuple(axis for axis in axes if axis != coarsest)
        if spacing_mm[coarsest] >= _THICK * min(spacing_mm[axis] for axis in others):
            plane = others
    return Frame(volume.channels, spacing_mm, plane, 1.0 if modality == "CT" else None)
