from __future__ import annotations

import json

import pytest

from retina.doctor.fix import sentences, write_corrected
from retina.errors import DataError
from tests.doctor import broken_annotations  # noqa: F401  (fills ROWS)
from tests.doctor.broken import ROWS


def written(data):
    return write_corrected(data.file, pixel_sizes={}, unreadable=[])


def test_a_sound_file_needs_no_copy(data):
    assert written(data.write()) == (data.root / "train.fixed.json", {})
    assert not (data.root / "train.fixed.json").exists()


def test_the_copy_stands_beside_the_file_and_nothing_is_overwritten(data):
    data.content["annotations"][0]["bbox"] = [50, 6, 30, 30]
    before = data.write().file.read_bytes()
    path, changes = written(data)
    assert path == data.root / "train.fixed.json"
    assert sentences(changes) == ["1 boxes clipped to their image: 1001"]
    assert data.file.read_bytes() == before
    assert json.loads(path.read_text())["annotations"][0]["bbox"] == [50, 6, 14, 30]
    with pytest.raises(DataError, match="there is a corrected copy already"):
        written(data)


def test_a_byte_order_mark_is_taken_away(data):
    data.text = b"\xef\xbb\xbf" + json.dumps(data.content).encode()
    path, changes = written(data.write())
    assert path.read_bytes().startswith(b"{")
    assert list(changes) == ["byte order mark taken away"]


@pytest.mark.parametrize("text", ["", "{", "[1]", b"\xff\xfe", '{"id": 1, "id": 2}'])
def test_what_cannot_be_known_is_not_guessed(data, text):
    data.text = text
    with pytest.raises(DataError, match="cannot be corrected"):
        written(data.write())
    assert not (data.root / "train.fixed.json").exists()


def test_names_in_any_script_come_back(data):
    data.content["categories"][0]["name"] = "猫 é 🐱"
    del data.content["annotations"][0]["area"]
    path, _ = written(data.write())
    assert json.loads(path.read_text(encoding="utf-8"))["categories"][0]["name"] == "猫 é 🐱"


# Broken in ways that have one right answer: the corrected copy has no errors, and correcting it changes nothing.
CURED = ["annotation_id_twice", "annotation_id_missing", "area_missing", "area_is_text", "iscrowd_missing",
         "box_is_null",
         "box_of_texts", "box_of_three", "box_with_nan", "box_with_infinity", "box_of_zero_width", "box_outside",
         "box_beyond_the_right", "box_missing_beside_a_polygon", "box_twice", "boxes_as_corners", "boxes_as_shares",
         "image_unknown", "category_unknown", "category_id_is_text", "image_id_is_text", "an_annotation_is_a_number",
         "file_with_byte_order_mark", "width_is_text"]  # fmt: skip


@pytest.mark.parametrize("name", CURED)
def test_the_corrected_copy_has_no_errors_and_is_left_alone(data, name):
    next(change for row, change, *_ in ROWS if row == name)(data)
    path, _ = written(data.write())
    path.rename(data.file)
    left = data.folder().inspect("train").findings
    assert [str(f) for f in left if f.fault.severity != "note" and "crowd" not in f.fault.name] == []
    assert written(data)[1] == {}
