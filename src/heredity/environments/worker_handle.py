"""The main process's end of one worker: it is started, told what to do, heard, and ended."""

from __future__ import annotations

import contextlib
import logging
import math
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import pickle
import signal
import socket
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from heredity.common.errors import HeredityError
from heredity.common.interruption import is_asked_to_stop
from heredity.environments.worker_process import (
    DONE,
    ECHO,
    FAILED,
    LENGTH_BYTES,
    SIGNALS,
    TOKEN_BYTES,
    Duty,
    Failure,
    in_words,
    serve,
)

log = logging.getLogger("heredity")

SLICE_SECONDS = 1.0  # between two looks at whether a worker that says nothing is alive


class WorkerDied(Exception):
    """The process is gone, or about to go."""


class WorkerHandle:
    """The main process's end of one worker.

    Args:
        name: For people.
        duty: What it is there for.
        processes: Where the process is kept, at `place`, so that somebody else can end it.
        place: Its index there.
        timeout: Seconds for an answer, after which it is taken for dead; None to wait for ever.

    Attributes:
        deaths: How often it died since it last made a step.
        is_late: Whether it was taken for dead because no answer came in time.
    """

    def __init__(
        self,
        name: str,
        duty: Duty,
        processes: list[Any],
        place: int,
        timeout: float | None = None,
    ) -> None:
        self.name = name
        self.duty = duty
        self.deaths = 0
        self.is_late = False
        self._timeout = math.inf if timeout is None else timeout
        self._asked = 0.0  # the time since which it is waited for
        self._until = math.inf  # the time by which an answer has to be there
        self._is_making = False  # its environments: it has not answered since it was started
        self._is_told = False  # that the program cannot end before it answers
        self.names: list[str] = []  # of what its environments tell, in the order of their rows
        self._processes = processes
        self._place = place
        self._answer_is_due = False
        self._line: socket.socket | None = None

    @property
    def is_listening(self) -> bool:
        """Whether it has nothing else to do."""
        return self._line is not None and not self._answer_is_due

    @property
    def process(self) -> Any:
        """The one that runs now, or ran last."""
        return self._processes[self._place]

    @property
    def environments(self) -> slice:
        """Its environments in the vector."""
        return slice(self.duty.indices.start, self.duty.indices.stop)

    def start(self) -> None:
        """Start the process; its first answer says that the environments are made."""
        self.names = []
        self.duty.arrays["known"][self.duty.indices.start] = 0
        _start_fork_server()
        ours, theirs = socket.socketpair()
        ours.settimeout(min(SLICE_SECONDS, self._timeout))
        self.is_late, self._asked, self._until = False, time.monotonic(), math.inf
        self._line, self._is_making = ours, True
        context = multiprocessing.get_context("forkserver")
        process = context.Process(
            target=serve, args=(theirs, self.duty), name=f"heredity {self.name}", daemon=True
        )
        with theirs:
            process.start()
        if self._place < len(self._processes):
            self._processes[self._place] = process
        else:
            self._processes.append(process)
        self._answer_is_due = True

    def tell(self, command: bytes) -> None:
        """Send a command, whose answer is to be received.

        Raises:
            WorkerDied: when nobody hears it.
        """
        self._answer_is_due = True
        self._asked = time.monotonic()
        self._until = self._asked + self._timeout
        self._send(command)

    def receive(self, until: float = math.inf) -> Any:
        """Wait for the answer: nothing, a picture, or after a step new `names`.

        Args:
            until: When, on the monotonic clock, it is too late in any case.

        Raises:
            WorkerDied: when none will come.
            Exception: when one was raised there: the same, with the traceback as a note.
        """
        self._until = min(self._until, until)
        answer = self._read(1)
        self._is_making, told = False, None
        if answer != DONE:
            told = self._read(int.from_bytes(self._read(LENGTH_BYTES), "little"))
        self._answer_is_due = False
        if answer == FAILED:
            assert told is not None
            _raise(pickle.loads(told))
        return None if told is None else pickle.loads(told)

    def catch_up(self) -> None:
        """After a call that was broken off: wait until it has done that, and hear no more of it.

        Raises:
            WorkerDied: when it never will.
        """
        self._until = time.monotonic() + self._timeout
        token = os.urandom(TOKEN_BYTES)
        self._send(ECHO + token)
        seen = b""
        while not seen.endswith(token):
            seen = seen[-TOKEN_BYTES:] + self._read(1)
        self._answer_is_due = False

    def end(self) -> str:
        """End the process if it is still there; how it died."""
        self.hang_up()
        if not self.is_late:
            # Its end of the line may be gone a moment before the process is.
            self.process.join(SLICE_SECONDS)
        kill([self.process])
        if self.is_late:
            return f"no answer in {self._timeout:g} s"
        code = self.process.exitcode
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"

    def hang_up(self) -> None:
        """Close the line; nothing can be told any more."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _send(self, data: bytes) -> None:
        if self._line is None:
            raise WorkerDied
        try:
            self._line.sendall(data)
        except OSError:
            raise WorkerDied from None

    def _read(self, count: int) -> bytes:
        if self._line is None:
            raise WorkerDied
        parts = []
        while count:
            try:
                part = self._line.recv(min(count, 1 << 20))
            except TimeoutError:
                # A death is an end of file, unless a child of the worker holds the line open.
                self.is_late = time.monotonic() >= self._until
                if self.process.is_alive() and not self.is_late:
                    self._tell_who_wants_to_leave()
                    continue
                self.hang_up()  # an answer that comes later is none to what is asked next
                raise WorkerDied from None
            except OSError:
                raise WorkerDied from None
            if not part:
                raise WorkerDied
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _tell_who_wants_to_leave(self) -> None:
        """Say, once, that a program that was asked to end waits for this worker."""
        told, self._is_told = self._is_told, is_asked_to_stop()
        if told or not self._is_told:
            return
        if self._is_making:
            remedy = "it is making its environments, for which there is no limit of time"
        elif math.isinf(self._timeout):
            remedy = "--env.worker-timeout SECONDS would restart it"
        else:
            remedy = f"after {self._timeout:g} s it is started again (--env.worker-timeout)"
        log.warning(
            "%s (%s) has not answered for %.0f s: the run is saved after this update, which waits "
            "for it; a second Ctrl-C leaves at once; %s",
            *(self.name, in_words(self.duty.indices), time.monotonic() - self._asked, remedy),
        )


def _raise(failure: Failure) -> NoReturn:
    """Raise here what an environment raised there."""
    error: Exception = HeredityError(f"an environment failed {failure.told}")
    if failure.pickled is not None:
        # Some exceptions are pickled well and cannot be made again.
        with contextlib.suppress(Exception):
            raised = pickle.loads(failure.pickled)
            raised.add_note(failure.told)
            error = raised
    raise error


def _start_fork_server() -> None:
    """Start it with the signals blocked: it and all its children inherit that.

    If another library has started it already, workers are safe only once they are made.
    """
    # What every worker needs is imported there once, and not by each; without effect once it runs.
    multiprocessing.set_forkserver_preload(["__main__", serve.__module__])
    # First, because starting this one ends with the signals unblocked, whatever they were before.
    multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def kill(processes: Sequence[Any]) -> None:
    """End processes, and wait until they are gone."""
    for process in processes:
        if process.is_alive():
            process.kill()
    for process in processes:
        process.join()
