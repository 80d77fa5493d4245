from __future__ import annotations

import re
from html.parser import HTMLParser

import torch

from retina.doctor.cases import cases_of, gallery
from retina.doctor.detector_view import Lens
from retina.doctor.examine import examine
from retina.doctor.page import html_page

EVIL = "<script>alert(1)</script>\"'&"
LENS = Lens(lambda h, w: (h, w), lambda boxes, canvas: torch.zeros(len(boxes)), 100, 2)
VOID = {"meta", "img", "br"}


class Checked(HTMLParser):
    """Collects what a page holds and sees that every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        values = dict(attrs)
        self.ids |= {values["id"]} if "id" in values else set()
        self.links += [values[name] for name in ("href", "xlink:href") if name in values]
        self.sources += [values["src"]] if "src" in values else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag


def page_of(data) -> str:
    examination = examine(data.write().folder(), ["train", "val"], lens=LENS)
    galleries = {split: gallery(exam, 2) for split, exam in examination.splits.items()}
    return html_page(examination, cases_of(examination), galleries, command=f"python doctor {EVIL}", date="today")


def test_the_page_stands_alone_and_every_link_leads_somewhere(data):
    (data.root / "val" / "val_0.jpg").write_bytes(data.image(3).read_bytes())
    text = page_of(data)
    checked = Checked()
    checked.feed(text)
    assert checked.open == []
    # Names of XML's own vocabularies are no addresses to fetch.
    assert not re.search(r"https?://|@import|url\((?!#)", re.sub(r'xmlns(:xlink)?="[^"]*"', "", text))
    assert all(source.startswith("data:image/jpeg;base64,") for source in checked.sources)
    assert len(checked.sources) >= 4
    assert {link[1:] for link in checked.links} <= checked.ids
    assert len(checked.links) >= 4
    assert checked.tags.isdisjoint({"script", "link", "iframe"})


def test_names_of_the_data_set_are_escaped(data):
    data.content["categories"][0]["name"] = EVIL
    data.content["images"][1]["file_name"] = "a<img src=x onerror=alert(1)>.jpg"
    text = page_of(data)
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;" in text
    assert "a&lt;img src=x" in text


def test_the_verdict_is_that_of_the_worst_finding(data):
    assert 'class="verdict error"' not in page_of(data)
    data.image(1).unlink()
    text = page_of(data)
    assert 'class="verdict error"' in text
    assert "Training will refuse this data set" in text
    assert "image 11 &#39;train_1.jpg&#39;" in text


def test_a_split_that_cannot_be_opened_has_a_tile(data):
    data.text = "{"
    assert "could not be opened" in page_of(data)


def test_a_split_without_objects_has_no_view_and_no_link_to_one(data):
    data.content["annotations"] = []
    text = page_of(data)
    assert "What the detector will see of train" not in text
    assert "What the detector will see of val" in text
