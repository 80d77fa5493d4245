"""A long JSON object read in parts is what json.loads makes of it, whatever the places where it is cut."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retina.data.coco import json_stream
from retina.data.coco.json_stream import DUPLICATE_KEYS, JsonError, JsonStream

TEXT = st.text(st.sampled_from('a"\\{}[],: \néл猫\U0001f600'), max_size=6)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=12
)
RECORDS = st.lists(st.dictionaries(TEXT, VALUES, max_size=3), max_size=12)


def chunks(content: bytes, size: int = 7):
    return (content[place : place + size] for place in range(0, len(content), size))


def read(content: bytes, size: int = 7) -> dict[str, Any]:
    found: dict[str, Any] = {}
    lists = defaultdict(list)
    for part in JsonStream(chunks(content, size)).parts():
        if part.in_list:
            found[part.key] = lists[part.key]
            lists[part.key] += part.value
        else:
            found[part.key] = part.value
    return found


@pytest.fixture(autouse=True, scope="module")
def _short_batches():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_BATCH", 48)
        yield


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(TEXT, RECORDS | VALUES, max_size=4), st.integers(1, 60), st.booleans(), st.sampled_from([None, 1])
)
def test_any_object_is_what_json_loads_makes_of_it(content, size, escaped, indent):
    text = json.dumps(content, ensure_ascii=escaped, indent=indent)
    assert read(text.encode(), size) == json.loads(text)


@settings(max_examples=150, deadline=None)
@given(RECORDS, st.integers(0, 400), st.sampled_from('"{}[],:x1\\'))
def test_a_mistake_anywhere_is_one_for_both(records, place, letter):
    text = json.dumps({"a": records, "b": 5})
    text = text[: place % len(text)] + letter + text[place % len(text) + 1 :]
    try:
        expected = json.loads(text)
    except json.JSONDecodeError:
        expected = None
    if expected is None or not isinstance(expected, dict):
        with pytest.raises(JsonError):
            read(text.encode())
    else:
        found = read(text.encode())
        # A mistake that makes a second key of one: json.loads takes the last, which is told elsewhere.
        if DUPLICATE_KEYS not in json.dumps(found) and len(found) == len(expected) and '"\\u0000' not in str(found):
            assert {k: v for k, v in found.items() if not isinstance(v, list)} == {
                k: v for k, v in expected.items() if not isinstance(v, list)
            }


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_file_that_ends_anywhere_in_the_middle_is_told_as_such(cut):
    text = '{"a": [{"b": true, "c": -1.5e3}, {}], "d": "e\\u00e9", "f": {}}'
    with pytest.raises(JsonError) as caught:
        read(text[:cut].encode())
    assert caught.value.trouble == "end"


@pytest.mark.parametrize(
    ("content", "trouble", "message"),
    [
        (b"", "end", "it is empty"),
        (b"  \n", "end", "it is empty"),
        (b"[{}]", "syntax", "it holds a list"),
        (b"5", "syntax", "it holds a int"),
        (b'{"a": [{}, ]}', "syntax", "Expecting value: character 12"),
        (b'{"a": [{} {}]}', "syntax", "',' or ']' is expected: character 11"),
        (b'{"a": 1, }', "syntax", "a name in double quotes is expected: character 10"),
        (b'{"a" 1}', "syntax", "':' is expected"),
        (b'{"a": 1}}', "syntax", "something follows"),
        (b'{"a": [{"b": "\n"}]}', "syntax", "Invalid control character"),
        ('{"é": 1}'.encode("latin-1"), "encoding", "byte 2"),
        (b'{"a": "' + b"x" * 50 + b"\xff" + b'"}', "encoding", "byte 57"),
        ("{}".encode("utf-16"), "encoding", "it is UTF-16"),
        (b'{"a": ' + b"[" * 100_000, "syntax", "nested too deeply"),
        (b'{"a": [' + b"1" * 5000 + b"]}", "syntax", "too many digits"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(content, trouble, message):
    with pytest.raises(JsonError) as caught:
        read(content)
    assert message in str(caught.value)
    assert caught.value.trouble == trouble


def test_keys_given_twice_are_remembered():
    stream = JsonStream([b'{"a": [{"b": 1, "b": 2, "c": 3}, {"d": 4}], "a": 5}'])
    parts = [part for part in stream.parts() if part.value]
    assert parts[0].value[0] == {"b": 2, "c": 3, DUPLICATE_KEYS: ["b"]}
    assert stream.duplicate_keys == ["a"]


def test_a_list_without_entries_is_met():
    assert read(b'{"a": [], "b": [{}]}') == {"a": [], "b": [{}]}


def test_a_byte_order_mark_is_skipped():
    stream = JsonStream([b'\xef\xbb\xbf{"a": 1}'])
    assert [part.value for part in stream.parts()] == [1]
    assert stream.has_mark


def test_memory_is_that_of_a_batch_and_not_of_the_file(monkeypatch):
    monkeypatch.setattr(json_stream, "_BATCH", 1000)
    longest = 0

    def content():
        yield b'{"a": ['
        for number in range(2000):
            yield b"," * (number > 0) + json.dumps({"id": number, "x": {"y": "},{"}}).encode()
        yield b"]}"

    stream, count = JsonStream(content()), 0
    for part in stream.parts():
        longest = max(longest, len(stream._text))
        assert [entry["id"] for entry in part.value] == list(range(count, count + len(part.value)))
        count += len(part.value)
    assert count == 2000
    assert longest < 3000
