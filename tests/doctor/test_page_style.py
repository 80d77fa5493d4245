from __future__ import annotations

import re

from retina.doctor.page_style import STYLE


def test_colours_exist_in_both_looks_and_nothing_is_fetched():
    light, dark = STYLE.split("prefers-color-scheme: dark")
    names = set(re.findall(r"(--[\w-]+):", light))
    assert len(names) >= 12
    assert names == set(re.findall(r"(--[\w-]+):", dark))
    assert set(re.findall(r"var\((--[\w-]+)\)", STYLE)) <= names
    assert "url(" not in STYLE
    assert STYLE.count("{") == STYLE.count("}")
