"""The pages of the site: their links hold, and the reference is the program's own."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SITE = runpy.run_path(str(ROOT / "docs" / "make_site.py"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "pages"
    SITE["main"](out)
    return out


def test_every_relative_link_and_picture_leads_to_a_file_of_the_site(site: Path) -> None:
    for page in site.rglob("*.md"):
        text = re.sub(
            r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
        )
        text = re.sub(r"`[^`\n]*`", "", text)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not target.startswith(("http", "#", "mailto:")):
                assert (page.parent / target.partition("#")[0]).exists(), f"{page}: {target}"


def test_every_page_of_the_navigation_is_there_and_every_guide_in_it(site: Path) -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = re.findall(r": ((?:[\w/-]+/)?[\w-]+\.md)$", text, flags=re.MULTILINE)
    assert all((site / page).is_file() for page in pages)
    guides = {path.relative_to(site).as_posix() for path in (site / "docs").rglob("*.md")}
    assert guides <= set(pages)
    assert yaml.safe_load(text)["theme"]["font"] is False


def test_the_reference_names_every_verb_option_and_public_name(site: Path) -> None:
    import vesal

    line = (site / "reference" / "command-line.md").read_text(encoding="utf-8")
    assert "## vesal predict" in line
    assert "--interval-level" in line
    python = (site / "reference" / "python.md").read_text(encoding="utf-8")
    assert all(f"## vesal.{name}" in python for name in vesal.__all__ if name != "__version__")


def test_a_link_to_a_source_file_becomes_its_words_and_code_stays() -> None:
    text = "see [`a`](../src/a.py) and [plan](plan.md)\n```\n[x](../src/a.py)\n```\n"
    found = SITE["with_links"](text, "docs/b.md", {"docs/plan.md"})
    assert found == "see `a` and [plan](plan.md)\n```\n[x](../src/a.py)\n```\n"
