"""Official archives by name: where they are, what they must hash to, and a download that survives broken lines."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vesal.errors import DataError, VesalError
from vesal.parallel import Progress
from vesal.version import __version__


@dataclass(frozen=True, kw_only=True)
class OfficialDataset:
    """A data set that is known by name.

    Attributes:
        about: what it holds, for listings.
        folder: name of the folder that it becomes.
        licence: under which it may be used.
        citation: what to cite.
    """

    about: str
    folder: str
    licence: str
    citation: str


@dataclass(frozen=True, kw_only=True)
class Archive(OfficialDataset):
    """One that anyone may download.

    Attributes:
        url: of the archive.
        md5: of the archive, as published.
        megabytes: about its size; the server gives it exactly.
    """

    url: str
    md5: str
    megabytes: int


@dataclass(frozen=True, kw_only=True)
class Registered(OfficialDataset):
    """One whose terms each user accepts on its own page; the file is then handed to us.

    Attributes:
        page: where to register.
        file: which file to download there.
        layout: in which it comes (a key of LAYOUTS).
        cases: how many labelled scans the whole one has.
    """

    page: str
    file: str
    layout: str
    cases: int


#: The Medical Segmentation Decathlon: name -> task, checksum, megabytes, what it holds.
_DECATHLON = {
    "msd-brain": (
        "Task01_BrainTumour", "240a19d752f0d9e9101544901065d872", 7600,
        "MRI in four contrasts, oedema and tumour, 484 labelled",
    ),
    "msd-heart": ("Task02_Heart", "06ee59366e1e5124267b774dbd654057", 456, "MRI, left atrium, 20 labelled"),
    "msd-hippocampus": (
        "Task04_Hippocampus", "9d24dba78a72977dbd1d2e110310f31b", 29, "MRI, two parts, 260 labelled"
    ),
    "msd-prostate": (
        "Task05_Prostate", "35138f08b1efaef89d7424d2bcc928db", 240, "MRI in two contrasts, two zones, 32 labelled"
    ),
    "msd-lung": ("Task06_Lung", "8afd997733c7fc0432f71255ba4e52dc", 9160, "CT, lung tumours, 63 labelled"),
}  # fmt: skip

#: The Decathlon's archives on AWS Open Data. Addresses and checksums are those that MONAI publishes
#: (monai/apps/datasets.py, DecathlonDataset.resource and .md5).
ARCHIVES: dict[str, Archive] = {
    name: Archive(
        about=about,
        url=f"https://msd-for-monai.s3-us-west-2.amazonaws.com/{task}.tar",
        md5=md5,
        megabytes=megabytes,
        folder=task,
        licence="CC BY-SA 4.0",
        citation="Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 2022",
    )
    for name, (task, md5, megabytes, about) in _DECATHLON.items()
}

#: Nothing of these is downloaded: each user accepts their terms.
REGISTERED: dict[str, Registered] = {
    "acdc": Registered(
        about="cine MRI of the heart, both ventricles and the myocardium",
        page="https://www.creatis.insa-lyon.fr/Challenge/acdc/databases.html",
        file="the training set",
        folder="ACDC",
        licence="CC BY-NC-SA 4.0",
        citation="Bernard et al., IEEE Transactions on Medical Imaging 2018",
        layout="acdc",
        cases=200,
    ),
    "brats2021": Registered(
        about="MRI in four contrasts, brain tumours in three parts",
        page="https://www.synapse.org/Synapse:syn25829067",
        file="the training data of task 1 (RSNA_ASNR_MICCAI_BraTS2021_TrainingData)",
        folder="BraTS2021",
        licence="terms on its page",
        citation="Baid et al., arXiv:2107.02314, 2021",
        layout="brats",
        cases=1251,
    ),
}


def name_of(archive: Path) -> str | None:
    """The data set that a file of this name is an archive of, as they are called where they are given out.

    >>> name_of(Path("Task02_Heart.tar")), name_of(Path("RSNA_ASNR_MICCAI_BraTS2021_TrainingData_16July2021.zip"))
    ('msd-heart', 'brats2021')
    """
    called = archive.name.lower().replace("_", "")
    known: dict[str, OfficialDataset] = {**ARCHIVES, **REGISTERED}
    return next((name for name, of in known.items() if of.folder.lower().replace("_", "") in called), None)


#: Seconds to wait before each further try. Bytes that arrive begin the row anew.
WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)

#: As many further tries as long as nothing has arrived at all: without a connection there is nothing to wait for.
_TRIES_AT_FIRST = 2

_TIMEOUT_S = 60.0
_CHUNK = 1024**2
_PASSING = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Options:
    """How a download goes about it.

    Attributes:
        progress: called with megabytes.
        tell: takes one line about each break.
        waits_s: seconds before each further try.
        spare: bytes that shall be left on the disk beside the file.
    """

    progress: Progress | None = None
    tell: Callable[[str], None] = lambda _: None
    waits_s: Sequence[float] = WAITS_S
    spare: int = 0


def download(url: str, target: Path, md5: str, options: Options | None = None) -> None:
    """Download `url` to `target`, which comes into being when it is whole and its checksum is right.

    What has arrived lies in TARGET.part beside it. An interrupted download, of this call or an earlier one, goes on
    from there; if the checksum of a file that arrived in pieces is wrong, it starts over once.

    Args:
        url: of the file; proxies are taken from the system's settings.
        target: the file to write.
        md5: its published checksum.
        options: progress, and how patient to be.

    Raises:
        DataError: the checksum is wrong; what was downloaded is deleted.
        VesalError: the server refuses, does not answer, or breaks off again and again; or the disk is too small.
    """
    options = options or Options()
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        in_pieces = _all_of_it(url, part, options)
        if in_pieces and md5_of(part) != md5:
            options.tell("The file on the server has changed since the download began; starting over.")
            part.unlink()
            _all_of_it(url, part, options)
        if (found := md5_of(part)) != md5:
            part.unlink()
            raise DataError(
                f"What came from {url} has the checksum {found} instead of the published {md5}; it was deleted, "
                "so try again, and if that repeats the archive is not the one that was published."
            )
        part.replace(target)
    except OSError as error:
        raise VesalError(
            f"Cannot write {part}: {error.strerror or error}; free some space or choose another folder."
        ) from error


def md5_of(path: Path) -> str:
    """The MD5 digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


class _Broken(Exception):
    """The connection failed in a way that may pass."""


def _arrived(part: Path) -> int:
    """Bytes that are there."""
    return part.stat().st_size if part.exists() else 0


def _all_of_it(url: str, part: Path, options: Options) -> bool:
    """Ask until all is there, patiently as long as something arrives; whether it came in several pieces."""
    failures = 0
    while True:
        before = _arrived(part)
        try:
            if _some_of_it(url, part, options):
                return before > 0
            reason = "the server ended it before the end"
        except _Broken as broken:
            reason = str(broken)
        arrived = _arrived(part)
        failures = 1 if arrived > before else failures + 1
        allowed = len(options.waits_s) if arrived else min(_TRIES_AT_FIRST, len(options.waits_s))
        if failures > allowed:
            kept = f" {arrived / 1e6:.0f} MB are kept, and the same command goes on from there."
            raise VesalError(
                f"The download of {url} failed {failures} times in a row, lastly because {reason}; "
                f"look at the connection and try again.{kept if arrived else ''}"
            )
        wait_s = options.waits_s[failures - 1]
        options.tell(f"The download broke off ({reason}); going on in {wait_s:g} s.")
        time.sleep(wait_s)


def _some_of_it(url: str, part: Path, options: Options) -> bool:
    """One request; whether the file is whole after it."""
    have = _arrived(part)
    headers = {"User-Agent": f"vesal/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with _open(urllib.request.Request(url, headers=headers)) as response:
        if response is None:
            return True
        start, size = _place(response)
        if start != have:  # the server does not continue
            part.unlink(missing_ok=True)
            if start:
                raise _Broken("the server sent another piece than was asked for")
            have = 0
        needed, free = (size or 0) - have + options.spare, shutil.disk_usage(part.parent).free
        if needed > free:
            raise VesalError(
                f"{part.parent} has {free / 1e9:.1f} GB left where {needed / 1e9:.1f} GB are needed; "
                "free some space or choose another folder."
            )
        have = _receive(response, part, have, size, options)
    return size is None or have >= size


def _receive(response: IO[bytes], part: Path, have: int, size: int | None, options: Options) -> int:
    """Append what arrives; the bytes that are there now."""
    total_mb = max(1, (size or 0) // 10**6)
    # Unbuffered: whatever ends this process, what arrived is there.
    with part.open("ab", buffering=0) as file:
        while True:
            try:
                chunk = response.read(_CHUNK)
            except http.client.IncompleteRead as error:
                file.write(error.partial)
                raise _Broken("the connection was closed") from error
            except (http.client.HTTPException, OSError) as error:
                raise _Broken(_reason(error)) from error
            if not chunk:
                break
            file.write(chunk)
            have += len(chunk)
            if options.progress is not None and size:
                options.progress(min(have // 10**6, total_mb), total_mb)
    if options.progress is not None and have == size:
        options.progress(total_mb, total_mb)
    return have


@contextlib.contextmanager
def _open(request: urllib.request.Request) -> Any:
    """The answer to a request, None where nothing follows what is there; what may pass raises _Broken."""
    opener = urllib.request.build_opener(_NoDowngrade)
    try:
        response = opener.open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            yield None
            return
        if error.code in _PASSING:
            raise _Broken(f"the server answered {error.code} {error.reason}") from error
        raise VesalError(
            f"The server refuses {request.full_url}: {error.code} {error.reason}; "
            "the archive may have moved, so look for a newer version of Vesal."
        ) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise VesalError(
                f"The certificate of {request.full_url} cannot be verified ({error.reason.verify_message}); "
                "look at the system's certificates and clock."
            ) from error
        raise _Broken(_reason(error.reason)) from error
    except (http.client.HTTPException, OSError) as error:
        raise _Broken(_reason(error)) from error
    with response:
        yield response


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Redirections never lead from https to anything else."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise VesalError(
                f"{req.full_url} leads to {newurl}, which is not encrypted; it was not followed."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _place(response: Any) -> tuple[int, int | None]:
    """The position of the first byte of the answer (-1 if unknown), and the bytes of the whole file if known."""
    start, size = 0, response.headers.get("Content-Length")
    if response.status == 206:
        # Content-Range: bytes 100-199/200, or /* for an unknown size
        where, _, size = str(response.headers.get("Content-Range", "")).removeprefix("bytes ").partition("/")
        first = where.partition("-")[0]
        start = int(first) if first.isdigit() else -1
    return start, int(size) if size and size.isdigit() else None


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing arrived for {_TIMEOUT_S:.0f} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return str(error) or type(error).__name__
