"""What a command prints: tables for people, one JSON object for programs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console


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


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on standard output."""
    print(json.dumps(value, allow_nan=False))


def console() -> Console:
    """Where people read; standard output."""
    return Console(highlight=False)
