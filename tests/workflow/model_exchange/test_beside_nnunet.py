"""The same scan by nnU-Net itself: what is imported gives its masks, and what is exported it predicts with.

Skipped where nnU-Net is not installed (benchmarks/requirements.txt); `test_import_model.py` has its steps anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_export_nnunet import package_of
from test_import_cascade import FIRST, SECOND, write_cascade
from test_import_cascade import plain as plain_cascade
from test_import_model import TUMOUR, scan
from test_plans_writer import plan
from their_networks import TheirNetwork, cascade_of, dataset_of, kwargs_of, plans_of, write_folder

from vesal.infer.predictor import load_model
from vesal.nn.model_file import save_package
from vesal.volume.geometry import Geometry
from vesal.volume.io import write_volume
from vesal.volume.volume import Volume
from vesal.workflow.model_exchange.export_nnunet import export_nnunet
from vesal.workflow.model_exchange.import_model import import_model
from vesal.workflow.requests.import_request import ImportRequest

nnunet = pytest.importorskip(
    "nnunetv2.inference.predict_from_raw_data",
    reason="nnU-Net is not installed (benchmarks/requirements.txt)",
)


def by_nnunet(
    folder: Path,
    volume: Volume,
    work: Path,
    folds: tuple[int, ...] = (0,),
    first_stage: np.ndarray | None = None,
) -> np.ndarray:
    """Labels (x, y, z) by nnU-Net, read by its own reader of files; `first_stage`: such labels of a cascade's."""
    files = []
    for number, channel in enumerate(volume.array):
        files.append(work / f"scan_{number:04}.nii.gz")
        write_volume(files[-1], Volume(channel[None], volume.geometry))
    predictor = nnunet.nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False)
    predictor.initialize_from_trained_model_folder(str(folder), folds, "checkpoint_final.pth")
    array, properties = predictor.plans_manager.image_reader_writer_class().read_images(list(map(str, files)))
    # As its reader reads the file of a first stage.
    given = None if first_stage is None else first_stage.transpose(2, 1, 0)[None].astype(np.float32)
    found: np.ndarray = predictor.predict_single_npy_array(array, properties, given)
    return found.transpose(2, 1, 0)


@pytest.mark.parametrize(
    ("configuration", "forward", "spacing", "changes"),
    [
        ("3d_fullres", (0, 1, 2), (0.8, 0.9, 2.5), {}),
        ("3d_fullres", (0, 1, 2), (0.8, 0.9, 7.0), {"use_mask_for_norm": [True]}),
        ("3d_fullres", (2, 0, 1), (2.5, 0.8, 9.0), {"normalization_schemes": ["CTNormalization"]}),
        ("3d_fullres", (0, 1, 2), (0.6, 0.6, 1.0), {"spacing": [8.0, 1.0, 1.0], "patch_size": [4, 16, 16]}),
        ("2d", (0, 1, 2), (0.8, 0.9, 5.0), {"normalization_schemes": ["RescaleTo01Normalization"]}),
    ],
)
def test_an_imported_model_gives_nnunets_masks(
    configuration: str,
    forward: tuple[int, ...],
    spacing: tuple[float, ...],
    changes: dict[str, Any],
    tmp_path: Path,
) -> None:
    network = TheirNetwork(kwargs_of(2 if configuration == "2d" else 3), 1, 3)
    folder = write_folder(
        tmp_path, plans_of(configuration, forward=forward, **changes), dataset_of(), {"0": network}
    )
    import_model(ImportRequest(folder, tmp_path / "m.vesal"))
    volume = scan(spacing, flips=(-1, -1, 1))
    expected = by_nnunet(folder, volume, tmp_path)
    model = load_model(tmp_path / "m.vesal", device="cpu", backend="torch")
    assert len(np.unique(expected)) > 1
    # Of 7,722 voxels all were the same where this was measured.
    assert np.mean(model.predict(volume, mirror=True).label.array == expected) > 0.9995


def test_imported_regions_of_residual_networks_that_vote_give_nnunets_masks(tmp_path: Path) -> None:
    plans = plans_of(
        residual=True,
        normalization_schemes=["ZScoreNormalization", "NoNormalization"],
        use_mask_for_norm=[True, False],
    )
    networks = {
        name: TheirNetwork(kwargs_of(3, residual=True), 2, 3, residual=True, seed=int(name)) for name in "12"
    }
    dataset = dataset_of(TUMOUR, regions_class_order=[2, 1, 3], channel_names={"0": "T1", "1": "T2"})
    folder = write_folder(tmp_path, plans, dataset, networks)
    import_model(ImportRequest(folder, tmp_path / "m.vesal"))
    volume = scan((0.8, 0.9, 2.5), channels=2)
    expected = by_nnunet(folder, volume, tmp_path, (1, 2))
    model = load_model(tmp_path / "m.vesal", device="cpu", backend="torch")
    assert len(np.unique(expected)) > 1
    assert np.mean(model.predict(volume, mirror=True).label.array == expected) > 0.9995


@pytest.mark.parametrize(
    ("spacing", "changes"),
    [
        ((0.8, 0.9, 2.5), {}),
        ((0.8, 0.9, 9.0), {"use_mask_for_norm": [True]}),
        ((2.5, 0.8, 1.7), {"forward": (2, 0, 1), "normalization_schemes": ["CTNormalization"]}),
    ],
)
def test_an_imported_cascade_gives_nnunets_masks(
    spacing: tuple[float, ...], changes: dict[str, Any], tmp_path: Path
) -> None:
    above, *_ = plain_cascade(tmp_path, first=2, **changes)
    volume = scan(spacing, flips=(-1, -1, 1))
    assert_cascade_alike(above, volume, tmp_path)


def test_an_imported_cascade_of_regions_gives_nnunets_masks(tmp_path: Path) -> None:
    plans = cascade_of(
        residual=True,
        normalization_schemes=["ZScoreNormalization", "NoNormalization"],
        use_mask_for_norm=[True, False],
    )
    low = [TheirNetwork(kwargs_of(3, residual=True), 2, 3, residual=True, seed=seed) for seed in (1, 4)]
    fine = [TheirNetwork(kwargs_of(3, residual=True), 5, 3, residual=True, seed=2)]
    dataset = dataset_of(TUMOUR, regions_class_order=[2, 1, 3], channel_names={"0": "T1", "1": "T2"})
    above = write_cascade(tmp_path, plans, dataset, low, fine)
    assert_cascade_alike(above, scan((0.8, 0.9, 2.5), channels=2), tmp_path)


def assert_cascade_alike(above: Path, volume: Volume, work: Path) -> None:
    """Of a first stage of two folds and a second of one."""
    (low,), (fine,) = above.glob(f"*__{FIRST}"), above.glob(f"*__{SECOND}")
    first = by_nnunet(low, volume, work, (0, 1))
    expected = by_nnunet(fine, volume, work, first_stage=first)
    import_model(ImportRequest(above, work / "m.vesal", configuration=SECOND))
    model = load_model(work / "m.vesal", device="cpu", backend="torch")
    assert min(len(np.unique(first)), len(np.unique(expected))) > 1
    found = model.predict(volume, mirror=True).label.array
    # Of 30,888 voxels all were the same where this was measured.
    assert np.mean(found == expected) > 0.9999


@pytest.mark.parametrize("network", ["unet", "residual-unet"])
@pytest.mark.parametrize("changes", [{}, {"dimension": 2, "slice_axis": 2}])
def test_nnunet_loads_what_is_exported_and_predicts_the_models_masks(
    network: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    save_package(tmp_path / "m.vesal", package_of(plan(**({"dimension": 3} | changes)), network))
    export_nnunet(tmp_path / "m.vesal", tmp_path / "out")
    array = np.random.default_rng(2).normal(80, 20, (1, 8, 4, 12)).repeat(2, 1).repeat(2, 2).repeat(2, 3)
    # Stored along L, A, S, which both turn to RAS+.
    affine = np.diag([-0.9, 1.4, 2.1, 1.0])
    volume = Volume(array[:, :, :, :20].astype(np.float32), Geometry((16, 8, 20), affine))
    expected = by_nnunet(tmp_path / "out", volume, tmp_path)
    found = load_model(tmp_path / "m.vesal", device="cpu", backend="torch").predict(volume, mirror=True)
    assert len(np.unique(expected)) > 1
    # Vesal rounds intensities to 16 bits, nnU-Net its logits.
    assert np.mean(found.label.array[::-1] == expected) > 0.98
