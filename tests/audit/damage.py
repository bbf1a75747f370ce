"""Forty-odd kinds of damage, each done to one case of a copied data set in the Decathlon's layout.

`DAMAGES` names them: what is done, and the kind of finding that has to name it. A damage takes the copied folder and
the names of two of its cases, harms the first (the second lends its files to some), and returns the ids of the cases
that the finding has to name.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from header_damage import in_unit, on_headers, singular_sform
from scipy import ndimage

Array = np.ndarray
Named = tuple[str, ...]
#: (folder, case, another case) -> ids that the finding names.
Harm = Callable[[Path, str, str], Named]


@dataclass(frozen=True)
class Damage:
    """One kind of damage.

    Attributes:
        harm: (folder, case, another case) -> ids that the finding names.
        kind: of the finding.
        needs: '' for any data; 'channels' for two channels, 'classes' for two classes that lie at different places,
            'alike' for cases that look alike, as organs cut out in one orientation do.
    """

    harm: Harm
    kind: str
    needs: str = ""


def image_of(folder: Path, case: str) -> Path:
    return folder / "imagesTr" / f"{case}.nii.gz"


def label_of(folder: Path, case: str) -> Path:
    return folder / "labelsTr" / f"{case}.nii.gz"


def change(
    path: Path, voxels: Callable[[Array], Array] | None = None, *, affine: Array | None = None
) -> None:
    """Write a file anew with other voxels, another affine, or both; the header stays else."""
    scan = nib.load(path)
    array = np.asanyarray(scan.dataobj)
    array = array if voxels is None else voxels(array)
    header = nib.Nifti1Header()
    header.set_xyzt_units("mm")
    image = nib.Nifti1Image(array, scan.affine if affine is None else affine, header)
    save(image, path)


def save(image: nib.Nifti1Image, path: Path) -> None:
    """In place of a file that may be a link to the true one."""
    path.unlink(missing_ok=True)
    nib.save(image, path)


def read(path: Path) -> Array:
    return np.asanyarray(nib.load(path).dataobj)


def on_files(
    *files: Callable[[Path, str], Path],
    voxels: Callable[[Array], Array] | None = None,
    affine: Callable[[Array], Array] | None = None,
) -> Harm:
    def harm(folder: Path, case: str, _: str) -> Named:
        for path in (file(folder, case) for file in files):
            change(path, voxels, affine=None if affine is None else affine(nib.load(path).affine))
        return (case,)

    return harm


def on_label(voxels: Callable[[Array], Array]) -> Harm:
    return on_files(label_of, voxels=voxels)


def on_image(voxels: Callable[[Array], Array]) -> Harm:
    return on_files(image_of, voxels=voxels)


def moved_affine(affine: Array, millimetres: tuple[float, float, float]) -> Array:
    moved = affine.copy()
    moved[:3, 3] += millimetres
    return moved


def on_affines(affine: Callable[[Array], Array]) -> Harm:
    return on_files(image_of, label_of, affine=affine)


# --- labels ------------------------------------------------------------------------------------------------


def shift_label(folder: Path, case: str, _: str) -> Named:
    """By a quarter of its own size along each axis, as far as it stays inside."""

    def moved(label: Array) -> Array:
        where = np.argwhere(label)
        low, high = where.min(axis=0), where.max(axis=0)
        out = label
        for axis in range(3):
            step = -(-int(high[axis] - low[axis] + 1) // 4)
            room = label.shape[axis] - 1 - int(high[axis])
            out = np.roll(out, step if room >= step else -min(step, int(low[axis])), axis)
        return out

    change(label_of(folder, case), moved)
    return (case,)


def label_of_another(folder: Path, case: str, other: str) -> Named:
    """Another case's label on this case's grid, where it was there or as near to it as it fits in."""
    foreign = read(label_of(folder, other))
    where = np.argwhere(foreign)
    low, high = where.min(axis=0), where.max(axis=0) + 1
    box = foreign[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]

    def pasted(label: Array) -> Array:
        out = np.zeros_like(label)
        starts = np.clip(np.array(label.shape) - box.shape, 0, low)
        target = tuple(slice(start, start + size) for start, size in zip(starts, box.shape, strict=True))
        out[target] = box[tuple(slice(0, size) for size in out[target].shape)]
        return out

    change(label_of(folder, case), pasted)
    return (case, other)


def images_exchanged(folder: Path, case: str, other: str) -> Named:
    first, second = image_of(folder, case), image_of(folder, other)
    spare = folder / "spare"
    os.replace(first, spare)
    os.replace(second, first)
    os.replace(spare, second)
    return (case, other)


def exchange_values(label: Array) -> Array:
    one, two = np.unique(label)[1:3]
    return np.where(label == one, two, np.where(label == two, one, label)).astype(label.dtype)


def exchange_axes(label: Array) -> Array:
    """The longest and the shortest: of others the lengths may be the same, and the shape tells nothing."""
    return np.swapaxes(label, int(np.argmax(label.shape)), int(np.argmin(label.shape)))


def half(label: Array) -> Array:
    """Half of the object is not labelled."""
    axis = int(np.argmax(np.ptp(np.argwhere(label), axis=0)))
    middle = round(float(np.argwhere(label)[:, axis].mean()))
    out = np.moveaxis(label.copy(), axis, 0)
    out[:middle] = 0
    return np.moveaxis(out, 0, axis)


def with_island(label: Array) -> Array:
    """Two by two by two voxels in the corner that is farthest from the object."""
    out = label.copy()
    centre = np.argwhere(label).mean(axis=0)
    corner = tuple(
        slice(0, 2) if middle > size / 2 else slice(-2, None)
        for middle, size in zip(centre, label.shape, strict=True)
    )
    out[corner] = label.max()
    return out


def soft_edges(label: Array) -> Array:
    return ndimage.gaussian_filter(label.astype(np.float32), 0.8)


def as_fractions(label: Array) -> Array:
    return (label / max(1, label.max()) * 0.5).astype(np.float32)


def another_grid(folder: Path, case: str, _: str) -> Named:
    """Turned by 20 degrees about the third axis; header and voxels are true, the shape is the same."""
    angle = np.radians(20.0)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    path = label_of(folder, case)
    scan = nib.load(path)
    centre = scan.affine @ [*[(size - 1) / 2 for size in scan.shape], 1]
    about = np.eye(4)
    about[:3, 3] = centre[:3]
    affine = about @ turn @ np.linalg.inv(about) @ scan.affine
    step = np.linalg.inv(scan.affine) @ affine
    turned = ndimage.affine_transform(np.asanyarray(scan.dataobj), step[:3, :3], step[:3, 3], order=0)
    change(path, lambda _: turned, affine=affine)
    return (case,)


def coarser_grid(folder: Path, case: str, _: str) -> Named:
    path = label_of(folder, case)
    change(path, lambda label: label[::2, ::2, ::2], affine=nib.load(path).affine @ np.diag([2, 2, 2, 1.0]))
    return (case,)


# --- copies ------------------------------------------------------------------------------------------------


def enter(folder: Path, case: str, image: nib.Nifti1Image, label: nib.Nifti1Image | None) -> None:
    """Add a case; to the test set without a label."""
    path = folder / "dataset.json"
    description = json.loads(path.read_text())
    if label is None:
        (folder / "imagesTs").mkdir(exist_ok=True)
        nib.save(image, folder / "imagesTs" / f"{case}.nii.gz")
        description["test"] = [*description.get("test", []), f"./imagesTs/{case}.nii.gz"]
    else:
        nib.save(image, image_of(folder, case))
        nib.save(label, label_of(folder, case))
        description["training"].append(
            {"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"}
        )
        description["numTraining"] = len(description["training"])
    path.unlink()
    path.write_text(json.dumps(description))


def copied(voxels: Callable[[Array], Array], *, crop: bool = False, test: bool = False) -> Harm:
    """The case once more under another name, with other voxels; cropped by a tenth at each end."""

    def harm(folder: Path, case: str, _: str) -> Named:
        image, label = nib.load(image_of(folder, case)), nib.load(label_of(folder, case))
        arrays, affine = [np.asanyarray(each.dataobj) for each in (image, label)], image.affine.copy()
        if crop:
            box = tuple(slice(size // 10, size - size // 10) for size in arrays[1].shape)
            arrays = [array[box] for array in arrays]
            affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
        first = nib.Nifti1Image(voxels(arrays[0]), affine)
        enter(folder, "copy_900", first, None if test else nib.Nifti1Image(arrays[1], affine))
        return (case, "copy_900")

    return harm


def resampled_copy(folder: Path, case: str, _: str) -> Named:
    """Saved with voxels 1.25 times as fine along each axis."""
    image, label = nib.load(image_of(folder, case)), nib.load(label_of(folder, case))
    affine = image.affine @ np.diag([0.8, 0.8, 0.8, 1])
    array = np.asanyarray(image.dataobj).astype(np.float32)
    zoom = (1.25,) * 3 + (1,) * (array.ndim - 3)
    first = nib.Nifti1Image(ndimage.zoom(array, zoom, order=1, grid_mode=True, mode="nearest"), affine)
    second = ndimage.zoom(np.asanyarray(label.dataobj), 1.25, order=0, grid_mode=True, mode="nearest")
    enter(folder, "copy_901", first, nib.Nifti1Image(second, affine))
    return (case, "copy_901")


def scan_of_a_trained_patient(folder: Path, case: str, other: str) -> Named:
    """dataset.json says that a scan of the test set is of a patient whom it trains on."""
    scan = nib.load(image_of(folder, other))
    noise = np.random.default_rng(0).normal(0, 1, scan.shape)
    later = np.roll(np.asanyarray(scan.dataobj), 3, 0)[::-1] + noise
    enter(folder, "later_900", nib.Nifti1Image(later.astype(np.float32), scan.affine), None)
    path = folder / "dataset.json"
    description = json.loads(path.read_text()) | {"patients": {"later_900": case}}
    path.unlink()
    path.write_text(json.dumps(description))
    return (case, "later_900")


# --- files and headers -------------------------------------------------------------------------------------


def cut_file(folder: Path, case: str, _: str) -> Named:
    path = image_of(folder, case)
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: len(data) * 2 // 3])
    return (case,)


def in_place_of(content: bytes, *, label: bool = False) -> Harm:
    def harm(folder: Path, case: str, _: str) -> Named:
        path = label_of(folder, case) if label else image_of(folder, case)
        path.unlink()
        path.write_bytes(content)
        return (case,)

    return harm


def remove_label(folder: Path, case: str, _: str) -> Named:
    label_of(folder, case).unlink()
    return (case,)


def label_without_image(folder: Path, case: str, _: str) -> Named:
    shutil.copy(label_of(folder, case), label_of(folder, "lone_900"))
    return ("lone_900",)


def two_forms(folder: Path, case: str, _: str) -> Named:
    """The qform lies ten millimetres beside the sform."""
    path = image_of(folder, case)
    scan = nib.load(path)
    image = nib.Nifti1Image(np.asanyarray(scan.dataobj), scan.affine)
    image.set_sform(scan.affine, 1)
    image.set_qform(moved_affine(scan.affine, (10, 0, 0)), 1)
    save(image, path)
    return (case,)


def sheared(affine: Array) -> Array:
    shear = np.eye(4)
    shear[0, 1] = 0.2
    return affine @ shear


# --- intensities -------------------------------------------------------------------------------------------


def with_nan(image: Array) -> Array:
    out = image.astype(np.float32)
    out[tuple(size // 2 for size in out.shape)] = np.nan
    return out


def blank_slices(image: Array) -> Array:
    out = image.copy()
    out[:, :, image.shape[2] // 2 - 1 : image.shape[2] // 2 + 1] = 0
    return out


def inverted(image: Array) -> Array:
    return (image.max() + image.min() - image).astype(image.dtype)


def saturated(image: Array) -> Array:
    return np.minimum(image, np.percentile(image, 60)).astype(image.dtype)


def constant(image: Array) -> Array:
    return np.full_like(image, 100)


def eight_bits(image: Array) -> Array:
    low, high = image.min(), image.max()
    return np.rint((image - low) / max(high - low, 1e-9) * 255).astype(np.uint8)


def flip(axis: int) -> Callable[[Array], Array]:
    return lambda array: np.flip(array, axis)


#: Every kind of damage by name. The axes of flips are those in which organs are not symmetric, front and back.
# ruff: noqa: E501
DAMAGES: dict[str, Damage] = {
    "label's affine moved by 7 mm": Damage(on_files(label_of, affine=lambda a: moved_affine(a, (7, 0, 0))), "label-grid"),
    "label's affine moved by 0.2 mm": Damage(on_files(label_of, affine=lambda a: moved_affine(a, (0, 0.2, 0))), "label-grid"),
    "label shifted against the image": Damage(shift_label, "label-shifted", "alike"),
    "label cropped by one voxel": Damage(on_label(lambda label: label[1:]), "label-shape"),
    "label's axes exchanged": Damage(on_label(exchange_axes), "label-shape"),
    "label flipped": Damage(on_label(flip(1)), "label-flipped", "alike"),
    "image and label flipped": Damage(on_files(image_of, label_of, voxels=flip(1)), "image-flipped", "alike"),
    "label values exchanged": Damage(on_label(exchange_values), "swapped-labels", "classes"),
    "label of another case": Damage(label_of_another, "mismatched-label", "alike"),
    "images of two cases exchanged": Damage(images_exchanged, "mismatched-label"),
    "label empty": Damage(on_label(np.zeros_like), "empty-label"),
    "label of 255 in place of 1": Damage(
        on_label(lambda label: np.where(label == 1, 255, label).astype(np.uint8)), "undeclared-value"
    ),
    "label with a value that is not declared": Damage(
        on_label(lambda label: np.where(np.arange(label.size).reshape(label.shape) == 17, 9, label).astype(np.uint8)),
        "undeclared-value",
    ),
    "label in fractions": Damage(on_label(as_fractions), "label-values"),
    "label interpolated": Damage(on_label(soft_edges), "label-values"),
    "label on a turned grid": Damage(another_grid, "label-grid"),
    "label on a coarser grid": Damage(coarser_grid, "label-shape"),
    "label of half the object": Damage(on_label(half), "volume-outlier", "alike"),
    "stray island in the label": Damage(on_label(with_island), "stray-island"),
    "copy saved as another type": Damage(copied(lambda image: image.astype(np.float64)), "duplicate"),
    "copy with other intensities": Damage(copied(lambda image: (image * 3.5 + 20).astype(np.float32)), "near-duplicate"),
    "copy in 8 bits": Damage(copied(eight_bits), "near-duplicate"),
    "copy cropped": Damage(copied(lambda image: image, crop=True), "near-duplicate"),
    "copy resampled": Damage(resampled_copy, "near-duplicate", "alike"),
    "copy in the test set": Damage(copied(lambda image: image, test=True), "duplicate"),
    "cropped copy in the test set": Damage(copied(lambda image: image, crop=True, test=True), "near-duplicate"),
    "test scan of a trained patient": Damage(scan_of_a_trained_patient, "patient-leak"),
    "spacing in metres, as the header says": Damage(in_unit("meter"), "units"),
    "spacing in micrometres, as the header says": Damage(in_unit("micron"), "units"),
    "spacing in centimetres as if in millimetres": Damage(on_affines(lambda a: np.diag([0.1] * 3 + [1]) @ a), "units"),
    "spacing ten times too large along an axis": Damage(on_affines(lambda a: a @ np.diag([1, 1, 10, 1.0])), "spacing"),
    "channels exchanged": Damage(on_image(lambda image: image[..., ::-1]), "swapped-channels", "channels"),
    "channel missing": Damage(on_image(lambda image: image[..., 0]), "channel-count", "channels"),
    "file cut off": Damage(cut_file, "unreadable"),
    "file without a byte": Damage(in_place_of(b""), "unreadable"),
    "label file of garbage": Damage(in_place_of(bytes(range(256)) * 8, label=True), "unreadable"),
    "label file absent": Damage(remove_label, "missing-file"),
    "label without an image": Damage(label_without_image, "missing-partner"),
    "image not finite": Damage(on_image(with_nan), "not-finite"),
    "image constant": Damage(on_image(constant), "constant-image"),
    "slices blank": Damage(on_image(blank_slices), "blank-slices"),
    "intensities inverted": Damage(on_image(inverted), "inverted", "alike"),
    "intensities cut off": Damage(on_image(saturated), "intensity-outlier"),
    "sform and qform apart": Damage(two_forms, "sform-qform"),
    "sform of zeros": Damage(singular_sform, "sform-unusable"),
    "sform of zeros and no qform": Damage(
        on_headers("imagesTr", "labelsTr", srow_x=np.zeros(4), srow_y=np.zeros(4), srow_z=np.zeros(4), sform_code=1,
                   qform_code=0), "place-unknown"),
    "voxel sizes that are not the sform's": Damage(on_headers("imagesTr", "labelsTr", pixdim__3=3.7, qform_code=0), "pixdim"),
    "voxel size of 0": Damage(on_headers("imagesTr", pixdim__1=0, sform_code=0), "pixdim-unset"),
    "intercept that is no number": Damage(on_headers("imagesTr", scl_slope=1, scl_inter=np.nan), "intercept-unset"),
    "header turned left to right": Damage(on_affines(lambda a: np.diag([-1, 1, 1, 1.0]) @ a), "orientation", "alike"),
    "affine sheared": Damage(on_affines(sheared), "sheared"),
}  # fmt: skip


def copy_of(source: Path, target: Path, cases: int | None = None) -> list[str]:
    """A data set of the first `cases` cases of `source`, by links where that can be; the names of its cases."""
    description = json.loads((source / "dataset.json").read_text())
    description["training"] = description["training"][:cases]
    description |= {"numTraining": len(description["training"]), "test": []}
    names = []
    for entry in description["training"]:
        for part in ("image", "label"):
            path = target / entry[part]
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.symlink((source / entry[part]).resolve(), path)
            except OSError:
                shutil.copy(source / entry[part], path)
        names.append(Path(entry["image"]).name.removesuffix(".nii.gz"))
    (target / "dataset.json").write_text(json.dumps(description))
    return names
