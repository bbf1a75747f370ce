"""DICOM as a data set: series of slices, with the segmentations and structure sets that were drawn on them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vesal.data.dataset import Case, Dataset, Orphan
from vesal.data.labels import LabelSet, left_right_pairs
from vesal.errors import DataError
from vesal.layouts.dicom.roi_names import common, left_out, read_table, suggestion
from vesal.layouts.segment_labels import overlapping_labels
from vesal.parallel import map_in_order
from vesal.text import listed, plural
from vesal.volume.dicom.dicom_scan import DicomScan, scans
from vesal.volume.dicom.identity import pseudonym
from vesal.volume.dicom.series import STRUCTURE_SET, Annotation, Series, Study, read_study
from vesal.volume.dicom.series_file import names, read_layers
from vesal.volume.dicom.source import is_dicom_file, open_source
from vesal.volume.io import is_image
from vesal.volume.segments import voxel_counts

#: So many files are looked at before a folder counts as one without DICOM.
_LOOKED_AT = 200

#: Modality -> the channel's name, which says how its values are normalised.
CHANNELS = {"CT": "CT", "MR": "MRI", "PT": "PET"}


def detect_dicom(root: Path) -> str | None:
    """A folder in which the first files are DICOM objects; where they lie beside images, these are meant."""
    for path in itertools.islice(root.rglob("*"), _LOOKED_AT):
        if is_image(path):
            return None
        if not path.name.startswith(".") and is_dicom_file(path):
            return f"the DICOM object {path.relative_to(root)}"
    return None


def read_dicom(root: Path, labels: LabelSet | None) -> Dataset:
    """Each annotation with the series that it names is a case; series without one are scans without a label.

    Cases and patients are called by pseudonyms (`vesal.volume.dicom.identity`). Labels are what at least half of the
    annotations name, in the words that roi-names.csv gives where it is there.

    Raises:
        DataError: a damaged object, or scans of several modalities are annotated.
    """
    study = read_study(open_source(root))
    table = read_table(root)
    remarks = [study.remark()] if study.left_out else []
    drawn = [_Drawn(annotation, names(root / annotation.file)) for annotation in study.annotations]
    cases, orphans, taken = [], [], set()
    for one in drawn:
        series = next((of for of in study.series if of.uid in one.annotation.series), None)
        if series is None:
            orphans.append(Orphan(id=one.annotation.file, path=root / one.annotation.file, missing="image"))
            continue
        if series.uid in taken:
            remarks.append(
                f"{root / one.annotation.file} annotates a series that another file does, and was left alone."
            )
            continue
        taken.add(series.uid)
        cases += _cases(study, series, root / one.annotation.file, table, remarks)
    unlabelled = [
        case
        for series in study.series
        if series.uid not in taken
        for case in _cases(study, series, None, {}, remarks)
    ]
    counted = Counter(table.get(name, name) for one in drawn for name in dict.fromkeys(one.names))
    counted.pop("", None)
    remarks += filter(None, [suggestion(counted)])
    found = labels or _labels(counted, len(drawn), remarks)
    if labels is None and not table:
        found = _with_regions(found, root, drawn, remarks)
    return Dataset(
        name=root.name,
        root=root,
        layout="dicom",
        channels=(
            _channel(study, [series for series in study.series if series.uid in taken] or study.series),
        ),
        labels=found,
        cases=tuple(case.model_copy(update={"segments": found.by_name}) for case in cases),
        unlabelled=tuple(unlabelled),
        orphans=tuple(orphans),
        remarks=tuple(remarks),
    )


def scan_cases(
    study: Study, chosen: Sequence[Series], remarks: list[str], *, fill: bool = False
) -> Iterator[tuple[Case, DicomScan]]:
    """A case for each volume of the series, and the volume; what is no volume is told in `remarks`.

    Args:
        study: that holds them.
        chosen: of it.
        remarks: sentences, to which is added.
        fill: slices that are missing are filled in.
    """
    for series in chosen:
        try:
            found = scans(study, series, fill=fill)
        except DataError as error:
            remarks.append(f"A series of {plural(len(series.frames), 'slice')} was left out: {error}")
            continue
        for scan in found:
            first = next(frame for frame in scan.stack.frames if frame is not None)
            folders = {str(Path(frame.file).parent) for frame in scan.stack.frames if frame is not None}
            if len(folders) > 1:
                remarks.append(
                    f"A series lies in {len(folders)} folders of {study.source.path} ({listed(sorted(folders), 2)}) "
                    "and was left out; put its files into one."
                )
                continue
            patient = pseudonym("patient", *series.patient)
            name = pseudonym("scan", series.uid, scan.stack.phase)
            image = study.source.path / first.file
            yield Case(id=name, images=(image,), patient=patient, fill_slices=fill), scan


@dataclass(frozen=True)
class _Drawn:
    """An annotation and what it calls its segments."""

    annotation: Annotation
    names: list[str]


def _cases(
    study: Study, series: Series, label: Path | None, table: dict[str, str], remarks: list[str]
) -> list[Case]:
    found = [case for case, _ in scan_cases(study, [series], remarks)]
    return [case.model_copy(update={"label": label, "renamed": table or None}) for case in found]


def _labels(counted: Counter[str], cases: int, remarks: list[str]) -> LabelSet:
    kept = common(counted, cases)
    remarks += filter(None, [left_out(name for name in counted if name not in kept)])
    if not kept:
        return LabelSet.from_values({"foreground": 1})
    values = {name: value for value, name in enumerate(sorted(kept), start=1)}
    found = LabelSet.from_values(values)
    return found.model_copy(update={"pairs": left_right_pairs(list(values))})


def _with_regions(plain: LabelSet, root: Path, drawn: Sequence[_Drawn], remarks: list[str]) -> LabelSet:
    """Segments of segmentations that share voxels as regions, as `segment_labels` makes them of files of 3D Slicer.

    Those of structure sets share voxels wherever hands met, and have a whole body beside its organs: of these the later
    value wins.
    """
    layered = [one for one in drawn if one.annotation.overlaps]
    if not layered or any(one.annotation.kind == STRUCTURE_SET for one in drawn):
        return plain
    counted = partial(_counted, values=plain.by_name)
    counts: Counter[tuple[str, ...]] = Counter()
    for found in map_in_order(counted, [root / one.annotation.file for one in layered]):
        counts.update(found)
    if all(len(names) == 1 for names in counts):
        return plain
    alone = {name for one in drawn if one not in layered for name in one.names}
    try:
        return overlapping_labels(plain.labels, counts, alone)
    except DataError as error:
        remarks.append(f"{error} Until then the later value wins.")
        return plain


def _counted(path: Path, values: Mapping[str, int]) -> dict[tuple[str, ...], int]:
    """How many voxels lie in which segments; none of a file that cannot be read, which turns up with its case."""
    try:
        layers, _, segments = read_layers(path, values)
        counts = voxel_counts(layers, segments, path)
    except (DataError, OSError):
        return {}
    return {tuple(sorted(names)): count for names, count in counts.items()}


def _channel(study: Study, used: Sequence[Series]) -> str:
    modalities = sorted({series.modality for series in used})
    if len(modalities) > 1:
        raise DataError(
            f"{study.source.path} holds scans of several modalities ({', '.join(modalities)}); give a folder of each."
        )
    return CHANNELS.get(modalities[0], modalities[0]) if modalities else "MRI"
