"""Downloads over lines that break."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from download_site import CONTENT, OTHER, QUICK, Site, serve

from vesal.download.catalogue import ARCHIVES, Options, download, md5_of
from vesal.errors import DataError, VesalError


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    yield from serve(monkeypatch)


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


def test_a_file_that_changed_between_tries_is_not_mixed_with_the_old_one(site: Site, tmp_path: Path) -> None:
    site.answers = ["break", "change"]
    told: list[str] = []
    right = hashlib.md5(OTHER).hexdigest()
    download(site.url, tmp_path / "file.tar", right, Options(None, told.append, (0.01,)))
    assert (tmp_path / "file.tar").read_bytes() == OTHER
    assert "has changed" in told[1]


def test_a_file_that_shrank_is_asked_for_anew(site: Site, tmp_path: Path) -> None:
    site.answers = ["break", "503", "503"]
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


def test_a_part_of_another_file_is_not_kept(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.tar.part").write_bytes(b"something else")
    download(site.url, tmp_path / "file.tar", site.md5(), QUICK)
    assert "Range" not in site.asked[-1]
    assert (tmp_path / "file.tar").read_bytes() == CONTENT


def test_a_part_that_is_whole_is_taken(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.tar.part").write_bytes(CONTENT)
    download(site.url, tmp_path / "file.tar", site.md5(), QUICK)
    assert len(site.asked) == 1
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


def test_the_checksum_is_md5(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert md5_of(tmp_path / "a") == "900150983cd24fb0d6963f7d28e17f72"  # RFC 1321
