"""What a ``_target_`` takes, read from its source by ``ast``: importing it would import torch, which takes seconds."""

from __future__ import annotations

import ast
import importlib.util
import sys
from functools import lru_cache, partial
from pathlib import Path

from retina.config.allowed import Allowed, Parameter, Signature, read_allowed, section_of
from retina.config.former_names import present_name
from retina.ranges import FILLED, FLAT

_PROJECT = "retina"
_Definition = ast.ClassDef | ast.FunctionDef


@lru_cache(maxsize=256)
def read_signature(target: str) -> Signature | None:
    """Return what ``target`` takes; None where its source cannot tell (other packages that re-export names).

    Raises:
        LookupError: there is no such package, module or name; the text is a sentence for the user.
    """
    target = present_name(target)
    module, _, name = target.rpartition(".")
    if not module:
        raise LookupError(f"{target!r} is not the full name of a class or function, like package.module.Name")
    file = module_file(module)
    found = None if file is None else _find(file, name)
    if found is None or isinstance(found[1], ast.expr):
        if module.split(".")[0] == _PROJECT:
            raise LookupError(f"there is no module {module}" if file is None else f"there is no {name} in {module}")
        return None
    return _signature(target, found[0], found[1])


def defined_names(module: str) -> list[str]:
    """Return the public classes and functions that ``module`` defines; empty where there is no such module."""
    file = module_file(module)
    nodes = tree_of(file).body if file is not None else []
    return [node.name for node in nodes if isinstance(node, _Definition) and not node.name.startswith("_")]


def is_one_of(module: str, name: str, kind: str) -> bool:
    """Return whether ``module`` itself defines the class ``name``, and it is of the kind that ``kind`` names in full.

    It is where it inherits from the class ``kind``, or has every method of the Protocol ``kind``.
    """
    classes: list[tuple[Path, ast.ClassDef]] = []
    for where, which in ((module, name), tuple(kind.rsplit(".", 1))):
        if (file := module_file(where)) is not None:
            nodes = [node for node in tree_of(file).body if isinstance(node, ast.ClassDef) and node.name == which]
            classes += [(file, node) for node in nodes]
    if len(classes) != 2 or classes[0] == classes[1]:
        return False
    (own, *bases), (protocol, *_) = (_with_bases(*found) for found in classes)
    if any(node is protocol for node in bases):
        return True
    wanted = {member.name for member in protocol.body if isinstance(member, ast.FunctionDef)} - {"__call__"}
    return "Protocol" in map(_dotted, protocol.bases) and wanted <= _members([own, *bases])


def _with_bases(file: Path, node: ast.ClassDef) -> list[ast.ClassDef]:
    """Return a class and all of its base classes whose source is found."""
    found = [_find(file, _dotted(base)) for base in node.bases]
    inherited = [_with_bases(each[0], each[1]) for each in found if each and isinstance(each[1], ast.ClassDef)]
    return [node, *(each for classes in inherited for each in classes)]


def _members(classes: list[ast.ClassDef]) -> set[str]:
    body = [member for node in classes for member in node.body]
    fields = [member.target for member in body if isinstance(member, ast.AnnAssign)]
    functions = {member.name for member in body if isinstance(member, ast.FunctionDef)}
    return functions | {target.id for target in fields if isinstance(target, ast.Name)}


def module_file(module: str) -> Path | None:
    """Find a module's file without importing it; ``find_spec`` of a submodule would import its parents."""
    package, *parts = module.split(".")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None:
        raise LookupError(f"there is no package {package!r}")
    if not spec.submodule_search_locations:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") and not parts else None
    path = Path(next(iter(spec.submodule_search_locations))).joinpath(*parts)
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


@lru_cache(maxsize=64)
def tree_of(file: Path) -> ast.Module:
    """Return the syntax tree of a source file."""
    return ast.parse(file.read_text(encoding="utf-8"))


def _find(file: Path, name: str) -> tuple[Path, _Definition | ast.expr] | None:
    """Find the class, function or alias of a type called ``name``, following ``from module import name``."""
    for node in tree_of(file).body:
        if isinstance(node, _Definition) and node.name == name:
            return file, node
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            return file, node.value
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module.split(".")[0] in sys.stdlib_module_names:  # typing's own names are known by themselves
                continue
            for alias in node.names:
                if (alias.asname or alias.name) == name and (source := module_file(node.module)):
                    return _find(source, alias.name)
    return None


@lru_cache(maxsize=1024)
def _named(file: Path, name: str) -> Allowed | None:
    """Return what ``name`` stands for in an annotation of ``file``: an alias, or a dataclass, which is a section."""
    found = _find(file, name)
    if found is None:
        return None
    source, node = found
    if isinstance(node, ast.ClassDef):
        signature = _signature(name, source, node) if _is_dataclass(node) else None
        return None if signature is None else section_of(signature)
    return read_allowed(node, partial(_named, source)) if isinstance(node, ast.expr) else None


def _signature(target: str, file: Path, node: _Definition) -> Signature | None:
    if isinstance(node, ast.FunctionDef):
        return _of_function(target, file, node, is_method=False)
    if _is_dataclass(node):
        return Signature(target, _fields(file, node))
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            return _of_function(target, file, member, is_method=True)
    for base in node.bases:
        found = _find(file, _dotted(base))
        if found is not None and isinstance(found[1], _Definition):
            return _signature(target, found[0], found[1])
    known = not node.bases or all(_dotted(base) in ("nn.Module", "Module", "Protocol") for base in node.bases)
    return Signature(target, {}) if known else None


def _of_function(target: str, file: Path, node: ast.FunctionDef, *, is_method: bool) -> Signature:
    positional = [*node.args.posonlyargs, *node.args.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(node.args.defaults))
    defaults += node.args.defaults
    pairs = [*zip(positional, defaults, strict=True)][1 if is_method else 0 :]
    pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    parameters: dict[str, Parameter] = {}
    for argument, default in pairs:
        parameters |= _parameter(file, argument.arg, argument.annotation, required=default is None)
    return Signature(target, parameters, takes_any_name=node.args.kwarg is not None)


def _fields(file: Path, node: ast.ClassDef) -> dict[str, Parameter]:
    fields: dict[str, Parameter] = {}
    for base in node.bases:
        found = _find(file, _dotted(base))
        if found is not None and isinstance(found[1], ast.ClassDef):
            fields |= _fields(found[0], found[1])
    for member in node.body:
        if not isinstance(member, ast.AnnAssign) or not isinstance(member.target, ast.Name):
            continue
        if "ClassVar" not in ast.dump(member.annotation):
            fields |= _parameter(file, member.target.id, member.annotation, required=member.value is None)
    return fields


def _parameter(file: Path, name: str, annotation: ast.expr | None, *, required: bool) -> dict[str, Parameter]:
    allowed = read_allowed(annotation, partial(_named, file))
    if FLAT in allowed.marks and allowed.section is not None:
        return dict(allowed.section.parameters)
    return {name: Parameter(name, allowed, required and FILLED not in allowed.marks)}


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any(_dotted(decorator).endswith("dataclass") for decorator in node.decorator_list)


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return _dotted(node.func)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
