"""`vesal serve`: a server from its settings to its end."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable

import uvicorn

from vesal.nn.zoo import resolve_device
from vesal.serve.http.application import build_app
from vesal.serve.http.patience import PatientProtocol
from vesal.serve.jobs.job_service import JobService
from vesal.serve.listening import address_of, listen
from vesal.serve.pacs_options import PacsSettings
from vesal.serve.pacs_service import PacsService
from vesal.serve.serve_settings import ServeSettings
from vesal.workflow.deployment.served_models import model_digest
from vesal.workflow.deployment.viewer_bundle import BUILD_IT, is_built

_LOG = logging.getLogger(__name__)

#: Seconds that answers may still take when the server is told to end.
_GRACE_S = 10
_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def serve(settings: ServeSettings, pacs: PacsSettings | None, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: of the server.
        pacs: where studies come from and go to, beside what is sent by HTTP; None for nowhere.
        on_ready: is called with the address, once it listens.

    Raises:
        UsageError: this machine has no such device.
        VesalError: the address is taken, a model cannot be used, or another server uses the folder.
    """
    # Told now, and not by the first job.
    if settings.device != "auto":
        resolve_device(settings.device)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=_FORMAT)
    listening = listen(settings.host, settings.port)
    service = JobService(settings)
    with contextlib.ExitStack() as stack:
        stack.callback(listening.close)
        stack.callback(service.stop)
        beside = None
        if pacs is not None:
            made_by = model_digest(settings.models[pacs.model])
            beside = PacsService(pacs, service, settings.state / "pacs", made_by)
            stack.callback(beside.stop)
        app = build_app(settings, service, beside)
        config = uvicorn.Config(
            app,
            http=PatientProtocol,
            # So many are let in at once, before any is sent away.
            backlog=64,
            log_config=None,
            # Lines of requests would name files and jobs; /metrics counts them.
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
            timeout_keep_alive=5,
        )
        on_ready(address_of(listening))
        if not is_built():
            _LOG.warning("The viewer was not built, so browsers get a page without it; %s.", BUILD_IT)
        uvicorn.Server(config).run(sockets=[listening])
