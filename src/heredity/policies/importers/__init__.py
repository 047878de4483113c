"""Policies of other libraries, from their files, without running what is in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from heredity.common.errors import UnknownNameError
from heredity.policies.importers.making import Imported
from heredity.policies.importers.options import ImportOptions
from heredity.policies.importers.sb3 import import_sb3

IMPORTERS: Mapping[str, Callable[[Path, ImportOptions], Imported]] = {
    "sb3": import_sb3,
}


def import_policy(path: str | Path, format: str, options: ImportOptions | None = None) -> Imported:
    """A policy from a file of another library. Nothing that is in the file is run.

    Args:
        path: Of the file or folder.
        format: sb3, rsl_rl, brax, cleanrl, dreamerv3 or safetensors.
        options: What the file does not say; what is missing is named after the file was read.

    Raises:
        RefusedError: when the file is broken, asks for anything but weights, or has what heredity
            cannot express.
        UsageError: naming everything that the file does not say and was not given.
        UnknownNameError: for an unknown format.
    """
    if format not in IMPORTERS:
        raise UnknownNameError("format", format, IMPORTERS)
    return IMPORTERS[format](Path(path), options or ImportOptions())


__all__ = ["IMPORTERS", "ImportOptions", "Imported", "import_policy"]
