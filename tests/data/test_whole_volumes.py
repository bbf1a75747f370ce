"""What is looked at as a whole: a case, or the slices of one volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vesal.data.dataset import Case, Dataset, SliceOf
from vesal.data.fingerprint import fingerprint
from vesal.data.labels import LabelSet
from vesal.data.whole_volumes import whole_volumes
from vesal.volume.geometry import Geometry
from vesal.volume.io import write_label, write_volume
from vesal.volume.volume import LabelMap, Volume

LABELS = LabelSet.from_values({"tumour": 1})
GRID = Geometry.from_spacing((6, 5), (0.5, 2.0))


def dataset(folder: Path, places: dict[str, SliceOf | None]) -> Dataset:
    cases = []
    for number, (name, place) in enumerate(places.items()):
        label = np.zeros(GRID.shape, np.uint8)
        label[:number] = 1
        write_volume(folder / f"{name}.png", Volume(np.full((1, 6, 5), 9 + number, np.uint8), GRID))
        write_label(folder / f"{name}_label.png", LabelMap(label, GRID))
        files = (folder / f"{name}.png",), folder / f"{name}_label.png"
        cases.append(Case(id=name, images=files[0], label=files[1], patient=name, slice_of=place))
    return Dataset(
        name="d", root=folder, layout="manifest", channels=("image",), labels=LABELS, cases=tuple(cases)
    )


def test_slices_are_one_volume_in_the_order_of_their_numbers_and_measured_in_millilitres(tmp_path):
    places = {"b": SliceOf(volume="v", number=2, distance_mm=4), "x": None}
    places["a"] = SliceOf(volume="v", number=1, distance_mm=4)
    data = dataset(tmp_path, places)
    whole, alone = whole_volumes(data, fingerprint(data).cases)
    assert [record.id for record in whole.records] == ["a", "b"]
    assert (whole.name, whole.sliced, whole.unit) == ("v", True, "ml")
    assert whole.voxels(["tumour"]) == 10  # none in the first file, ten in the third
    assert whole.size(["tumour"]) == pytest.approx(10 * 0.5 * 2.0 * 4 / 1000)
    assert (alone.name, alone.sliced, alone.unit) == ("x", False, "mm2")
    assert alone.size(["tumour"]) == pytest.approx(5 * 0.5 * 2.0)


@pytest.mark.parametrize("distances", [(None, None), (4.0, 5.0)])
def test_slices_whose_distance_is_not_one_have_areas(tmp_path, distances):
    places = {
        name: SliceOf(volume="v", number=number, distance_mm=distance)
        for number, (name, distance) in enumerate(zip("ab", distances, strict=True))
    }
    data = dataset(tmp_path, dict(places))
    (whole,) = whole_volumes(data, fingerprint(data).cases)
    assert (whole.unit, whole.slice_mm) == ("mm2", None)
    assert whole.size(["tumour"]) == pytest.approx(5 * 0.5 * 2.0)
