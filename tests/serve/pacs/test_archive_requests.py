"""Requests carry what they must, survive what passes, and tell nobody who the patient or what the password is."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from fake_archive import FakeArchive, fake_archive

from vesal.errors import VesalError
from vesal.serve.pacs.archive import Archive
from vesal.serve.pacs.pacs_settings import ArchiveSettings
from vesal.serve.pacs.retries import Unreachable

pytest.importorskip("dicomweb_client", reason="the extra serve is not installed")

STUDY = "1.2.826.77"


@pytest.fixture
def fake() -> Iterator[FakeArchive]:
    with fake_archive() as found:
        found.objects[STUDY, "1.2.3", "1.2.3.1"] = b""
        yield found


def archive(fake: FakeArchive, **more: object) -> Archive:
    values = {"url": fake.url, "wait_s": 0.001, "most_wait_s": 0.01} | more
    return Archive(ArchiveSettings.of(**values))


def test_a_user_or_a_token_stands_in_the_header(fake: FakeArchive) -> None:
    archive(fake, user="änne", password="pä:ss").instances(STUDY, "1.2.3")
    archive(fake, token="abc").instances(STUDY, "1.2.3")
    assert set(fake.authorizations) == {"Basic w6RubmU6cMOkOnNz", "Bearer abc"}


def test_the_host_is_named_with_its_port(fake: FakeArchive) -> None:
    archive(fake).instances(STUDY, "1.2.3")
    assert {f"http://{host}/dicom-web" for host in fake.hosts} == {fake.url}


def test_neither_the_environment_nor_netrc_has_a_say(
    fake: FakeArchive, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine 127.0.0.1 login wrong password wrong\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    archive(fake).instances(STUDY, "1.2.3")
    assert set(fake.authorizations) == {""}


@pytest.mark.parametrize("failures", [[503, 503], ["drop", "drop"], [500, "drop", 429, 502]])
def test_what_passes_is_tried_again(fake: FakeArchive, failures: list[int | str]) -> None:
    fake.failures["GET"] = failures
    assert archive(fake).instances(STUDY, "1.2.3") == ["1.2.3.1"]
    assert not failures


@pytest.mark.parametrize(
    ("failures", "words"),
    [
        ([503] * 9, "answers 503, 'busy', tried 3 times"),
        (["drop"] * 9, "lost the connection, tried 3 times"),
    ],
)
def test_after_the_last_try_the_archive_is_named_and_not_the_study(
    fake: FakeArchive, failures: list[int | str], words: str
) -> None:
    fake.failures["GET"] = failures
    with pytest.raises(Unreachable, match=words) as caught:
        archive(fake, tries=3).instances(STUDY, "1.2.3")
    assert fake.url in str(caught.value)
    assert STUDY not in str(caught.value)
    assert len(fake.asked) == 3


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (401, "password"),
        (403, "right"),
        (404, "where DICOMweb begins"),
        (302, "redirects"),
        (418, "418"),
        ("html", "JSON"),
    ],
)
def test_what_is_refused_is_told_at_once_with_the_cure(
    fake: FakeArchive, failure: int | str, words: str
) -> None:
    fake.failures["GET"] = [failure] * 9
    with pytest.raises(VesalError, match=words) as caught:
        archive(fake, user="a", password="hush").instances(STUDY, "1.2.3")
    assert len(fake.asked) == 1
    assert "hush" not in str(caught.value)
    assert STUDY not in str(caught.value)


def test_a_redirect_gets_no_password(fake: FakeArchive) -> None:
    with fake_archive() as other:
        fake.failures["GET"] = [307]
        fake.headers["Location"] = other.url
        with pytest.raises(VesalError, match="redirects"):
            archive(fake, token="abc").instances(STUDY, "1.2.3")
        assert other.asked == []


def test_nothing_listens_is_told_as_such() -> None:
    with fake_archive() as gone:
        url = gone.url
    with pytest.raises(Unreachable, match="cannot be reached"):
        Archive(ArchiveSettings.of(url=url, tries=2, wait_s=0.0)).instances(STUDY, "1.2.3")
    assert not Archive(ArchiveSettings.of(url=url, tries=1)).reachable()


def test_an_archive_that_refuses_is_reachable(fake: FakeArchive) -> None:
    fake.failures["GET"] = [401]
    assert archive(fake).reachable()


def test_logs_hold_neither_identifiers_nor_passwords(
    fake: FakeArchive, caplog: pytest.LogCaptureFixture
) -> None:
    fake.failures["GET"] = [503]
    with caplog.at_level(logging.DEBUG):
        archive(fake, user="a", password="hush").instances(STUDY, "1.2.3")
    assert STUDY not in caplog.text
    assert "hush" not in caplog.text


def test_an_archive_with_a_certificate_of_its_own_is_trusted_by_that_alone(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    import shutil
    import ssl
    import subprocess

    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes a certificate, is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "c.pem", folder / "k.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with fake_archive(context) as fake:
        fake.objects[STUDY, "1.2.3", "1.2.3.1"] = b""
        assert archive(fake, ca_file=certificate).instances(STUDY, "1.2.3") == ["1.2.3.1"]
        with pytest.raises(VesalError, match="not trusted; give the authority's"):
            archive(fake).instances(STUDY, "1.2.3")
