"""What PPO changes while it trains, and what it learns from."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax

from heredity.common.streams import stream
from heredity.weights import Params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PPOState:
    """Everything that training changes, and nothing else.

    Args:
        params: Trained weights of the actor and the critic.
        statistics: ``normalizer/…``; {} without normalisation.
        optimizer: State of the gradient transformation.
        learning_rate: float32; moves only under adaptive_kl.
        discounted_returns: Running discounted return of each environment, (B,), for the reward
            normaliser.
        steps: Counter of environment steps.
        iterations: Counter of updates.
        attempt: uint32; how often training was rolled back. Every draw depends on it.
        seed: uint32.
        experience: Environments in the middle of their episodes; () when they live on the host.
    """

    params: Params
    statistics: Params
    optimizer: Any
    learning_rate: jax.Array
    discounted_returns: jax.Array
    steps: jax.Array
    iterations: jax.Array
    attempt: jax.Array
    seed: jax.Array
    experience: Any = ()

    def key(self, purpose: str, *counts: jax.Array | int) -> jax.Array:
        """The key for one purpose in this iteration."""
        high, low = self.iterations[0], self.iterations[1]
        return stream(self.seed, purpose, self.attempt, high, low, *counts)


class Rollout(NamedTuple):
    """What acting gave, for one update.

    Args:
        observations: Acted on, (T, B, ...); () where they are encoded, and needed for nothing else.
        raw_actions: Drawn, (T, B, ...).
        log_probs: (T, B).
        parameters: Of the distributions drawn from, (T, B, P).
        rewards: (T, B), as the environment gave them.
        terminated: (T, B), bool.
        truncated: (T, B), bool.
        final_values: (T, B); where truncated, the value of the true last observation, else 0.
        last_observation: After the last step (of the next episode where one ended), (B, ...).
        is_first: Where episodes begin, (T, B); () without memory.
        carries: Memory before the first moment of each sequence, (T / L, B, ...).
        last_carry: Memory after the last step, (B, ...).
        last_is_first: Whether an episode begins after the last step, (B,).
        encoded: What frozen encoders made of the observations, (T, B, ...); () without.
    """

    observations: Any
    raw_actions: jax.Array
    log_probs: jax.Array
    parameters: jax.Array
    rewards: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    final_values: jax.Array
    last_observation: Any
    is_first: Any = ()
    carries: Any = ()
    last_carry: Any = ()
    last_is_first: Any = None
    encoded: Any = ()
