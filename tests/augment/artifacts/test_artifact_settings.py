"""Severities as settings: ranges between them, and their units on a grid."""

from __future__ import annotations

import pytest
import torch
from augment_examples import seeded

from vesal.augment.artifacts.artifact_settings import Frame, Patches
from vesal.augment.artifacts.motion import MotionSettings
from vesal.augment.artifacts.registry import ARTIFACTS


def test_training_spans_the_severities_that_were_asked_for() -> None:
    assert ARTIFACTS["noise"].spanning((1, 4)).std == (0.02, 0.11)
    assert ARTIFACTS["motion"].spanning((1, 4)).mm == (1, 8)
    assert ARTIFACTS["slice"].spanning((1, 4)).share == (0.1, 0.3)
    assert ARTIFACTS["gamma"].spanning((1, 4)).log_exponent == (-0.7, 0.7)
    assert ARTIFACTS["blur"].spanning((5, 5)).sigma == (3.0, 3.0)


def test_the_opposite_of_a_signed_artefact_has_the_same_strength_in_the_other_direction() -> None:
    assert ARTIFACTS["gamma"](log_exponent=(-0.1, 0.4)).opposite().log_exponent == (-0.4, 0.1)
    assert ARTIFACTS["hu_shift"](hu=(10, 20)).opposite().hu == (-20, -10)
    assert ARTIFACTS["scale"](factor=(2, 4)).opposite().factor == (0.25, 0.5)
    noise = ARTIFACTS["noise"].at(3)
    assert noise.opposite() is noise


@pytest.mark.parametrize(("spacing_mm", "voxels"), [((2.0, 2.0), 3.0), ((1.0, 2.0), 4.0)])
def test_millimetres_become_voxels_of_the_mean_spacing_within_the_plane(
    spacing_mm: tuple[float, ...], voxels: float
) -> None:
    patches = Patches(Frame(1, spacing_mm, (0, 1)), 5, (16, 16))
    shift = MotionSettings(mm=(6.0, 6.0), voxels=(50.0, 50.0), count=(1, 1)).draw(patches, seeded()).shift
    assert torch.allclose(torch.linalg.vector_norm(shift, dim=-1), torch.tensor(voxels))


def test_slices_lie_along_the_coarsest_axis_and_hounsfield_units_mean_ct() -> None:
    frame = Frame(1, (8.0, 1.0, 1.2), (1, 2))
    assert (frame.through, frame.modality) == (0, "MR")
    assert Frame(1, (1.0, 1.2), (0, 1), hu=100.0).through is None
    assert Frame(1, (1.0, 1.2), (0, 1), hu=100.0).modality == "CT"
