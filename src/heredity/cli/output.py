"""What a command prints: tables for people, one JSON object for programs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO, cast

from rich.console import Console

# So many characters of a hash are shown to people.
SHORT_HASH = 12
# More columns than any line has: where nobody looks, a line can be searched and cut.
ANY_WIDTH = 100_000


@contextlib.contextmanager
def only_json(wanted: bool) -> Iterator[None]:
    """While the block runs, whatever writes to standard output writes to standard error.

    Libraries print when they are imported; with ``--json`` the output has to be one object. The
    file descriptor itself is turned, so that C code is caught as well.

    Args:
        wanted: Whether ``--json`` was given.
    """
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


class OutputClosedError(Exception):
    """Whoever read standard output has closed it.

    Not an OSError, so that a pipe that breaks elsewhere (a worker's, a socket's) is not taken for
    it, and no library between takes it for its own business.
    """


class _Watched:
    """A stream that says of itself when nobody reads it any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As the stream does."""
        try:
            return self._stream.write(text)
        except BrokenPipeError as error:
            raise OutputClosedError from error

    def writelines(self, lines: Iterable[str]) -> None:
        """As the stream does."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """As the stream does."""
        try:
            self._stream.flush()
        except BrokenPipeError as error:
            raise OutputClosedError from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def told_when_closed() -> Iterator[None]:
    """While the block runs, and at its end, writing to a closed standard output is told.

    Raises:
        OutputClosedError: then.
    """
    watched = _Watched(sys.stdout)
    with contextlib.redirect_stdout(cast(TextIO, watched)):
        yield
        # Here and not at exit, where Python would only complain.
        watched.flush()


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on standard output."""
    print(json.dumps(value, allow_nan=False))


class _Trimmed(_Watched):
    """A stream whose lines do not end with the spaces that fill the last column of a table."""

    def write(self, text: str) -> int:
        """As the stream does."""
        return super().write(_AT_THE_END.sub("", text))


_AT_THE_END = re.compile(r" +(?=\n)")


def console() -> Console:
    """Where people read; standard output."""
    file = None if sys.stdout.isatty() else cast(TextIO, _Trimmed(sys.stdout))
    return Console(highlight=False, file=file)
