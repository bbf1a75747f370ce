"""What is stated of an import, and whose licence it is under."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vesal.errors import UsageError
from vesal.workflow.model_exchange.imported import licence_of
from vesal.workflow.requests.import_request import ImportRequest


def found(request: ImportRequest, *stated: object, origin: object = None) -> dict[str, str]:
    return licence_of(request, stated=stated, origin=origin, where=Path("metadata.json"), name="bundle")


@pytest.mark.parametrize(
    ("given", "stated", "licence"),
    [({"licence": "MIT"}, ["CC BY 4.0"], "MIT"), ({}, [None, 3, " ", "CC  BY 4.0"], "CC BY 4.0")],
)
def test_a_given_licence_goes_before_the_one_that_is_read(
    given: dict[str, Any], stated: list[object], licence: str
) -> None:
    assert found(ImportRequest(Path("x"), **given), *stated)["licence"] == licence


def test_the_origin_is_given_or_read_or_the_models_name() -> None:
    licence = {"licence": "unknown"}
    assert found(ImportRequest(Path("x"), **licence))["origin"] == "bundle"
    assert (
        found(ImportRequest(Path("x"), **licence), origin="Tiny  University")["origin"] == "Tiny University"
    )
    assert found(ImportRequest(Path("x"), origin="Me", **licence), origin="Tiny")["origin"] == "Me"


def test_without_a_licence_the_file_is_named_that_would_say_it() -> None:
    with pytest.raises(UsageError, match=r"metadata\.json says no licence"):
        found(ImportRequest(Path("x")))
