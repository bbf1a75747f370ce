"""The plan of a model for other data: what its weights were learned with stays, channels and labels are the data's."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import ValidationError

from vesal.data.crop import in_order
from vesal.data.fingerprint import Fingerprint
from vesal.data.labels import LabelSet
from vesal.errors import UsageError, reason_of
from vesal.planning.axes import lateral_axis
from vesal.planning.plan import Normalisation, Plan
from vesal.planning.planner import check_cases, choose_normalisation
from vesal.planning.settings import PlanSettings
from vesal.planning.two_stages import foreground_alone, label_gaps, label_sizes
from vesal.text import listed, times

#: What of the plan a person may still choose, for it changes no weight.
STILL_CHOSEN = ("batch", "patch")


def adapted_plan(
    model: Plan, source: str, fingerprint: Fingerprint, labels: LabelSet, settings: PlanSettings | None = None
) -> Plan:
    """A model's plan for other data, one network alone; of two stages the coarse one's likewise.

    Spacing, network, patch, batch and mirrored axes are the model's. A channel of a name that the model knows is
    normalised as there; where it knows none of the names, all are as the model's channels are, if those are all alike;
    any other as the planner would.

    Args:
        model: its plan.
        source: its file, for the reasons.
        fingerprint, labels: of the data.
        settings: of which batch and patch alone count; a patch is enlarged to a multiple of the strides.

    Raises:
        DataError: no case can be read.
        UsageError: the scans have another number of axes than the model's, or the patch.
    """
    asked = settings or PlanSettings()
    cases = check_cases(fingerprint)
    axes = len(cases[0].ras_shape)
    if axes != model.scan_dimension:
        raise UsageError(
            f"{source} was trained on {model.scan_dimension}D scans and these are {axes}D; take a model of such scans."
        )
    normalisation, reasons = _normalisation(model, fingerprint)
    if model.labels.regions and all(len(region.members) == 1 for region in model.labels.regions):
        labels = labels.as_regions()
    own: dict[str, Any] = {
        "channels": fingerprint.channels,
        "normalisation": normalisation,
        "pixel_mm": fingerprint.pixel_mm,
    }
    changes = {**own, "labels": labels, "networks": 1, **_chosen(model, asked)}
    if model.locator is None:
        sizes = [
            in_order(tuple(np.multiply(case.crop_shape, case.ras_spacing_mm)), model.slice_axis, first=0.0)
            for case in cases
        ]
        median = np.median(np.array(sizes)[:, -model.dimension :], axis=0) / model.spacing_mm
        changes["median_shape"] = tuple(max(1, round(float(size))) for size in median)
    else:
        coarse = {**own, "labels": foreground_alone(labels)}
        changes["locator"] = _changed(model.locator, coarse)
        changes["label_sizes"] = label_sizes(cases)
        changes["label_gaps_mm"] = label_gaps(cases)
    first = (
        f"Spacing {times(model.spacing_mm, 3)} mm, network, patch {times(changes.get('patch', model.patch))} and "
        f"mirrored axes are those of {source}."
    )
    changes["reasons"] = (first, *reasons)
    found = _changed(model, changes)
    if found.rules == "nnunet" and (labels.swaps or labels.one_sided):
        # Axes are mirrored there without swapping labels; a training of ours swaps them.
        kept = tuple(axis for axis in found.mirror_axes if axis != lateral_axis(found))
        found = _changed(found, {"mirror_axes": kept})
    return found


def _chosen(model: Plan, asked: PlanSettings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if asked.batch is not None:
        found["batch"] = asked.batch
    if asked.patch is not None:
        if len(asked.patch) != model.dimension:
            raise UsageError(f"The patch {asked.patch} needs {model.dimension} numbers, one an axis.")
        found["patch"] = tuple(
            -(-size // step) * step for size, step in zip(asked.patch, model.total_stride, strict=True)
        )
    return found


def _normalisation(model: Plan, fingerprint: Fingerprint) -> tuple[tuple[Normalisation, ...], list[str]]:
    """Of each channel of the data, and why, a sentence each."""
    known = {
        name.strip().casefold(): how for name, how in zip(model.channels, model.normalisation, strict=True)
    }
    names = [name.strip().casefold() for name in fingerprint.channels]
    alike = len({how.model_dump_json() for how in model.normalisation}) == 1
    if not known.keys() & set(names) and alike:
        how = model.normalisation[0]
        return (how,) * len(names), [
            f"Intensities by {how.scheme} with the model's numbers: no channel has a name of the model's."
        ]
    planned, usual = list[str](), choose_normalisation(fingerprint, None, [])
    chosen = []
    for place, name in enumerate(names):
        if name not in known:
            planned.append(f"{fingerprint.channels[place]} ({usual[place].scheme})")
        chosen.append(known.get(name, usual[place]))
    taken = [name for name, key in zip(fingerprint.channels, names, strict=True) if key in known]
    reasons = [f"Intensities of {listed(taken, 6)} as in the model."] if taken else []
    return tuple(chosen), reasons + [f"Planned for these scans: intensities of {listed(planned, 6)}."] * bool(
        planned
    )


def _changed(plan: Plan, changes: dict[str, Any]) -> Plan:
    """The plan with these fields, checked.

    Raises:
        UsageError: they do not go together.
    """
    try:
        return Plan.model_validate({**{name: getattr(plan, name) for name in Plan.model_fields}, **changes})
    except ValidationError as error:
        raise UsageError(f"The model's plan does not suit these data ({reason_of(error)}).") from error
