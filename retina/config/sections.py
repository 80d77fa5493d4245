"""The border between a configuration and the code: frozen dataclasses of scalars, and parts to be built as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, TypeVar, get_type_hints

import yaml

from retina.config.allowed import Signature
from retina.config.signatures import read_signature
from retina.errors import ConfigError
from retina.settings import resolve_norm

T = TypeVar("T")


def split_sections(tree: Mapping[str, Any], settings: Signature | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the scalars of ``tree`` that ``settings`` has, and the sections, which hold what is built.

    A section may be both: ``dataset.fraction`` is a scalar of the command beside what opens the data set.
    """
    scalars: dict[str, Any] = {}
    sections: dict[str, Any] = {}
    known = settings.settings if settings is not None else {}
    for name, value in tree.items():
        inner = known[name].allowed.section if name in known else None
        if inner is not None and isinstance(value, Mapping):
            scalars[name] = {key: item for key, item in value.items() if key in inner.settings}
            if rest := {key: item for key, item in value.items() if key not in inner.settings}:
                sections[name] = rest
        elif name in known:
            scalars[name] = value
        else:
            sections[name] = value
    return scalars, sections


def construct(settings: type[T], values: Mapping[str, Any]) -> T:
    """Return the dataclass ``settings`` of ``values``, its sections as dataclasses too.

    Raises:
        ConfigError: a value is missing, or outside of its range.
    """
    types = get_type_hints(settings)
    try:
        return settings(
            **{
                name: construct(types[name], value) if is_dataclass(types.get(name)) else value
                for name, value in values.items()
            }
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the settings cannot be used: {error}") from error


def with_norm(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section ``model`` with what ``norm=auto`` means, where its backbone has a choice of norms."""
    signature = read_signature(str(model["backbone"].get("_target_")))
    if signature is None or "norm" not in signature.parameters:
        return dict(model)
    return {**model, "norm": resolve_norm(str(model.get("norm", "auto")), model.get("weights", "imagenet"))}


def as_text(settings: Any, sections: Mapping[str, Any]) -> str:
    """Return the whole configuration of a run as YAML: the dataclass ``settings``, and the parts that were built."""
    scalars = asdict(settings)
    tree = {
        name: {**sections.get(name, {}), **value} if isinstance(value, dict) else value
        for name, value in scalars.items()
    }
    tree |= {name: node for name, node in sections.items() if name not in tree}
    return yaml.dump(tree, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True)


class _PlainDumper(yaml.SafeDumper):
    """Writes a value that stands in two places twice."""

    def ignore_aliases(self, _: Any) -> bool:
        return True
