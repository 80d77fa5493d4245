from __future__ import annotations

import pytest

from retina.errors import DataError, RetinaError
from retina.formats.data_yaml import read_data_yaml

GOOD = "train: images/train\nnames: {0: cat, 1: dog}\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images" / "train").mkdir(parents=True)
    return tmp_path


def test_names_may_be_a_list_or_numbered(folder, write):
    write(folder / "data.yaml", GOOD)
    assert read_data_yaml(folder).names == ["cat", "dog"]
    write(folder / "other" / "x.yaml", "train: [a, b]\nnames: [1, no, 'ä b']\nnc: 3\n")
    described = read_data_yaml(folder / "other")  # the only .yaml there
    assert described.names == ["1", "False", "ä b"]
    assert described.splits == {"train": ["a", "b"]}


def test_places_are_found_where_the_set_was_moved_and_as_roboflow_writes_them(folder, write):
    write(folder / "data.yaml", "path: /nowhere/else\ntrain: ../images/train\nnames: [a]\n")
    described = read_data_yaml(folder)
    assert [place.resolve() for place in described.places("train")] == [folder / "images" / "train"]
    assert described.places("val") == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("names: [a]\n", "no splits"),
        ("train: x\n", "no names of classes"),
        ("train: x\nnames: [a, a]\n", "twice: a"),
        ("train: x\nnames: ['']\n", "no names"),
        ("train: x\nnames: {1: a, 2: b}\n", "class numbers in .* are 1, 2"),
        ("train: x\nnc: 3\nnames: [a]\n", "nc is 3, but there are 1 names"),
        ("train: {a: b}\nnames: [a]\n", "'train' of "),
        ("- a\n", "holds a list"),
        ("a: [", "is not YAML"),
        ("a: &b [1]\nc: *b\n", "aliases"),
        ("a: !!python/object/apply:os.getcwd []\n", "is not YAML"),
        (b"\xff\xfe\x00", "is not UTF-8"),
        ("a: 2001-99-99\ntrain: x\n", "is not YAML|no names"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(folder, write, text, what):
    file = write(folder / "data.yaml", text)
    with pytest.raises(RetinaError, match=what) as caught:
        read_data_yaml(folder)
    assert str(file) in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_missing_file_a_choice_of_files_and_missing_images_are_told(folder, write):
    with pytest.raises(DataError, match="no data.yaml"):
        read_data_yaml(folder)
    write(folder / "a.yaml", GOOD)
    write(folder / "b.yaml", GOOD)
    with pytest.raises(DataError, match="several .yaml files"):
        read_data_yaml(folder)
    write(folder / "data.yaml", GOOD.replace("images", "pictures"))
    with pytest.raises(DataError, match="says train: pictures/train"):
        read_data_yaml(folder).places("train")
