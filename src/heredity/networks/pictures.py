"""Networks that read pictures: what they have in common, whatever they make of a picture."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from heredity.networks.axes import Piece, column_count, column_names, output_pieces
from heredity.networks.contract import Carry, EncodingNetwork, Taps
from heredity.networks.mlp import chosen_taps, hidden_axes
from heredity.networks.observations import features as features_of
from heredity.networks.observations import leaf_spaces
from heredity.spaces import Box, Dict, Space
from heredity.weights import Params


class PictureNetwork(EncodingNetwork):
    """Features of each picture, joined with whatever else is seen, and ``joined/hidden_0``, ….

    Args:
        options: With the widths of the hidden layers.
        observation_space: What it reads.
        output_size: How many numbers it puts out; None for as many as its last hidden layer.
    """

    def __init__(self, options: Any, observation_space: Space, output_size: int | None) -> None:
        self._options = options
        self._space = observation_space
        self._pictures = picture_spaces(observation_space)
        self._names = {path: picture_name(path) for path in self._pictures}
        self._largest = {path: largest_value(box) for path, box in self._pictures.items()}
        others = leaf_spaces(observation_space).items()
        self._others = Dict(
            {flat_path(path): leaf for path, leaf in others if path not in self._pictures}
        )
        self._outputs = None if output_size is None else output_pieces(output_size)
        self.output_size = sum(piece.total for piece in self.output_pieces())

    @property
    def hidden_layers(self) -> tuple[str, ...]:
        return tuple(f"hidden_{index}" for index in range(len(self._options.hidden)))

    @abc.abstractmethod
    def encoded(self, params: Params, observation: Any) -> tuple[jax.Array, Taps]:
        """What the hidden layers read, ``(..., F)``, and what was made of each picture.

        Only the weights below `encoders` are needed.
        """

    @abc.abstractmethod
    def joined(self, params: Params, features: jax.Array) -> tuple[jax.Array, Taps]:
        """Outputs ``(..., output_size)`` of what `encoded` gave, and what hidden layers put out."""

    def apply(
        self,
        params: Params,
        observation: Any,
        carry: Carry = (),
        *,
        is_first: jax.Array | None = None,
        key: jax.Array | None = None,
        taps: Sequence[str] = (),
    ) -> tuple[jax.Array, Carry, Taps]:
        del is_first, key
        features, encoded = self.encoded(params, observation)
        output, tapped = self.joined(params, features)
        return output, carry, chosen_taps({**encoded, **tapped}, taps)

    def features(self, params: Params, observation: Any) -> jax.Array:
        return self.encoded(params, observation)[0]

    def from_features(self, params: Params, features: jax.Array) -> jax.Array:
        return self.joined(params, features)[0]

    def entry_folders(self) -> Mapping[str, str]:
        return self._names

    def _other_features(self, values: Mapping[str, Any]) -> jax.Array | None:
        """What is seen besides pictures; None where there is nothing else."""
        if not self._others.entries:
            return None
        others = {flat_path(path): v for path, v in values.items() if path not in self._names}
        return features_of(self._others, others)

    @abc.abstractmethod
    def _picture_pieces(self) -> list[Piece]: ...

    def _joined_pieces(self) -> tuple[Piece, ...]:
        """What was made of each picture, and what else is seen."""
        others = {flat_path(path): path for path in leaf_spaces(self._space)}
        seen = [
            Piece(others[name], column_count(leaf), "columns", column_names(leaf))
            for name, leaf in self._others.entries
        ]
        return (*self._picture_pieces(), *seen)

    def _joined_axes(self) -> dict[str, Any]:
        joined = self._joined_pieces()
        return hidden_axes("joined/", self._options, "joined", joined, self._outputs)[0]

    def output_pieces(self) -> tuple[Piece, ...]:
        joined = self._joined_pieces()
        return hidden_axes("joined/", self._options, "joined", joined, self._outputs)[1]


def picture_spaces(space: Space) -> dict[str, Box]:
    """The entries that are pictures ``(height, width, channels)``, by path.

    Example:
        >>> list(picture_spaces(Dict({"camera": Box((64, 64, 3), 0, 255, "uint8")})))
        ['observation/camera']
    """
    return {
        path: leaf
        for path, leaf in leaf_spaces(space).items()
        if isinstance(leaf, Box) and len(leaf.shape) == 3
    }


def largest_value(box: Box) -> float:
    """What a picture is divided by: the largest whole number that it may hold; 1 for fractions.

    Example:
        >>> largest_value(Box((64, 64, 3), dtype="uint8"))
        255.0
        >>> largest_value(Box((7, 7, 3), 0, 10, "uint8"))
        10.0
    """
    if not np.issubdtype(box.dtype, np.integer):
        return 1.0
    largest = max(abs(float(np.min(box.low))), abs(float(np.max(box.high))), 1.0)
    # Wide integers without bounds say nothing of what is in them.
    return 255.0 if largest >= 2**31 - 1 else largest


def flat_path(path: str) -> str:
    """A path as the name of an entry."""
    return path.replace("/", ".")


def picture_name(path: str) -> str:
    """A module's name for a picture: ``image``, or ``image_<entry>``."""
    return "_".join(["image", *path.split("/")[1:]]).replace(".", "_")
