"""What a model file may hold: whatever is wrong with it is refused in a sentence."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from vesal.data.labels import LabelSet
from vesal.errors import VesalError
from vesal.infer.quality.quality_model import read_calibration


def _set(value: dict[str, Any], path: str, new: Any) -> dict[str, Any]:
    changed = copy.deepcopy(value)
    *parents, last = path.split("/")
    inner = changed
    for name in parents:
        inner = inner[name]
    inner[last] = new
    return changed


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("temperature", 0.0),
        ("temperature", float("nan")),
        ("temperature", "hot"),
        ("classes", ["liver"]),
        ("references/texture/centre", [0.0] * 100_000),
        ("references/texture/centre", [0.0]),
        ("references/texture/scale", [1.0, 1.0, 0.0, 1.0, 1.0]),
        ("references/texture/scale", [1.0, 1.0, -1.0, 1.0, 1.0]),
        ("references/texture/directions", [[1.0]]),
        ("references/texture/variances", []),
        ("references/texture/rest", float("inf")),
        ("references/shoes", {}),
        ("encoder/names", ["a"]),
        ("single/dice/organ/regression/weights", [1.0]),
        ("single/dice/organ/regression/bias", 1e300),
        ("single/dice/organ/accuracy/cases", -1),
        ("single/dice/spleen", {}),
        ("single/flag/threshold", None),
        ("single/flag/parts", ["shoes"]),
        ("single/flag", {}),
        ("single/volumes/spleen", {}),
        ("single/volumes/organ/scores", [2.0, 1.0]),
        ("single/volumes/organ/scores", [0.1] * 5000),
        ("single/volumes/organ/weights", []),
        ("single/volumes/organ/usual", float("nan")),
        ("single/volumes/organ/regression/names", ["shoes", "volume", "uncertain"]),
        ("single/volumes/organ/coverage/coverage", 1.5),
        ("references", {"texture": 1}),
        ("surprise", 1),
    ],
)
def test_a_hostile_file_is_refused_in_a_sentence(
    stored: dict[str, Any], labels: LabelSet, path: str, new: Any
) -> None:
    with pytest.raises(VesalError, match=r"m\.vesal .*; (get it again|update)"):
        read_calibration(_set(stored, path, new), labels, Path("m.vesal"))


def test_the_encoder_is_no_group_of_its_own(stored: dict[str, Any], labels: LabelSet) -> None:
    reference = stored["references"]["texture"]
    with pytest.raises(VesalError, match="unknown"):
        read_calibration(_set(stored, "references", {"encoder": reference}), labels, "m.vesal")


def test_a_newer_file_asks_for_an_update(stored: dict[str, Any], labels: LabelSet) -> None:
    with pytest.raises(VesalError, match="update Vesal"):
        read_calibration(_set(stored, "version", 99), labels, "m.vesal")


def test_a_file_of_before_there_were_intervals_is_read(stored: dict[str, Any], labels: LabelSet) -> None:
    old = _set(stored, "version", 1)
    del old["single"]["volumes"]
    found = read_calibration(old, labels, "m.vesal")
    assert found is not None
    assert found.single.volumes == {}


def test_a_file_without_a_quality_model_gives_none(labels: LabelSet) -> None:
    assert read_calibration(None, labels, "m.vesal") is None
