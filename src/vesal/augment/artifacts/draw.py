"""Artefacts of a batch of training patches: which are drawn, and how they are applied one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from vesal.augment.artifacts.artifact_settings import Patches
from vesal.augment.artifacts.registry import ARTIFACTS, CHAIN, ArtifactConfig, learnable
from vesal.augment.artifacts.signal import minimum
from vesal.augment.intensity import Intensity
from vesal.augment.random_parameters import happens, whole


def draw_artifacts(
    config: ArtifactConfig, patches: Patches, generator: torch.Generator, *, strength: float = 1.0
) -> dict[str, Intensity]:
    """Records by name, in the order in which they act; none for an artefact that is off.

    Each artefact has a generator of its own, so no setting of one changes what another draws, and the given
    generator gives as many numbers whatever the settings.

    Args:
        config: probabilities and ranges.
        patches: what they are drawn for.
        generator: of the CPU.
        strength: multiplies the probabilities.
    """
    seeds = torch.randint(0, 2**31, (len(CHAIN),), generator=generator).tolist()
    shared = torch.Generator().manual_seed(int(torch.randint(0, 2**31, (), generator=generator)))
    share = min(1.0, config.share * strength)
    samples = None
    if config.share > 0:
        kinds = learnable(patches.frame.modality, len(patches.shape))
        corrupted = happens((patches.n,), share, shared)
        pick = whole((patches.n,), (0, len(kinds) - 1), shared)
        drawn = {kind: corrupted & (pick == number) for number, kind in enumerate(kinds)}
        samples = {kind: chosen for kind, chosen in drawn.items() if chosen.any()}
    records: dict[str, Intensity] = {}
    for name, seed in zip(CHAIN, seeds, strict=True):
        kind, own = ARTIFACTS[name], torch.Generator().manual_seed(seed)
        if samples is not None:
            if name in samples:
                corrupted_patches = replace(patches, samples=samples[name])
                records[name] = kind.spanning(config.severity).draw(corrupted_patches, own)
            continue
        probability = min(1.0, config.probability_of(name) * strength)
        if probability > 0 and kind.possible(patches.frame):
            records[name] = getattr(config, name).draw(replace(patches, probability=probability), own)
    return records


def apply_artifacts(
    records: Mapping[str, Intensity], scan: Tensor, outside_zero: tuple[int, ...], restandardise: bool
) -> Tensor:
    """Intensities (N, C, *S) -> the same shape; the very same tensor where no artefact was drawn.

    Args:
        records: by name, in the order in which they act.
        scan: (N, C, *S) float32, not written to.
        outside_zero: channels in which exactly 0 means outside the body, where there is no signal: as dark as anything
            inside, not the 0 of an image around its mean. Afterwards these voxels are not 0 any more.
        restandardise: give each changed channel its old mean and standard deviation, before a loss of signal.
    """
    if not records:
        return scan
    dark = scan.clone() if outside_zero else scan
    for channel in outside_zero:
        values = scan[:, channel]
        dark[:, channel] = torch.where(values == 0, minimum(values), values)
    image = dark
    for name, record in records.items():
        if not ARTIFACTS[name].loses_signal:
            image = record.apply(image)
    if restandardise and image is not dark:
        image = _restandardised(image, dark)
    for name, record in records.items():
        if ARTIFACTS[name].loses_signal:
            image = record.apply(image)
    return scan if image is dark else image


def _restandardised(corrupted: Tensor, before: Tensor) -> Tensor:
    """`corrupted` (N, C, *S) with the mean and standard deviation of `before` in each channel that has changed."""
    now, then = corrupted.flatten(2), before.flatten(2)
    mean, wanted = now.mean(dim=2, keepdim=True), then.mean(dim=2, keepdim=True)
    # Norms, because torch's std takes three times as long on a CPU; the counts cancel.
    spread, old = (torch.linalg.vector_norm(x, dim=2, keepdim=True) for x in (now - mean, then - wanted))
    scaled = (now - mean) * (old / spread.clamp_min(1e-7)) + wanted
    # A choice on the device: to look at it would be to wait for it.
    changed = (now != then).any(dim=2, keepdim=True)
    return torch.where(changed, scaled, now).view_as(corrupted)
