"""What a fine-tuning says that it took and that is new."""

from __future__ import annotations

from typing import Any

from vesal.nn.adaptation import CHANCE, MEAN, ZEROS, Adaptation


def record(**changes: Any) -> Adaptation:
    values: dict[str, Any] = {
        "model": "m.vesal",
        "weights_digest": "d",
        "channels": {"T1": "T1"},
        "classes": {"core": "core"},
        "tensors": 10,
        "moved": 10,
        "adapted": 0,
        "share": 1.0,
    }
    return Adaptation(**values | changes)


def test_all_that_fits_is_taken_and_nothing_is_new() -> None:
    taken, new = record().sentences
    assert taken == "Taken from m.vesal: 10 of 10 tensors (100.0% of the weights); channel T1; class core."
    assert new == "New: nothing."


def test_what_is_new_is_named_with_how_it_begins_and_what_is_left_with_its_name() -> None:
    found = record(
        channels={"T1": "t1", "FLAIR": ZEROS},
        classes={"core": "core", "rim": CHANCE},
        left_classes=("old",),
        moved=7,
        adapted=2,
        anew=("x.weight",),
        share=0.95,
        voters=3,
        frozen=("a", "b"),
        notes=("And this.",),
    )
    taken, new, frozen, voters, note = found.sentences
    assert "9 of 10 tensors, 2 of them fitted to other channels or classes (95.0% of the weights)" in taken
    assert "channel T1 (from t1)" in taken
    assert (
        "channel FLAIR (begins with zeros); class rim (begins by chance); 1 tensor drawn by chance (x.weight)"
        in new
    )
    assert new.endswith("The model's class old is left.")
    assert frozen == "Frozen: 2 tensors of the encoder."
    assert voters.startswith("The model holds 3 networks that vote")
    assert note == "And this."
    nothing = record(channels={"A": MEAN}).taken
    assert "no channel by name" in nothing
