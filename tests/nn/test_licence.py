"""What is said of a licence."""

from __future__ import annotations

import pytest

from vesal.nn.licence import is_non_commercial, licence_remarks


@pytest.mark.parametrize(
    "licence", ["CC-BY-NC-4.0", "CC BY-NC-SA 4.0", "cc_by_nc_4.0", "non-commercial", "For research use only"]
)
def test_licences_that_forbid_commercial_use_are_known_by_their_names(licence: str) -> None:
    assert is_non_commercial(licence)
    assert "commercial use is not allowed" in licence_remarks({"licence": licence})[0]


@pytest.mark.parametrize("licence", ["CC BY 4.0", "CC-BY-SA 4.0", "Apache-2.0", "MIT", "GNC"])
def test_other_licences_are_shown_without_a_warning(licence: str) -> None:
    (remark,) = licence_remarks({"licence": licence, "origin": "Tiny University"})
    assert remark == f"The licence of the model's weights is {licence} (from Tiny University)."


def test_an_unknown_licence_is_to_be_found_out_and_weights_trained_here_have_none() -> None:
    assert "find it out" in licence_remarks({"licence": "unknown"})[0]
    assert licence_remarks({"vesal": "1"}) == []
