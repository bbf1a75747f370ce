"""What a scan alone says against its result."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.infer.scan_notes import scan_note, with_channels
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume


def plan(*channels: str) -> Plan:
    return Plan(
        dimension=2,
        spacing_mm=(1.0, 1.0),
        patch=(16, 16),
        batch=1,
        stages=(Stage(features=4, kernel=(3, 3), stride=(1, 1)),),
        normalisation=(Normalisation(scheme="none"),) * len(channels),
        mirror_axes=(),
        channels=channels,
        labels=LabelSet.from_values({"tumour": 1}),
        median_shape=(20, 20),
    )


def scan(*channels: float | None) -> Volume:
    """Channels of that value, or of several values."""
    ramp = np.arange(400, dtype=np.float32).reshape(20, 20)
    array = np.stack([ramp if value is None else np.full_like(ramp, value) for value in channels])
    return Volume(array, Geometry.from_spacing((20, 20), (1.0, 1.0)))


@pytest.mark.parametrize(
    ("channels", "names", "note"),
    [
        ((None,), ("MR",), ""),
        ((0.0,), ("MR",), "the scan holds one value throughout (0)"),
        ((7.0, 7.0), ("T2", "ADC"), "the scan holds one value throughout (7)"),
        ((None, 3.0), ("T2", "ADC"), "channel ADC holds one value throughout"),
        ((None,), ("red", "green", "blue"), "the scan is grey and the model was trained on colours"),
        ((None, None, None), ("red", "green", "blue"), ""),
    ],
)
def test_constant_channels_and_missing_colours_are_noted(
    channels: tuple[float | None, ...], names: tuple[str, ...], note: str
) -> None:
    assert scan_note(scan(*channels), plan(*names), (20, 20)) == note


def test_one_pixel_that_differs_makes_a_scan_not_constant() -> None:
    lone = scan(5.0)
    lone.array[0, 3, 7] = 6
    assert scan_note(lone, plan("MR"), (20, 20)) == ""


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((20, 20, 10), False),
        ((20, 20, 1), False),
        ((150, 60, 90), False),
        ((1, 1, 1), True),
        ((20000, 20, 1000), True),
    ],
)
def test_a_volume_far_from_the_size_of_those_of_training_is_noted(
    shape: tuple[int, int, int], said: bool
) -> None:
    values = plan("MR").model_dump() | {
        "dimension": 3,
        "spacing_mm": (2.0, 2.0, 3.0),
        "patch": (16,) * 3,
        "stages": [{"features": 4, "kernel": (3,) * 3, "stride": (1,) * 3}],
        "median_shape": (20, 20, 10),
    }
    volume = Volume(
        np.arange(8.0).reshape(1, 2, 2, 2), Geometry.from_spacing((2, 2, 2), (0.002, 0.002, 0.003))
    )
    note = scan_note(volume, Plan.model_validate(values), shape)
    assert bool(note) == said
    if shape == (1, 1, 1):
        assert note == (
            "the scan measures 0.004 x 0.004 x 0.006 mm and those of training 40 x 40 x 30 mm, so its spacing "
            "(0.002 x 0.002 x 0.003 mm) may be wrong"
        )
    # Pictures have no size that could be compared.
    assert scan_note(scan(None), plan("MR"), (2000, 2000)) == ""


def test_channels_become_those_of_the_model_where_they_are_colours() -> None:
    assert with_channels(scan(None), plan("red", "green", "blue")).channels == 3
    assert with_channels(scan(None, None, None), plan("image")).channels == 1
    assert with_channels(scan(None, None, 3.0), plan("image")).channels == 3
    assert with_channels(scan(None), plan("T1", "T2", "ADC")).channels == 1
