"""Five tiny environments whose values are known, and four more for endings and kinds of actions.

What one of them fails tells where the mistake is; see `heredity.environments.probes`.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest

from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.config import PPOConfig
from heredity.environments import HostEnvironment, make
from heredity.environments.probes import PROBES
from heredity.policies import ActorCritic
from heredity.training.evaluation import Evaluator
from heredity.training.runners import DeviceRunner, HostRunner, make_runner
from heredity.weights import unflatten

DISCOUNT = 0.9
CONFIG = PPOConfig(
    num_envs=16,
    num_steps=32,
    num_epochs=4,
    num_minibatches=4,
    learning_rate=3e-3,
    discount=DISCOUNT,
    entropy_coefficient=0.0,
    network={"hidden": (16,)},
)
ITERATIONS = 60
# Learning is the same code on the host; how episodes end and actions are handed over is not.
ON_THE_HOST = ("two-step-discount", "always-truncated", "observation-action-reward")
CASES = [(name, False) for name in PROBES]
CASES += [(name, True) for name in (*ON_THE_HOST, "continuous-action", "multi-discrete-action")]


@functools.cache
def trained(name: str, host: bool) -> tuple[HostRunner | DeviceRunner, list[np.ndarray]]:
    """A runner after learning, and observations that its environment shows."""
    environment = make(f"probe/{name}", CONFIG.num_envs, host=host)
    algorithm = PPO(
        CONFIG,
        environment.observation_space,
        environment.action_space,
        schedule_timesteps=CONFIG.num_transitions * ITERATIONS,
    )
    runner = make_runner(algorithm, environment, seed=0)
    assert isinstance(environment, HostEnvironment) == host == isinstance(runner, HostRunner)
    assert runner.iterate(ITERATIONS)["finite"]
    return runner, seen(name)


def seen(name: str) -> list[np.ndarray]:
    """First observations of a number of episodes; those that differ."""
    host = make(f"probe/{name}", 16, host=True)
    assert isinstance(host, HostEnvironment)
    first = host.reset(np.arange(16), np.ones(16, bool))
    return list(np.unique(np.asarray(first), axis=0))


@pytest.mark.parametrize(("name", "host"), CASES)
def test_the_critic_finds_the_true_value(name: str, host: bool) -> None:
    runner, observations = trained(name, host)
    probe = make(f"probe/{name}", 1)
    functions = ActorCritic(runner.algorithm.spec)
    params = unflatten(runner.policy_leaves())
    for observation in observations:
        value = float(functions.value(params, functions.preprocess(params, observation)))
        truth = probe.true_value(observation, DISCOUNT)
        # Probes whose reward depends on the action are worth less while actions are still drawn.
        tolerance = 0.02 if "action" not in name else 0.15
        assert value == pytest.approx(truth, abs=tolerance * max(1.0, abs(truth))), observation


@pytest.mark.parametrize("name", [name for name in PROBES if "action" in name])
def test_the_actor_acts_best(name: str) -> None:
    runner, observations = trained(name, host=False)
    probe = make(f"probe/{name}", 1)
    evaluation = Evaluator(runner.algorithm.spec, probe, 32).evaluate(
        unflatten(runner.policy_leaves()), seed=1
    )
    # One decision each: the return is the reward, and the best one is the value.
    best = max(probe.true_value(observation, DISCOUNT) for observation in observations)
    assert evaluation.mean == pytest.approx(best, abs=0.05)
