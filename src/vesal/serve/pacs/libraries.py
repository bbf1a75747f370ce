"""The libraries of the extra `serve` that speak with archives: loaded when one is spoken with, and kept silent.

They write addresses, queries and headers of objects into their logs, in which patients stand; ours says what happens,
with pseudonyms.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from types import ModuleType

from vesal.errors import UsageError

#: Loggers of what speaks with archives.
_TALKATIVE = ("dicomweb_client", "pynetdicom", "urllib3", "requests", "pydicom")


@cache
def library(module: str) -> ModuleType:
    """A library of the extra `serve`.

    Raises:
        UsageError: it is not installed.
    """
    try:
        found = import_module(module)
    except ImportError as error:
        raise UsageError(
            f"A PACS needs {module.partition('.')[0]}; pip install 'vesal[serve]' brings it."
        ) from error
    # Not before: pydicom sets its own when it is imported.
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return found
