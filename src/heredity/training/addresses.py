"""Addresses that processes find each other at, ``host:port``."""

from __future__ import annotations

import errno
import hashlib
import socket
import sys

from heredity.common.errors import UsageError


def host_and_port(text: str) -> tuple[str, int] | None:
    """The parts of ``host:port``; None for anything else.

    Example:
        >>> host_and_port("10.0.0.1:1234"), host_and_port("[::1]:80"), host_and_port("10.0.0.1")
        (('10.0.0.1', 1234), ('::1', 80), None)
    """
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        return None
    return host.removeprefix("[").removesuffix("]"), int(port)


def check_answers(what: str, host: str, port: int, seconds: float) -> None:
    """See that somebody listens, where a library would wait for minutes.

    Args:
        what: Who is expected there.
        host: Where.
        port: Where.
        seconds: How long to wait for an answer.

    Raises:
        UsageError: when nobody does.
    """
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(f"{what}: nobody answers at {host}:{port} ({why})") from None


def check_free(coordinator: str) -> None:
    """See that the port which process 0 is to listen on is free here.

    JAX shares a port with whoever allows it, so that two of them would wait for each other's
    processes.

    Raises:
        UsageError: when somebody listens there.
    """
    parts = host_and_port(coordinator)
    assert parts is not None
    with socket.socket() as trial:
        # So that a run which has just ended is in nobody's way; a listener is all the same.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("", parts[1]))
        except OSError as error:
            raise UsageError(
                f"coordinator {coordinator!r}: port {parts[1]} cannot be had here "
                f"({error.strerror}): is process 0 running already? Give each process a number of "
                "its own, and process 0 a free port"
            ) from None


def claim(coordinator: str, process: int) -> socket.socket | None:
    """Be the one process of this machine that has a number in a run, until this one ends.

    JAX aborts processes of which another has the number, without a word of Python. On other
    machines it cannot be seen before.

    Args:
        coordinator: Of the run.
        process: The number.

    Returns:
        What holds the claim until it is closed; None where there are no names that end with their
        process.

    Raises:
        UsageError: when another process of this machine has it.
    """
    if sys.platform != "linux":
        return None
    name = hashlib.sha256(f"{coordinator} {process}".encode()).hexdigest()[:32]
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind(f"\0heredity-{name}")
    except OSError as error:
        holder.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise UsageError(
            f"process {process}: another process of this machine is process {process} of the run "
            f"at {coordinator} already; give each a number of its own (--distributed.process)"
        ) from None
    return holder
