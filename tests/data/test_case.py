"""Cases read from their files: every file once, channels on one grid, failures that name case and file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vesal.data import case as reading
from vesal.data.case import read_case, read_image
from vesal.data.dataset import Case
from vesal.errors import DataError


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def image_of(seed: int, shape: tuple[int, ...] = (4, 5, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1000, shape).astype(np.int16)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Two channel files and a label."""
    images = (save(tmp_path / "t1.nii.gz", image_of(1)), save(tmp_path / "t2.nii.gz", image_of(2)))
    label = save(tmp_path / "seg.nii.gz", (image_of(3) % 4).astype(np.uint8))
    return Case(id="c", images=images, label=label, patient="p")


def test_channels_are_stacked_in_order_as_float32_and_the_label_keeps_its_values(case: Case) -> None:
    raw = read_case(case)
    assert raw.image.array.dtype == np.float32
    assert np.array_equal(raw.image.array, np.stack([image_of(1), image_of(2)]))
    assert raw.label is not None
    assert np.array_equal(raw.label.array, image_of(3) % 4)
    assert np.array_equal(read_image(case).array, raw.image.array)


def test_a_4d_file_holds_several_channels(tmp_path: Path) -> None:
    path = save(tmp_path / "both.nii.gz", np.stack([image_of(1), image_of(2)], axis=-1))
    raw = read_case(Case(id="c", images=(path,), patient="p"))
    assert np.array_equal(raw.image.array, np.stack([image_of(1), image_of(2)]))
    assert raw.label is None


def test_floating_images_keep_their_type(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", image_of(1).astype(np.float64) / 3)
    assert read_image(Case(id="c", images=(path,), patient="p")).array.dtype == np.float64


def test_each_file_is_read_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: Counter[str] = Counter()
    plain = Path.open

    def counted(path: Path, *args: object, **options: object) -> object:
        opened[path.name] += 1
        return plain(path, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", counted)
    read_case(case)
    assert opened == {"t1.nii.gz": 1, "t2.nii.gz": 1, "seg.nii.gz": 1}


def test_the_digest_changes_with_any_file_and_only_then(case: Case) -> None:
    first = read_case(case).digest
    assert read_case(case.model_copy(update={"id": "other"})).digest == first
    for path, seed in ((case.images[1], 7), (case.label, 8)):
        assert path is not None
        save(path, (image_of(seed) % 4).astype(np.uint8))
        changed = read_case(case).digest
        assert changed != first
        first = changed


def test_channels_of_different_shapes_are_refused_and_both_files_named(case: Case) -> None:
    save(case.images[1], image_of(2, (4, 5, 4)))
    with pytest.raises(DataError, match=r"Case c: .*t1\.nii\.gz and .*t2\.nii\.gz .*4 x 5 x 3 and 4 x 5 x 4"):
        read_case(case)


def test_channels_at_different_places_are_refused_and_both_files_named(case: Case) -> None:
    affine = np.eye(4)
    affine[2, 3] = 2.5
    save(case.images[1], image_of(2), affine)
    with pytest.raises(DataError, match=r"Case c: .*t1\.nii\.gz and .*t2\.nii\.gz .*2\.5 mm apart"):
        read_image(case)


def test_rounding_of_a_channels_affine_is_no_difference(case: Case) -> None:
    affine = np.eye(4)
    affine[0, 3] = 5e-4
    save(case.images[1], image_of(2), affine)
    assert read_image(case).channels == 2


@pytest.mark.parametrize("which", ["t2.nii.gz", "seg.nii.gz"])
def test_an_absent_file_is_named_with_its_case(which: str, case: Case) -> None:
    (case.images[0].parent / which).unlink()
    with pytest.raises(DataError, match=rf"^Case c: .*{which}"):
        read_case(case)


@pytest.mark.parametrize("which", ["t2.nii.gz", "seg.nii.gz"])
def test_a_truncated_file_is_named_with_its_case(which: str, case: Case) -> None:
    path = case.images[0].parent / which
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=rf"^Case c: .*{which}"):
        read_case(case)


def test_a_label_of_another_shape_is_read_as_it_is(case: Case) -> None:
    assert case.label is not None
    save(case.label, np.zeros((2, 2, 2), np.uint8))
    raw = read_case(case)
    assert raw.label is not None
    assert raw.label.geometry.shape == (2, 2, 2)


def test_reading_asks_for_no_torch() -> None:
    assert "torch" not in vars(reading)
