"""Distributions over continuous actions: normals, as they are or squashed."""

from __future__ import annotations

import abc
import math

import jax
import jax.numpy as jnp
import numpy as np

from heredity.common.errors import UsageError
from heredity.networks.axes import Piece
from heredity.networks.distribution import Distribution
from heredity.spaces import Box
from heredity.weights import Params

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_MINIMUM_SCALE = 1e-3  # of the tanh-normal; brax's value, so that imported policies act alike
_LOG_STD_RANGE = (-20.0, 2.0)  # of the squashed normal; the values of SAC's authors
_DEVIATIONS = (0.1, 1.0)  # least and most of the bounded normal; the values of DreamerV3's authors


def _normal_log_prob(mean: jax.Array, log_std: jax.Array, value: jax.Array) -> jax.Array:
    scaled = (value - mean) * jnp.exp(-log_std)
    return -0.5 * jnp.square(scaled) - log_std - _LOG_SQRT_2PI


def _normal_kl(old: tuple[jax.Array, jax.Array], new: tuple[jax.Array, jax.Array]) -> jax.Array:
    (old_mean, old_log), (new_mean, new_log) = old, new
    squared = jnp.square((old_mean - new_mean) * jnp.exp(-new_log))
    return new_log - old_log + 0.5 * (jnp.exp(2 * (old_log - new_log)) + squared) - 0.5


class _Continuous(Distribution):
    def __init__(self, space: Box) -> None:
        if len(space.shape) != 1 or not space.dtype.startswith("float"):
            raise UsageError(f"actions {space}: a float Box with one axis was expected")
        self.action_size = space.concrete_shape[0]
        self._names = space.names
        self._low = np.broadcast_to(np.asarray(space.low, np.float32), (self.action_size,))
        self._high = np.broadcast_to(np.asarray(space.high, np.float32), (self.action_size,))

    @abc.abstractmethod
    def _mean_and_log_std(self, parameters: jax.Array) -> tuple[jax.Array, jax.Array]: ...

    @property
    def action_features(self) -> int:
        return self.action_size

    def features(self, raw_action: jax.Array) -> jax.Array:
        return raw_action

    def feature_pieces(self) -> tuple[Piece, ...]:
        return (Piece("action", self.action_size, "means", self._names),)

    def noise(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.normal(key, (*shape, self.action_size))

    def draw(self, parameters: jax.Array, noise: jax.Array) -> jax.Array:
        mean, log_std = self._mean_and_log_std(parameters)
        return mean + jnp.exp(log_std) * noise

    def mode(self, parameters: jax.Array) -> jax.Array:
        return self._mean_and_log_std(parameters)[0]

    def _bounds(self, raw_action: jax.Array) -> tuple[jax.Array, jax.Array]:
        shape = raw_action.shape
        return jnp.broadcast_to(self._low, shape), jnp.broadcast_to(self._high, shape)

    def kl(self, old: jax.Array, new: jax.Array) -> jax.Array:
        # The squashing is the same on both sides, so the divergence of the normals is the same.
        pair = _normal_kl(self._mean_and_log_std(old), self._mean_and_log_std(new))
        return jnp.sum(pair, axis=-1)


class Normal(_Continuous):
    """Independent normals with a standard deviation that does not depend on the observation.

    ``log_std (A,)`` is a free parameter. The environment receives the draw clipped to its bounds,
    as in Stable-Baselines3.

    Args:
        space: Actions.
        initial_std: Standard deviation at the start, in the units of the action.
    """

    def __init__(self, space: Box, initial_std: float = 1.0) -> None:
        super().__init__(space)
        self.output_size = self.action_size
        self._initial_log_std = math.log(initial_std)

    def init(self) -> Params:
        return {"log_std": jnp.full((self.action_size,), self._initial_log_std, jnp.float32)}

    def pieces(self) -> tuple[Piece, ...]:
        return (Piece("action", self.action_size, "means", self._names),)

    def free_pieces(self) -> dict[str, tuple[Piece, ...]]:
        return {"log_std": (Piece("action", self.action_size, "deviations", self._names),)}

    def parameters(self, free: Params, outputs: jax.Array) -> jax.Array:
        return jnp.concatenate([outputs, jnp.broadcast_to(free["log_std"], outputs.shape)], axis=-1)

    def _mean_and_log_std(self, parameters: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean, log_std = jnp.split(parameters, 2, axis=-1)
        return mean, log_std

    def log_prob(self, parameters: jax.Array, raw_action: jax.Array) -> jax.Array:
        mean, log_std = self._mean_and_log_std(parameters)
        return jnp.sum(_normal_log_prob(mean, log_std, raw_action), axis=-1)

    def entropy(self, parameters: jax.Array, key: jax.Array) -> jax.Array:
        del key
        _, log_std = self._mean_and_log_std(parameters)
        return jnp.sum(log_std + 0.5 + _LOG_SQRT_2PI, axis=-1)

    def to_action(self, raw_action: jax.Array) -> jax.Array:
        return jnp.clip(raw_action, *self._bounds(raw_action))

    def mode_in_numpy(self, outputs: np.ndarray) -> np.ndarray | np.generic:
        return self.to_action_in_numpy(outputs)

    def draw_in_numpy(self, free: Params, outputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return outputs + np.exp(free["log_std"]) * noise

    def to_action_in_numpy(self, raw_action: np.ndarray) -> np.ndarray:
        return np.minimum(np.maximum(raw_action, self._low), self._high)


class TanhNormal(_Continuous):
    """Independent normals squashed by tanh and stretched to the bounds of the action.

    The network puts out a mean and a raw scale for each action; the scale is
    ``softplus(raw) + 0.001``. Densities are those of the squashed draw before stretching. The
    entropy is estimated from one draw, because it has no closed form.
    """

    def __init__(self, space: Box) -> None:
        super().__init__(space)
        if not (np.isfinite(self._low).all() and np.isfinite(self._high).all()):
            raise UsageError(f"actions {space}: tanh_normal needs finite bounds, use normal")
        self.output_size = 2 * self.action_size

    def pieces(self) -> tuple[Piece, ...]:
        size, names = self.action_size, self._names
        return (
            Piece("action", size, "means", names),
            Piece("action", size, "deviations", names),
        )

    def _mean_and_log_std(self, parameters: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean, raw_scale = jnp.split(parameters, 2, axis=-1)
        return mean, jnp.log(jax.nn.softplus(raw_scale) + _MINIMUM_SCALE)

    @staticmethod
    def _log_det_tanh(x: jax.Array) -> jax.Array:
        # log(1 - tanh(x)^2) without losing digits at large |x|.
        return 2.0 * (math.log(2.0) - x - jax.nn.softplus(-2.0 * x))

    def log_prob(self, parameters: jax.Array, raw_action: jax.Array) -> jax.Array:
        mean, log_std = self._mean_and_log_std(parameters)
        logs = _normal_log_prob(mean, log_std, raw_action) - self._log_det_tanh(raw_action)
        return jnp.sum(logs, axis=-1)

    def entropy(self, parameters: jax.Array, key: jax.Array) -> jax.Array:
        _, log_std = self._mean_and_log_std(parameters)
        raw_action = self.sample(parameters, key)
        entropies = log_std + 0.5 + _LOG_SQRT_2PI + self._log_det_tanh(raw_action)
        return jnp.sum(entropies, axis=-1)

    def to_action(self, raw_action: jax.Array) -> jax.Array:
        low, high = self._bounds(raw_action)
        stretched = low + 0.5 * (high - low) * (jnp.tanh(raw_action) + 1.0)
        return jnp.clip(stretched, low, high)  # rounding may end one digit past a bound

    def mode_in_numpy(self, outputs: np.ndarray) -> np.ndarray | np.generic:
        return self.to_action_in_numpy(outputs[: self.action_size])

    def draw_in_numpy(self, free: Params, outputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        del free
        mean, raw_scale = outputs[..., : self.action_size], outputs[..., self.action_size :]
        scale = np.logaddexp(raw_scale, np.float32(0)) + np.float32(_MINIMUM_SCALE)
        return mean + scale * noise

    def to_action_in_numpy(self, raw_action: np.ndarray) -> np.ndarray:
        low, high = self._low, self._high
        stretched = low + np.float32(0.5) * (high - low) * (np.tanh(raw_action) + np.float32(1))
        return np.minimum(np.maximum(stretched, low), high)


class SquashedNormal(TanhNormal):
    """A `TanhNormal` whose network puts out the logarithm of the standard deviation.

    As the actors of SAC have it. The logarithm is cut to [-20, 2].
    """

    def _mean_and_log_std(self, parameters: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean, log_std = jnp.split(parameters, 2, axis=-1)
        return mean, jnp.clip(log_std, *_LOG_STD_RANGE)

    def draw_in_numpy(self, free: Params, outputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        del free
        mean, log_std = outputs[..., : self.action_size], outputs[..., self.action_size :]
        return mean + np.exp(np.clip(log_std, *_LOG_STD_RANGE)) * noise


class BoundedNormal(_Continuous):
    """Independent normals with a mean in (-1, 1) and a deviation from 0.1 to 1, stretched.

    The network puts out a mean, which tanh bounds, and a raw deviation for each action. What is
    drawn is not bounded; the environment receives it cut to [-1, 1] and stretched to the bounds of
    the action, as in DreamerV3. Where there are none it receives what was drawn.
    """

    def __init__(self, space: Box) -> None:
        super().__init__(space)
        self.output_size = 2 * self.action_size
        finite = np.isfinite(self._low) & np.isfinite(self._high)
        self._bounded = finite
        low, high = np.where(finite, self._low, -1), np.where(finite, self._high, 1)
        self._middle = np.where(finite, (low + high) / 2, 0).astype(np.float32)
        self._reach = ((high - low) / 2).astype(np.float32)

    def pieces(self) -> tuple[Piece, ...]:
        size, names = self.action_size, self._names
        return (Piece("action", size, "means", names), Piece("action", size, "deviations", names))

    def _mean_and_log_std(self, parameters: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean, raw = jnp.split(parameters, 2, axis=-1)
        low, high = _DEVIATIONS
        return jnp.tanh(mean), jnp.log((high - low) * jax.nn.sigmoid(raw + 2.0) + low)

    def log_prob(self, parameters: jax.Array, raw_action: jax.Array) -> jax.Array:
        mean, log_std = self._mean_and_log_std(parameters)
        return jnp.sum(_normal_log_prob(mean, log_std, raw_action), axis=-1)

    def entropy(self, parameters: jax.Array, key: jax.Array) -> jax.Array:
        del key
        _, log_std = self._mean_and_log_std(parameters)
        return jnp.sum(log_std + 0.5 + _LOG_SQRT_2PI, axis=-1)

    def to_action(self, raw_action: jax.Array) -> jax.Array:
        shape = raw_action.shape
        middle, reach = jnp.broadcast_to(self._middle, shape), jnp.broadcast_to(self._reach, shape)
        is_bounded = jnp.broadcast_to(self._bounded, shape)
        cut = jnp.where(is_bounded, jnp.clip(raw_action, -1.0, 1.0), raw_action)
        return jnp.clip(middle + reach * cut, *self._bounds(raw_action))

    def mode_in_numpy(self, outputs: np.ndarray) -> np.ndarray | np.generic:
        return self.to_action_in_numpy(np.tanh(outputs[: self.action_size]))

    def draw_in_numpy(self, free: Params, outputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        del free
        mean, raw = outputs[..., : self.action_size], outputs[..., self.action_size :]
        low, high = map(np.float32, _DEVIATIONS)
        deviation = (high - low) / (1 + np.exp(-(raw + np.float32(2)))) + low
        return np.tanh(mean) + deviation * noise

    def to_action_in_numpy(self, raw_action: np.ndarray) -> np.ndarray:
        one = np.float32(1)
        cut = np.where(self._bounded, np.clip(raw_action, -one, one), raw_action)
        return np.clip(self._middle + self._reach * cut, self._low, self._high)
