"""PNG, TIFF, JPEG and BMP: columns are X, rows are Y, values are what the file holds."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from vesal.errors import DataError
from vesal.volume.formats.raster import read_header
from vesal.volume.geometry import Geometry
from vesal.volume.io import read_geometry, read_label, read_volume, write_label, write_volume
from vesal.volume.volume import LabelMap, Volume

FLAT = Geometry.from_spacing((7, 5), (1, 1))


def pixels(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


# --- values --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp"])
def test_x_is_the_column_and_y_the_row(tmp_path, suffix):
    gray = pixels(5, 7)  # 5 rows of 7 columns
    Image.fromarray(gray).save(tmp_path / f"a{suffix}")
    volume = read_volume(tmp_path / f"a{suffix}")
    assert volume.array.shape == (1, 7, 5)
    assert volume.array[0, 6, 1] == gray[1, 6]
    np.testing.assert_array_equal(volume.array[0], gray.T)
    assert volume.array.dtype == np.uint8


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_colour_has_three_channels_even_where_they_are_equal(tmp_path, suffix):
    for colour in (pixels(5, 7, 3), np.repeat(pixels(5, 7, 1), 3, axis=2)):
        Image.fromarray(colour).save(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(read_volume(tmp_path / f"a{suffix}").array, colour.transpose(2, 1, 0))


def test_jpeg_is_read_as_pillow_reads_it(tmp_path):
    Image.fromarray(pixels(16, 24)).save(tmp_path / "gray.jpg", dpi=(300, 300))
    Image.fromarray(pixels(16, 24, 3)).save(tmp_path / "colour.jpeg")
    assert read_volume(tmp_path / "gray.jpg").array.shape == (1, 24, 16)
    np.testing.assert_array_equal(
        read_volume(tmp_path / "colour.jpeg").array.transpose(2, 1, 0),
        np.asarray(Image.open(tmp_path / "colour.jpeg")),
    )
    assert read_geometry(tmp_path / "gray.jpg").spacing_mm == (1.0, 1.0)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_kept(tmp_path, suffix):
    gray = pixels(5, 7, dtype=np.uint16)
    write_volume(tmp_path / f"a{suffix}", Volume(gray.T[None], FLAT))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"a{suffix}")), gray)
    volume = read_volume(tmp_path / f"a{suffix}")
    assert volume.array.dtype == np.uint16
    np.testing.assert_array_equal(volume.array[0], gray.T)


def test_alpha_is_dropped(tmp_path):
    rgba = pixels(5, 7, 4)
    for suffix in (".png", ".tif"):
        Image.fromarray(rgba).save(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(
            read_volume(tmp_path / f"a{suffix}").array, rgba[..., :3].transpose(2, 1, 0)
        )
    Image.fromarray(pixels(5, 7, 2), "LA").save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "b.png").array[0], pixels(5, 7, 2)[..., 0].T)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_a_palette_is_numbers_in_a_mask_and_colours_in_an_image(tmp_path, suffix):
    numbers = pixels(5, 7) % 4
    image = Image.fromarray(numbers, "P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 9, 8, 7])
    image.save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_label(tmp_path / f"a{suffix}").array, numbers.T)
    colours = read_volume(tmp_path / f"a{suffix}").array
    assert colours.shape == (3, 7, 5)
    assert colours.dtype == np.uint8
    np.testing.assert_array_equal(colours[0], np.array([0, 255, 0, 9])[numbers.T])


def test_one_bit_is_nought_and_one(tmp_path):
    bits = pixels(5, 7) > 100
    for suffix in (".png", ".tif", ".bmp"):
        Image.fromarray(bits).save(tmp_path / f"a{suffix}")
        mask = read_label(tmp_path / f"a{suffix}").array
        np.testing.assert_array_equal(mask > 0, bits.T)
        assert mask.dtype == np.uint8
    assert set(np.unique(read_label(tmp_path / "a.png").array)) == {0, 1}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_masks_come_and_go_with_the_values_that_they_have(tmp_path, suffix):
    for values, dtype in (((0, 255), np.uint8), ((0, 1, 4), np.int64), ((0, 300), np.int32)):
        array = np.resize(np.array(values, dtype=dtype), (7, 5))
        write_label(tmp_path / f"a{suffix}", LabelMap(array, FLAT))
        np.testing.assert_array_equal(read_label(tmp_path / f"a{suffix}").array, array)
        if suffix == ".png" or dtype != np.int64:  # pillow knows no TIFF of 64 bits
            np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"a{suffix}")), array.T)


def test_a_gray_mask_stored_as_colour_is_the_mask(tmp_path):
    mask = (pixels(5, 7) % 2) * 255
    Image.fromarray(np.repeat(mask[..., None], 3, axis=2)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label(tmp_path / "a.png").array, mask.T)
    Image.fromarray(pixels(5, 7, 3)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match="3 channels where a segmentation has one"):
        read_label(tmp_path / "b.png")


def test_sixteen_bit_colour_in_png_is_refused_and_in_tiff_kept(tmp_path):
    colour = pixels(5, 7, 3, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", colour, photometric="rgb")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array, colour.transpose(2, 1, 0))
    (tmp_path / "a.png").write_bytes(png_of_16_bit_colour())
    with pytest.raises(DataError, match="16-bit colour"):
        read_volume(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"\.tif"):
        write_volume(tmp_path / "b.png", Volume(colour.transpose(2, 1, 0), FLAT))


def png_of_16_bit_colour() -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(b"\0" + bytes(12))
    head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64, np.uint32])
def test_tiff_keeps_types_that_png_has_not(tmp_path, dtype):
    array = (pixels(7, 5).astype(dtype) - 100) if dtype != np.uint32 else pixels(7, 5, dtype=np.uint32)
    write_volume(tmp_path / "a.tif", Volume(array[None], FLAT))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array[0], array)
    with pytest.raises(DataError, match=r"0 to 65535; name it \.tif"):
        write_volume(tmp_path / "a.png", Volume(array[None], FLAT))


def test_a_volume_fits_no_png_and_goes_into_the_pages_of_a_tiff(tmp_path):
    array = pixels(7, 5, 3, dtype=np.uint16)
    geometry = Geometry.from_spacing((7, 5, 3), (0.5, 0.6, 2.5))
    with pytest.raises(DataError, match="one slice"):
        write_volume(tmp_path / "a.png", Volume(array[None], geometry))
    write_volume(tmp_path / "a.tif", Volume(array[None], geometry))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), array.T)
    assert np.array_equal(read_geometry(tmp_path / "a.tif").affine, geometry.affine)


# --- TIFF's ways ---------------------------------------------------------------------------------------


def test_the_pages_of_a_tiff_are_slices(tmp_path):
    pages = pixels(3, 5, 7)
    first, *rest = (Image.fromarray(page) for page in pages)
    first.save(tmp_path / "a.tif", save_all=True, append_images=rest)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array[0], pages.T)
    colour = pixels(4, 5, 7, 3)
    tifffile.imwrite(tmp_path / "b.tif", colour, photometric="rgb")
    np.testing.assert_array_equal(read_volume(tmp_path / "b.tif").array, colour.transpose(3, 2, 1, 0))


def test_the_stack_of_imagej_has_its_channels_and_spacing(tmp_path):
    stack = pixels(4, 2, 5, 7, dtype=np.uint16)
    metadata = {"axes": "ZCYX", "spacing": 2.5, "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata=metadata, resolution=(2.0, 4.0))
    volume = read_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.array, stack.transpose(1, 3, 2, 0))
    assert volume.geometry.spacing_mm == pytest.approx((0.0005, 0.00025, 0.0025))


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("count", [1, 3])
def test_every_lossless_compression_is_read(tmp_path, compression, count):
    pages = pixels(count, 50, 70)
    first, *rest = (Image.fromarray(page) for page in pages)
    first.save(tmp_path / "a.tif", compression=compression, save_all=True, append_images=rest)
    expected = pages[0].T if count == 1 else pages.T
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array[0], expected)


def test_a_film_of_volumes_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels(2, 3, 5, 7), imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(DataError, match="axes"):
        read_volume(tmp_path / "a.tif")


def test_a_png_behind_a_tiff_ending_is_read_all_the_same(tmp_path):
    Image.fromarray(pixels(5, 7)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array[0], pixels(5, 7).T)
    assert read_geometry(tmp_path / "a.tif").shape == (7, 5)


# --- where pixels lie ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_what_vesal_wrote_lies_exactly_where_it_lay(tmp_path, suffix):
    affine = np.array([[0.3, -0.1, 5.5], [0.1, 0.7, -2.25], [0, 0, 1]])
    geometry = Geometry((7, 5), affine)
    write_volume(tmp_path / f"a{suffix}", Volume(pixels(1, 7, 5), geometry))
    assert np.array_equal(read_geometry(tmp_path / f"a{suffix}").affine, affine)
    assert np.array_equal(read_volume(tmp_path / f"a{suffix}").geometry.affine, affine)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_other_programs_find_the_spacing_too(tmp_path, suffix):
    write_volume(tmp_path / f"a{suffix}", Volume(pixels(1, 7, 5), Geometry.from_spacing((7, 5), (0.5, 0.25))))
    dpi = Image.open(tmp_path / f"a{suffix}").info["dpi"]
    assert [float(value) for value in dpi] == pytest.approx([50.8, 101.6], rel=1e-3)


@pytest.mark.parametrize(
    ("suffix", "dpi", "pixel_mm"),
    [
        (".png", (254, 127), (0.1, 0.2)),
        (".tif", (254, 127), (0.1, 0.2)),
        (".png", (72, 72), None),
        (".tif", (96, 96), None),
        (".tif", (0.01, 0.01), None),
        (".bmp", (254, 254), None),
        (".jpg", (300, 300), None),
        (".png", None, None),
        (".tif", None, None),
    ],
)
def test_a_density_is_told_but_is_no_place(tmp_path, suffix, dpi, pixel_mm):
    options = {} if dpi is None else {"dpi": dpi}
    Image.fromarray(pixels(5, 7)).save(tmp_path / f"a{suffix}", **options)
    header = read_header(tmp_path / f"a{suffix}")
    assert header.pixel_mm == (None if pixel_mm is None else pytest.approx(pixel_mm, rel=1e-3))
    assert not header.placed
    volume = read_volume(tmp_path / f"a{suffix}")
    assert volume.geometry.spacing_mm == (1.0, 1.0)
    assert not volume.placed


@pytest.mark.parametrize(
    "note", ["nonsense", "[[1]]", '{"a": 1}', "null", "[[0, 0, 0], [0, 0, 0], [0, 0, 1]]"]
)
def test_a_note_that_places_nothing_is_ignored(tmp_path, note):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("vesal:affine", note)
    Image.fromarray(pixels(5, 7)).save(tmp_path / "a.png", pnginfo=info)
    assert read_geometry(tmp_path / "a.png").spacing_mm == (1.0, 1.0)


# --- hostile files -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pixels_that_cannot_be_there_are_not_allocated(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(pixels(5, 7)).save(stream, "PNG")
    data = bytearray(stream.getvalue())
    data[16:24] = struct.pack(">II", 12000, 12000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.png promises"):
        read_volume(tmp_path / "a.png")
    data[16:24] = struct.pack(">II", 2_000_000, 2_000_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.png"):
        read_geometry(tmp_path / "a.png")


def test_a_tiff_that_promises_too_much_is_told(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels(5, 7), compression="zlib", rowsperstrip=5)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tag = file.pages[0].tags[name]
            data[tag.valueoffset : tag.valueoffset + 2] = b"\xff\xff"
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.tif"):
        read_volume(tmp_path / "a.tif")


def test_a_mask_drawn_by_its_transparency_alone_is_its_alpha(tmp_path):
    mask = (pixels(5, 7) % 2) * 255
    for mode, colour in (("RGBA", (9, 9, 200)), ("LA", (255,))):
        layers = [np.full_like(mask, value) for value in colour]
        Image.fromarray(np.dstack([*layers, mask]), mode).save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_label(tmp_path / "a.png").array, mask.T)
