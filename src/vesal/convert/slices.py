"""Volumes as series of pictures and back: which way up, which intensities, and the sidecar that makes it exact.

A volume is turned to RAS+ without interpolation and cut along one axis. A picture shows what a radiologist
expects: in axial and coronal slices the patient's right is on the left, in sagittal ones the face looks to the
left; anterior or superior is on top. Slices are numbered from 0 as RAS+ counts: from left to right (x),
from posterior to anterior (y), from inferior to superior (z).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from vesal.data.dataset import SliceOf
from vesal.data.labels import LabelSet
from vesal.files import write_text
from vesal.layouts.scan_files import visible
from vesal.record import Record
from vesal.volume.geometry import Array, Geometry
from vesal.volume.nifti_forms import NiftiForms
from vesal.volume.volume import LabelMap, Volume

#: Name of the sidecar that says how pictures lie in their volumes.
SIDECAR = "slices.json"

#: Cut along: x gives sagittal slices, y coronal and z axial ones; 'thick' is the axis of the coarsest spacing.
AXES = ("x", "y", "z", "thick")

#: Of the coarsest spacing over the next one, for 'thick' to differ from z.
_THICK = 1.5

#: Air, lungs, soft tissue and most bone (Hounsfield units).
_CT_WINDOW = (-1000.0, 1000.0)
#: Of the values above the lowest, which is the air around many scans.
_PERCENTILES = (0.5, 99.5)

Window = tuple[float, float]


class SlicedVolume(Record):
    """How one volume became pictures: all that is needed to put them together again.

    Attributes:
        patient, annotated: as in `Case`.
        test: is no training case.
        images, labels: folders of its pictures, below the sidecar's; `labels` is None for a scan without a label.
        shape, affine: of the volume, (X, Y, Z), or (X, Y) for what was a picture before.
        label_affine: of its label map where that differs from the image's, bit by bit.
        nifti, label_nifti: what the NIfTI headers of both said of their place (`NiftiForms.to_dict`), if any.
        axis: 'x', 'y' or 'z' that it was cut along; None for what was a picture before.
        windows: of each channel, the intensities that became 0 and the highest value.
        bits: of a pixel, 8 or 16.
        colour: the three channels are in one picture.
        dtype, label_dtype: numpy's names of the types that the volume had.
        written: numbers of the slices that are there; the others were empty and left out.
    """

    patient: str
    annotated: tuple[str, ...] | None = None
    test: bool = False
    images: str
    labels: str | None
    shape: tuple[int, ...]
    affine: tuple[tuple[float, ...], ...]
    label_affine: tuple[tuple[float, ...], ...] | None = None
    nifti: dict[str, Any] | None = None
    label_nifti: dict[str, Any] | None = None
    axis: str | None
    windows: tuple[Window, ...]
    bits: int
    colour: bool = False
    dtype: str
    label_dtype: str | None = None
    written: tuple[int, ...]

    @field_validator("dtype", "label_dtype")
    @classmethod
    def _is_number(cls, name: str | None) -> str | None:
        if name is not None and not (name.startswith(("int", "uint", "float")) and hasattr(np, name)):
            raise ValueError(f"'{name}' is no type of numbers")
        return name

    @property
    def geometry(self) -> Geometry:
        """The volume's grid."""
        return self._grid(self.affine, self.nifti)

    @property
    def label_geometry(self) -> Geometry:
        """Its label map's."""
        return self._grid(self.label_affine or self.affine, self.label_nifti)

    def _grid(self, affine: tuple[tuple[float, ...], ...], nifti: dict[str, Any] | None) -> Geometry:
        return Geometry(
            self.shape, np.asarray(affine), None if nifti is None else NiftiForms.from_dict(nifti)
        )

    @property
    def depth(self) -> int:
        """Slices of the whole volume, those left out included."""
        if self.axis is None:
            return 1
        turned = self.geometry.turned(self.geometry.turn_to_ras())
        return turned.shape["xyz".index(self.axis)]

    @property
    def plane(self) -> Geometry:
        """The grid of one picture (columns, rows)."""
        return picture_geometry(self.geometry, self.axis)

    @property
    def distance_mm(self) -> float | None:
        """Between neighbouring slices; None for what was a picture before."""
        if self.axis is None:
            return None
        turned = self.geometry.turned(self.geometry.turn_to_ras())
        return turned.spacing_mm["xyz".index(self.axis)]

    def place(self, name: str, number: int) -> SliceOf | None:
        """Where slice `number` of the volume `name` lies; None for what was a picture before."""
        if self.axis is None:
            return None
        return SliceOf(volume=name, number=number, distance_mm=self.distance_mm)

    def slice_id(self, name: str, number: int) -> str:
        """What slice `number` of the volume `name` is called, which the layout 'png' takes apart again."""
        return name if self.axis is None else f"{name}_slice_{number:04d}"

    def picture_names(self, name: str, number: int) -> tuple[str, ...]:
        """Names of the pictures of one slice, one a channel, without ending."""
        stem = self.slice_id(name, number)
        if self.colour or len(self.windows) == 1:
            return (stem,)
        return tuple(f"{stem}_{channel:04d}" for channel in range(len(self.windows)))


class SliceIndex(Record):
    """The sidecar `slices.json`: every volume of a folder of pictures, and what the masks' values stood for.

    Attributes:
        version: of this format.
        name, channels: of the data set.
        labels: what the masks hold; None where there are none.
        original: the label values that the volumes had, by those of the masks.
        volumes: by id.
    """

    described = ("how pictures lie in their volumes", "convert the volumes again")

    version: Literal[1] = 1
    name: str
    channels: tuple[str, ...]
    labels: LabelSet
    original: dict[int, int]
    volumes: dict[str, SlicedVolume]

    def save(self, path: str | Path) -> None:
        """Write in one line: there may be thousands of volumes."""
        write_text(path, self.model_dump_json() + "\n")


# --- which way up ------------------------------------------------------------------------------------------


def resolve_axis(axis: str, geometry: Geometry) -> str | None:
    """'x', 'y' or 'z' for a volume that is to be cut along `axis` (of AXES), None for a picture."""
    if geometry.ndim == 2:
        return None
    if axis != "thick":
        return axis
    spacing = geometry.turned(geometry.turn_to_ras()).spacing_mm
    ranked = sorted(range(3), key=lambda index: spacing[index])
    return "xyz"[ranked[2]] if spacing[ranked[2]] >= _THICK * spacing[ranked[1]] else "z"


def cut(array: Array, geometry: Geometry, axis: str | None) -> Array:
    """(X, Y, Z) -> (slices, columns, rows), upright pictures; (X, Y) -> (1, X, Y) as it is. A view, not a copy.

    >>> volume = np.zeros((4, 5, 6))
    >>> volume[3, 4, 5] = 1.0  # right, anterior, superior
    >>> np.argwhere(cut(volume, Geometry.from_spacing((4, 5, 6), (1, 1, 1)), "z")).tolist()
    [[5, 0, 0]]
    """
    if axis is None:
        return array[None]
    turned = geometry.turn_to_ras().apply(array)
    return np.asarray(np.moveaxis(turned, "xyz".index(axis), 0)[:, ::-1, ::-1])


def uncut(slices: Array, geometry: Geometry, axis: str | None) -> Array:
    """The inverse of `cut`: (slices, columns, rows) -> an array of `geometry`'s shape."""
    if axis is None:
        return slices[0]
    turned = np.moveaxis(slices[:, ::-1, ::-1], 0, "xyz".index(axis))
    # In Fortran's order, in which files hold it.
    return np.asfortranarray(geometry.turn_to_ras().undo(turned))


def picture_geometry(geometry: Geometry, axis: str | None) -> Geometry:
    """Size and spacing of one picture (columns, rows)."""
    if axis is None:
        return geometry
    turned = geometry.turned(geometry.turn_to_ras())
    across, up = (other for other in range(3) if other != "xyz".index(axis))
    spacing = turned.spacing_mm
    return Geometry.from_spacing((turned.shape[across], turned.shape[up]), (spacing[across], spacing[up]))


# --- which intensities -------------------------------------------------------------------------------------


def choose_window(channel: Array, wanted: str | Window, *, bits: int, name: str) -> Window:
    """The intensities that become black and white.

    'auto': pictures of so many bits stay as they are; CT (by the channel's name) is shown from -1000 to 1000 HU;
    all else from 0, where that is the lowest value, or the 0.5th percentile of the values above the lowest, to
    their 99.5th percentile. 'full': from the lowest to
    the highest value; whole numbers that fit into so many bits lose nothing.

    Args:
        channel: (*spatial).
        wanted: 'auto', 'full' or (low, high) in the scan's own units.
        bits: 8 or 16.
        name: of the channel.
    """
    if not isinstance(wanted, str):
        return wanted
    levels = float((1 << bits) - 1)
    if wanted == "auto":
        if channel.dtype.kind == "u" and channel.dtype.itemsize * 8 <= bits:
            return 0.0, levels
        if name.strip().lower() == "ct":
            return _CT_WINDOW
    values = channel[np.isfinite(channel)] if channel.dtype.kind == "f" else channel.ravel()
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if wanted == "full":
        if channel.dtype.kind in "ui" and high - low <= levels:
            return low, low + levels
    else:
        above = values[values > values.min()]
        if above.size:
            darkest, high = (float(value) for value in np.percentile(above, _PERCENTILES))
            # Zero is nothing in MRI and stays zero; any other lowest value is taken for an outlier.
            low = low if low == 0.0 else darkest
    return (low, high) if high > low else (low, low + 1.0)


def to_pixels(values: Array, window: Window, bits: int) -> NDArray[Any]:
    """Intensities -> whole numbers from 0 to 2^bits - 1; what is not finite becomes 0.

    >>> to_pixels(np.array([-2000, -1000, 400, 500]), (-1000.0, 400.0), 8).tolist()
    [0, 0, 255, 255]
    """
    low, high = window
    levels = (1 << bits) - 1
    kept = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    scaled = (np.clip(kept, low, high) - low) * (levels / (high - low))
    return np.rint(scaled).astype(np.uint8 if bits == 8 else np.uint16)


def from_pixels(pixels: Array, window: Window, bits: int, dtype: str) -> Array:
    """The inverse of `to_pixels`, to half a step of the quantisation, in the type that the volume had.

    >>> from_pixels(np.array([0, 255], dtype=np.uint8), (-1000.0, 400.0), 8, "int16").tolist()
    [-1000, 400]
    """
    low, high = window
    values = low + pixels.astype(np.float64) * ((high - low) / ((1 << bits) - 1))
    kind = np.dtype(dtype)
    if kind.kind in "ui":
        limits = np.iinfo(kind)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return np.asarray(values.astype(kind))


# --- volumes out of pictures -------------------------------------------------------------------------------


def find_sidecar(folder: Path) -> Path | None:
    """The sidecar in a folder or, where the folder holds pictures only, beside it."""
    for place in (folder, folder.parent):
        if (place / SIDECAR).is_file():
            return place / SIDECAR
        if any(path.is_dir() for path in visible(folder)):
            return None
    return None


def join_images(record: SlicedVolume, pictures: Sequence[Array]) -> Volume:
    """The volume (C, *spatial) out of its slices' pictures, each (C, columns, rows), in the order of `written`.

    Slices that were left out get the lowest intensity of the window.
    """
    channels = []
    for channel, window in enumerate(record.windows):
        black = from_pixels(np.zeros(1, dtype=np.uint8), window, record.bits, record.dtype)
        slices = (from_pixels(picture[channel], window, record.bits, record.dtype) for picture in pictures)
        channels.append(_joined(record, slices, black[0], np.dtype(record.dtype)))
    return Volume(np.stack(channels), record.geometry)


def join_masks(record: SlicedVolume, masks: Sequence[Array], background: int) -> LabelMap:
    """The label map out of its slices' masks (columns, rows); slices that were left out are background."""
    kind = np.result_type(*masks) if masks else np.dtype(np.uint8)
    return LabelMap(_joined(record, masks, background, kind), record.label_geometry)


def _joined(record: SlicedVolume, slices: Iterable[Array], empty: Any, kind: np.dtype[Any]) -> Array:
    stack = np.full((record.depth, *record.plane.shape), empty, dtype=kind)
    for number, plane in zip(record.written, slices, strict=True):
        stack[number] = plane
    return uncut(stack, record.geometry, record.axis)
