"""Episodes that are cut off."""

import numpy as np
import pytest
from foretold import Countdown, assert_it_comes_back, drawn, on_both_paths, play

from heredity.common.errors import UsageError
from heredity.environments import wrap
from heredity.environments.hosted import HostedEnvironment


@pytest.mark.parametrize("path", [0, 1], ids=["jax", "host"])
def test_it_truncates_and_does_not_terminate(path):
    env = on_both_paths(Countdown(5), max_episode_steps=3)[path]
    assert env.max_episode_steps == 3
    steps = play(env, [0, 0, 0])[1:]
    assert [step.truncated.tolist() for step in steps] == [[False] * 2, [False] * 2, [True] * 2]
    assert not any(step.terminated.any() for step in steps)
    np.testing.assert_array_equal(steps[2].observation[:, 1], [3, 3])  # as it was, not begun anew


@pytest.mark.parametrize("path", [0, 1], ids=["jax", "host"])
def test_an_end_of_its_own_in_that_step_is_termination(path):
    assert (drawn(4) % 2, drawn(3) % 2) == (0, 1)  # so one ends after two steps, one after three
    env = on_both_paths(Countdown(2), max_episode_steps=2)[path]
    last = play(env, [0, 0])[2]
    assert last.terminated.tolist() == [True, False]
    assert last.truncated.tolist() == [False, True]


@pytest.mark.parametrize("path", [0, 1], ids=["jax", "host"])
def test_a_shorter_limit_of_its_own_stays(path):
    env = on_both_paths(Countdown(2, truncates=True), max_episode_steps=50)[path]
    assert env.max_episode_steps == 3
    assert play(env, [0, 0])[2].truncated.tolist() == [True, False]


def test_only_what_is_reset_counts_anew():
    env = wrap(HostedEnvironment(Countdown(9), 2), max_episode_steps=3)
    env.reset(np.arange(2), np.ones(2, bool))
    env.step(np.zeros(2, int))
    env.reset(np.arange(2), np.array([True, False]))
    env.step(np.zeros(2, int))
    assert env.step(np.zeros(2, int)).truncated.tolist() == [False, True]


def test_it_comes_back():
    env = wrap(HostedEnvironment(Countdown(3), 4), max_episode_steps=4)
    assert_it_comes_back(env)


def test_a_limit_is_a_whole_number():
    with pytest.raises(UsageError, match="max_episode_steps=0: a whole number >= 1"):
        wrap(Countdown(), max_episode_steps=0)
