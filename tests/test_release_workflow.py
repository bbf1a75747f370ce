"""A release is tried before it is published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]


def test_nothing_is_published_that_was_not_installed_and_run() -> None:
    jobs: dict[str, Any] = yaml.safe_load(
        (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")
    )["jobs"]
    assert jobs["try"]["needs"] == "build"
    assert jobs["publish"]["needs"] == "try"
    commands = [step.get("run", "") for step in jobs["try"]["steps"]]
    place = next(number for number, line in enumerate(commands) if "dist/*.whl" in line)
    assert any(line.startswith("vesal demo") for line in commands[place:])
    # Only the job that publishes may write.
    assert [name for name, job in jobs.items() if "permissions" in job] == ["publish"]


def test_the_line_that_a_tag_is_compared_with_is_in_the_source() -> None:
    from vesal.version import __version__

    assert f'__version__ = "{__version__}"' in (ROOT / "src/vesal/version.py").read_text().splitlines()
