"""A model as a file for the runtime without torch, compared with torch before it takes its place."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vesal.data.case import read_image
from vesal.data.dataset import Case
from vesal.errors import DataError, UsageError, VesalError, unknown_name
from vesal.files import write_bytes
from vesal.infer.exporting.onnx_graph import onnx_graph, random_windows, require_onnx
from vesal.infer.exporting.openvino_files import joined_graphs, require_openvino, write_openvino
from vesal.infer.model import Model
from vesal.infer.model_packages import agreed_steps, joint_estimator, read_packages, shared_plan
from vesal.infer.predictor import load_model
from vesal.infer.quality.encoder_features import encoder_of
from vesal.infer.quality.quality_model import Calibration, read_calibration
from vesal.infer.runtime.exported_model import Exported, graph_names, write_onnx
from vesal.infer.runtime.load_exported import load_exported
from vesal.infer.scan_notes import with_channels
from vesal.nn.model_file import Package
from vesal.outputs import results
from vesal.run.folder import Run
from vesal.run.held_out import held_out_cases
from vesal.workflow.deployment.int8_export import Int8Cases, Int8Cost, int8_graphs, measured

#: Target -> ending of the file.
ENDINGS = {"onnx": ".vesal", "openvino": ".xml"}

#: In what the networks of an exported model compute.
PRECISIONS = ("float32", "int8")

#: Largest difference from torch's logits, as a share of their range; 1e-5 and less was found.
TOLERANCE = 1e-3

#: Largest difference from torch's features of an encoder, whose spread from scan to scan is some tenths.
_FEATURE_TOLERANCE = 1e-2

#: Voxels of a scan whose label may differ from torch's, as a share.
_VOXELS = 1e-4


@dataclass(frozen=True)
class Comparison:
    """What an exported model was found to differ from torch by.

    Attributes:
        logits: of a window of noise, the largest difference as a share of the range; of the worst graph.
        scan: the case that both predicted, or '' where there was none.
        voxels: of the scan.
        different: those of them with another label.
        backend: what computed the exported model.
    """

    logits: float
    backend: str
    scan: str = ""
    voxels: int = 0
    different: int = 0

    def text(self) -> str:
        """For a reader."""
        line = f"its logits for noise differ from torch's by {self.logits:.1g} of their range"
        if not self.scan:
            return f"{line}; no scan of a run was there to be compared"
        return f"{line}, and {self.different} of {self.voxels} voxels of {self.scan}"


@dataclass(frozen=True)
class ModelExport:
    """What was written.

    Attributes:
        files: all of them.
        graphs: networks and locators.
        compared: with torch, in float32.
        int8: what it costs and gains; None in float32.
    """

    files: tuple[Path, ...]
    graphs: int
    compared: Comparison
    int8: Int8Cost | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "files": [str(file) for file in self.files],
            "graphs": self.graphs,
            "compared": _compared_values(self.compared, self.int8),
        }

    def text(self) -> str:
        """For a reader: what was written, how it compares, and the next step."""
        size = sum(file.stat().st_size for file in self.files) / 1e6
        names = " and ".join(map(str, self.files))
        compared = self.compared.text()
        if self.int8 is not None:
            compared = f"in float32 {compared}; {self.int8.text()}"
        return (
            f"Exported to {names} ({size:.1f} MB); {compared}.\n"
            f"Predict without torch: vesal-runtime predict {self.files[0]} SCAN -o FOLDER"
        )


def _compared_values(compared: Comparison, int8: Int8Cost | None) -> dict[str, Any]:
    return asdict(compared) | ({} if int8 is None else {"int8": asdict(int8)})


def export_model(target: str, source: Path, out: Path, precision: str = "float32") -> ModelExport:
    """Export a model file, or a run whose folds vote.

    Args:
        target: of ENDINGS.
        source: the model file or run folder.
        out: NAME.vesal, or NAME.xml beside which NAME.bin is written.
        precision: of PRECISIONS; int8 of a run folder and for OpenVINO alone.

    Raises:
        UsageError: a wrong ending, what is needed is not installed, no such model, a file would be overwritten,
            or there is no int8 of that.
        VesalError: a network cannot be exported, its results are not torch's, or int8 loses too much; nothing is
            written then.
    """
    cases = _int8_cases(target, source, precision)
    ending = ENDINGS[target]
    if out.suffix.lower() != ending:
        raise UsageError(f"{out} is to be a file that ends in {ending}; choose a name such as model{ending}.")
    if target == "onnx":
        require_onnx()
    else:
        require_openvino()
    files, packages = read_packages(source)
    exported, parts = describe_export(packages, files)
    names = [out] if target == "onnx" else [out, out.with_suffix(".bin")]
    if any(out.resolve() == file.resolve() for file in files):
        raise UsageError(f"{out} is the model itself; choose another name for the exported one.")
    with (
        results(out.parent, *(name.name for name in names)) as output,
        tempfile.TemporaryDirectory() as folder,
    ):
        made = Path(folder) / f"model{ending}"
        write: Callable[[Exported], None]
        if target == "onnx":
            every = (*exported.graphs, *exported.locators)
            graphs = {name: onnx_graph(part) for name, part in zip(every, parts, strict=True)}
            write = partial(write_onnx, made, graphs=graphs)
        else:
            write = partial(write_openvino, made, joined=joined_graphs(exported, parts))
        write(exported)
        compared, cost = _compare(made, parts, source, files), None
        if cases is not None:
            model = load_exported(made, quality=False)
            joined = joined_graphs(exported, parts, int8_graphs(model, parts[: len(exported.graphs)], cases))
            int8_file = made.with_name("int8.xml")
            write_openvino(int8_file, exported, joined)
            cost = measured(model, load_exported(int8_file, quality=False), cases)
            write = partial(write_openvino, made, joined=joined)
        write(replace(exported, compared=_compared_values(compared, cost)))
        if len(names) > 1:
            # NAME.xml comes last: no old one is ever beside new weights.
            output.remove(out)
        for name in reversed(names):
            write_bytes(name, made.with_suffix(name.suffix).read_bytes())
    return ModelExport(tuple(names), len(parts), compared, cost)


def _int8_cases(target: str, source: Path, precision: str) -> Int8Cases | None:
    """What int8 is fitted to and measured on, found before any work; None in float32."""
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if precision == "float32":
        return None
    if target != "openvino":
        raise UsageError(
            f"--precision int8 is for --to openvino, not {target}: ONNX Runtime computes int8 in 3D slower than "
            "float32; choose --to openvino, or leave out --precision."
        )
    return Int8Cases.of(source)


def describe_export(packages: Sequence[Package], files: Sequence[Path]) -> tuple[Exported, list[Package]]:
    """What an exported model says, and one package for each graph, those of locators last.

    Args:
        packages, files: as of `read_packages`.
    """
    voters = [voter for package in packages for voter in package.voters]
    coarse = [of for package in packages if (of := package.locator) is not None]
    locators = [voter for of in coarse for voter in of.voters]
    graphs, places = graph_names(len(voters), len(locators))
    calibrations: tuple[Calibration, ...] = ()
    if joint_estimator(packages, files) is not None:
        found = (
            read_calibration(of.quality, of.plan.labels, file)
            for of, file in zip(packages, files, strict=True)
        )
        calibrations = tuple(of for of in found if of is not None)
    first = packages[0]
    exported = Exported(
        plan=shared_plan(packages),
        network=first.network,
        provenance=first.provenance,
        weights=tuple(package.weights_digest for package in packages),
        graphs=graphs,
        locators=places,
        scores=first.scores,
        postprocess=agreed_steps(packages, files),
        quality=calibrations,
    )
    return exported, [*voters, *locators]


def _compare(made: Path, parts: Sequence[Package], source: Path, files: Sequence[Path]) -> Comparison:
    """The file beside torch, by noise and by a scan.

    Raises:
        VesalError: they differ.
    """
    model = load_exported(made)
    networks = [*model.networks, *(() if model.locator is None else model.locator.networks)]
    worst = 0.0
    for part, network in zip(parts, networks, strict=True):
        worst = max(worst, compare_logits(part, network))
    scan = _a_scan(source)
    if scan is None:
        return Comparison(worst, model.backend)
    return _compared_scan(scan, model, files, worst)


def compare_logits(part: Package, network: Any) -> float:
    """The largest difference of a graph's logits for noise from torch's, as a share of their range.

    Args:
        part: whose network it is.
        network: the graph, as `vesal.infer.windows` calls it.

    Raises:
        VesalError: it is more than rounding.
    """
    windows = random_windows(part)
    module = part.build(copy=False)
    with torch.inference_mode():
        expected = module(windows).numpy()
    found = network(windows.numpy())
    if found.shape != expected.shape or not np.isfinite(found).all():
        raise VesalError(
            f"The exported network gives logits {found.shape} where torch gives {expected.shape}."
        )
    difference = float(np.abs(found - expected).max()) / float(np.ptp(expected))
    if not difference <= TOLERANCE:
        raise VesalError(
            f"The exported network's logits differ from torch's by {difference:.2g} of their range, more than "
            f"{TOLERANCE:g}; nothing was written."
        )
    features, encoded = network.encoded(windows[:1].numpy()), encoder_of(module)
    if len(features) and encoded is not None:
        gap = float(np.abs(features - encoded(windows[:1])).max())
        if not gap <= _FEATURE_TOLERANCE:
            raise VesalError(
                f"The exported network's features for the quality estimate differ from torch's by {gap:.2g}; nothing "
                "was written."
            )
    return difference


def _a_scan(source: Path) -> Case | None:
    """A case that the run held out and whose files are there; None of a model file, or where there is none."""
    if not source.is_dir():
        return None
    try:
        cases = [one.case for one in held_out_cases(Run(source))]
    except VesalError:
        return None
    return next((case for case in cases if all(file.exists() for file in case.images)), None)


def _compared_scan(case: Case, model: Model, files: Sequence[Path], logits: float) -> Comparison:
    try:
        volume = with_channels(
            read_image(case.model_copy(update={"pixel_mm": model.plan.pixel_mm})), model.plan
        )
    except DataError:
        return Comparison(logits, model.backend)
    by_torch = load_model(list(files), device="cpu", backend="torch", precision="32")
    expected = by_torch.predict(volume).label.array
    found = model.predict(volume).label.array
    different = int(np.count_nonzero(found != expected))
    if different > _VOXELS * expected.size:
        raise VesalError(
            f"The exported model gives {different} of {expected.size} voxels of {case.id} another label than torch; "
            "nothing was written."
        )
    return Comparison(logits, model.backend, case.id, int(expected.size), different)
