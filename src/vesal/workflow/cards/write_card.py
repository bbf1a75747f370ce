"""Write the card of a model: README.md, which Hugging Face shows, and card.html."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesal.files import write_text
from vesal.outputs import results
from vesal.report.card.card_section import CardSection
from vesal.report.card.card_sections import card_sections
from vesal.report.card.card_source import Stated, read_card_source
from vesal.report.card.card_text import card_markdown, card_metadata, card_page
from vesal.workflow.requests.card_request import CardRequest

#: The files of a card.
TEXT, PAGE = "README.md", "card.html"


@dataclass(frozen=True)
class Card:
    """A card that was written.

    Attributes:
        name: of the model.
        metadata: the YAML block.
        sections: what it says.
        files: Markdown and HTML.
    """

    name: str
    metadata: dict[str, Any]
    sections: tuple[CardSection, ...]
    files: tuple[Path, Path]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "metadata": self.metadata,
            "sections": [one.to_dict() for one in self.sections],
            "files": [str(path) for path in self.files],
        }

    def text(self) -> str:
        """For a terminal: where it is, and what it does not know."""
        absent = [f"{one.title}: {sentence}" for one in self.sections for sentence in one.absent]
        lines = [f"Card of {self.name}: {self.files[0]}, {self.files[1]}"]
        return "\n".join([*lines, *(f"Not known. {line}" for line in absent)])


def write_card(request: CardRequest) -> Card:
    """Make a model's card of what its file or run folder holds, and of what is stated.

    Raises:
        UsageError: there is no model, or a file that is no card of Vesal's would be overwritten.
        VesalError: the model is damaged, or the folder cannot be written.
    """
    stated = Stated(
        name=request.name,
        licence=request.licence,
        intended_use=request.intended_use,
        authors=request.author,
        data_source=request.data_source,
        contact=request.contact,
    )
    source = read_card_source(request.model, stated)
    sections = card_sections(source)
    out = request.folder
    with results(out, TEXT, PAGE):
        write_text(out / TEXT, card_markdown(source, sections))
        write_text(out / PAGE, card_page(source, sections))
    return Card(source.name, card_metadata(source), sections, (out / TEXT, out / PAGE))
