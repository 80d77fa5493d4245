from __future__ import annotations

import io
import json

import torch
from rich.console import Console

from retina.doctor.detector_view import Lens
from retina.doctor.examine import examine
from retina.doctor.report import as_values, class_lines, print_report, speed_lines, verdict
from retina.files import write_json_atomically

LENS = Lens(lambda h, w: (h, w), lambda boxes, canvas: torch.full((len(boxes),), 0.2), 100, 2)


def shown(examination, **console) -> str:
    stream = io.StringIO()
    print_report(examination, Console(file=stream, width=160, **console))
    return stream.getvalue()


def test_the_table_names_kind_place_and_remedy(data):
    data.image(1).unlink()
    examination = examine(data.folder(), ["train", "val"], lens=LENS)
    text = shown(examination)
    for part in ("train   4 images, 8 objects of 2 classes, 0 crowds", "1 image file is missing",
                 "image 11 'train_1.jpg'", "fix: put the files there", "no anchor reaches 100.0% of the objects",
                 "person        4"):  # fmt: skip
        assert part in text, part
    assert "\x1b" not in text
    assert "\x1b" in shown(examination, force_terminal=True)


def test_the_json_holds_everything_and_is_legal(data, tmp_path):
    data.image(1).unlink()
    data.content["categories"][0]["name"] = "pers\x1bon 猫"
    values = as_values(examine(data.write().folder(), ["train"], lens=LENS))
    write_json_atomically(tmp_path / "report.json", values)
    read = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"), parse_constant=lambda name: 1 / 0)
    assert read["counts"]["error"] == 1
    assert read["splits"]["train"]["images"] == 4
    finding = read["findings"][0]
    assert (finding["kind"], finding["severity"], finding["count"]) == ("image-missing", "error", 1)
    assert finding["places"] == ["image 11 'train_1.jpg'"]
    assert read["splits"]["train"]["detector_view"]["classes"][0]["name"] == "pers\x1bon 猫"


def test_letters_that_steer_a_terminal_are_not_printed(data):
    data.content["categories"][0]["name"] = "a\x1b[2Jb"
    assert "\x1b" not in shown(examine(data.write().folder(), ["train"], images="none", lens=LENS))


def test_names_are_no_markup(data):
    data.content["categories"][0]["name"] = "[bold red]x[/]"
    assert "[bold red]x[/]" in shown(examine(data.write().folder(), ["train"], images="none", lens=LENS))


def test_counts_are_told_in_words(data):
    assert verdict(examine(data.folder(), ["train"], images="none")) in ("nothing found", "1 note")
    data.image(1).unlink()
    assert verdict(examine(data.folder(), ["train"])).startswith("1 error")


def test_long_lists_of_classes_are_cut():
    row = {"objects": 1, "images": 1, "small": 0, "medium": 1, "large": 0, "share_unreached": None}
    lines = class_lines([{"name": f"class {i}", **row} for i in range(30)])
    assert len(lines) == 22
    assert lines[-1] == "... 10 more in dataset_report.json"


def test_a_measured_step_is_told(data):
    examination = examine(data.folder(), ["train"], images="none")
    assert speed_lines(examination) == []
    measured = {"images": 2, "canvas": [64, 96], "seconds": 0.5, "memory_mib": 100.0, "epoch_minutes": 3.0}
    told = speed_lines(type(examination)(**{**vars(examination), "speed": measured}))
    assert told[-1] == "a step of 2 images of 64 x 96: 0.50 s, 100 MiB above rest; an epoch: 3.0 minutes"
