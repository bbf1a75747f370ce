"""Official data sets by name: fetched, unpacked, looked at."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from download_site import CONTENT, QUICK, Site, add_member, serve

from vesal.download.catalogue import ARCHIVES, REGISTERED, Archive, download
from vesal.errors import DataError, UsageError
from vesal.layouts.registry import load_dataset
from vesal.workflow import fetch as fetching
from vesal.workflow.fetch import fetch


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    yield from serve(monkeypatch)


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


@pytest.fixture
def heart(site: Site, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """msd-heart, as it would be with seven small scans, macOS's files among them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(tiny_data, "Task02_Heart")
        add_member(tar, "Task02_Heart/imagesTr/._tiny_00.nii.gz", b"resource fork")
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


def test_an_archive_that_lies_there_is_taken_and_stays(heart: Site, tmp_path: Path) -> None:
    (tmp_path / "Task02_Heart.tar").write_bytes(heart.content)
    told: list[str] = []
    assert fetch("msd-heart", tmp_path, tell=told.append).cases == 7
    assert "was there before, and stays" in told[-1]
    assert heart.asked == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Task02_Heart", "Task02_Heart.tar"]


def test_a_data_set_that_was_edited_is_left_as_it_is(heart: Site, tmp_path: Path) -> None:
    folder = fetch("msd-heart", tmp_path, tell=lambda _: None).folder
    (folder / "dataset.json").write_text((folder / "dataset.json").read_text() + "\n")
    (folder / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    told: list[str] = []
    assert not fetch("msd-heart", tmp_path, source=tmp_path / "other.tar", tell=told.append).fresh
    assert "other.tar was not unpacked" in told[0]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_folder_that_comes_while_it_is_fetched_is_left_as_it_is(heart: Site, tmp_path: Path) -> None:
    def meanwhile(_text: str) -> None:
        (tmp_path / "Task02_Heart").mkdir()
        (tmp_path / "Task02_Heart" / "notes.txt").write_text("mine")

    with pytest.raises(UsageError, match="came to be there while it was fetched"):
        fetch("msd-heart", tmp_path, tell=meanwhile)
    assert [path.name for path in (tmp_path / "Task02_Heart").iterdir()] == ["notes.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Task02_Heart", "Task02_Heart.tar"]


def test_two_do_not_fetch_one_data_set_at_the_same_time(heart: Site, tmp_path: Path) -> None:
    refused: list[str] = []

    def other(_text: str) -> None:
        with pytest.raises(UsageError, match=r"Task02_Heart is in use by process \d+") as raised:
            fetch("msd-heart", tmp_path)
        refused.append(str(raised.value))

    assert fetch("msd-heart", tmp_path, tell=other).cases == 7
    assert len(refused) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["Task02_Heart"]


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
    with pytest.raises(DataError, match=r"holiday\.zip and the folders in it hold no data set"):
        fetch("brats2021", tmp_path / "out", source=source)
    assert list((tmp_path / "out").iterdir()) == []


def brats_2021(folder: Path) -> list[Path]:
    """Files of two cases as BraTS 2021 names them."""
    files = []
    for case in ("BraTS2021_00000", "BraTS2021_00002"):
        for role in ("flair", "t1", "t1ce", "t2", "seg"):
            array = np.zeros((6, 6, 6), np.uint8)
            array[2:5, 2:5, 2:5] = 4 if role == "seg" else 100
            path = folder / case / f"{case}_{role}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), path)
            files.append(path)
    return files


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("RSNA_ASNR_MICCAI_BraTS2021_TrainingData.tar", "RSNA_ASNR_MICCAI_BraTS2021_TrainingData/"),
        ("RSNA_ASNR_MICCAI_BraTS2021_TrainingData_16July2021.zip", "TrainingData_16July2021/"),
        ("BraTS2021_Training_Data.tar", ""),
    ],
)
def test_the_archives_of_brats_2021_are_read_as_they_are_packed(
    name: str, inner: str, tmp_path: Path
) -> None:
    scans, archive, notes = tmp_path / "scans", tmp_path / name, list[str]()
    files = brats_2021(scans)
    if name.endswith(".zip"):
        with zipfile.ZipFile(archive, "w") as packed:
            for path in files:
                packed.write(path, f"{inner}{path.relative_to(scans).as_posix()}")
    else:
        with tarfile.open(archive, "w") as tar:
            for path in files:
                tar.add(path, f"{inner}{path.relative_to(scans).as_posix()}")
    assert fetch("brats2021", tmp_path / "out", source=archive, tell=notes.append).cases == 2
    dataset = load_dataset(tmp_path / "out" / "BraTS2021")
    assert dataset.channels == ("FLAIR", "T1", "T1ce", "T2")
    assert [case.patient for case in dataset.cases] == ["BraTS2021_00000", "BraTS2021_00002"]
    assert {label.name: label.value for label in dataset.labels.labels}["enhancing tumour"] == 4
    assert notes == ["It holds 2 labelled scans where the whole one has 1251."]


def test_an_archive_of_archives_names_those_inside(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as packed:
        packed.writestr("BraTS2021_Training_Data.tar", b"tar")
        packed.writestr("BraTS2021_00495.tar", b"tar")
    with pytest.raises(DataError, match=r"BraTS2021_00495\.tar, BraTS2021_Training_Data\.tar.*by --from"):
        fetch("brats2021", tmp_path / "out", source=tmp_path / "archive.zip")
    assert not list((tmp_path / "out").iterdir())


def test_the_list_names_sizes_and_licences() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vesal.cli", "fetch", "--json"], capture_output=True, text=True, timeout=60
    )
    entries = {entry["name"]: entry for entry in json.loads(done.stdout)["datasets"]}
    assert set(entries) == {*ARCHIVES, *REGISTERED}
    assert entries["msd-lung"]["megabytes"] > 5000
    assert entries["acdc"]["register"].startswith("https://")
    assert "CC BY-SA 4.0" in fetching.listing_text()
