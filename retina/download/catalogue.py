"""The archives of public data sets: where they are, how large, and their sha256."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retina.errors import ConfigError


@dataclass(frozen=True)
class Archive:
    """One file of a data set on a server."""

    part: str  # how a user names it
    urls: tuple[str, ...]  # tried in this order; they give the same bytes
    size: int  # bytes
    sha256: str
    unpacked: int  # bytes, for the check of disk space; about

    @property
    def file_name(self) -> str:
        return self.urls[0].rpartition("/")[2]


# The publishers give no checksums. Sizes and sha256 are those of TensorFlow Datasets (url_checksums/coco.txt, voc.txt),
# which verifies its downloads by them; torchvision's md5 of VOC and others' of COCO are of the same files.
# COCO's own name has no certificate that fits, so plain http comes with it; the sha256 vouches for the content.
def _coco(part: str, path: str, size: int, sha256: str, unpacked: int) -> Archive:
    urls = (f"https://s3.amazonaws.com/images.cocodataset.org/{path}", f"http://images.cocodataset.org/{path}")
    return Archive(part, urls, size, sha256, unpacked)


def _voc(part: str, path: str, size: int, sha256: str) -> Archive:
    urls = (
        f"https://thor.robots.ox.ac.uk/pascal/VOC/{path}",
        f"http://host.robots.ox.ac.uk/pascal/VOC/{path}",
        f"https://data.pjreddie.com/files/{path.rpartition('/')[2]}",
    )
    return Archive(part, urls, size, sha256, size)


CATALOGUE: dict[str, tuple[Archive, ...]] = {
    "coco": (
        _coco("annotations", "annotations/annotations_trainval2017.zip", 252_907_541,
              "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268", 820_000_000),
        _coco("val", "zips/val2017.zip", 815_585_330,
              "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05", 820_000_000),
        _coco("train", "zips/train2017.zip", 19_336_861_798,
              "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929", 19_400_000_000),
    ),
    "voc2007": (
        _voc("trainval", "voc2007/VOCtrainval_06-Nov-2007.tar", 460_032_000,
             "7d8cd951101b0957ddfd7a530bdc8a94f06121cfc1e511bb5937e973020c7508"),
        _voc("test", "voc2007/VOCtest_06-Nov-2007.tar", 451_020_800,
             "6836888e2e01dca84577a849d339fa4f73e1e4f135d312430c4856b5609b4892"),
    ),
    "voc2012": (
        _voc("trainval", "voc2012/VOCtrainval_11-May-2012.tar", 1_999_639_040,
             "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb"),
    ),
}  # fmt: skip


def chosen_archives(dataset: str, *, year: int = 2012, parts: Sequence[str] | None = None) -> tuple[Archive, ...]:
    """Return the archives of ``dataset``, all or those of ``parts``."""
    archives = CATALOGUE.get(f"{dataset}{year}" if dataset == "voc" else dataset)
    if archives is None or dataset not in ("coco", "voc"):
        raise ConfigError(
            f"dataset={dataset} cannot be downloaded", why="coco and voc can", fix="dataset=coco, or dataset=voc"
        )
    known = [archive.part for archive in archives]
    wrong = [part for part in parts or () if part not in known]
    if wrong:
        raise ConfigError(
            f"dataset={dataset} has no parts {', '.join(wrong)}", why=f"it has {', '.join(known)}", fix="parts=[...]"
        )
    return tuple(archive for archive in archives if parts is None or archive.part in parts)
