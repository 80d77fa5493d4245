from __future__ import annotations

import re

import pytest

from retina.download.catalogue import CATALOGUE, chosen_archives
from retina.errors import ConfigError


def test_every_archive_has_addresses_a_size_and_a_sha256():
    archives = [archive for group in CATALOGUE.values() for archive in group]
    assert len(archives) == 6
    for archive in archives:
        assert re.fullmatch(r"[0-9a-f]{64}", archive.sha256)
        assert archive.size > 10**8
        assert archive.unpacked >= archive.size * 0.9
        assert len(archive.urls) >= 2
        assert {url.rpartition("/")[2] for url in archive.urls} == {archive.file_name}
    assert len({archive.sha256 for archive in archives}) == 6


def test_voc_of_torchvision_is_the_same_file():
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    for year in ("2007", "2012"):
        assert chosen_archives("voc", year=int(year))[0].urls[0] == DATASET_YEAR_DICT[year]["url"]
    assert chosen_archives("voc", year=2007)[1].urls[0] == DATASET_YEAR_DICT["2007-test"]["url"]


def test_parts_are_chosen_by_name():
    assert [archive.part for archive in chosen_archives("coco")] == ["annotations", "val", "train"]
    assert [archive.part for archive in chosen_archives("coco", parts=["val"])] == ["val"]
    with pytest.raises(ConfigError, match="no parts tset, it|it has annotations, val, train"):
        chosen_archives("coco", parts=["tset"])
    for name in ("bccd", "voc2007", "nothing"):
        with pytest.raises(ConfigError, match="coco and voc can"):
            chosen_archives(name)
