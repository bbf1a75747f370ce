"""What Vesal computes of small inputs, for the browser's code to be compared with: reference.json.

    python viewer/test/infer/write_reference.py

A test of the package (tests/serve/test_web_reference.py) sees that the file is what Vesal computes today.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vesal.data.labels import LabelSet
from vesal.infer.locate import find_place, foreground, nearer_than_labels, recentred
from vesal.infer.logits_to_labels import labels_from_logits
from vesal.infer.model import Model
from vesal.infer.postprocess import Postprocess, Step
from vesal.infer.windows import window_starts, window_weights
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.preprocessing.coarse_grid import block_means
from vesal.preprocessing.normalise import normalise
from vesal.preprocessing.prepare import patch_in_scan, prepare
from vesal.volume.geometry import Geometry
from vesal.volume.resample import resize
from vesal.volume.volume import Volume
from vesal.workflow.deployment.web_export import page_plan

FILE = Path(__file__).with_name("reference.json")
PLAIN = LabelSet.from_values({"background": 0, "shell": 2, "core": 5})
REGIONS = LabelSet.from_values(
    {"background": 0, "oedema": 2, "necrosis": 1, "enhancing": 4},
    regions={
        "whole": ["oedema", "necrosis", "enhancing"],
        "core": ["necrosis", "enhancing"],
        "et": ["enhancing"],
    },
)
#: Turned, flipped, oblique.
AFFINES = {
    "ras": np.diag([1.0, 1.2, 2.0, 1.0]),
    "lps": np.array([[-1.0, 0, 0, 10], [0, -1.2, 0, 20], [0, 0, 2.0, -5], [0, 0, 0, 1]]),
    "turned": np.array([[0, 0, 1.5, 3], [-0.8, 0, 0, 1], [0, 2.0, 0, 2], [0, 0, 0, 1.0]]),
    # Between two axes: which one is named first decides.
    "double oblique": np.array(
        [[0.6, 0.75, -0.279, 1], [0.566, -0.151, 0.811, 2], [0.566, -0.644, -0.515, 3], [0, 0, 0, 1]]
    ),
    "oblique": np.array([[0.9, -0.3, 0.1, 1], [0.35, 1.1, -0.2, 2], [-0.05, 0.25, 1.9, 3], [0, 0, 0, 1]]),
    "thick": np.array([[-0.7, 0, 0, 10], [0, -0.9, 0, 20], [0, 0, 4.5, -5], [0, 0, 0, 1]]),
}
MASKED = Normalisation(scheme="zscore_mask")
CT = Normalisation(scheme="ct", lower=60.0, upper=150.0, mean=100.0, std=25.0)
FLAT: dict[str, Any] = {
    "dimension": 2, "slice_axis": 2, "spacing_mm": (1.4, 1.1), "patch": (4, 4),
    "stages": (Stage(features=4, kernel=(3, 3), stride=(1, 1)),),
}  # fmt: skip
NNUNET: dict[str, Any] = {
    "rules": "nnunet", "axis_order": (2, 1, 0), "as_stored": True, "spacing_mm": (3.0, 1.1, 0.9)
}  # fmt: skip
MONAI: dict[str, Any] = {"rules": "monai", "crop_to_nonzero": False, "spacing_mm": (1.5, 1.5, 2.0)}


Shape = tuple[int, int, int]


def plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "dimension": 3, "spacing_mm": (1.4, 1.1, 1.7), "patch": (4, 4, 4), "batch": 1,
        "stages": (Stage(features=4, kernel=(3, 3, 3), stride=(1, 1, 1)),),
        "normalisation": (Normalisation(scheme="zscore"),), "mirror_axes": (), "channels": ("MRI",), "labels": PLAIN,
        "median_shape": (8, 8, 8)[: len(changes.get("spacing_mm", (0, 0, 0)))], "reasons": (), "networks": 1,
    }  # fmt: skip
    return Plan.model_validate(values | changes)


def flat(array: Any) -> list[float]:
    """All values, the last axis fastest, to seven digits."""
    return [float(f"{value:.7g}") for value in np.asarray(array, dtype=np.float64).ravel().tolist()]


def file_order(array: Any) -> list[float]:
    """As a NIfTI file holds them: the first axis fastest."""
    return flat(np.asarray(array).ravel(order="F"))


def turns() -> list[dict[str, Any]]:
    grids = {name: Geometry((5, 6, 7), affine) for name, affine in AFFINES.items()}
    return [
        {
            "affine": grid.affine.tolist(),
            "order": list(grid.turn_to_ras().order),
            "flips": list(grid.turn_to_ras().flips),
            "spacing": flat(grid.spacing_mm),
            "mm3": grid.voxel_volume_mm3,
        }
        for grid in grids.values()
    ]


def resized(random: np.random.Generator) -> list[dict[str, Any]]:
    array = random.normal(size=(1, 5, 4, 6)).astype(np.float32)
    shapes = ((7, 3, 6), (3, 9, 4), (1, 4, 11))
    found = [
        {"order": order, "to": list(to), "values": flat(resize(array, to, order))}
        for order in (0, 1, 3)
        for to in shapes
    ]
    blocks = [{"order": "blocks", "to": list(to), "values": flat(block_means(array, to))} for to in shapes]
    return [{"shape": [5, 4, 6], "array": flat(array), "results": found + blocks}]


def normalised(random: np.random.Generator) -> list[dict[str, Any]]:
    values = np.where(random.random(40) < 0.3, 0, random.normal(100, 30, 40)).astype(np.float32)
    numbers = {"lower": 60.0, "upper": 130.0, "mean": 100.0, "std": 20.0}
    found = []
    for scheme in ("zscore", "zscore_nonzero", "ct", "minmax", "window", "none"):
        how = Normalisation(scheme=scheme, **(numbers if scheme in ("ct", "window") else {}))
        channel = values.copy()
        normalise(channel, how)
        found.append({"how": how.to_dict(), "values": flat(channel)})
    return [{"array": flat(values), "results": found}]


def scan(random: np.random.Generator, name: str, channels: int = 1, *, holes: bool = False) -> Volume:
    array = random.normal(100, 30, (channels, 7, 6, 5)).astype(np.float32)
    array[:, 0] = array[:, :, :, 4] = 0
    if holes:  # one that the others enclose, and one at a corner
        array[:, 3, 2:4, 1:3] = array[:, 5:, 4:, 2:4] = 0
    return Volume(array, Geometry((7, 6, 5), AFFINES[name]))


def imported() -> list[tuple[str, dict[str, Any]]]:
    """(grid of a scan, changes of the plan): thick slices in the scan, in the plan and in none, slices, own spacing."""
    two = {"channels": ("T1", "T2"), "normalisation": (MASKED, Normalisation(scheme="minmax"))}
    nonzero = (Normalisation(scheme="zscore_nonzero"),)
    return [
        ("thick", NNUNET | {"normalisation": (MASKED,)}),
        (
            "thick",
            NNUNET | two | {"axis_order": (1, 2, 0), "as_stored": False, "spacing_mm": (1.0, 2.0, 1.0)},
        ),
        ("ras", NNUNET | {"spacing_mm": (8.0, 1.0, 1.0), "normalisation": (CT,)}),
        (
            "oblique",
            NNUNET | {"normalisation": (Normalisation(scheme="none"),), "spacing_mm": (1.5, 1.5, 0.9)},
        ),
        ("turned", NNUNET | FLAT | {"slice_axis": 0}),
        ("thick", MONAI | {"normalisation": (CT,)}),
        ("turned", MONAI | {"keeps_spacing": True, "as_stored": True, "normalisation": nonzero}),
    ]


def prepared(random: np.random.Generator) -> list[dict[str, Any]]:
    two = (Normalisation(scheme="zscore_nonzero"), Normalisation(scheme="none"))
    small = {
        "spacing_mm": (0.9, 1.3, 1.6),
        "patch": (2, 2, 2),
        "locator": plan(spacing_mm=(3.0, 3.0, 3.0), blocks=True),
    }
    cases = [
        ("ras", plan(), None),
        ("lps", plan(crop_to_nonzero=False, image_order=1), None),
        ("turned", plan(channels=("T1", "T2"), normalisation=two, foreground_channel=True), None),
        ("oblique", plan(**FLAT), None),
        ("turned", plan(blocks=True, spacing_mm=(3.0, 3.0, 3.0)), None),
        ("oblique", plan(**small, margin_mm=1.0), ((1, 1, 1), (3, 4, 4))),
        ("ras", plan(normalisation=(MASKED,), foreground_channel=True), None),
        # By other programs' rules.
        *((name, plan(**planned), None) for name, planned in imported()),
    ]
    found = []
    for name, planned, box in cases:
        volume = scan(random, name, len(planned.channels), holes=MASKED in planned.normalisation)
        made = prepare(volume, planned, box=box)
        found.append(
            {
                "plan": page_plan(planned),
                "affine": volume.geometry.affine.tolist(),
                "shape": [7, 6, 5],
                "channels": [file_order(channel) for channel in volume.array],
                "box": box,
                "image": [flat(channel) for channel in made.image],
                "crop": {
                    "start": list(made.crop.crop_start), "stop": list(made.crop.crop_stop),
                    "shape": list(made.crop.shape), "nearest_axis": made.crop.nearest_axis,
                },
                "steps": made.crop.steps,
                "patch_in_scan": list(patch_in_scan(planned, made.crop)),
            }
        )  # fmt: skip
    return found


def network(batch: torch.Tensor) -> torch.Tensor:
    """Something that depends on neighbours: three outputs, of which few digits are rounded."""
    image = batch[:, :1]
    rolled = torch.roll(image, 1, -1)
    return torch.cat([0.125 * image, image - 0.5 * rolled, 0.5 * rolled - 0.25], dim=1)


def other_network(batch: torch.Tensor) -> torch.Tensor:
    return network(batch).roll(-1, 1)


def model_of(planned: Plan, count: int = 1) -> Model:
    """So many networks that vote."""
    return Model(planned, (network, other_network, network)[:count], torch.device("cpu"))


def few_digits(values: Any) -> Any:
    """float32 that seven digits hold, and 16 bits: equal ones are many."""
    return (np.round(np.asarray(values) * 64) / 64).astype(np.float32)


def windowed(random: np.random.Generator) -> dict[str, Any]:
    starts = [
        {"size": size, "window": window, "overlap": overlap, "starts": window_starts(size, window, overlap)}
        for size, window, overlap in (
            (100, 40, 0.5),
            (30, 40, 0.5),
            (41, 40, 0.5),
            (7, 4, 0.3),
            (133, 48, 0.6),
        )
    ]
    weights = [flat(one) for one in window_weights(11, 6, window_starts(11, 6, 0.5))]
    image = few_digits(random.normal(size=(1, 3, 9, 6)))
    image[:, :, :4] = 0
    plans = [
        (plan(patch=(4, 4, 4)), 1),
        (plan(patch=(4, 4, 4), overlap=0.3), 2),
        (plan(**FLAT), 1),
        (plan(**NNUNET), 1),
        (plan(**NNUNET), 2),
        (plan(**NNUNET | FLAT), 3),
        (plan(**MONAI, overlap=0.3), 1),
        (plan(**MONAI, blend="constant"), 2),
    ]
    logits = [
        {
            "plan": page_plan(planned),
            "networks": count,
            "logits": flat(model_of(planned, count).logits(image, model_of(planned, count).windows())),
        }
        for planned, count in plans
    ]
    return {"starts": starts, "weights": weights, "shape": [3, 9, 6], "image": flat(image), "logits": logits}


def labelled(random: np.random.Generator) -> list[dict[str, Any]]:
    usual = few_digits(random.normal(size=(3, 4, 5, 3)))
    # Of 16 bits, which have few steps there: interpolated, many are equal.
    high = (100 + usual).astype(np.float16).astype(np.float32)
    # One class is ahead by a step throughout, and by less between a large value and a small one.
    ahead = np.array([[8 - 2**-7, 0.5], [8 - 2**-8, 0.5 + 2**-11], [-9, -9]], np.float32).reshape(3, 2, 1, 1)
    thirds = (4 / 9, 4 / 7, 0.6)
    cases: list[tuple[Any, dict[str, Any], Shape, float, dict[str, Any]]] = [
        (usual, {}, (4, 5, 3), 0.5, {}),
        (usual, {}, (9, 7, 5), 0.5, {}),
        (usual, {}, (3, 8, 3), 0.7, {}),
        (usual, NNUNET, (4, 5, 3), 0.5, {}),
        (usual, NNUNET, (9, 8, 3), 0.3, {"nearest_axis": 1}),
        (usual, NNUNET, (7, 8, 6), 0.5, {"nearest_axis": 0}),
        (high, NNUNET, (9, 7, 5), 0.5, {}),
        (ahead, NNUNET, (99, 1, 1), 0.5, {}),
        (usual, MONAI, (9, 7, 5), 0.5, {"steps": thirds}),
        (usual, MONAI, (9, 7, 5), 0.3, {"steps": thirds}),
    ]
    found = []
    for labels in (PLAIN, REGIONS):
        for logits, changes, shape, threshold, more in cases:
            in_16_bits = changes == NNUNET
            made = labels_from_logits(
                logits, shape, labels, threshold=threshold, in_16_bits=in_16_bits, **more
            )
            found.append(
                {
                    "plan": page_plan(plan(labels=labels, **changes)), "logits": flat(logits),
                    "coarse": list(logits.shape[1:]), "fine": list(shape),
                    "nearest_axis": more.get("nearest_axis"), "steps": more.get("steps"),
                    "threshold": threshold, "labels": made.ravel().tolist(),
                }
            )  # fmt: skip
    return found


def segmented(random: np.random.Generator) -> list[dict[str, Any]]:
    """From the scan to its label map, by other programs' rules."""
    found = []
    small = {"patch": (4, 4, 4), "normalisation": (Normalisation(scheme="zscore"),)}
    for name, changes, count in (
        ("thick", NNUNET | {"normalisation": (MASKED,)}, 2),
        ("thick", NNUNET | {"labels": REGIONS, "axis_order": (1, 2, 0), "as_stored": False}, 1),
        ("oblique", NNUNET | FLAT | {"slice_axis": 0}, 3),
        ("turned", MONAI | small, 1),
        ("thick", MONAI | small | {"labels": REGIONS, "blend": "constant", "overlap": 0.25}, 1),
    ):
        planned = plan(**changes)
        volume = scan(random, name, holes=MASKED in planned.normalisation)
        label = model_of(planned, count).predict(volume).label
        found.append(
            {
                "plan": page_plan(planned), "networks": count, "affine": volume.geometry.affine.tolist(),
                "shape": [7, 6, 5], "channels": [file_order(volume.array[0])], "mask": file_order(label.array),
            }
        )  # fmt: skip
    return found


def postprocessed(random: np.random.Generator) -> list[dict[str, Any]]:
    chosen = {
        "plain": (PLAIN, [Step(do="largest", of="shell"), Step(do="min_size", of="core", mm3=9.0)]),
        "all": (PLAIN, [Step(do="largest"), Step(do="fill_holes", of="shell")]),
        "volume": (PLAIN, [Step(do="min_volume", of="core", voxels=1000)]),
        "regions": (
            REGIONS,
            [
                Step(do="min_size", of="et", voxels=3), Step(do="largest", of="core"), Step(do="fill_holes", of="whole")
            ],
        ),
    }  # fmt: skip
    found = []
    for labels, steps in chosen.values():
        noise = random.random((8, 9, 7))
        made = np.where(noise < 0.55, 0, random.integers(1, len(labels.labels) + 1, noise.shape)).astype(
            np.uint8
        )
        made[1:6, 1:6, 1:6] = 1
        made[3, 3, 3] = made[2, 3, 2] = 0
        before = made.copy()
        Postprocess(steps=tuple(steps)).apply(made, labels, 2.5)
        found.append(
            {
                "plan": page_plan(plan(labels=labels)), "steps": [step.to_dict() for step in steps],
                "shape": [8, 9, 7], "before": file_order(before), "after": file_order(made),
            }
        )  # fmt: skip
    return found


def located(random: np.random.Generator) -> list[dict[str, Any]]:
    found = []
    for name in ("ras", "turned", "oblique"):
        coarse, fine = plan(spacing_mm=(2.0, 2.0, 2.5)), plan(margin_mm=1.5, patch=(2, 2, 2))
        volume = scan(random, name)
        crop = prepare(volume, coarse).crop
        logits = torch.from_numpy(random.normal(-2, 1, (3, *crop.shape)).astype(np.float32))
        logits[1, 1:3, 1:2, :2] = 4
        probability = foreground(logits, PLAIN)
        box, concern = find_place(probability, crop, 1.5)
        mask = np.zeros(crop.crop_shape, dtype=bool)
        mask[1:3, 2:3, 1:3] = True
        again = recentred(mask, crop, 1.5, patch_in_scan(fine, crop))
        gaps = [[gap * (end == other) for other in range(6)] for end in range(6) for gap in (3.0, 9.0, 30.0)]
        found.append(
            {
                "coarse": page_plan(coarse), "fine": page_plan(fine),
                "affine": volume.geometry.affine.tolist(), "shape": [7, 6, 5],
                "channels": [file_order(volume.array[0])],
                "logits": flat(logits), "probability": flat(probability), "box": box, "concern": concern,
                "mask": mask.astype(int).ravel().tolist(), "recentred": again,
                "gaps": gaps, "near": [nearer_than_labels(mask, crop, one) for one in gaps],
            }
        )  # fmt: skip
    return found


def reference() -> dict[str, Any]:
    random = np.random.default_rng(0)
    found = {
        "turns": turns(),
        "resize": resized(random),
        "normalise": normalised(random),
        "prepare": prepared(random),
        "windows": windowed(random),
        "labels": labelled(random),
        "postprocess": postprocessed(random),
        "locate": located(random),
        "segment": segmented(random),
    }
    return json.loads(json.dumps(found))


if __name__ == "__main__":
    FILE.write_text(json.dumps(reference(), separators=(",", ":")) + "\n", encoding="utf-8")
