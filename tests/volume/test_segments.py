"""Named segments in layers become one label map, by their names."""

from __future__ import annotations

from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from segment_files import write_segments

from vesal.errors import DataError
from vesal.volume.io import read_label, read_segments, write_segmentation
from vesal.volume.segments import Segment, join_named, voxel_counts
from vesal.volume.volume import LabelMap

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


@pytest.mark.parametrize("layers", [APART, OVER])
def test_a_segmentation_is_written_with_the_names_and_colours_that_it_had(
    tmp_path: Path, layers: np.ndarray
) -> None:
    source = write_segments(tmp_path / "a.seg.nrrd", layers, TWO)
    data, header = nrrd.read(str(source))
    nrrd.write(str(source), data, header | {"Segment1_Tags": "Segmentation.Status:completed|"})
    values = {"core": 4, "rim": 2, "core + rim": 9}
    label = read_label(source, values=values)
    label.array[2, 3, 4] = 4  # the voxel is of the other segment now
    write_segmentation(tmp_path / "b.seg.nrrd", label, source, values)
    again = read_label(tmp_path / "b.seg.nrrd", values=values)
    np.testing.assert_array_equal(again.array, label.array)
    assert again.geometry.close_to(label.geometry)
    segments = read_segments(tmp_path / "b.seg.nrrd")
    assert [(one.name, one.colour) for one in segments] == [("core", "#ff8000"), ("rim", "#0000ff")]
    assert segments[1].more["Tags"] == "Segmentation.Status:completed|"
    image = sitk.ReadImage(str(tmp_path / "b.seg.nrrd"))
    assert image.GetNumberOfComponentsPerPixel() == (2 if layers is OVER else 1)
    assert image.GetMetaData("Segment0_Name") == "core"


def test_a_value_of_no_segment_gets_one_and_an_empty_segment_stays(tmp_path: Path) -> None:
    source = write_segments(tmp_path / "a.seg.nrrd", APART, TWO)
    label = LabelMap(np.where(APART[1], 7, 0).astype(np.uint8), read_label(source).geometry)
    write_segmentation(tmp_path / "b.nrrd", label, source, {"core": 1, "rim": 2, "vessel": 7})
    found = {one.name: one.value for one in read_segments(tmp_path / "b.nrrd")}
    assert found == {"core": 1, "rim": 2, "vessel": 7}
    # In a format without segments it is a plain label map.
    write_segmentation(tmp_path / "b.nii.gz", label, source, None)
    np.testing.assert_array_equal(read_label(tmp_path / "b.nii.gz").array, label.array)


def test_of_named_segments_alone_the_later_value_wins_where_no_joint_name_has_one() -> None:
    layers = np.array([[1, 1, 1, 0, 2, 0], [0, 1, 1, 1, 0, 2]], dtype=np.uint8)
    segments = [Segment("lung", 1, 0), Segment("bed", 2, 0), Segment("tumour", 1, 1), Segment("ring", 2, 1)]
    joined, overlaps = join_named(layers, segments, Path("a.dcm"), {"lung": 5, "tumour": 3})
    assert joined.tolist() == [5, 5, 5, 3, 0, 0]
    assert overlaps == {"tumour and lung": 2}
    joined, overlaps = join_named(
        layers, segments, Path("a.dcm"), {"lung": 1, "tumour": 2, "lung + tumour": 3}
    )
    assert joined.tolist() == [1, 3, 3, 2, 0, 0]
    assert overlaps == {}
    with pytest.raises(DataError, match=r"holds none of the labels liver; it holds lung, bed, tumour, ring"):
        join_named(layers, segments, Path("a.dcm"), {"liver": 1})


def test_a_segment_whose_name_differs_in_the_case_of_letters_alone_is_that_label(tmp_path: Path) -> None:
    array = (APART[0] + 2 * APART[1])[None]
    path = write_segments(tmp_path / "a.seg.nrrd", array, (("Rim", 1, 0), ("Core", 2, 0)))
    values = {"core": 1, "rim": 2}
    label = read_label(path, values=values)
    np.testing.assert_array_equal(label.array, np.array([0, 2, 1])[array[0]])
    write_segmentation(tmp_path / "b.seg.nrrd", label, path, values)
    assert [one.name for one in read_segments(tmp_path / "b.seg.nrrd")] == ["Rim", "Core"]
    np.testing.assert_array_equal(read_label(tmp_path / "b.seg.nrrd", values=values).array, label.array)
    shared = write_segments(tmp_path / "c.seg.nrrd", OVER, (("Core", 1, 0), ("RIM", 1, 1)))
    joined = read_label(shared, values=values | {"core + rim": 3}).array
    np.testing.assert_array_equal(joined, OVER[0] + 2 * OVER[1])


def test_names_that_the_case_of_letters_tells_apart_stay_apart(tmp_path: Path) -> None:
    array = (APART[0] + 2 * APART[1])[None]
    path = write_segments(tmp_path / "a.seg.nrrd", array, (("Node", 1, 0), ("node", 2, 0)))
    label = read_label(path, values={"node": 1, "Node": 2})
    np.testing.assert_array_equal(label.array, np.array([0, 2, 1])[array[0]])
    with pytest.raises(DataError, match="the segment 'Node', whose value is that of another"):
        read_label(path, values={"node": 1})
