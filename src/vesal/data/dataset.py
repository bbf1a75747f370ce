"""A data set: which files belong to which case and patient, and what their labels mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field, ValidationError

from vesal.data.labels import LabelSet, Threshold
from vesal.errors import DataError, UsageError, reason_of
from vesal.record import Record

#: What the channels of a picture in colour are called where nobody named them.
COLOURS = ("red", "green", "blue")


class SliceOf(Record):
    """Where a 2D case lies in the volume that it was cut from.

    Attributes:
        volume: name of the volume.
        number: of the slice, along the volume.
        distance_mm: between slices whose numbers differ by one; None where nothing states it.
    """

    volume: str
    number: int
    distance_mm: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class Case(Record):
    """One scan with, if it is annotated, its label.

    Attributes:
        id: unique in the data set; names the prediction's file.
        images: files of the channels in order; one file may hold several channels.
        label: the label's file, or a folder of masks that are called as the labels, or None.
        patient: cases of one patient stay on one side of every split.
        annotated: names of the labels that were drawn in this case; None means all.
        segments: name -> value, of a label file that may name its segments (.seg.nrrd) and of a folder of masks; None
            for others.
        renamed: what the label file calls a segment -> the label that it is, '' for none; None where names are labels.
        fill_slices: slices of a DICOM series that are missing are filled in from their neighbours.
        slice_of: of a slice, its place in its volume; None for a case that stands for itself.
        pixel_mm: (column, row) size of a pixel where a picture does not say it; None means 1 mm.
        threshold: how its soft mask is read; None where the file holds label values.
        channels: how many a picture is brought to, where that is the same picture (grey as colour, or the reverse).
        lacking: places of channels of which no file was found, for a model that can do without them; `images` are the
            others'.
    """

    id: str
    images: tuple[Path, ...]
    label: Path | None = None
    patient: str
    annotated: tuple[str, ...] | None = None
    segments: dict[str, int] | None = None
    renamed: dict[str, str] | None = None
    fill_slices: bool = False
    slice_of: SliceOf | None = None
    pixel_mm: tuple[float, float] | None = None
    channels: int | None = None
    threshold: Threshold | None = None
    lacking: tuple[int, ...] = Field(default=(), exclude=True)

    @property
    def segment_values(self) -> dict[str, int] | None:
        """What the label file calls its segments -> value: of `segments`, by the names that `renamed` gives."""
        if self.segments is None or self.renamed is None:
            return self.segments
        kept = {name: value for name, value in self.segments.items() if name not in self.renamed}
        own = {name: self.segments[label] for name, label in self.renamed.items() if label in self.segments}
        return kept | own

    @property
    def files(self) -> tuple[Path, ...]:
        """Of the channels and the label, as far as there is one."""
        return self.images if self.label is None else (*self.images, self.label)


class Orphan(Record):
    """A file whose partner is not there, so that it cannot be trained on.

    Attributes:
        id: what the case would be called.
        path: the file that is there.
        missing: what is not there: 'label', 'image', or the name of a channel.
    """

    id: str
    path: Path
    missing: str


class Dataset(Record):
    """Cases and what they hold.

    Attributes:
        name: for people.
        root: the folder that was read.
        layout: name of the layout that recognised it (a key of LAYOUTS).
        channels: names of the channels in order, such as ("T2", "ADC"); "CT" selects the CT normalisation.
        labels: what the label maps hold.
        cases: annotated cases, in a stable order.
        unlabelled: scans without a label (a test set).
        orphans: images without a label where one is expected, labels without an image.
        remarks: what the layout took and why, one sentence each.
    """

    described: ClassVar[tuple[str, str]] = ("a data set", "make it anew from the files")

    name: str
    root: Path
    layout: str
    channels: tuple[str, ...]
    labels: LabelSet
    cases: tuple[Case, ...]
    unlabelled: tuple[Case, ...] = ()
    orphans: tuple[Orphan, ...] = ()
    remarks: tuple[str, ...] = ()

    def with_labels(self, labels: LabelSet) -> Dataset:
        """The same files, whose label maps hold something else."""

        def with_them(case: Case) -> Case:
            update: dict[str, object] = {
                "threshold": labels.reading,
                "segments": case.segments if case.segments is None else labels.by_name,
                "annotated": _drawn(case, self.labels, labels),
            }
            return case.model_copy(update=update)

        cases = tuple(map(with_them, self.cases))
        return self.model_copy(update={"labels": labels, "cases": cases})

    def decided(self, values: Mapping[str, int] | None, threshold: float | None) -> Dataset:
        """The data set with what a person says of its labels: names and values, or the threshold of soft masks.

        Raises:
            UsageError: what is said does not fit together.
            DataError: nothing is said, and it is not clear what the files hold.
        """
        labels = self.labels
        if values is None and threshold is None:
            if labels.question:
                raise DataError(labels.question)
            return self
        try:
            if values is not None:
                labels = LabelSet.from_values(values)
            return self.with_labels(
                LabelSet.model_validate(labels.model_dump() | {"threshold": threshold, "question": ""})
            )
        except ValidationError as error:
            raise UsageError(f"The labels that were set do not fit together: {reason_of(error)}.") from error


def _drawn(case: Case, before: LabelSet, labels: LabelSet) -> tuple[str, ...] | None:
    """Which labels were drawn in a case, when the data set's labels become others: the same by their value.

    Where the label file names what it holds, the same by their name.
    """
    if case.annotated is None:
        return None
    values = {value for name, value in before.by_name.items() if name in case.annotated}
    drawn = tuple(
        name
        for name, value in labels.by_name.items()
        if (value in values if case.segments is None else name in case.annotated)
    )
    return None if len(drawn) == len(labels.by_name) else drawn
