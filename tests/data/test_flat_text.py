from __future__ import annotations

import pickle

import numpy as np
import pytest

from retina.data.flat_text import FlatText

TEXTS = ["a.jpg", "", "mit Löwe 猫.png", "deep/er/e.jpg"]


def test_every_text_comes_back_by_its_position():
    flat = FlatText(TEXTS)
    assert len(flat) == 4
    assert list(flat) == TEXTS
    assert flat[-1] == TEXTS[-1]
    assert flat[1:3] == TEXTS[1:3]


def test_no_texts_are_an_empty_sequence():
    assert list(FlatText([])) == []
    assert list(FlatText.join([])) == []


def test_a_position_behind_the_end_raises_index_error():
    with pytest.raises(IndexError, match="text 4 of 4"):
        FlatText(TEXTS)[4]


def test_it_survives_pickling_for_processes_that_are_spawned():
    assert list(pickle.loads(pickle.dumps(FlatText(TEXTS)))) == TEXTS


def test_parts_are_joined_in_order():
    assert list(FlatText.join([FlatText(TEXTS[:1]), FlatText([]), FlatText(TEXTS[1:])])) == TEXTS


def test_arrays_are_taken_as_they_are():
    flat = FlatText(TEXTS)
    offsets, buffer = flat.offsets.copy(), flat.buffer.copy()
    buffer.flags.writeable = False
    again = FlatText.of_arrays(offsets, buffer)
    assert list(again) == TEXTS
    assert np.shares_memory(again.buffer, buffer)
