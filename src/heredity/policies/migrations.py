"""Files of earlier schemas, brought up to the current one when they are read.

A release that changes a file format raises its ``SCHEMA_VERSION`` and adds the way there from the
version before. Ways are walked one after the other, so each is written once and never again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from heredity.common.errors import RefusedError

FileKind: TypeAlias = Literal["config", "lineage"]
Migration: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]

# By kind of file and by the version that is left behind; each gives the content of the next one.
MIGRATIONS: Mapping[FileKind, Mapping[int, Migration]] = {"config": {}, "lineage": {}}


def migrate(kind: FileKind, value: dict[str, Any], newest: int, path: Path) -> dict[str, Any]:
    """The content of a file as the newest schema would have it.

    Args:
        kind: Which file it is from.
        value: Its content, seal and ``schema_version`` checked.
        newest: The schema to arrive at.
        path: Of the file, for the error.

    Raises:
        RefusedError: when no way leads there, or the content is not what its schema says.
    """
    for version in range(value["schema_version"], newest):
        migration = MIGRATIONS[kind].get(version)
        if migration is None:
            raise RefusedError(
                path,
                f"has schema_version {version}, which this release cannot bring up to {newest}",
                "Read and save it with the release that wrote it and those after it",
            )
        try:
            value = {**migration(dict(value)), "schema_version": version + 1}
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise RefusedError(
                path, f"is not as schema_version {version} says ({error!r})"
            ) from error
    return value
