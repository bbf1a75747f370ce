"""nnU-Net's cascade as one model file: both stages are imported, and the second predicts with the first one's masks."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import their_prediction
import torch
from test_import_model import TUMOUR, imported, same_share, scan
from test_model_file import read_zip, write_zip
from their_networks import TheirNetwork, cascade_of, dataset_of, kwargs_of, write_folder

sys.path.insert(0, str(Path(__file__).parents[2]))
from in_process import vesal as vesal_program
from vesal.errors import UsageError, VesalError
from vesal.infer.predictor import load_model
from vesal.infer.runtime import load_exported
from vesal.nn.model_file import Package, load_package
from vesal.preprocessing.prepare import prepare
from vesal.serve.jobs.job import JobOptions
from vesal.serve.jobs.predict_job import Work, predict_job
from vesal.train.recipe import TrainConfig
from vesal.volume.io import read_label, write_volume
from vesal.workflow.deployment import model_export, web_export
from vesal.workflow.deployment.web_export import export_web
from vesal.workflow.finetuning.adapted_start import check_start
from vesal.workflow.model_exchange.export_nnunet import export_nnunet
from vesal.workflow.model_exchange.import_model import import_model
from vesal.workflow.requests.import_request import ImportRequest

FIRST, SECOND = "3d_lowres", "3d_cascade_fullres"
Networks = Sequence[TheirNetwork]


def write_cascade(
    folder: Path, plans: dict[str, Any], dataset: dict[str, Any], first: Networks, second: Networks
) -> Path:
    """Folders of both stages, of so many folds; that of the data set."""
    above = folder / "Dataset099_Tiny"
    for name, networks in ((FIRST, first), (SECOND, second)):
        folds = {str(number): network for number, network in enumerate(networks)}
        write_folder(above, plans, dataset, folds, configuration=name)
    return above


def plain(folder: Path, *, first: int = 1, second: int = 1, **plans: Any) -> tuple[Path, Networks, Networks]:
    """A cascade of one channel and two labels."""
    low = [TheirNetwork(kwargs_of(3), 1, 3, seed=seed) for seed in range(first)]
    fine = [TheirNetwork(kwargs_of(3), 3, 3, seed=10 + seed) for seed in range(second)]
    return write_cascade(folder, cascade_of(**plans), dataset_of(), low, fine), low, fine


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., Path]:
    return lambda **more: plain(tmp_path, **more)[0]


def by_hand(
    volume: Any,
    spacing: Sequence[float],
    plans: dict[str, Any],
    stages: tuple[Networks, Networks],
    labels: int,
    **options: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the first stage and of the second, each by nnU-Net's own steps."""
    first = their_prediction.predict(volume.array, spacing, plans, stages[0], configuration=FIRST, **options)
    plans["configurations"][SECOND] = plans["configurations"]["3d_fullres"]
    second = their_prediction.predict(
        volume.array, spacing, plans, stages[1], configuration=SECOND, first_stage=(first, labels), **options
    )
    return first, second


@pytest.mark.parametrize(
    ("spacing", "plans"),
    [
        ((0.8, 0.9, 2.5), {}),
        # Thick slices: the mask is resampled slice by slice too.
        ((0.8, 0.9, 9.0), {"use_mask_for_norm": [True]}),
        ((2.5, 0.8, 1.7), {"forward": (2, 0, 1), "normalization_schemes": ["CTNormalization"]}),
        # The scan lies on the second stage's grid already.
        ((1.0, 1.0, 2.0), {}),
    ],
)
def test_masks_are_those_of_both_stages_by_hand(
    spacing: tuple[float, ...], plans: dict[str, Any], tmp_path: Path
) -> None:
    above, low, fine = plain(tmp_path, first=2, **plans)
    volume = scan(spacing, flips=(-1, -1, 1))
    found = cascade_of(**plans)
    first, expected = by_hand(volume, spacing, found, (low, fine), 2, mirror_axes=(0, 1))
    assert len(np.unique(first)) == 3
    model = imported(tmp_path, above, configuration=SECOND)
    assert model.locator is not None
    assert len(model.locator.networks) == 2
    assert same_share(model, volume, expected, mirror=True) > 0.9995
    # Without mirrored copies neither stage has them.
    plans_again = cascade_of(**plans)
    _, unmirrored = by_hand(volume, spacing, plans_again, (low, fine), 2)
    assert same_share(model, volume, unmirrored) > 0.9995
    assert np.mean(unmirrored == expected) < 0.9995
    # The masks matter.
    blank = np.zeros_like(first)
    without = their_prediction.predict(
        volume.array, spacing, plans_again, fine, configuration=SECOND, first_stage=(blank, 2)
    )
    assert np.mean(without == unmirrored) < 0.99


def test_regions_two_channels_and_residual_blocks_give_nnunets_masks(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "residual": True,
        "normalization_schemes": ["ZScoreNormalization", "NoNormalization"],
        "use_mask_for_norm": [True, False],
    }
    low = [TheirNetwork(kwargs_of(3, residual=True), 2, 3, residual=True, seed=1)]
    fine = [TheirNetwork(kwargs_of(3, residual=True), 5, 3, residual=True, seed=seed) for seed in (2, 3)]
    dataset = dataset_of(TUMOUR, regions_class_order=[2, 1, 3], channel_names={"0": "T1", "1": "T2"})
    above = write_cascade(tmp_path, cascade_of(**changes), dataset, low, fine)
    volume = scan((0.8, 0.9, 2.5), channels=2)
    options: dict[str, Any] = {"mirror_axes": (0, 1), "order": [2, 1, 3]}
    _, expected = by_hand(volume, (0.8, 0.9, 2.5), cascade_of(**changes), (low, fine), 3, **options)
    model = imported(tmp_path, above, configuration=SECOND)
    assert (len(model.networks), model.plan.inputs) == (2, 5)
    assert same_share(model, volume, expected, mirror=True) > 0.9995


def test_the_file_holds_both_stages_and_says_so(trained: Callable[..., Path], tmp_path: Path) -> None:
    ticks: list[tuple[int, int]] = []
    request = ImportRequest(
        trained(first=3, second=2), tmp_path / "m.vesal", configuration=SECOND, folds=("1",)
    )
    result = import_model(request, lambda *done: ticks.append(done))
    package = load_package(tmp_path / "m.vesal")
    assert package.provenance == result.provenance
    source = package.provenance["imported"]
    assert (source["configuration"], source["folds"]) == (SECOND, ["fold_1"])
    # A fold of the second stage is chosen; of the first all vote.
    assert source["previous_stage"]["configuration"] == FIRST
    assert source["previous_stage"]["folds"] == ["fold_0", "fold_1", "fold_2"]
    assert f"{SECOND}, fold_1, on the masks of {FIRST}, fold_0, fold_1, fold_2" in result.text()
    assert ticks == [(1, 1), (1, 3), (2, 3), (3, 3)]
    assert package.locator is not None
    assert len(package.locator.voters) == 3
    assert (package.plan.inputs, package.plan.looks_in_box) == (3, False)
    assert package.locator.plan.inputs == 1
    members = read_zip(tmp_path / "m.vesal")
    assert sorted(members)[:3] == ["locator.safetensors", "locator_2.safetensors", "locator_3.safetensors"]
    # Both stages' weights are looked at.
    exchanged = members | {"locator_2.safetensors": members["weights.safetensors"]}
    with pytest.raises(VesalError, match="where the plan needs"):
        load_package(write_zip(tmp_path / "n.vesal", exchanged))
    del members["locator.safetensors"]
    with pytest.raises(VesalError, match="the plan's locator are not both there"):
        load_package(write_zip(tmp_path / "n.vesal", members))


def test_cascades_vote_together_though_one_has_fewer_folds_of_its_first_stage(
    trained: Callable[..., Path], tmp_path: Path
) -> None:
    above, files = trained(first=2), [tmp_path / "m.vesal", tmp_path / "n.vesal"]
    import_model(ImportRequest(above, files[0], configuration=SECOND))
    shutil.rmtree(next(above.glob(f"*__{FIRST}")) / "fold_0")
    import_model(ImportRequest(above, files[1], configuration=SECOND))
    model = load_model(files, device="cpu", backend="torch")
    assert model.locator is not None
    assert (len(model.networks), len(model.locator.networks)) == (2, 3)
    # The first stage of another grid makes other masks.
    for change in ({"locator": {"spacing_mm": [4.0, 2.0, 3.0]}}, {"keeps_spacing": True}):
        members = read_zip(files[1])
        description = json.loads(members["model.json"])
        plan = description["plan"]
        plan |= change | {"locator": plan["locator"] | change.get("locator", {})}
        write_zip(files[1], members | {"model.json": json.dumps(description).encode()})
        with pytest.raises(VesalError, match="cannot vote together"):
            load_model(files, device="cpu", backend="torch")
        write_zip(files[1], members)


def test_without_the_first_stages_folder_it_says_which_is_missing(
    trained: Callable[..., Path], tmp_path: Path
) -> None:
    above = trained()
    (first,) = above.glob(f"*__{FIRST}")
    shutil.move(first, tmp_path / "elsewhere")
    (second,) = above.glob(f"*__{SECOND}")
    with pytest.raises(UsageError, match=f"there is no {first} with plans.json; put it there, or import"):
        import_model(ImportRequest(second, tmp_path / "m.vesal"))
    assert not (tmp_path / "m.vesal").exists()
    # A folder of a name of its own: what the checkpoint says is looked for.
    renamed = second.rename(above / "mine")
    with pytest.raises(UsageError, match=f"there is no {first} with"):
        import_model(ImportRequest(renamed, tmp_path / "m.vesal"))
    shutil.move(tmp_path / "elsewhere", first)
    import_model(ImportRequest(renamed, tmp_path / "m.vesal"))


def test_stages_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    plans, request = cascade_of(), ImportRequest(tmp_path / "Dataset099_Tiny", tmp_path / "m.vesal")
    low, fine = TheirNetwork(kwargs_of(3), 1, 3), TheirNetwork(kwargs_of(3), 3, 3)
    above = write_cascade(tmp_path, plans, dataset_of(), [low], [fine])
    (first,), (second,) = above.glob(f"*__{FIRST}"), above.glob(f"*__{SECOND}")

    def refused(match: str) -> None:
        with pytest.raises(VesalError, match=match):
            import_model(ImportRequest(second, request.out))
        assert not request.out.exists()

    other = dataset_of({"background": 0, "shell": 1, "pith": 2})
    write_folder(above, plans, other, {"0": low}, configuration=FIRST)
    refused("has other channels or labels; take both folders")
    of_another = cascade_of()["configurations"] | {
        FIRST: {"inherits_from": "3d_fullres", "previous_stage": "2d"}
    }
    write_folder(above, plans | {"configurations": of_another}, dataset_of(), {"0": low}, configuration=FIRST)
    refused("cascades of two stages are imported")
    shutil.rmtree(first)
    write_folder(above, plans, dataset_of(), {"0": low}, configuration="3d_fullres").rename(first)
    refused("holds 3d_fullres, not 3d_lowres")
    residual = cascade_of(residual=True)["configurations"][FIRST]
    mixed = plans | {"configurations": plans["configurations"] | {FIRST: residual}}
    shutil.rmtree(first)
    network = TheirNetwork(kwargs_of(3, residual=True), 1, 3, residual=True)
    write_folder(above, mixed, dataset_of(), {"0": network}, configuration=FIRST)
    refused("networks of two kinds, residual-unet .* and unet")


def test_where_a_cascade_cannot_go_it_is_refused_with_the_reason(
    trained: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.vesal"
    model = imported(tmp_path, trained(), configuration=SECOND)
    with pytest.raises(UsageError, match="holds one stage of a cascade, and this model both"):
        export_nnunet(file, tmp_path / "out")
    with pytest.raises(UsageError, match=r"is a cascade of nnU-Net.*import 3d_fullres or 3d_lowres"):
        check_start(TrainConfig(initial_weights=str(file), network="unet"))
    for name in ("is_built", "require_onnx"):
        monkeypatch.setattr(web_export, name, lambda: True)
    monkeypatch.setattr(web_export, "FILES", tmp_path)
    (tmp_path / web_export.BUILT_PAGE).touch()
    with pytest.raises(UsageError, match=r"second stage takes the first one's label map.*vesal serve"):
        export_web(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    # By the plan alone a scan cannot be prepared.
    with pytest.raises(VesalError, match="takes the first one's label map among its channels"):
        prepare(scan((1.0, 1.0, 2.0)), model.plan)


def test_a_cascade_is_predicted_from_files_under_a_limit_of_memory_served_and_described(
    trained: Callable[..., Path], tmp_path: Path
) -> None:
    above, model, volume = trained(), tmp_path / "model.vesal", scan((0.8, 0.9, 2.5))
    done = vesal_program("import", above, "--configuration", SECOND, "-o", model)
    assert done.returncode == 0, done.stderr
    write_volume(tmp_path / "scan.nii.gz", volume)
    expected = load_model(model, device="cpu", backend="torch").predict(volume, mirror=True).label.array
    for limit in ((), ("--max-ram", "4G")):
        out = tmp_path / f"mask{len(limit)}.nii.gz"
        done = vesal_program(
            "predict", model, tmp_path / "scan.nii.gz", "-o", out, "--tta", "--device", "cpu",
            "--backend", "torch", *limit,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        np.testing.assert_array_equal(read_label(out).array, expected)
    loaded = load_model(model, device="cpu", backend="torch")
    work = Work((tmp_path / "scan.nii.gz",), tmp_path / "results", JobOptions(), tmp_path)
    (mask, _) = predict_job(loaded, work, lambda done, total: None).results
    unmirrored = loaded.predict(volume, probabilities=True)
    np.testing.assert_array_equal(read_label(tmp_path / "results" / mask.name).array, unmirrored.label.array)
    assert np.any(unmirrored.label.array != expected)
    # Windows overlap in the first stage as in the second.
    assert loaded.locator is not None
    first = loaded.locator.predict(volume, overlap=0.0).label
    apart = loaded.prepare(volume, overlap=0.0).image
    np.testing.assert_array_equal(apart, prepare(volume, loaded.plan, first_stage=first).image)
    assert np.any(apart != loaded.prepare(volume).image)
    done = vesal_program("card", model, "-o", tmp_path / "card")
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "card" / "README.md").read_text()
    assert "two: the masks of the first, at 4 x 2 x 2 mm, are channels of the second" in card


def test_exported_for_the_runtime_a_cascade_gives_the_same_masks(
    trained: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs: dict[bytes, torch.nn.Module] = {}

    def graph_of(part: Package) -> bytes:
        name = f"graph {len(graphs)}".encode()
        graphs[name] = part.build()
        return name

    class ByTorch:
        """In place of ONNX Runtime, whose graphs take seconds each to be made."""

        backend = "torch"

        def __init__(self, graph: bytes, threads: int, *, alone: bool = True) -> None:
            self.network = graphs[graph]

        def __call__(self, batch: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                found: np.ndarray = self.network(torch.from_numpy(np.ascontiguousarray(batch))).numpy()
            return found

        def encoded(self, window: np.ndarray) -> np.ndarray:
            return np.empty(0)

    monkeypatch.setattr(model_export, "require_onnx", lambda: None)
    monkeypatch.setattr(model_export, "onnx_graph", graph_of)
    monkeypatch.setattr(load_exported, "OnnxNetwork", ByTorch)
    model = imported(tmp_path, trained(first=2), configuration=SECOND)
    done = model_export.export_model("onnx", tmp_path / "m.vesal", tmp_path / "exported.vesal")
    assert done.graphs == 3
    exported = load_exported.load_exported(tmp_path / "exported.vesal", backend="onnxruntime")
    volume = scan((0.8, 0.9, 5.0))
    assert exported.digest == model.digest
    found, expected = (one.predict(volume, mirror=True).label.array for one in (exported, model))
    assert len(np.unique(expected)) == 3
    assert np.mean(found == expected) > 0.9995
