"""Steps after the network: components and holes by hand, the model file that carries them, and who does them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vesal.data.labels import LabelSet
from vesal.errors import VesalError
from vesal.infer.model import Model
from vesal.infer.postprocess import Postprocess, Step, in_order, nested, read_postprocess
from vesal.infer.predictor import load_model
from vesal.nn.model_file import Package, load_package, save_package
from vesal.nn.zoo import build_network
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.preprocessing.prepare import prepare
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume

TWO = LabelSet.from_values({"a": 1, "b": 2})
#: Values: 1 necrosis, 2 oedema, 3 enhancing.
TUMOUR = LabelSet.from_values(
    {"necrosis": 1, "oedema": 2, "enhancing": 4},
    regions={
        "whole": ["necrosis", "oedema", "enhancing"],
        "core": ["necrosis", "enhancing"],
        "active": ["enhancing"],
    },
)


def drawn(*rows: str) -> np.ndarray:
    """A 2D label map: a digit a voxel, a dot for background."""
    return np.array([[0 if letter == "." else int(letter) for letter in row] for row in rows], dtype=np.uint8)


def done(array: np.ndarray, *steps: Step, labels: LabelSet = TWO, voxel_mm3: float = 1.0) -> list[str]:
    result = array.copy(order="K")
    Postprocess(steps=steps).apply(result, labels, voxel_mm3)
    return ["".join(str(value) if value else "." for value in row) for row in result]


# --- steps by hand -----------------------------------------------------------------------------------------


def test_the_largest_component_of_a_class_stays_and_other_classes_are_left_alone() -> None:
    array = drawn("11...", "11..2", ".....", "1.1.2")
    assert done(array, Step(do="largest", of="a")) == ["11...", "11..2", ".....", "....2"]


def test_voxels_that_touch_at_a_corner_are_one_component() -> None:
    array = drawn("1....", ".1...", "...11")
    assert done(array, Step(do="largest", of="a")) == ["1....", ".1...", "....."]


@pytest.mark.parametrize("order", ["C", "F"])
def test_of_equal_components_the_first_by_the_first_axis_stays_whatever_the_order_in_memory(
    order: Any,
) -> None:
    array = np.asarray(drawn("....1", ".....", "1...."), order=order)
    assert done(array, Step(do="largest", of="a")) == ["....1", ".....", "....."]


def test_all_foreground_together_keeps_small_classes_that_touch_the_largest_component() -> None:
    array = drawn("112..", "11...", ".....", "...22")
    assert done(array, Step(do="largest")) == ["112..", "11...", ".....", "....."]


@pytest.mark.parametrize(
    ("step", "stays"),
    [
        (Step(do="min_size", of="a", voxels=2), False),
        (Step(do="min_size", of="a", voxels=1), True),
        (Step(do="min_size", of="a", mm3=0.5), True),
        (Step(do="min_size", of="a", mm3=0.51), False),
    ],
)
def test_a_component_of_just_the_limit_stays_and_one_under_it_goes(step: Step, stays: bool) -> None:
    array = drawn("11.1")
    assert done(array, step, voxel_mm3=0.5) == ["11.1" if stays else "11.."]


def test_a_limit_with_rounding_in_it_spares_what_measures_just_so_much() -> None:
    array = drawn("111")
    assert done(array, Step(do="min_size", of="a", mm3=0.3), voxel_mm3=0.1) == ["111"]


def test_a_class_whose_total_is_under_the_limit_is_dropped_whole() -> None:
    array = drawn("11.1", "2222")
    assert done(array, Step(do="min_volume", of="a", mm3=4)) == ["....", "2222"]
    assert done(array, Step(do="min_volume", of="a", mm3=3)) == ["11.1", "2222"]


def test_a_hole_takes_background_and_no_other_class() -> None:
    array = drawn("1111111", "1.12111", "1111111")
    assert done(array, Step(do="fill_holes", of="a")) == ["1111111", "1112111", "1111111"]


def test_background_between_two_classes_or_open_to_the_border_is_no_hole() -> None:
    array = drawn("11111", "1.212", "11111")
    assert done(array, Step(do="fill_holes", of="a")) == ["11111", "1.212", "11111"]
    array = drawn("1111", "1...", "1111")
    assert done(array, Step(do="fill_holes", of="a")) == ["1111", "1...", "1111"]


def test_a_hole_that_leaks_through_a_corner_only_is_still_a_hole() -> None:
    array = drawn(".111", "1.11", "1111")
    assert done(array, Step(do="fill_holes", of="a")) == [".111", "1111", "1111"]


def test_in_three_dimensions_a_hole_in_one_slice_that_is_open_in_the_next_is_none() -> None:
    array = np.ones((5, 5, 5), dtype=np.uint8)
    array[2, 2, 2:] = 0
    closed = array.copy()
    closed[2, 2, 4] = 1
    step = Postprocess(steps=(Step(do="fill_holes", of="a"),))
    assert step.apply(array, TWO, 1.0) == 0
    assert step.apply(closed, TWO, 1.0) == 2
    assert (closed == 1).all()


def test_what_leaves_a_region_goes_to_the_region_around_it() -> None:
    array = drawn("2222222", "2311322", "2211222", "2222222")
    # The second enhancing spot touches the first by the core only: it becomes core, whose value is necrosis.
    assert done(array, Step(do="largest", of="active"), labels=TUMOUR)[1] == "2311122"
    assert done(array, Step(do="min_volume", of="active", voxels=3), labels=TUMOUR)[1] == "2111122"
    assert done(array, Step(do="min_volume", of="core", voxels=9), labels=TUMOUR)[1] == "2222222"
    assert done(array, Step(do="min_volume", of="whole", voxels=99), labels=TUMOUR)[1] == "......."


def test_a_hole_of_a_region_may_lie_between_its_labels() -> None:
    array = drawn("22222", "21.32", "22222")
    assert done(array, Step(do="fill_holes", of="core"), labels=TUMOUR)[1] == "21.32"
    assert done(array, Step(do="fill_holes", of="whole"), labels=TUMOUR)[1] == "21232"


def test_nothing_happens_to_an_empty_label_map() -> None:
    steps = [Step(do="largest"), Step(do="largest", of="a"), Step(do="fill_holes", of="a")]
    assert done(drawn("...", "..."), *steps) == ["...", "..."]


def test_doing_the_steps_again_changes_nothing() -> None:
    generator = np.random.default_rng(0)
    array = generator.integers(0, 3, (20, 20, 20)).astype(np.uint8)
    steps = Postprocess(
        steps=in_order(
            [
                Step(do="fill_holes", of="a"),
                Step(do="min_size", of="b", voxels=4),
                Step(do="largest", of="a"),
            ],
            TWO,
        )
    )
    assert steps.apply(array, TWO, 1.0) > 0
    again = array.copy()
    assert steps.apply(again, TWO, 1.0) == 0
    np.testing.assert_array_equal(again, array)


def test_steps_are_done_all_foreground_first_then_outer_regions_and_holes_last_from_inside() -> None:
    steps = [
        Step(do="fill_holes", of="whole"),
        Step(do="fill_holes", of="core"),
        Step(do="largest", of="core"),
        Step(do="min_volume", of="whole", mm3=1),
        Step(do="largest"),
    ]
    ordered = in_order(steps, TUMOUR)
    assert [(step.do, step.of) for step in ordered] == [
        ("largest", None),
        ("min_volume", "whole"),
        ("largest", "core"),
        ("fill_holes", "core"),
        ("fill_holes", "whole"),
    ]


def test_regions_that_overlap_in_part_are_not_nested() -> None:
    crossing = LabelSet.from_values({"a": 1, "b": 2, "c": 3}, regions={"ab": ["a", "b"], "bc": ["b", "c"]})
    assert nested(TUMOUR)
    assert nested(TWO)
    assert not nested(crossing)


@pytest.mark.parametrize(
    "values",
    [
        {"do": "largest", "of": "a", "mm3": 1.0},
        {"do": "min_size", "of": "a"},
        {"do": "min_size", "mm3": 1.0},
        {"do": "fill_holes"},
        {"do": "erase", "of": "a"},
    ],
)
def test_a_step_that_contradicts_itself_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"limit|class|do"):
        Step.model_validate(values)


# --- the model file ----------------------------------------------------------------------------------------

PLAN = Plan(
    dimension=3,
    spacing_mm=(1.0, 1.0, 1.0),
    patch=(16, 16, 16),
    batch=1,
    stages=(Stage(features=4, kernel=(3, 3, 3), stride=(1, 1, 1)),),
    normalisation=(Normalisation(scheme="none"),),
    mirror_axes=(),
    channels=("MRI",),
    labels=LabelSet.from_values({"dim": 3, "bright": 9}),
    median_shape=(20, 20, 20),
)
STEPS = Postprocess(
    steps=(Step(do="min_size", of="dim", mm3=12.5), Step(do="largest", of="bright")),
    cases=20,
    gain=0.01,
    crossfit_gain=0.008,
)


def saved(path: Path, postprocess: dict[str, Any] | None) -> Path:
    torch.manual_seed(0)
    weights = build_network("unet", PLAN).state_dict()
    save_package(path, Package(PLAN, "unet", {}, {}, weights, postprocess=postprocess))
    return path


def test_steps_come_out_of_the_model_file_as_they_went_in(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.vesal", STEPS.to_dict())
    assert read_postprocess(load_package(path).postprocess, PLAN.labels, path) == STEPS
    assert load_model(path, device="cpu", backend="torch").postprocess == STEPS
    assert load_model(path, device="cpu", backend="torch", postprocess=False).postprocess is None
    assert (
        load_model(saved(tmp_path / "other.vesal", None), device="cpu", backend="torch").postprocess is None
    )


@pytest.mark.parametrize(
    "change",
    [
        {"steps": None},
        {"steps": "largest"},
        {"steps": [{"do": "largest", "of": "no such class"}]},
        {"steps": [{"do": "os.system", "of": "dim"}]},
        {"steps": [{"do": "min_size", "of": "dim", "mm3": -1.0}]},
        {"steps": [{"do": "min_size", "of": "dim", "mm3": 1e300}]},
        {"steps": [{"do": "min_size", "of": "dim", "mm3": "12"}]},
        {"steps": [{"do": "min_size", "of": "dim", "mm3": True}]},
        {"steps": [{"do": "min_size", "of": "dim", "voxels": 1.5}]},
        {"steps": [{"do": "min_size", "of": "dim", "voxels": 1 << 70}]},
        {"steps": [{"do": "largest", "of": "dim", "more": 1}]},
        {"steps": [{"do": "largest", "of": {"a": 1}}]},
        {"steps": [{"do": "largest", "of": "dim"}] * 5000},
        {"steps": [[[[]]]]},
        {"gain": 7.0},
        {"version": 0},
        {"version": True},
        {"version": 2},
        {"unknown": 1},
    ],
)
def test_a_hostile_model_file_is_refused_in_one_sentence(tmp_path: Path, change: dict[str, Any]) -> None:
    path = saved(tmp_path / "model.vesal", STEPS.to_dict() | change)
    with pytest.raises(VesalError, match=r"model\.vesal is not a usable Vesal model") as told:
        load_model(path, device="cpu", backend="torch")
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 500
    # Without the steps nothing of them is read.
    load_model(path, device="cpu", backend="torch", postprocess=False)


def test_models_with_different_steps_do_not_vote_together(tmp_path: Path) -> None:
    one = saved(tmp_path / "one.vesal", STEPS.to_dict())
    other = saved(tmp_path / "other.vesal", None)
    with pytest.raises(VesalError, match="--no-postprocess"):
        load_model([one, other], device="cpu", backend="torch")
    assert load_model([one, other], device="cpu", backend="torch", postprocess=False).postprocess is None
    # What the steps were worth may differ: it is what is done that counts.
    same = saved(tmp_path / "same.vesal", STEPS.to_dict() | {"gain": None})
    assert load_model([one, same], device="cpu", backend="torch").postprocess == STEPS


# --- who does them -----------------------------------------------------------------------------------------


def by_intensity(batch: Tensor) -> Tensor:
    return torch.cat([1.0 - batch, 0.5 - (batch - 1.5).abs(), batch - 2.0], dim=1) * 10


def test_a_model_does_its_steps_in_the_stream_and_in_whole_logits_on_the_scan_s_own_grid() -> None:
    array = np.full((1, 20, 24, 18), 0.1, dtype=np.float32)
    array[0, 4:14, 4:14, 4:14] = 1.5
    array[0, 6:8, 6:8, 6:8] = 2.6
    array[0, 18, 20, 15] = 2.6
    array[0, 18, 2, 2] = 1.5
    volume = Volume(array, Geometry.from_spacing(array.shape[1:], (2.0, 2.0, 2.0)))
    plan = PLAN.model_copy(update={"spacing_mm": (2.0, 2.0, 2.0)})
    raw = Model(plan, (by_intensity,), torch.device("cpu"))
    model = Model(plan, (by_intensity,), torch.device("cpu"), postprocess=STEPS)
    said, found = raw.predict(volume).label.array, model.predict(volume).label.array
    assert said[18, 20, 15] == 9
    assert said[18, 2, 2] == 3
    # One voxel is 8 mm3, under the limit of 12.5 mm3.
    assert found[18, 20, 15] == 0
    assert found[18, 2, 2] == 0
    expected = said.copy()
    expected[18, 20, 15] = expected[18, 2, 2] = 0
    np.testing.assert_array_equal(found, expected)
    prepared = prepare(volume, plan)
    whole = model.from_logits(model.logits(prepared.image, model.windows()), prepared)
    np.testing.assert_array_equal(whole.array, expected)
