"""The coarse stage on the report's page."""

from __future__ import annotations

import json
from pathlib import Path

from vesal.files import write_json
from vesal.report.pages.located_section import located_section
from vesal.run.located import Located, LocatedCase


def test_each_fold_s_boxes_are_shown_and_what_is_damaged_is_named(tmp_path: Path) -> None:
    assert located_section(tmp_path) is None
    for fold in range(3):
        (tmp_path / f"fold_{fold}").mkdir()
    assert located_section(tmp_path) is None
    rows = [{"step": 100, "time_s": 9.0, "val_dice": 0.7}, {"step": 400, "time_s": 61.0, "val_dice": 0.6}]
    for fold in (0, 1):
        folder = tmp_path / f"fold_{fold}/locator"
        folder.mkdir()
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    cases = {"b": LocatedCase(missed=None, short_mm=None), "a": LocatedCase(missed=0.0123, short_mm=4.25)}
    write_json(tmp_path / "fold_0/locator/located.json", Located(margin_mm=9.0, cases=cases).model_dump())
    (tmp_path / "fold_1/locator/located.json").write_text("{")
    section = located_section(tmp_path)
    assert section is not None
    assert "Fold 0: 400 steps in 1 min 1 s, at best Dice 0.700 on its own grid." in section["note"]
    assert "found nothing in 1 of 2 held-out cases" in section["note"]
    shown = [[cell.shown for cell in row] for row in section["table"].rows]
    assert shown == [["a", "0", "1.23%", "4.2"], ["b", "0", "nothing found", "–"]]
    assert len(section["problems"]) == 1
    assert "located.json" in section["problems"][0]
