"""Runs that are over in seconds, and environments that misbehave on purpose."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from heredity.algorithms.ppo.config import PPOConfig
from heredity.common.run_folder import RunFolder
from heredity.environments import Environment, EnvironmentSpec, make
from heredity.environments.contract import TimeStep
from heredity.environments.probes import AlwaysTerminated, ProbeState
from heredity.training.callbacks import CallbackLike
from heredity.training.events import Event
from heredity.training.session import begin_run, resume_run
from heredity.training.settings import RunSettings

ENVIRONMENT = "probe/observation-action-reward"
SIZE = 64  # steps of one iteration
CONFIG = PPOConfig(
    num_envs=4,
    num_steps=16,
    num_epochs=1,
    num_minibatches=2,
    learning_rate=1e-2,
    actor_hidden=(8,),
    critic_hidden=(8,),
    normalize_observations=True,
    normalize_rewards=True,
)


def environment(**options: Any) -> Environment:
    """Episodes of five decisions: they do not fit into an iteration's sixteen."""
    return make(ENVIRONMENT, num_envs=CONFIG.num_envs, **{"length": 5, **options})


def train(
    directory: Path | None,
    total: int,
    callback: CallbackLike = None,
    config: PPOConfig = CONFIG,
    env: Environment | None = None,
    **settings: Any,
) -> list[Event]:
    """Train to the end."""
    kept = RunSettings(total_timesteps=total, **{"evaluation_episodes": 2, **settings})
    return list(begin_run(config, env or environment(), kept, directory, callback))


def resume(directory: Path, callback: CallbackLike = None, env: Any = None, **changes: Any) -> list:
    """Go on to the end."""
    return list(resume_run(directory, changes, callback, env))


def final_bytes(directory: Path, step: int) -> dict[str, bytes]:
    """What has to be equal when two runs are."""
    place = RunFolder(directory).checkpoint(step)
    names = ("policy/model.safetensors", "training_state/state.safetensors")
    return {name: (place / name).read_bytes() for name in names}


@dataclasses.dataclass(frozen=True)
class Fault:
    """When an environment misbehaves.

    Args:
        time: The decision of an episode that goes wrong.
        part: Reward or observation.
        value: What is given instead of a number.
    """

    time: int = 3
    part: str = "reward"
    value: float = float("nan")


class Faulty(AlwaysTerminated):
    """An environment that gives NaN at some point of an episode, once it is switched on."""

    def __init__(self, fault: Fault, length: int = 40) -> None:
        super().__init__(length)
        self.fault = fault
        self.spec = EnvironmentSpec("probe/always-terminated", {"length": length, "host": False})

    def step(self, state: ProbeState, action: Any) -> tuple[ProbeState, TimeStep]:
        after, result = super().step(state, action)
        wrong = after.time == self.fault.time
        if self.fault.part == "reward":
            reward = jnp.where(wrong, self.fault.value, result.reward)
            return after, result._replace(reward=reward.astype(jnp.float32))
        seen = jnp.where(wrong, self.fault.value, result.observation).astype(jnp.float32)
        return after, result._replace(observation=seen)


def parts_of(directory: Path) -> dict[str, bytes]:
    """Every file of a run by its path, but the logs of time."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.name.startswith("events.")
    }


def metrics_steps(directory: Path) -> list[int]:
    """The steps of the rows of ``metrics.csv``."""
    column = RunFolder(directory).read_metrics()["time/total_timesteps"]
    return np.asarray(column, np.int64).tolist()
