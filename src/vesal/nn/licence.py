"""What a model file says of the licence and the origin of its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Where both lie in a model's provenance.
LICENCE, ORIGIN = "licence", "origin"
UNKNOWN = "unknown"
#: Words of licences that forbid commercial use: CC BY-NC and its kin, "non-commercial", "research use only".
_NON_COMMERCIAL = re.compile(
    r"\bnc\b|non[\s-]?commercial|(?:research|academic|educational)(?:\s+\w+)?\s+(?:use|purposes?)?\s*only",
    re.IGNORECASE,
)
_LONGEST = 200


def is_non_commercial(licence: str) -> bool:
    """Whether a licence forbids commercial use, as far as its name says so.

    >>> is_non_commercial("CC BY-NC-SA 4.0"), is_non_commercial("CC BY 4.0"), is_non_commercial("Apache-2.0")
    (True, False, False)
    """
    return _NON_COMMERCIAL.search(licence.replace("_", "-")) is not None


def licence_remarks(provenance: Mapping[str, Any]) -> list[str]:
    """What a user of the weights is to be told, a sentence each; none for weights that were trained here.

    Args:
        provenance: of a model file; what it says is shortened, for it may be anyone's.
    """
    licence, origin = (str(provenance.get(name, ""))[:_LONGEST] for name in (LICENCE, ORIGIN))
    if not licence:
        return []
    source = f" (from {origin})" if origin else ""
    if licence.lower() == UNKNOWN:
        return [
            f"The licence of the model's weights is unknown{source}: find it out before they are used or passed on."
        ]
    if is_non_commercial(licence):
        return [f"The licence of the model's weights is {licence}{source}: commercial use is not allowed."]
    return [f"The licence of the model's weights is {licence}{source}."]
