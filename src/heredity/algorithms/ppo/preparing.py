"""What is settled once, when a run begins: settings that its environment and its files decide.

What is said then is recorded, and holds for resumes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.ppo.network_config import NetworkConfig
from heredity.algorithms.pretrained import PretrainedEncoder, read_encoder
from heredity.environments import Environment
from heredity.spaces import Dict, Space


def prepared(
    config: PPOConfig, environment: Environment
) -> tuple[PPOConfig, PretrainedEncoder | None]:
    """Settings that say all that is known when a run begins, and weights that are to be put in.

    Raises:
        RefusedError: when the file of the encoder cannot be read, or is of no known layout.
        UsageError: when settings say something else than the file.
    """
    space, declared = environment.observation_space, environment.actor_reads
    network, encoder = with_pretrained(with_default_reads(config.network, space, declared))
    return dataclasses.replace(config, network=network), encoder


def with_default_reads(
    config: NetworkConfig, observation_space: Space, actor_reads: tuple[str, ...]
) -> NetworkConfig:
    """Settings that say what the actor reads, where they were silent and the environment is not.

    Args:
        config: The settings.
        observation_space: Of the environment.
        actor_reads: What the environment says that an actor has; () for all.
    """
    if config.actor_reads or not (actor_reads and isinstance(observation_space, Dict)):
        return config
    # A shared trunk is needed to act: it may read what the actor has.
    critic_reads = actor_reads if config.shared else config.critic_reads
    return dataclasses.replace(config, actor_reads=actor_reads, critic_reads=critic_reads)


def with_pretrained(config: NetworkConfig) -> tuple[NetworkConfig, PretrainedEncoder | None]:
    """Settings that say all that the file of `weights` says, and what is to be put where.

    Raises:
        RefusedError: when the file cannot be read, or is of no known layout.
        UsageError: when settings say something else than the file, or nothing says how many heads
            there are.
    """
    if config.weights is None:
        return config, None
    file, options, grid = read_encoder(config.weights, config.vit_options())
    folders = ("trunk/encoder",) if config.shared else ("actor/encoder", "critic/encoder")
    return dataclasses.replace(config, **options), PretrainedEncoder(file, grid, folders)


def warnings_for(config: PPOConfig, schedule: int | None, total: int) -> Iterator[str]:
    """What a person should know of a run before it begins or goes on.

    Args:
        config: Settings.
        schedule: Environment steps that schedules run over.
        total: Environment steps at which the run ends.
    """
    # Steps after the end of a linear schedule have its last learning rate.
    ends_at_zero = config.learning_rate_schedule == "linear" and config.learning_rate_end == 0
    if schedule is not None and total > schedule and ends_at_zero:
        yield (
            f"the learning rate is 0 from step {schedule:,} on, so nothing will be learnt from "
            f"there to step {total:,}: a run that is to be extended is started with a larger "
            "--schedule-timesteps, or with --learning-rate-end"
        )
