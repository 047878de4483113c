"""MuJoCo draws without a screen, and neither prints nor writes its warnings."""

import logging
import os
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from heredity.environments import make, mujoco_setup

pytest.importorskip("mujoco")


@pytest.mark.parametrize(
    ("before", "installed", "after"),
    [
        ({}, {"EGL", "OSMesa"}, "egl"),
        ({}, {"OSMesa"}, "osmesa"),
        ({}, set(), None),
        ({"MUJOCO_GL": "glfw"}, {"EGL"}, "glfw"),
        ({"DISPLAY": ":0"}, {"EGL"}, None),
    ],
)
def test_what_draws_is_chosen_where_there_is_no_screen(before, installed, after, monkeypatch):
    monkeypatch.setattr(mujoco_setup.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    find = lambda name: name if name in installed else None  # noqa: E731
    monkeypatch.setattr(mujoco_setup.ctypes.util, "find_library", find)
    mujoco_setup.choose_opengl()
    assert os.environ.get("MUJOCO_GL") == after


def test_warnings_are_logged_once_each(caplog, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mujoco_setup._log_once.cache_clear()
    with caplog.at_level(logging.DEBUG, "heredity"):
        make("gym/HalfCheetah-v5", 2)  # its model has a deprecated word
        mujoco_setup._log(b"Nan at DOF 0. The simulation is unstable. Time = 0.1")
        mujoco_setup._log("Nan at DOF 0. The simulation is unstable. Time = 0.2")
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in told] == ["DEBUG", "WARNING"]
    assert "settotalmass" in told[0][1] and "unstable" in told[1][1]
    assert list(Path().iterdir()) == [] and capfd.readouterr() == ("", "")


def test_gymnasiums_mujoco_is_its_own():
    env, own = make("gym/HalfCheetah-v5", 1), gym.make("HalfCheetah-v5")
    expected, _ = own.reset(seed=3)
    np.testing.assert_array_equal(
        env.reset(np.array([3]), np.ones(1, bool))[0], expected.astype(np.float32)
    )
    assert env.max_episode_steps == 1000 and env.step_seconds == pytest.approx(0.05)
