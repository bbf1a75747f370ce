"""Studies over HTTP: what is asked for reaches the service, in a request that is small."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from vesal.serve.http.study_routes import study_routes
from vesal.serve.pacs_service import PacsService


class Studies:
    """Stands for the work on an archive."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def note(self, query: str) -> int:
        self.asked.append(query)
        return 2

    def studies(self) -> list[dict[str, Any]]:
        changed = datetime(2026, 1, 2, tzinfo=UTC)
        row = {"name": "study-1", "source": "node", "state": "failed", "tries": 3, "reason": "It is no scan."}
        return [row | {"changed": changed}]


@pytest.fixture
def studies() -> Studies:
    return Studies()


@pytest.fixture
def client(studies: Studies) -> httpx2.Client:
    app = FastAPI()
    app.include_router(study_routes(cast(PacsService, studies)))
    return TestClient(app)


def test_studies_are_asked_for_and_listed(client: httpx2.Client, studies: Studies) -> None:
    answer = client.post("/api/studies", json={"query": "Modality=CT"})
    assert (answer.status_code, answer.json(), studies.asked) == (202, {"noted": 2}, ["Modality=CT"])
    (row,) = client.get("/api/studies").json()
    assert (row["name"], row["state"], row["changed"]) == ("study-1", "failed", "2026-01-02T00:00:00Z")


def test_a_large_request_is_refused(client: httpx2.Client, studies: Studies) -> None:
    answer = client.post("/api/studies", json={"query": "x" * 10_000_000})
    assert (answer.status_code, studies.asked) == (413, [])
    assert "larger than" in answer.json()["detail"]
