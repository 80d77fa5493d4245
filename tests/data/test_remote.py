"""Data sets on other storage, tried with fsspec's storage in memory."""

from __future__ import annotations

import builtins
import pickle
import uuid

import fsspec
import numpy as np
import pytest

from retina.data import cache, remote
from retina.data.cache import open_annotations
from retina.data.dataset import DetectionDataset
from retina.data.folders import CocoFolder
from retina.errors import DataError

SPLIT = {"images": "images", "annotations": "instances.json"}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))


@pytest.fixture
def url(coco_folder) -> str:
    """The COCO folder as an address."""
    address = f"memory://{uuid.uuid4().hex}/coco"
    filesystem = fsspec.filesystem("memory")
    for path in coco_folder.rglob("*"):
        if path.is_file():
            filesystem.pipe_file(f"{address}/{path.relative_to(coco_folder).as_posix()}", path.read_bytes())
    return address


def test_a_data_set_in_memory_is_what_it_is_on_disk(url, coco_folder):
    there = CocoFolder("tiny", url, train=SPLIT).open("train")
    here = CocoFolder("tiny", str(coco_folder), train=SPLIT).open("train")
    assert len(there) == len(here) == 6
    for index in range(6):
        np.testing.assert_array_equal(there.sample(index).image, here.sample(index).image)
        assert there.sample(index).targets.boxes.tolist() == here.sample(index).targets.boxes.tolist()
    assert there.fingerprint == here.fingerprint
    assert there.annotations.source == f"{url}/instances.json"


def test_parts_of_a_data_set_may_stand_elsewhere(url, coco_folder):
    mixed = {"images": str(coco_folder / "images"), "annotations": f"{url}/instances.json"}
    assert CocoFolder("tiny", None, train=mixed).open("train").sample(0).image_id == 40
    mixed = {"images": f"{url}/images", "annotations": str(coco_folder / "instances.json")}
    assert CocoFolder("tiny", str(coco_folder), train=mixed).open("train").sample(0).image_id == 40


def test_annotations_on_other_storage_are_cached_with_the_user(url, monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "SMALLEST", 0)
    first = open_annotations(f"{url}/instances.json")
    assert first.cache.startswith(str(tmp_path / "user-cache" / "retina"))
    monkeypatch.setattr(cache, "read_annotations", lambda *_, **__: pytest.fail("parsed again"))
    assert open_annotations(f"{url}/instances.json").boxes.tolist() == first.boxes.tolist()


def test_annotations_that_changed_there_are_parsed_again(url, monkeypatch, content):
    monkeypatch.setattr(cache, "SMALLEST", 0)
    file = f"{url}/instances.json"
    before = open_annotations(file)
    text = fsspec.filesystem("memory").cat_file(file).replace(b"300.125", b"300.625")
    fsspec.filesystem("memory").pipe_file(file, text)
    assert (before.areas[0], open_annotations(file).areas[0]) == (300.125, 300.625)


@pytest.mark.parametrize(
    "name", ["../a.png", "/a.png", "memory://other/a.png", "a::memory://b", "%2e%2e/a.png", "a%2F..%2Fb"]
)
def test_names_that_could_be_understood_as_another_place_are_refused(name):
    with pytest.raises(DataError, match="image 7 stands outside of the folder of images: memory://x"):
        remote.join("memory://x", name, "image 7")


def test_plain_names_are_joined():
    assert remote.join("s3://bucket/coco/", "deep/a b.jpg") == "s3://bucket/coco/deep/a b.jpg"


def test_missing_files_are_told_with_their_address(url):
    with pytest.raises(DataError, match=f"the train annotations of data set 'tiny' are missing: {url}/no.json"):
        CocoFolder("tiny", url, train={**SPLIT, "annotations": "no.json"}).open("train")
    with pytest.raises(DataError, match=r"image 40 'a.png' does not exist: memory://.*/elsewhere/a.png"):
        CocoFolder("tiny", url, train={**SPLIT, "images": "elsewhere"}).open("train")
    dataset = CocoFolder("tiny", url, train=SPLIT).open("train")
    fsspec.filesystem("memory").rm(f"{url}/images/b.png")
    with pytest.raises(DataError, match=r"image 7 'b.png' cannot be read"):
        dataset.sample(1)


def test_an_unknown_protocol_is_told():
    with pytest.raises(DataError, match="Protocol not known: nowhere"):
        DetectionDataset(None, "nowhere://bucket/a.json", name="tiny", split="train")


def test_files_on_disk_are_named_by_their_path(tmp_path):
    with pytest.raises(DataError, match="give files on disk by their path"):
        remote.read_bytes(f"file://{tmp_path}/a.json")


def _without(monkeypatch, missing: str) -> None:
    original = builtins.__import__

    def refuse(name, *options, **more):
        if name.split(".")[0] == missing:
            raise ImportError(f"No module named {missing!r}")
        return original(name, *options, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_without_fsspec_the_fix_names_what_to_install(monkeypatch):
    _without(monkeypatch, "fsspec")
    with pytest.raises(DataError) as caught:
        remote.read_bytes("s3://bucket/a.json")
    assert "fix:   pip install fsspec s3fs" in str(caught.value)


def test_without_the_package_of_the_storage_the_fix_names_it(monkeypatch):
    def missing(_):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(DataError, match="Install s3fs to access S3") as caught:
        remote.read_bytes("s3://bucket/a.json")
    assert caught.value.fix == "pip install fsspec s3fs"


@pytest.mark.parametrize(
    ("path", "expected"),
    [("s3://b/a", True), ("simplecache::s3://b/a", True), ("/data/s3://b", False), ("C:\\a", False), ("a/b", False)],
)
def test_addresses_are_told_from_paths(path, expected):
    assert remote.is_remote(path) == expected


def test_a_data_set_in_memory_survives_pickling(url):
    dataset = CocoFolder("tiny", url, train=SPLIT).open("train")
    assert pickle.loads(pickle.dumps(dataset)).sample(0).image_id == 40
