"""Runs whose environments live in processes that die: they finish, and tell."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import CONFIG, SIZE, resume, train

from heredity.algorithms.ppo.networks import policy_spec
from heredity.common.errors import HeredityError
from heredity.common.run_folder import RunFolder
from heredity.environments import HostEnvironment, TimeStep, make
from heredity.environments.gymnasium_vectors import AsyncEnvironment
from heredity.policies import ActorCritic
from heredity.spaces import Box, Discrete
from heredity.training.callbacks import Callback
from heredity.training.checkpoints import read_manifest
from heredity.training.evaluation import Evaluator
from heredity.training.host_evaluation import DEATHS_IN_AN_EVALUATION

DEATHS = 10


def cart_poles(**options: Any) -> HostEnvironment:
    return make("gym/CartPole-v1", CONFIG.num_envs, vectorization="async", workers=2, **options)


class Killer(Callback):
    """Kills a worker of the environment after each of so many stretches of training."""

    def __init__(self, env: HostEnvironment, times: int) -> None:
        assert isinstance(env, AsyncEnvironment)
        self.processes, self.left = env._vector.processes, times

    def on_progress(self, step: int, row: dict[str, float]) -> None:
        if self.left:
            self.left -= 1
            os.kill(self.processes[self.left % 2].pid, signal.SIGKILL)


def test_a_run_whose_workers_are_killed_ten_times_finishes_and_reports_ten_restarts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("heredity.training.loop.STRETCH_SECONDS", 0.0)  # an iteration each
    env, total = cart_poles(), (DEATHS + 2) * SIZE
    kept = {"log_every": SIZE, "checkpoint_every": total // 2, "snapshot_every": None}
    try:
        with caplog.at_level(logging.WARNING, "heredity"):
            events = train(tmp_path, total, Killer(env, DEATHS), env=env, **kept)
        assert events[-1].step == total
        assert env.restarts == DEATHS
    finally:
        env.close()
    told = [r.getMessage() for r in caplog.records if "is started again" in r.getMessage()]
    assert caplog.messages[-1].startswith(f"{DEATHS} restarts in this run")
    assert len(told) == DEATHS and "(SIGKILL)" in told[0] and f"restart {DEATHS} " in told[-1]

    folder = RunFolder(tmp_path)
    counts = folder.read_metrics()["environment/restarts"]
    np.testing.assert_array_equal(counts, [np.nan, *range(1, DEATHS + 1), DEATHS])
    manifest = read_manifest(folder.checkpoint(total))
    assert manifest["restarts"] == DEATHS
    reason = "a process of the environment died and was started again"
    assert manifest["exactness"] == {"exact": False, "reason": reason}
    assert events[-1].policy.lineage.entries[-1].arguments == {"restarts": DEATHS}

    # Who goes on plays the running episodes again, and keeps counting.
    caplog.clear()
    with caplog.at_level(logging.WARNING, "heredity"):
        resume(tmp_path, total_timesteps=total + 2 * SIZE)
    assert "not exact" not in caplog.text
    assert folder.read_metrics()["environment/restarts"][-1] == DEATHS
    assert read_manifest(folder.checkpoint(total + 2 * SIZE))["restarts"] == DEATHS


class Mortal(HostEnvironment):
    """Episodes of three decisions; some are lost, or all."""

    observation_space, action_space = Box((1,)), Discrete(2)
    max_episode_steps = 3

    def __init__(self, dying: set[int] | None = None, num_envs: int = 2) -> None:
        self.num_envs = num_envs
        self.time = np.zeros(num_envs, int)
        self.calls = 0
        self.dying = dying  # calls at which environment 0 dies; None: at all of them

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> np.ndarray:
        self.time[mask] = 0
        return self.time[:, None].astype(np.float32)

    def step(self, actions: np.ndarray) -> TimeStep:
        self.calls += 1
        self.time += 1
        lost, reward = None, np.ones(self.num_envs, np.float32)
        truncated = self.time >= 3
        if self.dying is None or self.calls in self.dying:
            self.restarts += 1
            lost = np.arange(self.num_envs) == 0
            reward, truncated = reward * ~lost, truncated | lost
        seen = self.time[:, None].astype(np.float32)
        return TimeStep(seen, reward, np.zeros(self.num_envs, bool), truncated, {}, lost)


def evaluator(env: HostEnvironment, episodes: int) -> tuple[Evaluator, Any]:
    spec = policy_spec(CONFIG, env.observation_space, env.action_space)
    return Evaluator(spec, env, episodes, record=True), ActorCritic(spec).init(0)


def test_a_lost_episode_is_no_score_and_no_recording():
    scorer, params = evaluator(Mortal({2, 8}), 4)
    played = scorer.evaluate(params)
    # Another is played for each; and the recording is of the first that was whole.
    assert played.returns.tolist() == [3.0] * 4 and played.lengths.tolist() == [3] * 4
    assert played.cut == 0 and scorer.restarts == 2
    assert played.recording is not None
    assert (len(played.recording.rewards), played.recording.end) == (3, "truncated")
    np.testing.assert_array_equal(played.recording.observations[:, 0], [0, 1, 2, 3])


def test_an_evaluation_in_which_everything_dies_is_given_up():
    scorer, params = evaluator(Mortal(), 1)
    with pytest.raises(HeredityError, match=f"{DEATHS_IN_AN_EVALUATION + 1} processes .* died"):
        scorer.evaluate(params)


def test_a_lost_episode_is_in_no_mean_of_training():
    rows = []
    env = Mortal({2, 8, 9}, CONFIG.num_envs)
    heard = Callback()
    heard.on_progress = lambda step, row: rows.append(row)
    train(None, SIZE, heard, env=env, evaluation_episodes=0)
    (row,) = rows
    assert row["rollout/ep_len_mean"] == row["rollout/ep_rew_mean"] == 3.0
    # Of three decisions, sixteen are made: five whole ones each, but three where some were lost.
    assert row["rollout/episodes"] == 3 * 5 + 3
