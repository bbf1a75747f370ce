"""Names in any alphabet: drawn where a font has their letters, without raw warnings anywhere."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib import font_manager
from PIL import Image

from vesal.data.labels import LabelSet
from vesal.report.figures import charts, curves, fonts
from vesal.report.figures.colours import SCAN, THEMES
from vesal.report.figures.scan_figures import channels_picture, draw_legend, new_figure, to_png
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume

NAMES = {
    "Chinese": "左心房",
    "Japanese": "さしんぼう",
    "Korean": "좌심방",
    "Cyrillic": "Левое предсердие",
    "Arabic": "الأذين الأيسر",
    "Hebrew": "עלייה שמאלית",
    "Thai": "หัวใจ",
    "Hindi": "हृदय",
    "emoji": "❤️ \N{ANATOMICAL HEART} \N{MAN}\N{ZERO WIDTH JOINER}\N{ROCKET}",
    "combined": "Vorhof fu\N{COMBINING DIAERESIS}r",
    "lines": "left\natrium\t\x07\x00",
    "odd": "\ud800 \ufffe \U000f0000",
    "mathematics": "a$b_{c} \\frac{",
}


@pytest.fixture
def heart_font(tmp_path, monkeypatch):
    """A font of this machine that has one letter of the Chinese word and no other."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "heart"])
    builder.setupCharacterMap({ord("心"): "heart"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "heart": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (800, 0), "heart": (800, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Heart Sans", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800)
    builder.setupPost()
    path = tmp_path / "heart.ttf"
    builder.save(path)
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", list(manager.ttflist))
    for cached in (fonts.lettering, fonts._families):
        cached.cache_clear()
    manager.addfont(path)
    yield "Heart Sans"
    for cached in (fonts.lettering, fonts._families):
        cached.cache_clear()


def labels_of(name: str) -> LabelSet:
    return LabelSet.from_values({"background": 0, name: 1, "b": 2})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_in_any_alphabet_is_drawn_without_a_warning(name: str) -> None:
    theme, labels = THEMES["light"], labels_of(name)
    image = np.random.default_rng(0).normal(size=(1, 20, 20, 9)).astype(np.float32)
    label = np.zeros((20, 20, 9), np.uint8)
    label[5:9, 5:9, 3:6] = 1
    scan = Volume(image, Geometry.from_spacing(image.shape[1:], (1, 1, 1)))
    history = curves.History({"0": [{"step": 1, "val_dice_per_class": {name: 0.5}}]}, (name,), ("#ff0000",))
    drawn = (
        channels_picture(scan, labels, [name], {name: label}),
        charts.dice_distribution({name: [0.5, 0.75]}, ["#ff0000"], theme),
        charts.volume_agreement({name: ([1.0], [2.0])}, ["#ff0000"], "ml", theme),
        curves.training_curves(history, name),
    )
    assert all(picture.startswith(b"\x89PNG") for picture in drawn)


def test_letters_that_only_another_font_has_are_taken_from_it(heart_font: str) -> None:
    assert fonts.lettering("左 心") == ("□ 心", (heart_font,))
    figure = new_figure(5.0, 1.0, SCAN.paper)
    draw_legend(figure, labels_of("心"), True)
    with_font = np.asarray(Image.open(io.BytesIO(to_png(figure))))
    fonts.lettering.cache_clear()
    figure = new_figure(5.0, 1.0, SCAN.paper)
    draw_legend(figure, labels_of("□"), True)
    with_box = np.asarray(Image.open(io.BytesIO(to_png(figure))))
    assert (with_font != with_box).any()


def test_letters_that_no_font_has_are_boxes_and_lines_are_joined() -> None:
    assert fonts.lettering("\U000f0000a\ue000") == ("□a□", ())
    assert fonts.lettering("left\n atrium") == ("left atrium", ())
    assert fonts.lettering("Vorhof ü Жש") == ("Vorhof ü Жש", ())
