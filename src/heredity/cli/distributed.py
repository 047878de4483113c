"""Options of a command that is one of several processes."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import sys
from collections.abc import Iterator
from typing import Annotated

import tyro

from heredity.cli.parsing import otherwise
from heredity.common.errors import LostProcessError, UsageError


@dataclasses.dataclass(frozen=True)
class Distributed:
    """Several processes, on one machine or many, that train together.

    The same command is started once for each; only the number of the process differs. They need to
    see the same folder when they resume.

    Args:
        coordinator: Where process 0 listens, HOST:PORT; or auto, for what SLURM, Open MPI or
            Kubernetes say.
        processes: How many there are.
        process: Which of them this is; 0 writes, and shows progress.
        resume_with: The command that goes on with the run, told when it is interrupted; a launcher
            gives it.
    """

    coordinator: Annotated[
        str | None, otherwise("default: a single process"), tyro.conf.arg(metavar="HOST:PORT")
    ] = None
    processes: Annotated[int | None, otherwise("needed unless auto")] = None
    process: Annotated[int | None, otherwise("needed unless auto")] = None
    resume_with: Annotated[
        str | None, otherwise("default: heredity resume"), tyro.conf.arg(metavar="COMMAND")
    ] = None

    def join(self) -> bool:
        """Take a place among the processes, if there are several; before JAX computes anything.

        Returns:
            Whether this process is the one that writes.

        Raises:
            UsageError: when it is not said which one this is.
            LostProcessError: when the others do not come.
        """
        if self.coordinator is None:
            if self.processes is not None or self.process is not None:
                raise UsageError(
                    "--distributed.coordinator is needed as well: where process 0 listens, such as "
                    "10.0.0.1:1234"
                )
            return True
        from heredity.training.processes import Processes, join

        join(self.coordinator, self.processes, self.process)
        if Processes().writes:
            return True
        logging.getLogger("heredity").setLevel(logging.WARNING)  # what all do, one tells
        return False

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Within the block, a process that loses the others ends at once.

        JAX would wait for them at the end of the process, and then abort it.
        """
        try:
            yield
        except LostProcessError as error:
            if self.coordinator is None:
                raise
            print(f"heredity: {error}", file=sys.stderr, flush=True)
            sys.stdout.flush()
            os._exit(error.exit_code)
