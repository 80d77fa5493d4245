"""What ``tools/download.py`` does: choose the archives, bring them, say how to train on them."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from retina.download.catalogue import CATALOGUE, chosen_archives
from retina.download.download import Downloader
from retina.errors import ConfigError


def download_config(config: DictConfig) -> None:
    """Download what ``dataset``, ``year`` and ``parts`` name into ``root``."""
    name = OmegaConf.select(config, "dataset.name")
    if name is None:
        raise ConfigError("dataset must be given: what to download", fix="dataset=coco, or dataset=voc")
    archives = chosen_archives(name, year=config.year, parts=config.parts)
    root = Path(config.root or f"data/{name}").expanduser()
    Downloader(root, retries=config.retries, keep_archives=config.keep_archives)(archives)
    print(f"in {root}:\n  python train.py {_opened_by(name, root, config.year)}")


def _opened_by(name: str, root: Path, year: int) -> str:
    if name == "coco":
        return f"dataset=coco dataset.root={root}"
    known = f"dataset=voc dataset.root={root / 'VOCdevkit' / f'VOC{year}'}"
    has_test = any(archive.part == "test" for archive in CATALOGUE[f"voc{year}"])
    return f"{known} dataset.train=trainval dataset.val=test" if has_test else known
