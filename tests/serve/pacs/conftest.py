"""Fixtures for the tests with archives and nodes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from orthanc_server import Orthanc, running


@pytest.fixture(scope="session")
def one_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Started once for all tests of a process: that takes seconds."""
    with running(tmp_path_factory.mktemp("orthanc")) as found:
        yield found


@pytest.fixture
def orthanc(one_orthanc: Orthanc) -> Orthanc:
    """An archive that holds nothing."""
    one_orthanc.delete_all()
    return one_orthanc
