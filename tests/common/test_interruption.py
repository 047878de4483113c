import gc
import signal
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from heredity.common.interruption import (
    STOP_SIGNALS,
    NotedInterrupt,
    RememberedInterrupt,
    is_asked_to_stop,
    received_before,
    remember_interrupts,
)


@pytest.fixture(autouse=True)
def _handlers_put_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    # It is ignored where the tests themselves run in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_raises_and_is_remembered(number: signal.Signals):
    remember_interrupts()
    handler = signal.getsignal(number)
    assert received_before(handler) is None
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert received_before(handler) is number


def test_what_would_be_lost_in_the_garbage_collector_comes_again():
    remember_interrupts()
    inside = []

    def interrupted(phase: str, info: dict) -> None:
        if not inside:
            signal.raise_signal(signal.SIGINT)  # raises nothing: it would be printed and gone
            inside.append(received_before(signal.getsignal(signal.SIGINT)))

    gc.callbacks.append(interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            gc.collect()
            time.sleep(10)
    finally:
        gc.callbacks.remove(interrupted)
    assert inside == [signal.SIGINT]


def test_an_ignored_ctrl_c_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    remember_interrupts()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    assert isinstance(signal.getsignal(signal.SIGTERM), RememberedInterrupt)


def test_outside_the_main_thread_nothing_is_set():
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    thread = threading.Thread(target=remember_interrupts)
    thread.start()
    thread.join()
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_other_handlers_remember_nothing():
    for handler in (signal.SIG_DFL, signal.default_int_handler, None):
        assert received_before(handler) is None


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_that_is_noted_raises_nothing_and_shows(number: signal.Signals):
    handler = NotedInterrupt()
    for one in STOP_SIGNALS:
        signal.signal(one, handler)
    assert not is_asked_to_stop()
    signal.raise_signal(number)
    assert handler.received is number and is_asked_to_stop()
    # What was received elsewhere, or raises, leaves nobody waiting.
    assert received_before(handler) is None
    remember_interrupts()
    assert not is_asked_to_stop()


def test_what_would_be_lost_when_something_goes_comes_again():
    class Held:
        """What somebody refers to weakly."""

    remember_interrupts()
    held, inside = Held(), []

    def interrupted() -> None:
        signal.raise_signal(signal.SIGINT)  # raises nothing: it would be printed and gone
        inside.append(received_before(signal.getsignal(signal.SIGINT)))

    weakref.finalize(held, interrupted)
    with pytest.raises(KeyboardInterrupt):
        del held
        time.sleep(5.0)
    assert inside == [signal.SIGINT]
