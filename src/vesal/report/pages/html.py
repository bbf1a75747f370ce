"""From numbers and pictures to HTML: templates that escape everything."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from vesal.report.figures.colours import THEMES, Theme
from vesal.text import visible


@dataclass(frozen=True)
class Picture:
    """An image as data URIs, for a light and a dark page, and what it shows in words."""

    light: str
    dark: str
    alt: str
    kind: str = ""


def _shown(value: Any) -> Any:
    """Marks that turn the direction of writing would turn the page's own words, too."""
    return visible(value) if type(value) is str else value


@cache
def _environment() -> Any:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("vesal.report.pages", "templates"),
        autoescape=True,
        finalize=_shown,
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
