"""MiniGrid: what is seen, how missions become numbers, and both endings."""

import functools

import gymnasium as gym
import numpy as np
import pytest
from tests.environments.resuming import actions_of, maker_survives_pickling, restored

from heredity.common.errors import UsageError
from heredity.environments import list_environments, make
from heredity.environments import minigrid as adapter
from heredity.environments.minigrid import WORDS, mission_numbers
from heredity.spaces import Box, Dict, Discrete, MultiDiscrete

pytest.importorskip("minigrid")

EMPTY = "minigrid/MiniGrid-Empty-5x5-v0"
ONE = np.ones(1, bool)


def test_it_is_the_librarys_own_environment():
    env = make("minigrid/MiniGrid-DoorKey-5x5-v0", 1)
    own = gym.make("MiniGrid-DoorKey-5x5-v0")
    seen = env.reset(np.array([4]), ONE)
    expected, _ = own.reset(seed=4)
    assert env.observation_space == Dict(
        {"direction": Discrete(4), "image": Box((7, 7, 3), 0, 10, "uint8")}
    )
    for action in [*actions_of(env, 100), None]:
        assert sorted(seen) == ["direction", "image"]
        np.testing.assert_array_equal(seen["image"][0], expected["image"])
        assert seen["direction"][0] == expected["direction"]
        if action is not None:
            seen, reward, over, cut, *_ = env.step(action)
            expected, its_reward, its_over, its_cut, _ = own.step(int(action[0]))
            assert (reward[0], over[0], cut[0]) == (np.float32(its_reward), its_over, its_cut)


def test_both_endings():
    env = make(EMPTY, 2, max_episode_steps=5)
    assert env.max_episode_steps == 5
    env.reset(np.array([0, 0]), np.ones(2, bool))
    forward, right = 2, 1
    for action in (forward, forward, right, forward):
        result = env.step(np.array([action, right]))
        assert not (result.terminated | result.truncated).any()
    result = env.step(np.array([forward, right]))
    np.testing.assert_array_equal(result.terminated, [True, False])
    np.testing.assert_array_equal(result.truncated, [False, True])
    assert result.reward[0] > 0 == result.reward[1]


@pytest.mark.parametrize(
    ("view", "shape"),
    [("full", (5, 5, 3)), ("partial-pixels", (28, 28, 3)), ("full-pixels", (20, 20, 3))],
)
def test_views(view, shape):
    env = make(EMPTY, 1, view=view, tile_size=4)
    seen = env.reset(np.array([0]), ONE)
    assert env.observation_space["image"].shape == seen["image"].shape[1:] == shape
    assert seen["image"].dtype == np.uint8 and seen["image"].max() > 0
    assert all(env.observation_space["image"].contains(image) for image in seen["image"])
    if view == "full":
        assert 10 in seen["image"][0, 1, 1]  # the agent


def test_missions_are_numbers_of_words():
    env = make("minigrid/BabyAI-GoToLocal-v0", 1, mission_words=6)
    assert env.observation_space["mission"] == MultiDiscrete((len(WORDS) + 1,) * 6)
    seen = env.reset(np.array([1]), ONE)["mission"][0]
    told = env._stepper.envs[0].unwrapped.mission.split()
    assert [WORDS[number - 1] for number in seen if number] == told
    assert mission_numbers("Open the door, then go", 7).tolist() == [
        *(WORDS.index(word) + 1 for word in ["open", "the", "door", "then", "go"]), 0, 0,
    ]  # fmt: skip
    with pytest.raises(UsageError, match="has 3 words: mission_words=2 is too few"):
        mission_numbers("go go go", 2)
    with pytest.raises(UsageError, match="word 'dragon', which has no number"):
        mission_numbers("find the dragon", 9)


def test_the_numbers_of_words_stay():
    assert len(WORDS) == 57 and list(WORDS) == sorted(set(WORDS))
    assert [WORDS.index(word) for word in ("ball", "red", "unlock", "your")] == [6, 41, 50, 56]


def test_every_mission_can_be_told():
    (row,) = list_environments("minigrid")
    for name in row.names[::8]:
        make(f"minigrid/{name}", 1, mission_words=40).reset(np.array([0]), ONE)


def test_babyai_does_not_print_what_it_threw_away(capsys):
    env = make("minigrid/BabyAI-GoToObjMazeS4-v0", 1)
    plain = gym.make("BabyAI-GoToObjMazeS4-v0")
    seed = 0
    while not capsys.readouterr().out:
        seed += 1
        plain.reset(seed=seed)
        assert seed < 200
    env.reset(np.array([seed]), ONE)
    assert capsys.readouterr().out == ""
    assert env.max_episode_steps is None  # it is drawn with the mission


def test_it_can_be_resumed_and_sent_to_a_worker(monkeypatch):
    answer, same = restored("minigrid/MiniGrid-Dynamic-Obstacles-6x6-v0")
    assert answer.exact and same
    assert maker_survives_pickling(monkeypatch, adapter, EMPTY, view="full")


def test_what_needs_more_is_listed_apart(monkeypatch):
    listed, absent = functools.partial(list_environments, "minigrid"), {"networkx"}
    found = lambda name: None if name in absent else name  # noqa: E731
    monkeypatch.setattr(adapter.importlib.util, "find_spec", found)
    assert listed()[0].missing is None
    (names,) = listed()[0].lacking.values()
    assert len(names) == 6 and not set(names) & set(listed()[0].names)
    absent.clear()
    assert set(names) <= set(listed()[0].names) and not listed()[0].lacking
    assert "MiniGrid-MultiRoom-N4-S5-v0" not in listed()[0].names  # the newest version alone


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile_size": 0}, "tile_size=0"),
        ({"mission_words": -1}, "mission_words=-1"),
        ({"view": "sideways"}, "'partial' or 'full'"),
    ],
)
def test_what_cannot_be_is_told(options, message):
    with pytest.raises(UsageError, match=message):
        make(EMPTY, 1, **options)


def test_pictures_for_people():
    env = make(EMPTY, 1, render=True)
    env.reset(np.array([0]), ONE)
    assert env.render().ndim == 3
