"""Runs that are over in seconds, and environments that misbehave on purpose."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import heredity as hd
from heredity.algorithms.dreamer.config import DreamerConfig
from heredity.algorithms.ppo.config import PPOConfig
from heredity.common.run_folder import RunFolder
from heredity.environments import Environment, EnvironmentSpec, make
from heredity.environments.contract import TimeStep
from heredity.environments.probes import AlwaysTerminated, ProbeState
from heredity.training.callbacks import CallbackLike
from heredity.training.evaluation import Evaluation, Evaluator
from heredity.training.events import Event
from heredity.training.runners import DeviceRunner
from heredity.training.session import begin_run, resume_run
from heredity.training.settings import RunSettings
from heredity.weights import Params, content_hash

ENVIRONMENT = "probe/observation-action-reward"
SIZE = 64  # steps of one iteration
CONFIG = PPOConfig(
    num_envs=4,
    num_steps=16,
    num_epochs=1,
    num_minibatches=2,
    learning_rate=1e-2,
    network={"hidden": (8,)},
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
    config: PPOConfig | DreamerConfig = CONFIG,
    env: Environment | None = None,
    **settings: Any,
) -> list[Event]:
    """Train to the end."""
    kept = RunSettings(total_timesteps=total, **{"evaluation_episodes": 2, **settings})
    return list(begin_run(config, env or environment(), kept, directory, callback))


def started(directory: Path | None, total: int = 2048, **settings: Any) -> Iterator[Event]:
    """A run that somebody is in the middle of, and leaves as they like."""
    model = hd.PPO(environment(), config=CONFIG)
    return model.run(total, directory, evaluate_every=256, evaluation_episodes=1, **settings)


def resume(directory: Path, callback: CallbackLike = None, env: Any = None, **changes: Any) -> list:
    """Go on to the end."""
    return list(resume_run(directory, changes, callback, env))


def final_bytes(directory: Path, step: int) -> dict[str, bytes]:
    """What has to be equal when two runs are."""
    place = RunFolder(directory).checkpoint(step)
    names = ("policy/model.safetensors", "training_state/state.safetensors")
    return {name: (place / name).read_bytes() for name in names}


def apart(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """The largest difference beside the largest value of its array."""
    assert one.keys() == other.keys()
    found = 0.0
    for path, leaf in one.items():
        was, now = leaf.astype(np.float64), other[path].astype(np.float64)
        scale = max(float(np.abs(was).max(initial=0.0)), 1e-3)
        found = max(found, float(np.abs(was - now).max(initial=0.0)) / scale)
    return found


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


def diverging(
    monkeypatch: pytest.MonkeyPatch,
    steps: list[int],
    before: Callable[[DeviceRunner], None] = lambda runner: None,
) -> list[np.ndarray]:
    """Training goes wrong at these steps, one after the other; what was learnt there is kept.

    Args:
        monkeypatch: Of the test.
        steps: Each of them once, as often as it is named, and in this order.
        before: Called at the end of every other iteration.

    Returns:
        Weights as they were when it went wrong.
    """
    lost: list[np.ndarray] = []
    real = DeviceRunner.iterate

    def iterate(self: DeviceRunner, iterations: int) -> dict[str, float]:
        metrics = real(self, 1)
        if len(lost) < len(steps) and self.step == steps[len(lost)]:
            lost.append(self.policy_leaves()["actor/output/kernel"])
            params = self.state.params
            broken = params["critic"]["output"]["bias"] * float("nan")
            params["critic"]["output"]["bias"] = broken
            return {**metrics, "finite": 0.0}
        before(self)
        return metrics

    monkeypatch.setattr(DeviceRunner, "iterate", iterate)
    return lost


def scoring(monkeypatch: pytest.MonkeyPatch, means: list[float]) -> None:
    """Evaluations score these means, in this order; weights that were scored before score the same.

    So what an interrupted run evaluates again scores what it scored the first time.
    """
    scores: dict[str, float] = {}
    coming, real = iter(means), Evaluator.evaluate

    def evaluate(self: Evaluator, params: Params, seed: int = 0, **given: bool) -> Evaluation:
        measured = real(self, params, seed, **given)
        policy_hash = content_hash(params)
        if policy_hash not in scores:
            scores[policy_hash] = next(coming)
        return dataclasses.replace(measured, returns=measured.returns * 0 + scores[policy_hash])

    monkeypatch.setattr(Evaluator, "evaluate", evaluate)
