"""How hard an artefact strikes at severities 1 to 5, in numbers that a scanner has.

1 is what a radiologist overlooks, 2 mild, 3 moderate (a report would mention it, the scan is still read), 4 severe,
5 not diagnostic (the scan is repeated). docs/robustness.md says where the numbers come from.
"""

from __future__ import annotations

from typing import Any

import torch

from vesal.augment.config import ArtifactConfig

SEVERITIES = (1, 2, 3, 4, 5)

Settings = dict[str, Any]


def _ranges(field: str, *values: float) -> tuple[Settings, ...]:
    return tuple({field: (value, value)} for value in values)


def _pairs(first: str, second: str, *values: tuple[float, float]) -> tuple[Settings, ...]:
    return tuple({first: (one, one), second: (other, other)} for one, other in values)


def _movements(*values: tuple[float, float, int]) -> tuple[Settings, ...]:
    return tuple(
        {"motion_degrees": (degrees, degrees), "motion_mm": (mm, mm), "motion_count": (count, count)}
        for degrees, mm, count in values
    )


#: Fields of ArtifactConfig at each severity; those in millimetres and shares become voxels and slices by `fitted`.
LEVELS: dict[str, tuple[Settings, ...]] = {
    "noise": _ranges("noise_range", 0.02, 0.04, 0.07, 0.11, 0.16),
    "motion": _movements((1, 1, 1), (2.5, 2.5, 1), (5, 5, 2), (8, 8, 2), (12, 12, 3)),
    "ghosting": _ranges("ghosting_range", 0.1, 0.2, 0.35, 0.55, 0.8),
    "bias": _ranges("bias_range", 0.1, 0.25, 0.4, 0.6, 0.9),
    "spike": _pairs("spike_count", "spike_range", (1, 0.1), (2, 0.15), (3, 0.25), (4, 0.4), (6, 0.6)),
    "slice": _pairs("slice_share", "slice_range", (0.1, 0.6), (0.15, 0.4), (0.2, 0.25), (0.3, 0.1), (0.4, 0.0)),
    "blur": _ranges("blur_range", 0.5, 1.0, 1.5, 2.0, 3.0),
    "gamma": _ranges("gamma_range", 0.15, 0.3, 0.5, 0.7, 1.0),
    "contrast": _ranges("contrast_range", 1.15, 1.35, 1.6, 2.0, 3.0),
    "low_resolution": _ranges("low_resolution_range", 1.5, 2.0, 2.5, 3.0, 4.0),
    "anisotropy": _ranges("anisotropy_range", 1.5, 2.0, 3.0, 4.0, 6.0),
    "wrap": _ranges("wrap_range", 0.05, 0.1, 0.2, 0.3, 0.45),
    "scale": _ranges("scale_range", 1.25, 1.5, 2.0, 4.0, 10.0),
    "crop": _ranges("crop_range", 0.05, 0.1, 0.15, 0.2, 0.3),
    # No order of strength: one axis after the other, then two, then all.
    "flip": tuple({"flip_axes": axes} for axes in ((0,), (1,), (2,), (0, 1), (0, 1, 2))),
    "hu_shift": _ranges("hu_shift_range", 10, 25, 50, 100, 200),
    "streaks": _pairs(
        "streaks_count", "streaks_range", (4, 50), (6, 100), (8, 200), (10, 400), (14, 800)
    ),
}  # fmt: skip

#: Fields that strike in either direction: a number may be negative, a factor below 1.
SIGNED = ("gamma_range", "hu_shift_range")
INVERTED = ("scale_range",)

#: Artefacts of a benchmark, by what was scanned with.
BATTERIES: dict[str, tuple[str, ...]] = {
    "MR": (
        "noise", "motion", "ghosting", "bias", "spike", "slice", "blur", "gamma", "contrast", "low_resolution",
        "anisotropy", "wrap", "scale", "crop", "flip",
    ),
    "CT": (
        "noise", "hu_shift", "streaks", "slice", "blur", "contrast", "low_resolution", "anisotropy", "scale", "crop",
        "flip",
    ),
}  # fmt: skip

#: Not for training: a cropped scan's label shows what cannot be seen, and mirroring has its own switch.
_NOT_LEARNED = ("crop", "flip")


def learnable(modality: str, dimension: int) -> tuple[str, ...]:
    """Artefacts that training draws from.

    A picture of one slice knows no other slices: in 2D the whole picture loses its signal.

    >>> "slice" in learnable("MR", 2), "scale" in learnable("MR", 2)
    (False, True)
    """
    absent = ("slice",) if dimension == 2 else ()
    return tuple(name for name in BATTERIES[modality] if name not in (*_NOT_LEARNED, *absent))


def between(severity: tuple[int, int]) -> Settings:
    """Settings of all artefacts that span these severities, either direction included."""
    found: Settings = {}
    for levels in LEVELS.values():
        chosen = levels[severity[0] - 1 : severity[1]]
        for field in chosen[0]:
            if field == "flip_axes":
                continue
            values = [value for level in chosen for value in level[field]]
            found[field] = (min(values), max(values))
    for field in SIGNED:
        found[field] = (-found[field][1], found[field][1])
    for field in INVERTED:
        found[field] = (1 / found[field][1], found[field][1])
    # A slice that lost its signal is, in 2D, a picture that did: as weak as the weakest slice with any.
    found["scale_range"] = (
        min(found["scale_range"][0], max(0.1, found["slice_range"][0])),
        found["scale_range"][1],
    )
    return found


def directed(settings: Settings, generator: torch.Generator) -> Settings:
    """The same settings, by chance in the other direction where an artefact has two."""
    other = bool(torch.rand((), generator=generator) < 0.5)
    if not other:
        return settings
    turned = {field: (-settings[field][1], -settings[field][0]) for field in SIGNED if field in settings}
    turned |= {
        field: (1 / settings[field][1], 1 / settings[field][0]) for field in INVERTED if field in settings
    }
    return settings | turned


def fitted(settings: Settings, spacing_mm: float, slices: int) -> ArtifactConfig:
    """Settings in voxels and slices.

    Args:
        settings: of `LEVELS` or a user's own.
        spacing_mm: of the voxels within a slice.
        slices: of the scan.
    """
    plain = dict(settings)
    if "motion_mm" in plain:
        plain["motion_voxels"] = tuple(value / spacing_mm for value in plain.pop("motion_mm"))
    if "slice_share" in plain:
        plain["slice_count"] = tuple(
            min(64, max(1, round(share * slices))) for share in plain.pop("slice_share")
        )
    for field in ("motion_count", "spike_count", "streaks_count"):
        if field in plain:
            plain[field] = tuple(int(value) for value in plain[field])
    return ArtifactConfig(**plain)
