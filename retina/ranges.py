"""What a setting may be, said in the signature that takes it and nowhere else.

``gamma: AtLeast0 = 2.0`` is the whole schema of a setting. The checker of commands reads it from the source, so that a
wrong value is told before anything heavy is imported; :func:`checked` holds it where the class is built in Python.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T", bound=Callable[..., Any])
_EPOCHS = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*epochs?\s*$")


Bound = float | str  # a number, or the name of a setting of the same section


class Range:
    """Which values make sense. ``beside`` are the values of the section, of which a bound may name one."""

    judges_null = False  # elsewhere null means "not set" and passes
    judges_whole = False  # elsewhere a list is judged item by item

    def holds(self, value: Any, beside: Mapping[str, Any]) -> bool:
        """Return whether ``value`` lies in the range; a TypeError where it cannot be compared."""
        raise NotImplementedError

    def sentence(self, path: str, value: Any, beside: Mapping[str, Any]) -> str:
        """Return what is told of a ``value`` outside."""
        return f"{path} must be {self}, got {value!r}"


@dataclass(frozen=True)
class AtLeast(Range):
    """``low`` and more, but finite."""

    low: Bound

    def holds(self, value: Any, beside: Mapping[str, Any]) -> bool:
        low = _number(self.low, beside)
        return low is None or low <= value < math.inf

    def sentence(self, path: str, value: Any, beside: Mapping[str, Any]) -> str:
        return f"{path} must be at least {_shown(self.low, path, beside)}, got {value!r}"

    def __str__(self) -> str:
        return f"at least {self.low}"


@dataclass(frozen=True)
class AtMost(Range):
    """``high`` and less."""

    high: Bound

    def holds(self, value: Any, beside: Mapping[str, Any]) -> bool:
        high = _number(self.high, beside)
        return high is None or value <= high

    def sentence(self, path: str, value: Any, beside: Mapping[str, Any]) -> str:
        return f"{path} must be at most {_shown(self.high, path, beside)}, got {value!r}"

    def __str__(self) -> str:
        return f"at most {self.high}"


@dataclass(frozen=True)
class Above(Range):
    """More than ``low``, but finite."""

    low: float

    def holds(self, value: Any, beside: Mapping[str, Any]) -> bool:
        return self.low < value < math.inf

    def __str__(self) -> str:
        return f"greater than {self.low:g}"


@dataclass(frozen=True)
class Between(Range):
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
class Words(Range):
    """The values of a ``Literal``."""

    words: tuple[Any, ...]

    def holds(self, value: Any, beside: Mapping[str, Any]) -> bool:
        return value in self.words

    def __str__(self) -> str:
        return f"one of {', '.join(map(str, self.words))}"


@dataclass(frozen=True)
class NotEmpty(Range):
    """A list with something in it."""

    judges_whole = True

    def holds(self, value: Any, beside: Mapping[str, Any]) -> bool:
        return len(value) > 0

    def __str__(self) -> str:
        return "a list that is not empty"


@dataclass(frozen=True)
class IsLength(Range):
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


@dataclass(frozen=True)
class IsInterval(Range):
    """How often something happens: every so many optimizer steps, or every so many epochs."""

    def holds(self, value: Any, beside: Mapping[str, Any]) -> bool:
        if isinstance(value, str):
            return value.strip().isdecimal() or (in_epochs(value) or 0) > 0
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0

    def __str__(self) -> str:
        return "a number of steps (0 = never) or like '1epoch'"


@dataclass(frozen=True)
class Matches(Range):
    """A text of the regular expression ``pattern``, which ``text`` says in words."""

    pattern: str
    text: str

    def holds(self, value: Any, beside: Mapping[str, Any]) -> bool:
        return re.fullmatch(self.pattern, value) is not None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Excludes(Range):
    """Not given together with the setting ``other``."""

    other: str
    why: str

    def holds(self, value: Any, beside: Mapping[str, Any]) -> bool:
        return beside.get(self.other) is None

    def sentence(self, path: str, value: Any, beside: Mapping[str, Any]) -> str:
        return f"{self.other} and {path} cannot both be given: {self.why}"


@dataclass(frozen=True)
class Needs(Range):
    """Given only together with the setting ``other``."""

    other: str
    why: str = ""

    def holds(self, value: Any, beside: Mapping[str, Any]) -> bool:
        return beside.get(self.other) is not None

    def sentence(self, path: str, value: Any, beside: Mapping[str, Any]) -> str:
        return f"{self.other} must be given with {path}" + (f": {self.why}" if self.why else "")


@dataclass(frozen=True)
class OrElse(Range):
    """Given, or else the setting ``other`` is; ``text`` says what is needed then."""

    other: str
    text: str
    judges_null = True

    def holds(self, value: Any, beside: Mapping[str, Any]) -> bool:
        return value is not None or beside.get(self.other) is not None

    def sentence(self, path: str, value: Any, beside: Mapping[str, Any]) -> str:
        return f"{path} must be given, or {self.text}"


def _number(bound: Bound, beside: Mapping[str, Any]) -> float | None:
    return beside.get(bound) if isinstance(bound, str) else bound


def _shown(bound: Bound, path: str, beside: Mapping[str, Any]) -> str:
    """Return a bound as it is told: ``0.4``, or ``image.short_side (800)``."""
    return (
        f"{path.rpartition('.')[0]}.{bound} ({beside.get(bound)})".lstrip(".") if isinstance(bound, str) else str(bound)
    )


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
Every = Annotated[int | str, IsInterval()]


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
        for name, hint in hints_of(target).items():
            if name in bound.arguments:
                for sentence in outside(name, bound.arguments[name], ranges_of(hint), bound.arguments):
                    raise ValueError(sentence)
        return function(*positional, **named)

    if not inspect.isclass(target):
        return wrapper  # type: ignore[return-value]
    target.__init__ = wrapper  # type: ignore[method-assign]
    return target


@functools.cache
def hints_of(target: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of the parameters of a class or function by their names.

    A field that a dataclass inherits is read where it was declared: its ``__init__`` belongs to another module.
    """
    if inspect.isclass(target) and not is_dataclass(target):
        return get_type_hints(target.__init__, include_extras=True)
    return get_type_hints(target, include_extras=True)


def outside(path: str, value: Any, ranges: Iterable[Range], beside: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each of ``ranges`` that ``value``, or an item of the list ``value``, is outside of.

    What cannot be compared is left alone: its type is wrong, which is told apart.
    """
    items = value if isinstance(value, list | tuple) else [value]
    sentences = []
    for allowed in ranges:
        for item in [value] if allowed.judges_whole else items:
            try:
                holds = (item is None and not allowed.judges_null) or allowed.holds(item, beside)
            except TypeError:
                continue
            if not holds:
                sentences.append(allowed.sentence(path, item, beside) + (" in it" if item is not value else ""))
                break
    return sentences


def ranges_of(hint: Any) -> list[Range]:
    """Return the ranges inside a type: those of ``float``, of ``Sequence[float]`` and of ``float | None`` alike."""
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        return [note for note in notes if isinstance(note, Range)] + ranges_of(inner)
    if get_origin(hint) is Literal:
        return [Words(get_args(hint))]
    return [found for part in get_args(hint) for found in ranges_of(part)]
