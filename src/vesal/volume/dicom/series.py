"""The series of a study: which of its objects make a volume, which annotate one, and which are neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vesal.errors import DataError
from vesal.parallel import Progress
from vesal.volume.dicom.extra import needed
from vesal.volume.dicom.frame import Frame
from vesal.volume.dicom.frames import frames_of
from vesal.volume.dicom.header import decoding, read_header
from vesal.volume.dicom.source import Source

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: SOP classes that annotate (PS3.4 B.5): segmentation, label map segmentation, structure set.
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

#: What is no scan, by its modality, in words.
_NO_SCANS = {
    "RTDOSE": "a dose",
    "RTPLAN": "a treatment plan",
    "RTRECORD": "a treatment record",
    "RTIMAGE": "a picture of a treatment",
    "SR": "a report",
    "PR": "a presentation state",
    "KO": "a key object note",
    "REG": "a registration",
    "DOC": "a document",
    "SEG": "a segmentation",
    "RTSTRUCT": "a structure set",
}


#: What all slices of a series have in common, in words -> where it stands.
_ORIGINS = {
    "patient": ("PatientID", "IssuerOfPatientID"),
    "study": ("StudyInstanceUID",),
    "frame of reference": ("FrameOfReferenceUID",),
}

#: Modalities whose objects always say where they lie: one that does not is damaged.
_SLICES = ("CT", "MR", "PT")


@dataclass(frozen=True, eq=False)
class Series:
    """Objects of one series instance UID that hold slices.

    Attributes:
        uid, study: series and study instance UID.
        modality: 'CT', 'MR', 'PT' and so on.
        description: series description; people write into it what they like, names of patients too.
        number: of the series; None where it has none.
        frames: in the order of the files.
        frame_of_reference: UID of the space in which the positions count; '' where there is none.
        patient: what tells the patient from others: number, issuer of numbers, name.
        problem: why an object of it is no slice, in a sentence; '' where all are.
    """

    uid: str
    study: str
    modality: str
    description: str
    number: int | None
    frames: tuple[Frame, ...]
    frame_of_reference: str = ""
    patient: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, eq=False)
class Annotation:
    """A segmentation or a structure set.

    Attributes:
        file: its key in the source.
        kind: SOP class UID.
        series: UIDs of the series that it says it was drawn on; () where it does not say.
        overlaps: whether it is a segmentation whose segments may share voxels.
    """

    file: str
    kind: str
    series: tuple[str, ...]
    overlaps: bool = False


@dataclass(frozen=True, eq=False)
class Study:
    """What a folder or archive holds.

    Attributes:
        source: of the objects.
        series: those that may be volumes, in the order of their numbers.
        annotations: segmentations and structure sets.
        left_out: what is neither, in words -> files.
    """

    source: Source
    series: tuple[Series, ...]
    annotations: tuple[Annotation, ...] = ()
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def remark(self) -> str:
        """A sentence about what was left out; '' where nothing was."""
        if not self.left_out:
            return ""
        parts = (f"{what} ({len(files)})" for what, files in sorted(self.left_out.items()))
        return f"Left out of {self.source.path}: {', '.join(parts)}."


def read_study(source: Source, progress: Progress | None = None) -> Study:
    """Read the headers of all objects.

    Raises:
        DataError: no file is a DICOM object, or one is damaged.
        UsageError: pydicom is not installed.
    """
    grouped: dict[str, list[tuple[str, Dataset]]] = {}
    annotations: list[Annotation] = []
    left_out: dict[str, list[str]] = {}
    found = 0
    for done, name in enumerate(source.names, start=1):
        header = read_header(source, name)
        if progress is not None:
            progress(done, len(source.names))
        if header is None:
            continue
        found += 1
        with decoding(source.file(name)):
            kind = str(header.get("SOPClassUID", ""))
            if kind in (*SEGMENTATIONS, STRUCTURE_SET):
                annotations.append(_annotation(name, kind, header))
            elif reason := _no_slices(header):
                left_out.setdefault(reason, []).append(name)
            elif not (uid := str(header.get("SeriesInstanceUID", ""))):
                raise DataError(f"{source.file(name)} does not say of which series it is; send it again.")
            else:
                grouped.setdefault(uid, []).append((name, header))
    if not found:
        raise DataError(f"{source.path} holds no DICOM object; give the folder or archive of a study.")
    series = [_series(source, uid, members) for uid, members in grouped.items()]
    series.sort(key=lambda one: (one.number is None, one.number or 0, one.uid))
    return Study(source, tuple(series), tuple(annotations), left_out)


def _annotation(name: str, kind: str, header: Dataset) -> Annotation:
    overlaps = (
        kind != STRUCTURE_SET
        and len(header.get("SegmentSequence") or []) > 1
        and str(header.get("SegmentationType", "")) != "LABELMAP"
        and str(header.get("SegmentsOverlap", "")) != "NO"
    )
    return Annotation(name, kind, referenced_series(header), overlaps)


def _series(source: Source, uid: str, members: Sequence[tuple[str, Dataset]]) -> Series:
    frames: list[Frame] = []
    problem = ""
    for name, header in members:
        try:
            with decoding(source.file(name)):
                frames += frames_of(name, header)
        except DataError as error:
            problem = problem or str(error)
    first = members[0][1]
    with decoding(source.file(members[0][0])):
        number = str(first.get("SeriesNumber") or "")
        return Series(
            uid=uid,
            study=str(first.get("StudyInstanceUID", "")),
            modality=str(first.get("Modality", "")),
            description=str(first.get("SeriesDescription", "")),
            number=int(number) if number.lstrip("-").isdigit() else None,
            frames=tuple(frames),
            frame_of_reference=str(first.get("FrameOfReferenceUID", "")),
            patient=tuple(
                str(first.get(key, "")) for key in ("PatientID", "IssuerOfPatientID", "PatientName")
            ),
            problem=problem or _several_origins(source, members),
        )


def _several_origins(source: Source, members: Sequence[tuple[str, Dataset]]) -> str:
    """Why slices that share a series UID are no one series, in a sentence; '' where they are.

    Whoever takes names away may give one UID to the series of several patients: their slices must not become one scan.
    """
    known: dict[str, tuple[str, str]] = {}
    for name, header in members:
        with decoding(source.file(name)):
            found = {
                what: "\0".join(str(header.get(keyword, "")) for keyword in keywords)
                for what, keywords in _ORIGINS.items()
            }
        for what, own in found.items():
            first, value = known.setdefault(what, (name, own))
            if own != value:
                return (
                    f"{source.file(name)} has the series UID of {first} and is of another {what}; give the files of "
                    "one series alone, or have the identifiers corrected."
                )
    return ""


def _no_slices(header: Dataset) -> str:
    """Why an object is no slice of a scan, in words; '' where it is one."""
    modality, kind = str(header.get("Modality", "")), str(header.get("SOPClassUID", ""))
    if modality in _NO_SCANS:
        return _NO_SCANS[modality]
    if kind.startswith(_SECONDARY_CAPTURE) and len(kind) < len(_SECONDARY_CAPTURE) + 3:
        return "a secondary capture"
    if "LOCALIZER" in [str(part).upper() for part in header.get("ImageType") or []]:
        return "a localizer"
    if not _is_image(kind) and (not header.get("Rows") or not header.get("Columns")):
        return f"an object without pixels ({modality or 'no modality'})"
    palette = str(header.get("PhotometricInterpretation", "")).strip() == "PALETTE COLOR"
    if int(header.get("SamplesPerPixel") or 1) != 1 or palette:
        return "a colour picture"
    placed = "ImagePositionPatient" in header and "ImageOrientationPatient" in header
    if not placed and modality not in _SLICES and "PerFrameFunctionalGroupsSequence" not in header:
        return "a picture without a position"
    return ""


def _is_image(kind: str) -> bool:
    """Whether a SOP class is one of slices: then an object without them was cut short."""
    return needed("pydicom.uid").UID(kind).name.endswith("Image Storage")


def referenced_series(header: Dataset) -> tuple[str, ...]:
    """The series that an annotation names, wherever it does so."""
    found: dict[str, None] = {}
    for one in header.get("ReferencedSeriesSequence") or []:
        found[str(one.get("SeriesInstanceUID", ""))] = None
    for frame in header.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            for one in study.get("RTReferencedSeriesSequence") or []:
                found[str(one.get("SeriesInstanceUID", ""))] = None
    found.pop("", None)
    return tuple(found)
