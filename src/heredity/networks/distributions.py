"""Distributions over actions, as functions of a flat parameter array.

A family turns the outputs of a network (and, for some, free parameters of its own) into
``parameters (..., P)``. Everything else, log-probabilities, entropies and divergences among them,
is a function of that array, so it can be stored in a batch and compared later.

A *raw* action is what is drawn; `to_action` turns it into what the environment receives (clipped,
squashed, shifted). Log-probabilities are of raw actions, which needs no inverse of the squashing.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from heredity.common.errors import UnknownNameError, UsageError
from heredity.networks.axes import Piece
from heredity.spaces import Box, Discrete, MultiDiscrete, Space
from heredity.weights import Params

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_MINIMUM_SCALE = 1e-3  # of the tanh-normal; brax's value, so that imported policies act alike


_LOG_STD_RANGE = (-20.0, 2.0)  # of the squashed normal; the values of SAC's authors


class Distribution(abc.ABC):
    """One family over one action space.

    Attributes:
        output_size: How many numbers the network has to put out.
    """

    output_size: int

    def init(self) -> Params:
        """Free parameters that no network computes; {} when there are none."""
        return {}

    @abc.abstractmethod
    def pieces(self) -> tuple[Piece, ...]:
        """What the outputs of the network are, by choice or by dimension of the action."""

    def free_pieces(self) -> dict[str, tuple[Piece, ...]]:
        """What each free parameter is made of, by name."""
        return {}

    def parameters(self, free: Params, outputs: jax.Array) -> jax.Array:
        """Parameters ``(..., P)`` from free parameters and network outputs ``(..., O)``."""
        del free
        return outputs

    def sample(self, parameters: jax.Array, key: jax.Array) -> jax.Array:
        """A raw action for each of ``(...,)``."""
        return self.draw(parameters, self.noise(key, parameters.shape[:-1]))

    @abc.abstractmethod
    def noise(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """All chance that actions of the given shape need, ``(*shape, N)``.

        To be drawn for many steps at once: one large draw costs less than many small ones.
        """

    @abc.abstractmethod
    def draw(self, parameters: jax.Array, noise: jax.Array) -> jax.Array:
        """The raw actions ``(...,)`` that follow from `noise`, ``(..., N)``."""

    @abc.abstractmethod
    def mode(self, parameters: jax.Array) -> jax.Array:
        """The most likely raw action."""

    @abc.abstractmethod
    def log_prob(self, parameters: jax.Array, raw_action: jax.Array) -> jax.Array:
        """Log-probability (density) of the action that `raw_action` stands for, ``(...,)``."""

    @abc.abstractmethod
    def entropy(self, parameters: jax.Array, key: jax.Array) -> jax.Array:
        """Entropy in nats, ``(...,)``; `key` is for families that estimate it from a sample."""

    @abc.abstractmethod
    def kl(self, old: jax.Array, new: jax.Array) -> jax.Array:
        """``KL(old || new)`` in nats, ``(...,)``."""

    @abc.abstractmethod
    def to_action(self, raw_action: jax.Array) -> jax.Array:
        """What the environment receives."""

    # --- in numpy, where a compiled program would take longer to call than to run -----------------

    @abc.abstractmethod
    def mode_in_numpy(self, outputs: np.ndarray) -> np.ndarray | np.generic:
        """``to_action(mode(parameters))`` for the outputs ``(O,)`` of one observation, in numpy.

        Free parameters spread the draws; none of ours moves the most likely action.
        """

    @abc.abstractmethod
    def draw_in_numpy(self, free: Params, outputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """`draw`, for the outputs of a network.

        Args:
            free: Free parameters, as numpy arrays.
            outputs: Of the network, ``(B, O)``.
            noise: Part of what `noise` gave, ``(B, N)``.
        """

    @abc.abstractmethod
    def to_action_in_numpy(self, raw_action: np.ndarray) -> np.ndarray:
        """`to_action`."""


class Categorical(Distribution):
    """One choice; the parameters are logits."""

    def __init__(self, space: Discrete) -> None:
        self.output_size = space.size
        self._start = space.start
        self._names = space.names

    def pieces(self) -> tuple[Piece, ...]:
        return (Piece("action", self.output_size, "logits", self._names),)

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
        return (outputs + noise).argmax(axis=-1).astype(np.int32)

    def to_action_in_numpy(self, raw_action: np.ndarray) -> np.ndarray:
        return raw_action + self._start


class MultiCategorical(Distribution):
    """Several independent choices; the parameters are their logits one after another."""

    def __init__(self, space: MultiDiscrete) -> None:
        self._parts = [Categorical(Discrete(n)) for n in space.nvec]
        self._ends = np.cumsum(space.nvec)[:-1].tolist()
        self.output_size = sum(space.nvec)
        self._names = space.names or tuple(map(str, range(len(space.nvec))))

    def pieces(self) -> tuple[Piece, ...]:
        pairs = zip(self._names, self._parts, strict=True)
        return tuple(Piece(f"action/{name}", part.output_size, "logits") for name, part in pairs)

    def _split(self, parameters: jax.Array) -> list[jax.Array]:
        return jnp.split(parameters, self._ends, axis=-1)

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
        del free
        parts = np.split(outputs + noise, self._ends, axis=-1)
        return np.stack([part.argmax(axis=-1) for part in parts], axis=-1).astype(np.int32)

    def to_action_in_numpy(self, raw_action: np.ndarray) -> np.ndarray:
        return raw_action


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


@dataclasses.dataclass(frozen=True)
class DistributionSpec:
    """A family as data.

    Args:
        kind: categorical, multi_categorical, normal, tanh_normal or squashed_normal.
        initial_std: For normal: the standard deviation at the start.
    """

    kind: str
    initial_std: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """The specification as a JSON object."""
        return dataclasses.asdict(self)


def default_kind(space: Space) -> str:
    """The family that suits an action space when nobody chose one."""
    match space:
        case Discrete():
            return "categorical"
        case MultiDiscrete():
            return "multi_categorical"
        case Box():
            return "normal"
    raise UsageError(f"actions {space}: Box, Discrete or MultiDiscrete was expected")


def build_distribution(spec: DistributionSpec, space: Space) -> Distribution:
    """The family that a specification describes, over an action space.

    Raises:
        UsageError: when the family does not fit the space.
        UnknownNameError: for an unknown family.
    """
    match spec.kind, space:
        case "categorical", Discrete():
            return Categorical(space)
        case "multi_categorical", MultiDiscrete():
            return MultiCategorical(space)
        case "normal", Box():
            return Normal(space, spec.initial_std)
        case "tanh_normal", Box():
            return TanhNormal(space)
        case "squashed_normal", Box():
            return SquashedNormal(space)
    known = ("categorical", "multi_categorical", "normal", "squashed_normal", "tanh_normal")
    if spec.kind not in known:
        raise UnknownNameError("distribution", spec.kind, known)
    raise UsageError(f"distribution {spec.kind!r} does not fit {type(space).__name__} actions")
