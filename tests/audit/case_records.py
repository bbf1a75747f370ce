"""Records of sound and of odd cases, and what the checks find among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vesal.audit.checks import check_dataset
from vesal.audit.finding import Finding
from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import CaseRecord, ChannelStatistics, Failure, Fingerprint
from vesal.data.labels import LabelSet

LABELS = LabelSet.from_values({"PZ": 1, "TZ": 2})


def channel(minimum: float = 0, maximum: float = 900) -> ChannelStatistics:
    return ChannelStatistics(minimum=minimum, maximum=maximum, mean=300, std=100, percentiles=(1, 300, 880))


def record(name: str, **changes: object) -> CaseRecord:
    """A clean case; `changes` make it a faulty one."""
    clean: dict[str, object] = {
        "id": name,
        "patient": name,
        "shape": (20, 20, 10),
        "spacing_mm": (1.0, 1.0, 3.0),
        "axis_codes": "LPS",
        "affine": tuple(map(tuple, np.diag([-1.0, -1.0, 3.0, 1.0]).tolist())),
        "ras_shape": (20, 20, 10),
        "ras_spacing_mm": (1.0, 1.0, 3.0),
        "crop_shape": (20, 20, 10),
        "label_shape": (20, 20, 10),
        "label_distance_mm": 0.0,
        "voxels": {"PZ": 50, "TZ": 30},
        "undeclared": (),
        "nan_voxels": 0,
        "image_digest": f"digest of {name}",
        "voxel_volume_mm3": 3.0,
        "channels": (channel(), channel()),
    }
    return CaseRecord.model_validate(clean | changes)


def flat(name: str, **changes: object) -> CaseRecord:
    """A clean 2D case."""
    plane = {"shape": (20, 20), "spacing_mm": (1.0, 1.0), "axis_codes": "", "ras_shape": (20, 20)}
    affine = tuple(map(tuple, np.eye(3).tolist()))
    return record(
        name,
        **plane
        | {"ras_spacing_mm": (1.0, 1.0), "crop_shape": (20, 20), "label_shape": (20, 20), "affine": affine}
        | changes,
    )


def check(
    *records: CaseRecord,
    failures: tuple[Failure, ...] = (),
    unlabelled: tuple[CaseRecord, ...] = (),
    **changes: object,
) -> tuple[Finding, ...]:
    """Findings among these cases and, where volumes are meant, ten clean ones."""
    cases = tuple(
        Case(id=each.id, images=(Path("/x.nii.gz"),), label=Path("/y.nii.gz"), patient=each.patient)
        for each in records
    )
    dataset = Dataset(
        name="d", root=Path("/"), layout="msd", channels=("T2", "ADC"), labels=LABELS, cases=cases
    ).model_copy(update=changes)
    return check_dataset(
        dataset,
        Fingerprint(
            dataset="d",
            channels=dataset.channels,
            cases=records,
            unlabelled=unlabelled,
            failures=failures,
        ),
    )


CLEAN = tuple(record(f"clean{i}") for i in range(10))


def the_one(findings: tuple[Finding, ...]) -> Finding:
    assert len(findings) == 1, findings
    assert findings[0].message.endswith(".")
    assert findings[0].fix.endswith(".")
    return findings[0]


#: What a scan without a label lacks.
BARE = {"label_shape": None, "label_distance_mm": None, "voxels": {}}
