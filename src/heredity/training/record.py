"""What a run was started with: written once into ``config.json``, read by whoever resumes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from heredity.algorithms.contract import AlgorithmConfig
from heredity.algorithms.registry import ALGORITHMS
from heredity.common.errors import MissingExtraError, RefusedError, UntrustedError, UsageError
from heredity.common.formats import RUN
from heredity.common.provenance import now, numerics, versions
from heredity.common.run_folder import RunFolder
from heredity.environments import Environment, EnvironmentSpec, make_recorded
from heredity.training.settings import RunSettings


def config_record(
    run_id: str,
    config: AlgorithmConfig,
    environment: Environment,
    settings: RunSettings,
    start: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What a run is started with, as its ``config.json`` holds it (sealed).

    Args:
        run_id: Of the run.
        config: Of the algorithm.
        environment: Where it is trained.
        settings: How it is kept.
        start: What its first weights are; None for fresh ones.
    """
    several = {} if settings.seeds == 1 else {"seeds": settings.all_seeds}
    return {
        "schema_version": RUN.newest,
        "run_id": run_id,
        "created": now(),
        "algorithm": config.algorithm,
        "settings": dataclasses.asdict(config),
        "run": dataclasses.asdict(settings),
        "environment": environment.spec.to_json() if environment.spec else None,
        "seed": settings.seed,
        **several,
        **({"start": start} if start else {}),
        "total_timesteps": settings.total_timesteps,
        "versions": versions(),
        "numerics": numerics(),
    }


def member_record(record: dict[str, Any], settings: RunSettings, seed: int) -> dict[str, Any]:
    """What one seed of a run of several is started with: a record like that of any other run.

    Args:
        record: Of the whole run.
        settings: Of the whole run.
        seed: Of the member.
    """
    own = dataclasses.replace(settings, seed=seed, seeds=1)
    several = {name: value for name, value in record.items() if name != "seeds"}
    return {
        **several,
        "run_id": f"{record['run_id']}-{seed}",
        "group": record["run_id"],
        "run": dataclasses.asdict(own),
        "seed": seed,
        "total_timesteps": own.total_timesteps,
    }


def read_settings(folder: RunFolder, record: dict[str, Any]) -> tuple[AlgorithmConfig, RunSettings]:
    """The settings that a record holds.

    Raises:
        RefusedError: when it does not describe a run of an algorithm that is known.
    """
    named = record.get("algorithm")
    if not isinstance(named, str) or named not in ALGORITHMS:
        raise RefusedError(folder.config, f"names the algorithm {named!r}")
    if not isinstance(record.get("run_id"), str):
        raise RefusedError(folder.config, f"names the run_id {record.get('run_id')!r}")
    try:
        config = ALGORITHMS[named].recorded_config(record["settings"])
        settings = RunSettings(**record["run"])
    except (AttributeError, ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise RefusedError(folder.config, f"does not describe a run ({error})") from None
    of_algorithm = dataclasses.asdict(config)
    groups = [value for value in of_algorithm.values() if isinstance(value, dict)]
    sizes = {**of_algorithm, "evaluation_episodes": settings.evaluation_episodes}
    for group in groups:
        sizes |= group
    for name, value in sizes.items():
        parts = value if isinstance(value, tuple) else (value,)
        if any(isinstance(part, int) and part >= 2**31 for part in parts):
            # No array has so many elements; some would even fail to be asked for.
            raise RefusedError(folder.config, f"has {name} {value!r}: below 2**31 was expected")
    return config, settings


def recorded_environment(
    folder: RunFolder, record: dict[str, Any], num_envs: int, trust: Sequence[str]
) -> Environment:
    """The environment that a record names, made again.

    Raises:
        RefusedError: when what it names cannot be made.
        UsageError: when it names none.
        UntrustedError: when it names one that may not be made without `trust`.
        MissingExtraError: when a library is not installed.
    """
    named = record.get("environment")
    if named is None:
        raise UsageError(
            f"{folder.root} names no environment: give it with --env, or hd.resume(directory, env)"
        )
    return make_named(named, num_envs, trust, folder.config)


def make_named(
    named: Any, num_envs: int, trust: Sequence[str], path: Path, evaluating: bool = False
) -> Environment:
    """The environment that a file names, made; what is wrong with its name is wrong in the file.

    Args:
        named: Its ``id`` and ``options`` as they were read.
        num_envs: How many copies.
        trust: Ids that the person vouches for.
        path: Of the file.
        evaluating: Whether to score a policy in it.

    Raises:
        RefusedError: when what it names cannot be made.
        UntrustedError: when it names one that may not be made without `trust`.
        MissingExtraError: when a library is not installed.
    """
    identity, options = (
        (named.get("id"), named.get("options")) if isinstance(named, Mapping) else (None, None)
    )
    if not isinstance(identity, str) or not isinstance(options, Mapping):
        raise RefusedError(path, f"does not name its environment (id, options): {named!r}")
    try:
        spec = EnvironmentSpec(identity, dict(options))
        return make_recorded(spec, num_envs, trust, evaluating)
    except (MissingExtraError, UntrustedError):
        raise  # not the file's fault: the person installs it, or vouches for it
    except UsageError as error:
        raise RefusedError(path, f"names an environment that cannot be made: {error}") from error
