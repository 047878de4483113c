"""SIGINT and SIGTERM during a run: the first asks to save and leave, the second leaves at once."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Self

from heredity.common.interruption import STOP_SIGNALS, NotedInterrupt, received_before

EXIT_INTERRUPTED = 130
# Who stops a process and its group sends the same signal twice within a moment: that is one wish.
ECHO_SECONDS = 0.25


class TrainingInterrupted(KeyboardInterrupt):
    """A run was asked to stop; everything needed to resume it was saved first."""

    exit_code = EXIT_INTERRUPTED


class StopSignals:
    """Within the block, signals set `requested` instead of raising.

    Compiled programs do not let Python's handlers run until they return, so a second signal is
    taken by a thread that waits for it and ends the process whatever is going on. Outside the main
    thread, where handlers cannot be set, the block does nothing.

    A signal whose KeyboardInterrupt was lost before the block (see `RememberedInterrupt`) counts as
    one that came inside it. What waits for others within the block, and does not know of it, asks
    `is_asked_to_stop`.
    """

    def __init__(self) -> None:
        self._handler = NotedInterrupt()
        self._before: dict[int, object] = {}
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._wakeup_before = -1

    @property
    def requested(self) -> signal.Signals | None:
        """The signal that asked to stop; None as long as none did."""
        return self._handler.received

    def __enter__(self) -> Self:
        self._take()
        return self

    def __exit__(self, *raised: object) -> None:
        self._give_back()

    @contextlib.contextmanager
    def released(self) -> Iterator[None]:
        """Signals do what they did before the block, while code that is not ours runs.

        That code may take its time, be another run, or never come back.
        """
        self._give_back()
        try:
            yield
        finally:
            self._take()

    def _take(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        lost = None
        for number in STOP_SIGNALS:
            before = self._before[number] = signal.signal(number, self._handler)
            lost = lost or received_before(before)
        # Only now, or a signal that comes in between would count twice.
        waiting, woken = socket.socketpair()
        woken.setblocking(False)
        self._ends = (waiting, woken)
        self._wakeup_before = signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        if lost is not None:
            self._handler.received = lost
            _tell_first(lost)
        seen = 0 if lost is None else 1
        threading.Thread(target=self._watch, args=(waiting, seen), daemon=True).start()

    def _watch(self, waiting: socket.socket, seen: int) -> None:
        first = time.monotonic()
        while True:
            try:
                received = waiting.recv(16)
            except OSError:
                return
            if not received:
                return
            for number in received:
                if number not in STOP_SIGNALS:
                    continue
                if seen == 0:
                    seen, first = 1, time.monotonic()
                    _tell_first(signal.Signals(number))
                elif time.monotonic() - first > ECHO_SECONDS:
                    os._exit(EXIT_INTERRUPTED)

    def _give_back(self) -> None:
        if self._ends is None:
            return
        for number, handler in self._before.items():
            # None stands for a handler that was not set from Python, and cannot be given back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # pyright: ignore[reportArgumentType]
        signal.set_wakeup_fd(self._wakeup_before)
        ends, self._ends = self._ends, None
        for end in ends:
            # Shut down first: closing alone does not wake a thread that waits in recv.
            try:
                end.shutdown(socket.SHUT_RDWR)
            finally:
                end.close()


def _tell_first(number: signal.Signals) -> None:
    told = f"\n{number.name}: saving, then leaving. Press Ctrl-C again to leave at once."
    print(told, file=sys.stderr, flush=True)
