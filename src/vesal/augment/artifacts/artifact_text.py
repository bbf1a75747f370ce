"""An artefact in a user's own numbers: `noise=0.03`, `motion=10deg,5px`, `spike=5,0.8..1.2`."""

from __future__ import annotations

import re

from pydantic import ValidationError

from vesal.augment.artifacts.severity import Settings
from vesal.augment.config import ArtifactConfig
from vesal.errors import UsageError

#: What the numbers of an artefact set, in their order; the first alone will do. Each may be a range, a..b.
_FIELDS: dict[str, tuple[str, ...]] = {
    "noise": ("noise_range",),
    "ghosting": ("ghosting_range", "ghosting_period"),
    "bias": ("bias_range",),
    "spike": ("spike_count", "spike_range"),
    "slice": ("slice_count", "slice_range"),
    "blur": ("blur_range",),
    "gamma": ("gamma_range",),
    "contrast": ("contrast_range",),
    "low_resolution": ("low_resolution_range",),
    "anisotropy": ("anisotropy_range",),
    "wrap": ("wrap_range",),
    "scale": ("scale_range",),
    "crop": ("crop_range",),
    "hu_shift": ("hu_shift_range",),
    "streaks": ("streaks_count", "streaks_range"),
}
#: Motion's numbers are told by their units: degrees, voxels or millimetres, and the number of movements.
_UNITS = {"deg": "motion_degrees", "px": "motion_voxels", "mm": "motion_mm", "x": "motion_count"}

_EXAMPLES = {
    "motion": "motion=10deg,5px (also 5mm, and 2x for two movements)",
    "spike": "spike=5,0.8..1.2 (how many, how high)",
    "slice": "slice=3,0.2 (how many, their signal)",
    "flip": "flip=0 (the axis)",
}
_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_VALUE = re.compile(rf"({_NUMBER})(?:\.\.({_NUMBER}))?(deg|px|mm|x)?")


def own_settings(name: str, text: str) -> Settings:
    """Fields of ArtifactConfig (and motion_mm) that `text` sets.

    Raises:
        UsageError: the numbers are not understood, or out of their range.

    >>> own_settings("spike", "5,0.8..1.2")
    {'spike_count': (5, 5), 'spike_range': (0.8, 1.2)}
    >>> own_settings("motion", "10deg,5px")
    {'motion_degrees': (10.0, 10.0), 'motion_voxels': (5.0, 5.0)}
    """
    parts = [_VALUE.fullmatch(part.strip()) for part in text.split(",")]
    example = _EXAMPLES.get(name, f"{name}=0.3 or {name}=0.2..0.4")
    refused = UsageError(f"'{name}={text}' is not understood; write {example}.")
    found: Settings = {}
    for position, part in enumerate(parts):
        if part is None:
            raise refused
        low, high, unit = part.group(1), part.group(2) or part.group(1), part.group(3)
        if name == "flip":
            found["flip_axes"] = (*found.get("flip_axes", ()), int(float(low)))
            continue
        if name == "motion":
            field = _UNITS.get(unit or "")
        else:
            field = None if unit or position >= len(_FIELDS[name]) else _FIELDS[name][position]
        if field is None or field in found:
            raise refused
        whole = field.endswith(("_count", "_period"))
        if whole and not (low.isdigit() and high.isdigit()):
            raise refused
        found[field] = (int(low), int(high)) if whole else (float(low), float(high))
    if name == "motion":
        # What is not named does not happen.
        if "motion_voxels" not in found and "motion_mm" not in found:
            found["motion_voxels"] = (0.0, 0.0)
        found.setdefault("motion_degrees", (0.0, 0.0))
    _check(name, text, found)
    return found


def _check(name: str, text: str, settings: Settings) -> None:
    try:
        ArtifactConfig(**{field: value for field, value in settings.items() if field != "motion_mm"})
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"'{name}={text}' cannot be: {said}.") from error
