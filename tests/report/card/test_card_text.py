"""A card as text with metadata and as a page: other readers find what is in it, and no name becomes markup."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from vesal.nn.model_file import Package
from vesal.report.card.card_sections import card_sections
from vesal.report.card.card_source import CardSource, Stated
from vesal.report.card.card_text import card_markdown, card_metadata, card_page

sys.path.insert(0, str(Path(__file__).parents[1]))
from example_run import EVIL, Page, check_sound

SourceOf = Callable[..., CardSource]


def test_the_metadata_is_yaml_that_hugging_face_reads(package: Package, source_of: SourceOf) -> None:
    source = source_of(package, stated=Stated(licence="CC BY 4.0", name="Atria: v1"))
    text = card_markdown(source, card_sections(source))
    _, block, body = text.split("---\n", 2)
    found = yaml.safe_load(block)
    assert found["license"] == "cc-by-4.0"
    assert (found["library_name"], found["pipeline_tag"]) == ("vesal", "image-segmentation")
    (index,) = found["model-index"]
    assert index["name"] == "Atria: v1"
    (result,) = index["results"]
    assert result["dataset"]["type"] == "hearts-of-b-ours-b"
    assert source.scores is not None
    wanted = source.scores.of("dice", "atrium").mean
    assert result["metrics"][0] == {
        "type": "dice",
        "name": "Dice, atrium",
        "value": pytest.approx(wanted, abs=1e-4),
    }
    assert body.startswith("\n# Atria: v1")


def test_a_licence_that_is_not_listed_is_named_and_none_is_unknown(
    package: Package, source_of: SourceOf
) -> None:
    other = card_metadata(source_of(package, stated=Stated(licence="Our terms")))
    assert (other["license"], other["license_name"]) == ("other", "Our terms")
    assert card_metadata(source_of(package))["license"] == "unknown"


def test_a_model_without_scores_has_no_results(bare: Package, source_of: SourceOf) -> None:
    assert "model-index" not in card_metadata(source_of(bare))


def test_names_are_text_in_markdown_and_on_the_page(
    package: Package, source_of: SourceOf, tmp_path: Path
) -> None:
    source = source_of(package)
    sections = card_sections(source)
    text = card_markdown(source, sections)
    _, _, body = text.split("---\n", 2)
    # Every sign of markup is escaped.
    assert not re.search(r"(?<!\\)[<>]", body)
    assert r"wall \<script\>" in body
    path = tmp_path / "card.html"
    path.write_text(card_page(source, sections), encoding="utf-8")
    page = Page(path)
    check_sound(page)
    assert EVIL in page.text
    for one in sections:
        assert f"## {one.title}" in body
        assert one.title in page.text
        assert all(sentence in page.text for sentence in one.sentences)
