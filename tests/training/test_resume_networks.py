"""Train 2N is train N, stop, resume, train N: for every kind of network, and on both paths.

For kinds on their own, in environments of JAX, `tests/lifecycle` asks the same.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import CONFIG, final_bytes, resume, train

from heredity.algorithms.ppo.network_config import NetworkConfig
from heredity.algorithms.ppo.preparing import with_default_reads
from heredity.environments import Environment, make
from heredity.spaces import Box

NETWORKS: dict[str, dict[str, Any]] = {
    "gru": {"kind": "gru", "hidden": (4,), "memory_size": 4},
    "shared gru": {"kind": "gru", "hidden": (4,), "memory_size": 4, "shared": True},
    "shared": {"hidden": (4,), "shared": True},
    "asymmetric": {"hidden": (4,), "actor_reads": ("state",)},
    "bfloat16": {"hidden": (4,), "dtype": "bfloat16"},
    "cnn": {"kind": "cnn", "hidden": (4,), "convolutions": ("2x3/2",)},
}


RUNS = [
    ("shared gru", False),
    ("asymmetric", False),
    ("bfloat16", False),
    ("gru", True),
    ("shared", True),
    ("cnn", True),
]


def test_every_kind_is_resumed():
    assert {name for name, _ in RUNS} == set(NETWORKS)


@pytest.mark.parametrize(("name", "host"), RUNS)
def test_a_resumed_run_ends_in_the_same_bytes(name: str, host: bool, tmp_path: Path):
    # Sequences of eight decisions, episodes of five: memory is cut and forgotten in the middle.
    network = NETWORKS[name]
    length = 8 if network.get("kind") == "gru" else None
    config = dataclasses.replace(CONFIG, network=network, sequence_length=length)
    identity = {"asymmetric": "probe/luck", "cnn": "probe/catch"}.get(name, "probe/recall")

    def env() -> Any:
        return make(identity, num_envs=config.num_envs, length=5, host=host)

    train(tmp_path / "whole", 256, config=config, env=env())
    # Stopped in the middle of the episodes and of a sequence.
    train(tmp_path / "parts", 128, config=config, env=env(), schedule_timesteps=256)
    resume(tmp_path / "parts", total_timesteps=256)
    assert final_bytes(tmp_path / "parts", 256) == final_bytes(tmp_path / "whole", 256)


def half_seen() -> Environment:
    """An environment that says what an actor has."""
    env = make("probe/luck", num_envs=CONFIG.num_envs)
    env.actor_reads = ("state",)
    return env


READS = [
    ({}, ("state",), ()),
    ({"actor_reads": ("**",)}, ("**",), ()),
    ({"critic_reads": ("luck",)}, ("state",), ("luck",)),
    ({"shared": True}, ("state",), ("state",)),
]


@pytest.mark.parametrize(("given", "actor", "critic"), READS)
def test_an_actor_reads_what_its_environment_says_that_it_has(given: dict, actor: Any, critic: Any):
    env = half_seen()
    found = with_default_reads(NetworkConfig(**given), env.observation_space, env.actor_reads)
    assert (found.actor_reads, found.critic_reads) == (actor, critic)
    # Nothing is said of an observation without entries, nor by most environments.
    assert with_default_reads(found, Box((1,)), ("state",)) == found
    assert with_default_reads(NetworkConfig(), env.observation_space, ()) == NetworkConfig()


def test_what_an_environment_says_is_recorded_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    config = dataclasses.replace(CONFIG, network={"hidden": (4,)}, num_steps=8)
    silent = make("probe/luck", num_envs=CONFIG.num_envs)
    with caplog.at_level(logging.INFO, "heredity"):
        train(tmp_path / "new", 32, config=config, env=half_seen())
    assert "the actor reads state; the critic reads luck, state" in caplog.text
    last = resume(tmp_path / "new", env=silent, total_timesteps=64)[-1]
    assert last.policy.spec.actor.reads == ("state",)
    # As a run that began when the environment said nothing.
    train(tmp_path / "old", 32, config=config, env=silent)
    last = resume(tmp_path / "old", env=half_seen(), total_timesteps=64)[-1]
    assert last.policy.spec.actor.reads == ()
