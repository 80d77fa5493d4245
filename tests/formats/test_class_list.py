from __future__ import annotations

import pytest

from retina.errors import ConfigError, DataError
from retina.formats.class_list import check_names, given_classes


def test_classes_are_those_of_the_setting_else_of_the_file_else_unknown(tmp_path):
    assert given_classes(None, tmp_path) is None
    (tmp_path / "classes.txt").write_text("\ufeffdog\n\n big cat \n", encoding="utf-8")
    assert given_classes(None, tmp_path) == ["dog", "big cat"]
    assert given_classes(["b", "a"], tmp_path) == ["b", "a"]
    (tmp_path / "other.csv").write_text("b,1\na b,0\n")
    assert given_classes("other.csv", tmp_path) == ["a b", "b"]


@pytest.mark.parametrize(
    ("names", "what"), [([], "no classes"), (["a", " "], "no names"), (["a", "b", "a"], "twice: a")]
)
def test_names_that_cannot_be_told_apart_are_refused(names, what):
    with pytest.raises(ConfigError, match=what):
        check_names(names, "dataset.classes")


def test_a_list_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        given_classes("nowhere.txt", tmp_path)
    (tmp_path / "latin.txt").write_bytes("kätzchen".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        given_classes("latin.txt", tmp_path)
