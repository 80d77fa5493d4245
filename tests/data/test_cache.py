"""The cache of parsed annotations: same content, built once, noticed when stale or damaged, never in the way."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from retina.data import cache
from retina.data.cache import open_annotations
from retina.data.coco.file import read_annotations
from retina.data.dataset import DetectionDataset
from retina.errors import DataError


@pytest.fixture(autouse=True)
def _own_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    monkeypatch.setattr(cache, "SMALLEST", 0)


@pytest.fixture
def file(coco_folder) -> Path:
    """An annotation file that was last changed a minute ago."""
    path = coco_folder / "instances.json"
    _age(path)
    return path


@pytest.fixture
def parses(monkeypatch) -> list[str]:
    """The files that were parsed."""
    parsed = []

    def reading(path, **policy):
        parsed.append(str(path))
        return read_annotations(path, **policy)

    monkeypatch.setattr(cache, "read_annotations", reading)
    return parsed


def _age(path: Path) -> None:
    # The time of the last change of the inode cannot be set back, so the clock is.
    os.utime(path, ns=(time.time_ns() - 60 * 10**9,) * 2)


@pytest.fixture
def _settled(monkeypatch) -> None:
    monkeypatch.setattr(cache, "_SETTLED_NS", 0)


def folders(file: Path) -> list[Path]:
    return sorted(file.parent.glob(".retina-cache/instances.json-*"))


def assert_equal(one, two) -> None:
    for name, value in vars(one).items():
        if name != "cache":
            np.testing.assert_array_equal(np.array(value), np.array(getattr(two, name)), err_msg=name)
    assert list(one.file_names) == list(two.file_names)
    assert one.findings == two.findings


def test_the_cache_holds_what_the_file_holds(file, parses):
    first, second = open_annotations(file), open_annotations(file)
    assert_equal(read_annotations(file), first)
    assert_equal(first, second)
    assert len(parses) == 1
    assert first.cache == second.cache == str(folders(file)[0])


def test_arrays_are_mapped_and_cannot_be_written(file):
    arrays = open_annotations(file)
    for name in ("boxes", "training_boxes", "labels", "areas", "crowd", "sizes"):
        array = getattr(arrays, name)
        assert type(array) is np.ndarray
        assert not array.flags.writeable, name
        assert not array.flags.owndata, name
    assert not arrays.file_names.buffer.flags.owndata
    sample = DetectionDataset(file.parent / "images", file, name="tiny", split="val").sample(0)
    sample.targets.boxes.zero_()
    assert arrays.training_boxes[0].any()


@pytest.mark.usefixtures("_settled")
def test_a_known_file_is_not_read_again(file, monkeypatch):
    open_annotations(file)
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("the file was read"))
    assert open_annotations(file).cache


def test_a_file_that_was_just_written_is_not_trusted_by_its_time(file):
    open_annotations(file)
    assert not list(file.parent.glob(".retina-cache/*.stamp.json"))


@pytest.mark.usefixtures("_settled")
@pytest.mark.parametrize("same_time", [True, False])
def test_a_changed_file_is_parsed_again_even_with_size_and_time_as_before(file, parses, same_time):
    assert open_annotations(file).areas[0] == 300.125
    before = file.stat()
    file.write_text(file.read_text(encoding="utf-8").replace("300.125", "300.625"), encoding="utf-8")
    if same_time:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert open_annotations(file).areas[0] == 300.625
    assert len(parses) == 2
    assert len(folders(file)) == 1  # the cache of the earlier content is gone


def test_a_file_that_was_touched_is_hashed_and_its_cache_kept(file, parses):
    open_annotations(file)
    os.utime(file)
    open_annotations(file)
    assert len(parses) == 1


def _damage_header(folder: Path) -> None:
    path = folder / "header.json"
    path.write_bytes(path.read_bytes().replace(b'"person"', b'"parson"'))


def _cut_array(folder: Path) -> None:
    path = folder / "boxes.npy"
    path.write_bytes(path.read_bytes()[:-8])


def _swap_array(folder: Path) -> None:
    array = np.load(folder / "boxes.npy")
    np.save(folder / "boxes.npy", array.reshape(-1, 2).astype(np.float64))
    with open(folder / "boxes.npy", "ab"):
        pass


def _put_pickle(folder: Path) -> None:
    path = folder / "labels.npy"
    size = path.stat().st_size
    content = pickle.dumps(list(range(3)))
    path.write_bytes(content + b"\0" * (size - len(content)))


def _remove_array(folder: Path) -> None:
    (folder / "crowd.npy").unlink()


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _old_version(folder: Path) -> None:
    path = folder / "header.json"
    text = path.read_text().split("\n", 1)[1].replace('"version": 2', '"version": 1')
    path.write_text(cache.hashlib.sha256(text.encode()).hexdigest() + "\n" + text)


def _disorder(folder: Path) -> None:
    offsets = np.load(folder / "offsets.npy")
    offsets[1:3] = offsets[2], offsets[1]
    np.save(folder / "offsets.npy", offsets)


@pytest.mark.parametrize(
    "damage", [_damage_header, _cut_array, _swap_array, _put_pickle, _remove_array, _empty, _old_version, _disorder]
)
def test_a_damaged_cache_is_noticed_and_built_anew(file, parses, damage):
    whole = read_annotations(file)
    open_annotations(file)
    damage(folders(file)[0])
    assert_equal(whole, open_annotations(file))
    assert len(parses) == 2
    open_annotations(file)
    assert len(parses) == 2


@pytest.mark.usefixtures("_settled")
@pytest.mark.parametrize("text", ["", "{", "[]", '{"file": 1}', '{"file": {}, "sha256": "no"}'])
def test_a_damaged_stamp_is_not_believed(file, parses, text):
    open_annotations(file)
    (stamp,) = file.parent.glob(".retina-cache/*.stamp.json")
    stamp.write_text(text)
    assert len(open_annotations(file).boxes) == 7
    assert len(parses) == 1


def _open_in_turn(path: str) -> str:
    cache.SMALLEST = 0
    return str(open_annotations(path).cache)


def test_processes_that_build_it_at_once_end_with_one(file):
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("fork")) as pool:
        found = set(pool.map(_open_in_turn, [str(file)] * 6))
    assert found == {str(folders(file)[0])}
    assert not list(file.parent.glob(".retina-cache/*.partial"))


def test_the_loser_of_a_race_takes_what_the_winner_wrote(file, monkeypatch):
    write = cache.write

    def lose(folder, annotations):
        write(folder, annotations)
        shutil.copytree(folder, folder.parent / f"instances.json-{annotations.fingerprint[:16]}-clip-v2")

    monkeypatch.setattr(cache, "write", lose)
    assert open_annotations(file).cache == str(folders(file)[0])
    assert not list(file.parent.glob(".retina-cache/*.partial"))


@pytest.fixture
def _unwritable(monkeypatch) -> None:
    """Folders named ``.retina-cache`` cannot be made, also by an administrator."""
    original = Path.mkdir

    def refuse(self, *options, **more):
        if ".retina-cache" in str(self):
            raise PermissionError(13, "Permission denied")
        original(self, *options, **more)

    monkeypatch.setattr(Path, "mkdir", refuse)


@pytest.mark.usefixtures("_unwritable")
def test_beside_a_folder_that_cannot_be_written_the_users_own_cache_is_taken(file, parses, tmp_path):
    first, second = open_annotations(file), open_annotations(file)
    assert first.cache == second.cache
    assert first.cache.startswith(str(tmp_path / "user-cache" / "retina"))
    assert len(parses) == 1


@pytest.mark.usefixtures("_unwritable")
def test_without_any_place_for_a_cache_the_file_is_parsed_and_that_is_said(file, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))  # not a folder
    arrays = open_annotations(file)
    assert arrays.cache is None
    assert_boxes = len(arrays.boxes)
    assert assert_boxes == 7
    assert arrays.findings[-1].fault.name == "cache-not-written"
    assert "parsed at every start" in arrays.notes[-1]


def test_a_full_disk_leaves_nothing_behind(file, monkeypatch):
    def fill(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fill)
    assert open_annotations(file).cache is None
    assert not list(file.parent.glob(".retina-cache/*.partial"))
    assert not list(file.parent.glob(".retina-cache/instances*"))


def test_small_files_get_no_cache(file, monkeypatch):
    monkeypatch.setattr(cache, "SMALLEST", file.stat().st_size + 1)
    assert open_annotations(file).cache is None
    assert not (file.parent / ".retina-cache").exists()


def test_the_policy_for_bad_boxes_is_kept_apart(file, parses):
    assert len(open_annotations(file).boxes) == 7
    assert len(open_annotations(file, on_bad_box="drop").boxes) == 6
    with pytest.raises(DataError, match="box that leaves its image"):
        open_annotations(file, on_bad_box="error")
    assert len(open_annotations(file).boxes) == 7
    assert len(parses) == 2


def test_a_file_with_errors_gets_no_cache(file, content):
    content["annotations"][0]["category_id"] = 2
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="not among the 'categories'"):
        open_annotations(file)
    assert folders(file) == []


def test_a_data_set_that_was_moved_speaks_of_its_new_place(file, tmp_path):
    open_annotations(file)
    shutil.copytree(file.parent, tmp_path / "moved" / "here", ignore=shutil.ignore_patterns("moved"))
    moved = open_annotations(tmp_path / "moved" / "here" / "instances.json")
    assert moved.source == str(tmp_path / "moved" / "here" / "instances.json")
    assert {finding.file for finding in moved.findings} == {moved.source}


def test_git_does_not_see_the_cache(file):
    open_annotations(file)
    assert (file.parent / ".retina-cache" / ".gitignore").read_text() == "*\n"


def test_what_killed_processes_left_is_removed_after_a_day(file):
    folder = file.parent / ".retina-cache"
    for name, age in (("old", 2 * 86400), ("young", 60)):
        (folder / f".{name}.partial").mkdir(parents=True)
        os.utime(folder / f".{name}.partial", (time.time() - age,) * 2)
    open_annotations(file)
    assert sorted(path.name for path in folder.glob(".*.partial")) == [".young.partial"]


def test_a_process_that_is_spawned_gets_the_path_and_not_the_arrays(file):
    dataset = DetectionDataset(None, file, name="tiny", split="val")
    content = pickle.dumps(dataset)
    assert dataset.boxes.tobytes() not in content
    again = pickle.loads(content)
    assert_equal(dataset.annotations, again.annotations)
    assert again.targets(0).boxes.tolist() == dataset.targets(0).boxes.tolist()
    shutil.rmtree(folders(file)[0])
    with pytest.raises(DataError, match="the cache of .*instances.json cannot be read"):
        pickle.loads(content)


# The folder of arrays


@pytest.mark.parametrize("with_objects", [True, False])
def test_what_is_written_is_loaded(tmp_path, write_annotations, content, with_objects):
    if not with_objects:
        content["annotations"] = []
    arrays = read_annotations(write_annotations(content))
    (tmp_path / "cache").mkdir()
    cache.write(tmp_path / "cache", arrays)
    again = cache.load(tmp_path / "cache")
    for name in ("image_ids", "sizes", "boxes", "training_boxes", "labels", "areas", "crowd", "object_ids", "offsets"):
        np.testing.assert_array_equal(getattr(again, name), getattr(arrays, name), err_msg=name)
        assert getattr(again, name).dtype == getattr(arrays, name).dtype
    assert list(again.file_names) == list(arrays.file_names)
    assert (again.class_names, again.findings) == (arrays.class_names, arrays.findings)
    assert cache.open_folder(str(tmp_path / "cache"), "a.json", ()).source == "a.json"


def test_a_folder_that_is_gone_is_told(tmp_path):
    with pytest.raises(DataError, match="the cache of a.json cannot be read"):
        cache.open_folder(str(tmp_path / "gone"), "a.json", ())
