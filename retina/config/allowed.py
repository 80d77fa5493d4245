"""What a setting may be, read from a type annotation; enough of typing for values that a command line can hold."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from retina import ranges
from retina.ranges import FILLED, Mark, Range

Lookup = Callable[[str], "Allowed | None"]  # what a name of the module stands for


@dataclass(frozen=True)
class Allowed:
    """A set of values with its name in a message."""

    text: str
    accepts: Callable[[Any], bool]
    item: Allowed | None = None  # of a list's or a mapping's values
    ranges: tuple[Range, ...] = ()  # of the value, or of the items of a list
    marks: tuple[Mark, ...] = ()
    section: Signature | None = None  # of a dataclass: a section of settings


@dataclass(frozen=True)
class Parameter:
    """One parameter of a target."""

    name: str
    allowed: Allowed
    required: bool


@dataclass(frozen=True)
class Signature:
    """The parameters of a function, or of the class that is built."""

    target: str
    parameters: dict[str, Parameter]
    takes_any_name: bool = False  # has **kwargs

    @property
    def settings(self) -> dict[str, Parameter]:
        """The parameters that a configuration sets; the program fills in the others."""
        return {name: item for name, item in self.parameters.items() if FILLED not in item.allowed.marks}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


ANY = Allowed("anything", lambda value: True)
NULL = Allowed("null", lambda value: value is None)
LIST = Allowed("a list", lambda value: isinstance(value, list | tuple))
MAPPING = Allowed("a mapping", lambda value: isinstance(value, Mapping))
_PLAIN = {
    "float": Allowed("a number", _is_number),
    "int": Allowed("a whole number", _is_whole),
    "bool": Allowed("true or false", lambda value: isinstance(value, bool)),
    "str": Allowed("a text", lambda value: isinstance(value, str)),
    "Path": Allowed("a path", lambda value: isinstance(value, str)),
    "None": NULL,
    "list": LIST,
    "tuple": LIST,
    "dict": MAPPING,
}
_LISTS = ("list", "tuple", "Sequence", "Iterable")
_MAPPINGS = ("dict", "Mapping")


def read_allowed(annotation: ast.expr | None, lookup: Lookup = lambda name: None) -> Allowed:
    """Return what ``annotation`` allows; ``ANY`` where it says more than is understood here."""
    if isinstance(annotation, ast.Constant):
        if annotation.value is None:
            return NULL
        return read_allowed(ast.parse(str(annotation.value), mode="eval").body, lookup)
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return either(read_allowed(annotation.left, lookup), read_allowed(annotation.right, lookup))
    if isinstance(annotation, ast.Name | ast.Attribute):
        name = _last_name(annotation)
        return _PLAIN.get(name) or lookup(name) or ANY
    if isinstance(annotation, ast.Subscript):
        return _read_subscript(annotation, lookup)
    return ANY


def section_of(signature: Signature) -> Allowed:
    """Return that a section of the settings of ``signature`` is wanted."""
    return Allowed("a section", MAPPING.accepts, section=signature)


def either(first: Allowed, second: Allowed) -> Allowed:
    """Return the values that one of two sets has."""
    if ANY in (first, second):
        return ANY
    return Allowed(
        f"{first.text} or {second.text}",
        lambda value: first.accepts(value) or second.accepts(value),
        first.item or second.item,
        first.ranges + second.ranges,
        first.marks + second.marks,
        first.section or second.section,
    )


def violations(path: str, value: Any, allowed: Allowed, beside: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (path, sentence) for ``value`` and for each value inside it that is not allowed.

    ``beside`` are the other values of the section, that a range may name.
    """
    if not allowed.accepts(value):
        if value is None:
            yield path, f"{path} must be given" + ("" if allowed.text == "a text" else f": {allowed.text}")
        else:
            yield path, f"{path} must be {allowed.text}, got {shown(value)}"
        return
    wrong = list(_wrong_items(path, value, allowed, beside))
    yield from wrong
    if not wrong:
        yield from ((path, sentence) for sentence in ranges.outside(path, value, allowed.ranges, beside))


def shown(value: Any) -> str:
    """Write ``value`` as it is written on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def _wrong_items(path: str, value: Any, allowed: Allowed, beside: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if allowed.item is None:
        return
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from violations(f"{path}.{name}", item, allowed.item, beside)
    elif isinstance(value, list | tuple):
        for item in value:
            if not allowed.item.accepts(item):
                yield path, f"{path} must be a list, each {allowed.item.text}, got {shown(item)} in it"


def _read_subscript(annotation: ast.Subscript, lookup: Lookup) -> Allowed:
    name = _last_name(annotation.value)
    inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    if name == "Literal":
        return _one_of([item.value for item in inner if isinstance(item, ast.Constant)])
    if name == "Annotated":
        return _annotated(read_allowed(inner[0], lookup), inner[1:])
    read = [read_allowed(item, lookup) for item in inner]
    if name == "Optional":
        return either(read[0], NULL)
    if name == "Union":
        union = read[0]
        for other in read[1:]:
            union = either(union, other)
        return union
    if name in _MAPPINGS:
        return replace(MAPPING, item=read[-1])
    if name in _LISTS:
        return _list_of(read[0], inner, is_tuple=name == "tuple")
    return ANY


def _annotated(allowed: Allowed, notes: Sequence[ast.expr]) -> Allowed:
    """Add what ``Annotated`` says: ranges, written as calls with constants, and marks, written as names."""
    found: list[Range] = []
    marks: list[Mark] = []
    for note in notes:
        if isinstance(note, ast.Call):
            values = [ast.literal_eval(value) for value in note.args]
            named = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in note.keywords}
            found.append(getattr(ranges, _last_name(note.func))(*values, **named))
        elif isinstance(mark := getattr(ranges, _last_name(note), None), Mark):
            marks.append(mark)
    return replace(allowed, ranges=(*found, *allowed.ranges), marks=(*marks, *allowed.marks))


def _list_of(item: Allowed, inner: list[ast.expr], *, is_tuple: bool) -> Allowed:
    text = "a list" if item is ANY else f"a list, each {item.text}"
    open_ended = not is_tuple or (isinstance(inner[-1], ast.Constant) and inner[-1].value is Ellipsis)
    if open_ended:
        return Allowed(text, LIST.accepts, item, item.ranges)
    length = len(inner)
    return Allowed(
        f"{text}, {length} of them",
        lambda value: LIST.accepts(value) and len(value) == length,
        item,
        item.ranges,
    )


def _one_of(options: list[Any]) -> Allowed:
    # `1 == True` in Python, so the type is compared too.
    return Allowed(
        f"one of {', '.join(map(str, options))}",
        lambda value: any(type(value) is type(option) and value == option for option in options),
    )


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
