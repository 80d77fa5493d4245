"""Building what a configuration names: the one place where a ``_target_`` is called."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_args

from retina.config.former_names import present_name
from retina.errors import ConfigError
from retina.ranges import FLAT, hints_of


def build(node: Any, **more: Any) -> Any:
    """Build the object that ``node`` names by its ``_target_``, after everything inside it.

    Args:
        node: plain values. A mapping with ``_target_`` becomes what that class or function returns for the other
            values, with ``_partial_: true`` a function that still takes arguments; lists and other mappings are built
            item by item.
        more: what the program adds to the values of ``node``, or puts in their place.

    Raises:
        RetinaError: as a constructor raised it.
        ConfigError: the target cannot be imported, or refused a value.
    """
    if isinstance(node, list | tuple):
        return [build(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    if "_target_" not in node:
        return {name: build(value) for name, value in node.items()}
    name = present_name(str(node["_target_"]))
    values = {key: build(value) for key, value in node.items() if not str(key).startswith("_")}
    try:
        target = _locate(name)
        if node.get("_partial_"):
            return partial(target, **values, **more)
        return target(*build(node.get("_args_", [])), **_with_flat_parts(target, {**values, **more}))
    except (ImportError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{name} cannot be built with these settings",
            why=" ".join(str(error).split()),
            fix="change the setting that is named above, or choose another option of its group",
        ) from error


def _locate(name: str) -> Callable[..., Any]:
    """Import and return the class or function called ``name``, or the member of a class: ``package.module.Class.make``.

    Raises:
        ImportError: there is none, or it cannot be called.
    """
    module, _, rest = name.rpartition(".")
    while True:
        try:
            found: Any = importlib.import_module(module)
            break
        except ModuleNotFoundError as error:
            if "." not in module or not f"{module}.".startswith(f"{error.name}."):
                raise
            module, _, last = module.rpartition(".")
            rest = f"{last}.{rest}"
    for part in rest.split("."):
        if not hasattr(found, part):
            raise ImportError(f"there is no {part} in {getattr(found, '__name__', found)}")
        found = getattr(found, part)
    if not callable(found):
        raise ImportError(f"{name} is no class or function")
    return found


def _with_flat_parts(target: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return ``values`` with those in one object that a parameter of ``target`` marked as FLAT has for its own."""
    if not target.__module__.startswith("retina."):
        return values
    for name, hint in hints_of(target).items():
        inner, *notes = get_args(hint) or (None,)
        if FLAT in notes and name not in values:
            own = {key: values.pop(key) for key in inspect.signature(inner).parameters if key in values}
            values = {**values, name: inner(**own)}
    return values
