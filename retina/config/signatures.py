"""What a ``_target_`` takes, read from its source by ``ast``: importing it would import torch, which takes seconds."""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from retina.config.former_names import present_name
from retina.config.kinds import ANY, Kind, kind_of, read_kind

_PROJECT = "retina"


@dataclass(frozen=True)
class Parameter:
    """One parameter of a target."""

    name: str
    kind: Kind
    required: bool


@dataclass(frozen=True)
class Signature:
    """The parameters of a function, or of the class that is built."""

    target: str
    file: Path
    parameters: dict[str, Parameter]
    takes_any_name: bool  # has **kwargs


def read_signature(target: str) -> Signature | None:
    """Return what ``target`` takes; None where its source cannot tell (other packages that re-export names).

    Raises:
        LookupError: there is no such package, module or name; the text is a sentence for the user.
    """
    target = present_name(target)
    module, _, name = target.rpartition(".")
    if not module:
        raise LookupError(f"{target!r} is not the full name of a class or function, like package.module.Name")
    file = _module_file(module)
    if file is None:
        if module.split(".")[0] == _PROJECT:
            raise LookupError(f"there is no module {module}")
        return None
    definition = _find_definition(file, name)
    if definition is None:
        if module.split(".")[0] == _PROJECT:
            raise LookupError(f"there is no {name} in {module}")
        return None
    return _signature(target, *definition)


def defined_names(module: str) -> list[str]:
    """Return the public classes and functions that ``module`` defines; empty where there is no such module."""
    file = _module_file(module)
    kinds = (ast.ClassDef, ast.FunctionDef)
    nodes = _tree(file).body if file is not None else []
    return [node.name for node in nodes if isinstance(node, kinds) and not node.name.startswith("_")]


def field_kind(settings: type, annotation: str) -> Kind:
    """Return what a field of the dataclass ``settings`` may be; ``annotation`` is its ``Field.type`` as written."""
    file = _module_file(settings.__module__)
    aliases = _aliases(file) if file is not None else {}
    return kind_of(annotation, aliases)


def _module_file(module: str) -> Path | None:
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
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _find_definition(file: Path, name: str) -> tuple[Path, ast.ClassDef | ast.FunctionDef] | None:
    """Find the class or function called ``name``, following ``from module import name``."""
    for node in _tree(file).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return file, node
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name and (source := _module_file(node.module)):
                    return _find_definition(source, alias.name)
    return None


def _signature(target: str, file: Path, node: ast.ClassDef | ast.FunctionDef) -> Signature | None:
    if isinstance(node, ast.FunctionDef):
        return _of_function(target, file, node, is_method=False)
    if any(_dotted(decorator).endswith("dataclass") for decorator in node.decorator_list):
        return Signature(target, file, _fields(file, node), takes_any_name=False)
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            return _of_function(target, file, member, is_method=True)
    for base in node.bases:
        if definition := _find_definition(file, _dotted(base)):
            return _signature(target, *definition)
    known = not node.bases or all(_dotted(base) in ("nn.Module", "Module", "Protocol") for base in node.bases)
    return Signature(target, file, {}, takes_any_name=False) if known else None


def _of_function(target: str, file: Path, node: ast.FunctionDef, *, is_method: bool) -> Signature:
    names = _aliases(file)
    positional = [*node.args.posonlyargs, *node.args.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(node.args.defaults))
    defaults += node.args.defaults
    pairs = [*zip(positional, defaults, strict=True)][1 if is_method else 0 :]
    pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    parameters = {
        argument.arg: Parameter(argument.arg, read_kind(argument.annotation, names), default is None)
        for argument, default in pairs
    }
    return Signature(target, file, parameters, takes_any_name=node.args.kwarg is not None)


def _fields(file: Path, node: ast.ClassDef) -> dict[str, Parameter]:
    fields: dict[str, Parameter] = {}
    for base in node.bases:
        definition = _find_definition(file, _dotted(base))
        if definition and isinstance(definition[1], ast.ClassDef):
            fields |= _fields(definition[0], definition[1])
    names = _aliases(file)
    for member in node.body:
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            if "ClassVar" in ast.dump(member.annotation):
                continue
            kind = read_kind(member.annotation, names)
            fields[member.target.id] = Parameter(member.target.id, kind, member.value is None)
    return fields


def _aliases(file: Path) -> dict[str, Kind]:
    """Read the type aliases of a module, such as ``Precision = Literal["auto", "bf16"]``."""
    return {
        node.targets[0].id: kind
        for node in _tree(file).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if isinstance(node.value, ast.Subscript) and (kind := read_kind(node.value, {})) is not ANY
    }


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return _dotted(node.func)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
