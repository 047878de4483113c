"""Writing off the training thread, in order, with errors brought back."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class BackgroundWriter:
    """Runs jobs one after another on a thread of its own.

    At most `waiting` jobs wait, so that memory does not grow when the disk is slower than
    training: `submit` then blocks. The first job that raises makes the next `submit`, `flush` or
    the end of the block raise the same; later jobs are dropped.

    Args:
        waiting: How many jobs may wait.
    """

    def __init__(self, waiting: int = 2) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(waiting)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="heredity-writer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._jobs.put(None)
        self._thread.join()
        if error is None or isinstance(error, GeneratorExit):
            self._raise()
        elif self._error is not None and self._error is not error:
            error.add_note(f"Besides: {self._error}")

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if self._error is None:
                    job()
            except BaseException as error:  # brought back to the training thread by _raise
                self._error = error
            finally:
                self._jobs.task_done()
        self._jobs.task_done()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def submit(self, job: Callable[[], None]) -> None:
        """Have `job` run after those submitted before it."""
        self._raise()
        self._jobs.put(job)

    def flush(self) -> None:
        """Wait until everything submitted so far is done."""
        self._jobs.join()
        self._raise()
