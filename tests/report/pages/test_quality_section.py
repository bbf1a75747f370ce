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
    assert len(section["charts"]) == 2
    assert "0.1500" in section["note"]
    assert section["note"].endswith("a temperature of 1.23.")
    assert [cell.shown for cell in section["dice"].rows[0]] == ["liver", "10", "0.012", "0.020", "–"]
    rows = [[cell.shown for cell in row] for row in section["flag"].rows]
    assert rows[0] == ["clean", "10", "1 (10%)"]
    assert rows[-1] == ["bias field", "10", "9 (90%)"]


def test_a_record_without_a_curve_or_predicted_dice_has_no_chart() -> None:
    section = quality_section(record(dice={}, risk_coverage=None, cases=[]), [])
    assert section["charts"] == []
    assert "order" not in section["note"]
