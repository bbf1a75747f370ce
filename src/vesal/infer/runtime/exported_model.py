"""The file of an exported model: what `vesal export --to onnx` and `--to openvino` write, and the runtime reads.

For ONNX it is one NAME.vesal, a zip of `model.json` and a graph for each network: `model.onnx`, `model_2.onnx`, ...
and, where a coarse network comes first, `locator.onnx`, .... For OpenVINO it is NAME.xml and NAME.bin, one
model with all graphs in it, whose `rt_info` holds the same JSON.

Each graph maps `image`, windows (N, C, *patch), to `logits` (N, K, *patch) and, where the model estimates its quality,
to `encoder` (N, 2 F), features of the encoder. In OpenVINO's one model these names carry the graph's behind them, and
N is 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vesal.errors import VesalError
from vesal.infer.postprocess import Postprocess, read_postprocess
from vesal.infer.quality.quality_model import Calibration, read_calibration
from vesal.nn.model_archive import (
    EXPECTED,
    JSON,
    RefusedError,
    read_archive,
    read_description,
    read_plan,
    refusing,
    write_archive,
)
from vesal.planning.plan import Plan

VERSION = 1

_FORMAT = "vesal-exported-model"
_ONNX = ".onnx"
_FIELDS: dict[str, type] = {
    "network": str, "plan": dict, "provenance": dict, "weights": list, "graphs": list, "locators": list,
}  # fmt: skip

#: More graphs than this no model has.
_MAX_GRAPHS = 60

#: Input and outputs of a graph.
IMAGE, LOGITS, ENCODER = "image", "logits", "encoder"


@dataclass(frozen=True)
class Exported:
    """A model without torch.

    Attributes:
        plan: of preparation, windows and labels; of folds that vote with the margin that suits all.
        network: name of the networks' kind.
        provenance: of the first model, as JSON values.
        weights: digest of the weights of each model file that it was made of.
        graphs: names of the networks that vote.
        locators: names of those of the coarse stage; none in one stage.
        scores: what was measured for the first model; None if nothing was.
        postprocess: what is done to label maps; None for nothing.
        quality: quality models, one a model file; () where not all have one.
        compared: what the comparison with torch found, as JSON values.
    """

    plan: Plan
    network: str
    provenance: dict[str, Any]
    weights: tuple[str, ...]
    graphs: tuple[str, ...]
    locators: tuple[str, ...] = ()
    scores: dict[str, Any] | None = None
    postprocess: Postprocess | None = None
    quality: tuple[Calibration, ...] = ()
    compared: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The description.

        Raises:
            VesalError: it is not JSON.
        """
        values = {
            "format": _FORMAT,
            "version": VERSION,
            "network": self.network,
            "plan": self.plan.to_dict(),
            "provenance": self.provenance,
            "weights": list(self.weights),
            "graphs": list(self.graphs),
            "locators": list(self.locators),
            "scores": self.scores,
            "postprocess": None if self.postprocess is None else self.postprocess.to_dict(),
            "quality": [of.to_dict() for of in self.quality],
            "compared": self.compared,
        }
        try:
            return json.dumps(values, indent=1, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise VesalError(
                f"The model cannot be exported: its description is not JSON ({error})."
            ) from error


def write_onnx(path: Path, exported: Exported, graphs: Mapping[str, bytes]) -> None:
    """Write NAME.vesal, whole or not at all.

    Args:
        path: of the file.
        exported: what it says.
        graphs: name -> ONNX, of each of its graphs and locators.

    Raises:
        VesalError: it cannot be written.
    """
    members = {f"{name}{_ONNX}": graphs[name] for name in (*exported.graphs, *exported.locators)}
    write_archive(path, {JSON: exported.to_json().encode(), **members})


def read_onnx(path: Path) -> tuple[Exported, dict[str, bytes]]:
    """What NAME.vesal says, and its graphs by name; the file may be valid, damaged or hostile.

    Raises:
        UsageError: there is no such file.
        VesalError: it holds no exported model, is damaged, contradicts itself, or is of a newer Vesal.
    """
    with refusing(path):
        members = read_archive(path, _wanted)
        exported = _exported(members[JSON], path)
        names = (*exported.graphs, *exported.locators)
        if {f"{name}{_ONNX}" for name in names} | {JSON} != set(members):
            raise RefusedError(f"its graphs are not those that {JSON} names")
        return exported, {name: members[f"{name}{_ONNX}"] for name in names}


def parse_exported(text: str, path: Path) -> Exported:
    """What the `rt_info` of NAME.xml says.

    Raises:
        VesalError: as `read_onnx`.
    """
    with refusing(path):
        return _exported(text.encode(), path)


def graph_names(voters: int, locators: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of the networks that vote, and of those of the coarse stage.

    >>> graph_names(2, 1)
    (('model', 'model_2'), ('locator',))
    """

    def names(stem: str, count: int) -> tuple[str, ...]:
        return tuple(stem if number == 1 else f"{stem}_{number}" for number in range(1, count + 1))

    return names("model", voters), names("locator", locators)


def _wanted(names: Sequence[str]) -> list[str]:
    graphs = [name for name in names if name.endswith(_ONNX)]
    if not graphs:
        fix = "export it first: vesal export MODEL --to onnx -o FILE" if JSON in names else EXPECTED
        raise RefusedError("it holds no graph, which prediction without torch needs", fix)
    return [JSON, *graphs]


def _exported(data: bytes, path: Path) -> Exported:
    found = read_description(data, _FORMAT, VERSION, _FIELDS)
    plan = read_plan(found["plan"])
    names = graph_names(len(found["graphs"]), len(found["locators"]))
    total = len(found["graphs"]) + len(found["locators"])
    if (tuple(found["graphs"]), tuple(found["locators"])) != names or not 0 < total <= _MAX_GRAPHS:
        raise RefusedError(f"{JSON} does not name its graphs as they are named")
    if (plan.locator is None) != (not found["locators"]):
        raise RefusedError("its plan's locator and the graph of one are not both there")
    quality = found.get("quality") or []
    if not isinstance(quality, list) or len(quality) not in (0, len(found["weights"])):
        raise RefusedError(f"{JSON} has no valid 'quality'")
    calibrations = [read_calibration(of, plan.labels, path) for of in quality]
    return Exported(
        plan=plan,
        network=found["network"],
        provenance=found["provenance"],
        weights=tuple(map(str, found["weights"])),
        graphs=names[0],
        locators=names[1],
        scores=found.get("scores"),
        postprocess=read_postprocess(found.get("postprocess"), plan.labels, path),
        quality=tuple(of for of in calibrations if of is not None),
        compared=found.get("compared") or {},
    )
