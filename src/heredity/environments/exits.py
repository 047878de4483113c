"""Environments that want to end the whole program."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from heredity.common.errors import HeredityError
from heredity.common.own_code import own_line


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
        raise exit_error(error, owner, doing) from error


def exit_error(error: SystemExit, owner: str, doing: str) -> HeredityError:
    """The error about an environment that wanted to end the whole program."""
    code = "" if error.code is None else repr(error.code)
    return HeredityError(
        f"{owner} called sys.exit({code}) in {doing}{own_line(error)}, which would end the "
        "program: an environment that cannot go on raises another exception"
    )
