"""Exact resume of host environments."""

import re

import numpy as np
import pytest

from heredity.common.errors import RefusedError
from heredity.environments import HostEnvironment, SeededEpisodes, TimeStep, episode_seed, make
from heredity.spaces import Box, Discrete


def act(env, step):
    """Actions that depend on the step alone."""
    generator = np.random.default_rng(step)
    return np.stack([env.action_space.sample(generator) for _ in range(env.num_envs)])


def train(episodes, first, last):
    """Steps first..last-1; what was seen and earned."""
    record = []
    for step in range(first, last):
        result = episodes.step(act(episodes.host, step))
        record.append((result.observation.copy(), result.reward.copy()))
        episodes.reset_finished(result.terminated | result.truncated)
    return record


def assert_same_arrays(one, other):
    assert list(one) == list(other)
    for name in one:
        assert one[name].dtype == other[name].dtype, name
        assert one[name].shape == other[name].shape, name
        assert one[name].tobytes() == other[name].tobytes(), name


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    ("name", "half", "whole"), [("CartPole-v1", 37, 80), ("Pendulum-v1", 230, 260)]
)
def test_interrupted_and_whole_training_are_the_same(name, half, whole, kind):
    made = []

    def fresh():
        made.append(make(f"gym/{name}", 3, vectorization=kind))
        episodes = SeededEpisodes(made[-1], seed=5)
        episodes.start()
        return episodes

    try:
        straight = fresh()
        train(straight, 0, half)
        saved = straight.save()
        seen = straight.observation.copy()
        rest = train(straight, half, whole)

        resumed = fresh()
        train(resumed, 0, 3)  # whatever went on there before does not matter
        assert resumed.restore(saved) == (True, "")
        np.testing.assert_array_equal(resumed.observation, seen)
        np.testing.assert_array_equal(resumed.episode_returns, saved["episode_returns"])
        np.testing.assert_array_equal(resumed.episode_lengths, saved["episode_lengths"])
        assert_same_arrays(resumed.save(), saved)
        again = train(resumed, half, whole)
        for (seen_a, reward_a), (seen_b, reward_b) in zip(rest, again, strict=True):
            np.testing.assert_array_equal(seen_a, seen_b)
            np.testing.assert_array_equal(reward_a, reward_b)
        assert_same_arrays(resumed.save(), straight.save())
    finally:
        for env in made:
            env.close()


@pytest.mark.parametrize("steps", [0, 1, 9])
def test_every_moment_can_be_saved(steps):
    def fresh():
        episodes = SeededEpisodes(make("probe/always-truncated", 2, host=True, length=10), 1)
        episodes.start()
        return episodes

    episodes = fresh()
    for step in range(steps):  # the tenth step would end the episode
        episodes.step(act(episodes.host, step))
    saved = episodes.save()
    assert saved["actions"].shape == (steps, 2)
    resumed = fresh()
    assert resumed.restore(saved).exact
    assert_same_arrays(resumed.save(), saved)


def test_the_saved_actions_are_as_long_as_the_longest_running_episode():
    episodes = SeededEpisodes(make("gym/CartPole-v1", 4), 0)
    episodes.start()
    train(episodes, 0, 150)  # longer than the first buffer, and many episodes
    saved = episodes.save()
    lengths = saved["episode_lengths"]
    assert len(saved["actions"]) == lengths.max()
    for index, length in enumerate(lengths):
        assert not saved["actions"][length:, index].any()
    assert saved["episode_indices"].min() > 0
    assert saved["observation_sha256"].shape == (4, 32)


def test_long_episodes_grow_the_memory():
    episodes = SeededEpisodes(make("gym/Pendulum-v1", 1), 0)
    episodes.start()
    train(episodes, 0, 199)
    saved = episodes.save()
    assert saved["actions"].shape == (199, 1, 1)
    assert saved["actions"].dtype == np.float32
    assert episodes.restore(saved).exact


def test_returns_and_lengths_are_those_of_running_episodes():
    episodes = SeededEpisodes(make("probe/always-terminated", 2, host=True, length=3), 0)
    episodes.start()
    for _ in range(3):
        result = episodes.step(np.zeros(2, np.int32))
    np.testing.assert_array_equal(episodes.episode_returns, [3.0, 3.0])
    np.testing.assert_array_equal(episodes.episode_lengths, [3, 3])
    seen = episodes.reset_finished(np.array([True, False]))
    np.testing.assert_array_equal(episodes.episode_returns, [0.0, 3.0])
    np.testing.assert_array_equal(episodes.episode_lengths, [0, 3])
    np.testing.assert_array_equal(seen, [[0.0], [1.0]])
    np.testing.assert_array_equal(result.observation, [[1.0], [1.0]])


def test_every_episode_has_a_seed_of_its_own():
    seeds = {episode_seed(s, e, k) for s in (0, 1, 2**63) for e in range(20) for k in range(100)}
    assert len(seeds) > 5990  # of 6000 in 2^31, hardly any fall together
    assert min(seeds) >= 0 and max(seeds) < 2**31
    # These numbers are in people's checkpoints: they never change.
    assert episode_seed(0, 0, 0) == 297876190
    assert episode_seed(1, 2, 3) == 896699104
    assert episode_seed(-1, 0, 0) == episode_seed(2**64 - 1, 0, 0)


class Forgetful(HostEnvironment):
    """Draws from a generator that no seed sets; either what is seen, earned, or how long it is."""

    def __init__(self, forgets):
        self.num_envs = 3
        self.observation_space = Box((1,))
        self.action_space = Discrete(2)
        self.forgets = forgets
        self.generator = np.random.default_rng(0)
        self.seen = np.zeros((3, 1), np.float32)
        self.lengths = np.array([100, 6 if forgets == "length" else 100, 100])
        self.time = np.zeros(3, int)

    def reset(self, seeds, mask):
        self.time[mask] = 0
        return self.seen.copy()

    def step(self, actions):
        self.time += 1
        drawn = self.generator.random()
        self.seen[1] = drawn if self.forgets == "sight" else 0.0
        reward = np.array([0, drawn if self.forgets == "reward" else 0, 0], np.float32)
        over = self.time >= self.lengths
        return TimeStep(self.seen.copy(), reward, over, np.zeros_like(over), {})


@pytest.mark.parametrize(
    ("forgets", "reason"),
    [
        ("sight", "environment 1 shows another observation"),
        ("reward", "environment 1 gives other rewards"),
        ("length", "environment 1 ended its episode after 6 steps .* 9 were played before"),
    ],
)
def test_what_cannot_be_led_back_says_so(forgets, reason):
    episodes = SeededEpisodes(Forgetful("nothing" if forgets == "length" else forgets), 0)
    episodes.start()
    for step in range(9):
        episodes.step(act(episodes.host, step))
    saved = episodes.save()
    again = SeededEpisodes(Forgetful(forgets), 0)
    again.host.generator = np.random.default_rng(1)
    exactness = again.restore(saved)
    assert not exactness.exact
    assert re.search(reason, exactness.reason)
    assert "restarted" in exactness.reason
    # All begin their next episodes, and training can go on.
    np.testing.assert_array_equal(again.episode_lengths, [0, 0, 0])
    np.testing.assert_array_equal(again.save()["episode_indices"], [1, 1, 1])
    again.step(act(again.host, 0))


def test_a_replay_that_ends_at_its_very_last_step_is_not_exact():
    """What is seen and earned is the same, but the saved episode went on."""
    episodes = SeededEpisodes(Forgetful("nothing"), 0)
    episodes.start()
    for step in range(6):
        episodes.step(act(episodes.host, step))
    exactness = SeededEpisodes(Forgetful("length"), 0).restore(episodes.save())
    assert not exactness.exact
    assert "environment 1 ended its episode after 6 steps" in exactness.reason


def test_a_process_that_dies_during_a_replay_is_told():
    class Dying(Forgetful):
        def step(self, actions):
            result = super().step(actions)
            lost = np.array([False, True, False])
            return result._replace(truncated=lost, lost=lost) if self.time[1] == 4 else result

    episodes = SeededEpisodes(Forgetful("nothing"), 0)
    episodes.start()
    for step in range(6):
        episodes.step(act(episodes.host, step))
    exactness = SeededEpisodes(Dying("nothing"), 0).restore(episodes.save())
    assert not exactness.exact
    assert "the process of environment 1 died when its actions were replayed" in exactness.reason


def test_an_environment_may_change_its_actions_in_place():
    class Clipping(Forgetful):
        def step(self, actions):
            np.clip(actions, 0, 0, out=actions)
            return super().step(actions)

    episodes = SeededEpisodes(Clipping("nothing"), 0)
    episodes.start()
    given = np.ones(3, np.int64)
    given.setflags(write=False)  # as JAX hands them out
    episodes.step(given)
    np.testing.assert_array_equal(given, [1, 1, 1])
    np.testing.assert_array_equal(episodes.save()["actions"], [[1, 1, 1]])


def test_another_number_or_seed_is_not_exact():
    episodes = SeededEpisodes(make("probe/always-terminated", 2, host=True), 0)
    episodes.start()
    episodes.step(np.zeros(2, np.int32))
    saved = episodes.save()
    more = SeededEpisodes(make("probe/always-terminated", 3, host=True), 0)
    assert more.restore(saved) == (False, "saved with 2 environments, there are 3")
    assert more.observation.shape == (3, 1)
    other = SeededEpisodes(make("probe/always-terminated", 2, host=True), 1)
    assert other.restore(saved) == (False, "saved with seed 0, it is 1 now")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("seed"), "were expected"),
        (lambda s: s.update(extra=np.zeros(1)), "were expected"),
        (lambda s: s.update(actions=s["actions"][1:]), "1 rows of actions for lengths"),
        (lambda s: s.update(actions=np.zeros((2, 2, 3))), "the environment takes"),
    ],
)
def test_what_was_not_saved_here_is_refused(change, message):
    episodes = SeededEpisodes(make("probe/always-terminated", 2, host=True), 0)
    episodes.start()
    episodes.step(np.zeros(2, np.int32))
    episodes.step(np.zeros(2, np.int32))
    saved = episodes.save()
    change(saved)
    with pytest.raises(RefusedError, match=message):
        episodes.restore(saved)
