"""A prediction on its scan: the contours of every class, for people who want to see and not to count."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.report.figures.colours import class_colours, mixed, rgb
from vesal.report.figures.nesting import containers, inner_first, innermost
from vesal.report.figures.planes import cut_planes
from vesal.report.figures.scan_figures import planes_picture
from vesal.volume.volume import LabelMap, Volume

#: How much of the class's colour lies within its contour.
_FILL = 0.14
#: One pixel of contour for so many pixels of the image's shorter side, at least _THINNEST.
_PIXELS_A_LINE = 320
_THINNEST = 1.25


def overlay_png(volume: Volume, label: LabelMap, labels: LabelSet) -> bytes:
    """The contours of every class on the scan, each in its colour over a faint fill.

    Args:
        volume: image (C, X, Y) or (C, X, Y, Z), of which the first channel is shown. A 2D image of three 8-bit channels
            is shown in colour.
        label: label map on the image's grid, with the file's own values.
        labels: names, values and colours of the classes; of overlapping regions, all contours are drawn.

    Returns:
        PNG bytes. A 2D image keeps its size to the pixel, without axes or margins, so that the picture lies on
        it. A volume becomes its three planes through the slices richest in labels, with a legend.

    Raises:
        DataError: the label map is of another shape than the image, or holds a value that is not declared.
    """
    from PIL import Image

    if label.geometry.shape != volume.geometry.shape:
        raise DataError(
            f"The label map is {label.geometry.shape} and the scan {volume.geometry.shape}; "
            "an overlay needs both on one grid, so resample one of them."
        )
    contiguous = labels.encode(label.array)
    if volume.geometry.ndim == 3:
        return planes_picture(volume, labels, [contiguous])
    plane = cut_planes(volume, [contiguous])[0]
    picture = plane.image if plane.image.ndim == 3 else np.repeat(plane.image[..., None], 3, axis=2)
    contiguous = plane.maps[0]
    width = max(_THINNEST, min(contiguous.shape) / _PIXELS_A_LINE)
    masks, colours = labels.masks(contiguous), class_colours(labels)
    filled, depths = innermost(labels, masks), [_depth(mask) for mask in masks]
    # Inner regions first, whose lines are broader by those of the outer ones that come over them.
    for index in inner_first(labels):
        if masks[index].any():
            shared = sum(np.abs(depths[other] - depths[index]) < 1 for other in containers(labels)[index])
            line = _contour(masks[index], depths[index], width * (1 + shared))
            alpha = np.maximum(line, _FILL * filled[index])[..., None]
            picture = picture * (1 - alpha) + alpha * rgb(mixed(colours[index], "#ffffff", 0.15))
    stream = io.BytesIO()
    Image.fromarray(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def _depth(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Pixels from each pixel's centre to the border of the mask, which runs between pixels, also along the image's."""
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] - 0.5)


def _contour(
    mask: NDArray[np.bool_], depth: NDArray[np.float64], width: float | NDArray[np.float64]
) -> NDArray[np.float32]:
    """How much of each pixel the contour covers, 0..1: a line of `width` pixels within the mask's border."""
    return np.asarray(np.clip(width - depth + 0.5, 0.0, 1.0) * mask, dtype=np.float32)
