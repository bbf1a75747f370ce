"""A model file for all tests of backends."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_model import package, plan

from vesal.nn.model_file import save_package


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.vesal"
    save_package(path, package(plan()))
    return path
