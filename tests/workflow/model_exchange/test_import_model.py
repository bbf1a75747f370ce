"""Models of nnU-Net's as model files, which give the masks that nnU-Net gives."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import their_prediction
from their_networks import Hostile, TheirNetwork, dataset_of, kwargs_of, plans_of, write_folder

sys.path.insert(0, str(Path(__file__).parents[2]))
from in_process import vesal as vesal_program
from vesal.errors import UsageError, VesalError
from vesal.infer.predictor import Model, load_model
from vesal.nn.model_file import load_package
from vesal.volume.geometry import Geometry
from vesal.volume.io import write_volume
from vesal.volume.volume import Volume
from vesal.workflow.model_exchange.import_model import import_model
from vesal.workflow.requests.import_request import ImportRequest

TUMOUR = {"background": 0, "whole": [1, 2, 3], "core": [1, 3], "enhancing": [3]}


def scan(spacing: tuple[float, ...], *, flips: tuple[int, ...] = (1, 1, 1), channels: int = 1) -> Volume:
    """Blobs of intensities within a body with a hole, in zeros that are wider on one side."""
    generator = np.random.default_rng(3)
    shape = (22, 27, 13)
    array = np.zeros((channels, *shape), dtype=np.float32)
    body = generator.normal(100, 30, (channels, 6, 7, 4)).astype(np.float32)
    array[:, 3:21, 4:25, 1:13] = body.repeat(3, 1).repeat(3, 2).repeat(3, 3)
    array[:, 10:13, 12:15, 5:8] = 0
    affine = np.diag([*(step * flip for step, flip in zip(spacing, flips, strict=True)), 1.0])
    return Volume(array, Geometry(shape, affine))


def imported(tmp_path: Path, folder: Path, **options: Any) -> Model:
    import_model(ImportRequest(folder, tmp_path / "m.vesal", **options))
    return load_model(tmp_path / "m.vesal", device="cpu", backend="torch")


def same_share(model: Model, volume: Volume, expected: np.ndarray, **options: Any) -> float:
    found = model.predict(volume, **options).label.array
    assert len(np.unique(expected)) > 1, "the reference shows nothing to compare"
    return float(np.mean(found == expected))


@pytest.mark.parametrize(
    ("configuration", "forward", "spacing", "changes"),
    [
        ("3d_fullres", (0, 1, 2), (0.8, 0.9, 2.5), {}),
        # Thick slices: the third axis of the file is resampled apart, and the network sees it first or last.
        ("3d_fullres", (0, 1, 2), (0.8, 0.9, 5.0), {"use_mask_for_norm": [True]}),
        ("3d_fullres", (2, 0, 1), (2.5, 0.8, 9.0), {"normalization_schemes": ["CTNormalization"]}),
        ("3d_lowres", (0, 1, 2), (1.0, 1.0, 2.0), {"normalization_schemes": ["RescaleTo01Normalization"]}),
        ("3d_fullres", (0, 1, 2), (0.6, 0.6, 1.0), {"spacing": [8.0, 1.0, 1.0], "patch_size": [4, 16, 16]}),
        ("2d", (0, 1, 2), (0.8, 0.9, 5.0), {}),
        ("2d", (1, 0, 2), (0.8, 0.9, 1.5), {"use_mask_for_norm": [True]}),
    ],
)  # fmt: skip
def test_masks_are_those_of_nnunets_own_steps(
    configuration: str,
    forward: tuple[int, ...],
    spacing: tuple[float, ...],
    changes: dict[str, Any],
    tmp_path: Path,
) -> None:
    plans = plans_of(configuration, forward=forward, **changes)
    dimension = 2 if configuration == "2d" else 3
    network = TheirNetwork(kwargs_of(dimension), 1, 3)
    folder = write_folder(tmp_path, plans, dataset_of(), {"0": network})
    # Whichever way the file runs, nnU-Net sees it as it is stored.
    volume = scan(spacing, flips=(-1, -1, 1))
    expected = their_prediction.predict(volume.array, spacing, plans, [network], mirror_axes=(0, 1))
    assert same_share(imported(tmp_path, folder), volume, expected, mirror=True) > 0.9995


def test_regions_folds_that_vote_and_residual_blocks_give_nnunets_masks(tmp_path: Path) -> None:
    plans = plans_of(
        residual=True,
        normalization_schemes=["NoNormalization", "RGBTo01Normalization"],
        use_mask_for_norm=[False] * 2,
    )
    networks = [TheirNetwork(kwargs_of(3, residual=True), 2, 3, residual=True, seed=seed) for seed in (1, 2)]
    dataset = dataset_of(TUMOUR, regions_class_order=[2, 1, 3], channel_names={"0": "T1", "1": "T2"})
    folder = write_folder(tmp_path, plans, dataset, dict(zip("02", networks, strict=True)), mirror_axes=None)
    volume = scan((0.8, 0.9, 2.5), channels=2)
    expected = their_prediction.predict(volume.array, (0.8, 0.9, 2.5), plans, networks, order=[2, 1, 3])
    model = imported(tmp_path, folder)
    assert len(model.networks) == 2
    assert same_share(model, volume, expected, mirror=True) > 0.9995


def test_probabilities_lie_where_the_mask_does(tmp_path: Path) -> None:
    plans = plans_of()
    folder = write_folder(tmp_path, plans, dataset_of(), {"0": TheirNetwork(kwargs_of(3), 1, 3)})
    model, volume = imported(tmp_path, folder), scan((0.8, 0.9, 5.0))
    prediction = model.predict(volume, probabilities=True)
    assert prediction.probabilities is not None
    maps = np.stack(list(prediction.probabilities.values()))
    best = np.where(1 - maps.sum(0) > maps.max(0), 0, maps.argmax(0) + 1)
    inside = maps.any(0)
    assert len(np.unique(best[inside])) > 1
    assert np.mean((best == prediction.label.array)[inside]) > 0.999
    np.testing.assert_array_equal(model.predict(volume).label.array, prediction.label.array)


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., Path]:
    def write(**more: Any) -> Path:
        networks = {name: TheirNetwork(kwargs_of(3), 1, 3) for name in more.pop("folds", "0")}
        return write_folder(tmp_path / "Dataset099_Tiny", plans_of(), dataset_of(), networks, **more)

    return write


def test_the_file_says_what_it_is_and_under_which_licence(
    trained: Callable[..., Path], tmp_path: Path
) -> None:
    result = import_model(ImportRequest(trained(folds="01").parent, tmp_path / "m.vesal"))
    provenance = load_package(tmp_path / "m.vesal").provenance
    assert provenance == result.provenance
    assert provenance["imported"]["folds"] == ["fold_0", "fold_1"]
    assert (provenance["licence"], provenance["origin"]) == ("CC BY-SA 4.0", "Tiny University")
    assert "2 networks (unet, 3D) of nnU-Net's Dataset099_Tiny 3d_fullres, fold_0, fold_1" in result.text()
    assert "licence of the model's weights is CC BY-SA 4.0 (from Tiny University)" in result.text()
    assert result.to_dict()["classes"] == ["shell", "core"]


def test_a_licence_is_asked_for_where_none_is_said_and_a_non_commercial_one_warns(
    trained: Callable[..., Path], tmp_path: Path
) -> None:
    folder = trained()
    dataset = json.loads((folder / "dataset.json").read_text())
    del dataset["licence"], dataset["reference"]
    (folder / "dataset.json").write_text(json.dumps(dataset))
    request = ImportRequest(folder, tmp_path / "m.vesal")
    with pytest.raises(UsageError, match="says no licence; say by --licence"):
        import_model(request)
    assert not (tmp_path / "m.vesal").exists()
    result = import_model(ImportRequest(folder, tmp_path / "m.vesal", licence="CC BY-NC 4.0"))
    assert "commercial use is not allowed" in result.text()
    assert result.provenance["origin"] == folder.name


def test_folds_and_checkpoints_are_chosen_as_nnunet_does(
    trained: Callable[..., Path], tmp_path: Path
) -> None:
    folder = trained(folds=("0", "1", "all"))
    trained(folds="2", checkpoint="best")

    def folds(**options: Any) -> list[str]:
        found = import_model(ImportRequest(folder, tmp_path / "m.vesal", **options)).provenance["imported"]
        return [*found["folds"], found["checkpoint"]]

    assert folds() == ["fold_0", "fold_1", "checkpoint_final.pth"]
    assert folds(folds=("all",)) == ["fold_all", "checkpoint_final.pth"]
    assert folds(checkpoint="best") == ["fold_2", "checkpoint_best.pth"]
    with pytest.raises(UsageError, match="There is no fold in"):
        folds(folds=("7",))
    with pytest.raises(UsageError, match="no checkpoint final"):
        folds(folds=("2",), checkpoint="final")


def test_of_several_configurations_one_is_named(tmp_path: Path) -> None:
    for name in ("2d", "3d_fullres"):
        network = TheirNetwork(kwargs_of(2 if name == "2d" else 3), 1, 3)
        write_folder(tmp_path / "Dataset099_Tiny", plans_of(name), dataset_of(), {"0": network})
    with pytest.raises(UsageError, match=r"several models .*2d.*3d_fullres.*--configuration"):
        import_model(ImportRequest(tmp_path / "Dataset099_Tiny", tmp_path / "m.vesal"))
    found = import_model(
        ImportRequest(tmp_path / "Dataset099_Tiny", tmp_path / "m.vesal", configuration="2d")
    )
    assert found.plan.dimension == 2
    # Two trainers of one configuration: the option cannot choose, and does not.
    (first,) = (tmp_path / "Dataset099_Tiny").glob("*__2d")
    shutil.copytree(first, first.with_name(f"Other{first.name}"))
    with pytest.raises(UsageError, match="name one of these folders"):
        import_model(ImportRequest(first.parent, tmp_path / "n.vesal", configuration="2d"))
    # A folder of another configuration than asked for is not taken for it.
    with pytest.raises(UsageError, match="3d_fullres"):
        import_model(ImportRequest(first, tmp_path / "n.vesal", configuration="3d_fullres"))


def test_a_hostile_checkpoint_is_refused_nothing_of_it_runs_and_no_model_is_written(
    trained: Callable[..., Path], tmp_path: Path
) -> None:
    folder = trained(logging=Hostile(tmp_path / "it ran"))
    with pytest.raises(VesalError, match="which is never opened"):
        import_model(ImportRequest(folder, tmp_path / "m.vesal"))
    assert not (tmp_path / "it ran").exists()
    assert not (tmp_path / "m.vesal").exists()


def test_the_commands_of_the_docs_import_predict_and_export(
    trained: Callable[..., Path], tmp_path: Path
) -> None:
    model, volume = tmp_path / "model.vesal", scan((0.8, 0.9, 2.5))
    folder = trained().parent
    words = ("--configuration", "3d_fullres", "--licence", "CC BY-NC 4.0")
    done = vesal_program("import", folder, *words, "-o", model)
    assert (done.returncode, "commercial use is not allowed" in done.stdout) == (0, True), done.stderr
    (tmp_path / "scans").mkdir()
    write_volume(tmp_path / "scans" / "scan.nii.gz", volume)
    done = vesal_program(
        "predict", model, tmp_path / "scans", "-o", tmp_path / "masks", "--tta", "--device", "cpu"
    )
    assert (done.returncode, "commercial use is not allowed" in done.stdout) == (0, True), done.stderr
    assert (tmp_path / "masks" / "scan.nii.gz").exists()
    done = vesal_program("card", model, "-o", tmp_path / "card")
    assert done.returncode == 0, done.stderr
    assert "CC BY-NC 4.0" in (tmp_path / "card" / "README.md").read_text()
    done = vesal_program("export", model, "--to", "nnunet", "-o", tmp_path / "out")
    assert (done.returncode, "nnUNetv2_predict_from_modelfolder" in done.stdout) == (0, True), done.stderr
    assert (tmp_path / "out" / "fold_0" / "checkpoint_final.pth").exists()


def test_what_is_no_trained_model_is_refused(trained: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there"):
        import_model(ImportRequest(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no trained nnU-Net model"):
        import_model(ImportRequest(tmp_path / "empty"))
    for odd in ({"init_args": {"configuration": 3}}, {"inference_allowed_mirroring_axes": 3}):
        folder = trained(**odd)
        with pytest.raises(VesalError, match="holds no weights and configuration"):
            import_model(ImportRequest(folder, tmp_path / "m.vesal"))
    write_folder(
        folder.parent, plans_of(), dataset_of(), {"0": TheirNetwork(kwargs_of(3), 1, 3)}, mirror_axes=(7,)
    )
    with pytest.raises(VesalError, match="its plan is not sensible"):
        import_model(ImportRequest(folder, tmp_path / "m.vesal"))
    assert not (tmp_path / "m.vesal").exists()
    (folder / "plans.json").write_text("[]")
    with pytest.raises(VesalError, match="is not as nnU-Net v2 writes it"):
        import_model(ImportRequest(folder, tmp_path / "m.vesal"))


@pytest.mark.parametrize("trainer", ["nnUNetTrainerMish", "nnUNet_Primus_S_Trainer", ""])
def test_a_trainer_of_ones_own_is_refused_until_somebody_says_that_its_network_is_as_planned(
    trained: Callable[..., Path], trainer: str, tmp_path: Path
) -> None:
    folder = trained(trainer_name=trainer).rename(tmp_path / f"{trainer}__nnUNetPlans__3d_fullres")
    with pytest.raises(VesalError, match=r"none of nnU-Net's own.*--custom-trainer") as raised:
        import_model(ImportRequest(folder, tmp_path / "m.vesal"))
    assert trainer in str(raised.value)
    assert not (tmp_path / "m.vesal").exists()
    found = import_model(ImportRequest(folder, tmp_path / "m.vesal", custom_trainer=True))
    assert "none of nnU-Net's own" in found.text()


@pytest.mark.parametrize("trainer", ["nnUNetTrainer_250epochs", "nnUNetTrainerNoMirroring", None])
def test_trainers_of_nnunets_own_are_taken_by_the_folders_name_where_the_checkpoint_has_none(
    trained: Callable[..., Path], trainer: str | None, tmp_path: Path
) -> None:
    found = import_model(ImportRequest(trained(trainer_name=trainer), tmp_path / "m.vesal"))
    assert found.provenance["imported"]["trainer"] == (trainer or "nnUNetTrainer")
    assert "none of nnU-Net's own" not in found.text()
