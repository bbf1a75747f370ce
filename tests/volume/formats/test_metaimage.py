"""MetaImage: ways to store voxels, and hostile headers."""

from __future__ import annotations

import gzip
import zlib

import numpy as np
import pytest
from image_files import ARRAY, LPS, RAW, mha

from vesal.errors import DataError
from vesal.volume.io import read_volume


@pytest.mark.parametrize(
    ("changes", "body"),
    [
        ({}, RAW),
        ({"CompressedData": "True"}, zlib.compress(RAW)),
        ({"CompressedData": "True"}, gzip.compress(RAW)),
        ({"BinaryDataByteOrderMSB": "True"}, ARRAY.astype(">i2").tobytes(order="F")),
        ({"BinaryData": "False"}, b" ".join(str(value).encode() for value in ARRAY.ravel(order="F"))),
        ({"HeaderSize": "-1"}, b"junk" + RAW),
        ({"HeaderSize": "4"}, b"junk" + RAW),
        ({"Offset": None, "Position": "1 2 3"}, RAW),
    ],
)
def test_every_way_of_metaimage_is_read(tmp_path, changes, body):
    volume = read_volume(mha(tmp_path / "a.mha", body, **changes))
    np.testing.assert_array_equal(volume.array[0], ARRAY)
    assert volume.geometry.close_to(LPS)


@pytest.mark.parametrize(
    "changes",
    [
        {"DimSize": None},
        {"DimSize": "2 3"},
        {"DimSize": "2 3 0"},
        {"DimSize": "2 3 -4"},
        {"DimSize": "2 3 x"},
        {"DimSize": "9999999999999 9999999999999 9999999999"},
        {"DimSize": "2 3 5"},
        {"NDims": "7"},
        {"ElementType": "MET_STRING"},
        {"ElementNumberOfChannels": "-1"},
        {"ElementNumberOfChannels": "1000000"},
        {"ElementSpacing": "0 1 1"},
        {"ElementSpacing": "nan 1 1"},
        {"ElementSpacing": "1 1"},
        {"Offset": "inf 0 0"},
        {"TransformMatrix": "1 0 0 1 0 0 0 0 1"},
        {"TransformMatrix": "1 0 0 1"},
        {"HeaderSize": "many"},
        {"CompressedData": "True"},
        {"BinaryData": "False"},
    ],
)
def test_a_hostile_metaimage_header_is_told(tmp_path, changes):
    path = mha(tmp_path / "a.mha", **changes)
    with pytest.raises(DataError, match=r"a\.mha"):
        read_volume(path)
