"""What people call one structure on different days: names of regions brought together, by a table or as a suggestion.

Radiotherapy has a standard of names (AAPM TG-263, 2018), such as 'Lung_L'; archives hold 'LUNG LEFT' beside 'Lung L'.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from vesal.errors import DataError
from vesal.text import listed, plural

#: The table in a data set's folder, with the columns roi and label.
TABLE = "roi-names.csv"

#: Words for one thing; the first is TG-263's.
_SAME_WORDS = {
    "l": "l", "left": "l", "lt": "l", "li": "l",
    "r": "r", "right": "r", "rt": "r", "re": "r",
    "oesophagus": "esophagus", "oesoph": "esophagus", "esoph": "esophagus",
    "lungs": "lung", "kidneys": "kidney", "parotids": "parotid",
    "tumour": "tumor", "oedema": "edema", "haematoma": "hematoma",
    "myel": "spinalcord", "myelon": "spinalcord", "cord": "spinalcord",
}  # fmt: skip


def read_table(folder: Path) -> dict[str, str]:
    """ROI's name -> label, of the table in a folder; {} where there is none. An empty label leaves the ROI out.

    Raises:
        DataError: the table lacks a column, or names a ROI twice.
    """
    path = folder / TABLE
    if not path.is_file():
        return {}
    found: dict[str, str] = {}
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = csv.DictReader(stream)
        if not {"roi", "label"} <= set(rows.fieldnames or ()):
            raise DataError(f"{path} lacks the columns roi and label in its first line; add them.")
        for row in rows:
            name, label = (row["roi"] or "").strip(), (row["label"] or "").strip()
            if found.setdefault(name, label) != label:
                raise DataError(f"{path} gives '{name}' two labels ({found[name]} and {label}); leave one.")
    return found


def alike(names: Mapping[str, int]) -> list[list[str]]:
    """Names that seem to mean one structure, the commonest of each group first.

    Args:
        names: with how many cases have each.

    >>> alike({"Lung_L": 9, "LUNG LEFT": 2, "Heart": 9, "lung r": 1, "SpinalCord": 5, "spinal cord": 3})
    [['Lung_L', 'LUNG LEFT'], ['SpinalCord', 'spinal cord']]
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names, key=lambda name: (-names[name], name)):
        groups[_key(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def suggestion(names: Mapping[str, int], most: int = 3) -> str:
    """A sentence on names that seem to mean one structure; '' without any."""
    groups = alike(names)
    if not groups:
        return ""
    shown = "; ".join(" and ".join(f"'{name}' ({names[name]})" for name in group) for group in groups[:most])
    more = f", and {plural(len(groups) - most, 'group')} more" if len(groups) > most else ""
    return f"Names that seem to mean one structure: {shown}{more}; {TABLE} with the columns roi and label joins them."


def common(names: Counter[str], cases: int) -> list[str]:
    """Those that at least half of the cases have, the commonest first."""
    return [name for name, count in names.most_common() if 2 * count >= cases]


def left_out(names: Iterable[str]) -> str:
    """A sentence on names that are no labels; '' without any."""
    found = list(names)
    if not found:
        return ""
    return (
        f"Left out as labels, being in fewer than half of the cases: {listed(found, 6)}; "
        "--set labels names those that are meant."
    )


def _key(name: str) -> str:
    """The same for spellings of one name."""
    apart = re.sub("([a-z])([A-Z])", r"\1 \2", name)
    words = re.sub("[^a-z0-9]+", " ", apart.lower()).split()
    joined = " ".join(_SAME_WORDS.get(word, word) for word in words)
    sides = [word for word in joined.split() if word in ("l", "r")]
    rest = "".join(word for word in joined.split() if word not in ("l", "r"))
    return f"{_SAME_WORDS.get(rest, rest)}_{''.join(sides)}"
