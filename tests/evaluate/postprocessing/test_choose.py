"""Which steps are chosen: the tables say what scoring the volumes says, an island is found, noise is not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vesal.data.labels import IGNORE, LabelSet
from vesal.evaluate.case_scores import score_case
from vesal.evaluate.postprocessing.choice_record import PostprocessChoice
from vesal.evaluate.postprocessing.choose import LEAST_PATIENTS, choose
from vesal.evaluate.postprocessing.component_table import CaseRows, ClassRows, HoleRows, case_rows
from vesal.evaluate.postprocessing.simulate import ProcessedCase, Steps, ValidationCases
from vesal.infer.postprocess import Postprocess, Step, in_order
from vesal.metrics.overlap import confusions
from vesal.volume.geometry import Geometry

TWO = LabelSet.from_values({"a": 1, "b": 2})
TUMOUR = LabelSet.from_values(
    {"necrosis": 1, "oedema": 2, "enhancing": 4},
    regions={
        "whole": ["necrosis", "oedema", "enhancing"],
        "core": ["necrosis", "enhancing"],
        "active": ["enhancing"],
    },
)
Pairs = list[tuple[np.ndarray, np.ndarray]]


def validation_cases(
    pairs: Pairs, labels: LabelSet, spacing: tuple[float, ...], patients: int | None = None
) -> ValidationCases:
    """Of (prediction, truth) in memory."""
    geometry = Geometry.from_spacing(pairs[0][0].shape, spacing)
    rows = [
        case_rows(
            f"case {i}",
            f"patient {i % (patients or len(pairs))}",
            prediction,
            truth,
            labels,
            voxel_mm3=geometry.voxel_volume_mm3,
        )
        for i, (prediction, truth) in enumerate(pairs)
    ]

    def process(case: int, steps: Steps) -> ProcessedCase:
        prediction, truth = pairs[case][0].copy(), pairs[case][1]
        Postprocess(steps=steps).apply(prediction, labels, geometry.voxel_volume_mm3)
        return ProcessedCase(prediction, truth, geometry)

    return ValidationCases(labels, rows, process, workers=1)


def speckled(generator: np.random.Generator, shape: tuple[int, ...], values: int, share: float) -> np.ndarray:
    """Blobs of a few voxels with holes in them."""
    from scipy.ndimage import uniform_filter

    fields = [uniform_filter(generator.random(shape), 3) for _ in range(values)]
    limits = [np.quantile(field, 1 - share) for field in fields]
    array = np.zeros(shape, dtype=np.uint8)
    for value, (field, limit) in enumerate(zip(fields, limits, strict=True), start=1):
        array[field > limit] = value
    array[generator.random(shape) < 0.02] = 0
    return array


def every_step(labels: LabelSet) -> list[Step]:
    found = [Step(do="largest")]
    for name in labels.classes:
        found += [
            Step(do="largest", of=name),
            Step(do="min_size", of=name, mm3=20.0),
            Step(do="min_size", of=name, voxels=3),
            Step(do="min_volume", of=name, mm3=400.0),
            Step(do="fill_holes", of=name),
        ]
    return found


@pytest.mark.parametrize("labels", [TWO, TUMOUR, TWO.as_regions()], ids=["classes", "regions", "one by one"])
@pytest.mark.parametrize("shape", [(12, 10, 8), (30, 26)], ids=["3D", "2D"])
def test_the_tables_give_the_dice_of_the_volumes_after_any_steps(
    labels: LabelSet, shape: tuple[int, ...]
) -> None:
    generator = np.random.default_rng(len(shape))
    spacing = (1.0, 2.0, 3.0)[: len(shape)]
    values = len(labels.labels)
    pairs = []
    for share in (0.45, 0.3, 0.1):
        truth = speckled(generator, shape, values, 0.2)
        truth[generator.random(shape) < 0.05] = IGNORE
        pairs.append((speckled(generator, shape, values, share), truth))
    pairs.append((np.zeros(shape, dtype=np.uint8), pairs[0][1]))
    pairs.append((pairs[0][0], np.zeros(shape, dtype=np.uint8)))
    validation = validation_cases(pairs, labels, spacing)
    all_steps = every_step(labels)
    draws = [tuple(step for step in all_steps if generator.random() < 0.25) for _ in range(12)]
    filled = 0
    for steps in [(), *((step,) for step in all_steps), *draws]:
        ordered = in_order(steps, labels)
        found = np.stack([validation.dice(index, ordered) for index in range(len(labels.classes))], axis=1)
        for case, (prediction, truth) in enumerate(pairs):
            processed = validation._process(case, ordered)
            filled += np.count_nonzero((processed.prediction > 0) & (prediction == 0))
            counts = confusions(processed.prediction, truth, labels.class_table)
            wanted = [1.0 if one.dice is None else one.dice for one in counts]
            np.testing.assert_allclose(found[case], wanted, atol=1e-12, err_msg=str((ordered, case)))
    assert filled > 0


def test_the_distances_are_those_of_the_volumes_and_a_class_that_was_not_drawn_has_none() -> None:
    generator = np.random.default_rng(5)
    pairs = [(speckled(generator, (16, 16), 2, 0.3), speckled(generator, (16, 16), 2, 0.3)) for _ in range(3)]
    validation = validation_cases(pairs, TWO, (1.0, 2.0))
    steps = (Step(do="largest", of="a"),)
    processed = validation._process(1, steps)
    rows = score_case("", processed.prediction, processed.truth, processed.geometry, TWO)
    assert validation.hd95([1], 0, steps)[0] == rows[0].hd95_mm
    assert validation.hd95([1], None, steps)[0] == pytest.approx((rows[0].hd95_mm + rows[1].hd95_mm) / 2)
    undrawn = case_rows("c", "p", *pairs[0], TWO, voxel_mm3=2.0, annotated=("b",))
    alone = ValidationCases(TWO, [undrawn], lambda case, steps: validation._process(0, steps), workers=1)
    assert np.isnan(alone.dice(0, ())[0])
    assert not np.isnan(alone.dice(1, ())[0])
    assert alone.dice(None, ())[0] == alone.dice(1, ())[0]


# --- what is chosen ----------------------------------------------------------------------------------------


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> np.ndarray:
    grid = np.meshgrid(*(np.arange(size) for size in shape), indexing="ij")
    return sum((axis - middle) ** 2 for axis, middle in zip(grid, centre, strict=True)) <= radius**2


def hearts(count: int, islands: int, holes: int = 0) -> Pairs:
    """A chamber within a wall; in some predictions an island of the chamber far off, in some a hole in the wall."""
    generator = np.random.default_rng(count)
    pairs = []
    for number in range(count):
        shape = (28, 26, 14)
        centre = tuple(size / 2 + generator.uniform(-2, 2) for size in shape)
        truth = np.zeros(shape, dtype=np.uint8)
        truth[ball(shape, centre, 8)] = 1
        truth[ball(shape, centre, 5)] = 2
        prediction = truth.copy()
        # The whole of it is a voxel off in some cases: errors that no step fixes.
        prediction = np.roll(prediction, int(generator.integers(-1, 2)), axis=0)
        if number < islands:
            prediction[ball(shape, (3, 3, 3), generator.uniform(1.5, 2.5))] = 2
        if count - number <= holes:
            x, y, z = (round(middle) for middle in centre)
            prediction[x - 7 : x - 6, y, z - 1 : z + 1] = 0
        pairs.append((prediction, truth))
    return pairs


def test_planted_islands_are_found_and_their_removal_helps_on_other_cases_too() -> None:
    choice = choose(validation_cases(hearts(16, islands=8), TWO, (1.0, 1.0, 1.0)), [i % 4 for i in range(16)])
    assert choice.steps
    pairs = hearts(16, islands=8)
    for prediction, _ in pairs:
        Postprocess(steps=choice.steps).apply(prediction, TWO, 1.0)
        assert not (prediction[:6, :6, :6] == 2).any()
    assert choice.gain.low > 0.001
    assert choice.crossfit_gain.mean > 0.001
    assert choice.gain.mean >= choice.crossfit_gain.mean
    assert choice.classes[1].gain > 0.002
    chosen = [trial for trial in choice.trials if trial.verdict == "chosen"]
    assert len(chosen) == len(choice.steps)
    assert all(trial.hd95_change_mm < 0 for trial in chosen)


def test_planted_holes_are_filled() -> None:
    pairs = hearts(12, islands=0, holes=12)
    for prediction, _ in pairs:
        # Larger ones, so that they count.
        prediction[ball(prediction.shape, (14, 13, 7), 1.5) & (prediction == 2)] = 0
    choice = choose(validation_cases(pairs, TWO, (1.0, 1.0, 1.0)), [0] * 12)
    assert Step(do="fill_holes", of="b") in choice.steps
    assert choice.parts == 5
    assert choice.crossfit_gain.mean > 0


def test_a_small_region_is_dropped_where_it_is_mostly_false() -> None:
    """As BraTS' enhancing tumour: most scans have none, and the network says a few voxels of it."""
    generator = np.random.default_rng(1)
    pairs: Pairs = []
    for number in range(30):
        truth = np.zeros((24, 24, 10), dtype=np.uint8)
        truth[ball(truth.shape, (12, 12, 5), 7)] = 2
        truth[ball(truth.shape, (12, 12, 5), 4)] = 1
        if number % 2:
            truth[ball(truth.shape, (12, 12, 5), 3)] = 3
        prediction = truth.copy()
        spot = tuple(int(generator.integers(10, 13)) for _ in range(2))
        if not number % 2:
            prediction[spot[0], spot[1], 4:6] = 3
        pairs.append((prediction, truth))
    choice = choose(validation_cases(pairs, TUMOUR, (1.0, 1.0, 2.0)), [i % 5 for i in range(30)])
    assert {step.of for step in choice.steps} == {"active"}
    assert choice.classes[2].before == pytest.approx(0.5)
    assert choice.classes[2].after == pytest.approx(1.0)
    for prediction, truth in pairs:
        Postprocess(steps=choice.steps).apply(prediction, TUMOUR, 2.0)
        np.testing.assert_array_equal(prediction, truth)


def test_where_nothing_is_wrong_nothing_is_chosen() -> None:
    choice = choose(validation_cases(hearts(12, islands=0), TWO, (1.0, 1.0, 1.0)), [0] * 12)
    assert choice.steps == ()
    assert choice.gain is None
    assert choice.postprocess is None
    assert "none of" in choice.sentence
    assert choice.trials


def test_one_island_in_many_cases_is_not_enough() -> None:
    choice = choose(validation_cases(hearts(16, islands=1), TWO, (1.0, 1.0, 1.0)), [i % 4 for i in range(16)])
    assert choice.steps == ()
    assert any(trial.verdict == "within noise" and trial.gain > 0 for trial in choice.trials)


def noisy(generator: np.random.Generator, name: str) -> CaseRows:
    """A case of two classes whose small components are as often right as wrong, so that no step helps."""
    classes = []
    for _ in range(2):
        small = np.exp(generator.normal(3.0, 1.2, generator.poisson(1.0))).astype(np.int64) + 1
        true = generator.random(len(small)) < 0.45
        sizes = np.concatenate([[1000], small])
        tp = np.concatenate([[int(generator.uniform(850, 950))], np.where(true, small, 0)])
        number = len(sizes)
        classes.append(
            ClassRows(
                sizes=sizes,
                counted=sizes,
                tp=tp,
                first=np.arange(number),
                foreground=np.zeros(number, dtype=np.intp),
                around={},
                truth=int(tp.sum()) + 100,
                truth_sizes=np.concatenate([tp[:1], small[true]]),
                judged=True,
            )
        )
    none = HoleRows(np.zeros(0, np.int64), np.zeros((0, 2), np.int64), np.zeros((0, 2), bool))
    return CaseRows(name, name, 1.0, np.array([1000]), np.array([0]), tuple(classes), none)


def test_noise_is_rarely_chosen_and_its_gain_shrinks_on_other_cases() -> None:
    empty = np.zeros((2, 2), dtype=np.uint8)
    processed = ProcessedCase(empty, empty, Geometry.from_spacing((2, 2), (1.0, 1.0)))
    chosen, optimism = 0, []
    for seed in range(24):
        generator = np.random.default_rng(seed)
        rows = [noisy(generator, str(number)) for number in range(20)]
        choice = choose(
            ValidationCases(TWO, rows, lambda case, steps: processed, workers=1), [i % 5 for i in range(20)]
        )
        chosen += bool(choice.steps)
        if choice.steps:
            optimism.append(choice.gain.mean - choice.crossfit_gain.mean)
    # Of about 25 steps in each of the 24 simulations.
    assert chosen <= 4
    assert all(difference > -1e-9 for difference in optimism)


def test_fewer_held_out_patients_than_needed_are_told_and_nothing_is_done() -> None:
    pairs = hearts(2 * (LEAST_PATIENTS - 1), islands=99)
    choice = choose(
        validation_cases(pairs, TWO, (1.0, 1.0, 1.0), patients=LEAST_PATIENTS - 1), [0] * len(pairs)
    )
    assert choice.steps == ()
    assert str(LEAST_PATIENTS) in choice.sentence
    assert not choice.trials


def test_two_scans_of_a_patient_count_as_one() -> None:
    """Four patients with an island in each of two scans are four, not eight."""
    few = [pair for pair in hearts(8, islands=4) for _ in range(2)]
    pairs = [*few[::2], *few[1::2]]
    by_patient = choose(
        validation_cases(pairs, TWO, (1.0, 1.0, 1.0), patients=8), [i % 8 % 4 for i in range(16)]
    )
    by_scan = choose(validation_cases(pairs, TWO, (1.0, 1.0, 1.0)), [i % 4 for i in range(16)])
    assert by_scan.steps
    assert not by_patient.steps


def test_the_record_comes_back_from_its_file_and_reads_as_tables(tmp_path) -> None:
    choice = choose(validation_cases(hearts(16, islands=8), TWO, (1.0, 1.0, 1.0)), [i % 4 for i in range(16)])
    choice.save(tmp_path)
    assert PostprocessChoice.load(tmp_path) == choice
    text = (tmp_path / "postprocess.md").read_text()
    for trial in itertools.islice(choice.trials, 3):
        assert trial.step.title in text
    assert "chosen on other cases" in text
