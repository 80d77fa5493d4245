"""What a setting may be, read from a type annotation; enough of typing for values that a command line can hold."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Kind:
    """A set of values with its name in a message."""

    text: str
    accepts: Callable[[Any], bool]
    item: Kind | None = None  # of a list's or a mapping's values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


ANY = Kind("anything", lambda value: True)
NULL = Kind("null", lambda value: value is None)
LIST = Kind("a list", lambda value: isinstance(value, list | tuple))
MAPPING = Kind("a mapping", lambda value: isinstance(value, Mapping))
_PLAIN = {
    "float": Kind("a number", _is_number),
    "int": Kind("a whole number", _is_whole),
    "bool": Kind("true or false", lambda value: isinstance(value, bool)),
    "str": Kind("a text", lambda value: isinstance(value, str)),
    "Path": Kind("a path", lambda value: isinstance(value, str)),
    "None": NULL,
    "list": LIST,
    "tuple": LIST,
    "dict": MAPPING,
}
# Of retina.ranges: their ranges are told apart.
_PLAIN |= dict.fromkeys(("Share", "OpenShare", "ShareAbove0", "ShareBelow1", "AtLeast0", "Above0"), _PLAIN["float"])
_PLAIN |= dict.fromkeys(("Count", "AtLeast1"), _PLAIN["int"])
_LISTS = ("list", "tuple", "Sequence", "Iterable")
_MAPPINGS = ("dict", "Mapping")


def read_kind(annotation: ast.expr | None, aliases: Mapping[str, Kind]) -> Kind:
    """Return what ``annotation`` allows; ``ANY`` where it says more than is understood here."""
    if isinstance(annotation, ast.Constant):
        if annotation.value is None:
            return NULL
        return kind_of(str(annotation.value), aliases)
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return either(read_kind(annotation.left, aliases), read_kind(annotation.right, aliases))
    if isinstance(annotation, ast.Name | ast.Attribute):
        name = _last_name(annotation)
        return aliases.get(name) or _PLAIN.get(name, ANY)
    if isinstance(annotation, ast.Subscript):
        return _read_subscript(annotation, aliases)
    return ANY


def kind_of(text: str, aliases: Mapping[str, Kind] | None = None) -> Kind:
    """Return what the annotation written as ``text`` allows."""
    return read_kind(ast.parse(text, mode="eval").body, aliases or {})


def either(first: Kind, second: Kind) -> Kind:
    """Return the kind of values that one of two kinds accepts."""
    if ANY in (first, second):
        return ANY
    item = first.item or second.item
    return Kind(f"{first.text} or {second.text}", lambda value: first.accepts(value) or second.accepts(value), item)


def violations(path: str, value: Any, kind: Kind) -> Iterator[tuple[str, str]]:
    """Yield (path, sentence) for ``value`` and for each value inside it that ``kind`` does not accept."""
    if not kind.accepts(value):
        yield path, f"{path} must be {kind.text}, got {shown(value)}"
    elif kind.item is not None and isinstance(value, Mapping):
        for name, item in value.items():
            yield from violations(f"{path}.{name}", item, kind.item)
    elif kind.item is not None and isinstance(value, list | tuple):
        for item in value:
            if not kind.item.accepts(item):
                yield path, f"{path} must be {kind.text}, got {shown(item)} in it"


def shown(value: Any) -> str:
    """Write ``value`` as it is written on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def _read_subscript(annotation: ast.Subscript, aliases: Mapping[str, Kind]) -> Kind:
    name = _last_name(annotation.value)
    inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    if name == "Literal":
        return _one_of([item.value for item in inner if isinstance(item, ast.Constant)])
    if name == "Annotated":
        return read_kind(inner[0], aliases)
    kinds = [read_kind(item, aliases) for item in inner]
    if name == "Optional":
        return either(kinds[0], NULL)
    if name == "Union":
        union = kinds[0]
        for kind in kinds[1:]:
            union = either(union, kind)
        return union
    if name in _MAPPINGS:
        return replace(MAPPING, item=kinds[-1])
    if name in _LISTS:
        return _list_of(kinds[0], inner, is_tuple=name == "tuple")
    return ANY


def _list_of(item: Kind, inner: list[ast.expr], *, is_tuple: bool) -> Kind:
    text = "a list" if item is ANY else f"a list, each {item.text}"
    open_ended = not is_tuple or (isinstance(inner[-1], ast.Constant) and inner[-1].value is Ellipsis)
    if open_ended:
        return Kind(text, LIST.accepts, item)
    length = len(inner)
    return Kind(f"{text}, {length} of them", lambda value: LIST.accepts(value) and len(value) == length, item)


def _one_of(allowed: list[Any]) -> Kind:
    # `1 == True` in Python, so the type is compared too.
    return Kind(
        f"one of {', '.join(map(str, allowed))}",
        lambda value: any(type(value) is type(item) and value == item for item in allowed),
    )


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
