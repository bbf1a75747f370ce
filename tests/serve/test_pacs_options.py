"""Options for archives and nodes: what contradicts itself is refused before anything is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vesal.errors import UsageError
from vesal.serve.pacs_options import PacsOptions, parse_node

ARCHIVE = {"pacs": "https://pacs/dicom-web"}


def test_without_an_archive_or_a_node_there_is_nothing() -> None:
    assert PacsOptions().settings(["heart"]) is None


def test_an_archive_is_where_studies_come_from_and_results_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VESAL_PACS_PASSWORD", "secret")
    options = PacsOptions(**ARCHIVE, pacs_user="vesal", watch="thorax", watch_every=5, study=("Modality=CT",))
    found = options.settings(["heart"])
    assert found is not None
    assert found.archive is not None
    assert (found.archive.user, found.archive.password.get_secret_value()) == ("vesal", "secret")
    assert found.watch is not None
    assert (found.watch.query, found.watch.every_s, found.watch.stable_s) == ("thorax", 5.0, 60.0)
    assert (found.studies, found.node, found.send, found.model) == (("Modality=CT",), None, None, "heart")
    assert found.to == ("dicom-seg", "rtstruct", "sr")


def test_a_token_of_the_archive_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VESAL_PACS_TOKEN", "a token")
    found = PacsOptions(**ARCHIVE).settings(["heart"])
    assert found is not None
    assert found.archive is not None
    assert found.archive.token.get_secret_value() == "a token"


def test_a_password_goes_over_http_only_where_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VESAL_PACS_PASSWORD", "secret")
    options = {"pacs": "http://pacs/dicom-web", "pacs_user": "vesal"}
    with pytest.raises(UsageError, match=r"over http.*--pacs-plain-http"):
        PacsOptions(**options).settings(["heart"])
    assert PacsOptions(**options, pacs_plain_http=True).settings(["heart"]) is not None


def test_a_user_wants_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VESAL_PACS_PASSWORD", raising=False)
    with pytest.raises(UsageError, match="VESAL_PACS_PASSWORD"):
        PacsOptions(**ARCHIVE, pacs_user="vesal").settings(["heart"])


def test_a_node_receives_and_another_gets_the_results() -> None:
    options = PacsOptions(
        node_port=11112, node_calling=("CT1",), send_to="ARCHIVE@pacs:104", pacs_to="dicom-seg"
    )
    found = options.settings(["heart", "lung"][:1])
    assert found is not None
    assert found.node is not None
    assert (found.node.port, found.node.ae_title, found.node.calling) == (11112, "VESAL", ("CT1",))
    assert found.send is not None
    assert (found.send.ae_title, found.send.host, found.send.port) == ("ARCHIVE", "pacs", 104)
    assert (found.archive, found.to) == (None, ("dicom-seg",))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"watch": "thorax"}, "give its address by --pacs"),
        ({"study": ("Modality=CT",)}, "give its address by --pacs"),
        ({"node_port": 11112}, "no place to go"),
        ({"send_to": "A@b:1"}, "say where these come from"),
        ({**ARCHIVE, "pacs_to": "nifti"}, "not 'nifti'"),
        ({"node_port": 1, "send_to": "A@b:1", "node_host": "0.0.0.0"}, "anybody could send"),
    ],
)
def test_an_option_that_needs_another_says_so(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        PacsOptions(**values)


@pytest.mark.parametrize(
    ("values", "models", "reason"),
    [
        (ARCHIVE, ["heart", "lung"], "Choose by --pacs-model: heart, lung"),
        ({**ARCHIVE, "pacs_model": "brain"}, ["heart"], "names brain"),
        ({"pacs": "pacs"}, ["heart"], "no address of an archive"),
        ({**ARCHIVE, "pacs_ca": Path("absent.pem")}, ["heart"], "absent.pem"),
        ({"node_port": 99999, "send_to": "A@b:1"}, ["heart"], "port"),
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict[str, Any], models: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        PacsOptions(**values).settings(models)


@pytest.mark.parametrize("text", ["", "ARCHIVE", "ARCHIVE@pacs", "ARCHIVE@pacs:x", "pacs:104", "@pacs:104"])
def test_what_is_no_node_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_node(text, "VESAL")
