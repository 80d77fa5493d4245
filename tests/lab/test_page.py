"""The page asks nobody for anything, runs nothing, and shows every text as it is."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from retina.drawing.figures import to_svg
from retina.lab.page import Drawn, Section, Table, as_file, write_page
from retina.lab.pictures import finding_pictures
from retina.lab.tables import finding_tables
from tests.lab.small_network import make_model

EVIL = "<script>alert('x')</script>"
SVG = '<svg width="9pt" viewBox="0 0 1 1"><path d="M 0 0"/></svg>'


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


def real_page(lab) -> str:
    plain = lab()(make_model()).as_plain()
    drawn = [Drawn(p.name, p.title, p.caption, to_svg(p.draw(), name=p.name)) for p in finding_pictures(plain)]
    return write_page("Loss lab", {"data": EVIL}, [Section("A model", drawn, finding_tables(plain))])


def test_a_page_of_a_strangers_classes_has_no_script_and_asks_nobody(lab) -> None:
    page = real_page(lab)
    reader = Reader(page)
    assert reader.open == []
    assert not {"script", "iframe", "object", "embed", "link", "base", "form", "img"} & set(reader.tags)
    assert reader.fetched == []
    assert all(link.startswith("#") for link in reader.links)
    assert "&lt;script&gt;" in page
    # Names of XML's own vocabularies are no addresses to fetch.
    rest = re.sub(r'xmlns(:xlink)?="http://www\.w3\.org/[^"]*"', "", page)
    assert re.findall(r"https?://|//\w+\.\w|@import|url\((?!#)", rest) == []


def test_every_id_is_there_once_and_every_link_leads_somewhere(lab) -> None:
    reader = Reader(real_page(lab))
    assert len(reader.ids) == len(set(reader.ids)) > 20
    assert {link[1:] for link in reader.links} <= set(reader.ids)
    assert reader.tags.count("figure") == reader.tags.count("figcaption") == 8


def test_a_policy_forbids_scripts_and_every_request() -> None:
    page = write_page("t", {}, [])
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    assert page.index("Content-Security-Policy") < page.index("<style>")
    assert "prefers-color-scheme: dark" in page


def test_every_text_is_escaped() -> None:
    section = Section(EVIL, [Drawn('a"b', EVIL, EVIL, SVG)], [Table(EVIL, (EVIL,), ((EVIL,),))])
    page = write_page(EVIL, {EVIL: EVIL}, [section])
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 10
    assert 'id="a&quot;b"' in page


def test_a_picture_file_has_its_own_colours() -> None:
    written = as_file(SVG)
    assert written.startswith("<?xml")
    assert '<svg style="color:#1b1b1f;background:#ffffff" width' in written
