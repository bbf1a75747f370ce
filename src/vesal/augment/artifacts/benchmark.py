"""The robustness benchmark: a scan as it was read, and the same scan with one artefact of a chosen severity.

The artefact is applied to the scan itself, on its own grid and in its own intensities, before anything is prepared:
what a scanner would have delivered. All channels have it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vesal.augment.artifacts.artifact_settings import SEVERITIES, ArtifactSettings, Frame, Modality, Patches
from vesal.augment.artifacts.draw import draw_artifacts
from vesal.augment.artifacts.field_of_view import Cropped, Flipped
from vesal.augment.artifacts.registry import ARTIFACTS, ArtifactConfig, artifact_names
from vesal.errors import UsageError, unknown_name
from vesal.volume.volume import Volume

#: Slices so many times as thick as their voxels are wide were measured slice by slice.
_THICK = 2.0


@dataclass(frozen=True)
class Artifact:
    """One artefact, how strong it is, and the kind of scan that it belongs to.

    Attributes:
        name: a key of vesal.augment.artifacts.registry.ARTIFACTS.
        severity: 1 to 5, or None for settings of one's own.
        settings: ranges of its parameters.
        modality: MR or CT.
        text: what a user wrote, for settings of one's own.
    """

    name: str
    severity: int | None
    settings: ArtifactSettings
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
        hidden: (*spatial) bool, voxels that the field of view no longer covers: no prediction of them is scored;
            None for none.
        flipped: the axes along which the patient was turned.
    """

    volume: Volume
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
    return tuple(at(name, severity, modality) for name in artifact_names(modality) for severity in severities)


def at(name: str, severity: int, modality: Modality = "MR") -> Artifact:
    """An artefact of a severity from 1 to 5.

    Raises:
        UsageError: there is no such artefact or severity.
    """
    if name not in artifact_names(modality):
        raise unknown_name("artefact", name, artifact_names(modality))
    if severity not in SEVERITIES:
        raise UsageError(f"A severity is a whole number from 1 to 5, not {severity}.")
    return Artifact(name, severity, ARTIFACTS[name].at(severity), modality)


def parse_artifact(
    text: str, severities: Sequence[int] = SEVERITIES, modality: Modality = "MR"
) -> tuple[Artifact, ...]:
    """What a user writes for an artefact.

    `motion` is all of `severities`, `motion:3` one, `noise=0.03`, `motion=10deg,5px`, `bias=0.3` and
    `spike=5,0.8..1.2` are settings of one's own (`ArtifactSettings.parse`).

    Raises:
        UsageError: no such artefact, or its numbers are not understood.

    >>> [artefact.title for artefact in parse_artifact("motion=10deg,5px")], len(parse_artifact("bias"))
    (['motion=10deg,5px'], 5)
    """
    name, equals, values = text.partition("=")
    name, colon, severity = name.partition(":")
    if name not in artifact_names(modality):
        raise unknown_name("artefact", name, artifact_names(modality))
    if colon:
        if equals or severity not in map(str, SEVERITIES):
            raise UsageError(f"'{text}': a severity is a whole number from 1 to 5, as in {name}:3.")
        return (at(name, int(severity), modality),)
    if not equals:
        return tuple(at(name, severity, modality) for severity in severities)
    return (Artifact(name, None, ARTIFACTS[name].parse(name, values), modality, text),)


def artifact_seed(seed: int, case: str, name: str) -> int:
    """The same for all severities of an artefact in a case: it becomes stronger, its pattern stays.

    >>> artifact_seed(0, "la_003", "noise") == artifact_seed(0, "la_003", "noise") != artifact_seed(0, "la_003", "blur")
    True
    """
    return zlib.crc32(f"{seed}/{case}/{name}".encode())


def applicable(artifacts: Iterable[Artifact], ndim: int) -> tuple[Artifact, ...]:
    """Without those that an image of `ndim` axes cannot have: in a single slice, no other slice fails."""
    return tuple(artifact for artifact in artifacts if artifact.settings.min_dimension <= ndim)


def corrupt(volume: Volume, artifact: Artifact, seed: int) -> Corruption:
    """The scan as it would be with this artefact; the same seed gives the same result.

    Raises:
        UsageError: an artefact that this scan cannot have.
    """
    frame, shape = _frame(volume, artifact.modality), volume.geometry.shape
    if not applicable((artifact,), len(shape)):
        raise UsageError(f"{artifact.title}: an image of one slice has no other slices; leave it out.")
    generator = torch.Generator().manual_seed(seed)
    reverse = bool(torch.rand((), generator=generator) < 0.5)
    settings = artifact.settings.opposite() if reverse else artifact.settings
    config = ArtifactConfig.model_validate({artifact.name: settings})
    record = draw_artifacts(config, Patches(frame, 1, shape), generator)[artifact.name]
    image = torch.from_numpy(np.ascontiguousarray(volume.array, dtype=np.float32))[None]
    with torch.no_grad():
        corrupted = record.apply(image)[0].numpy()
    hidden, flipped = None, ()
    if isinstance(record, Cropped):
        hidden = np.ones(shape, dtype=bool)
        hidden[record.limits(shape, 0)] = False
    if isinstance(record, Flipped):
        flipped = tuple(record.flips[0].nonzero().flatten().tolist())
    return Corruption(Volume(corrupted, volume.geometry), hidden, flipped)


def _frame(volume: Volume, modality: Modality) -> Frame:
    """How the scan lies in the scanner, from its voxels alone."""
    spacing_mm = volume.geometry.spacing_mm
    axes = tuple(range(len(spacing_mm)))
    frame = Frame(volume.channels, spacing_mm, axes, 1.0 if modality == "CT" else None)
    if frame.through is None:
        return frame
    within = tuple(axis for axis in axes if axis != frame.through)
    thick = spacing_mm[frame.through] >= _THICK * min(spacing_mm[axis] for axis in within)
    return replace(frame, plane=within) if thick else frame
