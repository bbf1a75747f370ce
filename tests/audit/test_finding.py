"""A finding renders its message from its details, for all of its cases and for one."""

from __future__ import annotations

from vesal.audit.finding import Finding, find_in


def odd(severity: str = "warning", count: int = 3) -> list[Finding]:
    cases = {f"case_{number}": {"text": f"{number} mm", "axis": number} for number in range(count)}
    return list(find_in("odd", severity, "A label is odd", "Look.", cases))  # type: ignore[arg-type]


def test_a_warning_names_all_its_cases_and_few_errors_become_a_finding_each() -> None:
    (warning,) = odd()
    assert warning.message == "A label is odd, in 3 cases: case_0 (0 mm), case_1 (1 mm) and case_2 (2 mm)."
    assert [error.message for error in odd("error", 2)] == [
        "A label is odd, in case case_0 (0 mm).",
        "A label is odd, in case case_1 (1 mm).",
    ]
    assert len(odd("error", 9)) == 1
    assert odd(count=0) == []


def test_of_one_case_only_its_own_text_and_details_are_left() -> None:
    one = odd()[0].only("case_1")
    assert (one.cases, one.details) == (("case_1",), {"case_1": {"text": "1 mm", "axis": 1}})
    assert one.about("case_1") == "A label is odd (1 mm)"
    assert one.message == "A label is odd, in case case_1 (1 mm)."


def test_a_finding_whose_sentence_names_its_cases_adds_nothing() -> None:
    finding = Finding(
        kind="duplicate", severity="note", cases=("a", "b"), what="a is b", fix="", details={"b": {"of": "a"}}
    )
    assert finding.message == "a is b."
    assert finding.about("b") == "a is b"


def test_a_stored_finding_holds_its_message_and_is_read_back() -> None:
    (finding,) = odd()
    stored = finding.model_dump(mode="json")
    assert stored["message"] == finding.message
    assert Finding.model_validate(stored) == finding
