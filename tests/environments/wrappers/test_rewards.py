"""Rewards to learn from, and rewards to count."""

import numpy as np
import pytest
from foretold import Countdown, assert_it_comes_back, on_both_paths, play

from heredity.algorithms.ppo.algorithm import PPO, policy_spec
from heredity.algorithms.ppo.config import PPOConfig
from heredity.environments import JaxWrapper, make, wrap
from heredity.environments.hosted import HostedEnvironment
from heredity.environments.wrappers.action_repeat import repeat_actions
from heredity.policies import ActorCritic
from heredity.training.evaluation import Evaluator
from heredity.training.runners import make_runner


@pytest.mark.parametrize("path", [0, 1], ids=["jax", "host"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"reward_scale": 0.5}, [0.5, 6.0, 1.5]),
        ({"reward_clip": 2}, [1.0, 2.0, 2.0]),
        ({"reward_scale": 0.5, "reward_clip": 1}, [0.5, 1.0, 1.0]),  # first scaled, then cut
    ],
)
def test_scaled_and_cut(path, options, expected):
    env = on_both_paths(Countdown(9), **options)[path]
    steps = play(env, [0, 1, 0])[1:]
    assert [step.reward.tolist() for step in steps] == [[value] * 2 for value in expected]
    assert steps[0].reward.dtype == np.float32


@pytest.mark.parametrize("path", [0, 1], ids=["jax", "host"])
def test_negative_rewards_are_cut_too(path):
    class Costly(Countdown):
        def step(self, state, action):
            state, result = super().step(state, action)
            return state, result._replace(reward=-result.reward)

    env = on_both_paths(Costly(9), reward_clip=2)[path]
    assert [step.reward[0] for step in play(env, [0, 0, 0])[1:]] == [-1, -2, -2]


@pytest.mark.parametrize("host", [False, True], ids=["jax", "host"])
def test_an_evaluation_counts_them_so(host):
    env = make("probe/always-truncated", 2, host=host, length=7, reward_clip=0.25, frame_stack=2)
    spec = policy_spec(PPOConfig(network={"hidden": (8,)}), env.observation_space, env.action_space)
    evaluator = Evaluator(spec, env, 2)
    assert evaluator.evaluate(ActorCritic(spec).init(0)).returns.tolist() == [7.0, 7.0]


class Half(JaxWrapper):
    """Gives half of each reward to learn from."""

    def step(self, state, action):
        state, result = self.env.step(state, action)
        return state, result._replace(reward=result.reward / 2, own_reward=result.earned)


def test_rewards_that_somebody_elses_wrapper_changes_are_counted_as_they_were():
    env = Half(make("probe/always-truncated", length=7))
    spec = policy_spec(PPOConfig(network={"hidden": (8,)}), env.observation_space, env.action_space)
    found = Evaluator(spec, env, 2, record=True).evaluate(ActorCritic(spec).init(0), record=True)
    assert found.returns.tolist() == [7.0, 7.0]
    assert found.recording is not None and found.recording.rewards.tolist() == [1.0] * 7


@pytest.mark.parametrize("path", [0, 1], ids=["jax", "host"])
def test_the_own_rewards_stay_beside_those_to_learn_from(path):
    steps = play(on_both_paths(Countdown(9))[path], [0, 1])[1:]
    assert all(step.own_reward is None and step.earned is step.reward for step in steps)
    steps = play(on_both_paths(Countdown(9), reward_scale=0.5, reward_clip=1)[path], [0, 1, 0])[1:]
    assert [step.own_reward.tolist() for step in steps] == [[1, 1], [12, 12], [3, 3]]
    # Also where wrapped rewards are added up by another wrapper.
    cut = on_both_paths(Countdown(9), reward_clip=2)[path]
    (step,) = play(repeat_actions(cut, 3), [0])[1:]
    assert (step.reward.tolist(), step.own_reward.tolist()) == ([5, 5], [6, 6])
    (step,) = play(repeat_actions(on_both_paths(Countdown(9))[path], 3), [0])[1:]
    assert step.reward.tolist() == [6, 6] and step.own_reward is None


@pytest.mark.parametrize("host", [False, True], ids=["jax", "host"])
def test_training_counts_them_too(host):
    env = make("probe/always-truncated", 2, host=host, length=4, reward_clip=0.25)
    config = PPOConfig(num_envs=2, num_steps=8, num_minibatches=1, network={"hidden": (8,)})
    algorithm = PPO(config, env.observation_space, env.action_space, schedule_timesteps=16)
    logged = make_runner(algorithm, env, 0).iterate(1)
    assert logged["episode_returns"] / logged["episodes"] == 4.0


def test_they_come_back():
    env = wrap(HostedEnvironment(Countdown(3), 4), reward_scale=0.3, reward_clip=1)
    assert_it_comes_back(env)
