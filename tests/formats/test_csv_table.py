"""Tables of boxes: headers, delimiters, empty rows, and every kind of broken line."""

from __future__ import annotations

import numpy as np
import pytest

from retina.errors import DataError
from retina.formats.csv_table import CsvFolder

TABLE = "image,x1,y1,x2,y2,class\na.jpg,10,5,30,25,cat\nb c.jpg,,,,,\na.jpg,1,2,3.5,4,big dog\n"


@pytest.fixture
def mine(tmp_path, image, write):
    for name in ("a.jpg", "b c.jpg", "deep/v.png"):
        image(tmp_path / name)
    write(tmp_path / "train.csv", TABLE)
    write(tmp_path / "val.csv", "image,x1,y1,x2,y2,class\ndeep/v.png,1,1,9,9,ant\n")
    return tmp_path


def _check(dataset):
    assert list(dataset.file_names) == ["a.jpg", "b c.jpg"]
    np.testing.assert_array_equal(dataset.boxes, [[10, 5, 20, 20], [1, 2, 2.5, 2]])
    assert [dataset.class_names[label] for label in dataset.labels] == ["cat", "big dog"]
    assert dataset.offsets.tolist() == [0, 2, 2]


def test_rows_become_boxes_and_empty_rows_images_without_objects(mine):
    folder = CsvFolder(root=str(mine))
    _check(folder.open("train"))
    assert folder.splits == ("train", "val")
    assert folder.open("val").class_names == ("ant", "big dog", "cat")


@pytest.mark.parametrize(
    "table",
    [
        "\ufeff" + TABLE,
        TABLE.replace(",", ";"),
        TABLE.replace(",", "\t"),
        TABLE.replace("\n", "\r\n"),
        TABLE.partition("\n")[2],
        TABLE.replace("image,x1,y1,x2,y2,class", "Image_Path,xmin,YMIN,xmax,ymax,label"),
        TABLE.replace("cat", '"cat"').replace(",,,,", ",nan,NaN,,").replace("b c.jpg", '"b c.jpg"'),
        TABLE + "\n\n",
    ],
    ids=["BOM", "semicolon", "tab", "CRLF", "no header", "other names", "quotes and nan", "empty lines"],
)
def test_ways_to_write_the_same_table(mine, write, table):
    write(mine / "train.csv", table)
    _check(CsvFolder(root=str(mine)).open("train"))


def test_columns_stand_in_any_order_and_sizes_are_taken_where_they_are_given(mine, write):
    write(mine / "train.csv", "width,height,class,xmin,ymin,xmax,ymax,filename\n60,40,cat,10,5,30,25,a.jpg\n")
    dataset = CsvFolder(root=str(mine)).open("train")
    assert dataset.sizes.tolist() == [[40, 60]]
    np.testing.assert_array_equal(dataset.boxes, [[10, 5, 20, 20]])


def test_images_may_stand_in_another_folder_and_be_named_by_their_whole_path(mine, write, tmp_path):
    write(mine / "tables" / "t.csv", f"{mine}/a.jpg,1,1,9,9,cat\n")
    dataset = CsvFolder(root=str(mine / "tables"), images="..", train="t.csv").open("train")
    assert list(dataset.file_names) == ["a.jpg"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("a.jpg,1,2,x,4,cat", "line 2, image 'a.jpg': corners '1', '2', 'x', '4'"),
        ("a.jpg,1,2,,4,cat", "corners"),
        ("a.jpg,,,,,cat", "corners"),
        ("a.jpg,1,2,3,4,", "no class"),
        (",1,2,3,4,cat", "line 2: no image"),
        ("a.jpg,1,2,3", "line 2: 4 cells"),
        ("../a.jpg,1,2,3,4,cat", r"leaves the folder of images.*line 2: '\.\./a.jpg'"),
        ("/etc/a.jpg,1,2,3,4,cat", "leaves the folder of images"),
        ('a.jpg,1,2,3,4,"cat', "what follows is not read"),
    ],
)
def test_a_broken_line_is_named(mine, write, line, what):
    write(mine / "train.csv", f"image,x1,y1,x2,y2,class\n{line}\n")
    with pytest.raises(DataError, match=what) as caught:
        CsvFolder(root=str(mine)).open("train")
    assert str(mine / "train.csv") in str(caught.value)
    assert caught.value.exit_status == 2


def test_boxes_that_cannot_be_used_are_named_by_their_line(mine, write):
    write(
        mine / "train.csv", TABLE + "a.jpg,1,nan,3,4,cat\na.jpg,5,5,5,9,cat\na.jpg,70,1,90,9,cat\nb c.jpg,1,1,5,5,cat\n"
    )
    dataset = CsvFolder(root=str(mine)).open("train")
    assert len(dataset.boxes) == 3
    told = {finding.fault.name: tuple(map(str, finding.places)) for finding in dataset.findings}
    assert told["box-not-finite"] == ("annotation 5, image 1 'a.jpg'",)
    assert told["box-without-size"] == ("annotation 6, image 1 'a.jpg'",)
    assert told["box-outside"] == ("annotation 7, image 1 'a.jpg'",)


@pytest.mark.parametrize("text", ["", "\n\n", "image,x1,y1,x2,y2,class\n"])
def test_a_table_without_images_is_an_error(mine, write, text):
    write(mine / "train.csv", text)
    with pytest.raises(DataError, match="split without images"):
        CsvFolder(root=str(mine)).open("train")


@pytest.mark.parametrize("text", ["hello\n", "a,b,c,d,e,f\n", "image,x,y,w,h,class\n1,2\n"])
def test_a_first_line_that_is_neither_header_nor_object_is_shown(mine, write, text):
    write(mine / "train.csv", text)
    with pytest.raises(DataError, match="neither a header nor an object"):
        CsvFolder(root=str(mine)).open("train")


def test_text_that_is_not_utf_8_and_missing_files_are_told(mine, write):
    write(mine / "train.csv", TABLE.replace("cat", "kätzchen").encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8 text"):
        CsvFolder(root=str(mine)).open("train")
    with pytest.raises(DataError, match="dataset.test=FILE"):
        CsvFolder(root=str(mine)).open("test")
    with pytest.raises(DataError, match="dataset.images=FOLDER"):
        CsvFolder(root=str(mine), images="nowhere").open("train")


def test_shares_where_pixels_are_meant_are_refused(mine, write):
    write(mine / "train.csv", "a.jpg,0.1,0.1,0.5,0.5,cat\na.jpg,0.2,0.3,0.9,0.8,cat\n")
    with pytest.raises(DataError, match="between 0 and 1 where pixels are meant"):
        CsvFolder(root=str(mine)).open("train")
