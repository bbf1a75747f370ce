"""A model and a scan -> a label map on the scan's own grid."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_model import calibration_of, package
from small_model import plan as small_plan
from small_model import scan as small_scan
from torch import Tensor

from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError
from vesal.infer.model import Model
from vesal.infer.quality.encoder_features import encoder_of
from vesal.infer.quality.estimate import QualityEstimator
from vesal.infer.window_overlap import OVERLAP
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.preprocessing.prepare import prepare
from vesal.volume.geometry import Geometry, Turn
from vesal.volume.volume import Volume

LABELS = LabelSet.from_values({"dim": 3, "bright": 9})


def plan(**changes: object) -> Plan:
    values: dict[str, object] = {
        "dimension": 3,
        "spacing_mm": (1.0, 1.0, 1.0),
        "patch": (16, 16, 16),
        "batch": 1,
        "stages": (Stage(features=4, kernel=(3, 3, 3), stride=(1, 1, 1)),),
        "normalisation": (Normalisation(scheme="none"),),
        "mirror_axes": (0, 1, 2),
        "channels": ("MRI",),
        "labels": LABELS,
        "median_shape": (20, 20, 20),
    }
    return Plan.model_validate(values | changes)


def by_intensity(batch: Tensor) -> Tensor:
    """Background under 1, 'dim' under 2, 'bright' above."""
    return torch.cat([1.0 - batch, 0.5 - (batch - 1.5).abs(), batch - 2.0], dim=1) * 10


def scan(shape: tuple[int, ...] = (20, 24, 18), spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Volume:
    array = np.zeros(shape, dtype=np.float32)
    middle = tuple(slice(size // 4, -size // 4) for size in shape)
    core = tuple(slice(size // 3, size // 3 + 4) for size in shape)
    array[...] = 0.1
    array[middle] = 1.5
    array[core] = 2.6
    return Volume(array[None], Geometry.from_spacing(shape, spacing))


def model(made: Plan | None = None, *networks: object) -> Model:
    return Model(made or plan(), networks or (by_intensity,), torch.device("cpu"))  # type: ignore[arg-type]


def test_a_mask_has_the_training_files_values_on_the_scans_grid() -> None:
    volume = scan()
    label = model().predict(volume).label
    assert label.geometry.close_to(volume.geometry)
    expected = np.where(volume.array[0] > 2, 9, np.where(volume.array[0] > 1, 3, 0))
    np.testing.assert_array_equal(label.array, expected)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_however_the_scan_is_stored_its_mask_is_the_same_in_space(order: tuple[int, ...]) -> None:
    volume = scan()
    straight = model().predict(volume).label.array
    for flips in itertools.product((False, True), repeat=3):
        turn = Turn(order, flips)
        turned = Volume(np.ascontiguousarray(turn.apply(volume.array)), volume.geometry.turned(turn))
        label = model().predict(turned).label
        assert label.geometry.close_to(turned.geometry)
        np.testing.assert_array_equal(turn.undo(label.array), straight)


def test_a_scan_of_another_spacing_comes_back_on_its_own_grid() -> None:
    volume = scan((40, 30, 20), (0.5, 0.8, 1.0))
    label = model().predict(volume).label
    assert label.array.shape == (40, 30, 20)
    expected = volume.array[0] > 1
    overlap = 2 * (expected & (label.array > 0)).sum() / (expected.sum() + (label.array > 0).sum())
    assert overlap > 0.9


def test_probabilities_sum_to_one_with_the_background_which_is_all_there_is_outside_the_crop() -> None:
    volume = scan()
    array = volume.array.copy()
    array[:, :5] = 0
    volume = Volume(array, volume.geometry)
    made = model()
    prepared = prepare(volume, made.plan)
    background = made.logits(prepared.image, made.windows()).softmax(dim=0)[0].numpy()
    found = made.predict(volume, probabilities=True).probabilities
    assert found is not None
    classes = np.sum(list(found.values()), axis=0)
    np.testing.assert_allclose(prepared.crop.cut(classes) + background, 1, atol=1e-5)
    assert (classes[:5] == 0).all()


def test_networks_vote_by_the_mean_of_their_logits() -> None:
    together = model(None, by_intensity, lambda batch: by_intensity(batch) * 3)
    alone = model(None, lambda batch: by_intensity(batch) * 2)
    one = together.predict(scan(), probabilities=True).probabilities
    other = alone.predict(scan(), probabilities=True).probabilities
    assert one is not None
    assert other is not None
    for name in ("dim", "bright"):
        np.testing.assert_allclose(one[name], other[name], atol=1e-5)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.8, 2.5)])
@pytest.mark.parametrize("shape", [(20, 24, 50), (50, 24, 20), (9, 60, 30)])
def test_labels_made_row_by_row_are_those_of_the_whole_volumes_logits(
    shape: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    made = model(None, by_intensity, lambda batch: by_intensity(batch) * 3)
    volume = scan(shape, spacing)
    volume.array[:, :, :3] = 0
    prepared = prepare(volume, made.plan)
    windows = made.windows(mirror=True)
    streamed = made.segment(prepared, windows, threshold=0.4)
    whole = made.from_logits(made.logits(prepared.image, windows), prepared, threshold=0.4)
    np.testing.assert_array_equal(streamed.array, whole.array)
    assert streamed.geometry.close_to(volume.geometry)
    assert len(np.unique(streamed.array)) == 3


def test_test_time_mirroring_leaves_left_and_right_alone_where_labels_have_sides() -> None:
    sides = LabelSet.from_values({"kidney left": 1, "kidney right": 2})
    assert model(plan(labels=sides)).windows(mirror=True).mirror_axes == (1, 2)
    lone = LabelSet.from_values({"kidney left": 1, "liver": 2})
    assert model(plan(labels=lone)).windows(mirror=True).mirror_axes == (1, 2)
    assert model().windows(mirror=True).mirror_axes == (0, 1, 2)
    assert model().windows().mirror_axes == ()
    assert model().windows().overlap == OVERLAP


def test_arrays_are_taken_with_their_spacing() -> None:
    volume = scan()
    label = model().predict(volume.array, spacing_mm=(1, 1, 1)).label
    np.testing.assert_array_equal(label.array, model().predict(volume).label.array)
    with pytest.raises(UsageError, match="spacing_mm"):
        model().predict(volume.array)


def test_a_2d_model_of_volumes_works_slice_by_slice() -> None:
    flat = {"kernel": (3, 3), "stride": (1, 1)}
    made = plan(
        dimension=2,
        slice_axis=2,
        spacing_mm=(1.0, 1.0),
        patch=(16, 16),
        stages=(Stage(features=4, **flat),),
        mirror_axes=(0, 1),
        median_shape=(20, 20),
    )
    volume = scan((20, 24, 5), (1.0, 1.0, 10.0))
    label = model(made).predict(volume).label
    expected = np.where(volume.array[0] > 2, 9, np.where(volume.array[0] > 1, 3, 0))
    np.testing.assert_array_equal(label.array, expected)


def test_a_model_of_pictures_gives_a_picture() -> None:
    made = plan(
        dimension=2,
        spacing_mm=(1.0, 1.0),
        patch=(16, 16),
        stages=(Stage(features=4, kernel=(3, 3), stride=(1, 1)),),
        mirror_axes=(0, 1),
        median_shape=(20, 20),
    )
    picture = scan((30, 20), (1.0, 1.0))
    label = model(made).predict(picture).label
    assert label.array.shape == (30, 20)
    np.testing.assert_array_equal(label.array > 0, picture.array[0] > 1)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1, 2])
def test_a_threshold_that_is_no_probability_is_refused(threshold: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        model().predict(scan(), threshold=threshold)


def test_a_scan_with_too_many_channels_is_refused() -> None:
    volume = scan()
    with pytest.raises(DataError, match="channels"):
        model().predict(Volume(np.concatenate([volume.array] * 2), volume.geometry))


def test_a_foreground_channel_is_made_of_the_scan_and_not_asked_of_it() -> None:
    seen = []

    def two_inputs(batch: Tensor) -> Tensor:
        seen.append(batch)
        return by_intensity(batch[:, :1])

    volume = scan()
    volume.array[:, :, :4] = 0
    made = plan(foreground_channel=True, crop_to_nonzero=False)
    label = model(made, two_inputs).predict(volume).label
    np.testing.assert_array_equal(label.array, model().predict(volume).label.array)
    assert all(batch.shape[1] == 2 for batch in seen)
    assert {0.0, 1.0} == {float(value) for batch in seen for value in batch[:, 1].unique()}
    with pytest.raises(DataError, match="2 channels where"):
        model(made, two_inputs).predict(Volume(np.repeat(volume.array, 2, axis=0), volume.geometry))


# --- on numpy's arrays, as in the runtime ------------------------------------------------------------------


class ByNumpy:
    """A network of torch's behind numpy's arrays."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self.module(torch.from_numpy(np.ascontiguousarray(batch))).numpy()

    def encoded(self, window: np.ndarray) -> np.ndarray:
        encoder = encoder_of(self.module)
        assert encoder is not None
        return encoder(torch.from_numpy(window))


def both(made: Plan, count: int = 1, **more: object) -> tuple[Model, Model]:
    """The same networks for torch and for numpy."""
    modules = [package(made, seed=3 + number).build() for number in range(count)]
    by_numpy = tuple(map(ByNumpy, modules))
    return Model(made, tuple(modules), torch.device("cpu"), **more), Model(made, by_numpy, None, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"spacing_mm": (1.3, 0.8, 1.1)}, 2),
        ({"dimension": 2}, 1),
        (
            {
                "labels": LabelSet.from_values(
                    {"dim": 3, "bright": 9}, regions={"all": ["dim", "bright"], "in": ["dim"]}
                )
            },
            1,
        ),
        ({"foreground_channel": True}, 1),
    ],
)
def test_numpys_masks_and_probabilities_are_torchs(changes: dict[str, object], count: int) -> None:
    by_torch, by_numpy = both(small_plan(**changes), count)
    expected = by_torch.predict(small_scan(), mirror=True, probabilities=True)
    found = by_numpy.predict(small_scan(), mirror=True, probabilities=True)
    assert (found.label.array != expected.label.array).mean() < 1e-4
    assert expected.probabilities is not None
    assert found.probabilities is not None
    for name, values in expected.probabilities.items():
        np.testing.assert_allclose(found.probabilities[name], values, atol=1e-4)
    assert found.label.array.any()


def test_numpys_two_stages_look_where_torchs_look() -> None:
    coarse = small_plan(spacing_mm=(2.0, 2.0, 2.0), patch=(16, 16, 16), blocks=True)
    plans = small_plan(locator=coarse, margin_mm=3.0, label_sizes=(10.0, 1e6))
    locators = both(coarse)
    models = [replace(one, locator=locator) for one, locator in zip(both(plans), locators, strict=True)]
    expected, found = (one.predict(small_scan()) for one in models)
    assert found.concern == expected.concern
    assert found.shape == expected.shape
    assert (found.label.array != expected.label.array).mean() < 1e-4


def test_numpys_estimate_of_the_quality_is_torchs() -> None:
    made = small_plan()
    by_torch, by_numpy = both(made)
    estimator = QualityEstimator([calibration_of(by_torch, small_scan())])
    models = [replace(one, quality_estimator=estimator) for one in (by_torch, by_numpy)]
    expected, found = (one.predict(small_scan(1), quality=True).quality for one in models)
    assert expected is not None
    assert found is not None
    assert expected.ood_scores.keys() == {
        "geometry",
        "intensity",
        "texture",
        "appearance",
        "shape",
        "encoder",
    }
    assert found.ood_scores == pytest.approx(expected.ood_scores, abs=0.02)
    assert found.uncertainty == pytest.approx(expected.uncertainty, abs=0.02)
    for name, of in expected.dice.items():
        assert found.dice[name].value == pytest.approx(of.value, abs=0.005)
    assert found.verdict == expected.verdict
