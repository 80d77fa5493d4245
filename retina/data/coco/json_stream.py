"""Reading a JSON object whose values are long lists, a batch of list entries at a time."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

# Text that is decoded at once. The entries of a batch take some ten times as much memory for a moment.
_BATCH = 1 << 20  # characters
# No token but a string is longer, so an error further from the end of the text is not for want of the rest.
_LONGEST_TOKEN = 16
_BOUNDARIES_TRIED = 64
# Errors and rests of a text that could go on: a word or a number that is cut off.
_IN_TEXT = ("Unterminated", "Invalid \\u")
_REST = re.compile(r"\s*|t(ru?)?|f(al?|als)?|n(ul?)?|N(a)?|-?(I(n(f(i(n(it?)?)?)?)?)?)?|\.|[eE][+-]?")
_SPACE = re.compile(r"[ \t\n\r]*")

# Key of the names that an object gives more than once; no key of a sound file contains NUL.
DUPLICATE_KEYS = "\0duplicate keys"


Trouble = Literal["encoding", "end", "syntax"]  # no UTF-8; it could be the start of an object; anything else


class JsonError(ValueError):
    """The text is no JSON object."""

    def __init__(self, message: str, trouble: Trouble = "syntax") -> None:
        super().__init__(message)
        self.trouble = trouble


class Part(NamedTuple):
    """Some entries of the list ``key``, or the whole value of ``key`` where it is no list."""

    key: str
    value: Any
    in_list: bool


class JsonStream:
    """A JSON object read in parts: memory is that of one part, whatever the size of the file.

    Lists are cut where one object ends and the next begins, and each piece is decoded at once, which takes as long as
    decoding the whole text does. Where such a place was inside of an entry the piece is no JSON, and its entries are
    decoded one by one.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        """Read from ``chunks``, the bytes of the file in order."""
        self.has_mark = False  # a byte order mark stood first
        self.duplicate_keys: list[str] = []  # of the outermost object
        self._chunks = iter(chunks)
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder(object_pairs_hook=_record)
        self._text, self._place, self._before, self._ended = "", 0, 0, False
        self._bytes = 0  # decoded so far

    def parts(self) -> Iterator[Part]:
        """Yield every value of the object in the file's order; a list begins with a part without entries."""
        self._open()
        seen: set[str] = set()
        separator = "," if self._peek() != "}" else self._take("}")
        while separator == ",":
            if self._peek() != '"':
                trouble: Trouble = "syntax" if self._peek() else "end"
                raise self._error("a name in double quotes is expected", self._place, trouble)
            key = self._value()
            if key in seen:
                self.duplicate_keys.append(key)
            seen.add(key)
            self._take(":")
            if self._peek() == "[":
                yield from self._list(key)
            else:
                yield Part(key, self._value(), False)
            separator = self._take(",}")
        if self._peek():
            raise self._error("something follows behind the end of the object", self._place)

    def _open(self) -> None:
        self._grow()
        if self._text.startswith("\ufeff"):
            self.has_mark, self._place = True, 1
        first = self._peek()
        if not first:
            raise JsonError("it is empty", "end")
        if first == "[":
            raise JsonError("it holds a list, not an object")
        if first != "{":
            raise JsonError(f"it holds a {type(self._value()).__name__}, not an object")
        self._place += 1

    def _list(self, key: str) -> Iterator[Part]:
        self._take("[")
        yield Part(key, [], True)
        separator = "," if self._peek() != "]" else self._take("]")
        while separator == ",":
            if len(self._text) - self._place < _BATCH // 2:
                self._grow()
            yield Part(key, self._entries(), True)
            separator = self._take(",]")

    def _entries(self) -> list[Any]:
        """Return the entries up to the last place in the text where one object seems to end and the next to begin."""
        end = self._boundary()
        if end is None:
            return [self._value()]
        # If this is JSON the cut was between two entries: up to there the text has one reading only.
        piece = f"[{self._text[self._place : end]}]"
        try:
            entries, stop = self._json.raw_decode(piece)
        except (ValueError, RecursionError):
            return self._one_by_one(self._before + end)
        # A list that ends before the cut leaves the rest; then `stop` is behind the "]" of the file's own text.
        self._place = end if stop == len(piece) else self._place + stop - 2
        return entries

    def _one_by_one(self, end: int) -> list[Any]:
        entries = [self._value()]
        while self._before + self._place < end and self._peek() == ",":
            self._place += 1
            entries.append(self._value())
        return entries

    def _boundary(self) -> int | None:
        """Return the place behind a ``}`` near the end of the text that ``, {`` follows."""
        text, start = self._text, len(self._text)
        for _ in range(_BOUNDARIES_TRIED):
            start = text.rfind("{", self._place + 1, start)
            if start < 0:
                return None
            before = text[max(self._place, start - 32) : start].rstrip()
            if before.endswith(",") and (before := before[:-1].rstrip()).endswith("}"):
                return text.rindex("}", self._place, start) + 1
        return None

    def _value(self) -> Any:
        """Return the value that begins at the place, reading on as long as it is not whole."""
        self._peek()
        while True:
            start = self._place  # moves when more is read
            try:
                value, end = self._json.raw_decode(self._text, start)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith(_IN_TEXT) or error.pos > len(self._text) - _LONGEST_TOKEN
                if not (cut and self._grow()):
                    place = self._place + error.pos - start
                    ends = cut and (error.msg.startswith(_IN_TEXT) or _REST.fullmatch(self._text, place))
                    raise self._error(error.msg, place, "end" if ends else "syntax") from None
            except RecursionError:
                raise self._error("values are nested too deeply", start) from None
            except ValueError:  # whole numbers of thousands of digits
                raise self._error("a number has too many digits", start) from None
            else:
                # A number at the end of the text may go on.
                if len(self._text) - end > _LONGEST_TOKEN or not self._grow():
                    self._place += end - start
                    return value

    def _peek(self) -> str:
        """Return the next character that is no space, without taking it; nothing at the end."""
        while True:
            self._place = _SPACE.match(self._text, self._place).end()  # type: ignore[union-attr]
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._grow():
                return ""

    def _take(self, expected: str) -> str:
        found = self._peek()
        if not found or found not in expected:
            trouble: Trouble = "syntax" if found else "end"
            raise self._error(f"{' or '.join(map(repr, expected))} is expected", self._place, trouble)
        self._place += 1
        return found

    def _grow(self) -> bool:
        """Read until there is twice as much text; return whether there was more."""
        if self._ended:
            return False
        rest = self._text[self._place :]
        self._before, self._place = self._before + self._place, 0
        pieces, count, wanted = [rest], len(rest), max(_BATCH, 2 * len(rest))
        while count < wanted and not self._ended:
            chunk = next(self._chunks, b"")
            self._ended = not chunk
            pieces.append(self._decode(chunk))
            count += len(pieces[-1])
        self._text = "".join(pieces)
        return count > len(rest)

    def _decode(self, chunk: bytes) -> str:
        try:
            text = self._utf8.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            # The decoder holds back what may be the start of a character, and counts from there.
            place = self._bytes + len(chunk) - len(error.object) + error.start
            if error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) and place == 0:
                raise JsonError("it is UTF-16", "encoding") from None
            raise JsonError(f"byte {place} ({error.reason})", "encoding") from None
        self._bytes += len(chunk)
        return text

    def _error(self, message: str, place: int, trouble: Trouble = "syntax") -> JsonError:
        return JsonError(f"{message}: character {self._before + place + 1}", trouble)


def _record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        record[DUPLICATE_KEYS] = sorted({name for name in names if names.count(name) > 1})
    return record
