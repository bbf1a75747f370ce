"""Jobs over HTTP: send a scan, ask how far it is, fetch what came out, cancel."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from vesal.errors import reason_of
from vesal.serve.http.answers import ErrorAnswer, JobAnswer
from vesal.serve.http.receive import receive
from vesal.serve.http.serve_metrics import ServeMetrics
from vesal.serve.jobs.job import KINDS, Job, JobOptions, Status
from vesal.serve.jobs.job_service import JobService
from vesal.serve.jobs.uploads import Upload, UploadError
from vesal.workflow.deployment.served_models import ServedModel
from vesal.workflow.requests.predict_options import DICOM_FORMATS

_FIELDS = ("model", "to", "series", "threshold", "fill_slices")
_TRUE = ("true", "1", "yes", "on")

#: The form, for the OpenAPI page: it is read as it streams, so FastAPI does not see it.
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "model": {"type": "string", "description": "may be left out where one is served"},
                        "to": {
                            "type": "string",
                            "description": f"of {', '.join(KINDS)}, with commas between",
                        },
                        "series": {
                            "type": "string",
                            "description": "of a DICOM study; again for each channel",
                        },
                        "threshold": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                        "fill_slices": {"type": "boolean"},
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    },
                }
            }
        },
    }
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (400, 401, 408, 413, 415, 422, 503, 507)
}
_ABSENT: dict[int | str, dict[str, Any]] = {404: {"model": ErrorAnswer}}


class JobIntake:
    """Makes jobs of requests.

    Args:
        service: that does them.
        models: that there are.
        metrics: that count.
    """

    def __init__(self, service: JobService, models: dict[str, ServedModel], metrics: ServeMetrics) -> None:
        self.service, self.models, self._metrics = service, models, metrics

    async def take(self, request: Request) -> Job:
        """The job of an upload.

        Raises:
            UploadError: it is refused.
        """
        upload = self.service.begin_upload()
        try:
            await receive(request, upload)
            self._metrics.received(upload.received)
            # A study is moved file by file, and the list of jobs synced: meanwhile others are answered.
            return await run_in_threadpool(self.accept, upload)
        finally:
            await run_in_threadpool(self.service.discard, upload)

    def accept(self, upload: Upload) -> Job:
        """The job of an upload that is whole.

        Raises:
            UploadError: its fields are none of ours, or it holds no scan.
        """
        fields = dict(upload.fields)
        if odd := sorted(fields.keys() - set(_FIELDS)):
            raise UploadError(
                f"The form has the field {odd[0]!r}; it takes {', '.join(_FIELDS)} and files.", 422
            )
        model = self.model(fields.get("model", ""))
        return self.service.accept(upload, model.name, _options(fields, model), len(model.channels))

    def model(self, name: str) -> ServedModel:
        """A model by its name; the only one by none.

        Raises:
            UploadError: there is none of that name.
        """
        if not name and len(self.models) == 1:
            return next(iter(self.models.values()))
        if name not in self.models:
            what = f"There is no model {name!r}" if name else "The form names no model"
            raise UploadError(f"{what}; choose one of: {', '.join(sorted(self.models))}.", 422)
        return self.models[name]


def _options(fields: dict[str, str], model: ServedModel) -> JobOptions:
    asked = tuple(filter(None, (part.strip() for part in fields.get("to", "").replace("\n", ",").split(","))))
    if not model.dicom and (objects := [kind for kind in asked if kind in DICOM_FORMATS]):
        raise UploadError(f"This server writes no {objects[0]}: it runs without the extra vesal[dicom].", 422)
    try:
        return JobOptions(
            to=tuple(dict.fromkeys(("nifti", *asked))),
            threshold=float(fields.get("threshold") or 0.5),
            series=tuple(filter(None, fields.get("series", "").splitlines())),
            fill_slices=fields.get("fill_slices", "").lower() in _TRUE,
        )
    except ValidationError as error:
        raise UploadError(f"The form is not understood: {reason_of(error)}.", 422) from error
    except ValueError as error:
        raise UploadError(f"The threshold is a number, not {fields['threshold']!r}.", 422) from error


def job_routes(intake: JobIntake) -> APIRouter:
    """The routes below /api/jobs."""
    routes = APIRouter(prefix="/api/jobs", tags=["jobs"])
    _add_asking(routes, intake.service)

    @routes.post("", status_code=202, responses=_ERRORS, openapi_extra=_FORM)
    async def send(request: Request, response: Response) -> JobAnswer:
        """Send a scan; the answer is the job that was made of it."""
        job = await intake.take(request)
        response.headers["location"] = f"/api/jobs/{job.id}"
        return JobAnswer.of(job, intake.service)

    @routes.delete(
        "/{id_}", responses={**_ABSENT, 204: {"description": "Removed."}}, response_model=JobAnswer
    )
    def end(id_: str, keep_ended: bool = False) -> Response:
        """Cancel a job, or remove one that has ended with all that it made; `keep_ended` leaves that one as it is."""
        service = intake.service
        if (job := service.cancel(id_)) is None:
            job = _found(service, id_)
            if not keep_ended:
                service.remove(id_)
                return Response(status_code=204)
        return JSONResponse(JobAnswer.of(job, service).to_dict())

    return routes


def _add_asking(routes: APIRouter, service: JobService) -> None:
    @routes.get("")
    def newest(most: int = Query(50, ge=1, le=1000)) -> list[JobAnswer]:
        """The last jobs, the newest first."""
        return [JobAnswer.of(job, service) for job in service.newest(most)]

    @routes.get("/{id_}", responses=_ABSENT)
    def one(id_: str) -> JobAnswer:
        """A job, and how far it is."""
        return JobAnswer.of(_found(service, id_), service)

    @routes.get("/{id_}/results/{name}", responses={**_ABSENT, 410: {"model": ErrorAnswer}})
    def result(id_: str, name: str) -> FileResponse:
        """A file that the job made."""
        job = _found(service, id_)
        found = service.result(job, name)
        if found is None:
            why = "made" if job.status is Status.FINISHED else f"is {job.status} and has made"
            raise UploadError(f"The job {why} no file {name!r}.", 404)
        file, path = found
        if not path.is_file():
            raise UploadError("The file is gone; send the scan again.", 410)
        return FileResponse(path, filename=file.name, headers={"etag": f'"{file.sha256}"'})


def _found(service: JobService, id_: str) -> Job:
    job = service.get(id_)
    if job is None:
        raise UploadError("There is no such job; it may have expired.", 404)
    return job
