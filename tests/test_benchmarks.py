import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

# benchmarks/ is no part of the package: it is imported from the root of the repository.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import busy, dice_per_minute, votes_within, weights
from benchmarks.beside import take_turns
from benchmarks.nnunet import CONFIGURATION, Workspace, vesal_plan, write_raw
from benchmarks.parts import Comparison, mean_dice
from benchmarks.precision import row as precision_row
from benchmarks.processes import Worker, run
from benchmarks.record import machine, record
from benchmarks.results import OURS, Results, markdown, ratio, rows, short

import vesal
from vesal.data.labels import LabelSet
from vesal.files import write_json
from vesal.nn.model_file import load_package
from vesal.nn.zoo import build_network
from vesal.planning.plan import Plan

LABELS = LabelSet.from_values({"front": 1, "back": 2})


def plans(*, turn: tuple[int, ...] = (0, 1, 2), kernel: tuple[int, ...] = (1, 3, 3)) -> dict[str, Any]:
    """As nnU-Net writes them, axes (z, y, x), as far as they are read here; `kernel` is the first stage's."""
    features = (4, 8, 16)
    ones, twos, threes = [1, 1, 1], [2, 2, 2], [3, 3, 3]
    network = {
        "n_stages": len(features),
        "features_per_stage": list(features),
        "kernel_sizes": [list(kernel), *([threes] * (len(features) - 1))],
        "strides": [ones, [1, 2, 2], *([twos] * (len(features) - 2))],
        "n_conv_per_stage": [2] * len(features),
        "conv_bias": True,
    }
    configuration = {
        "spacing": [3.0, 1.5, 1.0],
        "patch_size": [8, 16, 32],
        "batch_size": 9,
        "median_image_size_in_voxels": [10.0, 20.0, 40.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {"arch_kwargs": network},
    }
    return {"transpose_forward": list(turn), "configurations": {CONFIGURATION: configuration}}


def plan(**changes: Any) -> Plan:
    return vesal_plan(plans(**changes), LABELS, ("MRI",))


def named_as_nnunet(stages: int) -> Iterator[tuple[str, str]]:
    """(nnU-Net's name, Vesal's) of every weight, each of nnU-Net's once."""
    for level in range(stages):
        for place in range(2):
            for part in ("conv.weight", "conv.bias", "norm.weight", "norm.bias"):
                yield f"encoder.stages.{level}.0.convs.{place}.{part}", f"encoder.{level}.{place}.{part}"
                if level < stages - 1:
                    theirs = f"decoder.stages.{stages - 2 - level}.convs.{place}.{part}"
                    yield theirs, f"decoder.{level}.{place}.{part}"
    for level in range(stages - 1):
        for part in ("weight", "bias"):
            yield f"decoder.transpconvs.{stages - 2 - level}.{part}", f"ups.{level}.{part}"


def test_a_plan_of_nnunet_is_read_with_its_axes_turned_to_x_y_z() -> None:
    found = plan()
    assert (found.spacing_mm, found.patch, found.batch) == ((1.0, 1.5, 3.0), (32, 16, 8), 9)
    assert found.stages[0].kernel == (3, 3, 1)
    assert found.stages[1].stride == (2, 2, 1)
    assert found.bias
    # The lowest head has no weight in nnU-Net's loss.
    assert found.heads == 1


def test_axes_that_nnunet_transposed_are_turned_back() -> None:
    # nnU-Net's first axis is then x, its second z, its third y.
    assert plan(turn=(2, 0, 1)).patch == (8, 32, 16)


def test_a_plan_that_normalises_otherwise_is_refused() -> None:
    other = plans()
    other["configurations"][CONFIGURATION]["normalization_schemes"] = ["CTNormalization"]
    with pytest.raises(ValueError, match="CTNormalization"):
        vesal_plan(other, LABELS, ("CT",))


def test_weights_go_to_nnunet_under_its_names_with_kernels_turned() -> None:
    network = build_network("unet", plan())
    ours = network.state_dict()
    expected = {}
    for theirs, here in named_as_nnunet(3):
        weight = ours[here]
        expected[theirs] = torch.zeros(*weight.shape[:2], *reversed(weight.shape[2:]))
        if weight.ndim == 1:
            expected[theirs] = torch.zeros_like(weight)
    for head, features in ((1, 4), (0, 8)):
        expected[f"decoder.seg_layers.{head}.weight"] = torch.full((3, features, 1, 1, 1), 7.0)
    expected["decoder.seg_layers.1.bias"] = torch.zeros(3)
    found = weights.to_nnunet(ours, expected, (2, 1, 0), 3)
    kernel = found["encoder.stages.0.0.convs.0.conv.weight"]
    assert torch.equal(kernel.permute(0, 1, 4, 3, 2), ours["encoder.0.0.conv.weight"])
    assert torch.equal(found["decoder.transpconvs.1.bias"], ours["ups.0.bias"])
    assert torch.equal(found["decoder.seg_layers.1.weight"], ours["heads.0.weight"])
    # Vesal has no head there; nnU-Net keeps its own.
    assert bool((found["decoder.seg_layers.0.weight"] == 7).all())


def test_a_weight_without_a_place_in_nnunet_is_an_error() -> None:
    ours = build_network("unet", plan()).state_dict()
    with pytest.raises(ValueError, match="no place"):
        weights.to_nnunet(ours, {"encoder.stages.0.0.convs.0.conv.bias": torch.zeros(4)}, (2, 1, 0), 3)


def test_nnunets_network_computes_the_same_with_vesals_weights() -> None:
    pytest.importorskip("dynamic_network_architectures")
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    found, given = plan(), plans()["configurations"][CONFIGURATION]["architecture"]["arch_kwargs"]
    network = PlainConvUNet(
        input_channels=1,
        num_classes=3,
        conv_op=torch.nn.Conv3d,
        n_conv_per_stage_decoder=2,
        norm_op=torch.nn.InstanceNorm3d,
        norm_op_kwargs={"affine": True},
        nonlin=torch.nn.LeakyReLU,
        **given,
    ).eval()
    ours = scrambled(build_network("unet", found))
    network.load_state_dict(weights.to_nnunet(ours.state_dict(), network.state_dict(), (2, 1, 0), 3))
    image = torch.randn(1, 1, 16, 24, 8)
    with torch.inference_mode():
        theirs = network(image.permute(0, 1, 4, 3, 2))
        torch.testing.assert_close(theirs.permute(0, 1, 4, 3, 2), ours(image), atol=1e-4, rtol=1e-4)


def test_monais_dynunet_computes_the_same_with_vesals_weights() -> None:
    pytest.importorskip("monai")
    from benchmarks.steps import dynunet

    # DynUNet gives a stage of the decoder the kernel of the stage below.
    found = plan(kernel=(3, 3, 3))
    ours = scrambled(build_network("unet", found))
    network = dynunet(found, deep_supervision=False).eval()
    weights.fill_dynunet(network, ours.state_dict(), len(found.stages))
    image = torch.randn(1, 1, 16, 24, 8)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), ours(image), atol=1e-4, rtol=1e-4)


def scrambled(network: torch.nn.Module) -> torch.nn.Module:
    """Norms and biases away from ones and zeros, so that each of them shows."""
    torch.manual_seed(1)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return network.eval()


def test_heads_without_a_say_in_the_loss_are_not_counted() -> None:
    named = {
        "encoder.stages.0.0.convs.0.conv.weight": torch.zeros(10),
        "decoder.encoder.stages.0.0.convs.0.all_modules.0.weight": torch.zeros(10),
        "decoder.seg_layers.1.weight": torch.zeros(5),
        "decoder.seg_layers.0.weight": torch.zeros(100),
    }
    assert weights.without_losing_heads(named, stages=3, heads=1) == 15


def test_a_ratio_is_of_medians_and_its_spread_of_pairs() -> None:
    found = ratio([4.0, 10.0, 9.0], [2.0, 2.0, 3.0])
    assert (found.of_medians, found.least, found.most) == (4.5, 2.0, 5.0)
    with pytest.raises(ValueError, match="paired"):
        ratio([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="paired"):
        ratio([], [])


def test_numbers_keep_the_digits_that_tell_something() -> None:
    assert [short(value) for value in (0.004567, 1.0, 12.34, 123.4, 45678.9)] == [
        "0.00457",
        "1",
        "12.3",
        "123",
        "45679",
    ]


def test_the_table_has_a_line_a_side_and_compares_it_with_vesal(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json")
    for seconds, peak in ((6.0, 300.0), (8.0, 300.0)):
        results.add("step", "nnU-Net", {"seconds": seconds, "peak_mb": peak})
        results.add("step", OURS, {"seconds": 2.0, "peak_mb": 100.0})
    table = rows(results)
    assert table[0] == ["step", "nnU-Net", "2", "7 (6 to 8)", "3.50 (3.00 to 4.00)", "300", "3.00"]
    assert table[1] == ["step", OURS, "2", "2 (2 to 2)", "", "100", ""]


def test_an_unfinished_pair_of_runs_is_not_compared(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json")
    results.add("step", "nnU-Net", {"seconds": 6.0})
    results.add("step", "nnU-Net", {"seconds": 60.0})
    results.add("step", OURS, {"seconds": 2.0})
    assert rows(results)[0][4] == "3.00 (3.00 to 3.00)"


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert markdown(["a"], [["x|y"]]).splitlines()[-1] == "| x\\|y |"


def comparison(told: list[str]) -> Comparison:
    def measure(side: str) -> dict[str, Any]:
        told.append(side)
        return {"seconds": 1.0}

    @contextmanager
    def sides() -> Iterator[dict[str, Any]]:
        yield {side: lambda side=side: measure(side) for side in ("other", OURS)}

    return Comparison("row", sides, lambda measured: [f"{len(measured)} sides"])


def test_sides_take_turns_and_a_stopped_bench_measures_only_what_is_missing(tmp_path: Path) -> None:
    told: list[str] = []
    results = Results(tmp_path / "results.json")
    results.add("row", "other", {"seconds": 5.0})
    take_turns(Results.open(results.file), comparison(told), 2, lambda line: None)
    assert told == [OURS, "other", OURS]
    again = Results.open(results.file)
    assert [len(again.of("row", side)) for side in ("other", OURS)] == [2, 2]
    assert again.notes == {"row": ["2 sides"]}
    take_turns(again, comparison(told), 2, lambda line: None)
    assert len(told) == 3


def test_a_row_that_is_forgotten_is_measured_anew(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json")
    results.add("row", OURS, {"seconds": 1.0})
    results.forget("row")
    assert Results.open(results.file).runs == {}


def test_a_record_tells_machine_command_table_and_notes(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json")
    results.add("step", OURS, {"seconds": 1.0})
    results.note("step", ["with a remark"])
    text = record(results, "make bench")
    for wanted in (machine(), "make bench", "| step | Vesal | 1 |", "- with a remark", torch.__version__):
        assert wanted in text


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_the_memory_of_children_counts() -> None:
    child = "import time; held = bytearray(b'1') * 150_000_000; time.sleep(1.5)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    alone = run([sys.executable, "-c", "pass"])
    found = run([sys.executable, "-c", parent])
    assert found.peak_mb > 150 > alone.peak_mb
    assert found.seconds > 1.4


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no such luck"):
        run([sys.executable, "-c", "raise SystemExit('no such luck')"], log=tmp_path / "log")


def test_a_worker_measures_when_it_is_asked_and_says_why_it_ended(tmp_path: Path) -> None:
    code = (
        "from benchmarks.processes import serve\n"
        "print('a library greets')\n"
        "serve({'batch': 9}, iter([{'seconds': 1.0}, {'seconds': 2.0}]).__next__)"
    )
    root = Path(__file__).resolve().parent.parent
    worker = Worker([sys.executable, "-c", code], {"PYTHONPATH": str(root), "PATH": ""}, tmp_path / "log")
    try:
        assert worker.about == {"batch": 9}
        assert [worker.measure()["seconds"] for _ in range(2)] == [1.0, 2.0]
        with pytest.raises(RuntimeError, match="StopIteration"):
            worker.measure()
    finally:
        worker.close()


def test_the_decathlon_is_copied_into_nnunets_layout(tmp_path: Path) -> None:
    task = tmp_path / "Task02_Heart"
    for name in ("imagesTr", "labelsTr"):
        (task / name).mkdir(parents=True)
        (task / name / "la_003.nii.gz").write_bytes(name.encode())
    (task / "dataset.json").write_text(
        '{"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "left atrium"},'
        ' "training": [{"image": "./imagesTr/la_003.nii.gz", "label": "./labelsTr/la_003.nii.gz"}]}'
    )
    workspace = Workspace(tmp_path / "nnunet")
    name = write_raw(task, workspace)
    assert name == "Dataset002_Heart"
    assert (workspace.raw / name / "imagesTr" / "la_003_0000.nii.gz").read_bytes() == b"imagesTr"
    assert '"left atrium": 1' in (workspace.raw / name / "dataset.json").read_text()


def test_dice_is_the_mean_over_labels_that_either_mask_has() -> None:
    one, other = np.array([0, 1, 1, 0, 3]), np.array([0, 1, 1, 0, 0])
    assert mean_dice(one, other) == 0.5
    assert mean_dice(other * 0, other * 0) == 1.0


def test_steps_of_both_precisions_are_timed_and_their_losses_told(tiny_plan: Path) -> None:
    cells = [cell.strip() for cell in precision_row(tiny_plan, 1, "unet").strip("|").split("|")]
    assert cells[0].startswith(f"{tiny_plan.parent.name}, unet, ")
    wide, narrow, ratio, first, second = map(float, cells[1:])
    assert ratio == pytest.approx(wide / narrow, rel=0.1)
    assert first == pytest.approx(second, rel=0.02)


def test_steps_are_timed_beside_a_process_that_spins_and_it_ends(tiny_plan: Path) -> None:
    with busy.spinning(min(os.sched_getaffinity(0))) as process:
        assert process.poll() is None
        took = busy.steps(Plan.load(tiny_plan), "32", own=True, count=4)
    assert process.poll() is not None
    assert len(took) == 2
    assert all(seconds > 0 for seconds in took)


def test_the_rows_of_the_table_are_runs_of_vesal_or_lie_within_one() -> None:
    rows = dice_per_minute.ROWS
    assert rows["heart-20m"].folds == (1, 2)
    first = rows["hippocampus-20m"].command(Path("data"), Path("work/a"), 0, resume=False)
    assert " ".join(first) == "train data/Task04_Hippocampus -o work/a --fold 0 --budget 20m --device cpu"
    again = rows["heart-20m"].command(Path("data"), Path("work/c"), 2, resume=True)
    assert again == ["train", "data/Task02_Heart", "-o", "work/c", "--resume", "--fold", "2"]
    shorter, other = rows["acdc-60m"], rows["acdc-20m-seed-1"]
    assert (shorter.within, shorter.budget, shorter.networks) == ("acdc-80m", "60m", (1, 2, 3))
    assert (other.within, other.budget, other.networks, other.seed) == ("acdc-80m", "20m", (2,), 1)


def test_a_shorter_row_is_scored_with_the_first_networks_of_the_longer(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    Plan.load(tiny_plan).model_copy(update={"networks": 3}).save(plan)
    overrides = {"steps": 18, "deterministic": True, "fold": 0}
    long = tmp_path / "long"
    vesal.train_run(
        vesal.TrainRequest(
            data=tiny_data, out=long, overrides=overrides, plan_file=plan, device="cpu", quiet=True
        ),
        tell=lambda _: None,
    )
    fold = long / "fold_0"
    tried = [{"networks": [1], "dice": 0.5, "kept": True}, {"networks": [1, 2], "dice": 0.4, "kept": False}]
    write_json(fold / "votes.json", [*tried, {"networks": [1, 3], "dice": 0.6, "kept": True}])
    assert votes_within.voters(fold, (1, 2)) == [1]
    assert votes_within.voters(fold, (1, 2, 3)) == [1, 3]
    assert (votes_within.steps(fold), votes_within.steps(fold, (1, 3))) == (18, 12)
    votes_within.cut(long, 0, (2,), tmp_path / "second")
    alone = load_package(fold / "network_2" / "model.vesal")
    assert load_package(tmp_path / "second" / "fold_0" / "model.vesal").weights_digest == alone.weights_digest
    assert (tmp_path / "second" / "scores.json").exists()


def test_other_work_beside_a_run_is_measured(tmp_path: Path) -> None:
    with (
        busy.spinning(min(os.sched_getaffinity(0))),
        dice_per_minute.measured(tmp_path / "a.json", {"fold": 0}),
    ):
        time.sleep(0.5)
    (found,) = json.loads((tmp_path / "a.json").read_text())
    assert found["fold"] == 0
    assert found["others"] > 0.3, "a core was held meanwhile"
