"""One table, and its renderings."""

from __future__ import annotations

import csv
import io

from vesal.table import Cell, Table

TABLE = Table.of(
    ["Class", "Dice", "Cases", "Verdict"],
    [
        ("left|atrium", Cell(0.5, 0.25, 0.75, decimals=2), Cell(12, remark="2 excluded"), "same"),
        ("wall", None, 3, "*open*"),
    ],
)


def test_markdown_lines_up_words_to_the_left_and_numbers_to_the_right():
    assert TABLE.markdown().splitlines() == [
        "| Class        |              Dice |           Cases | Verdict  |",
        "| :----------- | ----------------: | --------------: | :------- |",
        "| left\\|atrium | 0.50 [0.25, 0.75] | 12 (2 excluded) | same     |",
        "| wall         |                 – |               3 | \\*open\\* |",
    ]


def test_csv_holds_the_values_in_full_and_nothing_where_they_are_undefined():
    rows = list(csv.reader(io.StringIO(Table.of(["a", "b"], [(1 / 3, None), ("x,y", 2)]).csv())))
    assert rows == [["a", "b"], [repr(1 / 3), ""], ["x,y", "2"]]


def test_plain_text_has_no_trailing_blanks_and_no_markup():
    lines = TABLE.plain().splitlines()
    assert lines[2].endswith("*open*")
    assert all(line == line.rstrip() for line in lines)


def test_a_table_without_rows_is_its_head():
    empty = Table.of(["Class", "Dice"], [])
    assert empty.markdown().count("\n") == 1
    assert empty.csv() == "Class,Dice\n"
    assert empty.plain() == "Class  Dice"


def test_a_cell_sorts_by_its_value_and_shows_its_text():
    cell = Cell(0.0123, text="p < 0.05")
    assert (cell.sort_key, cell.shown, cell.below) == ("0.0123", "p < 0.05", "")
    assert (Cell().sort_key, Cell("").shown) == ("", "")
    assert Cell(1.0, 0.5, 1.5, decimals=1).below == "0.5 to 1.5"


def test_a_terminal_gets_a_line_a_row_and_columns_that_line_up_whatever_names_hold():
    rows = [["左心房\n%s", 0.5], ["\x1b[31mred", 0.25], ["a\u202eb", None]]
    lines = Table.of(["Class", "Dice"], rows).plain().splitlines()
    assert lines == [
        "Class         Dice",
        "左心房 %s    0.500",
        r"\x1b[31mred  0.250",
        r"a\u202eb         –",
    ]
    assert all(line.isprintable() for line in lines)


def test_names_of_control_letters_are_a_line_of_print_in_csv_and_markdown():
    names = ["\x1b[31mred", "a\u202eb", "two\nlines", "caf\udce9", "\x9b1m", "心房 e\u0301"]
    table = Table.of(["Case"], [[name] for name in names])
    shown = [r"\x1b[31mred", r"a\u202eb", r"two\nlines", r"caf\udce9", r"\x9b1m", "心房 e\u0301"]
    assert table.csv().splitlines() == ["Case", *shown]
    markdown = table.markdown()
    assert len(markdown.splitlines()) == 8
    assert not set("\x1b\u202e\udce9\x9b") & set(markdown)
