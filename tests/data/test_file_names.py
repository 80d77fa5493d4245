from __future__ import annotations

import pytest

from retina.data.file_names import leaves_folder


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../a.jpg", "deep/../../a.jpg", "..\\a.jpg", "C:\\a.jpg", "", "a\0b", "\ud800"]
)
def test_names_that_point_outside_are_recognised(name):
    assert leaves_folder(name)


@pytest.mark.parametrize("name", ["a.jpg", "deep/er/a.jpg", "a..b.jpg", "..jpg", "猫.png", "12:30.jpg"])
def test_plain_names_stay_inside(name):
    assert not leaves_folder(name)
