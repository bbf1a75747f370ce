"""What reaches the highest Dice in a number of steps: one data set, one fold, variants of the recipe.

python -m benchmarks.recipe DATA --work FOLDER [--steps 600] [--fold 0] [--variants FILE.yaml] [NAME ...]

Each variant is a run of `vesal train` with settings of its own, in FOLDER/NAME; one that was finished is not run
again. The table tells steps, seconds of training and the Dice of the held-out scans on their own grid. Steps, not
seconds, end a run, so that work beside it does not change what is compared.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from vesal.files import read_json
from vesal.run.folder import Run
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training.train import train_run

#: Settings that were compared on the hippocampus; the first is what the others are held to.
VARIANTS: dict[str, dict[str, Any]] = {
    "auto": {},
    "adamw": {"optimizer": "adamw"},
    "muon 6e-3": {"lr": 6e-3},
    "mirrored": {"augment.mirror_probability": 0.5, "augment.mirror_from_passes": 0},
    "no augmentation": {"augment.enabled": False},
    "dice of each patch": {"loss_options.batch_dice": False},
    "one head": {"plan.heads": 1},
    "16 32 64 128": {"plan.features": (16, 32, 64, 128), "plan.heads": 2, "steps_share": 2 / 3},
    "8 16 32 64": {"plan.features": (8, 16, 32, 64), "plan.heads": 2, "steps_share": 3 / 2},
    "batch 4": {"plan.batch": 4, "steps_share": 1 / 2},
}


def run_variant(name: str, settings: dict[str, Any], chosen: argparse.Namespace) -> str:
    """Train it if that was not done, and give its row of the table."""
    folder = chosen.work / name.replace(" ", "_")
    overrides = dict(settings)
    overrides["steps"] = round(chosen.steps * overrides.pop("steps_share", 1))
    overrides |= {"fold": chosen.fold, "plan.budget_s": chosen.planned_s, "plan.measure": False}
    if not (folder / "scores.json").exists():
        begun = Run(folder).config_file.exists()
        cache = chosen.work / "prepared"
        train_run(
            TrainRequest(
                data=chosen.data,
                out=folder,
                overrides={} if begun else overrides,
                resume=begun,
                cache=cache,
                device=chosen.device,
            )
        )
    summary = read_json(folder / "summary.json")
    overall = next(
        row
        for row in read_json(folder / "scores.json")["summary"]
        if row["class"] == "mean" and row["metric"] == "dice"
    )
    training = summary["training"]
    return (
        f"| {name} | {training['steps']} | {summary['network']['parameters']:,} | {training['time_s']:.0f} | "
        f"{overall['mean']:.4f} | {overall['low']:.3f} to {overall['high']:.3f} |"
    )


def main() -> None:
    """Run the named variants, or all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--planned-s", type=float, default=1200.0, help="seconds that the plan is made for")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--variants", type=Path, help="YAML of name: {setting: value}, in place of those here"
    )
    parser.add_argument("names", nargs="*")
    chosen = parser.parse_intermixed_args()
    variants = yaml.safe_load(chosen.variants.read_text()) if chosen.variants else VARIANTS
    rows = [run_variant(name, variants[name], chosen) for name in chosen.names or variants]
    print(
        "| variant | steps | parameters | training (s) | mean Dice | 95 % interval |\n|---|---|---|---|---|---|"
    )
    print("\n".join(rows))


if __name__ == "__main__":
    main()
