"""Packaging what pyproject.toml cannot say: the configuration files stand beside the package, and go along with it."""

from pathlib import Path

from setuptools import find_packages, setup

CONFIGS = [folder for folder in sorted(Path("configs").rglob("*")) if folder.is_dir()]
FOLDERS = {".".join(("retina", *folder.parts)): folder.as_posix() for folder in [Path("configs"), *CONFIGS]}

setup(
    packages=[*find_packages(include=["retina", "retina.*"]), *FOLDERS],
    package_dir=FOLDERS,
    package_data={"": ["*.yaml"], "retina.drawing": ["templates/*"]},
)
