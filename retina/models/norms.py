"""Which norm a backbone gets; free of torch, so that a command can resolve it before anything heavy is imported."""

from __future__ import annotations

from retina.errors import ConfigError

NORMS = ("auto", "frozen_bn", "bn", "sync_bn", "gn")


def resolve_norm(norm: str, weights: str | None) -> str:
    """Return the norm that ``auto`` means: frozen batch norm with pretrained weights, else batch norm."""
    if norm not in NORMS:
        raise ConfigError(f"model.norm must be one of {', '.join(NORMS)}, got {norm!r}")
    if norm != "auto":
        return norm
    return "frozen_bn" if weights else "bn"
