"""A small stand-in for `vesal serve` and `vesal view`: the real bundle, and canned answers about a phantom.

It speaks the HTTP interface as far as the viewer uses it. A job takes some looks to end: `FakeServer.steps`.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nibabel as nib
import numpy as np
from scipy import ndimage

from vesal.phantoms.registry import KINDS, make_phantom
from vesal.volume.io import write_label, write_volume
from vesal.volume.volume import LabelMap, Volume

BUNDLE = Path(__file__).parents[2] / "src" / "vesal" / "serve" / "viewer_files"
#: Stricter than the server's own, so that the viewer holds under both.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
COLOURS = ("#e4604a", "#4a9ee4", "#e4b84a", "#6fcf7f")
QUEUED, HALF, DONE = 1, 2, 3


@dataclass
class Case:
    """A scan with truth, prediction and uncertainty, as the bytes of .nii.gz files."""

    labels: list[dict[str, Any]]
    modality: str
    files: dict[str, bytes]
    volumes_ml: dict[str, float]


def phantom_case(kind: str, size: tuple[int, int, int], seed: int = 3) -> Case:
    """A phantom whose prediction is its truth, moved a little and grown."""
    scan, truth = make_phantom(kind, seed, size=size)
    labels = [
        {"name": name, "value": value, "colour": COLOURS[i]}
        for i, (name, value) in enumerate((n, v) for n, v in KINDS[kind].values.items() if v)
    ]
    array = truth.array
    moved = ndimage.shift(array, (1, 1, 0), order=0)
    kept = (ndimage.grey_dilation(array, 2) == moved) | (array == moved)
    prediction = np.where(kept, moved, 0).astype(np.uint8)
    edge = ndimage.gaussian_filter(np.abs(ndimage.laplace((prediction > 0).astype(np.float32))), 1.2)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        image = scan.array[:1]
        write_volume(place / "scan.nii.gz", Volume(image.astype(np.int16), scan.geometry))
        write_volume(place / "uncertainty.nii.gz", Volume((edge / edge.max())[None], scan.geometry))
        write_label(place / "mask.nii.gz", LabelMap(prediction, scan.geometry))
        write_label(place / "truth.nii.gz", LabelMap(array, scan.geometry))
        files = {path.name: path.read_bytes() for path in place.iterdir()}
        voxel_ml = float(np.prod(nib.load(place / "mask.nii.gz").header.get_zooms()[:3])) / 1000
    volumes = {label["name"]: float((prediction == label["value"]).sum() * voxel_ml) for label in labels}
    return Case(labels, "CT" if KINDS[kind].channels == ("CT",) else "MR", files, volumes)


@dataclass
class FakeServer:
    """What the server holds; `uploads` keeps every form that it was sent: (fields, {file name: bytes})."""

    case: Case
    token: str = ""
    view: bool = False
    #: Looks at a new job until it runs, and until it has ended.
    steps: int = DONE
    fail_with: str = ""
    #: The files that `view` shows.
    shown: tuple[str, str] = ("scan.nii.gz", "mask.nii.gz")
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    uploads: list[tuple[dict[str, str], dict[str, bytes]]] = field(default_factory=list)
    looks: dict[str, int] = field(default_factory=dict)
    url: str = ""

    def models(self) -> list[dict[str, Any]]:
        labels = self.case.labels
        measured = {label["name"]: 0.91 for label in labels}
        common = {"labels": labels, "regions": False, "channels": ["MRI"], "dicom": True}
        common |= {"modality": self.case.modality, "digest": "0" * 64}
        return [
            {"name": "heart", "measured": measured, "quality": True, **common},
            {"name": "other", "measured": {}, "quality": False, **common},
        ]

    def add(self, model: str, kinds: list[str], name: str = "patient-7") -> dict[str, Any]:
        names = [label["name"] for label in self.case.labels]
        case = {
            "name": name,
            "volumes_ml": self.case.volumes_ml,
            "verdict": "review",
            "reason": "The scan is noisier than those that the model was trained on.",
            "expected_dice": {label: {"value": 0.84, "low": 0.71, "high": 0.92} for label in names},
            "volume_intervals": {
                label: {"low": 0.9 * ml, "high": 1.1 * ml, "level": 0.9}
                for label, ml in self.case.volumes_ml.items()
            },
        }
        job: dict[str, Any] = {"id": f"job{len(self.jobs) + 1}", "model": model, "status": "queued"}
        job |= {
            "progress": 0.0,
            "stage": "",
            "ahead": 2,
            "created": "2026-01-02T03:04:05Z",
            "started": None,
            "finished": None,
        }
        job |= {"expires": None, "error": None, "cases": [case], "notes": [], "wanted": kinds}
        job["results"] = [self._result("scan.nii.gz", "scan"), self._result("mask.nii.gz", "nifti")]
        if "uncertainty" in kinds:
            job["results"].append(self._result("uncertainty.nii.gz", "uncertainty"))
        job["results"] = [result | {"case": name} for result in job["results"]]
        self.jobs[job["id"]] = job
        return job

    def _result(self, name: str, kind: str) -> dict[str, Any]:
        data = self.case.files[name]
        return {"name": name, "kind": kind, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def look(self, key: str) -> dict[str, Any]:
        """The job; one that is not through is a step further."""
        job = self.jobs[key]
        if job["status"] in ("queued", "running"):
            self.looks[key] = looks = self.looks.get(key, 0) + 1
            if looks >= self.steps and self.fail_with:
                job |= {"status": "failed", "error": self.fail_with}
            elif looks >= self.steps:
                job |= {"status": "finished", "progress": 1.0, "ahead": 0}
            elif looks >= HALF:
                job |= {"status": "running", "progress": 0.4, "stage": "Predicting", "ahead": 0}
        return job

    def answer_view(self) -> dict[str, Any]:
        def file(name: str) -> dict[str, str]:
            return {"url": f"/api/view/files/0/{name}", "name": name}

        def mask(name: str, role: str, ml: dict[str, float]) -> dict[str, Any]:
            return file(name) | {"labels": self.case.labels, "volumes_ml": ml, "role": role}

        scan, prediction = self.shown
        return {
            "scan": file(scan),
            "masks": [
                mask(prediction, "prediction", self.case.volumes_ml),
                mask("truth.nii.gz", "truth", {}),
            ],
            "uncertainty": file("uncertainty.nii.gz"),
            "reason": "",
        }


class _Handler(BaseHTTPRequestHandler):
    fake: FakeServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def _send(self, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _json(self, value: object, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode())

    def _refused(self) -> bool:
        wanted = self.fake.token
        if not wanted or self.headers.get("Authorization") == f"Bearer {wanted}":
            return False
        self._json({"error": "A token is needed; give the one that the server was started with."}, 401)
        return True

    def do_GET(self) -> None:
        fake, path = self.fake, unquote(self.path.split("?")[0])
        if not path.startswith("/api/"):
            self._file(path)
        elif self._refused():
            pass
        elif path == "/api/view" and fake.view:
            self._json(fake.answer_view())
        elif path == "/api/models":
            self._json(fake.models())
        elif path == "/api/limits":
            self._json({"upload_bytes": 50_000_000, "queue": 8, "seconds": 600, "keep_seconds": 86400})
        elif path == "/api/jobs":
            self._json(list(reversed(fake.jobs.values())))
        elif (found := re.fullmatch(r"/api/jobs/(\w+)", path)) and found[1] in fake.jobs:
            self._json(fake.look(found[1]))
        elif (found := re.search(r"/(?:results|files/0)/([\w.]+)$", path)) and found[1] in fake.case.files:
            data, attached = fake.case.files[found[1]], f'attachment; filename="{found[1]}"'
            self._send(200, data, "application/octet-stream", Content_Disposition=attached)
        else:
            self._json({"error": f"There is nothing at {path}."}, 404)

    def _file(self, path: str) -> None:
        file = (BUNDLE / (path.lstrip("/") or "index.html")).resolve()
        if not file.is_relative_to(BUNDLE) or not file.is_file():
            self._json({"error": f"There is nothing at {path}."}, 404)
        else:
            self._send(200, file.read_bytes(), mimetypes.guess_type(file.name)[0] or "text/plain")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._refused():
            return
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        fields: dict[str, str] = {}
        files: dict[str, bytes] = {}
        for part in message_from_bytes(head + body).get_payload():
            disposition = part["Content-Disposition"]
            name = re.search(r'name="([^"]*)"', disposition)[1]  # type: ignore[index]
            file = re.search(r'filename="([^"]*)"', disposition)
            data = part.get_payload(decode=True)
            if file:
                files[file[1]] = data
            else:
                fields[name] = data.decode()
        self.fake.uploads.append((fields, files))
        if any(name.endswith(".txt") for name in files):
            self._json({"error": "notes.txt is no scan; give NIfTI, NRRD, MetaImage or DICOM."}, 415)
            return
        self._json(self.fake.add(fields["model"], fields["to"].split(",")), 202)

    def do_DELETE(self) -> None:
        if self._refused():
            return
        path, _, query = self.path.partition("?")
        job = self.fake.jobs[path.rsplit("/", 1)[1]]
        if job["status"] in ("queued", "running"):
            job["status"] = "cancelled"
            self._json(job)
        elif query == "keep_ended=true":
            self._json(job)
        else:
            del self.fake.jobs[job["id"]]
            self._send(204, b"")


@contextmanager
def serving(fake: FakeServer) -> Iterator[FakeServer]:
    """Serves it on a free port of the loopback; its `url` is set."""
    handler = type("Handler", (_Handler,), {"fake": fake})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
