"""Reading an XML file that a stranger wrote: no entities, no document type, no more than some megabytes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

# The annotations of one image are some kilobytes.
MAX_BYTES = 16 * 2**20


class UnusableXML(ValueError):
    """The text is no XML, or XML that is not read; the message is a sentence's end."""


def read_xml(path: Path) -> tuple[ElementTree.Element, bytes]:
    """Return the root element of ``path`` and the bytes that were read.

    A document type is refused: only it can declare entities, and those can unfold into gigabytes or name other files.

    Raises:
        UnusableXML: the file cannot be read, or is not what is read here.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UnusableXML(f"it has more than {MAX_BYTES // 2**20} MB")
        raw = path.read_bytes()
    except OSError as error:
        raise UnusableXML(str(error.strerror)) from None
    return parse_xml(raw), raw


def parse_xml(raw: bytes) -> ElementTree.Element:
    """Return the root element of the document ``raw``; UnusableXML as :func:`read_xml`."""

    def refuse(*_: object) -> None:
        raise UnusableXML("it has a document type (<!DOCTYPE>), which is not read")

    # Without handlers for elements a pass is a tenth of the parsing; it stops at the document type, in any encoding.
    guard = expat.ParserCreate()
    guard.StartDoctypeDeclHandler = refuse
    try:
        guard.Parse(raw, True)
        return ElementTree.fromstring(raw)
    except UnusableXML:
        raise
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise UnusableXML(f"it is not XML ({error})") from None
