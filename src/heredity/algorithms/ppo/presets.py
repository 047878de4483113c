"""Tuned settings for known environments, as data files that say where their numbers come from."""

from __future__ import annotations

import dataclasses
import functools
import json
from importlib import resources
from typing import Any

from heredity.algorithms.ppo.config import PPOConfig
from heredity.common.errors import UnknownNameError


@dataclasses.dataclass(frozen=True)
class Preset:
    """Settings for one environment.

    Args:
        environment: Id that it is for.
        source: Where the numbers come from.
        settings: Fields of `PPOConfig` that differ from its defaults.
        total_timesteps: How long it was meant to train.
        reached: What it was seen to reach, unless that is recorded in docs/returns.md.
    """

    environment: str
    source: str
    settings: dict[str, Any]
    total_timesteps: int
    reached: str = ""


@functools.cache
def presets() -> dict[str, Preset]:
    """All presets by environment id."""
    folder = resources.files("heredity.algorithms.ppo") / "presets"
    found = {}
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".json"):
            for entry in json.loads(file.read_text(encoding="utf-8")):
                found[entry["environment"]] = Preset(**entry)
    return found


def preset_config(name: str, environment_id: str) -> PPOConfig:
    """The settings that a preset gives.

    Args:
        name: ``auto`` (that of the environment, if there is one), ``none``, or the id of an
            environment whose preset is wanted.
        environment_id: That is trained in.

    Raises:
        UnknownNameError: for an unknown preset.

    Example:
        >>> preset_config("auto", "gymnax/CartPole-v1").num_envs > 0
        True
    """
    known = presets()
    if name == "none" or (name == "auto" and environment_id not in known):
        return PPOConfig()
    if name == "auto":
        name = environment_id
    if name not in known:
        raise UnknownNameError("preset", name, [*known, "auto", "none"])
    return PPOConfig(**known[name].settings)
