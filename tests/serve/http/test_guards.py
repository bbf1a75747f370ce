"""Who may ask: nobody without the token, no page of another site, no other name of this host."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from vesal.errors import UsageError
from vesal.serve.http.guards import Guard
from vesal.serve.serve_settings import ServeSettings

TOKEN = "0123456789abcdef0123456789abcdef"


def guarded(**changes: object) -> httpx2.Client:
    app = FastAPI()
    settings = ServeSettings(state=Path("state"), models={"heart": Path("heart.vesal")}, **changes)  # type: ignore[arg-type]
    app.add_middleware(Guard, settings=settings)
    for path in ("/", "/health", "/api/jobs", "/metrics", "/assets/page.js"):
        app.add_api_route(path, lambda: "asked", methods=["GET", "POST"])
    return TestClient(app, base_url="http://localhost:8765")


@pytest.mark.parametrize("path", ["/api/jobs", "/metrics"])
@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"],
)
def test_without_the_token_nothing_is_told(path: str, header: str | None) -> None:
    answer = guarded(token=TOKEN).get(path, headers={} if header is None else {"authorization": header})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_with_the_token_all_is_told() -> None:
    assert (
        guarded(token=TOKEN).get("/api/jobs", headers={"authorization": f"bearer {TOKEN}"}).status_code == 200
    )


@pytest.mark.parametrize("path", ["/", "/health", "/assets/page.js"])
def test_the_page_and_the_health_need_no_token(path: str) -> None:
    assert guarded(token=TOKEN).get(path).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8765", "localhost.evil.example", "", "[::1", "10.1.2.3",
     "localhost/?", "localhost#a", "evil@localhost", "localhost:port"],
)  # fmt: skip
def test_another_name_for_this_host_is_refused(host: str) -> None:
    assert guarded().get("/api/jobs", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8765", "[::1]:8765", "pacs.local"])
def test_this_host_s_names_are_taken(host: str) -> None:
    assert guarded(names=("pacs.local",)).get("/api/jobs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
     {"origin": "http://localhost:9999"}, {"origin": "http://["}, {"origin": "localhost:8765"}],
)  # fmt: skip
def test_pages_of_other_sites_are_refused(headers: dict[str, str]) -> None:
    assert guarded().post("/api/jobs", headers=headers).status_code == 403


def test_a_link_on_another_site_leads_to_the_page_and_to_nothing_else() -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert guarded().get("/", headers=headers).status_code == 200
    assert guarded().get("/api/jobs", headers=headers).status_code == 403
    assert guarded().post("/", headers=headers).status_code == 403


def test_our_own_page_may_ask() -> None:
    headers = {"origin": "http://localhost:8765", "sec-fetch-site": "same-origin"}
    assert guarded().post("/api/jobs", headers=headers).status_code == 200


def test_every_answer_forbids_frames_and_what_comes_from_elsewhere() -> None:
    for answer in (guarded().get("/"), guarded(token=TOKEN).get("/api/jobs")):
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "pacs.local"])
def test_without_a_token_only_this_machine_is_listened_to(host: str) -> None:
    with pytest.raises(UsageError, match="give it a token"):
        guarded(host=host)
    guarded(host=host, token=TOKEN)


def test_a_short_token_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 16"):
        guarded(token="secret")


def test_a_link_to_the_page_may_be_followed_from_elsewhere() -> None:
    follows = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert guarded().get("/", headers=follows).status_code == 200
    assert guarded().post("/", headers=follows).status_code == 403
    assert guarded().get("/api/jobs", headers=follows).status_code == 403
