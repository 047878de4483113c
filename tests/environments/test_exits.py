"""Environments that want to end the program are ones that failed."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.environments.counting import Counting

from heredity.common.errors import HeredityError
from heredity.environments import HostEnvironment, SeededEpisodes
from heredity.environments.gymnasium_vectors import AsyncEnvironment, SyncEnvironment, make_vector
from heredity.environments.vectors import VectorOptions
from heredity.spaces import Box, Discrete

BOTH, SEEDS, ONES = np.ones(2, bool), np.arange(2), np.ones(2, np.int64)


class Leaving(Counting):
    """Calls ``sys.exit`` at one moment."""

    def __init__(self, moment: str, code: Any = 3):
        super().__init__(render_mode="rgb_array")
        self.moment, self.code = moment, code
        self.leave_at("__init__")

    def leave_at(self, moment: str) -> None:
        if moment == self.moment:
            sys.exit(self.code)

    def reset(self, **kwargs: Any) -> Any:
        self.leave_at("reset")
        return super().reset(**kwargs)

    def step(self, action: Any) -> Any:
        if self.steps == 2:
            self.leave_at("step")
        return super().step(action)

    def render(self) -> Any:
        self.leave_at("render")
        return super().render()

    def close(self) -> None:
        self.leave_at("close")


def play(env: SyncEnvironment | AsyncEnvironment) -> None:
    env.reset(SEEDS, BOTH)
    for _ in range(3):
        env.step(ONES)
    env.render()
    env.close()


@pytest.mark.parametrize("moment", ["__init__", "reset", "step", "render", "close"])
def test_an_environment_cannot_end_the_program(moment: str):
    line = r"\(.*test_exits\.py:\d+\)"
    told = rf"^gym/Leaving-v0 called sys\.exit\(3\) in {moment} {line}, which would end the program"
    with pytest.raises(HeredityError, match=told) as error:
        play(SyncEnvironment([functools.partial(Leaving, moment)] * 2, "gym/Leaving-v0"))
    assert error.value.exit_code == 1
    assert isinstance(error.value.__cause__, SystemExit)


class Asking(Leaving):
    def reset(self, **kwargs: Any) -> Any:
        argparse.ArgumentParser().parse_args(["--unknown"])


def test_the_line_is_one_of_ones_own():
    env = SyncEnvironment([functools.partial(Asking, "reset")], "mine")
    with pytest.raises(HeredityError, match=r"in reset \(.*test_exits\.py:\d+\), which would"):
        env.reset(SEEDS[:1], BOTH[:1])


def test_nor_in_a_worker_where_it_is_no_death():
    env = AsyncEnvironment([functools.partial(Leaving, "step")] * 2, workers=1, id="mine")
    try:
        with pytest.raises(HeredityError, match=r"^mine called sys\.exit\(3\) in step"):
            play(env)
        assert env.restarts == 0
    finally:
        env.close()


def test_nor_while_somebody_looks_whether_it_draws(caplog: pytest.LogCaptureFixture):
    def maker(moment: str) -> Callable[[bool], Callable[[], Leaving]]:
        return lambda render: functools.partial(Leaving, moment)

    with pytest.raises(HeredityError, match=r"^mine called sys\.exit\(3\) in __init__"):
        make_vector("mine", maker("__init__"), 2, VectorOptions(render=True))
    make_vector("mine", maker("render"), 2, VectorOptions(render=True)).close()
    assert "mine cannot be drawn here" in caplog.text and "called sys.exit(3)" in caplog.text


def test_an_exit_without_a_code():
    env = SyncEnvironment([functools.partial(Leaving, "reset", None)])
    with pytest.raises(HeredityError, match=r"^Leaving called sys\.exit\(\) in reset"):
        env.reset(SEEDS[:1], BOTH[:1])


def test_environments_that_are_stepped_apart_from_others():
    env = SyncEnvironment([functools.partial(Leaving, "step")] * 2)
    env.reset(SEEDS, BOTH)
    env.step(ONES)
    env.step(ONES)
    with pytest.raises(HeredityError, match="in step"):
        env._stepper.step_one(1, ONES[1])


class LeavingVector(HostEnvironment):
    observation_space, action_space = Box((1,)), Discrete(2)
    num_envs = 1

    def __init__(self, moment: str):
        self.moment = moment

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> Any:
        if self.moment == "reset":
            sys.exit("no way")
        return np.zeros((1, 1), np.float32)

    def step(self, actions: np.ndarray) -> Any:
        sys.exit(0)


@pytest.mark.parametrize(("moment", "code"), [("reset", "'no way'"), ("step", "0")])
def test_vectors_of_ones_own_cannot_either(moment: str, code: str):
    episodes = SeededEpisodes(LeavingVector(moment), 0)
    with pytest.raises(
        HeredityError, match=rf"^LeavingVector called sys\.exit\({code}\) in {moment}"
    ):
        episodes.start()
        episodes.step(np.zeros(1, int))
