"""Archives that nobody should trust."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from download_site import add_member

from vesal.download import archives
from vesal.download.archives import extract
from vesal.errors import DataError, UsageError, VesalError

TRAPS: dict[str, tuple[Callable[[tarfile.TarFile], None], str]] = {
    "parent": (lambda tar: add_member(tar, "data/../../evil.txt"), "leads out of its folder"),
    "absolute": (lambda tar: add_member(tar, "/tmp/vesal-evil.txt"), "leads out of its folder"),
    "backslash": (lambda tar: add_member(tar, "data\\..\\..\\evil.txt"), "leads out of its folder"),
    "drive": (lambda tar: add_member(tar, "C:/evil.txt"), "leads out of its folder"),
    "symlink": (
        lambda tar: add_member(tar, "data/link", b"", type=tarfile.SYMTYPE, linkname="/etc"),
        "holds the link",
    ),
    "hard link": (
        lambda tar: add_member(tar, "data/link", b"", type=tarfile.LNKTYPE, linkname="../../evil.txt"),
        "holds the link",
    ),
    "device": (lambda tar: add_member(tar, "data/null", b"", type=tarfile.CHRTYPE), "holds the device"),
    "pipe": (lambda tar: add_member(tar, "data/pipe", b"", type=tarfile.FIFOTYPE), "holds the device"),
    "twice": (lambda tar: (add_member(tar, "data/a"), add_member(tar, "./data/a"))[0], "twice"),
    "file as folder": (
        lambda tar: (add_member(tar, "data"), add_member(tar, "data/a"))[0],
        "a file and a folder",
    ),
}


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_malicious_tar_is_refused_whole_with_one_sentence(tmp_path: Path, trap: str, mode: str) -> None:
    build, message = TRAPS[trap]
    archive = tmp_path / "in" / "archive.tar"
    archive.parent.mkdir()
    with tarfile.open(archive, mode) as tar:
        add_member(tar, "first.txt", b"harmless")
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
            add_member(tar, "a", zeros)
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
    for free, spare in ((10, 0), (1500, 600)):
        monkeypatch.setattr(
            archives.shutil, "disk_usage", lambda _, free=free: type("Usage", (), {"free": free})()
        )
        with pytest.raises(VesalError, match=r"too little to unpack"):
            extract(archive, tmp_path / "out", spare=spare)
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
            add_member(tar, "a", noise)
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


@pytest.mark.parametrize("kind", ["header damaged", "cut in a header", "cut between two files"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_tar_whose_end_cannot_be_found_is_not_taken_for_whole(
    tmp_path: Path, kind: str, packed: bool
) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        for number in range(4):
            add_member(tar, f"data/case_{number}", bytes([number]) * 1000)
    data, at = archive.read_bytes(), 2 * 1536
    data = {
        "header damaged": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
        "cut in a header": data[: at + 100],
        "cut between two files": data[:at],
    }[kind]
    archive.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(DataError, match=r"damaged or incomplete .* behind the first 3072 bytes"):
        extract(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


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
