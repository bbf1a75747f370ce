"""A run folder as training leaves it, and a reader of pages."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from vesal.audit.checks import Finding
from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import CaseRecord, ChannelStatistics, Fingerprint
from vesal.data.labels import LabelSet
from vesal.evaluate.case_scores import score_case
from vesal.evaluate.scores import summarise
from vesal.evaluate.tables import save_scores
from vesal.files import write_json
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.volume.geometry import Geometry

EVIL = "<script>alert(1)</script>"


LABELS = LabelSet.from_values({"background": 0, "atrium": 1, f"wall {EVIL}": 3})


SHAPE = (16, 18, 10)


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data):
        self.text += data

    def of(self, name: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def volume(number: int, shape=SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Image and contiguous label map."""
    rng = np.random.default_rng(number)
    label = np.zeros(shape, dtype=np.uint8)
    label[tuple(slice(n // 4, n // 2 + number % 2) for n in shape)] = 1
    label[tuple(slice(n // 2 + number % 2, n - 2) for n in shape)] = 2
    return (rng.normal(100, 10, shape) + 40 * label).astype(np.float32), label


def record(case: Case, shape, label) -> CaseRecord:
    channel = ChannelStatistics(
        minimum=0,
        maximum=200,
        mean=100,
        std=10,
        percentiles=(1, 100, 199),
        foreground_samples=(140.0, 150.0, 180.0),
    )
    counts = np.bincount(label.ravel(), minlength=3)
    ndim = len(shape)
    return CaseRecord(
        id=case.id, patient=case.patient, shape=shape, spacing_mm=(1.0, 1.0, 2.0)[:ndim],
        axis_codes="RAS" if ndim == 3 else "", affine=tuple(map(tuple, np.eye(ndim + 1).tolist())),
        ras_shape=shape, ras_spacing_mm=(1.0, 1.0, 2.0)[:ndim],
        crop_shape=shape, label_shape=shape, label_distance_mm=0.0,
        voxels=dict(zip(LABELS.names, map(int, counts[1:]), strict=True)), undeclared=(), nan_voxels=0,
        image_digest=case.id, voxel_volume_mm3=2.0 if ndim == 3 else 1.0, channels=(channel,),
    )  # fmt: skip


def make_data(
    folder: Path, cases: int = 4, shape=SHAPE, named: str = "scan_{}"
) -> tuple[Dataset, Fingerprint]:
    folder.mkdir(parents=True, exist_ok=True)
    listed, records = [], []
    flat = len(shape) == 2
    for number in range(cases):
        name = named.format(number)
        image, label = volume(number, shape)
        paths = [folder / f"{name}_{what}{'.png' if flat else '.nii.gz'}" for what in ("image", "label")]
        for path, array in zip(paths, (image, LABELS.decode(label)), strict=True):
            if flat:
                Image.fromarray(array.T.astype(np.uint8)).save(path)
            else:
                nib.save(nib.Nifti1Image(array, np.diag([1.0, 1, 2, 1])), path)
        case = Case(id=name, images=(paths[0],), label=paths[1], patient=name)
        listed.append(case)
        records.append(record(case, shape, label))
    dataset = Dataset(
        name=f"Left atrium {EVIL}", root=folder, layout="msd", channels=("MRI",), labels=LABELS, cases=tuple(listed),
        remarks=("It has a dataset.json.",),
    )  # fmt: skip
    return dataset, Fingerprint(dataset=dataset.name, channels=("MRI",), cases=tuple(records))


def make_plan(dimension: int) -> Plan:
    stages = tuple(Stage(features=8 * k, kernel=(3,) * dimension, stride=(k,) * dimension) for k in (1, 2))
    return Plan(
        dimension=dimension, spacing_mm=(1.0,) * dimension, patch=(16,) * dimension, batch=2, stages=stages,
        normalisation=(Normalisation(scheme="zscore"),), mirror_axes=(0, 1), channels=("MRI",), labels=LABELS,
        median_shape=(16,) * dimension, reasons=("Patch 16: the whole scan & more.",),
    )  # fmt: skip


def make_run(tmp_path: Path, folds=("0",), shape=SHAPE, cases: int = 4, named: str = "scan_{}") -> Path:
    """A run folder as training leaves it."""
    dataset, fingerprint = make_data(tmp_path / "data", cases, shape, named)
    run = tmp_path / "run"
    run.mkdir(parents=True)
    dataset.save(run / "dataset.json")
    (run / "fingerprint.json").write_text(fingerprint.model_dump_json())
    make_plan(len(shape)).save(run / "plan.json")
    (run / "config.yaml").write_text(f"recipe: auto\nnote: {EVIL}\n")
    finding = Finding(
        kind="empty", severity="warning", cases=("scan_0",), what=f"Odd {EVIL}", fix="Look at it."
    )
    write_json(run / "findings.json", [finding.model_dump()])
    versions = {"vesal": "0.1.0", "torch": "2.13"}
    write_json(
        run / "environment.json", {"date": "2026-01-02T03:04:05+00:00", "versions": versions, "cpus": 2}
    )
    rows = []
    for index, case in enumerate(dataset.cases):
        fold = folds[index % len(folds)]
        predictions = run / f"fold_{fold}" / "predictions"
        predictions.mkdir(parents=True, exist_ok=True)
        label = volume(index, shape)[1]
        guess = np.roll(label, index, axis=0)
        if len(shape) == 3:
            nib.save(
                nib.Nifti1Image(LABELS.decode(guess), np.diag([1.0, 1, 2, 1])),
                predictions / f"{case.id}.nii.gz",
            )
            geometry = Geometry(shape, np.diag([1.0, 1, 2, 1]))
        else:
            Image.fromarray(LABELS.decode(guess).T).save(predictions / f"{case.id}.png")
            geometry = Geometry(shape, np.eye(3))
        rows += score_case(case.id, guess, label, geometry, LABELS, tolerance_mm=1.0)
    for fold in folds:
        metrics = [
            {
                "step": s,
                "time_s": 2.0 * s,
                "epoch": s / 10,
                "train_loss": 1 / s,
                "lr": 1e-3,
                "memory_mb": 800.0,
            }
            for s in range(1, 40)
        ]
        per_class = dict(zip(LABELS.classes, (0.8, None), strict=True))
        metrics.append(
            {"step": 40, "time_s": 90.0, "val_dice": 0.8, "val_dice_per_class": per_class, "val_loss": None}
        )
        text = "\n".join(map(json.dumps, metrics)) + '\n{"step": 41, "trai'
        (run / f"fold_{fold}" / "metrics.jsonl").write_text(text)
        (run / f"fold_{fold}" / "finished.json").write_text("{}")
    if folds != ("all",):
        save_scores(run, summarise(rows, LABELS, tolerance_mm=1.0))
    return run


def check_sound(page: Page) -> None:
    """One file that loads nothing, runs only its own script, and shows no name as markup."""
    assert len(page.of("script")) == 1
    assert not page.of("link")
    for tag in ("img", "source", "a", "script", "iframe", "object"):
        for attributes in page.of(tag):
            for name in ("src", "srcset", "href", "data"):
                value = attributes.get(name, "#")
                beside = tag == "a" and re.fullmatch(r"surfaces/[\w%.-]+\.glb", value)
                assert beside or value.startswith(("data:image/png;base64,", "#"))
    assert not re.search(r"https?://|url\(|@import", page.source)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "<script>alert" not in page.source
