"""Where the panels of a picture stand."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.report.figures.panels import arrange, grid


@pytest.mark.parametrize(
    "sizes", [[(35, 50), (35, 35), (50, 35)], [(340, 400), (340, 100), (400, 100)], [(30, 30)]]
)
def test_panels_share_one_scale_and_do_not_overlap(sizes):
    places, height = arrange(sizes, 9.0, 4.5)
    scales = [place[2] / size[0] for place, size in zip(places, sizes, strict=True)]
    assert np.allclose(scales, scales[0])
    for number, (x, y, w, h) in enumerate(places):
        assert x >= 0
        assert y >= 0
        assert x + w <= 9.0 + 1e-9
        assert y + h <= height + 1e-9
        for ox, oy, ow, oh in places[number + 1 :]:
            assert x + w <= ox + 1e-9 or ox + ow <= x + 1e-9 or y + h <= oy + 1e-9 or oy + oh <= y + 1e-9


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 2), (2, 2), (3, 3), (4, 4), (5, 3), (6, 3), (8, 4), (9, 3)]
)
def test_rows_of_panels_are_about_equally_full(count, columns):
    places, _ = grid([(10.0, 10.0)] * count, 9.0)
    assert len({round(y, 6) for _, y, _, _ in places}) == -(-count // columns)
    assert len({round(x, 6) for x, _, _, _ in places}) == min(count, columns)
