"""What is noted of networks while they predict: by hand-made networks whose doubt is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vesal.data.labels import LabelSet
from vesal.infer.quality.network_features import Watch
from vesal.infer.windows import Windows, predict_logits

ONE = LabelSet.from_values({"organ": 1})
NESTED = LabelSet.from_values({"rim": 1, "core": 4}, regions={"whole": ["rim", "core"], "core": ["core"]})


def brighter_than(level: float, sharp: float = 50.0) -> object:
    def network(batch: Tensor) -> Tensor:
        value = (batch[:, :1] - level) * sharp
        return torch.cat([-value, value], dim=1)

    return network


def nested(batch: Tensor) -> Tensor:
    return torch.cat([(batch - 0.5) * 50, (batch - 1.5) * 50], dim=1)


def box(size: int = 24, value: float = 1.0) -> Tensor:
    image = torch.zeros(1, size, size, size)
    image[:, 6:18, 6:18, 6:18] = value
    return image


def watched(
    network: object, image: Tensor, labels: LabelSet = ONE, **options: object
) -> tuple[Watch, Tensor]:
    windows = Windows((16, 16, 16), batch=2)
    watch = Watch([(network, None)], labels, windows, **options)  # type: ignore[arg-type, list-item]
    return watch, predict_logits(watch, image, windows, outputs=watch.outputs)


def test_a_sure_network_promises_a_dice_of_one_and_a_soft_one_less() -> None:
    sure, _ = watched(brighter_than(0.5), box())
    soft, _ = watched(brighter_than(0.5, sharp=1.0), box())
    assert sure.signals()[0]["organ soft"] == pytest.approx(1.0, abs=0.01)
    assert soft.signals()[0]["organ soft"] < 0.8
    assert soft.signals()[0]["entropy"] > sure.signals()[0]["entropy"] + 0.5


def test_what_hangs_on_noise_is_not_steady() -> None:
    steady, _ = watched(brighter_than(0.5), box())
    shaky, _ = watched(brighter_than(0.02), box())
    assert steady.signals()[0]["organ steady"] > shaky.signals()[0]["organ steady"] + 0.2


def test_nothing_found_twice_is_agreement() -> None:
    watch, _ = watched(brighter_than(9.0), box(), witnesses=[brighter_than(8.0)])
    values = watch.signals()[0]
    assert values["organ steady"] == pytest.approx(1.0)
    assert values["organ agree"] == pytest.approx(1.0)
    assert np.isfinite(list(values.values())).all()


def test_agreement_is_the_dice_of_the_masks() -> None:
    image = box()
    image[:, 6:12] *= 0.4
    whole, half = brighter_than(0.3), brighter_than(0.7)
    watch, logits = watched(whole, image, witnesses=[half])
    # Half of the box in one window or another: 2 * 1/2 / (1 + 1/2), but for the windows' weights.
    assert watch.signals()[0]["organ agree"] == pytest.approx(2 / 3, abs=0.08)
    plain = predict_logits(whole, image, Windows((16, 16, 16), batch=2), outputs=2)  # type: ignore[arg-type]
    assert torch.equal(logits, plain)


def test_regions_are_judged_each_by_itself() -> None:
    image = box()
    image[:, 10:14, 10:14, 10:14] = 2.0
    watch, logits = watched(nested, image, NESTED, doubt=True)
    values = watch.signals()[0]
    assert values["whole inside"] > 0.99
    assert values["core inside"] > 0.99
    assert logits.shape[0] == 3
    assert 0 <= float(logits[2].min()) <= float(logits[2].max()) <= 1 + 1e-5


def test_slices_of_a_stack_are_windows_too() -> None:
    windows = Windows((24, 24), batch=4)
    watch = Watch([(brighter_than(0.5), None)], ONE, windows)  # type: ignore[list-item]
    predict_logits(watch, box(), windows, outputs=2)
    assert watch.signals()[0]["organ soft"] == pytest.approx(1.0, abs=0.01)
    assert [len(of) for of in watch.insides()] == [0]


def test_doubt_lies_on_the_border_and_not_where_all_is_clear() -> None:
    image = box()
    image[:, 6] *= 0.5
    _, logits = watched(brighter_than(0.5, sharp=6.0), image, doubt=True)
    doubt = logits[2]
    assert doubt[12, 12, 12] < 0.2
    assert doubt[6, 12, 12] > 0.3
