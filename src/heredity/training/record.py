"""What a run was started with: written once into ``config.json``, read by whoever resumes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from heredity.algorithms.ppo.config import PPOConfig
from heredity.common.errors import RefusedError, UsageError
from heredity.common.formats import RUN
from heredity.common.provenance import now, numerics, versions
from heredity.common.run_folder import RunFolder
from heredity.environments import Environment, EnvironmentSpec, make_recorded
from heredity.training.settings import RunSettings


def config_record(
    run_id: str, config: PPOConfig, environment: Environment, settings: RunSettings
) -> dict[str, Any]:
    """What a run is started with, as its ``config.json`` holds it (sealed)."""
    return {
        "schema_version": RUN.newest,
        "run_id": run_id,
        "created": now(),
        "algorithm": "ppo",
        "settings": dataclasses.asdict(config),
        "run": dataclasses.asdict(settings),
        "environment": environment.spec.to_json() if environment.spec else None,
        "seed": settings.seed,
        "total_timesteps": settings.total_timesteps,
        "versions": versions(),
        "numerics": numerics(),
    }


def read_settings(folder: RunFolder, record: dict[str, Any]) -> tuple[PPOConfig, RunSettings]:
    """The settings that a record holds.

    Raises:
        RefusedError: when it does not describe a run of this algorithm.
    """
    if record.get("algorithm") != "ppo":
        raise RefusedError(folder.config, f"names the algorithm {record.get('algorithm')!r}")
    if not isinstance(record.get("run_id"), str):
        raise RefusedError(folder.config, f"names the run_id {record.get('run_id')!r}")
    try:
        return PPOConfig(**record["settings"]), RunSettings(**record["run"])
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(folder.config, f"does not describe a run ({error})") from None


def recorded_environment(
    folder: RunFolder, record: dict[str, Any], num_envs: int, trust: Sequence[str]
) -> Environment:
    """The environment that a record names, made again.

    Raises:
        UsageError: when it names none, or one that may not be made without `trust`.
    """
    named = record.get("environment")
    if not isinstance(named, dict):
        raise UsageError(f"{folder.root} names no environment: give it with --env (env)")
    identity, options = named.get("id"), named.get("options")
    if not isinstance(identity, str) or not isinstance(options, dict):
        raise RefusedError(folder.config, f"does not name its environment (id, options): {named}")
    return make_recorded(EnvironmentSpec(identity, options), num_envs, trust)
