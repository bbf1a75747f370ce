"""What the prediction of a scan takes of memory at least, by arithmetic, before anything of it is read.

All that grows with the scan lies on the disk where --max-ram has no room for it. What is left is counted here: a window
on its way through the network, a few rows on their way to the network's grid, and what some formats and pictures need
as a whole.
"""

from __future__ import annotations

import math

from vesal.data.crop import in_order
from vesal.data.dataset import Case
from vesal.errors import UsageError
from vesal.infer.backends.registry import CpuNetwork
from vesal.infer.model import Model
from vesal.infer.windows import Windows
from vesal.memory_limit import require
from vesal.planning.cost import network_of
from vesal.planning.plan import Plan
from vesal.preprocessing.image_rows import row_bytes
from vesal.preprocessing.prepare import whole_crop
from vesal.volume.geometry import Geometry
from vesal.volume.io import read_geometry
from vesal.workflow.prediction.predict_targets import Target

#: Bytes a voxel of the scan that a result takes as a whole: a picture, a map of uncertainty, DICOM objects.
_PICTURE, _UNCERTAINTY, _DICOM = 14, 16, 10
#: Of a network's largest layer so many copies are there at once: input, output, and what a convolution works in.
_LAYERS = 4
#: Rows of logits that are there at once: those that are labelled, the last of them, and it with the next.
_ROWS = 5
#: OpenVINO's library, and a network that it has compiled.
_OPENVINO_BYTES = 350_000_000
#: Of an unknown network so many numbers are there for each voxel of a window.
_UNKNOWN_NUMBERS = 256


def refuse_too_large(case: Case, target: Target, model: Model, windows: Windows) -> None:
    """Refuse a scan that the limit of memory has no room for, from its header; without a limit nothing is refused.

    Raises:
        DataError: with the estimate and the fix; or the header cannot be read.
    """
    grid = read_geometry(case.images[0])
    voxels = math.prod(grid.shape)
    stages = [(model, windows)]
    if model.locator is not None and model.plan.takes_masks:
        stages.append((model.locator, model.locator.windows()))
    for stage, cut in stages:
        _refuse_stage(case, grid, stage, cut)
    if target.overlay is not None or "preview" in target.dicom:
        require(_PICTURE * voxels, f"The picture of {case.id}", "leave it out (--overlay, --to preview)")
    if target.uncertainty is not None:
        require(_UNCERTAINTY * voxels, f"The map of uncertainty of {case.id}", "leave out --uncertainty")
    if target.dicom:
        require(_DICOM * voxels, f"To write {case.id} as DICOM", "write NIfTI (--to nifti)")


def _refuse_stage(case: Case, grid: Geometry, model: Model, windows: Windows) -> None:
    """As `refuse_too_large`; of what is searched in a box it is known alone that it is smaller than the scan."""
    plan, fix = model.plan, "cut the scan into parts"
    require(window_bytes(model, windows), "The network", "take a model with smaller windows")
    whole = plan.locator if plan.looks_in_box and plan.locator is not None else plan
    require(preparing_bytes(grid, whole), f"To prepare {case.id}", fix)
    if not plan.looks_in_box:
        require(labelling_bytes(grid, plan, windows), f"To label {case.id}", fix)


def window_bytes(model: Model, windows: Windows) -> int:
    """Of the windows that are computed at once, with the feature maps of one network where the CPU computes it."""
    logits = windows.batch * math.prod(windows.patch) * model.labels.outputs * (1 + len(model.networks))
    if model.device.type != "cpu":
        return 4 * logits
    names = [package.network for package in model.packages] or ["unet"]
    largest = max(_feature_maps(model.plan, name) for name in dict.fromkeys(names))
    by_openvino = any(isinstance(network, CpuNetwork) for network in model.networks)
    return 4 * (windows.batch * largest + logits) + by_openvino * _OPENVINO_BYTES


def _feature_maps(plan: Plan, name: str) -> int:
    """Numbers that a network has at once for a window: of its largest layer, and of those that the way up takes."""
    try:
        largest = max(layer.activations for layer in network_of(plan, name).layers())
    except UsageError:
        return _UNKNOWN_NUMBERS * math.prod(plan.patch)
    numbers, voxels = _LAYERS * largest, math.prod(plan.patch)
    for stage in plan.stages:
        voxels //= math.prod(stage.stride)
        numbers += stage.features * voxels
    return numbers


def preparing_bytes(grid: Geometry, plan: Plan) -> float:
    """Of one row of the network's grid on its way there from a file whose last axis is its slowest."""
    crop = whole_crop(grid, plan)
    slowest = [own == grid.ndim - 1 for own in crop.turn.order]
    axis = in_order(slowest, crop.slice_axis, first=False).index(True)
    return sum(row_bytes(crop.crop_shape, crop.shape, axis, plan))


def labelling_bytes(grid: Geometry, plan: Plan, windows: Windows) -> float:
    """Of a few rows of logits on their way to labels."""
    shape = whole_crop(grid, plan).shape
    row = math.prod(shape) / shape[windows.stream_axis(shape)] * plan.labels.outputs
    return 4 * _ROWS * row
