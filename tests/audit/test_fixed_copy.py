"""The fixed copy of data from several folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from organs import image_of, label_of, moved, rewrite

from vesal.data.dataset import Dataset
from vesal.layouts.registry import load_dataset
from vesal.workflow.inspect import fix_run


def test_files_from_elsewhere_come_together_with_a_manifest(clean: Path, tmp_path: Path) -> None:
    rewrite(Path(shutil.copyfile(label_of(clean, 1), tmp_path / "odd.nii.gz")), moved((0.2, 0, 0)))
    cases = [
        {
            "id": f"p{number}",
            "image": str(image_of(clean, number)),
            "label": str(tmp_path / "odd.nii.gz" if number == 1 else label_of(clean, number)),
            "patient": f"patient_{number // 2}",
        }
        for number in range(6)
    ]
    (tmp_path / "data").mkdir()
    labels = {"background": 0, "rind": 1, "kernel": 2}
    manifest = {"channels": ["T2", "ADC"], "labels": labels, "cases": cases}
    (tmp_path / "data" / "manifest.json").write_text(json.dumps(manifest))
    result = fix_run(tmp_path / "data", tmp_path / "out", pictures=0)
    dataset: Dataset = load_dataset(result.folder)
    assert [(case.id, case.patient) for case in dataset.cases] == [
        (case["id"], case["patient"]) for case in cases
    ]
    assert all(path.is_relative_to(result.folder) for case in dataset.cases for path in case.images)
    assert {record.kind for record in result.records} == {"label-grid"}
