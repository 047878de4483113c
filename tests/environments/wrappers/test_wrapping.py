"""Wrappers as options of every adapter, and `wrap`."""

import dataclasses
import json
import sys
import textwrap

import numpy as np
import pytest
from foretold import Camera, Countdown, assert_it_comes_back, play

import heredity as hd
from heredity.common.errors import UnknownNameError, UsageError
from heredity.environments import (
    EnvironmentSpec,
    JaxEnvironment,
    make,
    make_recorded,
    options_of,
    wrap,
)
from heredity.environments.hosted import HostedEnvironment

ALL = {
    "max_episode_steps": 7,
    "action_repeat": 2,
    "grayscale": True,
    "resize": (3, 5),
    "frame_stack": 4,
    "reward_scale": 0.5,
    "reward_clip": 2.0,
}

FACTORIES = textwrap.dedent(
    '''
    from heredity.environments.probes import AlwaysTruncated

    def probe(length: int = 4):
        """A probe of my own."""
        return AlwaysTruncated(length)

    def limited(max_episode_steps: int = 4, **more):
        """One with a limit of its own."""
        return AlwaysTruncated(max_episode_steps)
    '''
)


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "my_wrapped_environments.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_wrapped_environments", raising=False)
    return "my_wrapped_environments"


def test_a_spec_holds_them_and_makes_the_same_again():
    env = make("gym/CartPole-v1", 2, action_repeat=2, frame_stack=4)
    assert (env.action_repeat, env.max_episode_steps) == (2, 250)
    assert env.observation_space.shape == (16,)
    assert env.spec.options["frame_stack"] == 4
    written = json.loads(json.dumps(env.spec.to_json()))
    again = make_recorded(EnvironmentSpec(**written), 2)
    assert again.spec == env.spec
    for mine, theirs in zip(play(env, [0, 1]), play(again, [0, 1]), strict=True):
        np.testing.assert_array_equal(getattr(mine, "observation", mine),
                                      getattr(theirs, "observation", theirs))  # fmt: skip


def test_a_spec_tells_only_those_that_do_something():
    bare = make("probe/constant-reward").spec
    assert make("probe/constant-reward", frame_stack=1, reward_scale=1.0).spec == bare
    told = make("gymnax/Breakout-MinAtar", resize=[5, 5]).spec.options
    assert told == {"max_episode_steps": None, "params": {}, "resize": [5, 5]}


def test_they_are_applied_in_a_fixed_order():
    env = wrap(Camera(30), **ALL)
    # 3 of gray, stacked 4 times; 7 steps are 4 decisions of 2; 1 + 2 is 1.5, 3 + 4 is cut to 2
    assert env.observation_space["picture"].shape == (3, 5, 4)
    assert env.max_episode_steps == 4 and env.action_repeat == 2
    steps = play(env, [0, 0, 0, 0])[1:]
    assert [step.reward[0] for step in steps] == [1.5, 2, 2, 2]
    assert [step.truncated.any() for step in steps] == [False, False, False, True]
    assert steps[-1].observation["time"].tolist() == [[2, 4, 6, 7]] * 2


def test_all_of_them_come_back_together():
    env = wrap(HostedEnvironment(Camera(4), 4), **{**ALL, "max_episode_steps": 60})
    assert_it_comes_back(env)
    env = make("gym/CartPole-v1", 3, action_repeat=3, frame_stack=2, reward_clip=1)
    assert_it_comes_back(env)


def test_who_has_one_of_their_own_keeps_it():
    names = {
        id: {field.name for field in dataclasses.fields(options_of(id))}
        for id in ("gym/CartPole-v1", "gymnax/CartPole-v1", "probe/constant-reward")
    }
    wrappers = set(ALL)
    assert all(wrappers <= names[id] for id in names)
    assert make("gym/CartPole-v1", 1, max_episode_steps=9).spec.options["max_episode_steps"] == 9
    with pytest.raises(UnknownNameError, match="option of gym/CartPole-v1 'frame_stak': did you"):
        make("gym/CartPole-v1", frame_stak=4)
    with pytest.raises(UsageError, match="option frame_stack='4' of probe/constant-reward: a whol"):
        make("probe/constant-reward", frame_stack="4")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"action_repeat": 0}, "action_repeat=0: a whole number >= 1"),
        ({"frame_stack": -1}, "frame_stack=-1: a whole number >= 1"),
        ({"reward_scale": 0.0}, "reward_scale=0.0: a number > 0"),
        ({"reward_scale": float("nan")}, "reward_scale=nan"),
        ({"reward_clip": -1.0}, "reward_clip=-1.0: a number > 0"),
        ({"grayscale": 1}, "true or false"),
        ({"resize": "big"}, "a list of a whole number"),
    ],
)
def test_wrong_values_are_refused_by_all_who_take_them(option, message):
    with pytest.raises(UsageError, match=message):
        wrap(Countdown(), **option)
    with pytest.raises(UsageError, match=message):
        make("probe/constant-reward", **option)


def test_what_cannot_be_wrapped_is_closed(monkeypatch):
    from heredity.environments.gymnasium_vectors import SyncEnvironment

    closed = []
    monkeypatch.setattr(SyncEnvironment, "close", lambda self: closed.append(self))
    with pytest.raises(UsageError, match="resize: pictures"):
        make("gym/CartPole-v1", 1, resize=(4, 4))
    assert len(closed) == 1


def test_factories_are_wrapped_too(own_module):
    env = make(f"{own_module}:probe", 2, length=7, frame_stack=3, max_episode_steps=5)
    assert env.observation_space.shape == (3,) and env.max_episode_steps == 5
    assert env.spec.options == {"length": 7, "frame_stack": 3, "max_episode_steps": 5}
    assert env.num_envs == 2
    again = make(env.spec.id, **env.spec.options)
    assert again.spec == env.spec
    assert "frame_stack" in {f.name for f in dataclasses.fields(options_of(f"{own_module}:probe"))}
    # What its signature names is its own.
    env = make(f"{own_module}:limited", max_episode_steps=6)
    assert not hasattr(env, "env") and env.max_episode_steps == 6
    with pytest.raises(UsageError, match=r"option frame_stack=2\.5"):
        make(f"{own_module}:probe", frame_stack=2.5)


def test_wrap_writes_into_the_spec_what_makes_the_same_again():
    env = wrap(make("probe/two-step-discount", 5), frame_stack=2)
    assert env.num_envs == 5
    assert env.spec == make("probe/two-step-discount", frame_stack=2).spec
    assert wrap(Countdown(), frame_stack=2).spec is None
    assert isinstance(wrap(Countdown(), frame_stack=2), JaxEnvironment)
    bare = Countdown()
    assert wrap(bare) is bare
    with pytest.raises(UsageError, match=r"reward_clip=1.0 has to be given when .*two-step"):
        wrap(env, reward_clip=1)
    with pytest.raises(UsageError, match=r"max_episode_steps=5 has to be given when gym/CartPole"):
        wrap(make("gym/CartPole-v1", 1), max_episode_steps=5)
    with pytest.raises(UsageError, match="env is a str"):
        wrap("gym/CartPole-v1")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("host", [False, True], ids=["jax", "host"])
def test_a_run_remembers_them(host, tmp_path):
    """What is resumed is made again from its file, wrappers included, and goes on exactly."""
    options = {"host": host, "length": 5, "frame_stack": 2, "action_repeat": 2}
    small = {"num_steps": 16, "num_minibatches": 2, "num_epochs": 1, "num_envs": 4}
    small |= {"network": {"hidden": (8,)}}

    def bytes_at(directory):
        files = sorted((directory / "checkpoints" / "last").rglob("*.safetensors"))
        return [file.read_bytes() for file in files]

    def model():
        return hd.PPO(make("probe/observation-action-reward", 4, **options), **small)

    model().learn(768, directory=tmp_path / "whole", evaluation_episodes=0)
    model().learn(384, directory=tmp_path / "parts", evaluation_episodes=0, schedule_timesteps=768)
    hd.resume(tmp_path / "parts").learn(768)
    assert bytes_at(tmp_path / "parts") == bytes_at(tmp_path / "whole")
    assert len(bytes_at(tmp_path / "whole")) == 2
    record = json.loads((tmp_path / "parts" / "config.json").read_text())
    assert record["environment"]["options"]["frame_stack"] == 2
