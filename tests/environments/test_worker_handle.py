"""Who waits for a worker that says nothing, and is asked to leave, says what it waits for."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from tests.environments.counting import EVERYBODY, ONES, SEEDS

from heredity.common.interruption import STOP_SIGNALS, NotedInterrupt
from heredity.environments.gymnasium_vectors import AsyncEnvironment


@pytest.fixture
def _noting() -> Iterator[None]:
    """Signals are noted, as within a run."""
    before = {number: signal.signal(number, NotedInterrupt()) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def step_while_one_hangs(env: AsyncEnvironment, seconds: float, number: int | None) -> float:
    """Step while worker 1 is stopped for a while; a signal comes at the beginning of that."""
    pid = env._vector.processes[1].pid
    os.kill(pid, signal.SIGSTOP)
    timers = [threading.Timer(seconds, os.kill, (pid, signal.SIGCONT))]
    if number is not None:
        timers.append(threading.Timer(0.1, os.kill, (os.getpid(), number)))
    for timer in timers:
        timer.start()
    began = time.monotonic()
    env.step(ONES)
    for timer in timers:
        timer.join()
    return time.monotonic() - began


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_first_signal_is_answered_while_a_worker_hangs(
    in_workers: AsyncEnvironment, number: int, _noting: None, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING, "heredity"):
        step_while_one_hangs(in_workers, 1.2, None)
        assert caplog.messages == []  # nobody wants to leave
        began = time.time()
        step_while_one_hangs(in_workers, 2.5, number)
    (record,) = caplog.records
    assert record.created - began < 2.0
    assert record.getMessage() == (
        "worker 1 of 2 (environments 2 to 3) has not answered for 1 s: the run is saved after this "
        "update, which waits for it; a second Ctrl-C leaves at once; --env.worker-timeout SECONDS "
        "would restart it"
    )
    assert in_workers.restarts == 0


def test_a_worker_that_is_still_making_its_environments_is_told_as_such(
    in_workers: AsyncEnvironment, _noting: None, caplog: pytest.LogCaptureFixture
):
    os.kill(os.getpid(), signal.SIGTERM)
    worker = in_workers._vector._workers[1]
    worker._is_making = True
    worker._tell_who_wants_to_leave()
    assert caplog.messages[0].endswith(
        "making its environments, for which there is no limit of time"
    )


def test_a_worker_that_is_given_up_by_itself_is_told_as_such(
    build_in_workers, _noting: None, caplog: pytest.LogCaptureFixture
):
    env = build_in_workers(timeout=60.0)
    env.reset(SEEDS, EVERYBODY)
    step_while_one_hangs(env, 1.5, signal.SIGTERM)
    (told,) = caplog.messages
    assert told.endswith("leaves at once; after 60 s it is started again (--env.worker-timeout)")
