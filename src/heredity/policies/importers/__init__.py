"""Policies of other libraries, from their files, without running what is in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from heredity.common.errors import RefusedError, UnknownNameError, UsageError
from heredity.policies.importers.brax import import_brax
from heredity.policies.importers.cleanrl import import_cleanrl
from heredity.policies.importers.dreamerv3 import (
    DreamerCheckpoint,
    import_dreamerv3,
    read_dreamerv3,
)
from heredity.policies.importers.looks import looks_like
from heredity.policies.importers.making import Imported
from heredity.policies.importers.options import ImportOptions, rules_from_json
from heredity.policies.importers.rsl_rl import import_rsl_rl
from heredity.policies.importers.sb3 import import_sb3
from heredity.policies.importers.tensors import import_safetensors


@dataclasses.dataclass(frozen=True)
class Importer:
    """A format that can be imported.

    Args:
        read: From a file and what was said to a policy.
        takes: What may be said about it; anything else is an error, not ignored.
    """

    read: Callable[[Path, ImportOptions], Imported]
    takes: frozenset[str]


_OF_ALL = {"environment", "observation_space", "sha256", "observation_names"}

IMPORTERS: Mapping[str, Importer] = {
    "sb3": Importer(import_sb3, frozenset({*_OF_ALL, "normalizer"} - {"observation_space"})),
    "rsl_rl": Importer(
        import_rsl_rl, frozenset({*_OF_ALL, "activation", "action_bounds", "critic"})
    ),
    "brax": Importer(import_brax, frozenset({*_OF_ALL, "activation", "normalizer"})),
    "cleanrl": Importer(
        import_cleanrl,
        frozenset({*_OF_ALL, "activation", "action_bounds", "normalizer", "observation_clip"}),
    ),
    "dreamerv3": Importer(import_dreamerv3, frozenset({"sha256"})),
    "safetensors": Importer(import_safetensors, frozenset({"sha256", "spec", "rules", "allow"})),
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
        UsageError: naming everything that the file does not say and was not given; for what a
            format does not take.
        UnknownNameError: for an unknown format.

    Example:
        >>> import_policy("model.zip", "sb4")
        Traceback (most recent call last):
        heredity.common.errors.UnknownNameError: unknown format 'sb4': did you mean 'sb3'? ...
    """
    if format not in IMPORTERS:
        raise UnknownNameError("format", format, IMPORTERS)
    options = options or ImportOptions()
    importer = IMPORTERS[format]
    fresh = ImportOptions()
    for field in dataclasses.fields(options):
        was_given = getattr(options, field.name) != getattr(fresh, field.name)
        if was_given and field.name not in importer.takes:
            raise UsageError(
                f"--{field.name.replace('_', '-')} is nothing that {format} files take: they say "
                "it themselves, or have no use for it. Leave it out"
            )
    path = Path(path)
    if not path.exists():
        raise RefusedError(path, "is missing (no such file or folder)", "Check the path")
    try:
        return importer.read(path, options)
    except RefusedError as error:
        others = looks_like(path)
        if not others or format in others:
            raise
        wanted = " or ".join(f"--format {other}" for other in others)
        raise RefusedError(
            error.path, error.problem, f"It does not look like {format}: try {wanted}"
        ) from error


__all__ = [
    "IMPORTERS",
    "DreamerCheckpoint",
    "ImportOptions",
    "Imported",
    "Importer",
    "import_policy",
    "read_dreamerv3",
    "rules_from_json",
]
