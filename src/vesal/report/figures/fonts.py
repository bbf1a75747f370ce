"""Names in any alphabet: fonts of this machine that have their letters, and boxes for letters that none has.

Cases and classes are called as people call them. Matplotlib's own font has Latin, Greek, Cyrillic, Hebrew and Arabic
letters; for others it would print a warning a letter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.font_manager import FontEntry
    from matplotlib.text import Text

#: The font that comes with Matplotlib.
_OWN = "DejaVu Sans"

#: What stands for a letter that no font has, as in a browser.
_BOX = "\N{WHITE SQUARE}"

#: Families that have many letters, by how they begin: those of Linux, Windows and macOS. They are looked at first.
_BROAD = (
    "Noto Sans CJK", "Noto Sans", "Source Han Sans", "WenQuanYi", "Droid Sans Fallback", "Microsoft YaHei", "SimHei",
    "Yu Gothic", "Malgun Gothic", "Nirmala UI", "Segoe UI", "PingFang", "Hiragino Sans", "Apple SD Gothic Neo",
    "Arial Unicode MS",
)  # fmt: skip

#: Families whose letters are no outlines, or no letters.
_NOT_DRAWN = ("Color", "Emoji", "Last Resort")

#: So many fonts are opened at most: a machine may have thousands.
_MOST_FONTS = 300


def set_name(artist: Text, name: str) -> None:
    """Let a text of a figure show a name that may hold anything, in one line."""
    text, families = lettering(name)
    artist.set_text(text)
    if families:
        artist.set_fontfamily([_OWN, *families])


@lru_cache(maxsize=4096)
def lettering(name: str) -> tuple[str, tuple[str, ...]]:
    """The name as it can be drawn, and the families of fonts that are needed beside Matplotlib's own.

    >>> lettering("left atrium"), lettering("двa\\nlines")
    (('left atrium', ()), ('двa lines', ()))
    """
    name = re.sub(r"\s+", " ", name)
    if name.isascii() and name.isprintable():
        return name, ()
    absent = frozenset(name) - _letters_of(_path(_OWN), name)
    families, still_absent = _families(absent) if absent else ((), frozenset[str]())
    return "".join(_shown(letter) if letter in still_absent else letter for letter in name), families


def _shown(letter: str) -> str:
    """In place of a letter that no font has; joiners and variants of an emoji are nothing by themselves."""
    return "" if unicodedata.category(letter) in ("Cf", "Mn") else _BOX


@lru_cache(maxsize=256)
def _families(absent: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Families that have some of the letters, the broad ones first, and the letters that none has."""
    found: dict[str, None] = {}
    for number, font in enumerate(_fonts()):
        if not absent or number >= _MOST_FONTS:
            break
        if has := _letters_of(font.fname, "".join(absent)):
            found[font.name] = None
            absent -= has
    return tuple(found), absent


def _fonts() -> Iterator[FontEntry]:
    """Upright fonts of this machine with outlines, one a family."""
    from matplotlib import font_manager

    families: dict[str, FontEntry] = {}
    for font in font_manager.fontManager.ttflist:
        if font.style == "normal" and not any(word in font.name for word in _NOT_DRAWN):
            kept = families.setdefault(font.name, font)
            if str(font.weight) in ("400", "normal") and str(kept.weight) not in ("400", "normal"):
                families[font.name] = font

    def rank(font: FontEntry) -> tuple[int, str]:
        places = [place for place, start in enumerate(_BROAD) if font.name.startswith(start)]
        return (min(places, default=len(_BROAD)), font.name)

    return iter(sorted(families.values(), key=rank))


def _letters_of(path: str, text: str) -> frozenset[str]:
    """The letters of the text that a font file has; none of a file that cannot be read or has no outlines."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
    except (OSError, RuntimeError, ValueError):
        return frozenset()
    if not getattr(font, "scalable", True):
        return frozenset()
    return frozenset(letter for letter in text if letter.isprintable() and font.get_char_index(ord(letter)))


@lru_cache(maxsize=1)
def _path(family: str) -> str:
    from matplotlib.font_manager import findfont

    return str(findfont(family))
