"""Overlap counts against hand counts and against SimpleITK and MONAI."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from vesal.data.labels import IGNORE, LabelSet
from vesal.metrics import overlap
from vesal.metrics.overlap import Confusion, confusions

#: One class, of value 1.
ONE = np.array([[False, True]])


def test_the_four_counts_of_a_small_pair_are_those_counted_by_hand():
    prediction = np.array([[1, 1, 0], [0, 1, 0]], dtype=np.uint8)
    truth = np.array([[1, 0, 0], [0, 1, 1]], dtype=np.uint8)
    assert confusions(prediction, truth, ONE) == (Confusion(tp=2, fp=1, fn=1, tn=2),)


def test_ratios_follow_from_the_counts():
    counts = Confusion(tp=6, fp=2, fn=4, tn=88)
    assert counts.dice == pytest.approx(12 / 18)
    assert counts.iou == pytest.approx(6 / 12)
    assert counts.precision == pytest.approx(6 / 8)
    assert counts.recall == pytest.approx(6 / 10)
    assert counts.accuracy == pytest.approx(94 / 100)
    assert (counts.predicted, counts.actual) == (8, 10)


def test_a_ratio_without_a_denominator_is_none():
    both = Confusion(0, 0, 0, 10)
    assert (both.dice, both.iou, both.precision, both.recall) == (None, None, None, None)
    nothing_predicted = Confusion(0, 0, 5, 5)
    assert (nothing_predicted.dice, nothing_predicted.precision, nothing_predicted.recall) == (0.0, None, 0.0)
    no_truth = Confusion(0, 5, 0, 5)
    assert (no_truth.dice, no_truth.precision, no_truth.recall) == (0.0, 0.0, None)


def test_ignored_voxels_are_in_none_of_the_counts():
    prediction = np.array([1, 1, 0, 0], dtype=np.uint8)
    truth = np.array([1, IGNORE, 1, 0], dtype=np.uint8)
    assert confusions(prediction, truth, ONE) == (Confusion(tp=1, fp=0, fn=1, tn=1),)


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        confusions(np.zeros((2, 2), np.uint8), np.zeros((1, 2), np.uint8), np.eye(2, dtype=bool))


def test_all_classes_at_once_count_what_each_class_alone_counts_with_regions_and_ignored_voxels():
    labels = LabelSet.from_values(
        {"oedema": 2, "necrosis": 1, "enhancing": 4},
        regions={
            "whole": ["oedema", "necrosis", "enhancing"],
            "core": ["necrosis", "enhancing"],
            "et": ["enhancing"],
        },
    )
    generator = np.random.default_rng(0)
    prediction = generator.integers(0, 4, (9, 8, 7)).astype(np.uint8)
    truth = generator.integers(0, 4, (9, 8, 7)).astype(np.uint8)
    truth[generator.random(truth.shape) < 0.2] = IGNORE
    prediction[generator.random(truth.shape) < 0.1] = IGNORE  # counts as background
    found = confusions(prediction, truth, labels.class_table, IGNORE)
    known = truth != IGNORE
    for counts, p, t in zip(found, labels.masks(prediction), labels.masks(truth), strict=True):
        alone = [np.count_nonzero(which & known) for which in (p & t, p & ~t, ~p & t, ~p & ~t)]
        assert [counts.tp, counts.fp, counts.fn, counts.tn] == alone


@pytest.mark.parametrize("order", ["C", "F"])
def test_counting_in_slabs_changes_nothing_and_widens_no_whole_volume(monkeypatch, order):
    generator = np.random.default_rng(2)
    table = np.eye(4, dtype=bool)[1:]
    prediction, truth = (
        np.array(generator.integers(0, 4, (70, 80, 90)), np.uint8, order=order) for _ in "pt"
    )
    monkeypatch.setattr(overlap, "_SLAB_VOXELS", 1 << 30)
    at_once = confusions(prediction, truth, table)
    monkeypatch.setattr(overlap, "_SLAB_VOXELS", 1000)
    tracemalloc.start()
    in_slabs = confusions(prediction, truth, table)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert in_slabs == at_once
    assert peak < 4 * truth.size


def test_a_value_that_no_class_has_is_refused():
    table = np.array([[False, True]])
    with pytest.raises(ValueError, match="no class"):
        confusions(np.array([0, 2], np.uint8), np.array([0, 1], np.uint8), table)


def test_overlap_agrees_with_simpleitk_and_monai_on_a_hundred_random_masks():
    sitk = pytest.importorskip("SimpleITK")
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    generator = np.random.default_rng(1)
    for _ in range(100):
        shape = tuple(generator.integers(4, 12, generator.integers(2, 4)))
        prediction, truth = generator.random((2, *shape)) < generator.uniform(0.2, 0.8)
        (ours,) = confusions(prediction.view(np.uint8), truth.view(np.uint8), ONE)
        referee = sitk.LabelOverlapMeasuresImageFilter()
        referee.Execute(*(sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (prediction, truth)))
        assert ours.dice == pytest.approx(referee.GetDiceCoefficient(), abs=1e-9)
        assert ours.iou == pytest.approx(referee.GetJaccardCoefficient(), abs=1e-9)
        assert ours.recall == pytest.approx(1 - referee.GetFalseNegativeError(), abs=1e-9)
        assert ours.precision == pytest.approx(1 - referee.GetFalseDiscoveryRate(), abs=1e-9)
        p, t = (torch.from_numpy(mask[None, None]) for mask in (prediction, truth))
        assert ours.dice == pytest.approx(metrics.compute_dice(p, t).item(), abs=1e-6)
        assert ours.iou == pytest.approx(metrics.compute_iou(p, t).item(), abs=1e-6)
        matrix = metrics.get_confusion_matrix(p.float(), t.float())[0, 0].tolist()  # TP, FP, TN, FN
        assert [ours.tp, ours.fp, ours.tn, ours.fn] == matrix
