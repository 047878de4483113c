"""A vector's environments in worker processes; a process that dies is started again.

Observations, actions and rewards lie in memory that all processes share; what goes to and fro at
each step is one byte. An environment whose process died has lost its episode, and that is all that
is lost. Signals are the main process's business, see `heredity.environments.worker_process`.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing.util
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import CloudpickleWrapper

from heredity.common.errors import HeredityError
from heredity.environments.gymnasium_checks import declared
from heredity.environments.shared_arrays import SharedArrays
from heredity.environments.worker_handle import WorkerDied, WorkerHandle, kill
from heredity.environments.worker_process import (
    CLOSE,
    DRAW,
    RESET,
    STEP,
    STEP_SOME,
    Duty,
    Maker,
    in_words,
    shared_layout,
)

log = logging.getLogger("heredity")

CLOSING_SECONDS = 30.0  # for all workers together to close their environments
DEATHS_IN_A_ROW = 3  # without a step in between, after which a worker is not started again


class WorkerVector:
    """Gymnasium environments spread over worker processes; a worker that dies is replaced.

    Processes come from a fork server, because forking one that runs JAX's threads can hang.

    Args:
        makers: Make the environments.
        sample: One such environment, for its spaces.
        workers: How many processes; none for as many as there are cores.
        timeout: Seconds for an answer, after which a worker is ended as if it had died; None to
            wait for ever. To make its environments it may take as long as it likes.
        id: What the environments are called, for errors.

    Attributes:
        arrays: ``action``, ``reward``, ``terminated``, ``truncated``, and the observations as
            `shared_layout` names them. A row of an environment in `lost` means nothing.
        lost: Which environments have no episode because their process died; `reset` gives one.
        any_lost: Whether there are such.
        restarts: How many processes were started again so far.
        processes: Those that run now.

    Raises:
        HeredityError: when a worker dies while environments are first made; and later, when one
            dies several times without a step in between.
    """

    def __init__(
        self,
        makers: Sequence[Maker],
        sample: gym.Env[Any, Any],
        workers: int | None = None,
        timeout: float | None = None,
        id: str = "an environment",
    ) -> None:
        count = len(makers)
        self.arrays = SharedArrays(shared_layout(sample, count))
        self.lost = np.zeros(count, bool)
        self.any_lost = False
        self.restarts = 0
        self.processes: list[Any] = []
        self.closed = False
        self._actions, self._seeds = self.arrays["action"], self.arrays["seed"]
        self._mask, self._known = self.arrays["mask"], self.arrays["known"]
        self._info, self._told = self.arrays["info"], self.arrays["told"]
        self._names: list[str] = []
        # At the program's end multiprocessing sends SIGTERM, which the workers ignore, and waits.
        self._at_exit = multiprocessing.util.Finalize(
            self, kill, args=(self.processes,), exitpriority=10
        )
        self._workers = []
        shares = list(_shares(count, workers or _cores()))
        for place, indices in enumerate(shares):
            wrapped: Any = [CloudpickleWrapper(makers[index]) for index in indices]
            duty = Duty(wrapped, indices, count, self.arrays, id, declared(sample))
            name = f"worker {place} of {len(shares)}"
            handle = WorkerHandle(name, duty, self.processes, place, timeout)
            self._workers.append(handle)
        try:
            for worker in self._workers:
                worker.start()
            for worker in self._workers:
                try:
                    worker.receive()
                except WorkerDied:
                    raise _death("before it had made them", worker, worker.end()) from None
        except BaseException:
            self.close()
            raise

    def step(self, actions: np.ndarray) -> None:
        """One decision in each environment but those that are `lost` already; fills `arrays`."""
        self._settle()
        self._actions[...] = actions
        command = STEP
        if self.any_lost:
            self._mask[:] = ~self.lost
            command = STEP_SOME
        self._ask(command, self._workers)

    def info(self) -> dict[str, np.ndarray]:
        """What the environments told with their last step; see `heredity.environments.infos`."""
        if not self._names:
            return {}
        alike = all(worker.names == self._names for worker in self._workers)
        heard = slice(len(self._names))
        if alike:
            values, told = self._info[heard].copy(), self._told[heard].copy()
        else:
            # Some came across them in another order, or not at all. Each tells no more than there
            # are rows for, all together may.
            shape = len(self._names), len(self.lost)
            values, told = np.zeros(shape), np.zeros(shape, bool)
            for worker in self._workers:
                own, rows = worker.environments, [*map(self._index, worker.names)]
                values[rows, own] = self._info[: len(rows), own]
                told[rows, own] = self._told[: len(rows), own]
        if told.all():
            return dict(zip(self._names, values, strict=True))
        found: dict[str, np.ndarray] = {}
        by_all, by_any = np.all(told, axis=1), np.any(told, axis=1)
        for row, name in enumerate(self._names):
            if by_any[row]:
                found[name] = np.where(told[row], values[row], 0.0)
            if by_any[row] and not by_all[row]:
                found[f"_{name}"] = told[row]
        return found

    def _index(self, name: str) -> int:
        return self._names.index(name)

    def _hear(self, worker: WorkerHandle, names: Sequence[str] | None) -> None:
        """A worker came across names of numbers that it had not told before."""
        if names:
            worker.names += names
            self._known[worker.environments.start] = len(worker.names)
            self._names += [name for name in names if name not in self._names]

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> None:
        """Begin episodes where `mask`; the observations of those are in `arrays` then."""
        self._settle()
        mask = np.array(mask, bool)
        self._seeds[:] = seeds
        self._mask[:] = mask
        asked = [worker for worker in self._workers if mask[worker.environments].any()]
        while asked:
            # Where one dies here, the other episodes are lost; those that begin can begin again.
            asked = self._ask(RESET, asked)
        if self.any_lost:
            self.lost &= ~mask
            self.any_lost = bool(self.lost.any())

    def render(self) -> np.ndarray | None:
        """A picture of environment 0; None when it has no episode to show."""
        self._settle()
        first = self._workers[0]
        if self.lost[0]:
            return None
        try:
            first.tell(DRAW)
            return first.receive()
        except WorkerDied:
            self._replace(first)
            return None

    def close(self) -> None:
        """Close the environments, and end the processes: asked if they listen, else at once.

        Those that have not closed theirs after `CLOSING_SECONDS` are ended, too.
        """
        if self.closed:
            return
        self.closed = True
        asked, failures = [], []
        for worker in self._workers:
            if worker.is_listening:
                with contextlib.suppress(WorkerDied):
                    worker.tell(CLOSE)
                    asked.append(worker)
        until = time.monotonic() + CLOSING_SECONDS
        for worker in asked:
            try:
                worker.receive(until)
                worker.process.join(max(until - time.monotonic(), 0.0))
            except WorkerDied:
                if worker.is_late:
                    log.warning("%s did not close in %g s: ended", worker.name, CLOSING_SECONDS)
            except Exception as error:
                failures.append(error)
        self._at_exit()
        for worker in self._workers:
            worker.hang_up()
        if failures:
            raise failures[0]

    def _settle(self) -> None:
        """Before arrays are written: whoever still does what was broken off (Ctrl-C) ends that."""
        if self.closed:
            raise HeredityError("this vector of environments is closed: make another one")
        for worker in self._workers:
            if not worker.is_listening:
                with contextlib.suppress(WorkerDied):  # told once it is asked for something
                    worker.catch_up()

    def _ask(self, command: bytes, asked: Sequence[WorkerHandle]) -> list[WorkerHandle]:
        """Have some workers do something all at once.

        Returns:
            Those that died of it, or before: already replaced, their environments `lost`.
        """
        died: list[WorkerHandle] = []
        failures: list[Exception] = []
        for worker in asked:
            try:
                worker.tell(command)
            except WorkerDied:
                died.append(worker)
        for worker in asked:
            if worker in died:
                continue
            try:
                names = worker.receive()
                if command != RESET:
                    self._hear(worker, names)
                    worker.deaths = 0
            except WorkerDied:
                died.append(worker)
            except Exception as error:
                failures.append(error)
        for worker in died:
            self._replace(worker)
        if failures:
            raise failures[0]
        return died

    def _replace(self, worker: WorkerHandle) -> None:
        """Start a worker that died again; it is ready when this returns."""
        self.lost[worker.environments] = True
        self.any_lost = True
        self._told[:, worker.environments] = False
        ready = False
        while not ready:
            how = worker.end()
            worker.deaths = min(worker.deaths + 1, DEATHS_IN_A_ROW)
            if worker.deaths >= DEATHS_IN_A_ROW:
                raise _death(f"{worker.deaths} times without a step in between", worker, how)
            self.restarts += 1
            log.warning(
                "%s died (%s) and is started again, restart %s of this vector: what %s played is "
                "cut off",
                *(worker.name, how, self.restarts, in_words(worker.duty.indices)),
            )
            worker.start()
            try:
                worker.receive()
                ready = True
            except WorkerDied:
                continue
            except Exception:
                worker.end()
                raise


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shares(environments: int, workers: int) -> Iterator[range]:
    """Neighbours for each worker, as many for each as can be; no worker without any."""
    workers = min(workers, environments)
    for worker in range(workers):
        begin, end = (environments * w // workers for w in (worker, worker + 1))
        yield range(begin, end)


def _death(when: str, worker: WorkerHandle, how: str) -> HeredityError:
    return HeredityError(
        f"an environment's process died {when}: {worker.name} ({how}). "
        "Look for what it printed and whether memory ran out; a run that has a directory "
        "goes on with heredity resume"
    )
