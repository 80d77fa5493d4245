"""A page asks nobody for anything, runs nothing, and shows every text as it is."""

from __future__ import annotations

import base64
import re

import cv2
import jinja2
import numpy as np
import pytest

from retina.drawing.pages import PageFigure, PageTable, picture_uri, render_page

EVIL = "<script>alert('x')</script>"
SVG = '<svg width="9pt" viewBox="0 0 1 1"><path d="M 0 0"/></svg>'


def page(text: str = EVIL) -> str:
    section = {
        "title": text,
        "figures": [PageFigure('a"b', text, text, SVG)],
        "tables": [PageTable(text, (text,), [(text,)])],
    }
    return render_page("loss_lab.html", title=text, facts={text: text}, sections=[section])


def test_every_text_is_escaped_and_a_figure_stands_as_it_is() -> None:
    assert "<script" not in page()
    assert page().count("&lt;script&gt;") >= 10
    assert 'id="a&#34;b"' in page()
    assert page().count(SVG) == 1


def test_a_policy_forbids_scripts_and_every_request() -> None:
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    assert policy in page()
    assert page().index("Content-Security-Policy") < page().index("<style>")


def test_a_name_that_is_missing_is_a_mistake_of_ours() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render_page("loss_lab.html", title="t", sections=[])


def test_colours_exist_in_both_looks_and_nothing_is_fetched() -> None:
    style = re.search(r"<style>(.*?)</style>", page(), re.S)[1]
    light, dark = style.split("prefers-color-scheme: dark")
    names = set(re.findall(r"(--[\w-]+):", light))
    assert len(names) >= 12
    assert names == set(re.findall(r"(--[\w-]+):", dark))
    assert set(re.findall(r"var\((--[\w-]+)\)", style)) <= names
    assert "url(" not in style
    assert "@import" not in style
    assert "#0072b2" in style, "the palette of all pictures"
    assert style.count("{") == style.count("}")


def test_pictures_are_part_of_the_page() -> None:
    picture = np.full((20, 30, 3), (200, 30, 40), dtype=np.uint8)
    content = base64.b64decode(picture_uri(picture).partition(",")[2])
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (20, 30, 3)
    assert np.abs(decoded[..., ::-1].astype(int) - picture).max() < 12
