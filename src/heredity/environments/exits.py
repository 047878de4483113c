"""Environments that want to end the whole program."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator

from heredity.common.errors import HeredityError


@contextlib.contextmanager
def exits_told(owner: str, doing: str) -> Iterator[None]:
    """Within it, an environment that calls ``sys.exit`` is one that failed.

    Args:
        owner: What it is called.
        doing: What it did, such as ``reset``.

    Raises:
        HeredityError: instead of the exit.
    """
    try:
        yield
    except SystemExit as error:
        raise left(error, owner, doing) from error


def left(error: SystemExit, owner: str, doing: str) -> HeredityError:
    """The error about an environment that wanted to end the whole program."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return HeredityError(
        f"{owner} called sys.exit({'' if error.code is None else repr(error.code)}) in {doing} "
        f"({frame.filename}, line {frame.lineno}), which would end the program: an environment "
        "that cannot go on raises another exception"
    )
