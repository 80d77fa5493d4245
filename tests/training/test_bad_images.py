"""Images that could not be used: named once, counted over ranks and restarts, too many stop the run with all saved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from retina.data.bad_images import MAX_COUNT, BadImages
from retina.errors import DataError
from retina.structures import Batch
from retina.training import trainer as trainer_module


@pytest.mark.parametrize(
    ("num_images", "tolerated"),
    [(1, 1), (12, 1), (150, 1), (199, 1), (200, 2), (1000, 10), (4900, 49), (5000, 49), (118_287, 49)],
)
def test_one_percent_or_fifty_different_ones_are_too_many_and_one_alone_is_not(num_images, tolerated):
    bad = BadImages(num_images)
    for number in range(tolerated):
        bad.agree([[f"image {number}"], [f"image {number}"]])
        bad.agree([[f"image {number}"]])
        assert not bad.too_many
    bad.agree([["one more"]])
    assert bad.too_many
    assert MAX_COUNT == 50


def test_an_image_is_told_once_whichever_rank_met_it():
    bad = BadImages(1000)
    assert bad.agree([["a", "b"], [], ["b", "c"]]) == ["a", "b", "c"]
    assert bad.agree([["c"], ["d", "a"]]) == ["d"]
    assert bad.agree([[], []]) == []
    assert bad.summary() == {"count": 4, "images": ["a", "b", "c", "d"]}


def batch_that_says(toy_batch: Batch, *reasons: str) -> Batch:
    return replace(toy_batch, replaced=list(reasons))


def test_a_rank_tells_what_its_batches_say_and_only_once(toy):
    bad = BadImages(1000)
    bad.note([batch_that_says(toy().batch(1), "a", "b"), batch_that_says(toy().batch(1), "a")])
    assert bad.take_noted() == ["a", "b"]
    assert bad.take_noted() == []


def test_the_list_survives_a_restart_but_mended_images_do_not_stop_the_run_again():
    bad = BadImages(100)
    bad.agree([["a", "b"]])
    assert bad.too_many
    resumed = BadImages(100)
    resumed.load_state_dict(bad.state_dict())
    assert resumed.known == ["a", "b"]
    assert not resumed.too_many
    assert resumed.agree([["a"]]) == []  # not told again
    assert not resumed.too_many
    assert resumed.agree([["b"]]) == []
    assert resumed.too_many  # but counted again


def test_a_checkpoint_without_a_list_has_none():
    bad = BadImages(100)
    bad.load_state_dict({})
    assert bad.known == []


def test_the_error_names_the_first_five_and_their_number():
    bad = BadImages(300)
    bad.agree([[f"image {number} 'x.jpg' cannot be decoded" for number in range(8)]])
    error = bad.error()
    assert error.exit_status == 2
    assert error.what.startswith("8 of 300 training images cannot be used: image 0 'x.jpg' cannot be decoded, image 1")
    assert error.what.endswith("... (8 in all)")
    assert "Everything is saved" in error.why
    assert "resume=" in error.fix


# In a run


def says_at(toy_run, positions: dict[int, str], monkeypatch) -> None:
    """Let the batch that holds a position of the stream say that an image was replaced."""
    plain = toy_run._batches

    def batches(start, train):
        size, position = train.batch_size // train.accumulate, start
        for batch in plain(start, train):
            reasons = [positions[p] for p in range(position, position + size) if p in positions]
            position += size
            yield batch_that_says(batch, *reasons)

    monkeypatch.setattr(toy_run, "_batches", batches)


def test_a_run_names_a_bad_image_once_and_goes_on(toy, monkeypatch):
    run = toy()
    says_at(run, {1: "image 7 is bad", 5: "image 7 is bad"}, monkeypatch)
    trainer = run.trainer(max_steps=4)
    trainer.fit()
    assert trainer.progress.step == 4
    told = [line for line in run.told.said if "image 7" in line]
    assert told == ["another image stands in for one that cannot be used: image 7 is bad"]
    assert trainer.bad_images.summary() == {"count": 1, "images": ["image 7 is bad"]}
    again = run.trainer(max_steps=6)
    again.load_state_dict(trainer.state_dict())
    assert again.bad_images.known == ["image 7 is bad"]


def test_too_many_stop_the_run_after_their_step_with_everything_saved(toy, monkeypatch):
    run = toy()
    says_at(run, {0: "image 3 is bad", 4: "image 9 is bad"}, monkeypatch)
    with pytest.raises(DataError, match="2 of 0 training images cannot be used: image 3 is bad, image 9 is bad"):
        run.trainer(max_steps=20).fit()
    assert run.progress_in("last.pt")["step"] == 3
    assert [line for line in run.told.said if "stands in" in line] != []


def test_what_another_rank_met_stops_this_one_at_the_same_step(toy, monkeypatch):
    run = toy()
    seen = iter(range(100))

    def gather(value):
        return [value, (0, ["image 3 is bad", "image 9 is bad"] if next(seen) == 1 else [])]

    monkeypatch.setattr(trainer_module.distributed, "gather_objects", gather)
    with pytest.raises(DataError, match="2 of 0 training images"):
        run.trainer(max_steps=20).fit()
    assert run.progress_in("last.pt")["step"] == 2


def test_an_image_that_cannot_be_replaced_stops_the_run_with_everything_saved(toy, monkeypatch):
    run = toy()
    plain = run._batches

    def batches(start, train):
        for number, batch in enumerate(plain(start, train)):
            if number == 3:
                raise DataError("image 7 is bad")
            yield batch

    monkeypatch.setattr(run, "_batches", batches)
    with pytest.raises(DataError, match="image 7 is bad"):
        run.trainer(max_steps=20).fit()
    assert run.progress_in("last.pt")["step"] == 3
