"""What a family of distributions over actions is."""

from __future__ import annotations

import abc

import jax
import numpy as np

from heredity.networks.axes import Piece
from heredity.weights import Params


class Distribution(abc.ABC):
    """One family over one action space.

    Attributes:
        output_size: How many numbers the network has to put out.
    """

    output_size: int

    @property
    def action_features(self) -> int:
        """How many numbers `features` gives."""
        return self.output_size

    @abc.abstractmethod
    def features(self, raw_action: jax.Array) -> jax.Array:
        """Raw actions ``(...,)`` as numbers ``(..., action_features)`` for a network to read.

        Choices are one-hot.
        """

    def init(self) -> Params:
        """Free parameters that no network computes; {} when there are none."""
        return {}

    @abc.abstractmethod
    def pieces(self) -> tuple[Piece, ...]:
        """What the outputs of the network are, by choice or by dimension of the action."""

    def feature_pieces(self) -> tuple[Piece, ...]:
        """What `features` are, by choice or by dimension of the action."""
        return self.pieces()

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
