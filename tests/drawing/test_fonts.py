from __future__ import annotations

import pytest
from PIL import ImageFont

from retina.drawing import fonts
from retina.drawing.fonts import drawable


@pytest.fixture
def no_system_fonts(monkeypatch):
    monkeypatch.setattr(fonts, "SYSTEM_FONTS", ())
    fonts._fonts.cache_clear()
    drawable.cache_clear()
    yield
    fonts._fonts.cache_clear()
    drawable.cache_clear()


def test_ascii_text_is_drawn_as_it_is_on_every_machine(no_system_fonts):
    text, font = drawable("person 0.98", 14)
    assert text == "person 0.98"
    assert font.getlength(text) > 0


def test_letters_that_no_font_has_lose_their_accents_or_become_question_marks(no_system_fonts):
    assert drawable("größe é клетка", 14)[0] == "gro?e e ??????"


def test_a_system_font_with_the_letters_is_taken(monkeypatch):
    # Pillow's own font stands in for one of the system that has every letter.
    every_letter = ImageFont.load_default(15)
    monkeypatch.setattr(fonts, "_fonts", lambda size: (ImageFont.load_default(14), every_letter))
    monkeypatch.setattr(fonts, "_has_letter", lambda font, letter: font is every_letter)
    drawable.cache_clear()
    assert drawable("клетка", 14) == ("клетка", every_letter)
    drawable.cache_clear()
