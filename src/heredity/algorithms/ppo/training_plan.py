"""Which weights are trained when, and how fast; and an optimiser for those that begin later."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.ppo.freezing import read_scales, read_unfreezing
from heredity.common.errors import UsageError
from heredity.weights import Params, flatten, select, unflatten

_DECAY, _DECAY_OF_SQUARES = 0.9, 0.999  # what optax, and everybody else, has


class AgedAdamState(NamedTuple):
    """Moments of weights that were not all trained from the start.

    Args:
        counts: Steps since each stage began, (stages,) int32.
        mu: Means of gradients.
        nu: Means of their squares.
    """

    counts: jax.Array
    mu: Any
    nu: Any


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """What settings say of each weight.

    Args:
        begins: The stage at which it begins to be trained, by path: 0 for the start, n for the nth
            unfreezing; None for never.
        scales: What its learning rate is multiplied by, by path.
        stage: How many unfreezings there were.
    """

    begins: Mapping[str, int | None]
    scales: Mapping[str, float]
    stage: int = 0

    @classmethod
    def of(cls, config: PPOConfig, paths: Iterable[str], stage: int = 0) -> TrainingPlan:
        """The plan of settings.

        Args:
            config: Settings.
            paths: Of all weights.
            stage: How many unfreezings there were.

        Raises:
            UnknownNameError: when a pattern matches nothing.
            UsageError: when one unfreezes what is not frozen.
        """
        known = list(paths)
        frozen = select(known, config.freeze)
        begins: dict[str, int | None] = {path: None if path in frozen else 0 for path in known}
        for number, (pattern, step) in enumerate(read_unfreezing(config.unfreeze), start=1):
            new = [path for path in select(known, [pattern]) if begins[path] is None]
            if not new:
                raise UsageError(
                    f"unfreeze '{pattern}@{step}' finds no weight that is still frozen then: "
                    f"freeze is {' '.join(config.freeze) or 'empty'}"
                )
            begins |= dict.fromkeys(new, number)
        scales = dict.fromkeys(known, 1.0)
        for pattern, scale in read_scales(config.learning_rate_scale):
            scales |= dict.fromkeys(select(known, [pattern]), scale)
        return cls(begins, scales, stage)

    @property
    def frozen(self) -> frozenset[str]:
        """The paths that are not trained at this stage."""
        return frozenset(
            path for path, begin in self.begins.items() if begin is None or begin > self.stage
        )

    def split(self, params: Params) -> tuple[Params, Params]:
        """Frozen weights, and the rest."""
        leaves, frozen = flatten(params), self.frozen
        return (
            unflatten({path: leaf for path, leaf in leaves.items() if path in frozen}),
            unflatten({path: leaf for path, leaf in leaves.items() if path not in frozen}),
        )

    def optimizer(self, config: PPOConfig, params: Params) -> optax.GradientTransformation:
        """Clip by global norm, then Adam; each weight corrected by its own age.

        The moments of a weight that is new are zero. Corrected by the age of the oldest, its first
        steps would be more than three times too long.

        Args:
            config: Settings.
            params: The weights that are trained; `update` then takes them as one vector.
        """
        clip = optax.clip_by_global_norm(config.max_grad_norm)
        if self.stage == 0:
            return optax.chain(clip, optax.scale_by_adam(eps=config.adam_epsilon))
        sizes = {path: leaf.size for path, leaf in flatten(params).items()}

        def init(params: Any) -> AgedAdamState:
            mu, nu = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
            return AgedAdamState(jnp.zeros(self.stage + 1, jnp.int32), mu, nu)

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
            del params
            return self._adam(config, updates, state, sizes)

        return optax.chain(clip, optax.GradientTransformation(init, update))

    def _adam(
        self, config: PPOConfig, gradients: Any, state: Any, sizes: Mapping[str, int]
    ) -> tuple[Any, AgedAdamState]:
        counts = state.counts + 1
        mu = _DECAY * state.mu + (1 - _DECAY) * gradients
        nu = _DECAY_OF_SQUARES * state.nu + (1 - _DECAY_OF_SQUARES) * jnp.square(gradients)

        def corrected(moments: jax.Array, decay: float) -> jax.Array:
            each = 1 - decay ** counts.astype(jnp.float32)
            return moments / _spread({path: each[self.begins[path] or 0] for path in sizes}, sizes)

        means, squares = corrected(mu, _DECAY), corrected(nu, _DECAY_OF_SQUARES)
        directions = means / (jnp.sqrt(squares) + config.adam_epsilon)
        return directions, AgedAdamState(counts, mu, nu)

    def rates(self, params: Params) -> jax.Array | None:
        """What the learning rate of each weight is multiplied by, as a vector; None for 1 of all.

        Args:
            params: The weights that are trained.
        """
        sizes = {path: leaf.size for path, leaf in flatten(params).items()}
        if all(self.scales[path] == 1.0 for path in sizes):
            return None
        return _spread(self.scales, sizes)

    def grown(self, optimizer: Any, params: Params) -> Any:
        """The state of an optimiser of earlier stages, with slots for weights that are new.

        Args:
            optimizer: Of fewer stages.
            params: All weights that are trained at this one.
        """
        clip, adam = optimizer
        # Of several seeds there is an axis before the others.
        counts = adam.counts if isinstance(adam, AgedAdamState) else adam.count[..., None]
        new = jnp.zeros((*counts.shape[:-1], self.stage + 1 - counts.shape[-1]), counts.dtype)
        trained = flatten(params)

        def with_slots(moments: Params) -> Params:
            there = flatten(moments)
            return unflatten(
                {path: there.get(path, jnp.zeros_like(leaf)) for path, leaf in trained.items()}
            )

        counts = jnp.concatenate([counts, new], axis=-1)
        return clip, AgedAdamState(counts, with_slots(adam.mu), with_slots(adam.nu))


def _spread(values: Mapping[str, Any], sizes: Mapping[str, int]) -> jax.Array:
    """One number for each weight, in the order of the vector."""
    parts = [jnp.broadcast_to(jnp.float32(values[path]), (size,)) for path, size in sizes.items()]
    return jnp.concatenate(parts)
