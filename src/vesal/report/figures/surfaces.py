"""The smooth surface of every class of a label map, as a mesh in millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import LabelSet
from vesal.volume.geometry import Geometry

Floats = NDArray[np.floating]

#: No class is meshed on a grid finer than this along its longest side: more could not be seen.
_FINEST_GRID = 96
#: Nor on one coarser than this: a speck is round too.
_COARSEST_GRID = 40
#: What smoothing would take away is kept as it was: parts of the mask that are farther from what remained than so many
#: of a voxel's longest sides, and components of which less than this share remained.
_FARTHEST_SIDES = 1.5
_LEAST_SHARE = 0.75


@dataclass(frozen=True, eq=False)
class Mesh:
    """A closed surface: vertices (V, 3) in RAS mm, outward unit normals (V, 3), faces (F, 3) of vertex numbers."""

    vertices: Floats
    normals: Floats
    faces: NDArray[np.intp]


def class_surfaces(map_: NDArray[np.uint8], geometry: Geometry, labels: LabelSet) -> list[Mesh | None]:
    """The surface of each class, region or label, of a contiguous label map (X, Y, Z); None of one it has not.

    Each is made in its own box: a mask of the whole image a class would fill the memory.
    """

    def own(index: int, box: tuple[slice, ...] | None) -> Mesh | None:
        if box is None:
            return None
        return surface(labels.mask(index, map_[box]), geometry, tuple(side.start for side in box))

    return [own(index, box) for index, box in enumerate(labels.boxes(map_))]


def surface(mask: NDArray[np.bool_], geometry: Geometry, first: tuple[int, ...] = (0, 0, 0)) -> Mesh | None:
    """The smooth surface of a mask (X, Y, Z), or None where the mask is empty.

    The mask may be cut out of the image: `first` are the indices of its first voxel there.

    The signed distance is interpolated to cubic voxels, which turns the steps of thick slices into slopes, and
    smoothed by twicing (Tukey 1977), which takes the steps away and leaves the volume: a ball loses less than
    half a voxel of its radius. Specks and vessels that are thinner than what is smoothed away stay as they were.
    """
    from scipy import ndimage
    from skimage.measure import marching_cubes

    found = ndimage.find_objects(mask.view(np.uint8))
    if not found or found[0] is None:
        return None
    start = np.array([axis.start for axis in found[0]]) + first - 2
    cropped = np.pad(mask[found[0]], 2)
    spacing = np.asarray(geometry.spacing_mm)
    extent_mm = np.array(cropped.shape) * spacing
    inside = _coarsened(cropped, extent_mm)
    voxel_mm = extent_mm / inside.shape

    step = max(float(voxel_mm.min()), float(extent_mm.max()) / _FINEST_GRID)
    step = min(step, float(extent_mm.max()) / _COARSEST_GRID)
    target = np.maximum(4, np.round(extent_mm / step)).astype(int)

    def on_grid(sampling: NDArray[np.floating] | float) -> Floats:
        distance = ndimage.distance_transform_edt(inside, sampling=sampling)
        distance -= ndimage.distance_transform_edt(~inside, sampling=sampling)
        zoom = target / np.array(distance.shape)
        return ndimage.zoom(distance.astype(np.float32), zoom, order=1, grid_mode=True, mode="nearest")

    sigmas = np.clip((0.65 * voxel_mm + 0.5 * voxel_mm.min()) / step, 0.9, 8.0)
    depth = _with_specks(on_grid(1.0), inside)
    field = on_grid(voxel_mm)
    once = ndimage.gaussian_filter(field, sigmas)
    # What smoothing took away is smoothed and given back: coarse shapes keep their size.
    twice = np.asarray(once + ndimage.gaussian_filter(field - once, sigmas))
    smooth = _kept(twice, depth, _FARTHEST_SIDES * float(voxel_mm.max()) / step)
    vertices, faces, _, _ = marching_cubes(np.pad(smooth, 1, constant_values=-step), level=0.0)
    # From cells of the padded cubic grid to voxel indices of the source, whose faces coincide.
    indices = (vertices - 1 + 0.5) * (extent_mm / target) / spacing - 0.5 + start
    world = indices @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
    return _with_normals(world.astype(np.float32), faces.astype(np.intp))


def _coarsened(mask: NDArray[np.bool_], extent_mm: NDArray[np.floating]) -> NDArray[np.bool_]:
    """A mask on a very fine grid on a coarser one, so that the distance transforms stay cheap."""
    from scipy import ndimage

    finest = np.ceil(1.5 * _FINEST_GRID * extent_mm / extent_mm.max() + 4)
    coarse = np.minimum(mask.shape, np.maximum(1, finest))
    if (coarse >= mask.shape).all():
        return mask
    share = ndimage.zoom(
        mask.astype(np.float32), coarse / mask.shape, order=1, grid_mode=True, mode="nearest"
    )
    kept = np.where(share >= min(0.5, float(share.max())), 1.0, -1.0)
    return np.asarray(_with_specks(kept, mask) > 0)


def _with_specks(depth: Floats, inside: NDArray[np.bool_]) -> Floats:
    """A field, positive inside, on a coarser grid, with the components of the mask that fell between its points.

    Specks far apart make a large box, whose grid may be coarser than they are.
    """
    from scipy import ndimage

    components, count = ndimage.label(inside, np.ones((3, 3, 3)))
    voxels = np.argwhere(inside)
    cells = tuple(((voxels + 0.5) * depth.shape / inside.shape).astype(int).T)
    of_voxel = components[inside]
    deepest = np.asarray(ndimage.maximum(depth[cells], of_voxel, np.arange(1, count + 1)))
    missing = deepest[of_voxel - 1] <= 0
    depth[tuple(axis[missing] for axis in cells)] = 0.5
    return depth


def _kept(smooth: Floats, depth: Floats, farthest: float) -> Floats:
    """A smoothed field with the small parts of the mask that it has lost.

    Args:
        smooth: positive inside.
        depth: the mask's own signed distance on the same grid, in voxels.
        farthest: cells of this grid from what remains beyond which a part is lost.
    """
    from scipy import ndimage

    mask, remains = depth > 0, smooth > 0
    components, count = ndimage.label(mask, np.ones((3, 3, 3)))
    shares = ndimage.mean(remains, components, np.arange(1, count + 1))
    lost = np.concatenate([[False], np.asarray(shares) < _LEAST_SHARE])[components]
    if remains.any():
        lost |= mask & (ndimage.distance_transform_edt(~remains) > farthest)
    if not lost.any():
        return smooth
    near = ndimage.distance_transform_edt(~lost) <= farthest
    return np.where(near, np.maximum(smooth, depth), smooth)


def _with_normals(vertices: Floats, faces: NDArray[np.intp]) -> Mesh:
    """Normals as the area-weighted mean of the faces around a vertex, turned outwards."""
    corners = vertices[faces] - vertices.mean(axis=0)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # The enclosed volume is negative where the faces turn inwards, as after a mirrored affine.
    if float((corners[:, 0] * across).sum()) < 0:
        faces, across = faces[:, ::-1], -across
    normals = np.stack(
        [np.bincount(faces.ravel(), np.repeat(across[:, axis], 3), len(vertices)) for axis in range(3)],
        axis=1,
    )
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return Mesh(vertices, (normals / np.maximum(lengths, 1e-12)).astype(np.float32), faces)
