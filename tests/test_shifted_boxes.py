"""The benchmark of wrong boxes: what it shifts, what it cuts, what it counts."""

import sys
from pathlib import Path

import numpy as np

# benchmarks/ is no part of the package: it is imported from the root of the repository.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.shifted_boxes import Trial, cut_field, shifted, table

from vesal.data.crop import mask_box
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume


def test_a_box_is_shifted_by_a_share_of_its_sides_and_ends_with_the_scan() -> None:
    box, shape = ((10, 10, 10), (30, 20, 14)), (40, 40, 40)
    for seed in range(30):
        start, stop = shifted(box, 0.5, shape, np.random.default_rng(seed))
        moved = np.subtract(start, box[0])
        assert moved.any()
        assert set(np.abs(moved).tolist()) <= {0, 10, 5, 2}
        assert all(0 <= a < b <= size for a, b, size in zip(start, stop, shape, strict=True))
    assert any(shifted(box, 0.75, shape, np.random.default_rng(seed))[1][0] == 40 for seed in range(10))


def test_a_field_of_view_loses_a_share_of_the_organ_and_stays_in_its_place() -> None:
    label = np.zeros((20, 20, 20), dtype=bool)
    label[4:12, 6:10, 5:9] = True
    affine = np.array([[0, 2.0, 0, 5], [1.5, 0, 0, 6], [0, 0, 3.0, 7], [0, 0, 0, 1]])
    volume = Volume(np.arange(8000, dtype=np.float32).reshape(1, 20, 20, 20), Geometry((20, 20, 20), affine))
    part, kept = cut_field(volume, label, 0, 0.25, "first")
    assert kept.shape == part.geometry.shape == (14, 20, 20)
    assert kept.sum() == 0.75 * label.sum()
    assert mask_box(kept) == ((0, 6, 5), (6, 10, 9))
    assert part.array[0, 0, 0, 0] == volume.array[0, 6, 0, 0]
    np.testing.assert_allclose(part.geometry.affine[:3, 3], affine[:3] @ [6, 0, 0, 1])
    part, kept = cut_field(volume, label, 0, 0.25, "last")
    assert kept.shape == part.geometry.shape == (10, 20, 20)
    assert mask_box(kept) == ((4, 6, 5), (10, 10, 9))
    np.testing.assert_array_equal(part.geometry.affine, affine)


def test_poor_results_and_those_marked_are_counted_by_change() -> None:
    found = [
        Trial("a", "none", 0.9, ""),
        Trial("a", "shift", 0.5, "cut"),
        Trial("b", "shift", 0.7, ""),
        Trial("b", "shift", 0.9, "cut"),
    ]
    lines = table(found).splitlines()
    assert lines[2] == "| none | 1 | 0.900 | 0 | 0 | 0 of 1 |"
    assert lines[3] == "| shift | 3 | 0.700 | 2 | 1 | 1 of 1 |"
