"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", default=None, help="folder of real scans (Task04_Hippocampus, ACDC, ...)")


@pytest.fixture(scope="session")
def data_dir(request: pytest.FixtureRequest) -> Path:
    """The folder of real scans; the test is skipped when none was named."""
    named = request.config.getoption("--data")
    if not named:
        pytest.skip("no folder of real scans was named (pytest --data DIR)")
    folder = Path(named)
    if not folder.is_dir():
        pytest.skip(f"the folder of real scans is not there: {folder}")
    return folder
