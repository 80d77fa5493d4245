from __future__ import annotations

import math

import pytest
import yaml

from retina.anchors import verdict as anchors_file
from retina.anchors.fit import Gain
from retina.anchors.verdict import Verdict, anchors_text, refuse_existing, write_anchors
from retina.build import build
from retina.detection.anchors import AnchorGenerator
from retina.errors import ConfigError
from tests.jobs import job

FITTED = AnchorGenerator(base_scale=2.5, scales=(1.0, 1.4), aspect_ratios=(0.25, 0.7, 1.9))
ROWS = [("train before", {"all": {"mean_iou": 0.61, "reached": 0.8, "boxes": 40, "lost": 3}})]


def verdict(iou: Gain, share: Gain | None = None, *, goal: str = "iou", **known) -> Verdict:
    gains = {"iou": iou, "share": share or Gain(0.0, 0.01)}
    return Verdict.of(gains, goal=goal, judge="val", **{"reached": 0.8, "changed": True, **known})


def test_a_gain_that_is_neither_chance_nor_nothing_is_worth_it():
    found = verdict(Gain(0.05, 0.01))
    assert not found.keep
    assert str(found) == "The fitted anchors fit better: mean IoU with the best anchor +0.0500 +- 0.0100 on val"


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (verdict(Gain(0.05, 0.04)), "The present anchors fit: keep them (mean IoU with the best anchor +0.0500"),
        (verdict(Gain(0.001, 0.0001)), "nothing, or chance)"),
        (verdict(Gain(0.0, 0.0), changed=False), "no better ones were found, keep them"),
        (verdict(Gain(0.05, math.inf)), "+- inf"),
        (verdict(Gain(0.05, 0.01), Gain(-0.02, 0.01)), "but share of boxes that reach the threshold -0.0200"),
        (verdict(Gain(0.05, 0.01), reached=0.9951), "keep them, they reach 99.5 % of the boxes (mean IoU"),
        (verdict(Gain(-0.03, 0.01), Gain(0.2, 0.01), goal="share"), "but mean IoU with the best anchor -0.0300"),
    ],
)
def test_otherwise_the_present_anchors_are_kept(found, text):
    assert found.keep
    assert text in str(found)


def test_an_unknown_error_is_null_in_the_report():
    assert verdict(Gain(0.05, math.inf)).gains["iou"] == (0.05, None)


def test_the_file_holds_the_whole_section_and_says_where_it_comes_from():
    settings, sections = job("anchors", "dataset=bccd", "anchors.positive_iou=0.6")
    text = anchors_text(settings, sections, FITTED, verdict(Gain(0.05, 0.01)), ROWS, "anchors=mine")
    assert text.splitlines()[0] == "# python train.py dataset=bccd anchors=mine"
    assert "# train before: mean best IoU 0.6100, 80.00 % of 40 boxes reach 0.6, 3 lost" in text
    assert "# Anchors fitted to bccd train, sides 416/555 px." in text
    node = yaml.safe_load(text)
    assert node["aspect_ratios"] == [0.25, 0.7, 1.9]
    assert set(node) == set(sections["anchors"])
    assigner = build(node)
    assert (assigner.positive_iou, assigner.anchors.base_scale) == (0.6, 2.5)


def test_an_option_is_made_once_and_never_overwritten(tmp_path, monkeypatch, capsys):
    (tmp_path / "configs" / "anchors").mkdir(parents=True)
    settings, sections = job("anchors", "save_as=mine", f"out={tmp_path / 'out'}")
    monkeypatch.setattr(anchors_file, "CONFIGS", tmp_path / "configs")
    refuse_existing("mine")
    refuse_existing(None)

    def write() -> None:
        write_anchors(settings, sections, FITTED, verdict(Gain(0.05, 0.01)), ROWS)

    write()
    mine = tmp_path / "configs" / "anchors" / "mine.yaml"
    assert mine.read_text().startswith("# python train.py dataset=shapes anchors=mine\n")
    assert "python train.py anchors=mine" in capsys.readouterr().out
    mine.write_text("other")
    for call in (lambda: refuse_existing("mine"), write):
        with pytest.raises(ConfigError, match="save_as=mine would overwrite"):
            call()
    assert mine.read_text() == "other"
