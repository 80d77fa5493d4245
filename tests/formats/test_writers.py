"""What stands in the files that are written, byte by byte where others have to read them."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from retina.formats.voc import parse_xml
from retina.formats.writers import CsvWriter, ImageRecord, VocWriter, Writer, YoloWriter

BOXES = np.array([[10, 20, 30.5, 15.25], [0, 0, 80, 60]])


def _record(place: str, *, empty: bool = False) -> ImageRecord:
    boxes = BOXES[:0] if empty else BOXES
    return ImageRecord(place, (60, 80), boxes, np.arange(len(boxes)), np.array([False, True])[: len(boxes)])


def _write(writer: Writer, *records: ImageRecord) -> None:
    writer.write_split("train", records, None)
    writer.finish(["train"])


def test_a_yolo_row_is_the_class_and_the_centre_in_shares(tmp_path):
    writer = YoloWriter(tmp_path, ["cat", "no"])
    records = [_record(writer.place("train", name), empty=name == "b.jpg") for name in ("a.jpg", "b.jpg")]
    _write(writer, *records)
    assert (tmp_path / "labels/train/a.txt").read_text() == "0 0.315625 0.4604166667 0.38125 0.2541666667\n"
    assert (tmp_path / "labels/train/b.txt").read_text() == ""
    content = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert content == {"train": "images/train", "names": {0: "cat", 1: "no"}}
    assert writer.said["crowd regions left out: the format has none, they become background"] == 1


def test_a_table_has_a_header_and_an_empty_row_for_an_empty_image(tmp_path):
    writer = CsvWriter(tmp_path, ["a, b", "c"])
    records = [_record(writer.place("train", name), empty=name == "b.jpg") for name in ("a.jpg", "b.jpg")]
    _write(writer, *records)
    lines = (tmp_path / "train.csv").read_text().splitlines()
    assert lines == ["image,x1,y1,x2,y2,class", 'images/train/a.jpg,10,20,40.5,35.25,"a, b"', "images/train/b.jpg,,,,,"]
    assert (tmp_path / "classes.txt").read_text() == "a, b\nc\n"


@pytest.mark.parametrize(
    ("whole", "corners"), [(False, ["11", "21", "40.5", "35.25"]), (True, ["11", "21", "40", "35"])]
)
def test_voc_corners_start_at_one_and_crowds_are_difficult(tmp_path, whole, corners):
    writer = VocWriter(tmp_path, ["cat", "<dog>"], whole_pixels=whole)
    _write(writer, _record(writer.place("train", "deep/a b.jpg")))
    root = parse_xml((tmp_path / "Annotations/deep/a b.xml").read_bytes())
    first, second = root.findall("object")
    assert [node.text for node in first.find("bndbox")] == corners
    assert [node.findtext("difficult") for node in (first, second)] == ["0", "1"]
    assert second.findtext("name") == "<dog>"
    assert (root.findtext("size/width"), root.findtext("size/height")) == ("80", "60")
    assert (tmp_path / "ImageSets/Main/train.txt").read_text() == "deep/a b\n"
    assert writer.said["boxes written with fractions of a pixel (round=true writes whole pixels)"] == (not whole)


def test_images_that_would_share_their_annotations_get_another_name(tmp_path):
    writer = YoloWriter(tmp_path, ["cat"])
    places = [writer.place("train", name) for name in ("a.jpg", "a.png", "x/a.jpg", "a_2.png")]
    assert places == [f"images/train/{name}" for name in ("a.jpg", "a_2.png", "x/a.jpg", "a_2_2.png")]
    assert sum(writer.said.values()) == 2
    voc = VocWriter(tmp_path, ["cat"])
    assert [voc.place(split, "a.jpg") for split in ("train", "val")] == ["JPEGImages/a.jpg", "JPEGImages/a_2.jpg"]
