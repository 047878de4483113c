"""Environments in a process each, watched: signals are the main process's business, deaths told.

Ctrl-C in a terminal goes to every process of the group, and schedulers send SIGTERM to all of a
job. Only the main process may answer, by saving first; workers that died of it would take along
what was to be saved.
"""

from __future__ import annotations

import functools
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import multiprocessing.util
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from gymnasium.vector.async_vector_env import AsyncState

from heredity.common.errors import HeredityError

Maker = Callable[[], gym.Env[Any, Any]]
Result = TypeVar("Result")

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SLICE_SECONDS = 1.0  # between two looks at whether the workers are alive
_BROKEN = (EOFError, BrokenPipeError, ConnectionError)


class WorkerVector(AsyncVectorEnv):
    """Gymnasium's `AsyncVectorEnv` whose workers outlive signals, and whose deaths are errors.

    Processes come from a fork server, because forking one that runs JAX's threads can hang.

    Args:
        makers: Make the environments, each in its worker; the first one also here, for its spaces.

    Raises:
        HeredityError: when a worker dies, also later, from any call.
    """

    def __init__(self, makers: Sequence[Maker]) -> None:
        _start_fork_server()
        here = os.getpid()
        try:
            super().__init__(
                [functools.partial(_make_in_worker, maker, here) for maker in makers],
                copy=False,
                context="forkserver",
                autoreset_mode=AutoresetMode.DISABLED,
            )
        except _BROKEN:
            raise self._death() from None
        # At the program's end multiprocessing sends SIGTERM, which the workers ignore, and waits.
        self._at_exit = multiprocessing.util.Finalize(
            self, _kill, args=(list(self.processes),), exitpriority=10
        )

    def step_watched(self, actions: np.ndarray) -> Any:
        """`step`, with an error as soon as a worker is dead."""
        return self._watched(lambda: self.step_async(actions), self.step_wait)

    def reset_watched(self, seeds: Sequence[int], mask: np.ndarray) -> Any:
        """`reset` of those in the mask, with an error as soon as a worker is dead."""
        options = {"reset_mask": np.array(mask, bool)}
        return self._watched(
            lambda: self.reset_async(seed=list(seeds), options=options), self.reset_wait
        )

    def call_watched(self, name: str) -> tuple[Any, ...]:
        """`call` without arguments, with an error as soon as a worker is dead."""
        return self._watched(lambda: self.call_async(name), self.call_wait)

    def close_extras(self, timeout: int | float | None = None, terminate: bool = False) -> None:
        """End the workers: asked while all of them listen, else at once."""
        listening = self._state == AsyncState.DEFAULT and not self._dead()
        if listening and not terminate:
            try:
                super().close_extras(timeout)
                return
            except _BROKEN:
                pass  # one of them died meanwhile: the others are ended below
        _kill(self.processes)
        for pipe in self.parent_pipes:
            if pipe is not None:
                pipe.close()

    def _watched(self, send: Callable[[], None], receive: Callable[[], Result]) -> Result:
        try:
            send()
            for pipe in self.parent_pipes:
                # An end of file counts as something to read, so a death is mostly seen at once.
                while not pipe.poll(SLICE_SECONDS):
                    if self._dead():
                        raise self._death()
            return receive()
        except _BROKEN:
            raise self._death() from None

    def _dead(self) -> list[int]:
        return [index for index, process in enumerate(self.processes) if not process.is_alive()]

    def _death(self) -> HeredityError:
        """What to raise: who died, and of what."""
        # The pipe may be gone a moment before the process is.
        multiprocessing.connection.wait([p.sentinel for p in self.processes], SLICE_SECONDS)
        told = []
        for index in self._dead():
            code = self.processes[index].exitcode
            how = f"exit code {code}"
            if code is not None and code < 0:
                how = signal.Signals(-code).name
            told.append(f"worker {index} of {self.num_envs} ({how})")
        return HeredityError(
            f"an environment's process died: {', '.join(told) or 'which one is not known'}. "
            "Look for what it printed and whether memory ran out; a run that has a directory "
            "goes on with heredity resume"
        )


def _start_fork_server() -> None:
    """Start it with the signals blocked: it and all its children inherit that.

    If another library has started it already, workers are safe only once they are made.
    """
    # First, because starting this one ends with the signals unblocked, whatever they were before.
    multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _make_in_worker(maker: Maker, main_process: int) -> gym.Env[Any, Any]:
    # Gymnasium calls the first maker in the main process as well, whose signals stay as they are.
    if os.getpid() != main_process:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    return maker()


def _kill(processes: Sequence[Any]) -> None:
    for process in processes:
        if process.is_alive():
            process.kill()
    for process in processes:
        process.join()
