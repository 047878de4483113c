"""What the runners log, and the seeds they take."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_runs import CONFIG, environment

from heredity.algorithms.ppo.algorithm import PPO
from heredity.environments import Environment, HostEnvironment, JaxEnvironment
from heredity.environments.hosted import HostedEnvironment
from heredity.environments.probes import AlwaysTerminated
from heredity.spaces import Discrete
from heredity.training.metrics import Accumulator
from heredity.training.runners import make_runner


def runner_in(env: Environment, seed: int = 0, total: int = 640):
    config = dataclasses.replace(
        CONFIG, learning_rate=3e-4, learning_rate_schedule="linear", clip_range=0.2
    )
    spaces = (env.observation_space, env.action_space)
    assert isinstance(env, JaxEnvironment | HostEnvironment)
    return make_runner(PPO(config, *spaces, schedule_timesteps=total), env, seed)


@pytest.mark.parametrize("host", [False, True])
@pytest.mark.parametrize("seed", [2**31, 2**32 - 1])
def test_seeds_have_32_bits(host: bool, seed: int):
    runner = runner_in(environment(host=host), seed)
    assert runner.iterate(1)["finite"] == 1.0
    assert runner.step == 64


@pytest.mark.parametrize("host", [False, True])
def test_what_a_setting_is_now_is_logged_not_what_it_was_on_average(host: bool):
    logged = runner_in(environment(host=host)).iterate(5)
    assert logged["train/learning_rate"] == pytest.approx(1.5e-4, rel=1e-6)
    assert logged["train/clip_range"] == pytest.approx(0.2, rel=1e-6)


@pytest.mark.parametrize("unseeded", ["", "its chances come from nowhere"])
def test_a_return_goes_on_with_its_episode_and_not_without_it(unseeded: str):
    env = environment(host=True)
    assert isinstance(env, HostEnvironment)
    runner = runner_in(env)
    runner.iterate(1)
    policy, state = runner.policy_leaves(), runner.save()
    assert state["discounted_returns"].any()
    env.unseeded = unseeded
    assert runner.load(policy, state, None).exact == (not unseeded)
    found = runner.save()["discounted_returns"]
    expected = np.zeros_like(found) if unseeded else state["discounted_returns"]
    np.testing.assert_array_equal(found, expected, strict=True)


class Telling(AlwaysTerminated):
    """Tells a number beside the reward."""

    def step(self, state, action):
        after, result = super().step(state, action)
        return after, result._replace(info={"height": jnp.float32(1.5)})


def test_what_an_environment_tells_is_logged():
    assert runner_in(Telling(3)).iterate(2)["environment/height"] == 1.5


def test_means_of_what_is_told_now_and_then_are_of_what_was_told():
    class NowAndThen(HostedEnvironment):
        """One environment tells 1 in the first step, 2 in the second and so on, for 17 steps."""

        told = 0

        def step(self, actions):
            self.told += 1
            mask = np.array([True, False, False, False]) & (self.told <= 17)
            height = np.full(4, float(self.told))
            return super().step(actions)._replace(info={"height": height, "_height": mask})

    runner, gathered = runner_in(NowAndThen(AlwaysTerminated(3), 4)), Accumulator()
    for iterations in (1, 2):
        gathered.add(runner.iterate(iterations))
    # 16 steps an iteration: all but one of the numbers were told in the first of three.
    assert gathered.row()["environment/height"] == 9.0
    assert not [name for name in gathered.row() if "numbers" in name]


def test_normalising_where_nothing_can_be_normalised():
    class Choices(AlwaysTerminated):
        def __init__(self):
            super().__init__(3)
            self.observation_space = Discrete(2)

        def reset(self, key):
            state, _ = super().reset(key)
            return state, jnp.int32(1)

        def step(self, state, action):
            after, result = super().step(state, action)
            return after, result._replace(observation=jnp.int32(1))

    assert runner_in(Choices()).iterate(2)["finite"] == 1.0
