"""Reading files that anybody may have put there: only what is a file, and no more than it may hold.

A name in a run or policy folder may be a pipe that nobody writes into, or a link to a device
without an end; opening the one waits for ever, reading the other takes all memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

from heredity.common.errors import RefusedError

MOST_TEXT = 256 * 2**20  # bytes; a scene with its meshes is the largest JSON there is
MOST_TABLE = 2**30  # bytes of metrics.csv or evaluations.npz
_PIECE = 2**20  # bytes
ANOTHER_COPY = "Use another copy or an earlier checkpoint"


def _refused(path: Path, problem: str) -> RefusedError:
    return RefusedError(path, problem, ANOTHER_COPY)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


@contextlib.contextmanager
def open_regular(path: Path, *, most: int | None = None) -> Iterator[io.BufferedReader]:
    """Open a file to read its bytes, if it is one.

    Args:
        path: Of the file; a link is followed.
        most: Bytes that it may hold; None for any number.

    Raises:
        RefusedError: when it is missing, no regular file, or too large; when it cannot be read,
            then or in the block.
    """
    try:
        stream = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - closed below
    except (FileNotFoundError, NotADirectoryError, ValueError):  # or a name with a zero in it
        raise _refused(path, "is missing") from None
    except OSError as error:
        raise _refused(path, f"cannot be read ({error.strerror})") from None
    with stream:
        # What was opened is looked at, because what the name leads to may change.
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _refused(path, "is a pipe, socket or device, a file was expected")
        if most is not None and status.st_size > most:
            raise _refused(path, f"holds {status.st_size:,} bytes, at most {most:,} were expected")
        try:
            yield stream
        except OSError as error:  # a bad sector
            raise _refused(path, f"cannot be read ({error.strerror or error})") from None


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """A text file's content byte for byte.

    Args:
        path: Of the file.
        most: Bytes that it may hold.

    Raises:
        RefusedError: when it is missing, no regular file, too large, or not UTF-8.
    """
    with open_regular(path, most=most) as stream:
        # In binary, because text mode takes "\r" for "\n", so that an altered byte would not be
        # seen; and no more than that, because some files of the kernel's give more than they say.
        content = stream.read(most)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise _refused(path, f"is not UTF-8 text ({error.reason})") from None


def read_bytes(path: Path, most: int) -> bytes:
    """A file's bytes.

    Args:
        path: Of the file.
        most: Bytes that it may hold.

    Raises:
        RefusedError: when it is missing, no regular file, or too large.
    """
    content = bytearray()
    with open_regular(path, most=most) as stream:
        # In pieces: room for all that it may hold is not asked for at once, and a file that gives
        # more than its size says ends there as well.
        while len(content) <= most and (piece := stream.read(_PIECE)):
            content += piece
    if len(content) > most:
        raise _refused(path, f"holds more than {most:,} bytes")
    return bytes(content)


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes in hexadecimal.

    Raises:
        RefusedError: when it is missing, no regular file, or cannot be read.
    """
    return hash_and_state(path)[0]


FileState: TypeAlias = tuple[int, ...]
"""Device, number, size and time of the last change: what other bytes do not have."""


def file_state(stream: io.BufferedReader) -> FileState:
    """Which file a stream reads, and since when it has these bytes."""
    status = os.fstat(stream.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def open_unchanged(path: Path, state: FileState) -> Iterator[io.BufferedReader]:
    """Open a file that was read before, if it still is what it was, then and after the block.

    Args:
        path: Of the file.
        state: What `file_state` said before.

    Raises:
        RefusedError: when it was replaced or written to; otherwise as `open_regular`.
    """
    with open_regular(path) as stream:
        _check_state(path, stream, state)
        yield stream
        _check_state(path, stream, state)


def _check_state(path: Path, stream: io.BufferedReader, state: FileState) -> None:
    if file_state(stream) != state:
        raise RefusedError(
            path, "was changed while it was read", "Read it again when nobody writes to it"
        )


def check_unchanged(path: Path, state: FileState) -> None:
    """See that a file is still what it was.

    Args:
        path: Of the file.
        state: What `file_state` said before.

    Raises:
        RefusedError: when it was replaced or written to.
    """
    with open_unchanged(path, state):
        pass


def hash_and_state(path: Path) -> tuple[str, FileState]:
    """The SHA-256 of a file's bytes, and the state of the file that had them.

    Raises:
        RefusedError: when it is missing, no regular file, cannot be read, or is written to.
    """
    with open_regular(path) as stream:
        state = file_state(stream)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        _check_state(path, stream, state)
    return digest, state


def hash_beside(path: Path, state: FileState) -> Future[str]:
    """The SHA-256 of a file's bytes, computed by another thread while this one does other work.

    Args:
        path: Of the file.
        state: What `file_state` said when it was read.

    Returns:
        Its `result()` waits; it raises RefusedError for a file that is another one by then.
    """

    def digest() -> str:
        with open_unchanged(path, state) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    pool = ThreadPoolExecutor(1, "sha256")
    found = pool.submit(digest)
    pool.shutdown(wait=False)
    return found


def check_hash(path: Path, expected: object, record: str) -> None:
    """See that a file's bytes are those that a record speaks of.

    Args:
        path: Of the file.
        expected: Their SHA-256 in hexadecimal.
        record: What says so, for the error.

    Raises:
        RefusedError: when it is missing, cannot be read, or has other bytes.
    """
    found = sha256_file(path)
    if found != expected:
        raise _refused(
            path,
            f"was altered or torn: {record} says sha256 {str(expected)[:12]}…, "
            f"its bytes give {found[:12]}…",
        )
