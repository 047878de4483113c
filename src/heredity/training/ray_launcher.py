"""A run on a Ray cluster: the same command in each worker, started again when one is lost.

Ray finds the machines and notices who died. What is trained and how is the work of the command that
each worker runs, as one of several processes (`training.processes`); no data goes through Ray.
"""

from __future__ import annotations

import collections
import dataclasses
import importlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from heredity.common.errors import LostProcessError, MissingExtraError, UsageError
from heredity.common.group_folder import runs_in
from heredity.common.interruption import remember_interrupts
from heredity.training.addresses import check_answers, host_and_port

log = logging.getLogger("heredity")

# What of the end of its output is kept of a worker.
_LINES = 20
# Exit codes that say why, and would be the same again: wrong use, or refused input.
_REFUSED = (2, 3)
# Diverged, a full disk, or an error nobody caught: what was not the doing of a machine that went
# away would happen again.
_FAILED = 1
# Asked to stop by SIGTERM. Unless that came from here, a machine is being taken away.
_ASKED = 130
_PATIENCE_SECONDS = 90
_ANSWER_SECONDS = 5


@dataclasses.dataclass(frozen=True)
class RayCluster:
    """Where the workers of a run are.

    Args:
        workers: How many processes train together.
        cpus: Of each worker.
        gpus: Of each worker.
        address: Of a cluster that is running; auto for the one this machine belongs to. Default: a
            cluster of this machine alone, for as long as the run takes.
        restarts: How often in a row the workers are started again, from the last checkpoint, after
            one was lost; a new checkpoint begins a new count.
    """

    workers: int = 2
    cpus: float = 1.0
    gpus: float = 0.0
    address: str | None = None
    restarts: int = 3

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("cpus", 0), ("gpus", 0), ("restarts", 0)):
            value = getattr(self, name)
            if value < least:
                raise UsageError(f"{name} {value!r}: a number >= {least} was expected")


class Worker:
    """Runs a command in a process of its own; lives in a worker of Ray.

    The command has the main thread of its process, which signals and JAX want, and ends when this
    does: it reads a pipe that nobody writes to.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._last: collections.deque[str] = collections.deque(maxlen=_LINES)
        self._untold: list[str] = []
        self._lock = threading.Lock()

    def address(self) -> str:
        """A host and port that the others can reach, for the coordinator."""
        ray: Any = importlib.import_module("ray")
        with socket.socket() as free:
            free.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"

    def run(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Run ``heredity`` with these arguments to its end.

        Returns:
            The exit code, and the last lines that it printed.
        """
        process = subprocess.Popen(
            [sys.executable, "-m", "heredity.cli.leashed", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._process = process
        with process:
            assert process.stderr is not None
            for line in process.stderr:
                with self._lock:
                    self._untold.append(line)
                    self._last.append(line)
            process.wait()  # before the pipe that it hangs on is closed
        return process.returncode, "".join(self._last)

    def told(self) -> str:
        """What was printed since this was asked the last time."""
        with self._lock:
            lines, self._untold = self._untold, []
        return "".join(lines)

    def interrupt(self) -> None:
        """Ask the command to save and leave."""
        if self._process is not None:
            self._process.terminate()


def launch(begin: Sequence[str], go_on: Sequence[str], directory: Path, cluster: RayCluster) -> int:
    """Run a command in all workers, and go on in new ones when some are lost.

    Args:
        begin: The first command, without what says which process it is.
        go_on: The one after a loss, once the run has begun.
        directory: Of the run; all workers see it.
        cluster: Where the workers are.

    Returns:
        The exit code.

    Raises:
        MissingExtraError: when Ray is not installed.
        LostProcessError: when more workers were lost in a row than the run may lose.
    """
    ray: Any  # whose own types are of another kind
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise MissingExtraError("--launcher ray", "ray", str(error)) from None

    _check_address(cluster.address)
    local = cluster.address is None
    if local:
        # Neither a server for a browser nor reports to Ray's makers, for a cluster of minutes.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    needed = {"num_cpus": max(cluster.workers * cluster.cpus, 1)} if local else {}
    try:
        ray.init(
            cluster.address,
            include_dashboard=False if local else None,
            logging_level=logging.ERROR,
            log_to_driver=False,
            **needed,
        )
    except ConnectionError as error:
        raise UsageError(f"ray address {cluster.address!r}: {error}") from None
    remember_interrupts()  # Ray has taken SIGTERM
    try:
        return _until_done(
            lambda command: _together(ray, command, cluster),
            (begin, go_on),
            directory,
            cluster.restarts,
        )
    finally:
        ray.shutdown()


def _check_address(address: str | None) -> None:
    """See that a cluster answers there: Ray itself waits for minutes."""
    if address is None or address in ("auto", "local"):
        return
    scheme, slashes, rest = address.rpartition("://")
    if slashes and scheme != "ray":
        return  # of a service that Ray knows
    parts = host_and_port(rest)
    if parts is None:
        raise UsageError(
            f"ray address {address!r}: auto, or a host and a port such as 10.0.0.1:6379 were "
            "expected"
        )
    check_answers(f"ray address {address!r}", *parts, seconds=_ANSWER_SECONDS)


def _until_done(
    run: Callable[[Sequence[str]], tuple[int | None, str]],
    commands: tuple[Sequence[str], Sequence[str]],
    directory: Path,
    restarts: int,
) -> int:
    """Run a command, and after each loss the one that goes on.

    Args:
        run: Gives an exit code, None after a loss; and what is known of why.
        commands: To begin, and to go on.
        directory: Of the run.
        restarts: How often in a row, without a new checkpoint in between.

    Raises:
        LostProcessError: when there were more.
    """
    command, go_on = commands
    in_a_row, newest = 0, _newest_step(directory)
    while True:
        code, told = run(command)
        if code is not None:
            return code
        log.warning("a worker was lost%s", f": {told}" if told else "")
        before, newest = newest, _newest_step(directory)
        in_a_row = 1 if newest > before else in_a_row + 1
        if in_a_row > restarts:
            raise LostProcessError(
                f"workers were lost {in_a_row} times without a new checkpoint in between, and the "
                f"run may be started again {restarts} times (--ray.restarts); its last checkpoint "
                "is whole"
            )
        if (directory / "config.json").exists():
            command = go_on


def _newest_step(directory: Path) -> int:
    """Of the checkpoints of a run; -1 as long as there is none."""
    steps = [step for folder in runs_in(directory) for step in folder.checkpoint_steps()]
    return max(steps, default=-1)


def _together(ray: Any, command: Sequence[str], cluster: RayCluster) -> tuple[int | None, str]:
    """Run a command in all workers.

    Returns:
        The exit code, None when a worker was lost; and the last line of what says why.
    """
    kind = ray.remote(num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_concurrency=3)(Worker)
    workers = [kind.remote() for _ in range(cluster.workers)]
    try:
        coordinator = ray.get(workers[0].address.remote())
        place = ("--distributed.coordinator", coordinator)
        place += ("--distributed.processes", str(cluster.workers), "--distributed.process")
        ends = [
            worker.run.remote([*command, *place, str(index)])
            for index, worker in enumerate(workers)
        ]
        return _outcome(ray, workers[0], ends)
    except ray.exceptions.RayActorError as error:
        return None, str(error).partition("\n")[0]
    finally:
        for worker in workers:
            ray.kill(worker)


def _outcome(ray: Any, first: Any, ends: Sequence[Any]) -> tuple[int | None, str]:
    """Show what the first worker prints until all have ended, or some were lost."""

    def show() -> None:
        print(ray.get(first.told.remote()), end="", file=sys.stderr, flush=True)

    asked = False
    codes: list[int] = []
    problems: list[str] = []
    pending = list(ends)
    waited = 0.0
    while pending and waited < _PATIENCE_SECONDS:
        try:
            done = ray.wait(list(pending), timeout=0.5)[0]
        except KeyboardInterrupt:
            # All of them save and leave when one is asked to.
            asked, done = True, []
            ray.get(first.interrupt.remote())
        for end in done:
            pending.remove(end)
            try:
                code, told = ray.get(end)
            except ray.exceptions.RayActorError as error:
                code, told = -9, str(error)
            codes.append(code)
            if code:
                problems.append((told.strip().splitlines() or [f"exit code {code}"])[-1])
        # Those that are left end by themselves: JAX tells them that they are alone.
        waited += 0.5 if problems else 0.0
        if not any(code < 0 for code in codes):
            show()
    code = exit_code(codes, asked=asked, all_ended=not pending)
    return code, "" if code is not None or not problems else problems[0]


def exit_code(codes: Sequence[int], *, asked: bool, all_ended: bool) -> int | None:
    """What the exit codes of the workers come to; None when one was lost and all begin again.

    Args:
        codes: Of those that ended.
        asked: Whether the run was asked to stop from here.
        all_ended: Whether all did.

    Example:
        >>> exit_code([0, 0], asked=False, all_ended=True)
        0
        >>> exit_code([130, 130], asked=True, all_ended=True)
        130
        >>> exit_code([130, 130], asked=False, all_ended=True)  # a machine was taken away
    """
    if all_ended and not any(codes):
        return 0
    if refused := [code for code in codes if code in _REFUSED]:
        return refused[0]
    # Who loses the others may fail of it. JAX aborts a process whose coordinator is gone, so that
    # SIGABRT comes of a failure as well.
    gone = [code for code in codes if code == _ASKED or (code < 0 and code != -signal.SIGABRT)]
    if _FAILED in codes and (asked or not gone):
        return _FAILED
    return _ASKED if asked else None
