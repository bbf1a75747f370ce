"""Settings in YAML, from a file or from the command line: read, or refused in a sentence.

By PyYAML's own reader: libyaml's ends the process where brackets are nested some hundred thousand deep.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from vesal.errors import UsageError

#: No settings are longer; the reader takes a second for so many characters.
_MOST_CHARACTERS = 100_000
#: Nor are they nested deeper; the reader's time grows with the square of it.
_DEEPEST = 100

#: Of the key <<, which stands for all that another mapping holds.
_MERGE = "tag:yaml.org,2002:merge"

#: What is raised for what is no YAML, for 2001-99-99, which looks like a date, and for an empty number.
_NO_YAML = (yaml.YAMLError, ValueError, LookupError, RecursionError)


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings of a file by name.

    Raises:
        UsageError: it cannot be read, is no YAML or holds no settings, or gives one twice.
    """
    try:
        node, loader = _node(path.read_text(encoding="utf-8"))
        _refuse_keys(path, node)
        values = None if node is None else loader.construct_document(node)
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror or error}.") from error
    except _NO_YAML as error:
        raise UsageError(f"{path} is not YAML; correct it.") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no settings; write one 'field: value' a line.")
    return values


def parse_yaml(text: str) -> Any:
    """The value that a text of the command line stands for.

    >>> parse_yaml("[1, 2]"), parse_yaml("null")
    ([1, 2], None)

    Raises:
        ValueError: it is no YAML.
    """
    try:
        node, loader = _node(text)
        return None if node is None else loader.construct_document(node)
    except _NO_YAML as error:
        raise ValueError("no YAML") from error


def _node(text: str) -> tuple[yaml.Node | None, yaml.SafeLoader]:
    depth = 0
    for letter in text[:_MOST_CHARACTERS]:
        depth += (letter in "[{") - (letter in "]}")
        if depth > _DEEPEST:
            raise ValueError("nested too deep")
    if len(text) > _MOST_CHARACTERS:
        raise ValueError("too long")
    loader = yaml.SafeLoader(text)
    return loader.get_single_node(), loader


def _refuse_keys(path: Path, top: yaml.Node | None) -> None:
    """YAML's readers let the last of two equal keys win without a word, and write out what is merged.

    Raises:
        UsageError: a key is given twice, or several mappings are merged: those that are merged of merged ones grow
            beyond any memory within a few lines.
    """
    waiting, seen = [top], set[int]()
    while waiting:
        node = waiting.pop(0)
        # What an alias stands for is looked at once: it may stand for itself.
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        if not isinstance(node, yaml.MappingNode):
            continue
        lines: dict[str, int] = {}
        for key, value in node.value:
            waiting.append(value)
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.tag == _MERGE and isinstance(value, yaml.SequenceNode):
                raise UsageError(f"{path} merges several mappings (line {line}); write them out.")
            if key.value in lines:
                raise UsageError(
                    f"{path} gives {key.value} twice (lines {lines[key.value]} and {line}); leave one out."
                )
            lines[key.value] = line
