"""Problems that only the right kind of network solves, each over three seeds."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.config import PPOConfig
from heredity.environments import make
from heredity.training.evaluation import Evaluator
from heredity.training.runners import make_runner
from heredity.weights import unflatten

pytestmark = pytest.mark.usefixtures("well_compiled")

GRU = {"kind": "gru", "hidden": (16,), "memory_size": 16}
CNN = {"kind": "cnn", "hidden": (32,)}
CONFIG = PPOConfig(num_envs=32, num_steps=24, num_minibatches=4, learning_rate=3e-3, discount=0.9)


def algorithm_for(env: Any, config: PPOConfig) -> PPO:
    spaces = (env.observation_space, env.action_space)
    return PPO(config, *spaces, schedule_timesteps=10**6)


def reached(name: str, network: dict[str, Any], iterations: int, host: bool = False) -> list[float]:
    """Mean returns of three seeds."""
    env = make(f"probe/{name}", CONFIG.num_envs, host=host)
    ppo = algorithm_for(env, dataclasses.replace(CONFIG, network=network))
    evaluator = Evaluator(ppo.spec, make(f"probe/{name}", 1), 100)
    runner = make_runner(ppo, env, seed=0)
    returns = []
    for seed in range(3):
        runner.begin(seed)
        assert runner.iterate(iterations)["finite"]
        returns.append(evaluator.evaluate(unflatten(runner.policy_leaves()), seed=seed).mean)
    return returns


@pytest.mark.parametrize("host", [False, True], ids=["jax", "host"])
def test_only_memory_recalls(host: bool):
    assert min(reached("recall", GRU, 20, host)) >= 0.95
    if not host:
        # Whatever is done without, the cue is forgotten: over 100 episodes a guess stays below.
        assert max(reached("recall", {"hidden": (16,)}, 20)) <= 0.4


def test_a_shared_trunk_with_memory_recalls():
    assert min(reached("recall", {**GRU, "shared": True}, 20)) >= 0.95


@pytest.mark.parametrize("host", [False, True], ids=["jax", "host"])
def test_convolutions_catch(host: bool):
    assert min(reached("catch", CNN, 20, host)) >= 0.95
    if not host:
        assert max(reached("catch", CNN, 0)) <= 0


def test_a_critic_that_sees_luck_teaches_an_actor_that_does_not():
    """The critic reads what the actor does not; without it, luck hides what the action gave."""
    blind = {"hidden": (16,), "actor_reads": ("state",), "critic_reads": ("state",)}
    seeing = {"hidden": (16,), "actor_reads": ("state",)}
    assert min(chosen(seeing)) >= 0.99
    assert np.mean(chosen(blind)) <= 0.9


def chosen(network: dict[str, Any]) -> list[float]:
    """Probability of the right action after learning, of three seeds."""
    env = make("probe/luck")
    config = dataclasses.replace(CONFIG, network=network, reward_scale=0.01)
    ppo = algorithm_for(env, config)
    runner = make_runner(ppo, env, seed=0)
    found = []
    for seed in range(3):
        runner.begin(seed)
        assert runner.iterate(20)["finite"]
        params = unflatten(runner.policy_leaves())
        seen = {"state": jnp.zeros((1,)), "luck": jnp.ones((1,))}
        parameters, _ = ppo.functions.parameters(params, seen)
        found.append(float(jax.nn.softmax(parameters)[1]))
    return found
