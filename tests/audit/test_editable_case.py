"""Only what a fix changed is written."""

from __future__ import annotations

from pathlib import Path

from organs import image_of

from vesal.audit.editable_case import changed_files, open_case
from vesal.layouts.registry import load_dataset
from vesal.volume.volume import LabelMap, Volume


def test_only_files_that_changed_are_written_anew(data: Path) -> None:
    case = load_dataset(data).cases[0]
    before = open_case(case)
    assert changed_files(before, before) == {}
    assert before.label is not None
    after = before.with_label(before.label.array + 0)
    assert changed_files(before, after) == {}
    louder = before.with_image(before.image.array + 1)
    assert set(changed_files(before, louder)) == {image_of(data, 0)}
    assert isinstance(changed_files(before, louder)[image_of(data, 0)], Volume)
    assert isinstance(before.label, LabelMap)
