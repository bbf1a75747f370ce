"""TIFF's own ways of storing pixels: WhiteIsZero, few bits, palettes."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from vesal.errors import DataError
from vesal.volume.formats.raster import read_header
from vesal.volume.io import read_geometry, read_label, read_volume

MASK = np.zeros((5, 8), dtype=np.uint8)
MASK[1:3, 2:5] = 1
SHADES = np.arange(40, dtype=np.uint8).reshape(5, 8) * 6


@pytest.mark.parametrize("compression", ["raw", "group3", "group4", "tiff_lzw", "packbits"])
def test_one_bit_where_white_is_zero_shows_the_same_mask(tmp_path, compression):
    # Pillow inverts while it writes, so the file shows what the array holds.
    Image.fromarray(MASK > 0).save(tmp_path / "a.tif", compression=compression, tiffinfo={262: 0})
    assert tifffile.TiffFile(tmp_path / "a.tif").pages[0].photometric == 0
    shown = np.asarray(Image.open(tmp_path / "a.tif"))
    np.testing.assert_array_equal(read_label(tmp_path / "a.tif").array.T, shown.astype(np.uint8))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array[0].T, shown.astype(np.uint8))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_shades_where_white_is_zero_are_turned_round(tmp_path, dtype):
    top = np.iinfo(dtype).max
    shades = SHADES.astype(dtype) * (top // 255)
    tifffile.imwrite(tmp_path / "a.tif", top - shades, photometric="miniswhite")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array[0].T, shades)
    mask = MASK.astype(dtype) * top
    tifffile.imwrite(tmp_path / "m.tif", top - mask, photometric="miniswhite")
    np.testing.assert_array_equal(read_label(tmp_path / "m.tif").array.T, mask)


def test_numbers_of_classes_stay_numbers_where_white_is_zero(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", MASK * 2, photometric="miniswhite")
    np.testing.assert_array_equal(read_label(tmp_path / "a.tif").array.T, MASK * 2)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_four_bits_in_a_tiff_keep_their_numbers(tmp_path, photometric):
    packed = (MASK[:, ::2] * 2) << 4 | MASK[:, 1::2]  # numbers 2 and 1 in two pixels a byte
    numbers = np.stack([packed >> 4, packed & 15], axis=-1).reshape(MASK.shape)
    tifffile.imwrite(tmp_path / "a.tif", packed, photometric=photometric, metadata=None)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        tags = file.pages[0].tags
        data[tags["ImageWidth"].valueoffset] = 8
        data[tags["BitsPerSample"].valueoffset] = 4
    (tmp_path / "a.tif").write_bytes(data)
    assert set(np.unique(numbers)) == {0, 1, 2}
    np.testing.assert_array_equal(read_label(tmp_path / "a.tif").array.T, numbers)


def test_a_palette_of_white_and_black_is_the_mask_that_it_shows(tmp_path):
    for suffix in (".tif", ".png", ".bmp"):
        image = Image.fromarray(1 - MASK, "P")
        image.putpalette([255, 255, 255, 0, 0, 0])
        image.save(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(read_label(tmp_path / f"a{suffix}").array.T, MASK)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".bmp"])
def test_a_palette_of_greys_is_a_grey_image(tmp_path, suffix):
    image = Image.fromarray(MASK, "P")
    image.putpalette([7, 7, 7, 200, 200, 200])
    image.save(tmp_path / f"a{suffix}")
    assert read_header(tmp_path / f"a{suffix}").channels == 1
    np.testing.assert_array_equal(read_volume(tmp_path / f"a{suffix}").array, (7 + MASK.T * 193)[None])


@pytest.mark.parametrize(("unit", "mm"), [("mm", 1.0), ("micron", 1e-3), ("\\u00B5m", 1e-3), ("inch", 25.4)])
def test_the_units_of_imagej_are_known_as_it_writes_them(tmp_path, unit, mm):
    tifffile.imwrite(tmp_path / "a.tif", SHADES, imagej=True, metadata={"unit": unit}, resolution=(2.0, 4.0))
    assert read_geometry(tmp_path / "a.tif").spacing_mm == pytest.approx((0.5 * mm, 0.25 * mm))


def test_the_calibration_of_imagej_is_a_place_and_a_resolution_is_not(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", SHADES, imagej=True, metadata={"unit": "um"}, resolution=(2.0, 4.0))
    assert read_header(tmp_path / "a.tif").placed
    assert read_geometry(tmp_path / "a.tif").spacing_mm == pytest.approx((0.0005, 0.00025))
    tifffile.imwrite(tmp_path / "b.tif", SHADES, resolution=(20, 40), resolutionunit="CENTIMETER")
    assert read_header(tmp_path / "b.tif").pixel_mm == pytest.approx((0.5, 0.25))
    assert read_geometry(tmp_path / "b.tif").spacing_mm == (1.0, 1.0)


def test_the_header_of_a_tiff_counts_channels_without_alpha(tmp_path):
    for mode, count in (("L", 1), ("RGB", 3), ("RGBA", 3), ("CMYK", 3)):
        Image.new(mode, (8, 5)).save(tmp_path / "a.tif")
        assert read_header(tmp_path / "a.tif").channels == count == read_volume(tmp_path / "a.tif").channels


def test_inks_become_the_colours_that_pillow_shows(tmp_path):
    inks = np.random.default_rng(0).integers(0, 255, (5, 8, 4), dtype=np.uint8)
    image = Image.fromarray(inks, "CMYK")
    image.save(tmp_path / "a.tif")
    shown = np.asarray(image.convert("RGB")).transpose(2, 1, 0)
    colours = read_volume(tmp_path / "a.tif").array
    assert np.abs(colours.astype(int) - shown).max() <= 1
    assert read_header(tmp_path / "a.tif").channels == 3


def test_slices_that_were_written_one_by_one_are_a_volume_and_a_thumbnail_is_none(tmp_path):
    slices = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    for name, pages in (("volume", slices), ("scan", [slices[0], slices[0, ::2, ::2]])):
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as writer:
            for page in pages:
                writer.write(page)
    volume = read_volume(tmp_path / "volume.tif")
    np.testing.assert_array_equal(volume.array[0], slices.T)
    assert read_geometry(tmp_path / "volume.tif").shape == (5, 4, 3)
    assert read_header(tmp_path / "volume.tif").channels == 1
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.tif").array[0], slices[0].T)


@pytest.mark.parametrize(("big", "pages"), [(False, 1), (True, 2), (False, 150)])
def test_pages_that_run_in_a_circle_are_refused(tmp_path, big, pages):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, np.ones((pages, 4, 5), np.uint8), bigtiff=big, photometric="minisblack", contiguous=False
    )
    assert read_volume(path).array.shape[1:3] == (5, 4)
    with tifffile.TiffFile(path) as file:
        first, last = file.pages[0].offset, file.pages[-1]
        tags, kind = len(last.tags), "<Q" if big else "<I"
        # Where the next page would be named.
        end = last.offset + (8 + 20 * tags if big else 2 + 12 * tags)
    data = bytearray(path.read_bytes())
    struct.pack_into(kind, data, end, first)
    path.write_bytes(data)
    with pytest.raises(DataError, match="run in a circle"):
        read_volume(path)
    with pytest.raises(DataError, match="run in a circle"):
        read_header(path)
