"""What a setting may be, said in the signature that takes it and nowhere else.

``gamma: AtLeast0 = 2.0`` is the whole schema of a setting. The checker of commands reads it from the source, so that a
wrong value is told before anything heavy is imported; :func:`checked` holds it where the class is built in Python.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T", bound=Callable[..., Any])
_EPOCHS = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*epochs?\s*$")


class Range(Protocol):
    """Which values make sense; ``beside`` are the other settings of the section, that a bound may name."""

    def holds(self, value: Any, beside: Mapping[str, Any]) -> bool:
        """Return whether ``value`` lies in the range. Raises TypeError where it cannot be compared."""
        ...

    def __str__(self) -> str:
        """Return what comes after "must be", such as "at least 1"."""
        ...


Bound = float | str  # a number, or the name of a setting of the same section


def _number(bound: Bound, beside: Mapping[str, Any]) -> float | None:
    return beside.get(bound) if isinstance(bound, str) else bound


@dataclass(frozen=True)
class AtLeast:
    """``low`` and more."""

    low: Bound

    def holds(self, value: Any, beside: Mapping[str, Any]) -> bool:
        low = _number(self.low, beside)
        return low is None or value >= low

    def __str__(self) -> str:
        return f"at least {self.low}"


@dataclass(frozen=True)
class AtMost:
    """``high`` and less."""

    high: Bound

    def holds(self, value: Any, beside: Mapping[str, Any]) -> bool:
        high = _number(self.high, beside)
        return high is None or value <= high

    def __str__(self) -> str:
        return f"at most {self.high}"


@dataclass(frozen=True)
class Above:
    """More than ``low``."""

    low: float

    def holds(self, value: Any, beside: Mapping[str, Any]) -> bool:
        return value > self.low

    def __str__(self) -> str:
        return f"greater than {self.low:g}"


@dataclass(frozen=True)
class Between:
    """From ``low`` to ``high``, the ends included unless they are ``open``: "low", "high" or "both"."""

    low: float
    high: float
    open: str = ""

    def holds(self, value: Any, beside: Mapping[str, Any]) -> bool:
        above = value > self.low if self.open in ("low", "both") else value >= self.low
        return above and (value < self.high if self.open in ("high", "both") else value <= self.high)

    def __str__(self) -> str:
        texts = {
            "": f"between {self.low:g} and {self.high:g}",
            "low": f"greater than {self.low:g} and at most {self.high:g}",
            "high": f"at least {self.low:g} and below {self.high:g}",
            "both": f"between {self.low:g} and {self.high:g}, both excluded",
        }
        return texts[self.open]


@dataclass(frozen=True)
class Words:
    """The values of a ``Literal``."""

    words: tuple[Any, ...]

    def holds(self, value: Any, beside: Mapping[str, Any]) -> bool:
        return value in self.words

    def __str__(self) -> str:
        return f"one of {', '.join(map(str, self.words))}"


@dataclass(frozen=True)
class IsLength:
    """A length of training; ``from_end``: it may be counted back from the end of the run, as ``-2epoch``."""

    from_end: bool = False

    def holds(self, value: Any, beside: Mapping[str, Any]) -> bool:
        if self.from_end and isinstance(value, str) and value.startswith("-"):
            value = value[1:]
        try:
            return math.isfinite(length_in_images(value, run_images=1, images_per_epoch=1, setting=""))
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.from_end:
            return "a fraction of the run (0.85), '10epoch', images (16000) or '-2epoch', from the end"
        return "images (16000), '2epoch' or a fraction of the run (0.75)"


class Mark:
    """What a parameter is to the configuration, where it is not simply a setting."""


FILLED = Mark()  # the program fills it in: no setting
FLAT = Mark()  # an object whose own settings stand in the same section


Share = Annotated[float, Between(0, 1)]
OpenShare = Annotated[float, Between(0, 1, "both")]
ShareAbove0 = Annotated[float, Between(0, 1, "low")]
ShareBelow1 = Annotated[float, Between(0, 1, "high")]
AtLeast0 = Annotated[float, AtLeast(0)]
Above0 = Annotated[float, Above(0)]
Count = Annotated[int, AtLeast(0)]
AtLeast1 = Annotated[int, AtLeast(1)]
Length = Annotated[float | str, IsLength()]


def length_in_images(value: float | int | str, *, run_images: int, images_per_epoch: int, setting: str) -> float:
    """Return a length of training in images.

    Reads ``16000`` (images), ``"2epoch"``, or ``0.75`` (a fraction of the run, below 1), so that a schedule follows
    the batch size and, where it is a fraction, also a longer or shorter run.
    """
    if (epochs := in_epochs(value)) is not None:
        return epochs * images_per_epoch
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and math.isfinite(value):
        return float(value) * run_images if 0 < value < 1 else float(value)
    raise ValueError(f"{setting} must be images (16000), '2epoch' or a fraction of the run (0.75), got {value!r}")


def in_epochs(value: object) -> float | None:
    """Return 2.0 for ``"2epoch"``, and None for what is no number of epochs."""
    match = _EPOCHS.match(value) if isinstance(value, str) else None
    return float(match[1]) if match else None


def checked(target: T) -> T:
    """Make a class or function raise a ValueError for a value outside of the range that its signature says."""
    function = target.__init__ if inspect.isclass(target) else target
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapper(*positional: Any, **named: Any) -> Any:
        bound = signature.bind_partial(*positional, **named)
        bound.apply_defaults()
        for name, hint in _hints(function).items():
            if name in bound.arguments:
                for sentence in outside(name, bound.arguments[name], hint, bound.arguments):
                    raise ValueError(sentence)
        return function(*positional, **named)

    if not inspect.isclass(target):
        return wrapper  # type: ignore[return-value]
    target.__init__ = wrapper  # type: ignore[method-assign]
    return target


@functools.cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(function, include_extras=True)


def outside(path: str, value: Any, hint: Any, beside: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each range in ``hint`` that ``value``, or an item of the list ``value``, is outside of.

    What cannot be compared is left alone: its type is wrong, which is told apart. None passes.
    """
    items = value if isinstance(value, list | tuple) else [value]
    sentences = []
    for allowed in ranges_of(hint):
        for item in items:
            try:
                holds = item is None or allowed.holds(item, beside)
            except TypeError:
                continue
            if not holds:
                also = " in it" if items is value else ""
                sentences.append(f"{path} must be {allowed}, got {item!r}{also}")
                break
    return sentences


def ranges_of(hint: Any) -> list[Range]:
    """Return the ranges inside a type: those of ``float``, of ``Sequence[float]`` and of ``float | None`` alike."""
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        return [note for note in notes if hasattr(note, "holds")] + ranges_of(inner)
    if get_origin(hint) is Literal:
        return [Words(get_args(hint))]
    return [found for part in get_args(hint) for found in ranges_of(part)]
