"""All defects that are looked for and fixed: a literal list, in the order of the report. Pixels are not read again.

An error means that a case cannot be trained on as it is; a warning, that somebody should look; a note, that it is
worth knowing.
"""

from __future__ import annotations

from vesal.audit.defect import Fix
from vesal.audit.defects import (
    case_files,
    channel_contrast,
    duplicates,
    flips_and_swaps,
    header_forms,
    intensities,
    islands,
    label_grid,
    label_shift,
    label_values,
    mismatched_label,
    orientation,
    outliers,
    spacing,
)
from vesal.audit.finding import Finding
from vesal.audit.reference_cases import ReferenceCases
from vesal.data.dataset import Dataset
from vesal.data.fingerprint import Fingerprint

DEFECTS = (
    case_files,
    label_grid,
    label_values,
    intensities,
    duplicates,
    mismatched_label,
    orientation,
    spacing,
    header_forms,
    outliers,
    islands,
    flips_and_swaps,
    label_shift,
    channel_contrast,
)

#: In which order the defects of a case are fixed: first where things are, then what they hold, then what can only be
#: measured on sound voxels, and last what only turns or resamples all.
FIX_ORDER = (
    "unreadable",
    "channel-grid",
    "sform-qform",
    "sform-unusable",
    "pixdim",
    "intercept-unset",
    "units",
    "spacing",
    "soft-mask",
    "label-values",
    "undeclared-value",
    "4d-file",
    "channel-count",
    "not-finite",
    "mismatched-label",
    "label-grid",
    "label-shape",
    "swapped-channels",
    "inverted",
    "swapped-labels",
    "image-flipped",
    "label-flipped",
    "label-shifted",
    "stray-island",
    "sheared",
    "orientation",
)


def check_dataset(dataset: Dataset, fingerprint: Fingerprint) -> tuple[Finding, ...]:
    """All findings, errors before warnings before notes."""
    cases = ReferenceCases(dataset, fingerprint)
    findings = [finding for defect in DEFECTS for find in defect.FIND for finding in find(cases)]
    rank = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(findings, key=lambda finding: rank[finding.severity]))


def fix_of(kind: str) -> Fix:
    """What becomes of cases with this kind of defect in the fixed copy."""
    return next((defect.FIX[kind] for defect in DEFECTS if kind in defect.FIX), Fix())
