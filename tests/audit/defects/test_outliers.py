"""A case that is far from the others in a number is named, with what is usual."""

from __future__ import annotations

import pytest
from case_records import CLEAN, channel, check, record, the_one


@pytest.mark.parametrize(
    ("changes", "kind", "severity", "words"),
    [
        (
            {"voxels": {"PZ": 500, "TZ": 300}},
            "volume-outlier",
            "warning",
            "all labels 2.4 ml, usual is 0.24 ml",
        ),
        ({"ras_shape": (60, 20, 10)}, "field-of-view", "note", "60 mm left-right, usual is 20 mm"),
        ({"voxels": {"PZ": 80, "TZ": 0}}, "missing-class", "note", "'TZ'"),
    ],
)
def test_an_outlier_is_found_with_what_is_usual(
    changes: dict[str, object], kind: str, severity: str, words: str
) -> None:
    finding = the_one(tuple(one for one in check(*CLEAN, record("odd", **changes)) if one.kind == kind))
    assert (finding.severity, finding.cases) == (severity, ("odd",))
    assert words in finding.message


def test_another_scale_of_intensities_is_a_note() -> None:
    loud = channel().model_copy(update={"percentiles": (100.0, 30000.0, 88000.0)})
    finding = the_one(check(*CLEAN, record("odd", channels=(loud, channel()))))
    assert (finding.kind, finding.severity) == ("intensity-outlier", "note")
    assert "T2 spans 8.79e+04, usual is 879" in finding.message


def test_where_more_than_a_tenth_are_far_nothing_is_found() -> None:
    far = [record(f"far{number}", ras_shape=(60, 20, 10)) for number in range(3)]
    assert check(*CLEAN, *far) == ()
