"""Figures as SVG and as pixels."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from retina.drawing.figures import COLORS, INK, as_file, draw_bars, new_axes, printable, styled, to_pixels, to_svg


def figure(title: str = "<b> & co"):
    with styled():
        drawn, axes = new_axes(1, 1, size=(3.0, 2.0))
        axes[0, 0].plot([0, 1], [0, 1], color=COLORS[0])
        axes[0, 0].set_title(title)
    return drawn


def test_an_svg_is_one_element_whose_ink_is_the_colour_of_the_text_around_it() -> None:
    svg = to_svg(figure(), name="one")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert "currentColor" in svg
    assert INK not in svg
    assert "&lt;b&gt; &amp; co" in svg
    assert "<metadata" not in svg
    assert to_svg(figure(), name="one") == svg, "the same figure gives the same text"


def test_two_pictures_of_one_page_share_no_id_and_refer_to_their_own() -> None:
    ids = []
    for name in ("one", "two"):
        svg = to_svg(figure(), name=name)
        own = set(re.findall(r'\bid="([^"]+)"', svg))
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg)) <= own
        ids.append(own)
    assert len(ids[0]) > 5
    assert ids[0] & ids[1] == set()


def test_the_file_of_a_figure_has_its_own_colours() -> None:
    written = as_file(to_svg(figure(), name="one"))
    assert written.startswith("<?xml")
    assert '<svg style="color:#1b1b1f;background:#ffffff" ' in written
    ElementTree.fromstring(written.encode())


def test_pixels_are_on_white() -> None:
    pixels = to_pixels(figure(), dpi=50)
    assert (pixels.shape, pixels.dtype) == ((100, 150, 3), np.uint8)
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10


def test_drawing_leaves_no_global_state() -> None:
    before = dict(mpl.rcParams)
    to_svg(figure(), name="x")
    assert dict(mpl.rcParams) == before


def test_no_module_draws_through_pyplot_which_keeps_every_figure(root) -> None:
    files = sorted((root / "retina").rglob("*.py"))
    assert len(files) > 60
    assert [file.name for file in files if "pyplot" in file.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize(
    "name", ["$\\frac{1}", "a$b$c", "tab\tline\nnull\0", "cat\ud800", "x" * 400, "\u202eabc", "猫"]
)
def test_any_class_name_can_be_drawn(name: str) -> None:
    shown = printable(name)
    assert "\n" not in shown
    assert len(shown.replace("\\$", "$")) <= 24
    ElementTree.fromstring(to_svg(figure(shown), name="x"))
    to_pixels(figure(shown), dpi=30)


def test_a_dollar_stays_a_dollar() -> None:
    assert ">a$b$c<" in to_svg(figure(printable("a$b$c")), name="x")


def test_many_lines_differ_in_colour_or_dashes() -> None:
    with styled():
        _, axes = new_axes(1, 1, size=(3.0, 2.0))
        lines = [axes[0, 0].plot([0, 1], [0, 1])[0] for _ in range(24)]
    assert [line.get_color() for line in lines[:6]] == list(COLORS)
    assert len({(line.get_color(), str(line._unscaled_dash_pattern)) for line in lines}) == 24


def test_bars_of_parts_stand_one_after_the_other_with_their_texts_at_the_end() -> None:
    _, axes = new_axes(1, 1, size=(3.0, 2.0))
    place = axes[0, 0]
    draw_bars(place, ["a", "b"], {"good": ([3, 0], "green"), "poor": ([1, 2], "red")}, ["4", "2"])
    assert [(bar.get_x(), bar.get_width()) for bar in place.patches] == [(0, 3), (0, 0), (3, 1), (0, 2)]
    assert [(text.get_text(), text.xy[0]) for text in place.texts] == [("4", 4), ("2", 2)]
    assert place.yaxis_inverted(), "the first one stands at the top"
