"""From numbers and pictures to HTML: templates that escape everything, and how numbers read."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from vesal.report.figures.colours import THEMES, Theme


@dataclass(frozen=True)
class Picture:
    """An image as data URIs, for a light and a dark page, and what it shows in words."""

    light: str
    dark: str
    alt: str
    kind: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell of a sortable table: what it is sorted by ('' comes last), its text, and a smaller second line."""

    value: str
    text: str
    small: str = ""


@cache
def _environment() -> Any:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("vesal.report.pages", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(template: str, context: dict[str, Any]) -> str:
    """Fill a template of this package; every string is escaped."""
    return str(_environment().get_template(template).render(context))


def chart(draw: Callable[[Theme], bytes], alt: str) -> Picture:
    """A chart drawn for light and for dark pages."""
    return Picture(_uri(draw(THEMES["light"])), _uri(draw(THEMES["dark"])), alt)


def scan(png: bytes, alt: str, kind: str = "") -> Picture:
    """A picture of a scan, the same on both."""
    return Picture(_uri(png), "", alt, kind)


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


# --- numbers -------------------------------------------------------------------------------------------


def number(value: float | None, decimals: int = 3) -> str:
    """Fixed decimals; a dash for what is undefined.

    >>> number(0.8666), number(None), number(-0.0001, 2)
    ('0.867', '–', '0.00')
    """
    if value is None:
        return "–"
    text = f"{value:.{decimals}f}"
    return text.replace("-", "", 1) if float(text) == 0 else text


def rounded(value: float | None) -> str:
    """Three to four significant digits, without an exponent where that is short.

    >>> rounded(46750.75), rounded(12.3456), rounded(0.0012345), rounded(None)
    ('46,751', '12.3', '0.00123', '–')
    """
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def interval(low: float | None, high: float | None, decimals: int = 3) -> str:
    """A confidence interval.

    >>> interval(0.8, 0.9)
    '0.800 to 0.900'
    """
    return "" if low is None or high is None else f"{number(low, decimals)} to {number(high, decimals)}"


def times(shape: Iterable[float]) -> str:
    """Sizes or spacings.

    >>> times((1.25, 1.25, 3.0))
    '1.25 x 1.25 x 3'
    """
    return " x ".join(f"{value:.4g}" for value in shape)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, the two largest that count.

    >>> duration(45), duration(130), duration(7500)
    ('45 s', '2 min 10 s', '2 h 5 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def moment(text: str) -> str:
    """A date and time from ISO 8601 to the minute; any other text as it is.

    >>> moment("2026-11-21T02:05:09+00:00"), moment("yesterday")
    ('2026-11-21 02:05 UTC', 'yesterday')
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{when:%Y-%m-%d %H:%M} {when.tzname() or ''}".strip()


def plural(count: int, word: str) -> str:
    """Count and word.

    >>> plural(1, "case"), plural(3, "case")
    ('1 case', '3 cases')
    """
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names with commas; beyond `most` only how many more.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
