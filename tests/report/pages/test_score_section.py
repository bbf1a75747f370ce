"""The scores on the report's page: lesions and the agreement of volumes where there are any."""

from __future__ import annotations

import numpy as np

from vesal.data.labels import LabelSet
from vesal.evaluate.case_scores import METRICS, ClassScore
from vesal.evaluate.scores import summarise
from vesal.evaluate.tables import further_tables
from vesal.report.figures import charts
from vesal.report.figures.colours import THEMES, colours_by_class
from vesal.report.pages.score_section import score_charts

LABELS = LabelSet.from_values({"liver": 1, "liver tumour": 2})


def scores(cases=6):
    generator = np.random.default_rng(0)
    rows = []
    for case in range(cases):
        for name in LABELS.classes:
            true = generator.uniform(5, 60)
            counted = {
                "lesions": 3,
                "lesions_found": 2,
                "lesion_sensitivity": 2 / 3,
                "false_positives": case % 2,
            }
            rows.append(
                ClassScore(case=str(case), class_name=name, volume_ml=true + 1.0, truth_volume_ml=true, empty=None,
                           **(dict.fromkeys(METRICS) | {"dice": generator.beta(9, 1)}),
                           **(counted if name == "liver tumour" else {}))
            )  # fmt: skip
    return summarise(rows, LABELS, tolerance_mm=1.0)


def test_lesions_and_volumes_have_tables_of_their_own():
    (_, _, lesions), (_, _, volumes) = further_tables(scores())
    assert [row[0].value for row in lesions.rows] == ["liver tumour"]
    assert [cell.value for cell in lesions.rows[0][1:3]] == [18, 12]
    assert [row[0].value for row in volumes.rows] == ["liver", "liver tumour"]
    assert volumes.rows[0][1].shown == "1.00"
    assert all(len(row) == len(table.columns) for table in (lesions, volumes) for row in table.rows)


def test_every_class_has_its_chart_of_agreement_also_for_a_single_case():
    several, one = scores(), scores(cases=1)
    assert len(score_charts(several, colours_by_class(several.classes, LABELS))) == 4
    assert one.agreement_ml["liver"].lower is None
    agreement, theme = one.agreement_ml["liver"], THEMES["light"]
    png = charts.bland_altman_chart("$x$_", ([4.0], [5.0]), agreement, "#336699", "ml", theme)
    assert png.startswith(b"\x89PNG")
