"""What a worker process does: it makes its environments, and steps them when it is told to."""

from __future__ import annotations

import dataclasses
import os
import pickle
import select
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from heredity.environments.batching import batch_for
from heredity.environments.exits import exits_told
from heredity.environments.gymnasium_checks import check_alike
from heredity.environments.infos import numbers
from heredity.environments.shared_arrays import SharedArrays
from heredity.environments.stepping import MISFITS, Stepper

Maker = Callable[[], gym.Env[Any, Any]]

# Ctrl-C in a terminal goes to every process of the group, and schedulers send SIGTERM to all of a
# job. Only the main process may answer, by saving first; workers that died of it would take along
# what was to be saved.
SIGNALS = (signal.SIGINT, signal.SIGTERM)

# What a worker is told, one byte; its environments' actions, seeds and mask stand in the arrays.
STEP, STEP_SOME, RESET, DRAW, CLOSE, ECHO = b"s", b"m", b"r", b"d", b"c", b"e"
TOKEN_BYTES = 16  # come after ECHO, and back as they are
# What it answers, one byte; after the last two comes something pickled, its length before it.
DONE, MORE, FAILED = b"D", b"M", b"F"
LENGTH_BYTES = 8

GRACE_SECONDS = 5.0  # to end by itself, for a worker whose program is gone
MOST_INFOS = 64  # numbers that an environment tells by name; what it tells besides is not heard


@dataclasses.dataclass(frozen=True)
class Duty:
    """What a worker is there for; goes to it when it starts.

    Args:
        makers: Make its environments; wrapped where they are lambdas, to be pickled.
        indices: Of its environments in the vector, neighbours.
        num_envs: How many there are in the whole vector.
        arrays: What the processes share; see `shared_layout`.
        id: What the environments are called, for errors.
        declared: What the vector was made for; see `heredity.environments.gymnasium_checks`.
    """

    makers: Sequence[Maker]
    indices: range
    num_envs: int
    arrays: SharedArrays
    id: str
    declared: tuple[Any, ...]


class Failure(NamedTuple):
    """An exception that an environment's own code raised.

    Args:
        told: What happened where, with the traceback.
        pickled: The exception, if it can be pickled.
    """

    told: str
    pickled: bytes | None


def shared_layout(
    sample: gym.Env[Any, Any], num_envs: int
) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and dtype of what is shared: one row of each array for each environment.

    What environments tell by name has a row for each name that a worker came across, and a column
    for each environment. A worker's first environment has in ``known`` how many of its names the
    main process has heard.

    Args:
        sample: One of the environments.
        num_envs: How many.
    """
    actions = sample.action_space
    return batch_for(sample.observation_space, num_envs).layout() | {
        "action": ((num_envs, *(actions.shape or ())), np.dtype(actions.dtype)),
        "seed": ((num_envs,), np.dtype("int64")),
        "mask": ((num_envs,), np.dtype("bool")),
        "reward": ((num_envs,), np.dtype("float32")),
        "terminated": ((num_envs,), np.dtype("bool")),
        "truncated": ((num_envs,), np.dtype("bool")),
        "info": ((MOST_INFOS, num_envs), np.dtype("float64")),
        "told": ((MOST_INFOS, num_envs), np.dtype("bool")),
        "known": ((num_envs,), np.dtype("int64")),
    }


def serve(line: socket.socket, duty: Duty) -> None:
    """Do what comes over the line, until it is `CLOSE` or the main process is gone."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_program, args=(line,), daemon=True).start()
    try:
        worker = _Worker(line, duty)
        going_on = worker.make(duty)
        while going_on and (command := line.recv(1)):
            going_on = worker.do(command)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the main process is gone, and nobody is left to be told


class _Worker:
    """The environments, and what can be done with them."""

    def __init__(self, line: socket.socket, duty: Duty) -> None:
        self._line = line
        self._indices = duty.indices
        arrays = duty.arrays
        mine = slice(duty.indices.start, duty.indices.stop)
        self._actions = arrays["action"][mine]
        self._seeds, self._mask = arrays["seed"], arrays["mask"]
        self._rewards = arrays["reward"][mine]
        self._terminated = arrays["terminated"][mine]
        self._truncated = arrays["truncated"][mine]
        self._info, self._told = arrays["info"][:, mine], arrays["told"][:, mine]
        self._known = arrays["known"][mine][:1]
        self._rows: dict[str, int] = {}  # of what was told so far, by name
        self._stepper: Stepper | None = None
        self._commands: dict[bytes, Callable[[Stepper], Any]] = {
            STEP: self._step,
            STEP_SOME: self._step_some,
            RESET: self._reset,
            DRAW: self._draw,
            CLOSE: Stepper.close,
        }

    def do(self, command: bytes) -> bool:
        """Obey; whether there is more to come."""
        if command == ECHO:
            self._line.sendall(self._line.recv(TOKEN_BYTES, socket.MSG_WAITALL))
            return True
        assert self._stepper is not None
        self._answer(self._commands[command], self._stepper)
        return command != CLOSE

    def make(self, duty: Duty) -> bool:
        """Make the environments; whether they are there."""
        return self._answer(self._make, duty)

    def _answer(self, act: Callable[..., Any], what: Duty | Stepper) -> bool:
        try:
            result = act(what)
        except Exception as error:
            self._send(FAILED, _failure(error, self._indices))
            return False
        if result is None:
            self._line.sendall(DONE)
        else:
            self._send(MORE, result)
        return True

    def _send(self, answer: bytes, what: Any) -> None:
        pickled = pickle.dumps(what)
        self._line.sendall(answer + len(pickled).to_bytes(LENGTH_BYTES, "little") + pickled)

    def _make(self, duty: Duty) -> None:
        with exits_told(duty.id, "__init__"):
            envs = [maker() for maker in duty.makers]
        check_alike(envs, duty.declared, duty.id, duty.indices.start)
        batch = batch_for(envs[0].observation_space, duty.num_envs)
        batch.adopt(duty.arrays)
        self._stepper = Stepper(envs, batch, duty.indices.start, duty.id)

    def _step(self, stepper: Stepper) -> list[str] | None:
        # A copy: an environment may keep its action, and the next ones are written over these.
        *told, infos = stepper.step(self._actions.copy())
        try:
            self._rewards[:], self._terminated[:], self._truncated[:] = told
            return self._tell(infos)
        except MISFITS:
            stepper.explain()
            raise

    def _step_some(self, stepper: Stepper) -> list[str] | None:
        infos: list[Mapping[str, Any]] = [{}] * len(self._indices)
        for own, index in enumerate(self._indices):
            if self._mask[index]:
                *told, infos[own] = stepper.step_one(index, self._actions[own].copy())
                self._rewards[own], self._terminated[own], self._truncated[own] = told
        return self._tell(infos)

    def _tell(self, infos: Sequence[Mapping[str, Any]]) -> list[str] | None:
        """Write down what the environments tell; the names that have not been heard yet."""
        if not self._rows and not any(infos):
            return None
        self._told[:] = False
        for own, info in enumerate(infos):
            for name, value in numbers(info):
                row = self._rows.setdefault(name, len(self._rows))
                if row < MOST_INFOS:
                    self._info[row, own] = value
                    self._told[row, own] = True
        return list(self._rows)[int(self._known[0]) : MOST_INFOS] or None

    def _reset(self, stepper: Stepper) -> None:
        for index in self._indices:
            if self._mask[index]:
                stepper.reset(index, int(self._seeds[index]))

    def _draw(self, stepper: Stepper) -> np.ndarray:
        return stepper.render()


def _end_with_the_program(line: socket.socket) -> None:
    """Wait until the program is gone; where an environment hangs by then, end all the same."""
    gone = select.poll()
    gone.register(line, 0)  # nothing but the end of the line
    gone.poll()
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def in_words(indices: range) -> str:
    """Those environments, for people.

    Example:
        >>> in_words(range(2, 4)), in_words(range(1))
        ('environments 2 to 3', 'environment 0')
    """
    if len(indices) == 1:
        return f"environment {indices.start}"
    return f"environments {indices.start} to {indices.stop - 1}"


def _failure(error: Exception, indices: range) -> Failure:
    told = f"in the process of {in_words(indices)}:\n{traceback.format_exc()}"
    try:
        return Failure(told, pickle.dumps(error))
    except Exception:  # whatever an exception carries may refuse in whatever way
        return Failure(told, None)
