"""What all artefacts of acquisition share: their settings, severities, text form, and the patches they are drawn for.

The words of the severities are those of a reader who judges a scan: 1 is overlooked, 2 is mild, 3 is moderate (a
report would mention it, the scan is still read), 4 is severe, 5 is not diagnostic (the scan is repeated).
docs/robustness.md says where the numbers come from.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from vesal.augment.intensity import Intensity
from vesal.augment.random_parameters import happens, log_uniform, uniform, whole
from vesal.augment.ranges import Probability
from vesal.errors import UsageError, reason_of

Modality = Literal["MR", "CT"]

SEVERITIES = (1, 2, 3, 4, 5)

_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_VALUE = re.compile(rf"({_NUMBER})(?:\.\.({_NUMBER}))?([a-z]*)")

#: A number of an artefact's text form: low, high, unit.
Number = tuple[float, float, str]


@dataclass(frozen=True)
class Frame:
    """How patches lie in the scanner.

    Attributes:
        channels: of the scan.
        spacing_mm: along the patch's axes.
        plane: axes in which the scan was measured: those within thick slices, or all.
        hu: in CT, the Hounsfield units of one unit of intensity; None in a scan of another kind.
    """

    channels: int
    spacing_mm: tuple[float, ...]
    plane: tuple[int, ...]
    hu: float | None = None

    @property
    def modality(self) -> Modality:
        """CT, or MR for all else."""
        return "MR" if self.hu is None else "CT"

    @property
    def through(self) -> int | None:
        """The axis through the slices: the coarsest of three, the last of several; None in a 2D image."""
        if len(self.spacing_mm) < 3:
            return None
        return max(range(3), key=lambda axis: (self.spacing_mm[axis], axis))


@dataclass(frozen=True)
class Patches:
    """What an artefact is drawn for.

    Attributes:
        frame: how the patches lie in the scanner.
        n: number of samples.
        shape: of a patch, (*S).
        probability: that a sample has the artefact.
        channel_probability: that a channel of such a sample has it, in scans of several channels.
        samples: (N,) bool, which samples have it, where that was drawn already.
    """

    frame: Frame
    n: int
    shape: tuple[int, ...]
    probability: float = 1.0
    channel_probability: float = 1.0
    samples: Tensor | None = None

    @property
    def extent_mm(self) -> tuple[float, ...]:
        """Of a patch along the axes of the plane."""
        return tuple(self.frame.spacing_mm[axis] * self.shape[axis] for axis in self.frame.plane)

    @property
    def within(self) -> Tensor:
        """(D,) bool: the axes of the plane."""
        return torch.tensor([axis in self.frame.plane for axis in range(len(self.shape))])

    def chosen_samples(self, generator: torch.Generator) -> Tensor:
        """(N,) bool: which samples have the artefact."""
        drawn = happens((self.n, 1), self.probability, generator)[:, 0]
        return drawn if self.samples is None else self.samples

    def chosen(self, generator: torch.Generator) -> Tensor:
        """(N, C) bool: which channels of which samples have the artefact."""
        within = 1.0 if self.frame.channels == 1 else self.channel_probability
        samples = self.chosen_samples(generator)[:, None]
        return samples & happens((self.n, self.frame.channels), within, generator)

    def amount(self, limits: tuple[float, float], generator: torch.Generator) -> Tensor:
        """(N, C) float32, uniform; 0 where a channel does not have the artefact."""
        drawn = uniform((self.n, self.frame.channels), limits, generator)
        return drawn * self.chosen(generator)

    def factor(self, limits: tuple[float, float], generator: torch.Generator) -> Tensor:
        """(N, C) float32, uniform in its logarithm; 1 where a channel does not have the artefact."""
        drawn = log_uniform((self.n, self.frame.channels), limits, generator)
        return torch.where(self.chosen(generator), drawn, torch.ones(()))

    def axis(self, generator: torch.Generator) -> Tensor:
        """(N,) int64: one of the plane's axes a sample."""
        return torch.tensor(self.frame.plane)[whole((self.n,), (0, len(self.frame.plane) - 1), generator)]

    def first(self, limits: tuple[int, int], generator: torch.Generator) -> Tensor:
        """(N, high) bool: the first few of each row, as many as are drawn."""
        count = whole((self.n, 1), limits, generator)
        return torch.arange(limits[1])[None] < count


class ArtifactSettings(BaseModel):
    """Probability and ranges of one artefact, and what is known about it.

    A subclass has the fields that a user may set, the class variables below, and `draw`. It is registered by a line in
    vesal.augment.artifacts.registry.

    Attributes:
        acts: place in the chain of acquisition, the lowest first: patient (0), coil (10), resolution (20), lines of
            k-space (30), receiver (40), slices and reconstruction (50), intensities of the image (60), coverage (70).
        severities: field -> its values at severities 1 to 5; a number is a range of this one value.
        written: the fields that the numbers of the text form set, in their order, where they are not those of
            `severities`; the first alone will do.
        modalities: kinds of scan whose benchmark has it; where MR is not among them it needs Hounsfield units.
        min_dimension: 3 for what happens to one slice among others.
        learned: whether training with `ArtifactConfig.share` draws it.
        signed: whether the sign of the first field of `severities` is its direction.
        together: whether `ArtifactConfig.probability` sets its probability.
        loses_signal: whether it leaves a slice with another signal than the rest of its scan, which no normalisation
            of the scan undoes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    acts: ClassVar[int]
    severities: ClassVar[dict[str, tuple[Any, ...]]]
    written: ClassVar[tuple[str, ...]] = ()
    modalities: ClassVar[tuple[Modality, ...]] = ("MR", "CT")
    min_dimension: ClassVar[int] = 2
    learned: ClassVar[bool] = True
    signed: ClassVar[bool] = False
    together: ClassVar[bool] = False
    loses_signal: ClassVar[bool] = False

    probability: Probability = 0.0
    """Probability that a sample has this artefact."""

    def draw(self, patches: Patches, generator: torch.Generator) -> Intensity:
        """The random parameters of one batch, from a generator of the CPU."""
        raise NotImplementedError

    def opposite(self) -> Self:
        """The same strength in the other direction; itself where there is one direction only."""
        if not self.signed:
            return self
        field = next(iter(self.severities))
        low, high = getattr(self, field)
        return self.model_copy(update={field: (-high, -low)})

    @classmethod
    def possible(cls, frame: Frame) -> bool:
        """Whether such scans can have it: one slice has no other slices, and only CT has Hounsfield units."""
        return len(frame.spacing_mm) >= cls.min_dimension and (frame.hu is not None or "MR" in cls.modalities)

    @classmethod
    def at(cls, severity: int) -> Self:
        """The settings of a severity from 1 to 5; the probability is 1."""
        values = {field: of[severity - 1] for field, of in cls.severities.items()}
        ranges = {field: of if isinstance(of, tuple) else (of, of) for field, of in values.items()}
        return cls(probability=1.0, **ranges)

    @classmethod
    def spanning(cls, severity: tuple[int, int]) -> Self:
        """Ranges from the one severity to the other, in both directions; the probability is 1."""
        levels = [cls.at(each) for each in range(severity[0], severity[1] + 1)]
        levels += [level.opposite() for level in levels]
        values = {
            field: [end for level in levels for end in getattr(level, field)] for field in cls.severities
        }
        return cls(probability=1.0, **{field: (min(of), max(of)) for field, of in values.items()})

    def text(self) -> str:
        """The text form, such as `5,0.8..1.2`."""
        return ",".join(range_text(getattr(self, field)) for field in self.written or self.severities)

    @classmethod
    def parse(cls, name: str, text: str) -> Self:
        """The settings of a text form, with probability 1.

        Args:
            name: of the artefact.
            text: numbers or ranges a..b, separated by commas.

        Raises:
            UsageError: the numbers are not understood, or out of their range.
        """
        usage = f"write {name}={cls.at(3).text()} or {name}={cls.spanning((2, 4)).text()}"
        matches = [_VALUE.fullmatch(part.strip()) for part in text.split(",")]
        numbers = [(float(each[1]), float(each[2] or each[1]), each[3]) for each in matches if each]
        values = cls.from_numbers(numbers) if len(numbers) == len(matches) else None
        if values is None:
            raise UsageError(f"'{name}={text}' is not understood; {usage}.")
        try:
            return cls(probability=1.0, **values)
        except ValidationError as error:
            raise UsageError(f"'{name}={text}' cannot be: {reason_of(error)}; {usage}.") from error

    @classmethod
    def from_numbers(cls, numbers: list[Number]) -> dict[str, Any] | None:
        """Fields and their ranges that the numbers of a text form set; None where they cannot be understood."""
        fields = cls.written or tuple(cls.severities)
        if len(numbers) > len(fields) or any(unit for *_, unit in numbers):
            return None
        return {field: (low, high) for field, (low, high, _) in zip(fields, numbers, strict=False)}


def range_text(limits: tuple[float, float], unit: str = "") -> str:
    """A range in the text form.

    >>> range_text((0.8, 1.2)), range_text((5, 5), "deg")
    ('0.8..1.2', '5deg')
    """
    low, high = limits
    return f"{low:.10g}{unit}" if low == high else f"{low:.10g}..{high:.10g}{unit}"
