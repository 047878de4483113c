"""Runs that have no room in memory are refused before anything of them is made."""

from __future__ import annotations

import types
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_runs import CONFIG, environment, train

from heredity.algorithms.ppo.algorithm import PPO
from heredity.common.errors import UsageError
from heredity.environments import make, room
from heredity.environments.room import bytes_of
from heredity.training.room import check_room_to_train


def test_a_run_that_has_no_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "memory_here", lambda: 1000)
    with pytest.raises(UsageError, match=r"^num_steps 16 x num_envs 4 observations of .*lower num"):
        train(tmp_path / "run", 64)
    with pytest.raises(UsageError, match=r"^num_steps 16 x num_envs 4 observations"):
        train(None, 64, env=make("probe/constant-reward", CONFIG.num_envs, host=True))
    assert not (tmp_path / "run").exists()


def test_what_is_counted(monkeypatch: pytest.MonkeyPatch):
    env = environment()
    algorithm = PPO(CONFIG, env.observation_space, env.action_space, schedule_timesteps=1)
    params = jax.eval_shape(algorithm.init, np.uint32(0))[1].params
    weights = sum(leaf.size * 4 for leaf in jax.tree.leaves(params))
    needed = 16 * 4 * bytes_of(env.observation_space) + 4 * weights
    monkeypatch.setattr(room, "memory_here", lambda: needed)
    check_room_to_train(algorithm, params)
    monkeypatch.setattr(room, "memory_here", lambda: needed - 1)
    with pytest.raises(UsageError, match=f"and {weights:,} bytes of weights"):
        check_room_to_train(algorithm, params)
    with pytest.raises(UsageError, match=r"^3 seeds, each with num_steps 16 x"):
        check_room_to_train(algorithm, params, 3)
    # Devices with a memory of their own are asked for it: each of them keeps all.
    large, small = (
        types.SimpleNamespace(memory_stats=lambda room=room: {"bytes_limit": room})
        for room in (needed, needed - 1)
    )
    monkeypatch.setattr(jax, "local_devices", lambda: [large, large])
    check_room_to_train(algorithm, params)
    monkeypatch.setattr(jax, "local_devices", lambda: [large, small])
    with pytest.raises(UsageError, match="of memory here"):
        check_room_to_train(algorithm, params)
