"""Adam in which each weight has its own age."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.training_plan import TrainingPlan
from heredity.weights import Params

_DECAY, _DECAY_OF_SQUARES = 0.9, 0.999  # what optax, and everybody else, has


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AdamState:
    """Moments of the weights that are trained.

    Args:
        count: Steps since each stage began, (stages,) int32.
        mu: Means of gradients.
        nu: Means of their squares.
    """

    count: jax.Array
    mu: Any
    nu: Any


def adam(plan: TrainingPlan, config: PPOConfig, weights: Params) -> optax.GradientTransformation:
    """Clip by global norm, then Adam, without the learning rate (the update applies it).

    The moments of a weight that is new are zero. Corrected by the age of the oldest, its first
    steps would be more than three times too long: each is corrected by its own.

    Args:
        plan: Since when each weight is trained.
        config: Settings.
        weights: Those that are trained; `update` then takes them as one vector.
    """

    def init(params: Any) -> Any:
        mu, nu = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
        return AdamState(jnp.zeros(plan.stage + 1, jnp.int32), mu, nu)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        count = state.count + 1
        mu = (1 - _DECAY) * updates + _DECAY * state.mu
        nu = (1 - _DECAY_OF_SQUARES) * jnp.square(updates) + _DECAY_OF_SQUARES * state.nu

        def corrected(moments: jax.Array, decay: float) -> jax.Array:
            return moments / plan.of_stages(1 - decay ** count.astype(jnp.float32), weights)

        means, squares = corrected(mu, _DECAY), corrected(nu, _DECAY_OF_SQUARES)
        return means / (jnp.sqrt(squares) + config.adam_epsilon), AdamState(count, mu, nu)

    clip = optax.clip_by_global_norm(config.max_grad_norm)
    return optax.chain(clip, optax.GradientTransformation(init, update))


def grown(plan: TrainingPlan, optimizer: Any, params: Params) -> Any:
    """The state of `adam` of earlier stages, with slots for weights that are new.

    Args:
        plan: Of this stage.
        optimizer: Of fewer stages; of several seeds, with an axis before the others.
        params: All weights that are trained at this one.
    """
    clip, moments = optimizer
    return clip, plan.grown(moments, params)
