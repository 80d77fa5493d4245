"""Pascal VOC: corners by hand, layouts, difficult objects, and every kind of broken file."""

from __future__ import annotations

import numpy as np
import pytest

from retina.errors import DataError
from retina.formats import voc
from retina.formats.voc import UnusableXML, VocFolder, parse_xml

BOMB = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><a>&y;</a>'
LOCAL_FILE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
CAT, DOG = ("cat", 11, 6, 30, 25, 0), ("dog", 1, 1, 60, 40, 1)


@pytest.fixture
def devkit(tmp_path, image, voc_xml, write):
    """Two images to train on, one to validate on; `bird` is in val only."""
    for stem in ("a", "b c", "v"):
        image(tmp_path / "JPEGImages" / f"{stem}.jpg")
    write(tmp_path / "Annotations" / "a.xml", voc_xml(CAT, DOG))
    write(tmp_path / "Annotations" / "b c.xml", voc_xml(size=None))
    write(tmp_path / "Annotations" / "v.xml", voc_xml(("bird", 2.5, 3, 20.25, 21, 0)))
    write(tmp_path / "ImageSets" / "Main" / "train.txt", "a\nb c\n")
    write(tmp_path / "ImageSets" / "Main" / "val.txt", "v\n")
    return tmp_path


def test_corners_start_at_one_and_lie_inside_the_box(devkit):
    dataset = VocFolder(root=str(devkit)).open("train")
    # VOC: xmin 11 .. xmax 30 are twenty columns, the first of them at pixel 10.
    np.testing.assert_array_equal(dataset.boxes[0], [10, 5, 20, 20])
    assert dataset.sample(0).targets.boxes.tolist() == [[10, 5, 30, 25]]


def test_zero_based_corners_are_taken_as_they_are(devkit):
    np.testing.assert_array_equal(VocFolder(root=str(devkit), one_based=False).open("train").boxes[0], [11, 6, 19, 19])


def test_fractions_of_pixels_are_kept(devkit):
    np.testing.assert_array_equal(VocFolder(root=str(devkit)).open("val").boxes[0], [1.5, 2, 18.75, 19])


def test_all_splits_have_one_list_of_classes(devkit):
    folder = VocFolder(root=str(devkit))
    assert folder.splits == ("train", "val")
    assert folder.open("train").class_names == folder.open("val").class_names == ("bird", "cat", "dog")
    assert folder.open("val").category_ids == (1, 2, 3)


def test_parts_of_objects_are_no_objects_and_names_have_spaces(devkit):
    dataset = VocFolder(root=str(devkit)).open("train")
    assert list(dataset.file_names) == ["a.jpg", "b c.jpg"]
    assert dataset.offsets.tolist() == [0, 2, 2]
    assert dataset.image_ids.tolist() == [1, 2]
    assert dataset.sizes.tolist() == [[40, 60], [40, 60]]  # the second out of the image's header


@pytest.mark.parametrize(
    ("difficult", "crowd"), [("ignore", [False, True]), ("object", [False, False]), ("drop", [False])]
)
def test_difficult_objects_are_what_the_setting_says_and_are_counted(devkit, difficult, crowd):
    dataset = VocFolder(root=str(devkit), difficult=difficult).open("train")
    assert dataset.crowd.tolist() == crowd
    told = [finding for finding in dataset.findings if finding.fault.name == "difficult"]
    assert told[0].count == 1
    assert f"dataset.difficult={difficult}" in str(told[0])


def test_a_folder_for_each_split_needs_no_lists(tmp_path, image, voc_xml, write):
    image(tmp_path / "train" / "deep" / "a.png")
    write(tmp_path / "train" / "deep" / "a.xml", voc_xml(CAT))
    image(tmp_path / "train" / "empty.jpg")
    write(tmp_path / "train" / "alone.xml", voc_xml(CAT))
    dataset = VocFolder(root=str(tmp_path)).open("train")
    assert list(dataset.file_names) == ["deep/a.png", "empty.jpg"]
    kinds = {finding.fault.name: finding.count for finding in dataset.findings}
    assert kinds["image-without-xml"] == kinds["xml-without-image"] == 1


def test_lists_of_single_classes_have_a_second_column(devkit, write):
    write(devkit / "ImageSets" / "Main" / "train.txt", "a  1\nb c -1\na\n")
    dataset = VocFolder(root=str(devkit)).open("train")
    assert list(dataset.file_names) == ["a.jpg", "b c.jpg"]
    assert "1 image listed more than once, taken once: line 3 'a'" in dataset.notes


@pytest.mark.parametrize(
    ("xml", "what"),
    [
        ("<annotation><object>", "it is not XML"),
        ('<!DOCTYPE a [<!ENTITY b "cc">]><annotation/>', "document type"),
        ("<html/>", "it is a <html>"),
        ("<annotation><object><name>cat</name></object></annotation>", "object 1 of .*without a <bndbox>"),
        ("<annotation><object><name>cat</name><robndbox><cx>1</cx></robndbox></object></annotation>", "<robndbox>"),
        ("<annotation><object><bndbox><xmin>1</xmin></bndbox></object></annotation>", "without a <name>"),
        ("<annotation><object><name>c</name><bndbox><xmin>one</xmin></bndbox></object></annotation>", "xmin='one'"),
    ],
)
def test_a_broken_file_is_named(devkit, write, xml, what):
    write(devkit / "Annotations" / "a.xml", xml)
    with pytest.raises(DataError, match=what) as caught:
        VocFolder(root=str(devkit)).open("train")
    assert str(devkit / "Annotations" / "a.xml") in str(caught.value)
    assert caught.value.exit_status == 2


def test_every_mistake_is_there_for_who_asks(devkit, write):
    write(devkit / "ImageSets" / "Main" / "train.txt", "a\n../up\nnowhere\n")
    write(devkit / "Annotations" / "a.xml", "no")
    findings = VocFolder(root=str(devkit)).inspect("train").findings
    names = [finding.fault.name for finding in findings if finding.fault.severity == "error"]
    assert names == ["xml-unusable", "file-name-leaves-folder", "xml-missing"]
    with pytest.raises(DataError, match="2 more kinds of errors"):
        VocFolder(root=str(devkit)).open("train")


def test_a_class_outside_of_the_given_list_is_an_error(devkit):
    with pytest.raises(DataError, match=r"'dog': annotation number 2, image 'a.jpg'"):
        VocFolder(root=str(devkit), classes=["cat", "bird"]).open("train")


def test_boxes_that_cannot_be_used_are_left_out_and_counted(devkit, write, voc_xml):
    write(
        devkit / "Annotations" / "a.xml", voc_xml(CAT, ("cat", "nan", 1, 5, 5, 0), ("cat", 30, 9, 20, 12, 0), CAT, CAT)
    )
    dataset = VocFolder(root=str(devkit)).open("train")
    assert len(dataset.boxes) == 3
    kinds = {finding.fault.name: finding.count for finding in dataset.findings}
    assert kinds["box-not-finite"] == kinds["box-without-size"] == 1
    with pytest.raises(DataError, match="annotation number 2, image 1 'a.jpg'"):
        VocFolder(root=str(devkit), on_bad_box="error").open("train")


def test_a_split_that_is_not_there_is_told_with_those_that_are(devkit):
    with pytest.raises(DataError, match="dataset.test=NAME, one of: train, val"):
        VocFolder(root=str(devkit)).open("test")
    with pytest.raises(DataError, match="dataset.root is nowhere"):
        VocFolder(root="nowhere").open("train")


def test_text_is_read_in_the_encoding_that_it_names():
    assert parse_xml('<?xml version="1.0" encoding="latin-1"?><a>ä</a>'.encode("latin-1")).text == "ä"
    assert parse_xml("<a>ä</a>".encode("utf-16")).text == "ä"
    assert parse_xml(b"\xef\xbb\xbf<a><!-- <!DOCTYPE a> --></a>").tag == "a"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("text", [BOMB, LOCAL_FILE, '<!DOCTYPE a SYSTEM "http://localhost/a.dtd"><a/>'])
def test_a_document_type_is_refused_in_any_encoding(text, encoding):
    with pytest.raises(UnusableXML, match=r"document type|not XML"):
        parse_xml(text.encode(encoding))
    if encoding != "utf-16-le":  # without a mark it is no XML
        with pytest.raises(UnusableXML, match="document type"):
            parse_xml(text.encode(encoding))


@pytest.mark.parametrize(
    "raw", [b"", b"<a>", b"\xff\xfe\xfd", b'<?xml version="1.0" encoding="nope"?><a/>', b"<a>&b;</a>"]
)
def test_what_is_no_xml_is_said(raw):
    with pytest.raises(UnusableXML, match="not XML"):
        parse_xml(raw)


def test_files_that_cannot_be_read_or_are_too_large_are_said(devkit, monkeypatch):
    monkeypatch.setattr(voc, "MAX_BYTES", 3)
    with pytest.raises(DataError, match=r"a.xml \(it has more than"):
        VocFolder(root=str(devkit)).open("train")
