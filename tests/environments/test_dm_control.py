"""The control suite: its own numbers under its own names, and both endings."""

import os
import subprocess
import sys

import numpy as np
import pytest
from tests.environments.resuming import actions_of, maker_survives_pickling, restored

from heredity.common.errors import HeredityError, UsageError
from heredity.environments import dm_control as adapter
from heredity.environments import find_adapter, make
from heredity.spaces import Box, Dict

pytest.importorskip("dm_control")

SWINGUP = "dm_control/cartpole-swingup"
ONE = np.ones(1, bool)


def test_it_is_the_suites_own_task():
    env = make("dm_control/walker-walk", 1)
    own = adapter._suite().load("walker", "walk", task_kwargs={"random": 5})
    assert env.observation_space == Dict(
        {"height": Box(()), "orientations": Box((14,)), "velocity": Box((9,))}
    )
    assert env.action_space == Box((6,), -1, 1)
    assert (env.max_episode_steps, env.step_seconds) == (1000, 0.025)
    seen, moment = env.reset(np.array([5]), ONE), own.reset()
    for action in [*actions_of(env, 30), None]:
        for name, value in moment.observation.items():
            assert seen[name].dtype == np.float32
            np.testing.assert_array_equal(seen[name][0], np.float32(value))
        if action is not None:
            result, moment = env.step(action), own.step(action[0])
            assert result.reward[0] == np.float32(moment.reward)
            seen = result.observation


def test_what_follows_the_end_decides_which_end_it_is(monkeypatch):
    env = make(SWINGUP, 2, max_episode_steps=3)
    env.reset(np.array([1, 2]), np.ones(2, bool))
    task = env._stepper.envs[0]._env.task
    monkeypatch.setattr(task, "get_termination", lambda physics: 0.0)
    result = env.step(np.zeros((2, 1), np.float32))
    np.testing.assert_array_equal(result.terminated, [True, False])
    assert not result.truncated.any()
    monkeypatch.setattr(task, "get_termination", lambda physics: 1.0)
    env.reset(np.array([1, 2]), np.array([True, False]))
    result = env.step(np.zeros((2, 1), np.float32))  # discount 1: nothing ended, it was stopped
    np.testing.assert_array_equal(result.truncated, [True, False])
    assert not result.terminated.any()
    env.reset(np.array([1, 2]), np.array([True, False]))
    monkeypatch.undo()
    result = env.step(np.zeros((2, 1), np.float32))
    np.testing.assert_array_equal(result.truncated, [False, True])


@pytest.mark.parametrize("name", ["lqr-lqr_2_1", "finger-turn_easy"])
def test_it_can_be_resumed(name):
    """One draws its model, the other its target."""
    answer, same = restored(f"dm_control/{name}", steps=15, more=10)
    assert answer.exact and same


def test_a_simulation_that_breaks_says_of_what():
    env = make("dm_control/lqr-lqr_2_1", 1)
    assert env.max_episode_steps is None
    env.reset(np.array([0]), ONE)
    with pytest.raises(HeredityError, match=r"lqr-lqr_2_1: .* actions up to 1e\+12 were given"):
        env.step(np.full((1, 1), 1e12, np.float32))


def test_every_task_is_named_and_can_be_sent_to_a_worker(monkeypatch):
    names = find_adapter(SWINGUP).names()
    assert len(names) > 40 and {"walker-walk", "ball_in_cup-catch"} <= set(names)
    assert maker_survives_pickling(monkeypatch, adapter, SWINGUP)
    for options, message in (({"pixels": -1}, "pixels=-1"), ({"only_pixels": True}, "nothing to")):
        with pytest.raises(UsageError, match=message):
            make(SWINGUP, 1, **options)


def test_pixels():
    try:
        env = make(SWINGUP, 1, pixels=32, only_pixels=True, render=True)
    except UsageError as error:
        assert "EGL" in str(error)
        pytest.skip(str(error))
    assert env.observation_space == Dict({"pixels": Box((32, 32, 3), 0, 255, "uint8")})
    first = env.reset(np.array([1]), ONE)["pixels"]
    for _ in range(10):
        seen = env.step(np.ones((1, 1), np.float32)).observation["pixels"]
    assert seen.dtype == np.uint8 and not np.array_equal(seen, first)
    assert env.render().shape == (240, 320, 3)
    assert list(make(SWINGUP, 1, pixels=32).observation_space) == ["pixels", "position", "velocity"]
    env.close()


CANNOT_DRAW = """
import numpy as np
from heredity.common.errors import UsageError
from heredity.environments import make

env = make("dm_control/cartpole-swingup", 1)
env.reset(np.array([1]), np.ones(1, bool))
try:
    make("dm_control/cartpole-swingup", 1, pixels=8)
except UsageError as error:
    print(error)
"""


def test_without_anything_to_draw_with_only_pixels_are_lacking(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CANNOT_DRAW],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MUJOCO_GL": "off"},
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{SWINGUP} cannot draw pixels here")
    assert "MUJOCO_GL" in done.stdout
