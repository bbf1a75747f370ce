"""How processes of workers are started: forked from one that holds nothing but imported libraries, where that is safe.

Such a process begins in a tenth of a second, where a new interpreter takes seconds to import torch; and unlike a fork
of this process it knows nothing of its threads, locks and GPUs.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from multiprocessing.context import BaseContext


def start_context(preload: Sequence[str]) -> BaseContext:
    """The context of processes that are started now.

    Args:
        preload: modules that they import anyway; the first processes of this one decide.
    """
    if sys.platform != "linux":
        # Elsewhere system libraries do not stand a fork, or there is none.
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", *preload])
    return context
