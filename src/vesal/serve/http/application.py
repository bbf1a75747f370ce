"""The server's routes, put together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from vesal.errors import VesalError
from vesal.serve.http.answers import ErrorAnswer, LimitsAnswer
from vesal.serve.http.guards import Guard
from vesal.serve.http.job_routes import JobIntake, job_routes
from vesal.serve.http.label_sessions import LabelSessions
from vesal.serve.http.monai_label import monai_label_routes
from vesal.serve.http.serve_metrics import ServeMetrics
from vesal.serve.http.study_routes import study_routes
from vesal.serve.jobs.job_service import JobService
from vesal.serve.jobs.uploads import UploadError
from vesal.serve.pacs_service import PacsService
from vesal.serve.serve_settings import ServeSettings
from vesal.serve.viewer_page import add_viewer
from vesal.version import __version__
from vesal.workflow.deployment.served_models import ServedModel, describe_models

#: Seconds between two looks for sessions that have expired.
_SWEEP_S = 30.0


def build_app(settings: ServeSettings, service: JobService, pacs: PacsService | None = None) -> FastAPI:
    """The application; its jobs, and the work on an archive's studies, are begun and ended with it.

    Raises:
        VesalError: a model cannot be used.
    """
    models = describe_models(settings.models)
    metrics = ServeMetrics(service)
    sessions = LabelSessions(settings.state / "sessions")

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        if pacs is not None:
            pacs.start()
        sweeping = asyncio.create_task(_swept(sessions))
        try:
            yield
        finally:
            sweeping.cancel()
            if pacs is not None:
                pacs.stop()
            service.stop()
            sessions.end_all()

    app = FastAPI(
        title="Vesal",
        version=__version__,
        lifespan=life,
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.add_middleware(Guard, settings=settings, count=metrics.refused)
    intake = JobIntake(service, models, metrics)
    app.include_router(job_routes(intake))
    if pacs is not None:
        app.include_router(study_routes(pacs))
    app.include_router(monai_label_routes(intake, sessions, settings.token))
    _add_state(app, service, models, metrics)
    _add_errors(app, metrics, settings.state)
    add_viewer(app)
    return app


async def _swept(sessions: LabelSessions) -> None:
    """Sessions go when they have expired: a client that never comes back must not leave a patient's scan here."""
    while True:
        await asyncio.sleep(_SWEEP_S)
        await asyncio.to_thread(sessions.sweep)


def _add_state(
    app: FastAPI, service: JobService, models: dict[str, ServedModel], metrics: ServeMetrics
) -> None:
    @app.get("/health", tags=["state"])
    def health() -> dict[str, str]:
        """The server answers."""
        return {"status": "ok"}

    @app.get("/ready", tags=["state"], responses={503: {"model": dict[str, str]}})
    def ready() -> JSONResponse:
        """Whether a job would be computed now."""
        if why := service.ready():
            return JSONResponse({"status": "not ready", "reason": why}, 503)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", tags=["state"], response_class=Response)
    def numbers() -> Response:
        """Numbers for Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/api/view", include_in_schema=False)
    def view() -> None:
        """What `vesal view` shows; a server shows nothing of its own disk."""

    @app.get("/api/limits", tags=["state"])
    def limits() -> LimitsAnswer:
        """What the server takes."""
        return LimitsAnswer.of(service.limits)

    @app.get("/api/models", tags=["models"])
    def all_models() -> list[ServedModel]:
        """The models that segment here."""
        return list(models.values())


def _add_errors(app: FastAPI, metrics: ServeMetrics, state: Path) -> None:
    """Every failure is one sentence."""

    def answer(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
        metrics.refused(status)
        return JSONResponse(ErrorAnswer(error=sentence).to_dict(), status, headers=headers)

    @app.exception_handler(UploadError)
    async def refused(_: Request, error: UploadError) -> JSONResponse:
        return answer(error.status, str(error), {"retry-after": "10"} if error.status == 503 else None)

    @app.exception_handler(VesalError)
    async def failed(_: Request, error: VesalError) -> JSONResponse:
        # Where the server's folder lies is nobody's business.
        return answer(500, str(error).replace(f"{state}{os.sep}", ""))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first: dict[str, Any] = error.errors()[0]
        where = ".".join(map(str, first["loc"][1:]))
        if not where:
            return answer(
                422, "The request is not understood; send JSON, with 'Content-Type: application/json'."
            )
        return answer(422, f"The request is not understood: {where}: {first['msg']}.")

    @app.exception_handler(HTTPException)
    async def of_http(_: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, f"{error.detail}.", dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        return answer(500, f"The server met an error of its own ({type(error).__name__}); its log has more.")
