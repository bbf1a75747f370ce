"""Slices of a volume: scored one by one, and as the volume that they make."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vesal.data.dataset import SliceOf
from vesal.data.fingerprint import Failure
from vesal.data.labels import LabelSet
from vesal.evaluate.case_scores import score_case
from vesal.evaluate.score_pairs import MaskPair, Scoring, score_pairs, stacked
from vesal.evaluate.scores import Scores
from vesal.volume.geometry import Geometry

LABELS = LabelSet.from_values({"liver": 1, "liver tumour": 2})
SPACING = (0.8, 1.25, 6.0)
SHAPE = (20, 18, 7)
PLANE = Geometry.from_spacing(SHAPE[:2], SPACING[:2])


def volumes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and a truth in 3D whose first slice is empty in both and whose last is in the truth alone."""
    generator = np.random.default_rng(seed)
    truth, prediction = np.zeros((2, *SHAPE), np.uint8)
    for mask, last in ((truth, 7), (prediction, 6)):
        x, y = generator.integers(1, 6, 2)
        mask[x : x + 10, y : y + 9, 1:last] = 1
        mask[x + 3 : x + 6, y + 2 : y + 6, 2:4] = 2
    return prediction, truth


def cut(name: str, seed: int, numbers: Any = range(7), distance: float | None = SPACING[2]) -> list[MaskPair]:
    prediction, truth = volumes(seed)
    return [
        MaskPair(
            f"{name}_slice_{number:03}",
            prediction[..., number],
            truth[..., number],
            PLANE,
            place=SliceOf(volume=name, number=number, distance_mm=distance),
        )
        for number in numbers
    ]


def scored(pairs: list[MaskPair | Failure], slice_mm: float | None = None) -> Scores:
    def place(pair: MaskPair | Failure) -> SliceOf | None:
        return pair.place if isinstance(pair, MaskPair) else SliceOf(volume="a", number=99)

    scoring = Scoring(LABELS, 1.0, ("liver tumour",), slice_mm)
    return score_pairs(pairs, lambda pair: pair, place, scoring, workers=2)


def test_the_volume_of_its_slices_scores_what_the_volume_itself_does():
    shuffled = [pair for pairs in zip(cut("a", 1), cut("b", 2), strict=True) for pair in pairs]
    scores = scored([*reversed(shuffled)])
    assert [row.case for row in scores.cases][::2] == [pair.case for pair in reversed(shuffled)]
    assert scores.volumes is not None
    found = {(row.case, row.class_name): row for row in scores.volumes.cases}
    for name, seed in (("a", 1), ("b", 2)):
        grid = Geometry.from_spacing(SHAPE, SPACING)
        for row in score_case(name, *volumes(seed), grid, LABELS, lesions=("liver tumour",)):
            assert found[name, row.class_name] == row
    assert scores.volumes.of("dice").count == 2
    assert scores.volumes.failures == ()


def test_slices_that_were_left_out_as_empty_change_nothing_but_the_share_of_right_voxels():
    whole, kept = scored(cut("a", 1)), scored(cut("a", 1, [1, 2, 3, 5, 6]))
    gap = scored(cut("a", 1, [1, 2, 3, 4, 5, 6]))
    assert whole.volumes is not None
    assert gap.volumes is not None
    assert kept.volumes is not None
    for row, same in zip(whole.volumes.cases, gap.volumes.cases, strict=True):
        # How many empty slices there were at the ends is not known.
        assert same.model_copy(update={"accuracy": row.accuracy}) == row
        assert same.accuracy < row.accuracy
    # Slice 4 was not empty: what is not there is no label, so that both volumes are smaller.
    assert kept.volumes.cases[0].truth_volume_ml < whole.volumes.cases[0].truth_volume_ml


def test_without_a_distance_overlap_is_measured_and_nothing_in_millimetres():
    scores = scored(cut("a", 1, distance=None))
    assert scores.volumes is not None
    row = scores.volumes.cases[0]
    assert row.dice is not None
    assert row.boundary_dice is not None
    assert row.volume_error_relative is not None
    assert row.hd95_mm is row.nsd is row.assd_mm is row.volume_ml is row.volume_error_ml is None
    assert "give --slice-mm" in scores.volumes.remarks[0]
    assert scores.volumes.agreement_ml == {}
    told = scored(cut("a", 1, distance=None), slice_mm=SPACING[2]).volumes
    assert told is not None
    assert told.remarks == ()
    assert told.cases == scored(cut("a", 1)).volumes.cases  # type: ignore[union-attr]


def test_every_second_number_by_names_alone_is_a_neighbour():
    pairs = cut("a", 1, [1, 3, 5], distance=None)
    pair, known = stacked("a", pairs, 12.0)
    assert known
    assert pair.geometry.shape == (20, 18, 3)
    assert pair.geometry.spacing_mm == pytest.approx((0.8, 1.25, 12.0))
    listed, _ = stacked("a", cut("a", 1, [1, 3, 5]), None)
    assert listed.geometry.shape == (20, 18, 5)


def other_size(pair: MaskPair) -> MaskPair:
    half = Geometry.from_spacing((20, 9), SPACING[:2])
    return MaskPair(pair.case, pair.prediction[:, :9], pair.truth[:, :9], half, place=pair.place)


def other_pixels(pair: MaskPair) -> MaskPair:
    grid = Geometry.from_spacing(SHAPE[:2], (0.9, 1.25))
    return MaskPair(pair.case, pair.prediction, pair.truth, grid, place=pair.place)


def other_place(pair: MaskPair, **update: Any) -> MaskPair:
    assert pair.place is not None
    place = pair.place.model_copy(update=update)
    return MaskPair(pair.case, pair.prediction, pair.truth, pair.geometry, place=place)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_size, "a_slice_003 has 20 x 9 pixels and a_slice_000 20 x 18 pixels"),
        (other_pixels, "a_slice_003 has pixels of 0.9 x 1.25 mm"),
        (lambda pair: other_place(pair, distance_mm=5.0), "a_slice_003 has the distance 5.0 mm"),
        (lambda pair: other_place(pair, number=4), "are both slice 4"),
        (
            lambda pair: other_place(pair, number=20261129),
            "its slices are numbered from 0 to 20261129, farther apart",
        ),
        (lambda pair: Failure(id=pair.case, message="damaged"), "its slice a_slice_003 could not be scored"),
    ],
)
def test_slices_that_do_not_fit_are_no_volume_and_the_others_go_on(change, message):
    pairs: list[MaskPair | Failure] = [*cut("a", 1), *cut("b", 2)]
    pairs[3] = change(pairs[3])
    scoring = Scoring(LABELS, 1.0, (), None)
    order = [pair.place for pair in cut("a", 1)] + [pair.place for pair in cut("b", 2)]
    scores = score_pairs(range(14), lambda index: pairs[index], lambda index: order[index], scoring)
    assert scores.volumes is not None
    assert [failure.id for failure in scores.volumes.failures] == ["a"]
    assert message in scores.volumes.failures[0].message
    assert {row.case for row in scores.volumes.cases} == {"b"}
    assert len(scores.failures) == isinstance(pairs[3], Failure)


def test_a_volume_is_annotated_with_what_all_of_its_slices_are():
    pairs = [
        MaskPair(p.case, p.prediction, p.truth, p.geometry, drawn, p.place)
        for p, drawn in zip(cut("a", 1, [1, 2]), (("liver",), None), strict=True)
    ]
    scores = scored(pairs)
    assert scores.volumes is not None
    assert [row.class_name for row in scores.volumes.cases] == ["liver"]


def test_single_slices_and_volumes_that_only_have_such_names_make_no_volumes():
    assert scored([*cut("a", 1, [3]), *cut("b", 2, [3])]).volumes is None
    grid = Geometry.from_spacing(SHAPE, SPACING)
    solid = [MaskPair(f"a_slice_{n}", *volumes(n), grid, place=SliceOf(volume="a", number=n)) for n in (1, 2)]
    assert scored([*solid]).volumes is None


def test_the_cases_of_one_patient_and_the_slices_of_one_volume_are_drawn_together():
    pairs = cut("a", 1) + cut("b", 2)
    scores = scored(pairs)
    assert set(scores.patients) == {row.case for row in scores.cases}
    assert len(set(scores.patients.values())) == 2
    assert scores.volumes is not None
    assert scores.volumes.patients == {}
    both = scored([replace(pair, patient="one") for pair in pairs])
    assert len(set(both.patients.values())) == 1
    assert both.volumes is not None
    assert [*both.volumes.patients] == ["a", "b"]
