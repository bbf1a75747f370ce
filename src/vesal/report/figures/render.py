"""Surfaces of label maps as shaded pictures, drawn by a small rasteriser in numpy.

Each class becomes a mesh (marching cubes on its signed distance), each mesh a layer with depth and normals,
and the layers are blended from far to near. Outer classes that would hide inner ones are made translucent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import LabelSet
from vesal.report.figures.colours import class_colours, rgb
from vesal.report.figures.nesting import containers
from vesal.report.figures.surfaces import Floats, Mesh

#: Pictures are drawn at twice their size and averaged.
_SUPERSAMPLING = 2
#: A class that hides more than this share of another one is made translucent.
_HIDING = 0.6
_TRANSLUCENT = 0.26
#: Pixels of the rough picture in which that is found out.
_ROUGH = 120
#: Candidate pixels that are tested at once, which bounds memory.
_CHUNK = 2_000_000


@dataclass(frozen=True)
class Camera:
    """Where the viewer stands, in degrees: azimuth from the front towards the patient's left, and elevation.

    The projection is parallel, so nothing looks smaller for being farther away.
    """

    azimuth: float = 35.0
    elevation: float = 22.0

    def axes(self) -> NDArray[np.float64]:
        """(3, 3): in RAS, the unit vectors to the right of the page, up the page, and to the viewer."""
        azimuth, elevation = np.deg2rad([self.azimuth, self.elevation])
        viewer = np.array(
            [-np.sin(azimuth) * np.cos(elevation), np.cos(azimuth) * np.cos(elevation), np.sin(elevation)]
        )
        up = np.array([0.0, 0.0, 1.0]) - viewer[2] * viewer
        up /= np.linalg.norm(up)
        return np.stack([np.cross(up, viewer), up, viewer])


@dataclass(frozen=True, eq=False)
class _Layer:
    """A mesh as the camera sees it.

    Attributes:
        depth: (H, W) of the nearest wall, growing towards the viewer; -inf where the mesh is not.
        normals: (H, W, 3) there, along the camera's axes.
    """

    depth: Floats
    normals: Floats

    @property
    def covered(self) -> NDArray[np.bool_]:
        return np.isfinite(self.depth)


@dataclass(frozen=True, eq=False)
class _View:
    """What the camera sees: its axes, the middle of all meshes along them, their width or height, their depth (mm)."""

    axes: NDArray[np.float64]
    centre: Floats
    extent_mm: float
    depth_mm: float

    def scale(self, pixels: int) -> float:
        """Pixels a millimetre in a picture of so many pixels."""
        return 0.92 * pixels / self.extent_mm

    def seen(self, mesh: Mesh, pixels: int) -> Floats:
        """Vertices as (column, row, depth) of a picture of so many pixels."""
        points = ((mesh.vertices @ self.axes.T - self.centre) * self.scale(pixels)).astype(np.float32)
        return (points * (1, -1, 1) + (pixels / 2, pixels / 2, 0)).astype(np.float32)


def render_meshes(
    meshes: Sequence[Sequence[Mesh | None]],
    labels: LabelSet,
    *,
    size: int = 480,
    camera: Camera | None = None,
) -> list[NDArray[np.uint8]]:
    """Pictures of the surfaces of label maps from one place at one scale, so that they can be compared.

    Args:
        meshes: for each map, such as truth and prediction, one mesh a class of `labels`, None where it has none.
        labels: what is drawn, and in which colours.
        size: width and height of each picture in pixels.
        camera: by default from the front, a little left and above.

    Returns:
        (size, size, 4) uint8 RGBA, transparent where nothing is; one a map. A class translucent in one picture
        is so in all.
    """
    view = _view(meshes, camera or Camera())
    if view is None:
        return [np.zeros((size, size, 4), dtype=np.uint8) for _ in meshes]
    full = size * _SUPERSAMPLING
    opacity = np.min([_opacities(of_map, labels, view) for of_map in meshes], axis=0)
    colours = [rgb(colour) for colour in class_colours(labels)]
    span = view.scale(full) * view.depth_mm
    pictures = []
    for of_map in meshes:
        drawn = [
            (_layer(mesh, view.seen(mesh, full), view.axes, full), colour, float(part))
            for mesh, colour, part in zip(of_map, colours, opacity, strict=True)
            if mesh is not None
        ]
        # Averaged down to the final size, with straight alpha.
        fine = _blend(drawn, full, span).reshape(size, _SUPERSAMPLING, size, _SUPERSAMPLING, 4)
        small = fine.mean(axis=(1, 3))
        alpha = small[..., 3:]
        straight = np.where(alpha > 0, small[..., :3] / np.maximum(alpha, 1e-6), 0)
        rgba = np.clip(np.concatenate([straight, alpha], axis=-1), 0, 1)
        pictures.append(np.round(rgba * 255).astype(np.uint8))
    return pictures


def class_opacities(meshes: Sequence[Sequence[Mesh | None]], labels: LabelSet) -> Floats:
    """For each class of `labels` 1, or less where another class of the same map lies in it."""
    view = _view(meshes, Camera())
    if view is None:
        return np.ones(len(meshes[0]))
    return np.asarray(np.min([_opacities(of_map, labels, view) for of_map in meshes], axis=0))


def _view(meshes: Sequence[Sequence[Mesh | None]], camera: Camera) -> _View | None:
    """What holds all meshes; None where there is none."""
    axes = camera.axes()
    points = [mesh.vertices @ axes.T for of_map in meshes for mesh in of_map if mesh is not None]
    if not points:
        return None
    low = np.min([point.min(axis=0) for point in points], axis=0)
    high = np.max([point.max(axis=0) for point in points], axis=0)
    size = high - low
    return _View(axes, (low + high) / 2, max(float(size[:2].max()), 1e-6), float(size[2]))


def _layer(mesh: Mesh, points: Floats, axes: Floats, pixels: int) -> _Layer:
    depth, face, weights = _rasterise(points, mesh.faces, pixels)
    hit = face >= 0
    turned = (mesh.normals @ axes.T.astype(np.float32))[mesh.faces[face[hit]]]
    smooth = (turned * weights[hit][..., None]).sum(axis=1)
    normals = np.zeros((pixels, pixels, 3), dtype=np.float32)
    normals[hit] = smooth / np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-6)
    return _Layer(depth, normals)


def _rasterise(
    points: Floats, faces: NDArray[np.intp], pixels: int
) -> tuple[Floats, NDArray[np.intp], Floats]:
    """A z-buffer: for each pixel the nearest face.

    Args:
        points: (V, 3) column, row, and depth that grows towards the viewer, in pixels.
        faces: (F, 3).
        pixels: width and height.

    Returns:
        depth (H, W), -inf where nothing is; face number (H, W), -1 there; barycentric weights (H, W, 3).
    """
    depth = np.full(pixels * pixels, -np.inf, dtype=np.float32)
    face = np.full(pixels * pixels, -1, dtype=np.intp)
    weights = np.zeros((pixels * pixels, 3), dtype=np.float32)
    corners = points[faces]
    first = np.floor(corners[..., :2].min(axis=1)).astype(int)
    extent = np.ceil(corners[..., :2].max(axis=1)).astype(int) - first + 1
    a, b, c = (corners[:, corner] for corner in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    # Faces of about one size are tested together on a square of pixels. Rows run down the page, so an outward
    # face that looks at the viewer has negative area.
    side = extent.max(axis=1)
    side[area > -1e-9] = 0
    for width in np.unique(side[side > 0]):
        members = np.flatnonzero(side == width)
        steps = np.stack(np.meshgrid(np.arange(width), np.arange(width)), axis=-1).reshape(-1, 2)
        plane = np.vstack([np.ones(len(steps)), steps.T]).astype(np.float32)
        for chunk in np.split(
            members, range(_CHUNK // len(steps) + 1, len(members), _CHUNK // len(steps) + 1)
        ):
            wa = _weight(b[chunk], c[chunk], first[chunk], area[chunk]) @ plane
            wb = _weight(c[chunk], a[chunk], first[chunk], area[chunk]) @ plane
            row, step = np.nonzero((wa >= 0) & (wb >= 0) & (wa + wb <= 1))
            wa, wb = wa[row, step], wb[row, step]
            weight = np.stack([wa, wb, 1 - wa - wb], axis=1)
            near = (corners[chunk[row], :, 2] * weight).sum(axis=1)
            pixel = (first[chunk] @ [1, pixels])[row] + (steps @ [1, pixels])[step]
            # Of repeated indices numpy keeps the last assignment, so the nearest comes last.
            order = np.flatnonzero(near > depth[pixel])
            order = order[np.argsort(near[order], kind="stable")]
            depth[pixel[order]] = near[order]
            face[pixel[order]] = chunk[row[order]]
            weights[pixel[order]] = weight[order]
    return depth.reshape(pixels, pixels), face.reshape(pixels, pixels), weights.reshape(pixels, pixels, 3)


def _weight(start: Floats, end: Floats, first: NDArray[np.intp], area: Floats) -> Floats:
    """(F, 3): constant, slope along columns and slope along rows of the weight of the corner opposite an edge.

    It counts from the centre of each face's `first` pixel.
    """
    edge = end - start
    offset = first + np.float32(0.5) - start[:, :2]
    constant = edge[:, 0] * offset[:, 1] - edge[:, 1] * offset[:, 0]
    return (np.stack([constant, -edge[:, 1], edge[:, 0]], axis=1) / area[:, None]).astype(np.float32)


def _opacities(meshes: Sequence[Mesh | None], labels: LabelSet, view: _View) -> Floats:
    """1 for each class, less for one that another lies in.

    That is a region around another, whose walls may be one, and any whose wall is both before and behind the other.
    """
    opacity = np.ones(len(meshes))
    if len(meshes) == 1:
        return opacity
    within = containers(labels)
    for inner, outers in enumerate(within):
        for outer in outers if meshes[inner] is not None else ():
            opacity[outer] = _TRANSLUCENT
    walls = []
    for mesh in meshes:
        front = back = np.full((_ROUGH, _ROUGH), -np.inf)
        if mesh is not None:
            points = view.seen(mesh, _ROUGH)
            front = _rasterise(points, mesh.faces, _ROUGH)[0]
            # The farthest wall is the nearest one of the mesh turned inside out.
            back = -_rasterise(points * np.array([1, 1, -1], dtype=np.float32), mesh.faces[:, ::-1], _ROUGH)[
                0
            ]
        walls.append((front, back))
    for outer, (front, back) in enumerate(walls):
        for inner, (wall, _) in enumerate(walls):
            covered = np.isfinite(wall)
            if inner == outer or inner in within[outer]:
                continue
            if covered.any() and (front > wall)[covered].mean() > _HIDING:
                opacity[outer] = _TRANSLUCENT if (back < wall)[covered].mean() > _HIDING else opacity[outer]
    return opacity


def _blend(layers: Sequence[tuple[_Layer, Floats, float]], pixels: int, span: float) -> Floats:
    """Premultiplied RGBA (H, W, 4) of layers with their colours and opacities, in each pixel from far to near."""
    picture = np.zeros((pixels, pixels, 4), dtype=np.float32)
    if not layers:
        return picture
    anywhere = np.any([layer.covered for layer, _, _ in layers], axis=0)
    depths = np.stack([layer.depth[anywhere] for layer, _, _ in layers])
    shades = np.zeros((*depths.shape, 4), dtype=np.float32)
    for number, (layer, colour, opacity) in enumerate(layers):
        shades[number, layer.covered[anywhere]] = _shade(layer, colour, opacity, span)
    blended = np.zeros(shades.shape[1:], dtype=np.float32)
    columns = np.arange(depths.shape[1])
    for rank in np.argsort(depths, axis=0, kind="stable"):
        over = shades[rank, columns]
        blended = over + blended * (1 - over[:, 3:])
    picture[anywhere] = blended
    return picture


def _shade(layer: _Layer, colour: Floats, opacity: float, span: float) -> Floats:
    """Premultiplied RGBA (N, 4) of the covered pixels: two lights, Blinn-Phong, depth cue and darker hollows.

    The hollows are an unsharp mask of the depth buffer (Luft, Colditz, Deussen, SIGGRAPH 2006).
    """
    from scipy import ndimage

    covered = layer.covered
    normals, depth = layer.normals[covered], layer.depth[covered]
    key, fill = _unit(-0.45, 0.6, 0.66), _unit(0.8, -0.1, 0.6)
    half = _unit(key[0], key[1], key[2] + 1)
    diffuse = 0.30 + 0.62 * np.clip(normals @ key, 0, 1) + 0.16 * np.clip(normals @ fill, 0, 1)
    gloss = 0.22 * np.clip(normals @ half, 0, 1) ** 28

    around, share = np.where(covered, layer.depth, 0), covered.astype(np.float32)
    radius = covered.shape[0] // 24
    for _ in range(2):  # Twice a box is nearly a Gaussian, at any radius for the same price.
        around, share = ndimage.uniform_filter(around, radius), ndimage.uniform_filter(share, radius)
    hollow = np.clip((depth - around[covered] / share[covered]) / radius, -0.7, 0) * 0.35
    distance = np.clip(0.5 - depth / max(span, 1.0), 0, 1)
    shade = (diffuse + hollow) * (1 - 0.22 * distance)
    alpha = np.ones_like(shade)
    if opacity < 1:
        # A translucent shell is brighter, and denser where it is seen along its wall, as glass is.
        alpha = np.clip(opacity + 0.6 * (1 - np.clip(normals[:, 2], 0, 1)) ** 2.5, 0, 0.85)
        shade = 1.25 * shade + 0.15
    lit = np.clip(shade[:, None] * colour + gloss[:, None], 0, 1)
    return np.concatenate([lit * alpha[:, None], alpha[:, None]], axis=1).astype(np.float32)


def _unit(x: float, y: float, z: float) -> NDArray[np.float32]:
    """The direction, right of, up and out of the page, with length 1."""
    return (np.array([x, y, z]) / np.linalg.norm([x, y, z])).astype(np.float32)
