"""Tuned settings for known environments, as data files that say where their numbers come from."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from heredity.common.errors import UnknownNameError


@dataclasses.dataclass(frozen=True)
class Preset:
    """Settings for one environment.

    Args:
        environment: Id that it is for.
        source: Where the numbers come from.
        settings: Settings of the algorithm that differ from its defaults.
        total_timesteps: How long it was meant to train; 0 when nobody said.
        reached: What it was seen to reach, unless that is recorded in docs/returns.md.
        snapshot_every: Steps between snapshots, where the way there is worth looking at; else 0.
    """

    environment: str
    source: str
    settings: dict[str, Any]
    total_timesteps: int
    reached: str = ""
    snapshot_every: int = 0

    @property
    def run(self) -> dict[str, int]:
        """What it says of how a run is kept, by the fields of `RunSettings`."""
        said = {"total_timesteps": self.total_timesteps, "snapshot_every": self.snapshot_every}
        return {name: value for name, value in said.items() if value}


@functools.cache
def presets_in(package: str) -> dict[str, Preset]:
    """All presets of an algorithm by environment id.

    Args:
        package: With a folder ``presets`` of JSON files.
    """
    folder = resources.files(package) / "presets"
    found = {}
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".json"):
            for entry in json.loads(file.read_text(encoding="utf-8")):
                found[entry["environment"]] = Preset(**entry)
    return found


def preset_of(known: Mapping[str, Preset], name: str, environment_id: str) -> Preset | None:
    """The preset of a name, or None where there is none; see `settings_of`."""
    if name == "none" or (name == "auto" and environment_id not in known):
        return None
    if name == "auto":
        name = environment_id
    if name not in known:
        raise UnknownNameError("preset", name, [*known, "auto", "none"])
    return known[name]


def settings_of(known: Mapping[str, Preset], name: str, environment_id: str) -> dict[str, Any]:
    """The settings that a preset gives.

    Args:
        known: Presets by name.
        name: ``auto`` (that of the environment, if there is one), ``none``, or the id of an
            environment whose preset is wanted.
        environment_id: That is trained in.

    Raises:
        UnknownNameError: for an unknown preset.
    """
    found = preset_of(known, name, environment_id)
    return {} if found is None else found.settings
