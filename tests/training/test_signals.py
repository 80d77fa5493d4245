from __future__ import annotations

import os
import signal
import threading

import pytest

from retina.training.signals import StopRequest


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_remembered_and_the_step_goes_on(number, capfd):
    with StopRequest() as stop:
        assert stop.signal_number is None
        send(number)
        assert stop.signal_number == number
    assert "stopping after this step" in capfd.readouterr().err


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_after_a_request_interrupts_at_once(first):
    with StopRequest(announce=False):
        send(first)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_a_second_sigterm_changes_nothing():
    with StopRequest(announce=False) as stop:
        send(signal.SIGINT)
        send(signal.SIGTERM)
        assert stop.signal_number == signal.SIGINT


def test_only_one_rank_announces(capfd):
    with StopRequest(announce=False):
        send(signal.SIGTERM)
    assert capfd.readouterr().err == ""


def test_the_earlier_handlers_are_back_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def fail_inside() -> None:
        with StopRequest():
            assert signal.getsignal(signal.SIGINT) != before[0]
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_inside()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_nothing_is_caught_and_nothing_fails():
    requested = []

    def run() -> None:
        with StopRequest() as stop:
            requested.append(stop.signal_number)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert requested == [None]
