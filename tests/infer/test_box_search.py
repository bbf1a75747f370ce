"""The fine stage's search of a box: it grows, and what is doubtful is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scans import make_plan

from vesal.data.labels import LabelSet
from vesal.infer.box_search import MOST_LOOKS, search_box, size_concern
from vesal.planning.plan import Plan
from vesal.preprocessing.prepare import Prepared, prepare
from vesal.volume.geometry import Geometry
from vesal.volume.volume import LabelMap, Volume

SHAPE = (40, 20, 20)


def plan_of(**changes) -> Plan:
    plan = make_plan(spacing_mm=(1.0, 1.0, 1.0), labels=LabelSet.from_values({"organ": 1}))
    return plan.model_copy(update={"locator": plan, "margin_mm": 3.0} | changes)


def search(truth: np.ndarray, box, plan: Plan, concern: str = "") -> tuple[LabelMap, Prepared, int]:
    """With a network that sees just what is in the box."""
    grid = Geometry.from_spacing(SHAPE, (1.0, 1.0, 1.0))
    image = np.random.default_rng(0).normal(50, 5, (1, *SHAPE)).astype(np.float32)
    volume = Volume(image, grid)
    searched = []

    def segment(part: Prepared) -> LabelMap:
        searched.append(part)
        return LabelMap(part.crop.paste(np.ascontiguousarray(part.crop.cut(truth))), grid)

    label, last = search_box(segment, volume, replace(prepare(volume, plan, box=box), concern=concern), plan)
    return label, last, len(searched)


def organ(first: int, last: int) -> np.ndarray:
    truth = np.zeros(SHAPE, dtype=np.uint8)
    truth[first:last, 8:12, 8:12] = 1
    return truth


def test_a_box_grows_until_it_holds_what_is_found() -> None:
    label, last, searched = search(organ(10, 20), ((8, 6, 6), (14, 14, 14)), plan_of())
    assert np.array_equal(label.array, organ(10, 20))
    assert last.crop.crop_start == (7, 5, 5)
    assert last.crop.crop_stop == (23, 15, 15)
    assert searched == 4


def test_a_box_beside_the_organ_is_set_right_and_the_whole_scan_is_no_last_word() -> None:
    for box in (((4, 0, 0), (16, 20, 12)), ((0, 0, 0), SHAPE)):
        label, last, _ = search(organ(10, 20), box, plan_of(), "seen before")
        assert np.array_equal(label.array, organ(10, 20))
        assert last.crop.crop_start == (7, 5, 5)
        # A side that differs by less than half the margin stays.
        assert (22, 15, 15) <= last.crop.crop_stop <= (23, 15, 15)
        assert last.concern == "seen before"


def test_an_organ_that_ends_with_the_scan_is_to_be_reviewed() -> None:
    last = search(organ(0, 10), ((0, 6, 6), (14, 14, 14)), plan_of())[1]
    assert last.concern == "what was found is cut by the border of the scan"


def test_what_comes_nearer_to_the_border_than_any_label_is_to_be_reviewed() -> None:
    near = "what was found lies nearer to the border of the scan than any label of the training"
    gaps = (8.0, 8.0, 8.0, 8.0, 8.0, 8.0)

    def concern(first: int, last: int, gaps_mm: tuple[float, ...] | None) -> str:
        return search(organ(first, last), ((0, 0, 0), SHAPE), plan_of(label_gaps_mm=gaps_mm))[1].concern

    assert concern(1, 10, gaps) == concern(30, 39, gaps) == near
    assert concern(2, 10, gaps) == concern(30, 38, gaps) == concern(1, 10, None) == ""
    # The labels of the training come as near at that end, or there are too few voxels to tell.
    assert concern(1, 10, (1.0, *gaps[1:])) == concern(1, 10, (3.0, *gaps[1:])) == ""
    # Of a scan with another number of axes.
    assert concern(1, 10, gaps[:4]) == ""


def test_a_box_that_would_have_to_grow_for_ever_is_to_be_reviewed() -> None:
    _, last, searched = search(organ(2, 39), ((2, 6, 6), (5, 14, 14)), plan_of(), "seen before")
    assert searched == MOST_LOOKS + 1
    assert last.concern == "seen before; what was found reaches the border of the box that was searched"


def test_where_a_box_holds_next_to_nothing_the_whole_scan_is_searched_and_that_is_said() -> None:
    box = ((25, 6, 6), (35, 14, 14))
    label, last, _ = search(organ(5, 9), box, plan_of(label_sizes=(50.0, 90.0)))
    assert np.array_equal(label.array, organ(5, 9))
    assert (
        last.concern
        == "next to nothing was found where the coarse network saw it, so the whole scan was searched"
    )
    # Nothing anywhere.
    nothing = search(organ(5, 5), box, plan_of(label_sizes=(50.0, 90.0)))[1].concern
    assert nothing.endswith("; nothing was found")
    # The whole scan was searched already.
    label, last, searched = search(
        organ(5, 5), ((0, 0, 0), SHAPE), plan_of(label_sizes=(50.0, 90.0)), "first"
    )
    assert last.concern == "first; nothing was found"
    assert searched == 1
    # The training had empty cases.
    assert search(organ(5, 9), box, plan_of(label_sizes=(0.0, 90.0)))[1].concern == ""


def test_a_result_beyond_the_sizes_of_the_training_is_to_be_reviewed() -> None:
    plan = plan_of(label_sizes=(3000.0, 6000.0))
    assert size_concern(2000.0, plan) == size_concern(9000.0, plan) == ""
    assert size_concern(1900.0, plan) == "what was found has 1.9 ml, the labels of the training 3 to 6"
    assert "9.1 ml" in size_concern(9100.0, plan)
    assert size_concern(1.0, plan_of()) == ""


@pytest.mark.parametrize("sizes", [(200.0, 400.0), None])
def test_sizes_are_those_of_the_scan_s_own_grid(sizes: tuple[float, float] | None) -> None:
    truth = organ(10, 14)  # 64 mm³
    concern = search(truth, ((5, 5, 5), (20, 15, 15)), plan_of(label_sizes=sizes))[1].concern
    assert ("0.064 ml" in concern) == (sizes is not None)
