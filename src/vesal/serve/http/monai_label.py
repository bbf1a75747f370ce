"""MONAI Label's protocol, as far as clients that segment with a trained model speak it: 3D Slicer, OHIF.

The paths and the forms are those of MONAI Label 0.8 (its `client/client.py` and `endpoints/`). Nothing is trained and
no data set is kept here, so those lists are empty.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse

from vesal.serve.http.job_routes import JobIntake
from vesal.serve.http.label_sessions import LabelSessions
from vesal.serve.http.receive import receive
from vesal.serve.jobs.job import Job, JobOptions, Status
from vesal.serve.jobs.uploads import UploadError
from vesal.version import __version__
from vesal.workflow.deployment.served_models import ServedModel

_LOOK_S = 0.05
#: Of the form that asks for a token.
_MOST_FORM_BYTES = 1 << 14
_FORM_S = 20.0


def monai_label_routes(intake: JobIntake, sessions: LabelSessions, token: str) -> APIRouter:
    """The routes of MONAI Label.

    Args:
        intake: makes jobs of uploads.
        sessions: that are kept.
        token: of this server; '' where it asks for none.
    """
    routes = APIRouter(tags=["MONAI Label"])
    _add_auth(routes, token)
    _add_sessions(routes, intake, sessions)

    @routes.get("/info/")
    def info() -> dict[str, Any]:
        """The models, in MONAI Label's words."""
        return {
            "name": "Vesal",
            "description": "Models trained with Vesal",
            "version": __version__,
            "labels": list(
                dict.fromkeys(label.name for model in intake.models.values() for label in model.labels)
            ),
            "models": {name: _described(model) for name, model in intake.models.items()},
            "trainers": {},
            "strategies": {},
            "scoring": {},
            "train_stats": {},
            "datastore": {},
        }

    @routes.post("/infer/{model}")
    async def infer(
        request: Request, model: str, image: str = "", session_id: str = "", output: str = ""
    ) -> Response:
        """Segment a session's image, or the file that comes along; answers when it is done."""
        chosen = intake.model(model)
        service = intake.service
        upload = service.begin_upload()
        try:
            # A form of theirs has parameters and a label, which a trained model does not look at.
            await receive(request, upload, ignored="label")
            upload.fields.clear()
            if session_id:
                await run_in_threadpool(sessions.copy, session_id, upload)
            if not upload.files:
                raise UploadError(
                    f"This server keeps no data set{f' and so no image {image!r}' if image else ''}; send the image "
                    "as a file or a session."
                )
            kind = "dicom-seg" if output == "dicom_seg" else "nifti"
            options = JobOptions(to=tuple(dict.fromkeys(("nifti", kind))))
            job = await run_in_threadpool(service.accept, upload, chosen.name, options, len(chosen.channels))
        finally:
            await run_in_threadpool(service.discard, upload)
        done = await _awaited(request, intake, job)
        return await run_in_threadpool(_answer, intake, done, chosen, output, kind)

    return routes


def _add_auth(routes: APIRouter, token: str) -> None:
    @routes.get("/auth/")
    def auth() -> dict[str, Any]:
        """Whether a token is asked for."""
        return {"enabled": bool(token), "client_id": "vesal", "realm": "vesal"}

    @routes.post("/auth/token")
    async def give(request: Request) -> Response:
        """A client that asks for name and password gives the server's token as the password."""
        body = b""
        try:
            async with asyncio.timeout(_FORM_S):
                async for piece in request.stream():
                    body += piece
                    if len(body) > _MOST_FORM_BYTES:
                        raise UploadError("The form is too long.", 413)
        except TimeoutError as error:
            raise UploadError("The form came too slowly; send it again.", 408) from error
        given = parse_qs(body.decode("utf-8", "replace")).get("password", [""])[0]
        if not token or not hmac.compare_digest(given.encode(), token.encode()):
            raise UploadError("The password is not this server's token.", 401)
        return JSONResponse({"access_token": token, "token_type": "bearer"})

    @routes.get("/auth/token/valid")
    def valid() -> dict[str, Any]:
        """Reached with a right token alone."""
        return {"valid": True}


def _add_sessions(routes: APIRouter, intake: JobIntake, sessions: LabelSessions) -> None:
    @routes.put("/session/")
    async def begin(request: Request, expiry: int = Query(0, ge=0)) -> dict[str, Any]:
        """Keep an image, to infer on several times."""
        upload = intake.service.begin_upload()
        try:
            await receive(request, upload)
            session = sessions.keep(upload, expiry)
        finally:
            intake.service.discard(upload)
        return {"session_id": session.id, "session_info": session.to_dict()}

    @routes.get("/session/{id_}")
    def one(id_: str) -> dict[str, Any]:
        """A session."""
        return sessions.get(id_).to_dict()

    @routes.delete("/session/{id_}")
    def end(id_: str) -> dict[str, Any]:
        """End a session."""
        return sessions.remove(id_).to_dict()


def _described(model: ServedModel) -> dict[str, Any]:
    return {
        "type": "segmentation",
        "labels": {label.name: label.value for label in model.labels},
        "dimension": 3,
        "description": f"{model.name}, channels {', '.join(model.channels)}",
        "config": {},
    }


async def _awaited(request: Request, intake: JobIntake, job: Job) -> Job:
    """The job when it has ended; a client that leaves takes its job with it."""
    while True:
        now = intake.service.get(job.id)
        if now is None:
            raise UploadError("The job was removed.", 410)
        if now.status.ended:
            return now
        if await request.is_disconnected():
            intake.service.cancel(job.id)
        await asyncio.sleep(_LOOK_S)


def _answer(intake: JobIntake, job: Job, model: ServedModel, output: str, kind: str) -> Response:
    if job.status is not Status.FINISHED:
        raise UploadError(job.error or "The job was cancelled.", 500 if job.error is None else 422)
    case, *others = job.outcome.cases
    if others:
        raise UploadError(
            f"The upload holds {len(others) + 1} scans, and this protocol answers with one mask; send one scan, or all "
            "of them to /api/jobs.",
            422,
        )
    found = {
        "label_names": {label.name: label.value for label in model.labels},
        "volumes_ml": case.volumes_ml,
        "verdict": case.verdict,
        "reason": case.reason,
    }
    if output == "json":
        return JSONResponse(found)
    file = next(file for file in job.outcome.results if file.kind == kind)
    path = intake.service.results(job) / file.name
    if output in ("image", "dicom_seg"):
        return FileResponse(path, filename=file.name, media_type="application/octet-stream")
    return _multipart(found, path)


def _multipart(values: Mapping[str, Any], path: Path) -> Response:
    """A form with `params` and `image`, in which order MONAI Label's clients expect them."""
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n'
        f"{json.dumps(values)}\r\n",
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{path.name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n",
    ]
    body = "".join(parts).encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    return Response(body, media_type=f"multipart/form-data; boundary={boundary}")
