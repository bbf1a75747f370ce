"""A section of a card: the same for Markdown, HTML and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vesal.table import Table

#: Shown for what is not there: a card never guesses.
NOT_HELD = "not in the model file"


@dataclass(frozen=True)
class CardSection:
    """One heading and what stands below it.

    Attributes:
        title: the heading.
        facts: (name, value) pairs.
        sentences: paragraphs that come before the tables.
        tables: each with its own heading, '' for none.
        absent: what is not known or not measured, a sentence each.
    """

    title: str
    facts: tuple[tuple[str, str], ...] = ()
    sentences: tuple[str, ...] = ()
    tables: tuple[tuple[str, Table], ...] = ()
    absent: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "title": self.title,
            "facts": dict(self.facts),
            "sentences": [*self.sentences],
            "tables": [
                {
                    "title": title,
                    "columns": [*table.columns],
                    "rows": [[cell.line() for cell in row] for row in table.rows],
                }
                for title, table in self.tables
            ],
            "absent": [*self.absent],
        }
