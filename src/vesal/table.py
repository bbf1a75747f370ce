"""A table, once: its cells are values, and Markdown, CSV, plain text and the HTML pages are rendered from them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vesal.text import UNDEFINED, columns_of, inline, interval, markdown_text, number, one_line


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        value: a number, words, or None for what is undefined.
        low, high: the interval of a number.
        decimals: of a number that is not whole.
        text: what is shown in place of the value.
        remark: a few words more, below the value on a page and in brackets elsewhere.
    """

    value: float | str | None = None
    low: float | None = None
    high: float | None = None
    decimals: int = 3
    text: str | None = None
    remark: str = ""

    @property
    def shown(self) -> str:
        """The value in words.

        >>> Cell(0.8666).shown, Cell(12).shown, Cell("heart").shown, Cell().shown, Cell(0.5, text="half").shown
        ('0.867', '12', 'heart', '–', 'half')
        """
        if self.text is not None:
            return self.text
        if self.value is None:
            return UNDEFINED
        return str(self.value) if isinstance(self.value, str | int) else number(self.value, self.decimals)

    @property
    def below(self) -> str:
        """A second line: the interval, or the remark."""
        return self.remark or interval(self.low, self.high, self.decimals)

    @property
    def sort_key(self) -> str:
        """What a page sorts by; '' for what is undefined comes last."""
        return "" if self.value is None else str(self.value)

    def line(self, escape: Callable[[str], str] = str) -> str:
        """Value, interval and remark in one line; `escape` is for the words in it.

        >>> Cell(0.5, 0.4, 0.61, decimals=2).line(), Cell(12, remark="2 excluded").line()
        ('0.50 [0.40, 0.61]', '12 (2 excluded)')
        """
        shown = escape(self.shown) if isinstance(self.value, str) and self.text is None else self.shown
        if self.low is not None and self.high is not None:
            shown += f" [{number(self.low, self.decimals)}, {number(self.high, self.decimals)}]"
        return shown + (f" ({escape(self.remark)})" if self.remark else "")


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns.

    Attributes:
        columns: their headings.
        rows: as many cells each as there are columns.
        totals: how many of the last rows sum up the others.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    totals: int = 0

    @classmethod
    def of(cls, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> Table:
        """Of cells, and of the values of cells."""
        return cls(
            columns, [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
        )

    @property
    def words(self) -> list[bool]:
        """Of each column, whether it holds words and goes to the left."""
        return [
            column == 0 or all(isinstance(row[column].value, str) for row in self.rows)
            for column in range(len(self.columns))
        ]

    def _lines(self, escape: Callable[[str], str] = str) -> list[list[str]]:
        return [
            [escape(name) for name in self.columns],
            *([cell.line(escape) for cell in row] for row in self.rows),
        ]

    def markdown(self) -> str:
        """Markdown whose columns also line up as plain text.

        >>> print(Table.of(["Class", "Dice"], [["heart|left", 0.8666]]).markdown())
        | Class       |  Dice |
        | :---------- | ----: |
        | heart\\|left | 0.867 |
        """
        lines = self._lines(markdown_text)
        widths = [max(3, *map(columns_of, column)) for column in zip(*lines, strict=True)]
        rule = [
            ":" + "-" * (width - 1) if word else "-" * (width - 1) + ":"
            for width, word in zip(widths, self.words, strict=True)
        ]
        aligned = [_aligned(line, widths, self.words) for line in lines]
        return "\n".join(f"| {' | '.join(line)} |" for line in (aligned[0], rule, *aligned[1:]))

    def plain(self) -> str:
        """Aligned text for a terminal.

        >>> print(Table.of(["Class", "Dice"], [["heart", 0.8666]]).plain())
        Class   Dice
        heart  0.867
        """
        lines = [[one_line(text) for text in line] for line in self._lines()]
        widths = [max(map(columns_of, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(_aligned(line, widths, self.words)).rstrip() for line in lines)

    def csv(self) -> str:
        """The values in full, for programs; undefined ones are empty, and names as `text.inline` shows them.

        >>> Table.of(["case", "dice"], [["a", 0.8666], ["b", None]]).csv()
        'case,dice\\na,0.8666\\nb,\\n'
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(map(inline, self.columns))
        for row in self.rows:
            values = [cell.value for cell in row]
            writer.writerow([inline(value) if isinstance(value, str) else value for value in values])
        return text.getvalue()


def _aligned(line: Sequence[str], widths: Sequence[int], words: Sequence[bool]) -> list[str]:
    return [
        text + " " * (width - columns_of(text)) if word else " " * (width - columns_of(text)) + text
        for text, width, word in zip(line, widths, words, strict=True)
    ]
