"""Features of networks while they predict, of hand-made networks whose uncertainty is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vesal.data.labels import LabelSet
from vesal.infer.quality.network_features import FeatureRecorder
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


def recorded(
    network: object, image: Tensor, labels: LabelSet = ONE, **options: object
) -> tuple[FeatureRecorder, Tensor]:
    windows = Windows((16, 16, 16), batch=2)
    recorder = FeatureRecorder([(network, None)], labels, windows, **options)  # type: ignore[arg-type, list-item]
    return recorder, predict_logits(recorder, image, windows, outputs=recorder.outputs)


def test_a_confident_network_expects_a_dice_of_one_and_a_soft_one_less() -> None:
    confident, _ = recorded(brighter_than(0.5), box())
    blurred, _ = recorded(brighter_than(0.5, sharp=1.0), box())
    assert confident.network_features()[0]["organ expected_dice"] == pytest.approx(1.0, abs=0.01)
    assert blurred.network_features()[0]["organ expected_dice"] < 0.8
    assert blurred.network_features()[0]["entropy"] > confident.network_features()[0]["entropy"] + 0.5


def test_a_mask_that_depends_on_noise_is_not_consistent() -> None:
    stable, _ = recorded(brighter_than(0.5), box())
    shaky, _ = recorded(brighter_than(0.02), box())
    assert (
        stable.network_features()[0]["organ perturbation_consistency"]
        > shaky.network_features()[0]["organ perturbation_consistency"] + 0.2
    )


def test_two_empty_masks_agree() -> None:
    recorder, _ = recorded(brighter_than(9.0), box(), reference_networks=[brighter_than(8.0)])
    values = recorder.network_features()[0]
    assert values["organ perturbation_consistency"] == pytest.approx(1.0)
    assert values["organ ensemble_agreement"] == pytest.approx(1.0)
    assert np.isfinite(list(values.values())).all()


def test_agreement_is_the_dice_of_the_masks() -> None:
    image = box()
    image[:, 6:12] *= 0.4
    whole, half = brighter_than(0.3), brighter_than(0.7)
    recorder, logits = recorded(whole, image, reference_networks=[half])
    # Half of the box in one window or another: 2 * 1/2 / (1 + 1/2), but for the windows' weights.
    assert recorder.network_features()[0]["organ ensemble_agreement"] == pytest.approx(2 / 3, abs=0.08)
    plain = predict_logits(whole, image, Windows((16, 16, 16), batch=2), outputs=2)  # type: ignore[arg-type]
    assert torch.equal(logits, plain)


def test_each_region_has_its_own_features() -> None:
    image = box()
    image[:, 10:14, 10:14, 10:14] = 2.0
    recorder, logits = recorded(nested, image, NESTED, uncertainty=True)
    values = recorder.network_features()[0]
    assert values["whole inside"] > 0.99
    assert values["core inside"] > 0.99
    assert logits.shape[0] == 3
    assert 0 <= float(logits[2].min()) <= float(logits[2].max()) <= 1 + 1e-5


def test_slices_of_a_stack_are_windows_too() -> None:
    windows = Windows((24, 24), batch=4)
    recorder = FeatureRecorder([(brighter_than(0.5), None)], ONE, windows)  # type: ignore[list-item]
    predict_logits(recorder, box(), windows, outputs=2)
    assert recorder.network_features()[0]["organ expected_dice"] == pytest.approx(1.0, abs=0.01)
    assert [len(of) for of in recorder.encoder_features()] == [0]


def test_uncertainty_lies_on_the_border_and_not_where_all_is_clear() -> None:
    image = box()
    image[:, 6] *= 0.5
    _, logits = recorded(brighter_than(0.5, sharp=6.0), image, uncertainty=True)
    uncertainty = logits[2]
    assert uncertainty[12, 12, 12] < 0.2
    assert uncertainty[6, 12, 12] > 0.3


@pytest.mark.parametrize("labels", [ONE, NESTED])
def test_numpys_features_are_torchs(labels: LabelSet) -> None:
    torch.manual_seed(0)
    networks = [torch.nn.Conv3d(1, 2, 3, padding=1).eval() for _ in range(2)]
    image = box() + 0.3 * torch.randn(1, 24, 24, 24)
    windows = Windows((16, 16, 16), batch=2, mirror_axes=(1,))

    def by_numpy(network: torch.nn.Module) -> object:
        def predicted(batch: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return network(torch.from_numpy(np.ascontiguousarray(batch))).numpy()

        return predicted

    recorders, maps = [], []
    for made, scan in ((networks, image), ([by_numpy(of) for of in networks], image.numpy())):
        pairs = [(network, lambda window: np.asarray(window.sum()).reshape(1)) for network in made]
        recorder = FeatureRecorder(pairs, labels, windows, uncertainty=True, temperature=1.7)  # type: ignore[arg-type]
        maps.append(np.asarray(predict_logits(recorder, scan, windows, outputs=recorder.outputs)))
        recorders.append(recorder)
    np.testing.assert_allclose(maps[1], maps[0], rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(*(recorder.network_features() for recorder in reversed(recorders)), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)
    for one, other in zip(*(recorder.encoder_features() for recorder in recorders), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3)
