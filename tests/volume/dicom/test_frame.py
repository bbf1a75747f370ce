"""Frames are of one grid where their planes, pixels and shapes are, to what headers round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vesal.volume.dicom.frame import Frame

FRAME = Frame("a", 0, "1", np.zeros(3), np.eye(3)[:2], (0.5, 0.5), (4, 4))


@pytest.mark.parametrize(
    ("change", "alike"),
    [
        ({}, True),
        ({"position_mm": np.ones(3)}, True),
        ({"pixel_mm": (0.5, 0.50001)}, True),
        ({"pixel_mm": (0.5, 0.6)}, False),
        ({"shape": (4, 5)}, False),
        ({"directions": np.eye(3)[:2] + 1e-4}, True),
        ({"directions": np.eye(3)[[1, 0]]}, False),
    ],
)
def test_what_rounding_parts_is_alike(change: dict[str, object], alike: bool) -> None:
    assert FRAME.parallel_to(replace(FRAME, **change)) is alike  # type: ignore[arg-type]


def test_the_normal_is_across_the_slice_and_a_unit() -> None:
    turned = replace(FRAME, directions=np.array([(0.0, 1.0, 0.0), (0.0, 0.0, -1.0)]))
    assert np.allclose(turned.normal, (-1.0, 0.0, 0.0))
