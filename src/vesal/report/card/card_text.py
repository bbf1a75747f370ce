"""A card as Markdown with the metadata of a Hugging Face model card before it, and as one HTML page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from vesal.report.card.card_section import CardSection
from vesal.report.card.card_sections import task_sentence
from vesal.report.card.card_source import CardSource
from vesal.report.pages.html import render_page
from vesal.text import bullets, inline, markdown_text
from vesal.version import __version__

#: Identifiers that Hugging Face knows of licences under which weights are usually given.
_LICENCES = (
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-3.0", "cc-by-sa-4.0",
    "cc-by-sa-3.0", "cc-by-nc-4.0", "cc-by-nc-3.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0",
    "cc-by-nc-sa-3.0", "gpl-3.0", "agpl-3.0", "lgpl-3.0", "openrail", "unknown",
)  # fmt: skip


def card_metadata(source: CardSource) -> dict[str, Any]:
    """The YAML block of a Hugging Face model card, with the scores as `model-index`."""
    labels, found = source.plan.labels, source.packages[0].provenance
    licence = source.stated.licence.strip().lower().replace(" ", "-")
    metadata: dict[str, Any] = {
        "license": licence if licence in _LICENCES else "other" if licence else "unknown",
        "library_name": "vesal",
        "pipeline_tag": "image-segmentation",
        "tags": [
            "medical-imaging",
            "segmentation",
            source.plan.modality,
            f"{source.plan.dimension}d",
            "vesal",
        ],
        "metrics": ["dice"],
    }
    if metadata["license"] == "other":
        metadata["license_name"] = source.stated.licence
    metrics = []
    for name in labels.classes:
        row = (
            None
            if source.scores is None or name not in source.scores.classes
            else source.scores.of("dice", name)
        )
        if row is not None and row.mean is not None:
            metrics.append({"type": "dice", "name": f"Dice, {name}", "value": round(row.mean, 4)})
    if metrics:
        dataset = str(found.get("dataset") or "not named")
        metadata["model-index"] = [
            {
                "name": source.name,
                "results": [
                    {
                        "task": {"type": "image-segmentation", "name": task_sentence(source)},
                        "dataset": {"name": f"{dataset}, held-out cases", "type": _identifier(dataset)},
                        "metrics": metrics,
                    }
                ],
            }
        ]
    return metadata


def card_markdown(source: CardSource, sections: Sequence[CardSection]) -> str:
    """The whole card, with its metadata."""
    block = yaml.safe_dump(card_metadata(source), sort_keys=False, allow_unicode=True)
    parts = [f"---\n{block}---", f"# {markdown_text(source.name)}", *(_section(one) for one in sections)]
    return "\n\n".join(parts) + "\n"


def card_page(source: CardSource, sections: Sequence[CardSection]) -> str:
    """The same as a page."""
    context = {
        "title": source.name,
        "sentence": task_sentence(source),
        "sections": sections,
        "version": __version__,
    }
    return render_page("card.html.j2", context)


def _section(one: CardSection) -> str:
    parts = [f"## {one.title}", *(markdown_text(sentence) for sentence in one.sentences)]
    if one.facts:
        parts.append(bullets(f"**{name}:** {markdown_text(value)}" for name, value in one.facts))
    for title, table in one.tables:
        parts += [*([f"### {markdown_text(title)}"] if title else []), table.markdown()]
    if one.absent:
        parts.append("Not known:\n\n" + bullets(markdown_text(inline(sentence)) for sentence in one.absent))
    return "\n\n".join(parts)


def _identifier(name: str) -> str:
    """Letters, digits and dashes, as Hugging Face wants a data set's type."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"
