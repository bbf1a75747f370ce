"""What a prediction takes at least, by arithmetic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vesal.data.dataset import Case
from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.infer.model import Model
from vesal.memory_limit import held_bytes, limited
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.volume.geometry import Geometry
from vesal.volume.io import write_volume
from vesal.volume.volume import Volume
from vesal.workflow.prediction.case_memory import (
    labelling_bytes,
    preparing_bytes,
    refuse_too_large,
    window_bytes,
)
from vesal.workflow.prediction.predict_targets import Target

MB = 10**6


def plan(**changes: object) -> Plan:
    values: dict[str, object] = {
        "dimension": 3,
        "spacing_mm": (1.0, 1.0, 1.0),
        "patch": (32, 32, 32),
        "batch": 1,
        "stages": (
            Stage(features=8, kernel=(3, 3, 3), stride=(1, 1, 1)),
            Stage(features=16, kernel=(3, 3, 3), stride=(2, 2, 2)),
        ),
        "normalisation": (Normalisation(scheme="none"),),
        "image_order": 1,
        "mirror_axes": (),
        "channels": ("CT",),
        "labels": LabelSet.from_values({"organ": 1}),
        "median_shape": (32, 32, 32),
    }
    return Plan.model_validate(values | changes)


def model(made: Plan) -> Model:
    return Model(made, (lambda batch: batch,), torch.device("cpu"))  # type: ignore[arg-type]


def test_a_window_takes_its_largest_layer_the_skipped_ones_and_its_logits() -> None:
    made = model(plan())
    windows = made.windows()
    assert windows.batch == 16
    largest, skipped, logits = 4 * 8 * 32**3, 8 * 32**3 + 16 * 16**3, 2 * 2 * 32**3
    assert window_bytes(made, windows) == 4 * 16 * (largest + skipped + logits)


def test_a_row_grows_with_what_it_is_made_of() -> None:
    grid = Geometry.from_spacing((100, 80, 60), (1.0, 1.0, 1.0))
    same = preparing_bytes(grid, plan())
    assert same == 20 * 100 * 80 * (1 + 1 + 2)
    assert preparing_bytes(grid, plan(spacing_mm=(1.0, 1.0, 3.0))) == 20 * 100 * 80 * (3 + 1 + 2)
    assert preparing_bytes(grid, plan(image_order=3)) == 20 * 100 * 80 * (1 + 1 + 30)
    # Its slowest axis in the file is the patient's left to right.
    turned = Geometry(grid.shape, np.array([[0, 0, 1.0, 0], [1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1.0]]))
    assert preparing_bytes(turned, plan()) == same


def test_rows_of_logits_are_of_all_classes_along_the_longest_axis() -> None:
    grid = Geometry.from_spacing((100, 80, 60), (1.0, 1.0, 1.0))
    made = plan(labels=LabelSet.from_values({"a": 1, "b": 2}))
    assert labelling_bytes(grid, made, model(made).windows()) == 4 * 5 * 3 * 80 * 60


def test_of_a_cascade_both_stages_are_looked_at(tmp_path: Path) -> None:
    path, large = tmp_path / "case.nii.gz", (256, 256, 256)
    write_volume(path, Volume(np.zeros((1, 8, 8, 8), np.uint8), Geometry.from_spacing((8, 8, 8), (1, 1, 1))))
    case = Case(id="case", images=(path,), patient="case")
    target = Target(tmp_path / "mask.nii.gz", overlay=None, probabilities={})
    for patch in (large, (32, 32, 32)):
        first = plan(rules="nnunet", patch=patch)
        made = replace(model(plan(rules="nnunet", locator=first, handed_on="mask")), locator=model(first))
        with limited(held_bytes() + 450 * MB, tmp_path):
            if patch != large:
                refuse_too_large(case, target, made, made.windows())
                continue
            with pytest.raises(DataError, match=r"The network .* smaller windows"):
                refuse_too_large(case, target, made, made.windows())


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({}, ""),
        ({"overlay": Path("a.png")}, "The picture of case takes about .* leave it out"),
        ({"uncertainty": Path("u.nii")}, "The map of uncertainty .* leave out --uncertainty"),
        ({"dicom": {"sr": Path("s.dcm")}}, r"as DICOM takes about .* \(--to nifti\)"),
    ],
)
def test_what_needs_the_scan_as_a_whole_is_refused_by_its_header(
    tmp_path: Path, wanted: dict[str, object], reason: str
) -> None:
    path = tmp_path / "case.nii.gz"
    shape = (512, 512, 200)
    write_volume(path, Volume(np.zeros((1, *shape), np.uint8), Geometry.from_spacing(shape, (1, 1, 1))))
    case = Case(id="case", images=(path,), patient="case")
    target = Target(tmp_path / "case.nii.gz", **{"overlay": None, "probabilities": {}} | wanted)  # type: ignore[arg-type]
    made = model(plan())
    refuse_too_large(case, target, made, made.windows())
    with limited(held_bytes() + 450 * MB, tmp_path):
        if not reason:
            refuse_too_large(case, target, made, made.windows())
            return
        with pytest.raises(DataError, match=reason):
            refuse_too_large(case, target, made, made.windows())
