"""From a fingerprint, a budget and a device to a plan: arithmetic only. The rules and their sources: docs/plan.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vesal.data.crop import in_order
from vesal.data.fingerprint import CaseRecord, Fingerprint
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError
from vesal.planning.axes import ANISOTROPIC
from vesal.planning.cost import Network
from vesal.planning.patch_size import (
    BATCH,
    CLASS_VOXELS,
    COVERAGE,
    CPU_BUDGET_S,
    FEW_HEADS,
    CaseSizes,
    Fit,
    Limits,
    NetworkSpec,
    batch_size,
    best_fit,
)
from vesal.planning.plan import Normalisation, Plan
from vesal.planning.settings import PlanSettings
from vesal.planning.topology import Width, named_stages, rounded_up
from vesal.text import budget_text, significant, times

#: Anisotropic data with fewer slices than this are planned in 2D; any axis with fewer than 4 voxels is too.
FEW_SLICES = 12
_FLAT = 4

#: z-scores are taken over non-zero voxels where the median crop keeps less than this share of the scan (nnU-Net).
MASKED_BELOW = 0.75

#: Spacings coarsened beyond this factor are resampled linearly, which averages neighbours; else by cubic splines.
_LINEAR_FROM = 1.5

#: Names of channels (nnU-Net's words, any case) -> scheme; all other channels are z-scored.
SCHEMES = {"ct": "ct", "nonorm": "none", "rescale_to_0_1": "minmax", "rgb_to_0_1": "minmax"}


@dataclass(frozen=True)
class View:
    """What one of two stages sees.

    Attributes:
        cases: whose `crop_shape` is what it sees of them.
        coverage: share of the median case that a patch shall hold.
    """

    cases: tuple[CaseRecord, ...]
    coverage: float = COVERAGE


def make_plan(
    fingerprint: Fingerprint,
    labels: LabelSet,
    settings: PlanSettings | None = None,
    *,
    budget_s: float | None = None,
    device: str = "cpu",
    rate: float | None = None,
    memory_gb: float | None = None,
    view: View | None = None,
) -> Plan:
    """Plan network and preparation for a data set.

    Args:
        fingerprint, labels: of one or more readable cases, and what is predicted.
        settings: what a person wants, against the rules; its budget, rate and memory win over those given here.
        budget_s: training time in seconds. Without it a CPU plan is made for an hour, a GPU plan is nnU-Net's.
        device, rate, memory_gb: cpu, cuda (cuda:1) or mps; operations a second and free memory as measured on it.
        view: of one of two stages; else the whole cases.

    Raises:
        DataError: no readable case, or cases that differ in channels or dimension.
        UsageError: a setting that makes no sense.
    """
    asked = settings or PlanSettings()
    reasons, budget_s = list[str](), asked.budget_s or budget_s
    cases = (view := view or View(check_cases(fingerprint))).cases
    frame = _choose_frame(cases, asked, reasons)
    labels = labels.as_regions() if asked.sigmoid else labels
    wanted = asked.spacing_mm or _choose_spacing(frame, cases, reasons)
    limits = Limits.of(device, frame.dimension, budget_s, asked.memory_gb or memory_gb, asked.rate or rate)
    reasons += _limits_reason(limits, asked, budget_s, rate, memory_gb)
    sizes = frame.sizes(cases)
    spec = NetworkSpec(len(fingerprint.channels) + asked.foreground_channel, labels.outputs)
    found = _choose_fit(sizes, wanted, spec, limits, asked, reasons, view.coverage)
    network = _as_asked(found, spec, asked, sizes.median(found.spacing_mm), reasons)
    batch = _choose_batch(network, sizes.voxels(found.spacing_mm), limits, asked, reasons)
    reasons.append(_topology_reason(network, "as asked" if asked.features else _WIDTHS[found.width]))
    return Plan(
        dimension=frame.dimension,
        slice_axis=frame.slice_axis,
        spacing_mm=found.spacing_mm,
        patch=network.patch,
        batch=batch,
        stages=network.stages,
        heads=network.heads,
        norm=asked.norm or "instance",
        activation=asked.activation or "leaky_relu",
        pooling=asked.pooling,
        bias=asked.bias,
        normalisation=choose_normalisation(fingerprint, asked.normalisation, reasons),
        image_order=_image_order(found.spacing_mm, frame.spacings(cases)),
        mirror_axes=tuple(range(frame.dimension)),
        channels=fingerprint.channels,
        pixel_mm=fingerprint.pixel_mm,
        foreground_channel=asked.foreground_channel,
        labels=labels,
        median_shape=sizes.median(found.spacing_mm),
        reasons=(*reasons, *_unwritten_reason(labels), _mirror_reason(labels, cases)),
    )


def _choose_fit(
    sizes: CaseSizes,
    wanted: Sequence[float],
    spec: NetworkSpec,
    limits: Limits,
    asked: PlanSettings,
    reasons: list[str],
    coverage: float,
) -> Fit:
    # A spacing, patch or network that was asked for is kept: the spacing is then not coarsened to fit the time.
    free = asked.spacing_mm is None and asked.patch is None and asked.features is None
    found = best_fit(sizes, wanted, spec, limits, coarsen=free, coverage=coverage)
    if tuple(wanted) != found.spacing_mm:
        median = sizes.median(found.spacing_mm)
        reasons.append(
            f"Spacing coarsened from {times(wanted, 3)} to {times(found.spacing_mm, 3)} mm: at full resolution the "
            f"time allows patches that hold less than {coverage:.0%} of the median case "
            f"({times(sizes.median(wanted))} voxels); now it has {times(median)}."
        )
        if found.coverage < coverage:
            reasons.append(
                f"Coarser still, the smallest class would have fewer than {CLASS_VOXELS[len(median)]} voxels."
            )
    return found


def _choose_batch(
    network: Network, voxels: float, limits: Limits, asked: PlanSettings, reasons: list[str]
) -> int:
    if asked.batch is not None:
        reasons.append(f"Batch {asked.batch}, as asked.")
        return asked.batch
    batch = batch_size(network, voxels, limits)
    memory = network.step_bytes(batch, limits.bytes_per_number) / 1e9
    why = "at least 2, at most what memory, time and 5 % of the data set's voxels allow"
    if limits.device == "cpu" and len(network.patch) == 3:
        why = "on a CPU more steps gain more than larger ones"
    reasons.append(f"Batch {batch}: {why}; about {memory:.2g} GB of activations and weights.")
    return batch


def _image_order(spacing_mm: Sequence[float], spacings: NDArray[np.float64]) -> Literal[1, 3]:
    """Spline order of resampling from the cases' spacings (cases, axes)."""
    native = np.median(spacings, axis=0)
    return 1 if max(new / old for new, old in zip(spacing_mm, native, strict=True)) > _LINEAR_FROM else 3


def _as_asked(
    found: Fit, spec: NetworkSpec, asked: PlanSettings, median: Sequence[int], reasons: list[str]
) -> Network:
    """The fitted network, or the one whose patch and features were asked for; `median` voxels has the median case."""
    patch = found.network.patch if asked.patch is None else asked.patch
    network = found.network
    if asked.features is not None:
        stages = named_stages(asked.features, patch)
        heads = asked.heads or min(max(1, len(stages) - 2), FEW_HEADS)
        network = replace(network, stages=stages, heads=heads, patch=rounded_up(patch, stages))
    elif asked.patch is not None:
        network = replace(spec, width=found.width).network(patch, found.spacing_mm)
    if asked.patch is not None:
        rounded = f" ({times(patch)}) in multiples of the strides" if tuple(patch) != network.patch else ""
        reasons.append(f"Patch {times(network.patch)}, as asked{rounded}.")
    stages = tuple(
        stage.model_copy(
            update={
                "features": max(1, round(stage.features * asked.width)),
                "convolutions": asked.convolutions or stage.convolutions,
            }
        )
        for stage in network.stages
    )
    most = max(1, len(stages) - 1)
    if asked.heads is not None and asked.heads > most:
        raise UsageError(
            f"{asked.heads} resolutions with a loss do not fit {len(stages)} stages; ask for {most} at most "
            "(plan.heads)."
        )
    network = replace(network, stages=stages, heads=asked.heads or network.heads)
    if asked.patch is None:
        reasons.append(_patch_reason(found, network, median))
    return network


_AXES: tuple[Literal[0, 1, 2], ...] = (0, 1, 2)

# --- which axes ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Frame:
    """The network's axes: of 2D images, of slices of volumes, of volumes."""

    dimension: Literal[2, 3]
    slice_axis: Literal[0, 1, 2] | None = None

    def spacings(self, cases: Sequence[CaseRecord]) -> NDArray[np.float64]:
        """(cases, dimension)."""
        return np.array([self._network_axes(case.ras_spacing_mm) for case in cases], dtype=np.float64)

    def sizes(self, cases: Sequence[CaseRecord]) -> CaseSizes:
        """The cropped cases, in millimetres."""
        voxels = np.array([self._network_axes(case.crop_shape) for case in cases], dtype=np.float64)
        slices = np.ones(len(cases))
        if self.slice_axis is not None:
            slices = np.array([case.crop_shape[self.slice_axis] for case in cases], dtype=np.float64)
        return CaseSizes(voxels * self.spacings(cases), slices, self._smallest_class(cases))

    def _network_axes(self, values: Sequence[float]) -> tuple[float, ...]:
        return in_order(tuple(values), self.slice_axis, first=0.0)[-self.dimension :]

    def _smallest_class(self, cases: Sequence[CaseRecord]) -> float | None:
        """mm³ of the smallest class in the median case that has it; mm² of a slice in 2D."""
        sizes: dict[str, list[float]] = {}
        for case in cases:
            unit = case.voxel_volume_mm3
            if self.slice_axis is not None:
                unit /= case.ras_spacing_mm[self.slice_axis] * case.crop_shape[self.slice_axis]
            for name, count in case.voxels.items():
                if count:
                    sizes.setdefault(name, []).append(count * unit)
        return min((float(np.median(values)) for values in sizes.values()), default=None)


def _choose_frame(cases: Sequence[CaseRecord], asked: PlanSettings, reasons: list[str]) -> _Frame:
    frame = _frame_of(cases, asked.dimension, reasons)
    for name, values in (("spacing", asked.spacing_mm), ("patch", asked.patch)):
        if values is not None and len(values) != frame.dimension:
            raise UsageError(
                f"The {name} {tuple(values)} needs {frame.dimension} positive numbers, one an axis."
            )
    return frame


def _frame_of(cases: Sequence[CaseRecord], asked: int | None, reasons: list[str]) -> _Frame:
    if asked not in (None, 2, 3):
        raise UsageError(f"A plan has 2 or 3 dimensions, not {asked}.")
    if len(cases[0].ras_shape) == 2:
        if asked == 3:
            raise UsageError("The images are 2D; a 3D plan needs volumes. Leave the dimension out.")
        reasons.append("2D: the images are.")
        return _Frame(2)
    shape = np.median([case.crop_shape for case in cases], axis=0)
    spacing = np.median([case.ras_spacing_mm for case in cases], axis=0)
    # The coarsest axis; among equals the one with the fewest voxels; then the last, head to foot.
    alike = spacing / min(1.0, max(spacing))
    through = max(_AXES, key=lambda axis: (round(float(alike[axis]), 3), -shape[axis], axis))
    ratio = spacing[through] / max(np.delete(spacing, through))
    flat = min(_AXES, key=lambda axis: shape[axis]) if min(shape) < _FLAT else None
    if asked == 2:
        slice_axis = through if flat is None else flat
        reasons.append(f"2D, as asked: slices along {'xyz'[slice_axis]}, the coarsest or shortest axis.")
        return _Frame(2, slice_axis)
    if asked == 3:
        reasons.append("3D, as asked.")
    elif flat is not None:
        reasons.append(
            f"2D: the volumes have {shape[flat]:g} slices along {'xyz'[flat]}, too few for 3D context."
        )
        return _Frame(2, flat)
    elif ratio > ANISOTROPIC and shape[through] < FEW_SLICES:
        reasons.append(
            f"2D: slices are {ratio:.1f} times as far apart as their pixels and the median volume has "
            f"{shape[through]:g} of them (fewer than {FEW_SLICES}), so that neighbouring slices share little."
        )
        return _Frame(2, through)
    else:
        reasons.append(f"3D: the median volume has {times(shape)} voxels.")
    return _Frame(3)


def _choose_spacing(frame: _Frame, cases: Sequence[CaseRecord], reasons: list[str]) -> tuple[float, ...]:
    spacings = frame.spacings(cases)
    spacing = np.median(spacings, axis=0)
    reasons.append(f"Spacing {times(spacing, 3)} mm: the median of {len(cases)} cases.")
    if frame.dimension == 3:
        worst = int(np.argmax(spacing))
        others = np.delete(spacing, worst)
        shape = np.median([case.crop_shape for case in cases], axis=0)
        coarse = spacing[worst] > ANISOTROPIC * max(others)
        if coarse and shape[worst] * ANISOTROPIC < min(np.delete(shape, worst)):
            spacing[worst] = max(np.percentile(spacings[:, worst], 10), max(others))
            reasons.append(
                f"Axis {'xyz'[worst]} is more than {ANISOTROPIC:g} times as coarse as the others and takes its 10th "
                f"percentile, {spacing[worst]:.3g} mm, so that few cases lose slices."
            )
    return tuple(float(value) for value in spacing)


# --- intensities -----------------------------------------------------------------------------------------


def choose_normalisation(
    fingerprint: Fingerprint, asked: Normalisation | None, reasons: list[str]
) -> tuple[Normalisation, ...]:
    """One a channel, as asked or by its name and the scans; `reasons` takes a sentence for each decision."""
    if asked is not None:
        reasons.append(f"Intensities by {asked.scheme}, as asked.")
        return (asked,) * len(fingerprint.channels)
    kept = [math.prod(case.crop_shape) / math.prod(case.ras_shape) for case in fingerprint.cases]
    share = float(np.median(kept))
    default = Normalisation(scheme="zscore_nonzero" if share < MASKED_BELOW else "zscore")
    where = (
        f"over non-zero voxels, for the crop keeps {share:.0%} of the median scan (under {MASKED_BELOW:.0%})"
        if share < MASKED_BELOW
        else f"over the image, of which the crop keeps {share:.0%}"
    )
    chosen, usual = [], list[str]()
    for index, name in enumerate(fingerprint.channels):
        scheme = SCHEMES.get(name.lower())
        samples = [value for case in fingerprint.cases for value in case.channels[index].foreground_samples]
        if scheme == "ct" and samples:
            lower, upper = (float(value) for value in np.percentile(samples, (0.5, 99.5)))
            mean, std = float(np.mean(samples)), float(np.std(samples))
            reasons.append(
                f"{name}: clipped to {lower:.4g} to {upper:.4g}, the 0.5th and 99.5th percentile of labelled voxels, "
                f"then their mean {mean:.4g} and standard deviation {std:.4g}."
            )
            chosen.append(Normalisation(scheme="ct", lower=lower, upper=upper, mean=mean, std=std or 1.0))
        elif scheme in ("none", "minmax"):
            reasons.append(
                f"{name}: {'as it is' if scheme == 'none' else 'scaled to 0..1'}, as its name asks."
            )
            chosen.append(Normalisation(scheme=scheme))  # type: ignore[arg-type]
        else:
            usual.append(name)
            chosen.append(default)
    if usual:
        reasons.append(f"{', '.join(usual)}: z-score of each image {where}.")
    return tuple(chosen)


# --- checks ----------------------------------------------------------------------------------------------


def check_cases(fingerprint: Fingerprint) -> tuple[CaseRecord, ...]:
    """The cases, of which there is one at least, and which agree in dimension and channels.

    Raises:
        DataError: they do not, or there is none.
    """
    cases = fingerprint.cases
    if not cases:
        failed = f" ({len(fingerprint.failures)} could not be read)" if fingerprint.failures else ""
        raise DataError(f"{fingerprint.dataset} has no readable annotated case{failed}; see vesal inspect.")
    for case in cases:
        if len(case.shape) != len(cases[0].shape):
            raise DataError(
                f"Case {cases[0].id} is {len(cases[0].shape)}D and case {case.id} {len(case.shape)}D; "
                "make two data sets of them."
            )
        if len(case.channels) != len(fingerprint.channels):
            raise DataError(
                f"The number of channels of case {case.id} is {len(case.channels)} where the data set declares "
                f"{len(fingerprint.channels)} ({', '.join(fingerprint.channels)}); correct the declaration or the case."
            )
    return cases


# --- reasons ---------------------------------------------------------------------------------------------


def _limits_reason(
    limits: Limits, asked: PlanSettings, given_s: float | None, measured: float | None, free_gb: float | None
) -> list[str]:
    """None where the patch is asked for, which then follows from no limit."""
    if asked.patch is not None:
        return []
    memory = f"{limits.memory_bytes / 1e9:.3g} GB of memory"
    if free_gb is not None and asked.memory_gb is None:
        memory += " (of what is free)"
    if limits.budget_s is None:
        return [f"Planned for {limits.device} with {memory} and no limit of time."]
    time = budget_text(limits.budget_s)
    if given_s is None:
        time += f" (none was given; {CPU_BUDGET_S / 3600:g} h is assumed on a CPU)"
    how = "as asked" if asked.rate else "measured" if measured is not None else "not measured"
    return [
        f"A step may cost {limits.operations / 1e9:.3g} GFLOP: {limits.steps:,} steps in {time} at "
        f"{limits.rate / 1e9:.3g} GFLOP/s ({limits.device}, {how}); {memory}."
    ]


_WIDTHS: dict[Width, str] = {
    "wide": "nnU-Net's",
    "middle": "half of nnU-Net's, for which the time pays",
    "narrow": "a narrow first stage leaves time for larger patches",
}


def _patch_reason(found: Fit, network: Network, median: Sequence[int]) -> str:
    """Of the network as it is asked for, which may cost far more or less than the fitted one."""
    cost = significant(network.step_operations(BATCH) / 1e9)
    what = "whole volumes" if found.whole else f"{found.coverage:.0%} of the median case"
    return f"Patch {times(network.patch)}: {what} ({times(median)}), {cost} GFLOP in a step of {BATCH}."


def _topology_reason(network: Network, why: str) -> str:
    features = " ".join(str(stage.features) for stage in network.stages)
    return (
        f"{len(network.stages)} stages of {features} features ({why}); "
        f"{'one resolution gets' if network.heads == 1 else f'{network.heads} resolutions get'} a loss."
    )


def _unwritten_reason(labels: LabelSet) -> list[str]:
    if not (never := labels.unwritten):
        return []
    named = ", ".join(f"{label.value} ({label.name})" for label in never)
    what = f"Value {named} is" if len(never) == 1 else f"Values {named} are"
    return [
        f"{what} never written into a predicted label map: each region is painted with one value, outer before inner, "
        f"and no region is left with {'this one' if len(never) == 1 else 'these'}."
    ]


def _mirror_reason(labels: LabelSet, cases: Sequence[CaseRecord]) -> str:
    if len(cases[0].ras_shape) == 2 and (labels.pairs or labels.one_sided):
        return "No axis is mirrored: labels name left or right, and which axis of a picture that is, is not known."
    if labels.one_sided:
        return "The left/right axis is not mirrored: a label names one side, and the other has no label."
    if labels.pairs:
        return f"All axes may be mirrored; labels swap sides with it ({', '.join(map(' and '.join, labels.pairs))})."
    return "All axes may be mirrored: no label names a side that has a partner."
