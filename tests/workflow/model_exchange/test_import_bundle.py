"""MONAI bundles as model files, beside MONAI itself: the same configuration, weights and scan give the same mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from their_bundle import BRATS, SPLEEN, by_monai, changed, metadata_of, network_of, write_bundle

from vesal.errors import UsageError, VesalError
from vesal.infer.predictor import load_model
from vesal.nn.model_file import load_package
from vesal.volume.geometry import Geometry
from vesal.volume.io import write_volume
from vesal.volume.volume import Volume
from vesal.workflow.model_exchange.import_model import import_model
from vesal.workflow.requests.import_request import ImportRequest

pytest.importorskip("monai", reason="MONAI is not installed (extra monai)")

ORGANS = metadata_of(["image"], ["background", "spleen"])
TUMOUR = metadata_of(["T1c", "T1", "T2", "FLAIR"], ["Tumor core", "Whole tumor", "Enhancing tumor"])


def scan(
    spacing: tuple[float, ...], shape: tuple[int, ...], *, channels: int = 1, flips: tuple[int, ...]
) -> Volume:
    """Blobs of intensities in a body, zeros around it."""
    generator = np.random.default_rng(3)
    coarse = generator.normal(60, 80, (channels, *(-(-size // 3) for size in shape))).astype(np.float32)
    array = coarse.repeat(3, 1).repeat(3, 2).repeat(3, 3)[:, : shape[0], : shape[1], : shape[2]].copy()
    array[:, :3], array[:, :, -4:] = 0, 0
    affine = np.diag([*(step * flip for step, flip in zip(spacing, flips, strict=True)), 1.0])
    affine[:3, 3] = (10.0, -20.0, 5.0)
    return Volume(array, Geometry(shape, affine))


def both(
    tmp_path: Path, config: dict[str, Any], metadata: dict[str, Any], volume: Volume, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The masks of Vesal and of MONAI."""
    network = network_of(config, seed)
    write_bundle(tmp_path / "bundle", config, network, metadata)
    files = []
    for number, channel in enumerate(volume.array):
        files.append(tmp_path / f"scan_{number:04}.nii.gz")
        write_volume(files[-1], Volume(channel[None], volume.geometry))
    import_model(ImportRequest(tmp_path / "bundle", tmp_path / "m.vesal"))
    model = load_model(tmp_path / "m.vesal", device="cpu", backend="torch")
    return model.predict(volume).label.array, by_monai(config, network, files)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"inferer__overlap": 0.3, "inferer__mode": "gaussian"},
        {
            "preprocessing__transforms__4": {
                "_target_": "NormalizeIntensityd",
                "keys": "image",
                "nonzero": True,
            }
        },
    ],
)
@pytest.mark.parametrize(
    ("spacing", "shape", "flips"),
    [((0.9, 1.1, 2.9), (31, 28, 17), (-1, -1, 1)), ((1.5, 2.0, 4.0), (9, 22, 12), (1, -1, -1))],
)
def test_masks_are_monais_where_scans_are_turned_and_resampled(
    changes: dict[str, Any],
    spacing: tuple[float, ...],
    shape: tuple[int, ...],
    flips: tuple[int, ...],
    tmp_path: Path,
) -> None:
    volume = scan(spacing, shape, flips=flips)
    found, expected = both(tmp_path, changed(SPLEEN, **changes), ORGANS, volume)
    assert 0.01 < expected.mean() < 0.99
    assert np.mean(found == expected) > 0.9995


def test_regions_are_painted_in_the_order_that_the_bundle_says(tmp_path: Path) -> None:
    volume = scan((1.0, 1.0, 1.0), (26, 24, 20), channels=4, flips=(-1, -1, 1))
    found, expected = both(tmp_path, BRATS, TUMOUR, volume, seed=8)
    assert set(np.unique(expected)) == {0, 1, 2, 4}
    assert np.mean(found == expected) > 0.9995


@pytest.mark.parametrize(
    "definition",
    [
        {
            "_target_": "SwinUNETR",
            "spatial_dims": 3,
            "img_size": 32,
            "in_channels": 1,
            "out_channels": 3,
            "feature_size": 12,
            "use_checkpoint": False,
        },
        {
            "_target_": "monai.networks.nets.DynUNet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 3,
            "kernel_size": [[3, 3, 1], 3, 3],
            "strides": [1, [2, 2, 1], 2],
            "upsample_kernel_size": [[2, 2, 1], 2],
            "filters": [4, 8, 8],
            "deep_supervision": True,
        },
    ],
)
def test_other_networks_give_monais_masks(definition: dict[str, Any], tmp_path: Path) -> None:
    config = changed(SPLEEN, network_def=definition, inferer__roi_size=[64, 32, 32])
    metadata = metadata_of(["CT"], ["background", "liver", "spleen"])
    if definition["_target_"] == "SwinUNETR":
        # As MONAI 1.5 and later take it.
        config["network_def"] = {key: one for key, one in definition.items() if key != "img_size"}
    volume = scan((1.5, 1.5, 2.0), (44, 30, 28), flips=(1, 1, 1))
    found, expected = both(tmp_path, config, metadata, volume)
    assert len(np.unique(expected)) > 1
    assert np.mean(found == expected) > 0.9995


def test_probabilities_lie_where_the_mask_does(tmp_path: Path) -> None:
    network = network_of(SPLEEN)
    write_bundle(tmp_path / "bundle", SPLEEN, network, ORGANS)
    import_model(ImportRequest(tmp_path / "bundle", tmp_path / "m.vesal"))
    model = load_model(tmp_path / "m.vesal", device="cpu", backend="torch")
    volume = scan((0.9, 1.1, 2.9), (31, 28, 17), flips=(-1, -1, 1))
    prediction = model.predict(volume, probabilities=True)
    assert prediction.probabilities is not None
    mask = model.predict(volume).label.array
    assert 0 < mask.mean() < 1
    np.testing.assert_array_equal(prediction.label.array, mask)
    np.testing.assert_array_equal(prediction.probabilities["spleen"] > 0.5, mask == 1)
    strict = model.predict(volume, threshold=0.9).label.array
    np.testing.assert_array_equal(prediction.probabilities["spleen"] > 0.9, strict == 1)


def test_the_file_says_what_it_is_and_under_which_licence(tmp_path: Path) -> None:
    config = changed(SPLEEN, inferer__overlap=0.625)
    write_bundle(tmp_path / "small_bundle", config, network_of(config), ORGANS)
    result = import_model(ImportRequest(tmp_path / "small_bundle", tmp_path / "m.vesal", origin="Tiny"))
    package = load_package(tmp_path / "m.vesal")
    assert package.provenance == result.provenance
    assert package.provenance["imported"]["from"] == "MONAI bundle"
    assert (package.provenance["licence"], package.provenance["origin"]) == ("Apache-2.0", "Tiny")
    text = result.text()
    assert "1 network (monai-unet, 3D) of the MONAI bundle small_bundle 0.5.3" in text
    assert "Spacing 1.5 x 1.5 x 2 mm, patch 16 x 16 x 16; prepared and restored as MONAI does" in text
    model = load_model(tmp_path / "m.vesal", device="cpu", backend="torch")
    assert (model.windows().overlap, model.windows(overlap=0.25).overlap) == (0.625, 0.25)
    (tmp_path / "small_bundle" / "configs" / "metadata.json").unlink()
    with pytest.raises(UsageError, match="says no licence; say by --licence"):
        import_model(ImportRequest(tmp_path / "small_bundle", tmp_path / "n.vesal"))
    found = import_model(
        ImportRequest(tmp_path / "small_bundle", tmp_path / "n.vesal", licence="CC BY-NC 4.0")
    )
    assert "commercial use is not allowed" in found.text()
    assert found.plan.labels.classes == ("class 1",)
    with pytest.raises(UsageError, match="which has no --configuration"):
        import_model(ImportRequest(tmp_path / "small_bundle", tmp_path / "n.vesal", configuration="2d"))


@pytest.mark.parametrize("damage", ["pickle", "absent", "other", "empty"])
def test_weights_that_are_no_state_dict_of_the_network_are_refused(damage: str, tmp_path: Path) -> None:
    import torch
    from their_networks import Hostile

    folder = write_bundle(tmp_path / "bundle", SPLEEN, network_of(SPLEEN), ORGANS)
    file = folder / "models" / "model.pt"
    if damage == "pickle":
        torch.save({"model": Hostile(tmp_path / "ran")}, file)
    elif damage == "absent":
        file.unlink()
    else:
        torch.save({"bias": torch.zeros(3)} if damage == "other" else {}, file)
    reason = {
        "pickle": "cannot be read as weights",
        "absent": "holds no weights at models/model.pt",
        "other": "holds 1 weights, and network_def describes 6 convolutions",
        "empty": "holds no weights; save the state dict alone",
    }
    with pytest.raises(VesalError, match=reason[damage]):
        import_model(ImportRequest(folder, tmp_path / "m.vesal"))
    assert not (tmp_path / "m.vesal").exists()
    assert not (tmp_path / "ran").exists()


def test_handlers_that_are_no_list_are_passed_over(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", SPLEEN | {"handlers": 5}, None, ORGANS)
    with pytest.raises(UsageError, match=r"holds no weights at models/model\.pt"):
        import_model(ImportRequest(folder, tmp_path / "m.vesal"))


def test_labels_that_are_trained_on_lie_where_the_image_does(tmp_path: Path) -> None:
    from vesal.preprocessing.prepare import prepare
    from vesal.volume.volume import LabelMap

    write_bundle(tmp_path / "bundle", SPLEEN, network_of(SPLEEN), ORGANS)
    import_model(ImportRequest(tmp_path / "bundle", tmp_path / "m.vesal"))
    plan = load_package(tmp_path / "m.vesal").plan
    volume = scan((0.5, 0.5, 1.0), (40, 40, 40), flips=(1, 1, 1))
    bright = Volume(np.where(volume.array > 60, 164, -57).astype(np.float32), volume.geometry)
    label = LabelMap((bright.array[0] > 0).astype(np.uint8), volume.geometry)
    prepared = prepare(bright, plan, label)
    assert prepared.label is not None
    # Each third and second voxel, to the voxel.
    np.testing.assert_array_equal(prepared.label, label.array[::3, ::3, ::2])
    np.testing.assert_allclose(prepared.image[0], prepared.label, atol=1e-6)
