from __future__ import annotations

import io
import re
import time

import cv2
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugin_util import markdown_to_safe_html
from tensorboard.plugins.custom_scalar import layout_pb2

from retina.training.run_log import RunLog
from retina.training.tensorboard import CHARTS, Panels, TallyHistogram

EVERY_NAME = [
    *("train/loss", "train/loss_classification", "train/loss_box", "train/lr", "train/grad_norm"),
    *("train/images_per_second", "eval/loss", "eval/loss_classification", "eval/loss_box"),
    *(f"eval/{name}" for name in ("AP", "AP50", "AP75", "APs", "APm", "APl")),
    *(f"eval/{name}" for name in ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")),
]


def run_log(folder, **options) -> RunLog:
    return RunLog(folder, num_steps=100, stream=io.StringIO(), **options)


def read(folder) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0, "tensors": 0, "scalars": 0})
    return events.Reload()


def steps_and_values(events: EventAccumulator, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_scalars_come_back_under_their_names(tmp_path):
    with run_log(tmp_path) as log:
        log.scalars(10, 1, {"train/loss": 0.5, "eval/APs": None})
        log.scalars(20, 1, {"train/loss": 0.25})
    events = read(tmp_path)
    assert events.Tags()["scalars"] == ["train/loss"]
    assert steps_and_values(events, "train/loss") == [(10, 0.5), (20, 0.25)]


def test_the_charts_page_draws_every_scalar_once_and_each_chart_only_its_own(tmp_path):
    run_log(tmp_path).close()
    events = read(tmp_path)
    (event,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    drawn = []
    for category in layout.category:
        for chart in category.chart:
            # As the plugin does: a regular expression matched from the start of the name.
            matching = [name for name in EVERY_NAME for tag in chart.multiline.tag if re.match(tag, name)]
            assert sorted(matching) == sorted(CHARTS[category.title][chart.title])
            drawn += matching
    assert sorted(drawn) == sorted(EVERY_NAME)


def test_pictures_of_different_sizes_come_back(tmp_path):
    images = [np.full((20, 30, 3), (255, 0, 0), np.uint8), np.zeros((8, 5, 3), np.uint8)]
    with run_log(tmp_path) as log:
        log.pictures("validation", images, 7)
    events = read(tmp_path)
    assert events.Tags()["images"] == ["validation/1", "validation/2"]
    (event,) = events.Images("validation/1")
    assert (event.step, event.height, event.width) == (7, 20, 30)
    decoded = cv2.imdecode(np.frombuffer(event.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert decoded[0, 0].tolist() == [0, 0, 255]  # BGR: red stayed red


def test_the_configuration_is_shown_as_it_is_and_not_as_markdown(tmp_path):
    yaml = "model:\n  norm: frozen_bn  # a comment is no heading\n  strides:\n  - 8\n"
    with run_log(tmp_path) as log:
        log.configuration(yaml)
    (event,) = read(tmp_path).Tensors("configuration/text_summary")
    html = markdown_to_safe_html(event.tensor_proto.string_val[0])
    assert f"<pre><code>{yaml}</code></pre>" in re.sub(r'<code class="[^"]*">', "<code>", html)


def test_a_resumed_run_hides_the_steps_that_are_made_again(tmp_path):
    with run_log(tmp_path) as before:
        for step in (10, 20, 30):
            before.scalars(step, 1, {"train/loss": 1.0})
    # Event files are read in the order of their names: the second, then the number of the writer as a text, of which
    # the tenth of one process comes before the ninth.
    time.sleep(1)
    with run_log(tmp_path, resume_step=20) as resumed:
        resumed.scalars(30, 1, {"train/loss": 2.0})
    events = read(tmp_path)
    assert steps_and_values(events, "train/loss") == [(10, 1.0), (20, 1.0), (30, 2.0)]
    assert "custom_scalars__config__" in events.Tags()["tensors"]


def test_values_that_were_only_counted_come_back_as_a_histogram(tmp_path):
    tally = TallyHistogram(np.array([0.0, 0.25, 0.5, 0.75, 1.0]), np.array([0, 3, 0, 1]), total=2.0, squares=1.25)
    with run_log(tmp_path) as log:
        log.panels(7, 1, Panels({"lab/a": np.zeros((2, 3, 3), np.uint8)}, {"lab/p": tally}, {}))
    events = read(tmp_path)
    assert events.Tags()["images"] == ["lab/a"]
    (event,) = events.Histograms("lab/p")
    value = event.histogram_value
    assert (event.step, value.min, value.max, value.num, value.sum, value.sum_squares) == (7, 0.25, 1.0, 4, 2.0, 1.25)
    counts = dict(zip(value.bucket_limit, value.bucket, strict=True))
    assert {limit: count for limit, count in counts.items() if count} == {0.5: 3, 1.0: 1}
