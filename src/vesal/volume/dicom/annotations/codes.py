"""What a name of a label means: in SNOMED CT as far as pydicom knows its concepts, else in a code of our own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from vesal.volume.dicom.extra import needed

#: Words of ours and of TG-263 (AAPM 2018) -> the concept's name in DICOM.
_SYNONYMS = {
    "la": "left atrium",
    "lv": "left ventricle",
    "rv": "right ventricle",
    "ra": "right atrium",
    "myo": "left ventricle myocardium",
    "myocardium": "left ventricle myocardium",
    "oesophagus": "esophagus",
    "cord": "spinal cord",
    "spinalcord": "spinal cord",
    "spleen": "spleen",
    "bladder": "bladder",
    "tumour": "neoplasm",
    "tumor": "neoplasm",
    "whole tumour": "neoplasm",
    "whole tumor": "neoplasm",
    "gtv": "neoplasm",
    "cancer": "neoplasm",
    "lesion": "lesion",
    "oedema": "edema",
    "pz": "peripheral zone of prostate",
    "tz": "transition zone of prostate",
    "peripheral zone": "peripheral zone of prostate",
    "transitional zone": "transition zone of prostate",
    "transition zone": "transition zone of prostate",
    "lungs": "lung",
    "kidneys": "kidney",
    "parotid": "parotid gland",
}

#: DICOM's context groups of what is diseased (CID 7159, 7194), and of tissues (CID 7166).
_ABNORMAL, _TISSUE = {7159, 7194}, {7166}

#: SNOMED CT, in the order of value, scheme, meaning.
ANATOMICAL = ("91723000", "SCT", "Anatomical Structure")
ABNORMAL = ("49755003", "SCT", "Morphologically Abnormal Structure")
TISSUE = ("85756007", "SCT", "Tissue")
LEFT, RIGHT = ("7771000", "SCT", "Left"), ("24028007", "SCT", "Right")

#: The scheme of codes that are nobody else's: DICOM reserves what begins with 99 for such (PS3.16 8.2).
PRIVATE = "99VESAL"

#: Characters of a code's value (SH), and of its meaning and a segment's name (LO, PS3.5 6.2).
_LONGEST_VALUE, _LONGEST_NAME = 16, 64

_SIDES = {"l": LEFT, "left": LEFT, "lt": LEFT, "r": RIGHT, "right": RIGHT, "rt": RIGHT}
#: A label such as GTV-1 is one of several of its kind.
_NUMBER = re.compile(r"[\s_-]*\d+$")


@dataclass(frozen=True)
class Meaning:
    """What a label stands for; each code is (value, scheme, meaning).

    Attributes:
        category: an anatomical structure, an abnormal one, or a tissue.
        kind: the concept itself.
        side: left or right, where the name says so beside the concept; None where not.
    """

    category: tuple[str, str, str]
    kind: tuple[str, str, str]
    side: tuple[str, str, str] | None = None


def meaning_of(name: str) -> Meaning:
    """The concept that a label's name stands for; a private code with the name where there is none.

    >>> meaning_of("Lung_L").kind, meaning_of("Lung_L").side
    (('39607008', 'SCT', 'Lung'), ('7771000', 'SCT', 'Left'))
    >>> meaning_of("left atrium").kind
    ('82471001', 'SCT', 'Left atrium')
    >>> meaning_of("GTV-1").category[2]
    'Morphologically Abnormal Structure'
    >>> meaning_of("Ring 3cm").kind
    ('RING3CM', '99VESAL', 'Ring 3cm')
    """
    words = _words(name)
    side = None
    found = _concept(words)
    if found is None and (sides := [word for word in words if word in _SIDES]):
        side = _SIDES[sides[0]]
        found = _concept(tuple(word for word in words if word not in _SIDES))
    if found is None:
        return Meaning(ANATOMICAL, (_private_value(name), PRIVATE, short_names([name])[0]))
    value, meaning, groups = found
    category = (
        ABNORMAL if groups & _ABNORMAL else TISSUE if groups & _TISSUE and not groups & {7192} else ANATOMICAL
    )
    return Meaning(category, (value, "SCT", meaning[:64]), side)


def short_names(names: Sequence[str]) -> list[str]:
    """Names as DICOM's short texts hold them: at most 64 characters, no backslash, and each another.

    >>> short_names(["Lung\\\\Left", "x" * 70 + "1", "x" * 70 + "2"])[0]
    'Lung/Left'
    """
    found: list[str] = []
    for number, name in enumerate(names, start=1):
        plain = re.sub(r"[\x00-\x1f\x7f]+", " ", name.replace("\\", "/")).strip() or f"label {number}"
        short = plain[:_LONGEST_NAME]
        if short in found:
            short = f"{plain[: _LONGEST_NAME - 6].rstrip()} ({number})"
        found.append(short)
    return found


def _private_value(name: str) -> str:
    """At most 16 characters; where the name has more, or others than these, with a digest: no two are one code."""
    plain = re.sub("[^A-Z0-9]", "", name.upper())
    if name.isascii() and 0 < len(plain) <= _LONGEST_VALUE:
        return plain
    digest = hashlib.blake2s(name.encode(), digest_size=3).hexdigest().upper()
    return f"{plain[: _LONGEST_VALUE - len(digest)] or 'LABEL'}{digest}"


def _words(name: str) -> tuple[str, ...]:
    """Lower case, without the number at the end; capitals within a word begin another."""
    apart = re.sub("([a-z])([A-Z])", r"\1 \2", _NUMBER.sub("", name))
    return tuple(re.sub("[^a-z0-9]+", " ", apart.lower()).split())


def _concept(words: tuple[str, ...]) -> tuple[str, str, set[int]] | None:
    text = " ".join(words)
    return _dictionary().get("".join(_SYNONYMS.get(text, text).split()))


@cache
def _dictionary() -> dict[str, tuple[str, str, set[int]]]:
    """Lower-case keyword -> value, meaning and context groups of DICOM's SNOMED CT concepts."""
    concepts: dict[str, Any] = needed("pydicom.sr._concepts_dict").concepts["SCT"]
    found = {}
    for keyword, codes in concepts.items():
        value, (meaning, groups) = next(iter(codes.items()))
        found[keyword.lower()] = (value, meaning, set(groups))
    return found
