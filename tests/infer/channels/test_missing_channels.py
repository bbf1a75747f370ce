"""Scans without a channel that the model knows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError, VesalError
from vesal.infer.channels.missing_channels import (
    ChannelCost,
    MissingChannels,
    channel_numbers,
    known_costs,
    may_miss,
    refuse_missing,
    without_channels,
)
from vesal.infer.scan_notes import scan_note
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.preprocessing.prepare import prepare
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume

PLAN = Plan(
    dimension=3,
    spacing_mm=(1.0, 1.0, 1.0),
    patch=(8, 8, 8),
    batch=1,
    stages=(Stage(features=2, kernel=(3, 3, 3), stride=(1, 1, 1)),),
    normalisation=(
        Normalisation(scheme="zscore"),
        Normalisation(scheme="ct", lower=-100.0, upper=200.0, mean=40.0, std=30.0),
        Normalisation(scheme="minmax"),
    ),
    mirror_axes=(),
    channels=("T1", "CT", "T2"),
    labels=LabelSet.from_values({"organ": 1}),
    median_shape=(10, 8, 6),
)
GRID = Geometry.from_spacing((10, 8, 6), (1.0, 1.0, 1.0))


def scan(channels: int = 3) -> Volume:
    return Volume(np.random.default_rng(0).normal(50, 20, (channels, *GRID.shape)).astype(np.float32), GRID)


def test_a_missing_channel_is_zero_after_the_normalisation_and_the_others_are_as_they_were() -> None:
    whole = prepare(scan(), PLAN)
    for place in range(3):
        there = [other for other in range(3) if other != place]
        flagged = without_channels(scan(), PLAN, (place,))
        given = without_channels(Volume(scan().array[there], GRID), PLAN, (), lacking=(place,))
        for volume in (flagged, given):
            assert volume.absent == (place,)
            prepared = prepare(volume, PLAN)
            assert not prepared.image[place].any()
            assert np.array_equal(prepared.image[there], whole.image[there])
        assert scan_note(flagged, PLAN, (10, 8, 6)) == ""


def test_on_the_disk_a_missing_channel_is_zero_too(
    all_on_disk: Callable[[], AbstractContextManager[None]],
) -> None:
    plan = PLAN.model_copy(update={"spacing_mm": (1.5, 1.0, 2.0), "image_order": 1})
    at_once = prepare(without_channels(scan(), plan, (1,)), plan)
    with all_on_disk():
        volume = without_channels(Volume(scan().array[[0, 2]], GRID), plan, (), lacking=(1,))
        by_rows = prepare(volume, plan)
        assert volume.absent == (1,)
        assert np.array_equal(by_rows.image, at_once.image)
        assert not by_rows.image[1].any()


def test_a_file_that_holds_all_channels_lacks_none_but_those_that_are_named() -> None:
    assert without_channels(scan(), PLAN, (), lacking=(2,)).absent == ()
    assert without_channels(scan(), PLAN, ()).absent == ()
    with pytest.raises(DataError, match=r"1 channel where 2 are left without CT \(T1, T2\)"):
        without_channels(scan(1), PLAN, (1,))


def test_channels_are_named_in_any_case_of_letters_and_one_is_left() -> None:
    assert channel_numbers(PLAN, ("t2", "T1", "T2")) == (0, 2)
    assert channel_numbers(PLAN, ()) == ()
    with pytest.raises(UsageError, match="FLAIR"):
        channel_numbers(PLAN, ("FLAIR",))
    with pytest.raises(UsageError, match="nothing is left"):
        channel_numbers(PLAN, ("T1", "CT", "T2"))


def test_a_model_that_was_not_trained_for_it_is_refused_with_how_it_would_be() -> None:
    trained = {"augment": {"drop_channels": 0.2, "enabled": True}}
    refuse_missing(["T2"], [trained, trained])
    refuse_missing([], [{}])
    for other in ({}, {"augment": 3}, {"augment": {"drop_channels": 0.2, "enabled": False}}):
        assert not may_miss(other)
        with pytest.raises(UsageError, match=r"without T2.*--set augment\.drop_channels=0\.2"):
            refuse_missing(["T2"], [trained, other])


def test_the_costs_are_read_back_said_and_shown_and_hostile_ones_refused() -> None:
    costs = MissingChannels(channels={"T2": ChannelCost(dice=0.8, lost=0.05, low=0.01, high=0.09, cases=7)})
    assert known_costs(costs.to_dict()) == costs
    assert known_costs(None) is None
    text = "without T2 the Dice of 7 held-out cases fell by 0.050 (0.010 to 0.090)"
    assert costs.sentence(["T2"]) == text
    assert costs.sentence(["T2", "T1"]) == f"{text}; together they were not measured"
    assert costs.sentence(["T1"]) == "what that costs was not measured"
    assert [cell.shown for cell in costs.table().rows[0]] == ["T2", "0.800", "0.050 (0.010 to 0.090)", "7"]
    for value in (
        {"version": 1},
        {"version": 1, "channels": {"T2": {"dice": 3}}},
        [],
        {"version": 9, "channels": {}},
    ):
        with pytest.raises(VesalError, match="not a usable Vesal model"):
            known_costs(value, Path("m.vesal"))
