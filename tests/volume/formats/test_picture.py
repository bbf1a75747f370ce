"""What pictures share: orientation, density, and the note of their place."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from vesal.errors import DataError
from vesal.volume.formats.picture import as_data_error, check_size, pixel_size, upright, upright_shape
from vesal.volume.io import read_geometry, read_label, read_volume

SCENE = np.arange(35, dtype=np.uint8).reshape(5, 7) * 7


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_pillow_shows_them(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    stream = io.BytesIO()
    Image.fromarray(SCENE).save(stream, "PNG", exif=exif)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(stream)))
    np.testing.assert_array_equal(upright(SCENE.T[None], orientation)[0].T, shown)
    assert upright_shape(7, 5, orientation) == shown.shape[::-1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_the_orientation_of_a_file_is_applied_to_images_and_masks(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(SCENE).save(path, exif=exif)
    stored = (
        Image.fromarray(np.asarray(Image.open(io.BytesIO(path.read_bytes())))) if suffix != ".tif" else None
    )
    raw = SCENE if stored is None else np.asarray(stored)
    expected = upright(raw.T[None], orientation)[0]
    np.testing.assert_array_equal(read_volume(path).array[0], expected)
    assert read_geometry(path).shape == expected.shape
    if suffix != ".jpg":
        np.testing.assert_array_equal(read_label(path).array, expected)


@pytest.mark.parametrize("orientation", [3, 6, 7])
@pytest.mark.parametrize("compression", ["tiff_lzw", "group4"])
def test_the_orientation_of_a_tiff_that_pillow_unpacks_is_applied_once(tmp_path, compression, orientation):
    scene = SCENE > 60 if compression == "group4" else SCENE
    Image.fromarray(scene).save(tmp_path / "a.tif", compression=compression, tiffinfo={274: orientation})
    expected = upright(scene.T[None], orientation)[0]
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array[0], expected.astype(np.uint8))


def test_a_density_is_a_size_unless_it_is_a_default_or_absurd():
    assert pixel_size((254, 127), 25.4) == pytest.approx((0.1, 0.2))
    for density in (None, (72, 72), (96.012, 96.012), (0, 0), (float("nan"), 1), (1e9, 1e9)):
        assert pixel_size(density, 25.4) is None


def test_failures_are_one_sentence_with_the_file(tmp_path):
    with (
        pytest.raises(DataError, match=r"a\.png cannot be read as an image \(odd\)"),
        as_data_error(tmp_path / "a.png"),
    ):
        raise ValueError("odd")
    with pytest.raises(DataError, match="promises"):
        check_size(tmp_path / "a.png", b"", 1 << 40)
