"""What a job may be asked for."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from vesal.serve.jobs.job import KINDS, CaseResult, ExpectedDice, JobOptions, Status, VolumeInterval


def test_every_kind_may_be_asked_for_and_no_other() -> None:
    assert JobOptions(to=KINDS).to == KINDS
    with pytest.raises(ValidationError, match="not 'jpeg'"):
        JobOptions(to=("nifti", "jpeg"))


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0, float("nan")])
def test_a_threshold_is_a_probability(threshold: float) -> None:
    with pytest.raises(ValidationError):
        JobOptions(threshold=threshold)


def test_jobs_that_wait_or_run_have_not_ended() -> None:
    assert [status for status in Status if not status.ended] == [Status.QUEUED, Status.RUNNING]


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_a_result_holds_numbers_that_json_can_say(odd: float) -> None:
    # As null it would be written into the list of jobs, which nobody could read any more.
    for record, values in (
        (CaseResult, {"name": "a", "volumes_ml": {"heart": odd}}),
        (ExpectedDice, {"value": odd, "low": 0.0, "high": 1.0}),
        (VolumeInterval, {"low": 0.0, "high": odd, "level": 0.9}),
    ):
        with pytest.raises(ValidationError, match="finite"):
            record.model_validate(values)
