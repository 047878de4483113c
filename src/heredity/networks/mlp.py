"""The multi-layer perceptron over flattened observations."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from heredity.common.errors import UnknownNameError
from heredity.networks.axes import Axes, Piece, column_pieces, layer_axes, output_pieces
from heredity.networks.contract import (
    Carry,
    Network,
    NetworkSpec,
    NumpyFunction,
    Taps,
    register_network,
)
from heredity.networks.layers import ACTIVATIONS, NUMPY_ACTIVATIONS, LayerOptions, read_options
from heredity.networks.observations import feature_size, features, features_in_numpy
from heredity.spaces import Space
from heredity.weights import Params


@dataclasses.dataclass(frozen=True)
class MlpOptions(LayerOptions):
    """Options of the kind ``mlp``: those of `LayerOptions`."""

    def spec(self) -> NetworkSpec:
        """These options as a specification."""
        return NetworkSpec("mlp", self.to_json())


class HiddenLayers(nn.Module):
    """Layers ``hidden_0``, ``hidden_1``, … and, if there is an output size, ``output``.

    Args:
        options: Sizes and functions.
        output_size: Of the last layer; None for none.
    """

    options: LayerOptions
    output_size: int | None

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, Taps]:
        """Outputs ``(..., output_size)`` in float32, and what each hidden layer gave."""
        options = self.options
        activation = ACTIVATIONS[options.activation]
        taps: Taps = {}
        for index, width in enumerate(options.hidden):
            name = f"hidden_{index}"
            x = activation(options.dense(width, name, options.hidden_scale)(x))
            taps[name] = x
        if self.output_size is not None:
            x = options.dense(self.output_size, "output", options.output_scale)(x)
        return x.astype(jax.numpy.float32), taps


class Mlp(Network):
    """Layers ``hidden_0``, ``hidden_1``, … and ``output``, each a ``kernel`` and a ``bias``.

    Args:
        options: Sizes and functions.
        observation_space: What it reads; boxes are flattened and joined.
        output_size: How many numbers it puts out; None for as many as its last hidden layer.
    """

    def __init__(
        self, options: MlpOptions, observation_space: Space, output_size: int | None
    ) -> None:
        self.spec = options.spec()
        self._options = options
        self._space = observation_space
        self._input_size = feature_size(observation_space)
        self._sizes = {f"hidden_{index}": width for index, width in enumerate(options.hidden)}
        if output_size is not None:
            self._sizes["output"] = output_size
        self.output_size = list(self._sizes.values())[-1] if self._sizes else self._input_size
        self._module = HiddenLayers(options, output_size)
        self._pieces = column_pieces(observation_space)
        self._outputs = None if output_size is None else output_pieces(output_size)

    @property
    def hidden_layers(self) -> tuple[str, ...]:
        return tuple(name for name in self._sizes if name != "output")

    def init(self, key: jax.Array) -> Params:
        example = jax.numpy.zeros((1, self._input_size), jax.numpy.float32)
        variables: Any = self._module.init(key, example)
        return variables.get("params", {})

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
        seen = features(self._space, observation)
        applied: Any = self._module.apply({"params": params}, seen)
        output, tapped = applied
        return output, carry, chosen_taps(tapped, taps)

    def in_numpy(self, params: Params, *, batched: bool = False) -> NumpyFunction | None:
        if self._options.dtype != "float32":
            return None
        seen_by = features_in_numpy(self._space, batched=batched)
        activation = NUMPY_ACTIVATIONS[self._options.activation]
        layers = [
            (params[name]["kernel"], params[name]["bias"], name != "output") for name in self._sizes
        ]

        def function(seen: Any) -> np.ndarray | None:
            x = seen_by(seen)
            # Beyond 1e19 sums may overflow, and their order decides what comes of it.
            if not math.isfinite(np.vdot(x, x)):
                return None
            for kernel, bias, is_hidden in layers:
                x = x.dot(kernel)
                x += bias
                if is_hidden:
                    x = activation(x)
            return x

        return function

    def axes(self) -> Axes:
        return hidden_axes("", self._options, "observation", self._pieces, self._outputs)[0]

    def output_pieces(self) -> tuple[Piece, ...]:
        return hidden_axes("", self._options, "observation", self._pieces, self._outputs)[1]


def hidden_axes(
    folder: str,
    options: LayerOptions,
    name: str,
    reads: tuple[Piece, ...],
    output: tuple[Piece, ...] | None,
) -> tuple[dict[str, Any], tuple[Piece, ...]]:
    """Axes of `HiddenLayers`, and what their outputs are made of.

    Args:
        folder: Of the layers, such as ``joined/``.
        options: Sizes and functions.
        name: Of what they read, for people.
        reads: What they read.
        output: What the last layer makes; None where there is none.
    """
    axes: dict[str, Any] = {}
    for index, width in enumerate(options.hidden):
        path = f"{folder}hidden_{index}"
        made = (Piece(path, width, activation=options.activation),)
        axes |= layer_axes(path, name, reads, made)
        name, reads = path, made
    if output is not None:
        axes |= layer_axes(f"{folder}output", name, reads, output)
        reads = output
    return axes, reads


def chosen_taps(tapped: Taps, names: Sequence[str]) -> Taps:
    """The inner activations that were asked for.

    Raises:
        UnknownNameError: for one that there is not.
    """
    for name in names:
        if name not in tapped:
            raise UnknownNameError("tap", name, tapped)
    return {name: tapped[name] for name in names}


def _build(spec: NetworkSpec, observation_space: Space, output_size: int | None) -> Mlp:
    return Mlp(read_options(MlpOptions, spec), observation_space, output_size)


register_network("mlp", _build)
