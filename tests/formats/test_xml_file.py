from __future__ import annotations

import pytest

from retina.formats import xml_file
from retina.formats.xml_file import UnusableXML, parse_xml, read_xml

BOMB = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><a>&y;</a>'
LOCAL_FILE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'


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


def test_files_that_cannot_be_read_or_are_too_large_are_said(tmp_path, monkeypatch):
    with pytest.raises(UnusableXML, match="No such file"):
        read_xml(tmp_path / "a.xml")
    (tmp_path / "a.xml").write_text("<a/>")
    assert read_xml(tmp_path / "a.xml")[1] == b"<a/>"
    monkeypatch.setattr(xml_file, "MAX_BYTES", 3)
    with pytest.raises(UnusableXML, match="more than"):
        read_xml(tmp_path / "a.xml")
