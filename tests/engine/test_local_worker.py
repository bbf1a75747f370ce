"""What a process of a local engine answers."""

from __future__ import annotations

import pytest
import torch

from vesal import cpus
from vesal.engine import local_worker
from vesal.errors import VesalError


def test_an_error_of_ours_goes_as_it_is_and_another_with_its_traceback() -> None:
    ours = VesalError("The model is damaged.")
    assert local_worker.failed_preparation(ours) is ours
    try:
        raise LookupError("nobody foresaw this")
    except LookupError as error:
        found = local_worker.failed_preparation(error)
    assert isinstance(found, RuntimeError)
    assert "Traceback" in str(found)
    assert "LookupError: nobody foresaw this" in str(found)


def test_it_computes_with_its_own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    # Noted, so that it is as before for the tests that follow.
    monkeypatch.setattr(cpus, "_share", None)
    before = torch.get_num_threads()
    try:
        local_worker.compute_with(1)
        assert (torch.get_num_threads(), cpus.cpu_count()) == (1, 1)
    finally:
        torch.set_num_threads(before)
