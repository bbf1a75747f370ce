"""The browser's code is compared with what Vesal computed; that it is what Vesal computes today is seen here."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np

INFER = Path(__file__).parents[2] / "viewer" / "test" / "infer"


def differences(stored: Any, anew: Any, where: str = "") -> list[str]:
    """Where two JSON values differ by more than rounding."""
    if isinstance(stored, dict) and isinstance(anew, dict) and stored.keys() == anew.keys():
        return [line for key in stored for line in differences(stored[key], anew[key], f"{where}.{key}")]
    if isinstance(stored, list) and isinstance(anew, list) and len(stored) == len(anew):
        if stored and all(isinstance(value, float) for value in stored):
            # Halves of 16 bits may be rounded either way by another processor.
            return [] if np.allclose(stored, anew, rtol=1e-3, atol=1e-4) else [where]
        pairs = enumerate(zip(stored, anew, strict=True))
        return [
            line for number, (one, other) in pairs for line in differences(one, other, f"{where}[{number}]")
        ]
    return [] if stored == anew else [where]


def test_the_reference_of_the_browser_is_what_vesal_computes() -> None:
    anew = runpy.run_path(str(INFER / "write_reference.py"))["reference"]()
    stored = json.loads((INFER / "reference.json").read_text(encoding="utf-8"))
    assert differences(stored, anew) == []


def test_a_difference_is_seen() -> None:
    stored = {"a": [1.0, 2.0], "b": [{"c": 1}]}
    assert differences(stored, {"a": [1.0, 2.1], "b": [{"c": 1}]}) == [".a"]
    assert differences(stored, {"a": [1.0, 2.0], "b": [{"c": 2}]}) == [".b[0].c"]
    assert differences(stored, {"a": [1.0]}) == [""]
