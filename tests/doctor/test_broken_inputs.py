"""A table of broken data sets: each ends as an error that names the file and the place, or is told and borne.

Every row is a sound data set with one thing changed, taken the way that a training takes it before its first step.
"""

from __future__ import annotations

import contextlib
import io
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from retina.config.command import run_command
from retina.errors import RetinaError
from tests.doctor import broken_annotations, broken_images
from tests.doctor.broken import FINE, REFUSED, ROWS, TOLD, start
from tests.sound_data import sound_content

TABLES = (broken_annotations, broken_images)  # importing them fills ROWS


def test_the_table_has_more_than_sixty_rows() -> None:
    assert len(ROWS) >= 100
    assert len({name for name, *_ in ROWS}) == len(ROWS)
    outcomes = [outcome for _, _, outcome, _ in ROWS]
    assert min(outcomes.count(outcome) for outcome in (FINE, TOLD, REFUSED)) >= 10


@pytest.mark.parametrize(("change", "outcome", "told"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_what_is_broken_is_refused_or_told(data, change, outcome, told) -> None:
    change(data)
    data.write()
    if outcome == REFUSED:
        with pytest.raises(RetinaError) as caught:
            start(data.folder())
        assert caught.value.exit_status == 2
        said = str(caught.value)
    else:
        said = "\n".join(start(data.folder()))
    for part in told:
        assert part in said, said
    if outcome == FINE:
        assert said == ""


# One of each outcome through the command itself: its exit status, its words, and no traceback.
END_TO_END = ["file_cut_off", "image_unknown", "boxes_as_corners", "box_with_nan", "image_missing",
              "image_that_is_scored_missing", "nothing"]  # fmt: skip


@pytest.mark.parametrize("name", END_TO_END)
def test_the_command_ends_as_the_table_says(data, name, tmp_path, capsys, monkeypatch) -> None:
    change, outcome, told = next(row[1:] for row in ROWS if row[0] == name)
    change(data)
    data.write()
    paths = [f"dataset.{split}.{part}={data.root / name}" for split in ("train", "val")
             for part, name in (("images", split), ("annotations", f"{split}.json"))]  # fmt: skip
    status = run_command("train", [
        "dataset=custom", "recipe=shapes", *paths, "image.short_side=64", "image.long_side=64", "train.epochs=null",
        "train.max_steps=2", "train.batch_size=2", "train.workers=0", "train.device=cpu", "model.fpn_channels=16",
        "model.tower_channels=16", "model.norm=gn", "train.precision=float32", "optimizer.lr=1e-5",
        "model.tower_depth=1", "schedule.warmup=2", "eval.every=0", "checkpoint.every=0",
        "eval.num_pictures=0", f"run_dir={tmp_path / 'run'}",
    ])  # fmt: skip
    shown = capsys.readouterr()
    assert status == (2 if outcome == REFUSED else 0), shown.err
    assert "Traceback" not in shown.err + shown.out
    assert (tmp_path / "run").exists() == (outcome != REFUSED)
    for part in told:
        assert part in shown.err + shown.out


# A value of any kind that a careless program could write in place of another.
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=8),
    st.sampled_from(["../a", "/dev/zero", "1", "\ud800", "\0", "猫" * 400, [], {}, [[]], [1], -1, 0, 1e308, 2**63]),
    st.lists(st.one_of(st.floats(), st.integers(-99, 99), st.text(max_size=2), st.none()), min_size=3, max_size=5),
)  # fmt: skip


def places_in(value, path=()):
    """Every place of a JSON value: keys and positions that lead to it."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places_in(inner, (*path, key))


PLACES = list(places_in(sound_content("train")))


def average_precision(truth: dict, detections: list[dict]) -> float:
    coco = COCO()
    coco.dataset = truth
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.sampled_from(PLACES), value=ANYTHING, remove=st.booleans())
def test_any_one_field_changed_is_refused_or_told_or_changes_no_score(data, place, value, remove) -> None:
    data.content = sound_content("train")
    holder = data.content
    for key in place[:-1]:
        holder = holder[key]
    if remove:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    data.write()
    said, error = _outcome(data)
    if error is not None:
        assert error.exit_status == 2
        assert str(error)
        return
    dataset = data.open()
    # Perfect detections of the file as it was.
    detections = [{**{key: a[key] for key in ("image_id", "category_id", "bbox")}, "score": 0.9}
                  for a in sound_content("train")["annotations"]]  # fmt: skip
    known = set(dataset.image_ids.tolist())
    score = average_precision(dataset.ground_truth(), [d for d in detections if d["image_id"] in known])
    assert not math.isnan(score)
    meant_otherwise = _says_something_else(place, data.content)
    assert score == pytest.approx(1) or said or meant_otherwise


def _outcome(data):
    try:
        return start(data.folder()), None
    except RetinaError as error:
        return [], error


def _says_something_else(place, content) -> bool:
    """Tell whether the changed file is a sound one that means something else: nobody could know that it was changed."""
    if len(place) <= 2:  # a record that is gone was never there
        return len(place) == 2
    key = place[2]
    if place[0] == "annotations" and key in ("image_id", "category_id"):
        return True  # another image or class of the file
    return place[0] == "annotations" and key == "bbox"  # another box inside of the image
