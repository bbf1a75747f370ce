"""Label values on the way to another layout: maps, merging, and what regions and pairs become."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.convert.relabel import consecutive, for_pictures, remapped, unchanged
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError

BRATS = LabelSet.from_values(
    {"core": 1, "oedema": 2, "enhancing": 4},
    regions={
        "whole": ["oedema", "core", "enhancing"],
        "inner": ["core", "enhancing"],
        "active": ["enhancing"],
    },
)


def test_an_unchanged_label_map_is_the_very_array() -> None:
    array = np.array([0, 4, 2], dtype=np.int16)
    assert unchanged(BRATS).apply(array) is array


def test_a_value_that_nobody_declared_is_refused_even_where_nothing_changes() -> None:
    with pytest.raises(DataError, match=r"\[3\] are not declared"):
        unchanged(BRATS).apply(np.array([0, 3]))


def test_values_can_change_places() -> None:
    swapped = remapped(BRATS, {1: 2, 2: 1})
    assert swapped.apply(np.array([0, 1, 2, 4])).tolist() == [0, 2, 1, 4]
    assert {label.name: label.value for label in swapped.target.labels} == {
        "oedema": 1,
        "core": 2,
        "enhancing": 4,
    }
    assert swapped.target.regions == BRATS.regions


def test_two_labels_of_one_value_are_refused_unless_they_are_merged() -> None:
    with pytest.raises(UsageError, match=r"1 and 2 would both become 1.*--merge"):
        remapped(BRATS, {2: 1})
    merged = remapped(BRATS, {2: 1}, merge=True)
    assert merged.target.names == ("core", "enhancing")
    assert merged.apply(np.array([0, 1, 2, 4])).tolist() == [0, 1, 1, 4]


def test_regions_that_merging_makes_the_same_are_one_and_others_keep_their_members() -> None:
    merged = remapped(BRATS, {2: 1}, merge=True).target
    assert {region.name: region.members for region in merged.regions} == {
        "whole": ("core", "enhancing"),
        "active": ("enhancing",),
    }


def test_a_label_may_be_given_up_to_the_background_but_not_the_other_way() -> None:
    labels = LabelSet.from_values({"a": 1, "b": 2})
    dropped = remapped(labels, {2: 0}, merge=True)
    assert dropped.target.names == ("a",)
    assert dropped.apply(np.array([0, 1, 2])).tolist() == [0, 1, 0]
    with pytest.raises(UsageError, match="background"):
        remapped(labels, {0: 2}, merge=True)
    with pytest.raises(UsageError, match="no foreground label"):
        remapped(labels, {1: 0, 2: 0}, merge=True)


def test_a_merged_label_was_drawn_only_where_all_its_parts_were() -> None:
    merged = remapped(LabelSet.from_values({"a": 1, "b": 2, "c": 3}), {2: 1}, merge=True)
    assert merged.annotated(["a", "c"]) == ("c",)
    assert merged.annotated(["a", "b"]) == ("a",)
    assert merged.annotated(None) is None


def test_pairs_stay_unless_a_side_is_merged() -> None:
    labels = LabelSet.from_values({"kidney_left": 1, "kidney_right": 2, "liver": 3})
    assert remapped(labels, {3: 9}).target.pairs == (("kidney_left", "kidney_right"),)
    assert remapped(labels, {2: 3}, merge=True).target.pairs == ()


def test_an_unknown_value_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no label value 7 to map; the values are 0, 1, 2, 4"):
        remapped(BRATS, {7: 1})


def test_nnunet_values_have_no_gap_and_ignore_comes_last() -> None:
    labels = LabelSet.from_values({"background": 5, "a": 1, "b": 9, "ignore": -1})
    made = consecutive(unchanged(labels))
    assert made.target.values == (0, 1, 2, 3)
    assert made.apply(np.array([5, 1, 9, -1])).tolist() == [0, 1, 2, 3]


def test_masks_are_white_for_one_class_and_counted_for_several() -> None:
    one = for_pictures(unchanged(LabelSet.from_values({"tumour": 7})))
    assert one.apply(np.array([0, 7])).tolist() == [0, 255]
    several = for_pictures(unchanged(LabelSet.from_values({"a": 3, "b": 7, "ignore": 9})))
    assert several.apply(np.array([0, 3, 7, 9])).tolist() == [0, 1, 2, 255]
    assert several.apply(np.array([0, 3, 7, 9])).dtype == np.uint8
