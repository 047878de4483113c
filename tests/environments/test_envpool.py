"""EnvPool never gets to reset by itself, and says what cannot be resumed."""

import numpy as np
import pytest
from tests.environments.resuming import actions_of, restored

from heredity.common.errors import UnknownNameError, UsageError
from heredity.environments import (
    SeededEpisodes,
    evaluation_options,
    find_adapter,
    list_environments,
    make,
)
from heredity.environments import envpool as adapter
from heredity.spaces import Box, Discrete

envpool = pytest.importorskip("envpool")

SEEDINGS = ("pool", "episode")
CARTPOLE = "envpool/CartPole-v1"


def everybody(count):
    return np.ones(count, bool)


@pytest.fixture(params=SEEDINGS)
def seeding(request):
    return request.param


def test_the_last_observation_is_seen_and_a_reset_is_separate(seeding):
    env = make(CARTPOLE, 3, seeding=seeding)
    assert env.action_space == Discrete(2) and env.max_episode_steps == 500
    env.reset(np.array([1, 2, 3]), everybody(3))
    left_left_mixed = np.array([0, 0, 0])
    for step in range(60):
        left_left_mixed[2] = step % 2
        result = env.step(left_left_mixed)
        if result.terminated.any():
            break
    ended = result.terminated
    assert ended[:2].any() and not result.truncated.any()
    fallen = np.abs(result.observation[:, 2]) > 0.2095
    np.testing.assert_array_equal(fallen, ended)  # where it is, not where it begins anew
    kept = result.observation.copy()
    seen = env.reset(np.array([7, 8, 9]), ended)
    np.testing.assert_array_equal(seen[~ended], kept[~ended])
    np.testing.assert_array_equal(result.observation, kept)
    assert (np.abs(seen[ended]) <= 0.05).all()
    after = env.step(np.array([1, 1, 1]))
    assert not (after.terminated | after.truncated)[ended].any()
    # One step away from the reset: nothing was reset in between.
    assert (np.abs(after.observation[ended, 1] - seen[ended, 1]) > 0.1).all()


def test_limits_truncate(seeding):
    env = make(CARTPOLE, 2, seeding=seeding, max_episode_steps=4)
    assert env.max_episode_steps == 4
    env.reset(np.array([1, 2]), everybody(2))
    for step in range(4):
        result = env.step(np.array([step % 2, step % 2]))
        if step == 1:
            env.reset(np.array([5, 6]), np.array([False, True]))
    np.testing.assert_array_equal(result.truncated, [True, False])
    assert not result.terminated.any()
    assert result.reward.dtype == np.float32 and result.truncated.dtype == bool


def test_mujoco_tasks_end_by_their_limit():
    env = make("envpool/CheetahRun-v1", 1, max_episode_steps=2)
    env.reset(np.array([0]), everybody(1))
    both = [env.step(np.zeros((1, 6), np.float32)) for _ in range(2)]
    assert [bool(result.truncated[0]) for result in both] == [False, True]
    assert not both[1].terminated[0]
    # What EnvPool calls no bound is none here.
    assert env.observation_space["position"] == Box((8,))
    assert both[1].observation["position"].dtype == np.float32


def test_with_a_seed_for_each_episode_it_can_be_resumed():
    for name in ("FrozenLake-v1", "HalfCheetah-v5"):  # one draws at each step, one at resets
        answer, same = restored(f"envpool/{name}", seeding="episode")
        assert answer.exact and same
        assert make(f"envpool/{name}", 1, seeding="episode").unseeded == ""


def test_with_one_pool_it_says_that_it_cannot_be_resumed():
    """FrozenLake shows a few cells: it would often show the right one by accident."""
    answer, _ = restored("envpool/FrozenLake-v1")
    assert not answer.exact
    assert "seeding=episode" in answer.reason


def test_an_evaluation_begins_with_the_same_episodes_again():
    env = make(CARTPOLE, 2)
    first = SeededEpisodes(env, 3).start()
    other = SeededEpisodes(env, 4).start()
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(SeededEpisodes(env, 3).start(), first)
    # Also in another process, and when all have ended in between.
    for action in actions_of(env, 100):
        result = env.step(action)
        env.reset(np.array([1, 2]), result.terminated)
    np.testing.assert_array_equal(SeededEpisodes(env, 3).start(), first)
    np.testing.assert_array_equal(SeededEpisodes(make(CARTPOLE, 2), 3).start(), first)


def test_when_all_end_together_no_pool_is_made(monkeypatch):
    env = make(CARTPOLE, 2, max_episode_steps=2)
    env.reset(np.array([1, 2]), everybody(2))
    pool = env._pool
    for seeds in ([3, 4], [5, 6]):
        for _ in range(2):
            result = env.step(np.array([0, 1]))
        assert result.truncated.all()
        env.reset(np.array(seeds), everybody(2))
        assert env._pool is pool
    env.step(np.array([0, 1]))
    env.reset(np.array([9, 9]), everybody(2))  # in the midst of episodes: somebody begins anew
    assert env._pool is not pool


def test_evaluations_play_whole_games_for_their_own_rewards():
    given = {
        "num_threads": 1,
        "env_kwargs": {"episodic_life": True, "reward_clip": True, "mode": 1},
    }
    told = evaluation_options("envpool/Pong-v5", given)
    assert told == {"num_threads": 1, "env_kwargs": {"mode": 1}}
    defaults = envpool.make_spec("Pong-v5").config
    assert (defaults.episodic_life, defaults.reward_clip) == (False, False)


def test_pictures_have_their_channels_last():
    env = make("envpool/Pong-v5", 1, env_kwargs={"stack_num": 2, "img_height": 40})
    raw = envpool.make_gymnasium("Pong-v5", num_envs=1, seed=[5], stack_num=2, img_height=40)
    assert env.observation_space == Box((40, 84, 2), 0, 255, "uint8")
    seen = env.reset(np.array([5]), everybody(1))
    expected, _ = raw.reset()
    for _ in range(3):
        np.testing.assert_array_equal(seen, np.moveaxis(expected, 1, -1))
        seen = env.step(np.array([2])).observation
        expected, *_ = raw.step(np.array([2]))


@pytest.mark.parametrize("seeding", SEEDINGS)
def test_nested_observations_keep_those_that_were_not_reset(seeding):
    env = make("envpool/MiniGrid-Empty-Random-5x5-v0", 2, seeding=seeding)
    env.reset(np.array([1, 2]), everybody(2))
    result = env.step(np.array([2, 0]))
    seen = env.reset(np.array([8, 8]), np.array([True, False]))
    assert sorted(seen) == ["direction", "image", "mission"]
    for name in seen:
        np.testing.assert_array_equal(seen[name][1], result.observation[name][1])
    assert seen["direction"].dtype == np.int32


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "CartPole-v1",
            {"env_kwargs": {"frame_skip": 2}},
            "in env_kwargs 'frame_skip'",
        ),
        ("HalfCheetah-v5", {"env_kwargs": {"frame_skip": "2"}}, "did not take env_kwargs"),
        ("CartPole-v1", {"env_kwargs": {"base_path": "/"}}, "may not hold base_path"),
        ("CartPole-v1", {"env_kwargs": {"seed": 3}}, "may not hold seed"),
        ("CartPole-v1", {"seeding": "none"}, "'pool' or 'episode'"),
        ("CartPole-v1", {"num_threads": -1}, "num_threads=-1"),
        ("CartPole-v1", {"max_episode_steps": 0}, "max_episode_steps=0"),
        ("Chess-v1", {}, "game for several players"),
    ],
)
def test_what_cannot_be_is_told(name, options, message):
    with pytest.raises(UsageError, match=message):
        make(f"envpool/{name}", 2, **options)


def test_names(monkeypatch):
    names = find_adapter(CARTPOLE).names()
    assert {"CartPole-v1", "HalfCheetah-v5", "Pong-v5", "Jumanji/Snake-v1"} <= set(names)
    with pytest.raises(UnknownNameError, match="did you mean 'envpool/CartPole-v1'"):
        make("envpool/CartPol-v1")
    for installed, listed in ((None, False), ("libQt5Gui.so", True)):
        monkeypatch.setattr(adapter.ctypes.util, "find_library", lambda name, i=installed: i)
        adapter._by_need.cache_clear()
        (row,) = list_environments("envpool")
        assert ("CoinrunEasy-v0" in row.names) is listed is not bool(row.lacking)
    adapter._by_need.cache_clear()


def test_pictures_for_people(seeding, caplog):
    env = make(CARTPOLE, 2, seeding=seeding, render=True)
    env.reset(np.array([1, 2]), everybody(2))
    picture = env.render()
    assert picture.dtype == np.uint8 and picture.shape[-1] == 3 and picture.ndim == 3
    assert make(CARTPOLE, 2, seeding=seeding).render() is None
    env.close()
    env.close()
    assert caplog.records == []


def test_what_cannot_be_drawn_is_told_and_made_all_the_same(monkeypatch, caplog):
    monkeypatch.setattr(adapter, "_why_it_cannot_draw", lambda name, settings: "no driver")
    env = make(CARTPOLE, 1, render=True)
    env.reset(np.array([1]), everybody(1))
    assert env.render() is None
    assert "envpool/CartPole-v1 cannot be drawn here" in caplog.text and "no driver" in caplog.text


def test_mujoco_is_not_drawn_because_it_may_end_the_process(caplog):
    env = make("envpool/HalfCheetah-v5", 1, render=True)
    env.reset(np.array([1]), everybody(1))
    assert env.render() is None
    assert "ends the whole process where it finds no OpenGL" in caplog.text
