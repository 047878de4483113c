"""Rollouts of pictures go through a network in parts, and come out as they would in one."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.algorithms.ppo import unrolling
from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.ppo.state import Rollout
from heredity.common.seeds import AXIS
from heredity.spaces import Box, Discrete

STEPS, ENVS = 8, 3
PICTURE = Box((6, 6, 2), 0, 255, "uint8")
SIZE = 4 * 6 * 6 * 2 * STEPS * ENVS  # of the rollout as float32
CNN = {"kind": "cnn", "hidden": (8,), "convolutions": ("4x3/1",)}
NETWORKS: dict[str, dict[str, Any]] = {
    "cnn": CNN,
    "gru": {**CNN, "kind": "gru", "memory_size": 4},
    "shared gru": {**CNN, "kind": "gru", "memory_size": 4, "shared": True},
}


def build(network: dict[str, Any]) -> PPO:
    config = PPOConfig(num_envs=ENVS, num_steps=STEPS, num_minibatches=1, network=network)
    return PPO(config, PICTURE, Discrete(3), schedule_timesteps=100)


def rollout_of(ppo: PPO) -> Rollout:
    """Of noise; episodes begin here and there."""
    draw = np.random.default_rng(0)
    shape = (STEPS, ENVS)
    pictures = draw.integers(0, 256, (STEPS + 1, ENVS, *PICTURE.shape)).astype(np.uint8)
    zeros, never = jnp.zeros(shape), jnp.zeros(shape, bool)
    carry = jax.tree.map(lambda leaf: leaf + 0.5, ppo.functions.initial_carry((ENVS,)))
    rollout = Rollout(
        pictures[:-1], jnp.asarray(draw.integers(0, 3, shape)), zeros, zeros, zeros + 1.0,
        never, never, zeros, pictures[-1], last_carry=carry,
    )  # fmt: skip
    if not ppo.functions.has_memory:
        return rollout
    first = jnp.asarray(draw.random(shape) < 0.2)
    carries = jax.tree.map(lambda leaf: leaf[None], carry)
    return rollout._replace(is_first=first, carries=carries, last_is_first=first[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_parts_give_what_the_whole_gives(name: str, monkeypatch: pytest.MonkeyPatch):
    ppo = build(NETWORKS[name])
    _, state = ppo.init(0)
    rollout = rollout_of(ppo)
    seen = ppo.functions.preprocess(state.params, rollout.observations)

    def told() -> Any:
        described = ppo.described(state.params, rollout)
        unroll = ppo.functions.unroll_values
        values = ppo._over_rollout(unroll, state.params, seen, rollout)
        return described.parameters, described.log_probs, values

    whole = jax.jit(lambda: told())()
    monkeypatch.setattr(unrolling, "MOST_BYTES", SIZE // 4)
    program = str(jax.make_jaxpr(told)())
    assert unrolling.parts_of(PICTURE, STEPS, ENVS) == 4 and "length=4" in program
    for one, other in zip(whole, jax.jit(lambda: told())(), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    # As the loss has them, both at once.
    is_first = rollout.is_first if ppo.functions.has_memory else None
    carry = jax.tree.map(lambda leaf: leaf[0], rollout.carries)
    parameters, values = ppo.functions.unroll(state.params, seen, carry, is_first)
    np.testing.assert_allclose(whole[0], parameters, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whole[2], values, rtol=1e-5, atol=1e-6)


def test_memory_is_bounded_by_a_part(monkeypatch: pytest.MonkeyPatch):
    ppo = build(CNN)
    _, state = ppo.init(0)
    rollout = rollout_of(ppo)
    many = jax.ShapeDtypeStruct((64, ENVS, *PICTURE.shape), jnp.uint8)

    def temporary() -> int:
        def values(pictures: jax.Array) -> jax.Array:
            longer = rollout._replace(rewards=jnp.zeros((64, ENVS)))
            return ppo._over_rollout(ppo.functions.unroll_values, state.params, pictures, longer)

        compiled: Any = jax.jit(values).lower(many).compile().memory_analysis()
        return compiled.temp_size_in_bytes

    whole = temporary()
    monkeypatch.setattr(unrolling, "MOST_BYTES", SIZE // 4)
    assert temporary() < whole / 8


def test_how_many_parts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unrolling, "MOST_BYTES", SIZE // 3)
    assert unrolling.parts_of(PICTURE, STEPS, ENVS) == 4  # that many divide the steps
    assert unrolling.parts_of(PICTURE, STEPS, 100 * ENVS) == STEPS
    assert unrolling.parts_of(PICTURE, 1, 100 * ENVS) == 1
    assert unrolling.parts_of(Box((10**6,)), STEPS, ENVS) == 1
    seeds = jnp.ones(2)
    parts = jax.vmap(
        lambda _: unrolling.parts_of(PICTURE, STEPS, ENVS), axis_name=AXIS, out_axes=None
    )
    assert parts(seeds) == 8
