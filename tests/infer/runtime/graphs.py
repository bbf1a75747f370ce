"""Small ONNX graphs, made by hand."""

from __future__ import annotations

from pathlib import Path

from small_model import plan

from vesal.infer.runtime.exported_model import Exported, write_onnx
from vesal.planning.plan import Normalisation, Plan


def by_intensity_graph() -> bytes:
    """Logits of background under 1, 'dim' under 2, 'bright' above; its 'encoder' gives the mean."""
    import onnx
    from onnx import TensorProto, helper

    def constant(name: str, value: float) -> object:
        return helper.make_tensor(name, TensorProto.FLOAT, [], [value])

    nodes = [
        helper.make_node("Sub", ["one", "image"], ["background"]),
        helper.make_node("Sub", ["image", "middle"], ["off"]),
        helper.make_node("Abs", ["off"], ["away"]),
        helper.make_node("Sub", ["half", "away"], ["dim"]),
        helper.make_node("Sub", ["image", "two"], ["bright"]),
        helper.make_node("Concat", ["background", "dim", "bright"], ["joined"], axis=1),
        helper.make_node("Mul", ["joined", "ten"], ["logits"]),
        helper.make_node("ReduceMean", ["image", "space"], ["encoder"], keepdims=0),
    ]
    values = {"one": 1.0, "middle": 1.5, "half": 0.5, "two": 2.0, "ten": 10.0}
    graph = helper.make_graph(
        nodes,
        "by intensity",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, None, None, None])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3, None, None, None]),
            helper.make_tensor_value_info("encoder", TensorProto.FLOAT, ["n", 1]),
        ],
        [
            *(constant(name, value) for name, value in values.items()),
            helper.make_tensor("space", TensorProto.INT64, [3], [2, 3, 4]),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def plain_plan(**changes: object) -> Plan:
    return plan(normalisation=(Normalisation(scheme="none"),), patch=(16, 16, 16), **changes)


def write_by_intensity(path: Path, **changes: object) -> Path:
    """An exported model of this graph."""
    exported = Exported(
        plan=plain_plan(),
        network="unet",
        provenance={},
        weights=("a",),
        graphs=("model",),
        **changes,  # type: ignore[arg-type]
    )
    write_onnx(path, exported, {"model": by_intensity_graph()})
    return path
