"""What is learnt from: rewards times a factor, over the deviation of the discounted return."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.ppo.state import PPOState, Rollout
from heredity.networks.normalizer import EPSILON, update_statistics
from heredity.weights import Params

REWARD_CLIP = 10.0  # deviations; the value of Stable-Baselines3's VecNormalize


def scaled_rewards(
    config: PPOConfig, state: PPOState, params: Params, rollout: Rollout
) -> tuple[jax.Array, jax.Array, Params]:
    """The rewards that are learnt from.

    Args:
        config: Settings.
        state: Has the discounted returns, and the statistics that are not frozen.
        params: All weights.
        rollout: Whose rewards they are.

    Returns:
        The rewards, (T, B); discounted returns after them, (B,); and ``reward``, new statistics
        of these, or {} where nothing is normalised.
    """
    rewards = rollout.rewards * config.reward_scale
    if not config.normalize_rewards:
        return rewards, state.discounted_returns, {}

    def accumulate(total: jax.Array, now: tuple) -> tuple[jax.Array, jax.Array]:
        reward, ended = now
        total = total * config.discount + reward
        return jnp.where(ended, 0.0, total), total

    ended = rollout.terminated | rollout.truncated
    carried, totals = jax.lax.scan(accumulate, state.discounted_returns, (rewards, ended))
    stored = params["normalizer"]["reward"]
    moved = update_statistics(stored, totals)
    # Frozen statistics scale as they are, or they would move with each batch all the same.
    trained = state.statistics.get("normalizer", {}).get("reward", {})
    statistics = {name: (moved if name in trained else stored)[name] for name in stored}
    deviation = jnp.sqrt(statistics["variance"] + EPSILON)
    scaled = jnp.clip(rewards / deviation, -REWARD_CLIP, REWARD_CLIP)
    return scaled, carried, {"reward": statistics}
