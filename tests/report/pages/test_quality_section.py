"""The quality model on the page of a run."""

from __future__ import annotations

import numpy as np

from vesal.infer.quality.quality_model import (
    CalibrationRecord,
    CalibrationRow,
    DiceAccuracy,
    FlagModel,
    RiskCoverage,
)
from vesal.infer.quality.volumes.volume_interval import VolumeCoverage
from vesal.report.pages.quality_section import quality_section


def record(**changes: object) -> CalibrationRecord:
    generator = np.random.default_rng(0)
    rows = [
        CalibrationRow(
            case=f"c{number}",
            fold=0,
            artifact="bias_field" if number % 2 else None,
            dice={"liver": dice},
            predicted={"liver": dice - 0.01},
            uncertainty=0.1,
            ood_scores={},
            verdict="ok",
            volumes_ml={"liver": (100 + dice, 101.0)},
            interval_ml={"liver": (90 + dice, 110 + dice)},
        )
        for number, dice in enumerate(generator.uniform(0.7, 0.9, 20).tolist())
    ]
    flag = FlagModel(
        threshold=1.3,
        parts=("texture", "dice"),
        dice_middle=-2,
        dice_spread=0.5,
        clean=10,
        flagged=1,
        worst=1,
        worst_found=1,
        corrupted=10,
        corrupted_found=9,
        by_artifact={"bias_field": (10, 9)},
    )
    values: dict[str, object] = {
        "temperature": 1.234,
        "dice": {"liver": DiceAccuracy(mae=0.0123, spearman=None, mae_of_mean=0.02, cases=10)},
        "flag": flag,
        "source": "single",
        "risk_coverage": RiskCoverage(
            points=[(0.5, 0.1), (1.0, 0.2)], area=0.15, area_of_best_order=0.1, area_of_no_order=0.2
        ),
        "cases": rows,
    }
    return CalibrationRecord.model_validate(values | changes)


def test_a_page_shows_both_charts_and_what_was_measured() -> None:
    section = quality_section(record(), ["#123456"])
    assert len(section["charts"]) == 3
    assert "0.1500" in section["note"]
    assert section["note"].endswith("a temperature of 1.23.")
    assert [cell.shown for cell in section["dice"].rows[0]] == ["liver", "10", "0.012", "0.020", "–"]
    rows = [[cell.shown for cell in row] for row in section["flag"].rows]
    assert rows[0] == ["clean", "10", "1 (10%)"]
    assert rows[-1] == ["bias field", "10", "9 (90%)"]


def test_intervals_around_volumes_have_a_table_and_a_chart() -> None:
    found = VolumeCoverage(
        level=0.9, coverage=0.912, coverage_low=0.8, coverage_high=1.0, width=0.2, width_unscaled=0.25,
        scans=10, corrupted=10, corrupted_held=9, corrupted_held_unscaled=4,
    )  # fmt: skip
    section = quality_section(record(volumes={"liver": found}), ["#123456"])
    (row,) = section["volumes"].rows
    wanted = ["liver", "10", "90%", "91%", "80% to 100%", "20%", "25%", "10", "90%", "40%"]
    assert [cell.shown for cell in row] == wanted
    few = found.model_copy(
        update={"coverage": None, "coverage_low": None, "width": None, "width_unscaled": None}
    )
    (row,) = quality_section(record(volumes={"liver": few}), ["#123456"])["volumes"].rows
    assert [cell.shown for cell in row][3:] == ["–", "–", "–", "–", "10", "–", "–"]
    assert quality_section(record(), ["#123456"])["volumes"] is None


def test_a_record_without_a_curve_or_predicted_dice_has_no_chart() -> None:
    section = quality_section(record(dice={}, risk_coverage=None, cases=[]), [])
    assert section["charts"] == []
    assert "order" not in section["note"]
