"""The page of a stranger's classes asks nobody for anything and runs nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from retina.drawing.pages import render_page
from retina.lab.command import page_section
from tests.lab.small_network import make_model


class Reader(HTMLParser):
    """Collects tags, ids, links and what would be fetched."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        for name, value in attributes:
            assert not name.startswith("on"), name
            if name == "id":
                self.ids.append(value)
            if name in ("href", "xlink:href"):
                self.links.append(value)
            if name in ("src", "srcset", "data", "action", "poster"):
                self.fetched.append(value)

    def handle_startendtag(self, tag, attributes) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in ("meta", "br"):
            self.open.pop()

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(lab) -> str:
    diagnosis = lab()(make_model())
    section = page_section("A model", diagnosis.panels, diagnosis.tables())
    return render_page("loss_lab.html", title="Loss lab", facts={"data": "<script>"}, sections=[section])


def test_a_page_of_a_strangers_classes_has_no_script_and_asks_nobody(page) -> None:
    reader = Reader(page)
    assert reader.open == []
    assert not {"script", "iframe", "object", "embed", "link", "base", "form", "img"} & set(reader.tags)
    assert reader.fetched == []
    assert all(link.startswith("#") for link in reader.links)
    assert "&lt;script&gt;" in page
    # Names of XML's own vocabularies are no addresses to fetch.
    rest = re.sub(r'xmlns(:xlink)?="http://www\.w3\.org/[^"]*"', "", page)
    assert re.findall(r"https?://|//\w+\.\w|@import|url\((?!#)", rest) == []


def test_every_id_is_there_once_and_every_link_leads_somewhere(page) -> None:
    reader = Reader(page)
    assert len(reader.ids) == len(set(reader.ids)) > 20
    assert {link[1:] for link in reader.links} <= set(reader.ids)
    assert reader.tags.count("figure") == reader.tags.count("figcaption") == 8
