"""The pictures of one case on a page."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from vesal.report.pages.case_section import case_pictures, channel_names

sys.path.insert(0, str(Path(__file__).parents[1]))
from example_run import LABELS, make_data


def test_a_case_has_slices_and_surfaces_of_truth_and_prediction(tmp_path: Path) -> None:
    dataset, _ = make_data(tmp_path / "data", 1)
    case = dataset.cases[0]
    made = case_pictures(case, LABELS, ["MRI"], prediction=case.label)
    assert made.problems == []
    assert [picture.alt for picture in made.pictures] == [
        f"Slices of {case.id} with contours",
        f"Surfaces of {case.id}: truth and prediction",
    ]
    assert set(made.surfaces) == {"truth", "prediction"}
    words = shlex.split(made.command)
    assert words == ["vesal", "view", str(case.images[0]), str(case.label), "--truth", str(case.label)]


def test_surfaces_are_left_out_where_whole_slices_are_shown(tmp_path: Path) -> None:
    dataset, _ = make_data(tmp_path / "data", 1)
    made = case_pictures(dataset.cases[0], LABELS, ["MRI"], whole=True)
    assert len(made.pictures) == 1
    assert made.surfaces == {}


def test_a_case_that_cannot_be_read_is_a_sentence_and_no_picture(tmp_path: Path) -> None:
    dataset, _ = make_data(tmp_path / "data", 1)
    Path(dataset.cases[0].images[0]).write_bytes(b"damaged")
    made = case_pictures(dataset.cases[0], LABELS, ["MRI"])
    assert made.pictures == []
    (problem,) = made.problems
    assert problem.startswith(f"No picture could be made of {dataset.cases[0].id}: ")


def test_channels_without_a_name_have_their_number() -> None:
    assert channel_names(["FLAIR", "T1"], 3) == ["FLAIR", "T1", "2"]
    assert channel_names(["FLAIR", "T1"], 1) == ["FLAIR"]
