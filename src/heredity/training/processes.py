"""Several processes that train one policy together, each with devices of its own.

All of them run the same programs in the same order: a program that one of them leaves out makes the
others wait. So whatever a process finds out by itself (a signal, a clock, a score) is made common
before anybody acts on it. Process 0 writes; the others read, when they resume.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from heredity.common.errors import HeredityError, LostProcessError, UsageError
from heredity.environments import Environment, JaxEnvironment
from heredity.training.addresses import check_free, claim, host_and_port
from heredity.training.settings import RunSettings

Result = TypeVar("Result")
log = logging.getLogger("heredity")

# What a process waits at its end for others to end as well, and until one that says nothing is
# taken for lost.
SHUTDOWN_SECONDS = 10
ENDING = (signal.SIGINT, signal.SIGTERM)
HEARTBEAT_SECONDS = 30

# How what JAX says of a program that failed begins.
_STATUS = re.compile("(ABORTED|CANCELLED|DEADLINE_EXCEEDED|INTERNAL|UNAVAILABLE|UNKNOWN): ")

# Claims of this process, for as long as it lives.
_held = contextlib.ExitStack()


def join(coordinator: str, processes: int | None, process: int | None, wait: int = 300) -> None:
    """Make this one of several processes; before anything is computed with JAX.

    Args:
        coordinator: Where process 0 listens, ``host:port``; or ``auto``, for what SLURM, Open MPI
            or Kubernetes say.
        processes: How many there are; None with ``auto``.
        process: Which of them this is, from 0; None with ``auto``.
        wait: Seconds until all others must be there.

    Raises:
        UsageError: when something is missing.
        LostProcessError: when the others do not come.
    """
    auto = coordinator == "auto"
    if not auto and (processes is None or process is None):
        raise UsageError(
            f"coordinator {coordinator!r}: how many processes there are and which one this is are "
            "needed as well (--distributed.processes, --distributed.process)"
        )
    if not auto and not 0 <= (process or 0) < (processes or 0):
        raise UsageError(f"process {process} of {processes}: one from 0 on was expected")
    if not auto and host_and_port(coordinator) is None:
        raise UsageError(
            f"coordinator {coordinator!r}: a host and a port such as 10.0.0.1:1234 were expected"
        )
    with contextlib.ExitStack() as unless_joined:
        if not auto and process is not None:
            claimed = claim(coordinator, process)
            if claimed is not None:
                unless_joined.enter_context(claimed)
            if process == 0:
                check_free(coordinator)
        whose = "" if auto else f"this is process {process} of {processes}; "
        told = "waiting up to %s s for the other processes; %sprocess 0 is at %s"
        log.info(told, wait, whose, coordinator)
        _join(coordinator, processes, process, wait)
        _held.enter_context(unless_joined.pop_all())


def _join(coordinator: str, processes: int | None, process: int | None, wait: int) -> None:
    auto = coordinator == "auto"
    # SIGTERM is ours: see `training.signals`.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        with _signals_end():
            jax.distributed.initialize(
                None if auto else coordinator,
                processes,
                process,
                initialization_timeout=wait,
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
                shutdown_timeout_seconds=SHUTDOWN_SECONDS,
            )
    except ValueError as error:
        raise UsageError(f"coordinator {coordinator!r}: {error}") from None
    except RuntimeError as error:
        told = str(error).partition("\n")[0]
        raise LostProcessError(
            f"the processes of the run did not find each other: {told}. Each needs a number of its "
            "own (--distributed.process), and has to reach process 0"
        ) from None


@contextlib.contextmanager
def _signals_end() -> Iterator[None]:
    """Within the block, a signal ends the process: JAX waits where Python does not hear of it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_divided(
    where: str, processes: int, host: str | None, seeds: int, on_divergence: str
) -> None:
    """See that several devices, or processes, can do what is asked for.

    Args:
        where: What they are.
        processes: How many.
        host: Name of the environment, if it is no JAX program.
        seeds: Of the run.
        on_divergence: Of the run.

    Raises:
        UsageError: when they cannot.
    """
    if host is not None:
        raise UsageError(
            f"{where} in {host}: only JAX programs (brax, gymnax, Playground) are divided among "
            "devices"
        )
    if seeds > 1:
        raise UsageError(
            f"seeds {seeds} on {where}: several seeds share one device; start a run for each seed "
            "to use several"
        )
    if processes > 1 and on_divergence == "rollback":
        raise UsageError(
            f"on_divergence rollback with {processes} processes: they stop together; use "
            "on_divergence stop, and resume"
        )


class Processes:
    """The processes of a run, this one among them. A single one has nobody to ask.

    Attributes:
        count: How many.
        index: Which of them this is; 0 writes.
    """

    def __init__(self) -> None:
        self.count = jax.process_count()
        self.index = jax.process_index()

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes files."""
        return self.index == 0

    def check(self, environment: Environment, settings: RunSettings, devices: int) -> None:
        """See that several devices can do what is asked for.

        Args:
            environment: To be trained in.
            settings: Of the run.
            devices: Of all processes.

        Raises:
            UsageError: when they cannot.
        """
        if devices == 1:
            return
        named = None
        if not isinstance(environment, JaxEnvironment):
            named = environment.spec.id if environment.spec else "this environment"
        where = f"{devices} devices" + (f" of {self.count} processes" if self.count > 1 else "")
        check_divided(where, self.count, named, settings.seeds, settings.on_divergence)

    # --- what is made common ----------------------------------------------------------------------

    def any(self, flag: bool) -> bool:
        """Whether a flag is set in any of them."""
        if self.count == 1:
            return flag
        return bool(np.any(multihost_utils.process_allgather(np.array([flag], np.uint8))))

    def first(self, values: np.ndarray) -> np.ndarray:
        """The values of process 0; all have the same shape and dtype."""
        if self.count == 1:
            return values
        # As bytes: JAX would make 32 bits of 64.
        given = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        found = np.asarray(multihost_utils.broadcast_one_to_all(given))
        return np.frombuffer(found.tobytes(), values.dtype).reshape(values.shape)

    def first_int(self, value: int) -> int:
        """The number of process 0."""
        return int(self.first(np.array(value, np.int64)))

    def first_json(self, value: Any) -> Any:
        """What process 0 has; anything that JSON can tell."""
        if self.count == 1:
            return value
        told = json.dumps(value).encode()
        length = self.first_int(len(told))
        mine = told if self.writes else bytes(length)
        return json.loads(self.first(np.frombuffer(mine, np.uint8)).tobytes())

    def first_does(self, action: Callable[[], Result]) -> Result | None:
        """Have process 0 do something that can fail, before any of them goes on.

        Returns:
            What it gave in process 0; None in others.

        Raises:
            HeredityError: in the others when it failed; in process 0 whatever it failed with.
        """
        result, failed = None, None
        if self.writes:
            try:
                result = action()
            except Exception as error:  # of any kind: the others wait to be told
                failed = error
        if self.any(failed is not None):
            raise failed or HeredityError("process 0 has stopped: it says why")
        return result

    @contextlib.contextmanager
    def losses_told(self) -> Iterator[None]:
        """Within the block, what JAX says of a lost process becomes an error of ours.

        Raises:
            LostProcessError: when a program that all take part in failed.
        """
        try:
            yield
        except (jax.errors.JaxRuntimeError, ValueError) as error:
            # A program that ends with such a status is a ValueError where it runs at once.
            from_jax = isinstance(error, jax.errors.JaxRuntimeError) or _STATUS.match(str(error))
            if self.count == 1 or not from_jax:
                raise
            told = str(error).partition("\n")[0]
            raise LostProcessError(
                f"process {self.index} of {self.count} cannot go on: another one was lost, or a "
                f"program failed ({told}). Resume in all of them, from the last checkpoint; a run "
                "that has none yet begins anew"
            ) from error
