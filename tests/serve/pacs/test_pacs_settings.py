"""Settings that contradict each other are refused in a sentence, and no text of them holds a password."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vesal.errors import UsageError
from vesal.serve.pacs.pacs_settings import (
    ArchiveSettings,
    JourneySettings,
    NodeSettings,
    SendSettings,
    WatchSettings,
)

PACS = "https://pacs/dicom-web"


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        (ArchiveSettings, {"url": "pacs:8042"}, "no address"),
        (ArchiveSettings, {"url": "ftp://pacs"}, "no address"),
        (ArchiveSettings, {"url": "http://pacs:99999"}, "no address"),
        (ArchiveSettings, {"url": f"{PACS}?a=b"}, "neither"),
        (ArchiveSettings, {"url": PACS, "token": "hush", "user": "a"}, "leave one out"),
        (ArchiveSettings, {"url": PACS, "password": "hush"}, "without its user"),
        (ArchiveSettings, {"url": "https://a:hush@pacs", "user": "a"}, "leave one out"),
        (ArchiveSettings, {"url": "http://pacs", "token": "hush"}, "readable"),
        (ArchiveSettings, {"url": "http://a:hush@pacs"}, "readable"),
        (ArchiveSettings, {"url": PACS, "ca_file": "/not/there.pem"}, "no /not/there.pem"),
        (ArchiveSettings, {"url": PACS, "tries": 0}, "tries"),
        (ArchiveSettings, {"url": PACS, "pasword": "hush"}, "pasword"),
        (WatchSettings, {"query": ""}, "query"),
        (NodeSettings, {"ae_title": "SEVENTEEN LETTERS"}, "AE title"),
        (NodeSettings, {"ae_title": "A\\B"}, "AE title"),
        (NodeSettings, {"calling": ("GOOD", " BAD")}, "AE title"),
        (NodeSettings, {"addresses": ("10.0.0.1/8",)}, "addresses"),
        (NodeSettings, {"most_object_bytes": 2, "most_bytes": 1}, "lower it"),
        (SendSettings, {"ae_title": "", "host": "pacs"}, "AE title"),
        (SendSettings, {"ae_title": "A", "host": "pacs", "port": 0}, "port"),
        (JourneySettings, {"wait_s": 10, "most_wait_s": 1}, "lower it"),
    ],
)
def test_a_contradiction_is_told_in_a_sentence(kind: Any, values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        kind.of(**values)
    told = str(caught.value)
    assert words in told
    assert told.endswith(".")
    assert "\n" not in told
    assert "hush" not in told


def test_a_password_in_the_address_is_taken_out_and_shown_nowhere() -> None:
    found = ArchiveSettings.of(url="https://anna:h%40sh@pacs:8443/dicom-web/")
    assert found.url == "https://pacs:8443/dicom-web"
    assert (found.user, found.password.get_secret_value()) == ("anna", "h@sh")
    assert "h@sh" not in f"{found!r} {found.model_dump_json()}"
    assert "h%40sh" not in f"{found!r} {found.model_dump_json()}"


def test_to_this_machine_a_password_may_go_over_http(tmp_path: Path) -> None:
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert ArchiveSettings.of(url=f"http://a:b@{host}:8042").user == "a"
    assert ArchiveSettings.of(url="http://a:b@orthanc:8042", plain_http=True).plain_http


def test_a_node_is_closed_to_other_machines_unless_told_otherwise() -> None:
    assert NodeSettings().host == "127.0.0.1"
