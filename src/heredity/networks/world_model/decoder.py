"""From the state of a world model back to what was seen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from heredity.common.errors import UsageError
from heredity.networks.axes import (
    Axes,
    Axis,
    Piece,
    column_count,
    column_names,
    column_pieces,
    layer_axes,
)
from heredity.networks.contract import Carry, Network, NetworkSpec, Taps, register_network
from heredity.networks.observations import feature_size, features, leaf_observations
from heredity.networks.pictures import largest_value
from heredity.networks.world_model.convolutions import (
    SIDE,
    convolution,
    doubling_convolution,
    init_convolution,
)
from heredity.networks.world_model.encoder import (
    MULTIPLES,
    channel_pieces,
    check_sizes,
    convolution_count,
    picture_group,
    vector,
    vector_size,
    vector_spaces,
)
from heredity.networks.world_model.layers import (
    NO_WIDER,
    activated,
    block_axes,
    hidden,
    hidden_axes,
    hidden_layers,
    init_hidden_layers,
    init_linear,
    linear,
    normed_axes,
    symexp,
    units,
)
from heredity.networks.world_model.options import DTYPES, WorldOptions, read_world_options
from heredity.spaces import Box, Discrete, MultiDiscrete, Space, space_from_json, space_to_json
from heredity.weights import Params


@dataclasses.dataclass(frozen=True)
class DecoderOptions(WorldOptions):
    """Options of the kind ``dreamer_decoder``.

    Args:
        units: Width of the hidden layers.
        layers: How many hidden layers there are before what is no picture.
        depth: Of the convolutions, as that of the encoder.
        blocks: Into so many the layer is divided that reads the deterministic part of the state.
        deter: How many of the numbers that are read are that part; the others were drawn.
        predicts: The space of what was seen, as JSON.
        dtype: What is computed in: float32 or bfloat16.
    """

    kind = "dreamer_decoder"
    units: int = 256
    layers: int = 3
    depth: int = 16
    blocks: int = 8
    deter: int = 2048
    predicts: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"type": "Box"})

    @classmethod
    def of(cls, space: Space, **sizes: Any) -> DecoderOptions:
        """Options of a decoder that predicts what is of a space."""
        return cls(predicts=space_to_json(space), **sizes)


class Decoder(Network):
    """``vectors/…`` with ``outputs/<entry>``, and ``pictures/…``; the decoder of DreamerV3.

    Args:
        options: Sizes, and what it predicts.
        observation_space: What it reads: the features of a world model.
    """

    no_wider = NO_WIDER

    def __init__(self, options: DecoderOptions, observation_space: Space) -> None:
        self.spec = options.spec()
        self._options = options
        self._read = observation_space
        self._inputs = feature_size(observation_space)
        self._space = space_from_json(options.predicts, "network")
        self._vectors = vector_spaces(self._space)
        self._pictures = picture_group(self._space)
        self._shape: tuple[int, int, int] = (0, 0, 0)
        self._count = 0
        if self._pictures:
            box = next(iter(self._pictures.values()))
            self._count = convolution_count(box)
            height, width, _ = (side >> self._count for side in box.concrete_shape)
            self._shape = (height, width, options.depth * MULTIPLES[max(self._count, 1) - 1])
        self.output_size = sum(
            math.prod(leaf.concrete_shape) for leaf in self._pictures.values()
        ) + sum(vector_size(leaf) for leaf in self._vectors.values())

    @property
    def entries(self) -> tuple[str, ...]:
        """Paths of what is predicted."""
        return (*self._vectors, *self._pictures)

    def init(self, key: jax.Array) -> Params:
        options = self._options
        of_vectors, of_pictures = jax.random.split(key)
        params: Params = {}
        if self._vectors:
            keys = jax.random.split(of_vectors, len(self._vectors) + 1)
            widths = [options.units] * options.layers
            last = options.units if options.layers else self._inputs
            params["vectors"] = {
                **init_hidden_layers(keys[0], self._inputs, widths),
                "outputs": {
                    _name(path): init_linear(each, last, vector_size(leaf))
                    for each, (path, leaf) in zip(keys[1:], self._vectors.items(), strict=True)
                },
            }
        if self._pictures:
            params["pictures"] = self._init_pictures(of_pictures)
        return params

    def _init_pictures(self, key: jax.Array) -> Params:
        options, (height, width, channels) = self._options, self._shape
        keys = iter(jax.random.split(key, 4 + len(MULTIPLES)))
        size, drawn = height * width * channels, self._inputs - options.deter
        blocks = math.gcd(options.blocks, channels)
        params: Params = {
            "from_deter": init_linear(next(keys), options.deter, size, blocks=blocks),
            "from_stoch": init_linear(next(keys), drawn, 2 * options.units, normed=True),
            "to_places": init_linear(next(keys), 2 * options.units, size),
            "norm": jnp.ones(channels, jnp.float32),
        }
        for index in reversed(range(self._count - 1)):
            narrower = options.depth * MULTIPLES[index]
            params[f"convolution_{index}"] = init_convolution(next(keys), channels, narrower)
            channels = narrower
        shown = sum(box.concrete_shape[2] for box in self._pictures.values())
        params["output"] = init_convolution(next(keys), channels, shown, normed=False)
        return params

    def outputs(self, params: Params, features: jax.Array) -> dict[str, jax.Array]:
        """Predictions of features ``(..., F)``, float32, by path.

        Of pictures, brightness from 0 to 1; of numbers, their symlog; of choices, logits.
        """
        x = features.astype(DTYPES[self._options.dtype])
        found: dict[str, jax.Array] = {}
        if self._vectors:
            layers = params["vectors"]
            last = [x, *hidden_layers(layers, x).values()][-1]
            for path in self._vectors:
                found[path] = linear(layers["outputs"][_name(path)], last).astype(jnp.float32)
        if self._pictures:
            drawn = self._drawn(params["pictures"], x).astype(jnp.float32)
            channels = [box.concrete_shape[2] for box in self._pictures.values()]
            cuts = [sum(channels[: index + 1]) for index in range(len(channels) - 1)]
            found |= dict(zip(self._pictures, jnp.split(drawn, cuts, axis=-1), strict=True))
        return found

    def _drawn(self, params: Params, x: jax.Array) -> jax.Array:
        """All pictures, their channels one after the other."""
        batch, deter = x.shape[:-1], self._options.deter
        x = x.reshape((math.prod(batch), x.shape[-1]))
        height, width, channels = self._shape
        blocks = params["from_deter"]["kernel"].shape[0]
        if params["from_deter"]["kernel"].ndim == 2:
            blocks = 1
        # Each block has its own channels of every place.
        places = linear(params["from_deter"], x[:, :deter])
        places = places.reshape((len(x), blocks, height, width, channels // blocks))
        places = jnp.moveaxis(places, 1, 3).reshape((len(x), height, width, channels))
        drawn = linear(params["to_places"], hidden(params["from_stoch"], x[:, deter:]))
        x = activated(params["norm"], places + drawn.reshape(places.shape))
        for index in reversed(range(self._count - 1)):
            layer = params[f"convolution_{index}"]
            x = activated(layer["norm"], doubling_convolution(layer, x))
        last = doubling_convolution if self._count else convolution
        x = last(params["output"], x)
        return jax.nn.sigmoid(x).reshape((*batch, *x.shape[1:]))

    def losses(self, params: Params, features: jax.Array, observation: Any) -> dict[str, jax.Array]:
        """How far predictions are from what was seen, ``(...,)`` by path.

        Squared errors, summed over numbers or places; of choices the cross-entropy.
        """
        seen = leaf_observations(self._space, observation)
        found = {}
        for path, output in self.outputs(params, features).items():
            if path in self._pictures:
                box = self._pictures[path]
                target = jnp.asarray(seen[path]).astype(jnp.float32) / largest_value(box)
                found[path] = jnp.square(output - target).sum(axis=(-3, -2, -1))
                continue
            leaf = self._vectors[path]
            target = vector(leaf, seen[path])
            if isinstance(leaf, Box):
                found[path] = jnp.square(output - target).sum(axis=-1)
            else:
                logs = [jax.nn.log_softmax(part, axis=-1) for part in _choices(leaf, output)]
                found[path] = -(jnp.concatenate(logs, axis=-1) * target).sum(axis=-1)
        return found

    def shown(self, params: Params, features: jax.Array) -> dict[str, jax.Array]:
        """What is expected to be seen, in its own units, by path: for people to look at.

        Of pictures brightness from 0 to 1, ``(..., height, width, channels)``; of numbers
        ``(..., *shape)``; of choices the most likely.
        """
        found = self.outputs(params, features)
        for path, leaf in self._vectors.items():
            batch = found[path].shape[:-1]
            match leaf:
                case Box():
                    shape = (*batch, *leaf.concrete_shape)
                    found[path] = symexp(found[path]).reshape(shape)
                case Discrete():
                    found[path] = jnp.argmax(found[path], axis=-1) + leaf.start
                case _:
                    parts = _choices(leaf, found[path])
                    found[path] = jnp.stack([jnp.argmax(part, axis=-1) for part in parts], axis=-1)
        return found

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
        del is_first, key, taps
        found = self.outputs(params, features(self._read, observation))
        batch = jax.tree.leaves(observation)[0].ndim - 1
        flat = [part.reshape((*part.shape[:batch], -1)) for part in found.values()]
        return jnp.concatenate(flat, axis=-1), carry, {}

    def axes(self) -> Axes:
        options = self._options
        axes: dict[str, Any] = {}
        if self._vectors:
            widths = [options.units] * options.layers
            reads = column_pieces(self._read)
            axes, name, last = hidden_axes("vectors/", "observation", reads, widths)
            for path, leaf in self._vectors.items():
                names = column_names(leaf)
                seen = Piece(path, column_count(leaf), "columns", names, predicted=True)
                axes |= layer_axes(f"vectors/outputs/{_name(path)}", name, last, (seen,))
        return axes | self._picture_axes() if self._pictures else axes

    def _picture_axes(self) -> dict[str, tuple[Axis, ...]]:
        options, (height, width, channels) = self._options, self._shape
        places, blocks = height * width, math.gcd(options.blocks, channels)
        deter = Piece("deter", options.deter // blocks, "fixed")
        drawn = Piece("stoch", self._inputs - options.deter, "fixed")
        # Each block makes some of the channels of every place.
        of_block = units("pictures/blocks", channels // blocks, repeats=places)
        of_places = units("pictures/places", channels, repeats=places)
        from_stoch = units("pictures/from_stoch", 2 * options.units)
        axes = block_axes("pictures/from_deter", "deter", (deter,), of_block, blocks)
        axes |= normed_axes(from_stoch.of, "stoch", (drawn,), from_stoch)
        axes |= layer_axes("pictures/to_places", from_stoch.of, (from_stoch,), (of_places,))
        name, made = "pictures/norm", dataclasses.replace(of_places, repeats=1)
        axes[name] = (Axis(name, (made,), "makes"),)
        for index in reversed(range(self._count - 1)):
            path = f"pictures/convolution_{index}"
            reads, made = (made,), units(path, options.depth * MULTIPLES[index])
            axes |= normed_axes(path, name, reads, made, SIDE)
            name = path
        shown = channel_pieces(self._pictures, predicted=True)
        return axes | layer_axes("pictures/output", name, (made,), shown, SIDE)

    def entry_folders(self) -> Mapping[str, str]:
        return {path: f"vectors/outputs/{_name(path)}" for path in self._vectors}

    def options_for(self, observation_space: Space, actions: int) -> Mapping[str, Any]:
        del actions
        check_sizes(self._pictures, observation_space)
        return {"predicts": space_to_json(observation_space)}


def _name(path: str) -> str:
    """Of the output layer of an entry, one part of a path of weights."""
    return path.removeprefix("observation/").replace("/", ".")


def _choices(leaf: Space, logits: jax.Array) -> list[jax.Array]:
    """The logits of each choice of an entry."""
    if not isinstance(leaf, MultiDiscrete):
        return [logits]
    cuts = [sum(leaf.nvec[: index + 1]) for index in range(len(leaf.nvec) - 1)]
    return jnp.split(logits, cuts, axis=-1)


def _build(spec: NetworkSpec, observation_space: Space, output_size: int | None) -> Decoder:
    del output_size
    options = read_world_options(DecoderOptions, spec)
    decoder = Decoder(options, observation_space)
    if options.deter > decoder._inputs:
        raise UsageError(f"dreamer_decoder deter {options.deter}: {decoder._inputs} are read")
    return decoder


register_network("dreamer_decoder", _build)
