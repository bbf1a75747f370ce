"""A model as a page that segments in the browser: static files that any web server shows."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesal.cpus import cpu_count
from vesal.errors import UsageError
from vesal.files import atomic_path, write_bytes, write_json
from vesal.infer.exporting.onnx_graph import onnx_graph, require_onnx
from vesal.infer.model_packages import joint_estimator, read_packages
from vesal.infer.runtime.exported_model import Exported
from vesal.infer.runtime.onnx_session import OnnxNetwork
from vesal.outputs import OutputFolder
from vesal.planning.plan import Plan
from vesal.workflow.deployment.model_export import compare_logits, describe_export
from vesal.workflow.deployment.served_models import ServedModel, describe_models
from vesal.workflow.deployment.viewer_bundle import BUILD_IT, BUILT_PAGE, FILES, MODEL, PAGE, is_built

#: Of the description that the page reads.
VERSION = 1
#: What the page takes of a plan; what it does not do is refused by `_refuse`.
FIELDS = {
    "dimension", "rules", "axis_order", "as_stored", "slice_axis", "spacing_mm", "keeps_spacing", "patch",
    "normalisation", "crop_to_nonzero", "image_order", "blocks", "overlap", "blend", "channels", "foreground_channel",
    "labels", "margin_mm", "label_sizes", "label_gaps_mm",
}  # fmt: skip


@dataclass(frozen=True)
class WebExport:
    """What was written.

    Attributes:
        folder: of the page.
        files: how many.
        size_bytes: of all of them.
        logits: largest difference of a graph's logits from torch's, as a share of their range.
    """

    folder: Path
    files: int
    size_bytes: int
    logits: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "folder": str(self.folder),
            "files": self.files,
            "bytes": self.size_bytes,
            "logits": self.logits,
        }

    def text(self) -> str:
        """For a reader: what was written, how it compares, and the next step."""
        return (
            f"Exported to {self.folder} ({self.files} files, {self.size_bytes / 1e6:.1f} MB); its logits for noise "
            f"differ from torch's by {self.logits:.1g} of their range.\n"
            f"Open it: vesal view {self.folder} (or put the folder on any web server)"
        )


def export_web(source: Path, out: Path) -> WebExport:
    """Write the page, onnxruntime for browsers, the model's description and a graph for each network.

    Args:
        source: a model file, or a run whose folds vote.
        out: folder, made if absent.

    Raises:
        UsageError: what is needed is not installed or built, no such model, one of pictures or a cascade, or a
            file of the folder would be overwritten.
        VesalError: a network cannot be exported, or its graph does not compute what torch does; nothing is written.
    """
    require_onnx()
    if not is_built() or not (FILES / BUILT_PAGE).is_file():
        raise UsageError(f"The page was not built; {BUILD_IT}.")
    files, packages = read_packages(source)
    exported, parts = describe_export(packages, files)
    _refuse(source, exported.plan)
    names = (*exported.graphs, *exported.locators)
    # onnxruntime on a graphics card has no transposed convolution in 3D.
    made = [onnx_graph(part, features=False, blocks=True) for part in parts]
    graphs = {f"{name}.onnx": graph for name, graph in zip(names, made, strict=True)}
    found = [
        compare_logits(part, OnnxNetwork(graph, cpu_count())) for part, graph in zip(parts, made, strict=True)
    ]
    shown = describe_models({source.resolve().name.removesuffix(".vesal"): source})
    (model,) = shown.values()
    estimator = joint_estimator(packages, files)
    temperature = 1.0 if estimator is None else estimator.temperature
    pages = _page_files()
    with OutputFolder(out) as output:
        output.refuse([out / name for name in (*pages, *graphs, MODEL)])
        # A stop in between leaves a page that says what it lacks, not one of two models.
        output.remove(out / MODEL)
        for name, file in pages.items():
            with atomic_path(out / name) as temporary:
                shutil.copyfile(file, temporary)
        for name, graph in graphs.items():
            write_bytes(out / name, graph)
        # Last: a page that finds it finds everything.
        write_json(out / MODEL, page_model(exported, model, temperature))
    written = [out / name for name in (*pages, *graphs, MODEL)]
    return WebExport(out, len(written), sum(file.stat().st_size for file in written), max(found))


def _refuse(source: Path, plan: Plan) -> None:
    """Raise UsageError where the page does not do what a plan needs."""
    if plan.scan_dimension != 3:
        raise UsageError(f"{source} segments pictures, and the page takes volumes; serve it by vesal serve.")
    if plan.takes_masks:
        raise UsageError(
            f"{source} is a cascade, whose second stage takes the first one's label map, and the page gives none; "
            "serve it by vesal serve, or import 3d_fullres or 3d_lowres of the same data set."
        )
    if plan.locator is not None and any(
        of.rules != "vesal" or of.axis_order or of.as_stored for of in (plan, plan.locator)
    ):
        raise UsageError(
            f"{source} looks in a box and prepares scans as another program does, and the page does one of both; "
            "serve it by vesal serve."
        )


def page_model(exported: Exported, shown: ServedModel, temperature: float) -> dict[str, Any]:
    """The description, as viewer/src/infer/model.ts reads it."""
    plan = exported.plan
    locator = None
    if plan.locator is not None:
        locator = {
            "plan": page_plan(plan.locator),
            "networks": [f"{name}.onnx" for name in exported.locators],
        }
    steps = () if exported.postprocess is None else exported.postprocess.steps
    values = {
        "version": VERSION,
        # It estimates no quality and takes DICOM by itself.
        "shown": shown.to_dict() | {"quality": False, "dicom": False},
        "plan": page_plan(plan),
        "networks": [f"{name}.onnx" for name in exported.graphs],
        "usual_shape": plan.median_shape,
        "temperature": temperature,
        "postprocess": [step.to_dict() for step in steps],
        "locator": locator,
    }
    return dict(json.loads(json.dumps(values, allow_nan=False)))


def page_plan(plan: Plan) -> dict[str, Any]:
    """What the page reads of a plan (viewer/src/infer/model.ts); the folder may be put on a public server."""
    return plan.model_dump(mode="json", include=FIELDS)


def _page_files() -> dict[str, Path]:
    """Name in the folder -> file of the page as it was built."""
    found = {}
    for file in sorted(path for path in FILES.rglob("*") if path.is_file()):
        name = file.relative_to(FILES).as_posix()
        if name == PAGE:
            continue
        found[PAGE if name == BUILT_PAGE else name] = file
    return found
