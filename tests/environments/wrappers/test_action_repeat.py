"""One decision for several steps."""

import numpy as np
import pytest
from foretold import Countdown, assert_it_comes_back, drawn, on_both_paths, play

from heredity.environments import wrap
from heredity.environments.hosted import HostedEnvironment


@pytest.mark.parametrize("path", [0, 1], ids=["jax", "host"])
def test_rewards_add_up_and_the_last_observation_is_shown(path):
    env = on_both_paths(Countdown(9, truncates=True), action_repeat=3)[path]
    assert (env.action_repeat, env.max_episode_steps, env.step_seconds) == (3, 4, 0.75)
    _, first, second = play(env, [0, 1])
    np.testing.assert_array_equal(first.reward, [1 + 2 + 3] * 2)
    np.testing.assert_array_equal(second.reward, [4 + 5 + 6 + 30] * 2)
    np.testing.assert_array_equal(second.observation[:, 1], [6, 6])
    np.testing.assert_array_equal(second.info["time"], [6, 6])
    assert second.reward.dtype == np.float32


@pytest.mark.parametrize("truncates", [False, True])
@pytest.mark.parametrize("path", [0, 1], ids=["jax", "host"])
def test_what_ends_in_between_stays_where_it_ended(path, truncates):
    assert (drawn(4) % 2, drawn(3) % 2) == (0, 1)  # one ends after five steps, the other after six
    env = on_both_paths(Countdown(5, truncates), action_repeat=4)[path]
    _, first, second = play(env, [0, 0])
    assert not (first.terminated | first.truncated).any()
    assert second.terminated.tolist() == [not truncates] * 2
    assert second.truncated.tolist() == [truncates] * 2
    np.testing.assert_array_equal(second.reward, [5, 5 + 6])
    np.testing.assert_array_equal(second.observation[:, 1], [5, 6])
    np.testing.assert_array_equal(second.info["time"], [5, 6])


def test_the_vector_goes_on_after_one_ended_in_between():
    env = wrap(HostedEnvironment(Countdown(5), 2), action_repeat=4)
    play(env, [0])
    mask = np.array([True, False])
    # It ended nowhere yet; as if the runner had begun one anew.
    seen = env.reset(np.array([9, 0]), mask)
    np.testing.assert_array_equal(seen, [[drawn(9), 0], [drawn(3), 4]])
    step = env.step(np.zeros(2, int))  # the second one ends after two steps of four
    assert step.terminated.tolist() == [False, True]
    np.testing.assert_array_equal(step.observation, [[drawn(9), 4], [drawn(3), 6]])
    np.testing.assert_array_equal(step.reward, [1 + 2 + 3 + 4, 5 + 6])
    seen = env.reset(np.array([0, 8]), ~mask)
    np.testing.assert_array_equal(seen, [[drawn(9), 4], [drawn(8), 0]])


def test_the_last_picture_of_an_episode_is_its_own():
    class Drawn(HostedEnvironment):
        def render(self):
            return np.full((1, 1, 3), self._observation[0, 1], np.uint8)

    env = wrap(Drawn(Countdown(5), 2), action_repeat=4)
    env.reset(np.array([4, 3]), np.ones(2, bool))
    assert env.render().max() == 0
    env.step(np.zeros(2, int))
    env.step(np.zeros(2, int))
    assert env.render().max() == 5  # where it ended, while the other one was played to 6
    env.reset(np.array([4, 3]), np.ones(2, bool))
    assert env.render().max() == 0


def test_it_comes_back():
    env = wrap(HostedEnvironment(Countdown(4), 4), action_repeat=2)
    assert_it_comes_back(env)
