"""How numbers, sizes, counts, names and times read, in messages, tables and reports alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

#: What stands where a value is undefined.
UNDEFINED = "–"

#: Control characters but tab and newline, line separators, direction marks, and surrogates, which stand for bytes of a
#: file name that are no text.
_HIDDEN = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)


def number(value: float | None, decimals: int = 3) -> str:
    """Fixed decimals; a dash for what is undefined.

    >>> number(0.8666), number(None), number(-0.0001, 2)
    ('0.867', '–', '0.00')
    """
    if value is None:
        return UNDEFINED
    text = f"{value:.{decimals}f}"
    return text.replace("-", "", 1) if float(text) == 0 else text


def signed(value: float | None, decimals: int = 3) -> str:
    """A difference with its sign.

    >>> signed(0.00312, 4), signed(-0.00001, 4), signed(None)
    ('+0.0031', '0.0000', '–')
    """
    text = number(value, decimals)
    return f"+{text}" if value is not None and value > 0 and float(text) else text


def significant(value: float | None) -> str:
    """Three to four significant digits, without an exponent where that is short.

    >>> significant(46750.75), significant(12.3456), significant(0.0012345), significant(None)
    ('46,751', '12.3', '0.00123', '–')
    """
    if value is None:
        return UNDEFINED
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def interval(low: float | None, high: float | None, decimals: int = 3) -> str:
    """A confidence interval.

    >>> interval(0.8, 0.9)
    '0.800 to 0.900'
    """
    return "" if low is None or high is None else f"{number(low, decimals)} to {number(high, decimals)}"


def with_interval(value: float | None, low: float | None, high: float | None, decimals: int = 3) -> str:
    """A value with its interval in brackets, as far as they are defined.

    >>> with_interval(0.5, 0.4, 0.61, 2), with_interval(0.5, None, None, 2), with_interval(None, None, None)
    ('0.50 [0.40, 0.61]', '0.50', '–')
    """
    if value is None or low is None or high is None:
        return number(value, decimals)
    return f"{number(value, decimals)} [{number(low, decimals)}, {number(high, decimals)}]"


def times(sizes: Iterable[float], digits: int = 4) -> str:
    """A shape or a spacing; `digits` are significant digits of what is not whole.

    >>> times((1.25, 1.25, 3.0)), times((0.70312, 3.6), 3), times((20, 12345, 10))
    ('1.25 x 1.25 x 3', '0.703 x 3.6', '20 x 12345 x 10')
    """
    values = [float(size) for size in sizes]
    return " x ".join(f"{value:.0f}" if value.is_integer() else f"{value:.{digits}g}" for value in values)


def plural(count: int, word: str) -> str:
    """Count and word.

    >>> plural(1, "case"), plural(3, "case"), plural(12000, "voxel")
    ('1 case', '3 cases', '12,000 voxels')
    """
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def listed(names: Sequence[str], most: int = 8, last: str = ", ") -> str:
    """Names in a row, the last one after `last`; beyond `most` only how many more.

    >>> listed(["a", "b", "c"], 2), listed(["a", "b", "c"], last=" and ")
    ('a, b and 1 more', 'a, b and c')
    """
    names = [inline(str(name)) for name in names]
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return last.join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def shortened(text: str, most: int) -> str:
    """At most so many characters, an ellipsis in the middle: names of scans and slices differ at their ends.

    >>> shortened("prostate", 20), shortened("patient-0012_slice_0042", 12)
    ('prostate', 'patien…_0042')
    """
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def shortened_apart(names: Sequence[str], most: int) -> list[str]:
    """As `shortened`, but where that makes names alike, what all begin with gives way first, in whole words.

    >>> shortened_apart(["lung-tumour-003_slice_0019", "lung-tumour-005_slice_0019"], 20)
    ['…003_slice_0019', '…005_slice_0019']
    >>> shortened_apart(["patient-0012_slice_0042", "patient-0012_slice_0043"], 12)
    ['patien…_0042', 'patien…_0043']
    """
    short = [shortened(name, most) for name in names]
    if len(set(short)) == len(set(names)):
        return short
    letters = enumerate(zip(*names, strict=False))
    alike = next((place for place, each in letters if len(set(each)) > 1), min(map(len, names)))
    begin = re.sub(r"[^\W_]*$", "", names[0][:alike])
    return [shortened(f"…{name[len(begin) :]}", most) for name in names]


def visible(text: str) -> str:
    """Control characters and direction marks as Python writes them; newlines and tabs stay.

    Names of files and classes may hold any; whatever is shown to people goes through here. Joiners (U+200C, U+200D)
    stay, which names in Hindi and Persian need.

    >>> print(visible("\\x1b[31mred"), visible("a\\u202eb"), visible("caf\\udce9"), visible("左心房"))
    \\x1b[31mred a\\u202eb caf\\udce9 左心房
    """
    if text.isascii() and text.isprintable():
        return text
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def inline(text: str) -> str:
    """A name or a sentence that is to stay in its line: as `visible`, newlines and tabs too.

    >>> print(inline("left\\natrium\\t1"))
    left\\natrium\\t1
    """
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def one_line(text: str) -> str:
    """For a row of a table: as `visible`, each run of white space as one blank, without characters of no width.

    >>> print(one_line("left\\n atrium\\t1"), one_line("\\x1b[31mred"), one_line("a\\u202eb"))
    left atrium 1 \\x1b[31mred a\\u202eb
    """
    return "".join(letter for letter in visible(" ".join(text.split())) if letter.isprintable())


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes: Chinese characters take two, combining marks none.

    >>> columns_of("abc"), columns_of("心房"), columns_of("u\\u0308")
    (3, 4, 1)
    """
    if text.isascii():
        return len(text)
    # Here, for most texts do without it.
    import unicodedata

    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


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


def budget_text(seconds: float) -> str:
    """A length of time that somebody asked for.

    >>> budget_text(20), budget_text(1200), budget_text(86400)
    ('20 s', '20 min', '24 h')
    """
    if seconds < 60:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


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


def bullets(sentences: Iterable[str]) -> str:
    """A list in Markdown, a line each."""
    return "\n".join(f"- {inline(sentence)}" for sentence in sentences)


def markdown_text(text: object) -> str:
    """Text that Markdown shows as it is: names of data sets, cases and classes may hold anything.

    >>> print(markdown_text("la_003 <b> *x*"))
    la_003 \\<b\\> \\*x\\*
    """
    text = re.sub(r"([\\`*<>\[\]|#]|(?<!\w)_|_(?!\w))", r"\\\1", str(text))
    return visible(" ".join(text.split()))
