"""Atari: the pictures, the frames and the chances are those of the literature."""

import gymnasium as gym
import numpy as np
import pytest
from tests.environments.resuming import actions_of, maker_survives_pickling, restored

from heredity.common.errors import UnknownNameError, UsageError
from heredity.environments import atari, find_adapter, make, make_recorded
from heredity.environments.images import resize_area
from heredity.training.host_evaluation import evaluation_copy

ale_py = pytest.importorskip("ale_py")

PLAIN = {"sticky_actions": 0.0, "noop_max": 0}


def everybody(count):
    return np.ones(count, bool)


def test_it_is_the_emulators_own_game():
    from ale_py.env import AtariEnv

    env = make("atari/Breakout", 1, **PLAIN)
    frames = AtariEnv("breakout", obs_type="grayscale", frameskip=1, repeat_action_probability=0)
    seen = env.reset(np.array([0]), everybody(1))
    screen, _ = frames.reset(seed=0)
    assert seen.shape == (1, 84, 84, 1) and seen.dtype == np.uint8
    np.testing.assert_array_equal(seen[0], resize_area(screen[..., None], (84, 84)))
    total = 0.0
    for action in actions_of(env, 150):
        result = env.step(action)
        screens, rewards, over = [], 0.0, False
        while len(screens) < 4 and not over:
            screen, reward, over, _, _ = frames.step(int(action[0]))
            screens.append(screen)
            rewards += reward
        pooled = screens[-1] if over else np.maximum(screens[-2], screens[-1])
        np.testing.assert_array_equal(
            result.observation[0], resize_area(pooled[..., None], (84, 84))
        )
        assert (result.reward[0], result.terminated[0]) == (rewards, over)
        assert not result.truncated[0]
        total += rewards
        if over:
            frames.reset(seed=0)
            env.reset(np.array([0]), everybody(1))
    assert total > 0


def test_pictures_are_those_of_the_emulators_own_preprocessing():
    """Which is written in C++ and uses OpenCV."""
    from ale_py.vector_env import AtariVectorEnv

    theirs = AtariVectorEnv(
        "pong", 1, stack_num=1, noop_max=0, use_fire_reset=False, repeat_action_probability=0.0
    )
    env = make("atari/Pong", 1, **PLAIN)
    shown, _ = theirs.reset(seed=0)
    seen = env.reset(np.array([0]), everybody(1))
    for action in actions_of(env, 60):
        difference = np.abs(shown[0, 0].astype(int) - seen[0, ..., 0].astype(int))
        assert difference.max() <= 1  # rounding
        shown, *_ = theirs.step(action)
        seen = env.step(action).observation
    theirs.close()


def test_sticky_actions_repeat_the_one_before():
    stuck = make("atari/Pong", 1, sticky_actions=0.999999, noop_max=0)
    still = make("atari/Pong", 1, **PLAIN)
    for env in (stuck, still):
        env.reset(np.array([3]), everybody(1))
    for action in actions_of(stuck, 20):
        moved = stuck.step(action).observation
        waited = still.step(np.zeros(1, np.int64)).observation
        np.testing.assert_array_equal(moved, waited)
    assert not np.array_equal(still.step(np.array([2])).observation, waited)


def test_chance_follows_from_the_seed():
    env = make("atari/Pong", 3)
    seen = env.reset(np.array([1, 2, 1]), everybody(3))
    for _ in range(40):
        seen = env.step(np.array([2, 2, 2])).observation
    np.testing.assert_array_equal(seen[0], seen[2])
    assert not np.array_equal(seen[0], seen[1])


@pytest.mark.parametrize("name", ["HauntedHouse", "Amidar"])
def test_games_that_keep_something_when_they_are_reset(name):
    answer, same = restored(f"atari/{name}", steps=40)
    assert answer.exact and same


def test_a_life_may_be_an_episode():
    env = make("atari/Breakout", 1, terminal_on_life_loss=True, **PLAIN)
    fire = next(i for i, a in enumerate(env._stepper.envs[0]._actions) if a.name == "FIRE")
    assert "terminal_on_life_loss" in env.unseeded
    assert make("atari/Breakout", 1, **PLAIN).unseeded == ""
    env.reset(np.array([0]), everybody(1))
    lives = [5]
    for lost in range(5):
        for _ in range(200):
            result = env.step(np.array([fire]))
            if result.terminated[0]:
                break
        assert result.terminated[0] and not result.truncated[0]
        env.reset(np.array([lost]), everybody(1))
        lives.append(env._stepper.envs[0]._lives)
    assert lives == [5, 4, 3, 2, 1, 5]
    answer, _ = restored("atari/Breakout", steps=5, terminal_on_life_loss=True)
    assert not answer.exact and "terminal_on_life_loss" in answer.reason


def test_evaluations_play_whole_games_all_the_same():
    env = make("atari/Breakout", 1, terminal_on_life_loss=True, reward_clip=1.0, **PLAIN)
    copies = [evaluation_copy(env, 1, draw=False), make_recorded(env.spec, 1, evaluating=True)]
    assert make_recorded(env.spec, 1).spec == env.spec
    for copy in copies:
        told = {**env.spec.options, "terminal_on_life_loss": False}
        assert copy.spec.options == told and copy.unseeded == ""
        game = copy.env._stepper.envs[0]
        fire = next(i for i, a in enumerate(game._actions) if a.name == "FIRE")
        copy.reset(np.array([0]), everybody(1))
        assert game._lives == 5
        while not copy.step(np.array([fire])).terminated[0]:
            pass
        assert game._lives == 0


def test_options():
    env = make("atari/Pong", 1, grayscale=False, resolution=None, full_action_space=True)
    assert env.observation_space.shape == (210, 160, 3)
    assert env.action_space.n == 18
    assert env.max_episode_steps == 27_000 and env.step_seconds == 4 / 60
    assert env.render() is None
    env = make("atari/Pong", 1, frame_skip=1, max_episode_steps=3, render=True, resolution=42)
    assert env.observation_space.shape == (42, 42, 1)
    env.reset(np.array([0]), everybody(1))
    assert env.render().shape == (210, 160, 3)
    cut = [env.step(np.array([0])).truncated[0] for _ in range(3)]
    assert cut == [False, False, True]
    hard = make("atari/Breakout", 1, difficulty=1, mode=4)
    assert hard._stepper.envs[0]._ale.getInt("random_seed") == 0
    assert hard._stepper.envs[0]._beginning.getCurrentMode() == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sticky_actions": 1.0}, "sticky_actions=1.0: 0 <= p < 1"),
        ({"frame_skip": 0}, "frame_skip=0"),
        ({"resolution": 0}, "resolution=0"),
        ({"noop_max": -1}, "noop_max=-1"),
        ({"max_episode_steps": 0}, "max_episode_steps=0"),
        ({"mode": 77}, "mode=77: this game has 0, 4"),
    ],
)
def test_what_cannot_be_is_told(options, message):
    with pytest.raises(UsageError, match=message):
        make("atari/Breakout", 1, **options)


def test_names():
    names = find_adapter("atari/Breakout").names()
    assert len(names) > 100 and {"Breakout", "MsPacman", "MontezumaRevenge"} <= set(names)
    assert "Warlords" not in names  # for two players
    with pytest.raises(UnknownNameError, match="did you mean 'atari/Breakout'"):
        make("atari/breakout")


def test_it_can_be_sent_to_a_worker(monkeypatch):
    assert maker_survives_pickling(monkeypatch, atari, "atari/Pong")


def test_importing_it_lists_no_game_with_gymnasium():
    assert any(name.startswith("ALE/") for name in gym.registry)
    assert not [name for name in find_adapter("gym/CartPole-v1").names() if "ALE/" in name]
