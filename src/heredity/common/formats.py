"""File formats with a version: what this release writes, and the way up from older files.

Every such file names its ``schema_version``. A release that changes a format raises its `newest`
and adds a migration from the version before; older files are brought up in memory when they are
read, one version after the other, and stay as they are on disk. Seals and hashes are checked
before that, on what was written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from heredity.common.errors import RefusedError
from heredity.common.files import SEAL_KEY, check_seal, parse_json
from heredity.common.reading import read_text

Migration: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Format:
    """One kind of file through all its versions.

    Args:
        kind: What such a file is, for errors.
        newest: The version that this release writes, and the last one that it reads.
        name: What the header of a safetensors file calls it; empty for JSON.
        migrations: By the version that is left behind; each gives the content (the JSON object, or
            the tensors by name) of the next one.

    Example:
        >>> house = Format("a house", newest=2)
        >>> house.migrations[1] = lambda old: {"rooms": old["chambers"]}
        >>> house.migrate({"chambers": 3}, 1, Path("house.json"))
        {'rooms': 3}
    """

    kind: str
    newest: int = 1
    name: str = ""
    migrations: dict[int, Migration] = dataclasses.field(default_factory=dict)

    def read(self, path: Path, *, sealed: bool = False) -> dict[str, Any]:
        """Read a JSON file of this format, as this release would have written it.

        Args:
            path: Of the file.
            sealed: Whether it must have a seal; one that is there is always checked.

        Raises:
            RefusedError: when it is missing, torn, altered, from the future, or not what its
                version says.
        """
        text = read_text(path)
        value = parse_json(text, path)
        # Before the seal, which a later version may take in another way.
        version = self.check(value.get("schema_version"), path)
        if sealed or SEAL_KEY in value:
            value = check_seal(text, path)
        return {**self.migrate(value, version, path), "schema_version": self.newest}

    @property
    def header(self) -> dict[str, str]:
        """The metadata of a safetensors file of this format."""
        return {"format": self.name, "schema_version": str(self.newest)}

    def check_header(self, metadata: Mapping[str, str], path: Path) -> int:
        """The version of a safetensors file, from the metadata of its header.

        Raises:
            RefusedError: when it is of another format, has no version, or is from the future.
        """
        if metadata.get("format") != self.name:
            raise RefusedError(
                path,
                f"was not written as {self.kind}: its header says format "
                f"{metadata.get('format')!r}, {self.name!r} was expected",
            )
        written = metadata.get("schema_version", "")
        whole = written.isascii() and written.isdecimal() and len(written) < 10
        return self.check(int(written) if whole else written, path)

    def check(self, version: object, path: Path) -> int:
        """The version that a file says it has, if this release may know it.

        Raises:
            RefusedError: when it is missing, not a whole number, or from the future.
        """
        if not isinstance(version, int) or isinstance(version, bool) or version < 0:
            raise RefusedError(path, f"has schema_version {version!r}, a whole number was expected")
        if version > self.newest:
            raise RefusedError(
                path,
                f"has schema_version {version} of {self.kind}, "
                f"this release reads up to {self.newest}",
                "Upgrade heredity to read it",
            )
        return version

    def migrate(self, value: dict[str, Any], version: int, path: Path) -> dict[str, Any]:
        """Content of a checked version, seal and hashes checked too, as the newest would have it.

        Raises:
            RefusedError: when no way leads there, or the content is not what its version says.
        """
        for left in range(version, self.newest):
            migration = self.migrations.get(left)
            if migration is None:
                raise RefusedError(
                    path,
                    f"has schema_version {left} of {self.kind}, "
                    f"which this release cannot bring up to {self.newest}",
                    "Read and save it with the release that wrote it and those after it",
                )
            try:
                value = migration(dict(value))
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                raise RefusedError(
                    path, f"is not as schema_version {left} says ({error!r})"
                ) from error
        return value


def _networks_of_their_own(run: dict[str, Any]) -> dict[str, Any]:
    """Until schema 1 of a run, settings of networks stood among those of the algorithm."""
    if not isinstance(run.get("settings"), Mapping):
        return run  # whoever needs them will miss them
    settings = dict(run["settings"])
    names = {"actor_hidden": "hidden"}
    network = {
        names.get(name, name): settings.pop(name)
        for name in (
            "actor_hidden",
            "critic_hidden",
            "activation",
            "kernel_init",
            "actor_output_scale",
        )
        if name in settings
    }
    return {**run, "settings": {**settings, "network": {"kind": "mlp", **network}}}


def _ages_of_all_stages(state: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 named the age of the optimiser by whether there had been an unfreezing."""
    now = "optimizer/1/count"
    before = [path for path in (now, f"{now}s") if path in state]
    rest = {path: leaf for path, leaf in state.items() if path not in before}
    return {**rest, now: state[before[0]].reshape(-1)} if before else rest


RUN = Format("a run", 2, migrations={1: _networks_of_their_own})  # config.json of a run folder
CHECKPOINT = Format(  # training_state/manifest.json
    "a checkpoint", 2, migrations={1: lambda manifest: {**manifest, "shared": {}}}
)
TRAINING_STATE = Format(  # state.safetensors
    "a training state", 2, name="heredity.training_state", migrations={1: _ages_of_all_stages}
)
REPLAY = Format("a segment of a replay", name="heredity.replay")  # training_state/replay/
EVALUATION = Format("an evaluation")  # evaluation.json of a snapshot
RECORDING = Format("a recording")  # recording.json, which speaks for recording.safetensors too
OPEN_LOOP = Format("what a world model imagined")  # open_loop.json, for its safetensors file too
POLICY = Format(  # config.json of a policy folder
    "a policy", 2, migrations={1: lambda policy: {**policy, "trunk": None}}
)
WEIGHTS = Format("the weights of a policy", name="heredity.policy")  # model.safetensors
LINEAGE = Format("a lineage")  # lineage.json
