"""Inspect: what is in a folder of scans, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vesal.audit.checks import Finding, check_dataset
from vesal.data.dataset import Dataset
from vesal.data.fingerprint import Fingerprint, fingerprint
from vesal.layouts.registry import load_dataset
from vesal.parallel import Progress


@dataclass(frozen=True)
class Inspection:
    """The data set, its numbers, its findings, and the page that shows them (None when not written)."""

    dataset: Dataset
    fingerprint: Fingerprint
    findings: tuple[Finding, ...]
    page: Path | None


def inspect_run(
    data: Path, out: Path | None, *, layout: str = "auto", pictures: int = 6, progress: Progress | None = None
) -> Inspection:
    """Read every file once, look for damage, and write inspect.html and inspect.json into `out`."""
    dataset = load_dataset(data, layout)
    record = fingerprint(dataset, unlabelled=True, progress=progress)
    findings = check_dataset(dataset, record)
    page = None
    if out is not None:
        # Imported here: drawing libraries are not needed for the numbers alone.
        from vesal.report.pages.inspect_page import write_inspect_report

        page = write_inspect_report(dataset, record, findings, out, pictures=pictures)
    return Inspection(dataset, record, findings, page)
