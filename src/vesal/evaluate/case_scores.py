"""One case: its label map against the truth, class by class, and what an empty mask scores."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vesal.data.labels import IGNORE, LabelSet
from vesal.data.value_tables import joint_box
from vesal.errors import DataError, unknown_name
from vesal.metrics.lesions import Lesions
from vesal.metrics.lesions import lesions as find_lesions
from vesal.metrics.overlap import Confusion, confusions
from vesal.metrics.surface import SurfaceDistances, bounding_box, surface_distances
from vesal.record import Record
from vesal.volume.geometry import Geometry

Empty = Literal["both", "prediction", "truth"]


@dataclass(frozen=True)
class Metric:
    """How a metric is shown, and what its values mean.

    Attributes:
        title: for people.
        unit: '' for none.
        decimals: that are shown.
        bounds: the range of its values.
        best: the end of the range that is good; 0 where the errors' sign matters, and less of either is better.
    """

    title: str
    unit: str
    decimals: int
    bounds: tuple[float, float] = (0.0, 1.0)
    best: Literal["high", "low", "zero"] = "high"


_DISTANCE: tuple[float, float] = (0.0, math.inf)
_ERROR: tuple[float, float] = (-math.inf, math.inf)

#: What is averaged over the cases, in the order of the tables; the keys are fields of `ClassScore`.
METRICS = {
    "dice": Metric("Dice", "", 3),
    "iou": Metric("IoU", "", 3),
    "precision": Metric("Precision", "", 3),
    "recall": Metric("Recall", "", 3),
    "accuracy": Metric("Accuracy", "", 4),
    "nsd": Metric("NSD", "", 3),
    "boundary_dice": Metric("Boundary Dice", "", 3),
    "hd95_mm": Metric("HD95", "mm", 2, _DISTANCE, "low"),
    "assd_mm": Metric("ASSD", "mm", 2, _DISTANCE, "low"),
    "volume_error_ml": Metric("Volume error", "ml", 2, _ERROR, "zero"),
    "volume_error_relative": Metric("Relative volume error", "", 3, (-1.0, math.inf), "zero"),
    "area_error_mm2": Metric("Area error", "mm²", 1, _ERROR, "zero"),
    "area_error_relative": Metric("Relative area error", "", 3, (-1.0, math.inf), "zero"),
}

#: The same for classes whose lesions are counted.
LESION_METRICS = {
    "lesion_sensitivity": Metric("Lesion sensitivity", "", 3),
    "lesion_precision": Metric("Lesion precision", "", 3),
    "lesion_f1": Metric("Lesion F1", "", 3),
    "lesion_dice": Metric("Lesion-wise Dice", "", 3),
    "false_positives": Metric("False positives per scan", "", 2, _DISTANCE, "low"),
    "false_positive_ml": Metric("False-positive volume", "ml", 2, _DISTANCE, "low"),
    "false_positive_mm2": Metric("False-positive area", "mm²", 1, _DISTANCE, "low"),
}

#: Everything that can be averaged or compared.
ALL_METRICS = METRICS | LESION_METRICS

#: What volumes have and 2D images have not, and the other way round.
OF_VOLUMES = ("volume_ml", "truth_volume_ml", "volume_error_ml", "volume_error_relative", "false_positive_ml")
OF_AREAS = ("area_mm2", "truth_area_mm2", "area_error_mm2", "area_error_relative", "false_positive_mm2")

#: Words of classes that come as separate lesions, and of BraTS' regions, whole names.
_LESION = re.compile(
    r"tumou?r|lesion|metasta|nodule|cancer|carcinom|infarct|microbleed|polyp|hyperintens", re.IGNORECASE
)
_LESION_NAMES = {"wt", "tc", "et", "wmh"}


class ClassScore(Record):
    """One class of one case. None is an undefined value, which no mean includes.

    Attributes:
        case: the case's id.
        class_name: a label's or a region's name; 'class' in files.
        dice, iou, precision, recall: in [0, 1].
        accuracy: share of voxels that are right, in [0, 1].
        nsd: normalised surface Dice at the scores' tolerance, in [0, 1].
        boundary_dice: NSD at tolerance 0.
        hd95_mm, assd_mm: 95th percentile Hausdorff and average symmetric surface distance.
        volume_ml, truth_volume_ml: of prediction and truth; None in 2D, and where the distance of slices is unknown.
        volume_error_ml: prediction minus truth, so negative where too little was found.
        volume_error_relative: that error over the truth's volume.
        area_mm2, truth_area_mm2, area_error_mm2, area_error_relative: the same of a 2D image; None in 3D.
        empty: which of the two masks hold no voxel.
        lesions, lesions_found: true lesions, and how many of them the prediction touches; these and all that follow are
            None where lesions are not counted.
        lesion_sensitivity, lesion_precision, lesion_f1: of found, missed and false lesions, in [0, 1].
        lesion_dice: Dice of each lesion, missed and false ones 0, averaged.
        false_positives: predicted lesions that touch no truth.
        false_positive_ml, false_positive_mm2: their volume, or in 2D their area.
    """

    case: str
    class_name: str = Field(validation_alias="class", serialization_alias="class")
    dice: float | None
    iou: float | None
    precision: float | None
    recall: float | None
    accuracy: float | None = None
    nsd: float | None
    boundary_dice: float | None
    hd95_mm: float | None
    assd_mm: float | None
    volume_ml: float | None = None
    truth_volume_ml: float | None = None
    volume_error_ml: float | None = None
    volume_error_relative: float | None = None
    area_mm2: float | None = None
    truth_area_mm2: float | None = None
    area_error_mm2: float | None = None
    area_error_relative: float | None = None
    empty: Empty | None
    lesions: int | None = None
    lesions_found: int | None = None
    lesion_sensitivity: float | None = None
    lesion_precision: float | None = None
    lesion_f1: float | None = None
    lesion_dice: float | None = None
    false_positives: int | None = None
    false_positive_ml: float | None = None
    false_positive_mm2: float | None = None

    @property
    def flat(self) -> bool:
        """Whether it is of a 2D image, which has areas and no volumes."""
        return self.area_mm2 is not None

    @property
    def sizes(self) -> tuple[float | None, float | None]:
        """Of truth and prediction: areas (mm²) in 2D, else volumes (ml)."""
        if self.flat:
            return self.truth_area_mm2, self.area_mm2
        return self.truth_volume_ml, self.volume_ml


def lesion_classes(labels: LabelSet, named: Collection[str] | None = None) -> tuple[str, ...]:
    """Classes whose lesions are counted: those that are named, or those whose own name says tumour, lesion, nodule ...

    Raises:
        UsageError: a name is no class.

    >>> lesion_classes(LabelSet.from_values({"liver": 1, "liver tumour": 2}))
    ('liver tumour',)
    """
    if named is None:
        return tuple(name for name in labels.classes if _LESION.search(name) or name.lower() in _LESION_NAMES)
    for name in named:
        if name not in labels.classes:
            raise unknown_name("class", name, labels.classes)
    return tuple(name for name in labels.classes if name in named)


def score_case(
    case: str,
    prediction: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    geometry: Geometry,
    labels: LabelSet,
    *,
    tolerance_mm: float = 1.0,
    annotated: Collection[str] | None = None,
    lesions: Collection[str] | None = None,
) -> list[ClassScore]:
    """Score every class that was annotated in a case.

    Args:
        prediction, truth: (*spatial) contiguous label maps; voxels that are 255 in the truth are left out of
            everything, a 255 in the prediction is background.
        geometry: the grid of both; distances follow its spacing.
        labels: their regions, where there are any, are the classes.
        tolerance_mm: of the NSD.
        annotated: names of the labels that were drawn; None means all. A region needs all of its members.
        lesions: classes whose lesions are counted; None takes those whose names say so.

    Raises:
        UsageError: a class whose lesions are to be counted is unknown.
        DataError: a label map is not of the grid's shape, or an annotated name is unknown.
    """
    grid = geometry.shape
    for what, array in (("prediction", prediction), ("truth", truth)):
        if array.shape != grid:
            raise DataError(f"The {what} of {case} has the shape {array.shape}, but its grid {grid}.")
    try:
        scored = labels.judged(annotated)
    except DataError as error:
        raise DataError(f"{case}: {error}") from error
    # Outside the box is background alone: true negatives, which the accuracy alone counts.
    box = bounding_box((prediction != 0) | (truth != 0)) or (slice(0, 1),) * truth.ndim
    prediction, truth = prediction[box], truth[box]
    ignore = truth == IGNORE
    unknown = ignore if ignore.any() else None
    rows = []
    with_lesions = lesion_classes(labels, lesions)
    counted = confusions(prediction, truth, labels.class_table, IGNORE, math.prod(grid) - truth.size)
    boxes = zip(labels.boxes(prediction), labels.boxes(truth), strict=True)
    for index, (name, counts, sides) in enumerate(zip(labels.classes, counted, boxes, strict=True)):
        if name not in scored:
            continue
        # Each class in its own box, which is far smaller than that of all. The layer around it shows where a mask ends
        # at voxels to ignore.
        own = joint_box(sides) or (slice(0, 0),) * truth.ndim
        own = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in own)
        masks = labels.mask(index, prediction[own]), labels.mask(index, truth[own])
        left_out = None if unknown is None else unknown[own]
        distances = None
        if counts.predicted and counts.actual:
            distances = surface_distances(*masks, geometry.spacing_mm, left_out)
        row = _class_score(case, name, counts, distances, geometry, tolerance_mm)
        if name in with_lesions:
            row = _with_lesions(row, find_lesions(*masks, left_out), geometry)
        rows.append(row)
    return rows


def diagonal_mm(geometry: Geometry) -> float:
    """From one corner of the image to the opposite one (mm): no distance within it is larger.

    >>> diagonal_mm(Geometry.from_spacing((30, 20), (1.0, 2.0)))
    50.0
    """
    return math.hypot(*(size * step for size, step in zip(geometry.shape, geometry.spacing_mm, strict=True)))


def _with_lesions(row: ClassScore, found: Lesions, geometry: Geometry) -> ClassScore:
    """A scan without a lesion has no sensitivity, but its false positives count."""
    return row.model_copy(
        update={
            "lesions": found.true,
            "lesions_found": found.found,
            "lesion_sensitivity": found.sensitivity,
            "lesion_precision": found.precision,
            "lesion_f1": found.f1,
            "lesion_dice": found.dice,
            "false_positives": found.false,
            **_in_unit(geometry, {"false_positive": found.false_voxels}),
        }
    )


def _class_score(
    case: str,
    name: str,
    counts: Confusion,
    distances: SurfaceDistances | None,
    geometry: Geometry,
    tolerance_mm: float,
) -> ClassScore:
    """The policy for empty masks; `distances` is given where neither is empty.

    Both empty: nothing to measure, every metric is undefined and the case is counted as excluded. One empty:
    Dice, IoU, NSD and boundary Dice are 0, HD95 and ASSD the image's diagonal; precision without a prediction
    and recall without a truth are undefined.
    """
    empty: Empty | None = None
    if not counts.predicted:
        empty = "prediction" if counts.actual else "both"
    elif not counts.actual:
        empty = "truth"
    if distances is not None:
        nsd, boundary_dice = distances.nsd(tolerance_mm), distances.boundary_dice
        hd95, assd = distances.hd(95), distances.assd
    elif empty == "both":
        nsd = boundary_dice = hd95 = assd = None
    else:
        nsd = boundary_dice = 0.0
        hd95 = assd = diagonal_mm(geometry)
    error = counts.predicted - counts.actual
    kind = "area" if geometry.ndim == 2 else "volume"
    sizes = {kind: counts.predicted, f"truth_{kind}": counts.actual}
    if empty != "both":
        sizes[f"{kind}_error"] = error
    row = ClassScore(
        case=case,
        class_name=name,
        dice=counts.dice,
        iou=counts.iou,
        precision=counts.precision,
        recall=counts.recall,
        accuracy=None if empty == "both" else counts.accuracy,
        nsd=nsd,
        boundary_dice=boundary_dice,
        hd95_mm=hd95,
        assd_mm=assd,
        empty=empty,
    )
    relative = {f"{kind}_error_relative": error / counts.actual if counts.actual else None}
    return row.model_copy(update=_in_unit(geometry, sizes) | relative)


def _in_unit(geometry: Geometry, voxels: Mapping[str, int]) -> dict[str, float | None]:
    """Numbers of voxels in millilitres, or in 2D of pixels in square millimetres, with the unit in their names."""
    unit, size = ("mm2", 1.0) if geometry.ndim == 2 else ("ml", 1000.0)
    return {f"{name}_{unit}": count * geometry.voxel_volume_mm3 / size for name, count in voxels.items()}
