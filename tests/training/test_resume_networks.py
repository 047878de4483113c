"""Train 2N is train N, stop, resume, train N: for every kind of network, on both paths."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import CONFIG, final_bytes, resume, train

from heredity.environments import make

NETWORKS: dict[str, dict[str, Any]] = {
    "gru": {"kind": "gru", "hidden": (4,), "memory_size": 4},
    "shared gru": {"kind": "gru", "hidden": (4,), "memory_size": 4, "shared": True},
    "shared": {"hidden": (4,), "shared": True},
    "asymmetric": {"hidden": (4,), "actor_reads": ("state",)},
    "bfloat16": {"hidden": (4,), "dtype": "bfloat16"},
    "cnn": {"kind": "cnn", "hidden": (4,), "convolutions": ("2x3/2",)},
}


@pytest.mark.parametrize("host", [False, True], ids=["jax", "host"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_resumed_run_ends_in_the_same_bytes(name: str, host: bool, tmp_path: Path):
    # Sequences of eight decisions, episodes of five: memory is cut and forgotten in the middle.
    config = dataclasses.replace(CONFIG, network=NETWORKS[name], sequence_length=8)
    identity = {"asymmetric": "probe/luck", "cnn": "probe/catch"}.get(name, "probe/recall")

    def env() -> Any:
        return make(identity, num_envs=config.num_envs, length=5, host=host)

    train(tmp_path / "whole", 256, config=config, env=env())
    # Stopped in the middle of the episodes and of a sequence.
    train(tmp_path / "parts", 128, config=config, env=env(), schedule_timesteps=256)
    resume(tmp_path / "parts", total_timesteps=256)
    assert final_bytes(tmp_path / "parts", 256) == final_bytes(tmp_path / "whole", 256)
