"""Fixtures of the tests of fixes: nine sound cases, a copy of them to be damaged, and the fix of one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from organs import Fixed, finding, write_organs

from vesal.audit.apply_fixes import FixedCase, fix_case
from vesal.audit.reference_cases import ReferenceCases
from vesal.data.fingerprint import fingerprint
from vesal.layouts.registry import load_dataset


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_organs(tmp_path_factory.mktemp("clean") / "Task")


@pytest.fixture
def data(clean: Path, tmp_path: Path) -> Path:
    """A copy of the clean set, to be damaged."""
    return Path(shutil.copytree(clean, tmp_path / "data"))


@pytest.fixture(scope="session")
def others(clean: Path) -> ReferenceCases:
    """The sound cases, of which the damaged one is none."""
    dataset = load_dataset(clean)
    return ReferenceCases(dataset, fingerprint(dataset), frozenset({"case_4"}))


@pytest.fixture
def fixed(data: Path, others: ReferenceCases) -> Fixed:
    def fix(kind: str, **details: Any) -> FixedCase:
        case = next(case for case in load_dataset(data).cases if case.id == "case_4")
        return fix_case(case, [finding(case.id, kind, **details)], others, data)

    return fix
