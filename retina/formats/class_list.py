"""The list of classes of a data set whose files name classes one by one: given, written down, or found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retina.errors import ConfigError, DataError, first_five

CLASSES_FILE = "classes.txt"


def given_classes(classes: Sequence[str] | str | None, root: Path) -> list[str] | None:
    """Return the names of the classes in their order, or None where they have to be found in the annotations.

    Args:
        classes: the setting ``dataset.classes``: names, or a text file with one name a line (``name,id`` is read as
            well, then the ids give the order), relative to ``root``. None: ``root/classes.txt`` where it exists.
        root: the folder of the data set.

    Raises:
        ConfigError: names that are empty or occur twice.
        DataError: the file cannot be read.
    """
    if classes is None:
        file = root / CLASSES_FILE
        return check_names(read_class_file(file), str(file)) if file.is_file() else None
    if isinstance(classes, str):
        file = Path(root, classes).expanduser()
        return check_names(read_class_file(file), str(file))
    return check_names(list(classes), "dataset.classes")


def check_names(names: list[str], where: str) -> list[str]:
    """Return ``names``; ConfigError where one is no text, empty or there twice."""
    wrong = [name for name in names if not isinstance(name, str) or not name.strip()]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(map(str, names))) < len(names) else []
    if wrong or twice or not names:
        what = f"twice: {first_five(twice)}" if twice else f"that are no names: {first_five(wrong)}"
        raise ConfigError(
            f"{where} has classes {what}" if names else f"{where} has no classes",
            why="every class needs one name of its own",
            fix="dataset.classes=[first,second,...], or a text file with one name a line",
        )
    return names


def read_class_file(file: Path) -> list[str]:
    """Return the names in ``file``, one a line; of lines ``name,3`` all the names in the order of their numbers."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"the list of classes cannot be read ({error.strerror}): {file}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"the list of classes is not UTF-8 text (byte {error.start}): {file}") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    parts = [line.rpartition(",") for line in lines]
    if parts and all(name and number.strip().isdecimal() for name, _, number in parts):
        return [name.strip() for name, _, number in sorted(parts, key=lambda part: int(part[2]))]
    return lines
