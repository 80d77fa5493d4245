"""A YOLO data set's data.yaml: where its splits are, and the names of its classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from retina.errors import DataError
from retina.formats.folder import SPLITS, check_class_names, read_text

_MAX_BYTES = 4 * 2**20  # the names of 100,000 classes; YAML of some size can unfold into gigabytes
_PLACES = "a folder, a list of folders, or a .txt list of images"
_EXAMPLE = "data.yaml has the lines 'train: images/train', 'val: images/val' and 'names: [first, second]'"


@dataclass(frozen=True)
class DataYaml:
    """What a data.yaml says."""

    file: Path
    raw: bytes
    folder: Path  # of the data set: what its places are relative to
    splits: dict[str, list[str]]  # {"train": ["images/train"], ...} as written
    names: list[str]
    keypoint_values: int  # of each object; 0: none

    def places(self, split: str) -> list[Path]:
        """Return the folders and lists of ``split``, each checked to exist; empty where the file has no such split."""
        found = []
        for written in self.splits.get(split, []):
            places = [self.folder / written, self.file.parent / written]
            if written.startswith("../"):  # Roboflow writes ../train/images into the folder that holds train/
                places.append(self.folder / written.removeprefix("../"))
            there = next(filter(Path.exists, places), None)
            if there is None:
                raise DataError(
                    f"the images of split {split!r} are missing: {places[0]}",
                    why=f"{self.file} says {split}: {written}",
                    fix=f"correct 'path' or the split in the file: {_PLACES}",
                )
            found.append(there)
        return found


def read_data_yaml(root: Path) -> DataYaml:
    """Return what the data.yaml at ``root``, the file or its folder, says."""
    file = _find(root)
    return _read(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read(file: Path, changed: int) -> DataYaml:
    raw, tree = _load(file)
    folder = Path(str(tree.get("path") or "")).expanduser()
    folder = folder if folder.is_absolute() else file.parent / folder
    if not folder.is_dir():  # the data set was moved, or the path is meant from elsewhere
        folder = file.parent
    splits = {name: tree[name] if isinstance(tree[name], list) else [tree[name]] for name in SPLITS if tree.get(name)}
    for name, places in splits.items():
        if not all(isinstance(place, str) and "\0" not in place for place in places):
            raise DataError(f"{name!r} of {file} is {tree[name]!r}", fix=_PLACES)
    for name in sorted(set(tree) - set(SPLITS), key=str):
        value = tree[name]
        is_place = isinstance(value, str) and name not in ("path", "download", "yaml_file")
        if is_place and ((folder / value).is_dir() or value.endswith(".txt")):
            splits[str(name)] = [value]
    if not splits:
        raise DataError(f"no splits in {file}", why="neither 'train' nor 'val' nor 'test' is in it", fix=_EXAMPLE)
    shape: Any = tree.get("kpt_shape")
    has_keypoints = isinstance(shape, list) and len(shape) == 2 and all(type(n) is int and n > 0 for n in shape)
    return DataYaml(file, raw, folder, splits, _names(file, tree), shape[0] * shape[1] if has_keypoints else 0)


def _find(root: Path) -> Path:
    if root.is_file():
        return root
    if (root / "data.yaml").is_file():
        return root / "data.yaml"
    found = sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    if len(found) == 1:
        return found[0]
    if not found:
        why = "the folder has no .yaml file" if root.is_dir() else "there is no such folder"
        raise DataError(f"no data.yaml in {root}", why=why, fix=f"dataset.root=FOLDER or FILE; {_EXAMPLE}")
    raise DataError(
        f"several .yaml files in {root}: {', '.join(file.name for file in found[:5])}", fix=f"dataset.root={found[0]}"
    )


def _load(file: Path) -> tuple[bytes, Mapping[str, Any]]:
    raw, text = read_text(file, "data.yaml")
    if len(raw) > _MAX_BYTES:
        raise DataError(f"data.yaml has more than {_MAX_BYTES // 2**20} MB: {file}")
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise DataError(f"data.yaml has YAML aliases, which can unfold without end: {file}", fix="write them out")
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        # ValueError: a date that is none.
        raise DataError(f"data.yaml is not YAML: {file}", why=" ".join(str(error).split()), fix=_EXAMPLE) from None
    if not isinstance(tree, dict):
        raise DataError(f"data.yaml holds a {type(tree).__name__}, not a mapping: {file}", fix=_EXAMPLE)
    return raw, tree


def _names(file: Path, tree: Mapping[str, Any]) -> list[str]:
    """Return the names of the classes in the order of their numbers; ``nc`` must agree where it is given."""
    names = tree.get("names")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise DataError(
                f"the class numbers in {file} are {', '.join(map(str, list(names)[:5]))}, ... ({len(names)} in all)",
                why="a row of a label file names its class by a number from 0 on, without gaps",
                fix="names: {0: first, 1: second}",
            )
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list):
        raise DataError(f"no names of classes in {file}", fix=_EXAMPLE)
    # An unquoted name may read as a number or a truth value: `names: [1, no]`.
    texts = [str(name) for name in names]
    count = tree.get("nc")
    if count is not None and count != len(texts):
        raise DataError(f"nc is {count}, but there are {len(texts)} names: {file}", fix="correct one of the two")
    return check_class_names(texts, str(file))
