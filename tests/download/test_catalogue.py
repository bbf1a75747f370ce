"""Downloads over lines that break, and archives that nobody should trust."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import re
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from vesal.download import archives
from vesal.download.archives import extract
from vesal.download.catalogue import ARCHIVES, REGISTERED, Archive, Options, download, md5_of
from vesal.errors import DataError, UsageError, VesalError
from vesal.layouts.discover import find_datasets, the_dataset
from vesal.workflow import fetch as fetching
from vesal.workflow.fetch import fetch

CONTENT = bytes(range(256)) * 12_000  # 3 MB
OTHER = CONTENT[::-1]
QUICK = Options(waits_s=(0.01,) * 4)


@dataclass
class Site:
    """A server on loopback that misbehaves as told.

    `answers` holds what to do with each next request; when they are used up, the file is served as it should be.
    """

    url: str = ""
    content: bytes = CONTENT
    etag: str | None = '"first"'
    ranges: bool = True
    sized: bool = True
    answers: list[str] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)

    def md5(self) -> str:
        return hashlib.md5(self.content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        site = self.site
        site.asked.append(dict(self.headers))
        answer = site.answers.pop(0) if site.answers else "serve"
        if answer.isdigit():
            self.send_error(int(answer))
            return
        if answer.startswith("to:"):
            self.send_response(302)
            self.send_header("Location", answer[3:])
            self.end_headers()
            return
        if answer == "change":
            site.content, site.etag = OTHER, '"second"' if site.etag else None
        body, start = site.content, 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        current = self.headers.get("If-Range") in (None, site.etag)
        if wanted and site.ranges and (current or answer == "careless"):
            start = int(wanted[1])
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if site.sized:
            self.send_header("Content-Length", str(len(body) - start))
        if site.etag:
            self.send_header("ETag", site.etag)
        self.end_headers()
        piece = body[start:]
        if answer == "break":
            piece = piece[: len(piece) // 3]
        for at in range(0, len(piece), 2**16):
            if answer == "slow":
                # The second half never comes in time, however busy the machine is.
                time.sleep(0.05 if at < len(piece) // 2 else 10)
            self.wfile.write(piece[at : at + 2**16])


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    # As on a machine behind a proxy: loopback is asked directly.
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_port}/file.tar"
    yield site
    server.shutdown()
    server.server_close()


# --- the download ------------------------------------------------------------------------------------------


def test_a_download_that_breaks_twice_goes_on_where_it_broke_and_is_whole(site: Site, tmp_path: Path) -> None:
    site.answers = ["break", "break"]
    told: list[str] = []
    seen: list[tuple[int, int]] = []
    options = Options(lambda done, total: seen.append((done, total)), told.append, (0.01,))
    download(site.url, tmp_path / "file.tar", site.md5(), options)
    assert (tmp_path / "file.tar").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file.tar"]
    assert [asked.get("Range") for asked in site.asked] == [
        None,
        "bytes=1024000-",
        f"bytes={1024000 + 2048000 // 3}-",
    ]
    assert site.asked[1]["If-Range"] == '"first"'
    assert len(told) == 2
    assert seen[-1] == (3, 3)


def test_a_later_call_resumes_what_an_earlier_one_left(site: Site, tmp_path: Path) -> None:
    site.answers = ["break", "503", "503"]
    with pytest.raises(VesalError, match=r"1 MB are kept"):
        download(site.url, tmp_path / "file.tar", site.md5(), Options(waits_s=(0.01,)))
    assert (tmp_path / "file.tar.part").stat().st_size == 1024000
    assert not (tmp_path / "file.tar").exists()
    download(site.url, tmp_path / "file.tar", site.md5(), QUICK)
    assert site.asked[-1]["Range"] == "bytes=1024000-"
    assert (tmp_path / "file.tar").read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_starts_over(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    site.answers = ["break"]
    download(site.url, tmp_path / "file.tar", site.md5(), QUICK)
    assert site.asked[-1]["Range"] == "bytes=1024000-"
    assert (tmp_path / "file.tar").read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ['"first"', 'W/"weak"', None])
def test_a_file_that_changed_between_tries_is_not_mixed_with_the_old_one(
    site: Site, tmp_path: Path, etag: str | None
) -> None:
    site.etag = etag
    site.answers = ["break", "change"]
    right = hashlib.md5(OTHER).hexdigest()
    if etag is None:
        # Nothing but the checksum can tell; it does, and nothing wrong is left.
        with pytest.raises(DataError, match=r"checksum"):
            download(site.url, tmp_path / "file.tar", right, QUICK)
        assert list(tmp_path.iterdir()) == []
    download(site.url, tmp_path / "file.tar", right, QUICK)
    assert (tmp_path / "file.tar").read_bytes() == OTHER


def test_a_careless_server_that_continues_with_another_file_is_noticed(site: Site, tmp_path: Path) -> None:
    site.answers = ["break", "careless"]
    told: list[str] = []

    def change(text: str) -> None:
        told.append(text)
        site.content, site.etag = OTHER, '"second"'

    download(
        site.url, tmp_path / "file.tar", hashlib.md5(OTHER).hexdigest(), Options(None, change, (0.01,) * 3)
    )
    assert (tmp_path / "file.tar").read_bytes() == OTHER
    assert "has changed" in told[1]


def test_a_file_that_shrank_is_asked_for_anew(site: Site, tmp_path: Path) -> None:
    site.answers = ["break", "503", "503"]
    site.etag = None
    with pytest.raises(VesalError):
        download(site.url, tmp_path / "file.tar", site.md5(), Options(waits_s=(0.01,)))
    site.content = CONTENT[:1000]
    download(site.url, tmp_path / "file.tar", site.md5(), QUICK)
    assert (tmp_path / "file.tar").read_bytes() == CONTENT[:1000]


def test_a_server_that_does_not_tell_the_size_is_believed_by_the_checksum(site: Site, tmp_path: Path) -> None:
    site.sized = False
    download(site.url, tmp_path / "file.tar", site.md5(), QUICK)
    assert (tmp_path / "file.tar").read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.answers = ["503", "429"]
    download(site.url, tmp_path / "file.tar", site.md5(), QUICK)
    assert (tmp_path / "file.tar").read_bytes() == CONTENT


@pytest.mark.parametrize("code", ["404", "403", "410"])
def test_a_refusal_is_told_at_once(site: Site, tmp_path: Path, code: str) -> None:
    site.answers = [code] * 9
    with pytest.raises(VesalError, match=rf"refuses {re.escape(site.url)}: {code}"):
        download(site.url, tmp_path / "file.tar", site.md5(), QUICK)
    assert len(site.asked) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_checksum_deletes_what_came_and_says_so(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"instead of the published 0{32}; it was deleted"):
        download(site.url, tmp_path / "file.tar", "0" * 32, QUICK)
    assert list(tmp_path.iterdir()) == []


def test_without_a_connection_it_gives_up_soon(tmp_path: Path, site: Site) -> None:
    told: list[str] = []
    with pytest.raises(VesalError, match=r"failed 3 times in a row, lastly because connection refused"):
        download("http://127.0.0.1:9/x", tmp_path / "x", "0", Options(None, told.append, (0.01,) * 6))
    assert len(told) == 2


def test_a_part_of_another_address_is_not_continued(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.tar.part").write_bytes(b"something else")
    (tmp_path / "file.tar.part.json").write_text(
        json.dumps({"url": "http://elsewhere/file.tar", "size": 20, "etag": '"first"', "modified": None})
    )
    download(site.url, tmp_path / "file.tar", site.md5(), QUICK)
    assert "Range" not in site.asked[0]
    assert (tmp_path / "file.tar").read_bytes() == CONTENT


def test_redirections_are_followed_but_never_away_from_encryption(site: Site, tmp_path: Path) -> None:
    from vesal.download.catalogue import _NoDowngrade

    site.answers = ["to:" + site.url + "?again"]
    download(site.url, tmp_path / "file.tar", site.md5(), QUICK)
    assert (tmp_path / "file.tar").read_bytes() == CONTENT
    import urllib.request

    with pytest.raises(VesalError, match=r"not encrypted"):
        _NoDowngrade().redirect_request(
            urllib.request.Request("https://a/b"), None, 302, "Found", {}, "http://a/b"
        )


def test_a_full_disk_is_told_before_anything_is_written(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(VesalError, match=r"GB left where .* GB are needed"):
        download(site.url, tmp_path / "file.tar", site.md5(), Options(spare=10**18))
    assert not (tmp_path / "file.tar").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_leaves_a_part_that_the_next_call_resumes(site: Site, tmp_path: Path) -> None:
    import signal

    site.answers = ["slow"]
    code = (
        "import signal, sys; from pathlib import Path; from vesal.workflow import fetch as f\n"
        # A shell starts what it runs in the background with Ctrl-C ignored, and children inherit that.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from vesal.download.catalogue import Archive\n"
        f"f.DATASETS['x'] = Archive(url={site.url!r}, md5={site.md5()!r}, megabytes=3, folder='X',\n"
        "    about='', licence='', citation='')\n"
        "try: f.fetch('x', Path(sys.argv[1]))\n"
        "except Exception as error: print(error); sys.exit(7)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        part = tmp_path / "X.tar.part"
        deadline = time.monotonic() + 30
        while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        text = process.communicate(timeout=30)[0]
    assert process.returncode == 7
    assert "the same command goes on from there" in text
    have = part.stat().st_size
    assert 0 < have < len(CONTENT)
    download(site.url, tmp_path / "X.tar", site.md5(), QUICK)
    assert site.asked[-1]["Range"] == f"bytes={have}-"
    assert (tmp_path / "X.tar").read_bytes() == CONTENT


# --- fetch -------------------------------------------------------------------------------------------------


@pytest.fixture
def heart(site: Site, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """msd-heart, as it would be with seven small scans, macOS's files among them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(tiny_data, "Task02_Heart")
        _add(tar, "Task02_Heart/imagesTr/._tiny_00.nii.gz", b"resource fork")
    site.content = buffer.getvalue()
    known = Archive(
        about="",
        url=site.url,
        md5=site.md5(),
        megabytes=1,
        folder="Task02_Heart",
        licence="CC BY-SA 4.0",
        citation="Antonelli",
    )
    monkeypatch.setattr(fetching, "DATASETS", {"msd-heart": known, **REGISTERED})
    return site


def test_a_data_set_is_fetched_once_and_its_archive_removed(heart: Site, tmp_path: Path) -> None:
    heart.answers = ["break"]
    fetched = fetch("msd-heart", tmp_path, tell=lambda _: None)
    assert (fetched.cases, fetched.fresh) == (7, True)
    assert [path.name for path in tmp_path.iterdir()] == ["Task02_Heart"]
    assert not list(fetched.folder.rglob("._*"))
    requests = len(heart.asked)
    again = fetch("msd-heart", tmp_path)
    assert (again.cases, again.fresh, again.folder) == (7, False, fetched.folder)
    assert len(heart.asked) == requests
    assert "already there" in again.text()


def test_a_folder_that_is_not_whole_is_named_and_left_alone(heart: Site, tmp_path: Path) -> None:
    folder = fetch("msd-heart", tmp_path, tell=lambda _: None).folder
    (folder / "labelsTr" / "tiny_03.nii.gz").unlink()
    with pytest.raises(DataError, match=r"1 of its 14 files are missing, such as .*tiny_03"):
        fetch("msd-heart", tmp_path)
    assert folder.exists()


def test_an_archive_that_lies_there_is_taken_and_kept_if_wanted(heart: Site, tmp_path: Path) -> None:
    (tmp_path / "Task02_Heart.tar").write_bytes(heart.content)
    assert fetch("msd-heart", tmp_path, keep=True).cases == 7
    assert heart.asked == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Task02_Heart", "Task02_Heart.tar"]


def test_a_foreign_file_in_the_archives_place_is_not_overwritten(heart: Site, tmp_path: Path) -> None:
    (tmp_path / "Task02_Heart.tar").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"move it away"):
        fetch("msd-heart", tmp_path)
    assert (tmp_path / "Task02_Heart.tar").read_bytes() == b"mine"


def test_an_archive_at_hand_is_unpacked_and_stays(heart: Site, tmp_path: Path) -> None:
    source = tmp_path / "from-a-friend.tar"
    source.write_bytes(heart.content + bytes(1024))
    told: list[str] = []
    fetched = fetch("msd-heart", tmp_path / "out", source=source, tell=told.append)
    assert fetched.cases == 7
    assert source.exists()
    assert "packed by someone else" in told[0]


def test_every_archive_is_official_encrypted_and_has_a_checksum() -> None:
    assert sorted(ARCHIVES) == ["msd-brain", "msd-heart", "msd-hippocampus", "msd-lung", "msd-prostate"]
    for archive in ARCHIVES.values():
        assert archive.url == f"https://msd-for-monai.s3-us-west-2.amazonaws.com/{archive.folder}.tar"
        assert re.fullmatch(r"[0-9a-f]{32}", archive.md5)
        assert archive.licence == "CC BY-SA 4.0"


def test_addresses_and_checksums_are_those_that_monai_publishes() -> None:
    monai = importlib.util.find_spec("monai")
    if monai is None or monai.origin is None:
        pytest.skip("monai is not installed")
    # Read, not imported: that would take seconds.
    published = (Path(monai.origin).parent / "apps" / "datasets.py").read_text(encoding="utf-8")
    for archive in ARCHIVES.values():
        assert f'"{archive.folder}": "{archive.url}"' in published
        assert f'"{archive.folder}": "{archive.md5}"' in published


@pytest.mark.parametrize("name", REGISTERED)
def test_what_needs_a_registration_says_where_and_what_to_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"register at https://.* run vesal fetch {name} --from FILE"):
        fetch(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_registered_archive_is_verified_and_its_gaps_are_told(tmp_path: Path) -> None:
    source = tmp_path / "acdc.zip"
    with zipfile.ZipFile(source, "w") as file:
        for patient in (1, 2):
            for ending in ("", "_gt"):
                name = f"patient{patient:03}_frame01{ending}.nii.gz"
                file.writestr(f"ACDC/database/training/patient{patient:03}/{name}", b"scan")
        file.writestr("ACDC/database/training/patient003/patient003_frame01.nii.gz", b"scan")
        file.writestr("__MACOSX/ACDC/._database", b"fork")
    told: list[str] = []
    fetched = fetch("acdc", tmp_path / "out", source=source, tell=told.append)
    assert fetched.cases == 2
    assert fetched.folder.is_relative_to((tmp_path / "out" / "ACDC").absolute())
    assert any("patient003_frame01.nii.gz has no partner" in text for text in told)
    assert any("2 labelled scans where the whole one has 200" in text for text in told)


def test_an_archive_of_something_else_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "holiday.zip"
    with zipfile.ZipFile(source, "w") as file:
        file.writestr("photos/a.txt", b"x")
    with pytest.raises(DataError, match=r"holiday\.zip holds no data set"):
        fetch("brats2021", tmp_path / "out", source=source)
    assert list((tmp_path / "out").iterdir()) == []


def test_the_list_names_sizes_and_licences() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vesal.cli", "fetch", "--json"], capture_output=True, text=True, timeout=60
    )
    entries = {entry["name"]: entry for entry in json.loads(done.stdout)["datasets"]}
    assert set(entries) == {*ARCHIVES, *REGISTERED}
    assert entries["msd-lung"]["megabytes"] > 5000
    assert entries["acdc"]["register"].startswith("https://")
    assert "CC BY-SA 4.0" in fetching.listing_text()


# --- archives that should not be trusted -------------------------------------------------------------------


def _add(tar: tarfile.TarFile, name: str, data: bytes = b"x", **fields: Any) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))


TRAPS: dict[str, tuple[Callable[[tarfile.TarFile], None], str]] = {
    "parent": (lambda tar: _add(tar, "data/../../evil.txt"), "leads out of its folder"),
    "absolute": (lambda tar: _add(tar, "/tmp/vesal-evil.txt"), "leads out of its folder"),
    "backslash": (lambda tar: _add(tar, "data\\..\\..\\evil.txt"), "leads out of its folder"),
    "drive": (lambda tar: _add(tar, "C:/evil.txt"), "leads out of its folder"),
    "symlink": (
        lambda tar: _add(tar, "data/link", b"", type=tarfile.SYMTYPE, linkname="/etc"),
        "holds the link",
    ),
    "hard link": (
        lambda tar: _add(tar, "data/link", b"", type=tarfile.LNKTYPE, linkname="../../evil.txt"),
        "holds the link",
    ),
    "device": (lambda tar: _add(tar, "data/null", b"", type=tarfile.CHRTYPE), "holds the device"),
    "pipe": (lambda tar: _add(tar, "data/pipe", b"", type=tarfile.FIFOTYPE), "holds the device"),
    "twice": (lambda tar: (_add(tar, "data/a"), _add(tar, "./data/a"))[0], "twice"),
    "file as folder": (lambda tar: (_add(tar, "data"), _add(tar, "data/a"))[0], "a file and a folder"),
}


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_malicious_tar_is_refused_whole_with_one_sentence(tmp_path: Path, trap: str, mode: str) -> None:
    build, message = TRAPS[trap]
    archive = tmp_path / "in" / "archive.tar"
    archive.parent.mkdir()
    with tarfile.open(archive, mode) as tar:
        _add(tar, "first.txt", b"harmless")
        build(tar)
    with pytest.raises(DataError, match=message) as caught:
        extract(archive, tmp_path / "out" / "data")
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["archive.tar", "in", "out"]
    assert not Path("/tmp/vesal-evil.txt").exists()


def test_a_malicious_zip_is_refused_whole(tmp_path: Path) -> None:
    for name, message in (
        ("../evil.txt", "leads out"),
        ("/tmp/vesal-evil.txt", "leads out"),
        ("a/link", "link"),
    ):
        archive = tmp_path / "archive.zip"
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("first.txt", b"harmless")
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = ((stat.S_IFLNK if "link" in name else stat.S_IFREG) | 0o777) << 16
            file.writestr(info, b"/etc/passwd")
        with pytest.raises(DataError, match=message):
            extract(archive, tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["archive.zip"]


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_an_archive_made_to_fill_the_disk_is_refused(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "HARMLESS", 2**20)
    archive = tmp_path / f"bomb.{kind}"
    zeros = bytes(20 * 2**20)
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a", zeros)
    else:
        with tarfile.open(archive, f"w:{kind[4:]}") as tar:
            _add(tar, "a", zeros)
    with pytest.raises(DataError, match=r"made to fill a disk"):
        extract(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_a_tar_that_claims_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    archive = tmp_path / "huge.tar"
    info = tarfile.TarInfo("a")
    info.size = 2**50
    archive.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    with pytest.raises(DataError, match=r"made to fill a disk"):
        extract(archive, tmp_path / "out")


def test_an_archive_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 10)
    archive = tmp_path / "many.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(11):
            file.writestr(str(number), b"")
    with pytest.raises(DataError, match=r"more than 10 files"):
        extract(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_small_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a", bytes(1000))
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(VesalError, match=r"too little to unpack"):
        extract(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_a_truncated_or_damaged_archive_is_told(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / f"a.{kind}"
    noise = os.urandom(300_000)
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a", noise)
    else:
        with tarfile.open(archive, "w:" + kind[4:]) as tar:
            _add(tar, "a", noise)
    data = bytearray(archive.read_bytes())
    archive.write_bytes(data[:150_000])
    with pytest.raises(DataError, match=r"download it again"):
        extract(archive, tmp_path / "out")
    if kind not in ("tar", "tar.xz"):
        data[100_000:100_100] = bytes(100)
        archive.write_bytes(data)
        with pytest.raises(DataError, match=r"download it again"):
            extract(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_what_is_no_archive_or_encrypted_is_told(tmp_path: Path) -> None:
    plain = tmp_path / "a.tar"
    plain.write_text("<html>Please log in</html>" * 100)
    with pytest.raises(DataError, match=r"no tar or zip archive"):
        extract(plain, tmp_path / "out")
    locked = tmp_path / "b.zip"
    with zipfile.ZipFile(locked, "w") as file:
        file.writestr("a", b"x")
    data = bytearray(locked.read_bytes())
    for header, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(header) + at] |= 1
    locked.write_bytes(data)
    with pytest.raises(DataError, match=r"encrypted"):
        extract(locked, tmp_path / "out")
    with pytest.raises(UsageError, match=r"no file"):
        extract(tmp_path / "absent.tar", tmp_path / "out")


def test_what_a_killed_unpacking_left_goes_with_the_next(tmp_path: Path) -> None:
    left = tmp_path / ".unpacking-out"
    (left / "half").mkdir(parents=True)
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("top/a.txt", b"x")
        file.writestr("top/b/c.txt", b"y")
    seen: list[tuple[int, int]] = []
    extract(archive, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.txt", "b"]
    assert not left.exists()
    assert seen[-1] == (1, 1)
    mode = stat.S_IMODE((tmp_path / "out" / "a.txt").stat().st_mode)
    assert not mode & stat.S_IXUSR
    with pytest.raises(UsageError, match=r"already there"):
        extract(archive, tmp_path / "out")


# --- where the data sets lie -------------------------------------------------------------------------------


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_data_sets_are_found_below_other_folders(tmp_path: Path) -> None:
    for case in ("BraTS_001", "BraTS_002"):
        _touch(
            tmp_path,
            *(f"brats/v1/HGG/{case}/{case}_{role}.nii.gz" for role in ("flair", "t1", "t1ce", "t2", "seg")),
        )
    _touch(
        tmp_path,
        "acdc/database/training/patient001/patient001_frame01.nii.gz",
        "acdc/database/training/patient001/patient001_frame01_gt.nii.gz",
    )
    (tmp_path / "heart" / "Task02").mkdir(parents=True)
    (tmp_path / "heart" / "Task02" / "dataset.json").write_text('{"training": []}')
    _touch(tmp_path, "notes/images/readme.txt")
    found = [path.relative_to(tmp_path).as_posix() for path in find_datasets(tmp_path)]
    assert found == ["acdc/database/training", "brats/v1/HGG", "heart/Task02"]
    assert the_dataset(tmp_path, "Task02") == tmp_path / "heart" / "Task02"
    assert the_dataset(tmp_path, "brats") == tmp_path / "brats" / "v1" / "HGG"
    with pytest.raises(UsageError, match=r"3 data sets; name one of acdc"):
        the_dataset(tmp_path)
    with pytest.raises(UsageError, match=r"no data sets called 'lung'"):
        the_dataset(tmp_path, "lung")
    with pytest.raises(DataError, match=r"no data set of a known layout"):
        the_dataset(tmp_path / "notes")


def test_the_checksum_is_md5(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert md5_of(tmp_path / "a") == "900150983cd24fb0d6963f7d28e17f72"  # RFC 1321
