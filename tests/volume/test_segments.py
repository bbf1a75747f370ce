"""Named segments in layers become one label map, by their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from segment_files import write_segments

from vesal.errors import DataError
from vesal.volume.io import read_label, read_segments
from vesal.volume.segments import Segment, voxel_counts

APART = np.zeros((2, 3, 4, 5), np.uint8)
APART[0, :1], APART[1, 2:] = 1, 1
OVER = APART.copy()
OVER[1, 0, :2] = 1
TWO = (("core", 1, 0), ("rim", 1, 1))


def test_names_values_layers_and_colours_are_read(tmp_path: Path) -> None:
    path = write_segments(tmp_path / "a.seg.nrrd", APART, (("Kern u", 1, 0), ("rim", 1, 1)))
    path.write_bytes(path.read_bytes().replace(b"Kern u", "Kern ü".encode()))
    assert read_segments(path) == (Segment("Kern ü", 1, 0, "#ff8000"), Segment("rim", 1, 1, "#0000ff"))
    old = write_segments(tmp_path / "b.seg.nrrd", APART, TWO, old=True)
    assert [(one.value, one.layer) for one in read_segments(old)] == [(1, 0), (1, 1)]


def test_layers_that_do_not_overlap_become_one_label_map(tmp_path: Path) -> None:
    path = write_segments(tmp_path / "a.seg.nrrd", APART, TWO)
    expected = APART[0] + 2 * APART[1]
    np.testing.assert_array_equal(read_label(path).array, expected)
    np.testing.assert_array_equal(
        read_label(path, values={"rim": 7, "core": 3}).array, np.array([0, 3, 7])[expected]
    )


def test_a_name_tells_the_class_though_its_value_is_another_in_each_file(tmp_path: Path) -> None:
    array = (APART[0] + 2 * APART[1])[None]
    first = write_segments(tmp_path / "a.seg.nrrd", array, (("core", 1, 0), ("rim", 2, 0)))
    other = write_segments(tmp_path / "b.seg.nrrd", array, (("rim", 1, 0), ("core", 2, 0)))
    values = {"core": 1, "rim": 2}
    np.testing.assert_array_equal(read_label(first, values=values).array, array[0])
    np.testing.assert_array_equal(read_label(other, values=values).array, np.array([0, 2, 1])[array[0]])
    np.testing.assert_array_equal(read_label(other).array, array[0])


def test_overlapping_layers_need_a_value_for_what_they_share(tmp_path: Path) -> None:
    path = write_segments(tmp_path / "a.seg.nrrd", OVER, TWO)
    with pytest.raises(DataError, match=r"segments that overlap \(core, rim\)"):
        read_label(path)
    label = read_label(path, values={"core": 1, "rim": 2, "core + rim": 3})
    np.testing.assert_array_equal(label.array, OVER[0] + 2 * OVER[1])
    assert voxel_counts(OVER, read_segments(path), path) == {("core",): 10, ("rim",): 20, ("core", "rim"): 10}


def test_what_no_segment_names_and_names_of_other_labels_are_refused(tmp_path: Path) -> None:
    strange = APART.copy()
    strange[0, 1] = 9
    with pytest.raises(DataError, match="value 9, which none of its segments has"):
        read_label(write_segments(tmp_path / "a.seg.nrrd", strange, TWO))
    path = write_segments(tmp_path / "b.seg.nrrd", APART, TWO)
    with pytest.raises(DataError, match="none is a label of the data set"):
        read_label(path, values={"liver": 1, "spleen": 2})
    with pytest.raises(DataError, match="the segment 'rim', whose value is that of another"):
        read_label(path, values={"core": 2})
