"""Data sets as records: their cases' files, to JSON and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.data.dataset import Case, Dataset, Orphan
from vesal.data.labels import LabelSet
from vesal.errors import VesalError


def test_files_of_a_case_are_those_of_its_channels_and_its_label() -> None:
    images = (Path("t1.nii.gz"), Path("t2.nii.gz"))
    assert Case(id="a", images=images, patient="a").files == images
    assert Case(id="a", images=images, label=Path("l.nii.gz"), patient="a").files == (
        *images,
        Path("l.nii.gz"),
    )


def test_a_data_set_comes_back_from_its_file_and_a_wrong_file_is_refused(tmp_path: Path) -> None:
    cases = (Case(id="a", images=(Path("a.nii.gz"),), patient="p", annotated=("organ",)),)
    dataset = Dataset(
        name="d",
        root=tmp_path,
        layout="msd",
        channels=("CT",),
        labels=LabelSet.from_values({"background": 0, "organ": 1}),
        cases=cases,
        orphans=(Orphan(id="b", path=Path("b.nii.gz"), missing="label"),),
    )
    dataset.save(tmp_path / "dataset.json")
    assert Dataset.load(tmp_path / "dataset.json") == dataset
    (tmp_path / "other.json").write_text('{"name": "d"}')
    with pytest.raises(VesalError, match=r"does not hold a data set .*make it anew"):
        Dataset.load(tmp_path / "other.json")
