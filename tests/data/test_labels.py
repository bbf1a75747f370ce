"""Label sets: file values, contiguous values and masks, there and back."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from vesal.data.labels import IGNORE, Label, LabelSet, Region, left_right_pairs
from vesal.data.value_tables import value_counts
from vesal.errors import DataError

BRATS = LabelSet.from_values(
    {"background": 0, "necrotic": 1, "oedema": 2, "enhancing": 4},
    regions={
        "whole": ["oedema", "necrotic", "enhancing"],
        "core": ["necrotic", "enhancing"],
        "enhancing": ["enhancing"],
    },
)

TYPES = [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]


@pytest.mark.parametrize("dtype", TYPES)
def test_encoding_and_decoding_give_the_file_back_in_any_integer_type(dtype: type) -> None:
    labels = LabelSet.from_values({"a": 7, "b": 100, "c": 3})
    array = np.random.default_rng(0).choice(labels.values, (5, 6, 7)).astype(dtype)
    contiguous = labels.encode(array)
    assert contiguous.dtype == np.uint8
    assert set(np.unique(contiguous)) == {0, 1, 2, 3}
    assert np.array_equal(labels.decode(contiguous), array)


@pytest.mark.parametrize(
    "values", [(-3, 5), (-1000, 70_000), (0, 1), (200, 255), (1 << 20, 1 << 21), (-1, 200)]
)
def test_any_values_survive_the_round_trip(values: tuple[int, int]) -> None:
    background = 0 if 0 not in values else 9
    labels = LabelSet.from_values({"background": background, "a": values[0], "b": values[1]})
    array = np.array([background, *values, *values], np.int64)
    assert np.array_equal(labels.decode(labels.encode(array)), array)


def test_a_file_without_background_or_with_one_label_alone_encodes_as_well() -> None:
    labels = LabelSet.from_values({"a": 7, "b": 100})
    assert labels.encode(np.full((2, 2), 100, np.uint8)).tolist() == [[2, 2], [2, 2]]
    assert labels.encode(np.full((2, 2), 7, np.int16)).tolist() == [[1, 1], [1, 1]]
    assert labels.encode(np.zeros((2, 2), np.uint8)).tolist() == [[0, 0], [0, 0]]


def test_the_background_may_have_another_value_than_0() -> None:
    labels = LabelSet.from_values({"Background": 1, "organ": 0})
    assert labels.encode(np.array([0, 1], np.uint8)).tolist() == [1, 0]
    assert labels.decode(np.array([0, 1], np.uint8)).tolist() == [1, 0]


def test_the_value_0_is_the_background_whatever_it_is_called() -> None:
    labels = LabelSet.from_values({"air": 0, "bone": 1})
    assert labels.names == ("bone",)
    assert labels.background == 0


def test_undeclared_values_are_listed_with_the_declared_ones() -> None:
    with pytest.raises(DataError, match=r"\[3, 9\] are not declared \(declared: \[0, 1, 2, 4\]\)"):
        BRATS.encode(np.array([0, 3, 9, 4], np.uint8))
    with pytest.raises(DataError, match=r"-5"):
        BRATS.encode(np.array([0, -5, 1 << 40]))


def test_ignored_voxels_become_255_and_come_back_as_they_were() -> None:
    labels = LabelSet.from_values({"a": 1, "ignore": 9})
    assert labels.encode(np.array([0, 1, 9], np.uint8)).tolist() == [0, 1, IGNORE]
    assert labels.decode(np.array([0, 1, IGNORE], np.uint8)).tolist() == [0, 1, 9]
    assert not labels.masks(np.array([IGNORE], np.uint8)).any()


def test_254_labels_and_an_ignore_value_fit() -> None:
    labels = LabelSet.from_values({f"l{i}": i for i in range(1, 255)}, ignore=999)
    array = np.array([0, 1, 254, 999])
    assert labels.encode(array).tolist() == [0, 1, 254, IGNORE]
    assert np.array_equal(labels.decode(labels.encode(array)), array)
    with pytest.raises(ValidationError, match="at most 254"):
        LabelSet.from_values({f"l{i}": i for i in range(1, 256)})


def test_arrays_in_any_memory_order_and_of_several_slabs_encode_alike() -> None:
    labels = LabelSet.from_values({"a": 7, "b": 100})
    array = np.random.default_rng(1).choice(np.array(labels.values, np.uint8), (150, 170, 90))
    expected = np.select([array == 7, array == 100], [1, 2])
    for view in (array, np.asfortranarray(array), array[::-1, :, ::-1], array.transpose(2, 0, 1)):
        wanted = expected if view.shape == expected.shape else expected.transpose(2, 0, 1)
        wanted = wanted[::-1, :, ::-1] if view.strides[0] < 0 else wanted
        assert np.array_equal(labels.encode(view), wanted)
        assert np.array_equal(labels.decode(labels.encode(view)), view)


@pytest.mark.parametrize("seed", range(10))
def test_found_values_are_those_of_numpy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    span = int(10 ** generator.uniform(0, 6))
    low = int(generator.integers(-span, span))
    array = generator.integers(low, low + span, (3, 4, 5))
    assert list(value_counts(array)) == np.unique(array).tolist()


def test_masks_and_paint_are_inverse_for_nested_regions() -> None:
    contiguous = BRATS.encode(np.random.default_rng(2).choice(BRATS.values, (4, 5, 6)))
    masks = BRATS.masks(contiguous)
    assert masks.shape == (3, 4, 5, 6)
    assert np.array_equal(masks[0], contiguous > 0)
    assert np.array_equal(BRATS.paint(masks), contiguous)


def test_an_inner_region_outside_its_outer_one_still_wins() -> None:
    masks = np.array([[0, 1], [0, 0], [1, 1]], dtype=bool)
    assert BRATS.decode(BRATS.paint(masks)).tolist() == [4, 4]


def test_without_regions_there_is_one_mask_a_label() -> None:
    labels = LabelSet.from_values({"a": 1, "b": 2})
    assert (labels.classes, labels.outputs) == (("a", "b"), 3)
    assert labels.masks(np.array([0, 1, 2], np.uint8)).astype(int).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert (BRATS.classes, BRATS.outputs) == (("whole", "core", "enhancing"), 3)


def test_values_that_no_region_is_painted_with_are_known() -> None:
    brats = {"necrosis": 1, "oedema": 2, "enhancing": 4}
    nested = {"whole": list(brats), "core": ["necrosis", "enhancing"], "enhancing tumour": ["enhancing"]}
    assert LabelSet.from_values(brats, regions=nested).unwritten == ()
    del nested["core"]
    lone = LabelSet.from_values(brats, regions=nested).unwritten
    assert [(label.name, label.value) for label in lone] == [("oedema", 2)]
    assert LabelSet.from_values(brats).unwritten == ()
    assert LabelSet.from_values(brats).as_regions().unwritten == ()


def test_regions_from_inner_to_outer_are_refused_with_the_fix() -> None:
    with pytest.raises(ValidationError, match="order the regions from outer to inner"):
        LabelSet.from_values({"a": 1, "b": 2}, regions={"inner": ["a"], "outer": ["a", "b"]})


def test_a_region_with_several_labels_of_its_own_is_painted_with_the_first() -> None:
    labels = LabelSet.from_values({"a": 1, "b": 2, "c": 3}, regions={"all": ["b", "a", "c"], "c": ["c"]})
    assert labels.decode(labels.paint(np.array([[1, 1], [0, 1]], dtype=bool))).tolist() == [2, 3]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"background": 0}, "no foreground label"),
        ({"a": 1, "b": 1}, "same value"),
        ({"background": 1, "a": 1}, "same value"),
        ({"a": 1, "mean": 2}, "give that class another name"),
    ],
)
def test_contradictory_labels_are_refused(values: dict[str, int], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        LabelSet.from_values(values)


def test_two_labels_of_one_name_and_unknown_members_are_refused() -> None:
    with pytest.raises(ValidationError, match="same name"):
        LabelSet(labels=(Label(name="a", value=1), Label(name="a", value=2)))
    whole = Region(name="r", members=("a", "b"))
    with pytest.raises(ValidationError, match="two regions have the same name"):
        LabelSet(
            labels=(Label(name="a", value=1), Label(name="b", value=2)),
            regions=(whole, Region(name="r", members=("b",))),
        )
    with pytest.raises(ValidationError, match="unknown labels"):
        LabelSet(labels=(Label(name="a", value=1),), regions=(Region(name="r", members=("b",)),))
    with pytest.raises(ValidationError, match="unknown labels"):
        LabelSet(labels=(Label(name="a", value=1),), pairs=(("a", "b"),))


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["kidney_left", "kidney_right", "liver"], (("kidney_left", "kidney_right"),)),
        (["R lung", "L lung"], (("L lung", "R lung"),)),
        (["Left-Hippocampus", "Right-Hippocampus"], (("Left-Hippocampus", "Right-Hippocampus"),)),
        (["LV", "RV", "Myo"], ()),
        (["left", "liver"], ()),
        (["left_to_right", "right_to_left"], (("left_to_right", "right_to_left"),)),
        (["a left", "A Left", "a right"], (("a left", "a right"),)),
        (["left ventricle", "right ventricle", "myocardium"], ()),
        (["heart_atrium_left", "heart_atrium_right"], ()),
        (
            ["Left-Lateral-Ventricle", "Right-Lateral-Ventricle"],
            (("Left-Lateral-Ventricle", "Right-Lateral-Ventricle"),),
        ),
    ],
)
def test_left_and_right_partners_are_found_by_name(
    names: list[str], pairs: tuple[tuple[str, str], ...]
) -> None:
    assert left_right_pairs(names) == pairs


def test_partners_are_swapped_by_their_contiguous_values() -> None:
    labels = LabelSet.from_values({"kidney_right": 9, "liver": 5, "kidney_left": 2})
    assert labels.names == ("kidney_left", "liver", "kidney_right")
    assert labels.swaps == ((1, 3),)


def test_given_pairs_take_the_place_of_those_guessed_and_each_label_has_one_partner() -> None:
    values = {"kidney_left": 1, "kidney_right": 2, "A": 3, "B": 4}
    assert LabelSet.from_values(values, pairs=[("A", "B")]).swaps == ((3, 4),)
    assert LabelSet.from_values(values, pairs=[]).swaps == ()
    for wrong in ([("A", "A")], [("A", "B"), ("kidney_left", "A")]):
        with pytest.raises(ValidationError, match="two partners"):
            LabelSet.from_values(values, pairs=wrong)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["kidney_left", "liver"], True),
        (["kidney_left", "kidney_right"], False),
        (["right ventricle", "myocardium", "left ventricle"], False),
        (["left atrium"], False),
        (["Left-Lateral-Ventricle"], True),
        (["leftover", "LV", "RV", "Myo"], False),
    ],
)
def test_a_side_without_its_partner_is_known(names: list[str], expected: bool) -> None:
    labels = LabelSet.from_values({name: i for i, name in enumerate(names, start=1)})
    assert labels.one_sided is expected
    assert not labels.model_copy(update={"pairs": ()}).one_sided or expected


def test_a_label_set_comes_back_from_json() -> None:
    assert LabelSet.model_validate_json(BRATS.model_dump_json()) == BRATS


def test_what_two_regions_share_is_painted_with_the_label_for_it() -> None:
    values = {"organ": 1, "tumour": 2, "both": 5}
    regions = {"organ": ["organ", "both"], "tumour": ["tumour", "both"]}
    labels = LabelSet.from_values(values, regions=regions)
    contiguous = np.array([0, 1, 2, 3], dtype=np.uint8)
    assert labels.paint(labels.masks(contiguous)).tolist() == contiguous.tolist()
    assert labels.unwritten == ()
    # With three that overlap, what no label is for goes to the innermost.
    three = LabelSet.from_values(values | {"vessel": 7}, regions=regions | {"vessel": ["vessel"]})
    masks = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1]], dtype=bool)
    assert three.decode(three.paint(masks)).tolist() == [5, 7, 7]
