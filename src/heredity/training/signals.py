"""SIGINT and SIGTERM during a run: the first asks to save and leave, the second leaves at once."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from types import FrameType, TracebackType
from typing import Self

EXIT_INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingInterrupted(KeyboardInterrupt):
    """A run was asked to stop; everything needed to resume it was saved first."""

    exit_code = EXIT_INTERRUPTED


class StopSignals:
    """Within the block, signals set `requested` instead of raising.

    Compiled programs do not let Python's handlers run until they return, so a second signal is
    taken by a thread that waits for it and ends the process whatever is going on. Outside the main
    thread, where handlers cannot be set, the block does nothing.
    """

    def __init__(self) -> None:
        self.requested: signal.Signals | None = None
        self._before: dict[int, object] = {}
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._wakeup_before = -1

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        waiting, woken = socket.socketpair()
        woken.setblocking(False)
        self._ends = (waiting, woken)
        self._wakeup_before = signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        threading.Thread(target=self._watch, args=(waiting,), daemon=True).start()
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.requested = signal.Signals(number)

    def _watch(self, waiting: socket.socket) -> None:
        seen = 0
        while True:
            try:
                received = waiting.recv(16)
            except OSError:
                return
            if not received:
                return
            for number in received:
                if number not in _SIGNALS:
                    continue
                seen += 1
                if seen == 1:
                    name = signal.Signals(number).name
                    print(
                        f"\n{name}: saving, then leaving. Once more leaves at once.",
                        file=sys.stderr,
                        flush=True,
                    )
                else:
                    os._exit(EXIT_INTERRUPTED)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ends is None:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
        signal.set_wakeup_fd(self._wakeup_before)
        for end in self._ends:
            # Shut down first: closing alone does not wake a thread that waits in recv.
            try:
                end.shutdown(socket.SHUT_RDWR)
            finally:
                end.close()
