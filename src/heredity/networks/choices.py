"""Distributions over choices: one, and several at once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from heredity.networks.axes import Piece
from heredity.networks.distribution import Distribution
from heredity.spaces import Discrete, MultiDiscrete
from heredity.weights import Params


class Categorical(Distribution):
    """One choice; the parameters are logits.

    Args:
        space: Of the choice.
        uniform_mix: Share of equal chances that the chances of the network are mixed with.
    """

    def __init__(self, space: Discrete, uniform_mix: float = 0.0) -> None:
        self._uniform_mix = uniform_mix
        self.output_size = space.size
        self._start = space.start
        self._names = space.names

    def pieces(self) -> tuple[Piece, ...]:
        return (Piece("action", self.output_size, "logits", self._names),)

    def features(self, raw_action: jax.Array) -> jax.Array:
        return jax.nn.one_hot(raw_action, self.output_size, dtype=jnp.float32)

    def parameters(self, free: Params, outputs: jax.Array) -> jax.Array:
        del free
        if not self._uniform_mix:
            return outputs
        probs = jax.nn.softmax(outputs)
        return jnp.log((1.0 - self._uniform_mix) * probs + self._uniform_mix / self.output_size)

    def noise(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.gumbel(key, (*shape, self.output_size))

    def draw(self, parameters: jax.Array, noise: jax.Array) -> jax.Array:
        # The largest of logits with Gumbel noise is distributed as their softmax.
        return jnp.argmax(parameters + noise, axis=-1).astype(jnp.int32)

    def mode(self, parameters: jax.Array) -> jax.Array:
        return jnp.argmax(parameters, axis=-1).astype(jnp.int32)

    def log_prob(self, parameters: jax.Array, raw_action: jax.Array) -> jax.Array:
        log_probs = jax.nn.log_softmax(parameters)
        # Masked, not indexed: the gradient of indexing is a scatter, which is slow on a CPU.
        choices = jnp.arange(self.output_size).reshape((1,) * raw_action.ndim + (-1,))
        chosen = raw_action[..., None] == choices
        return jnp.where(chosen, log_probs, 0.0).sum(axis=-1)

    def entropy(self, parameters: jax.Array, key: jax.Array) -> jax.Array:
        del key
        log_probs = jax.nn.log_softmax(parameters)
        return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)

    def kl(self, old: jax.Array, new: jax.Array) -> jax.Array:
        old_log, new_log = jax.nn.log_softmax(old), jax.nn.log_softmax(new)
        return jnp.sum(jnp.exp(old_log) * (old_log - new_log), axis=-1)

    def to_action(self, raw_action: jax.Array) -> jax.Array:
        return raw_action + self._start

    def mode_in_numpy(self, outputs: np.ndarray) -> np.ndarray | np.generic:
        return outputs.argmax() + self._start

    def draw_in_numpy(self, free: Params, outputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        del free
        if self._uniform_mix:
            chances = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
            chances /= chances.sum(axis=-1, keepdims=True)
            share = np.float32(self._uniform_mix)
            outputs = np.log((1 - share) * chances + share / np.float32(self.output_size))
        return (outputs + noise).argmax(axis=-1).astype(np.int32)

    def to_action_in_numpy(self, raw_action: np.ndarray) -> np.ndarray:
        return raw_action + self._start


class MultiCategorical(Distribution):
    """Several independent choices; the parameters are their logits one after another.

    Args:
        space: Of the choices.
        uniform_mix: Share of equal chances that the chances of each are mixed with.
    """

    def __init__(self, space: MultiDiscrete, uniform_mix: float = 0.0) -> None:
        self._parts = [Categorical(Discrete(n), uniform_mix) for n in space.nvec]
        self._ends = np.cumsum(space.nvec)[:-1].tolist()
        self.output_size = sum(space.nvec)
        self._names = space.names or tuple(map(str, range(len(space.nvec))))

    def pieces(self) -> tuple[Piece, ...]:
        pairs = zip(self._names, self._parts, strict=True)
        return tuple(Piece(f"action/{name}", part.output_size, "logits") for name, part in pairs)

    def _split(self, parameters: jax.Array) -> list[jax.Array]:
        return jnp.split(parameters, self._ends, axis=-1)

    def features(self, raw_action: jax.Array) -> jax.Array:
        parts = [part.features(raw_action[..., i]) for i, part in enumerate(self._parts)]
        return jnp.concatenate(parts, axis=-1)

    def parameters(self, free: Params, outputs: jax.Array) -> jax.Array:
        pairs = zip(self._parts, self._split(outputs), strict=True)
        return jnp.concatenate([part.parameters(free, lg) for part, lg in pairs], axis=-1)

    def noise(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.gumbel(key, (*shape, self.output_size))

    def draw(self, parameters: jax.Array, noise: jax.Array) -> jax.Array:
        pairs = zip(self._parts, self._split(parameters), self._split(noise), strict=True)
        return jnp.stack([part.draw(logits, chance) for part, logits, chance in pairs], axis=-1)

    def mode(self, parameters: jax.Array) -> jax.Array:
        pairs = zip(self._parts, self._split(parameters), strict=True)
        return jnp.stack([part.mode(logits) for part, logits in pairs], axis=-1)

    def log_prob(self, parameters: jax.Array, raw_action: jax.Array) -> jax.Array:
        pairs = zip(self._parts, self._split(parameters), strict=True)
        logs = [part.log_prob(lg, raw_action[..., i]) for i, (part, lg) in enumerate(pairs)]
        return jnp.sum(jnp.stack(logs, axis=-1), axis=-1)

    def entropy(self, parameters: jax.Array, key: jax.Array) -> jax.Array:
        pairs = zip(self._parts, self._split(parameters), strict=True)
        return jnp.sum(jnp.stack([p.entropy(lg, key) for p, lg in pairs], axis=-1), axis=-1)

    def kl(self, old: jax.Array, new: jax.Array) -> jax.Array:
        pairs = zip(self._parts, self._split(old), self._split(new), strict=True)
        return jnp.sum(jnp.stack([p.kl(o, n) for p, o, n in pairs], axis=-1), axis=-1)

    def to_action(self, raw_action: jax.Array) -> jax.Array:
        return raw_action

    def mode_in_numpy(self, outputs: np.ndarray) -> np.ndarray | np.generic:
        parts = np.split(outputs, self._ends)
        return np.array([logits.argmax() for logits in parts], np.int32)

    def draw_in_numpy(self, free: Params, outputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        both = np.split(outputs, self._ends, axis=-1), np.split(noise, self._ends, axis=-1)
        pairs = zip(self._parts, *both, strict=True)
        return np.stack([part.draw_in_numpy(free, lg, ns) for part, lg, ns in pairs], axis=-1)

    def to_action_in_numpy(self, raw_action: np.ndarray) -> np.ndarray:
        return raw_action
