"""What a world model makes of one moment: tokens of pictures and of everything else."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from heredity.common.errors import MismatchError, UsageError
from heredity.networks.axes import Axes, Piece, column_pieces
from heredity.networks.contract import Carry, Network, NetworkSpec, Taps, register_network
from heredity.networks.mlp import chosen_taps
from heredity.networks.observations import leaf_observations, leaf_spaces
from heredity.networks.pictures import largest_value, picture_spaces
from heredity.networks.world_model.convolutions import (
    SIDE,
    halving_convolution,
    init_convolution,
)
from heredity.networks.world_model.layers import (
    NO_WIDER,
    activated,
    cast_kernels,
    hidden_axes,
    hidden_layers,
    init_hidden_layers,
    normed_axes,
    symlog,
    units,
)
from heredity.networks.world_model.options import DTYPES, WorldOptions, read_world_options
from heredity.spaces import Box, Discrete, MultiDiscrete, Space
from heredity.weights import Params

MULTIPLES = (2, 3, 4, 4)  # of the depth, of the convolutions one after the other
SMALLEST = 3  # side of what the convolutions leave of a picture


@dataclasses.dataclass(frozen=True)
class EncoderOptions(WorldOptions):
    """Options of the kind ``dreamer_encoder``.

    Args:
        units: Width of the hidden layers that read what is no picture.
        layers: How many of them.
        depth: The convolutions have twice, three, four and four times as many features.
        dtype: What is computed in: float32 or bfloat16.
    """

    kind = "dreamer_encoder"
    units: int = 256
    layers: int = 3
    depth: int = 16


def convolution_count(space: Box) -> int:
    """How many convolutions there are, each of which halves the sides: at most 4.

    64 x 64 pixels become 4 x 4. Pictures of a few cells have fewer, so that 3 x 3 are left.

    Example:
        >>> [convolution_count(Box((side, side, 3))) for side in (96, 64, 48, 10, 7)]
        [4, 4, 4, 1, 0]
    """
    height, width, _ = space.concrete_shape
    count = 0
    while (
        count < len(MULTIPLES)
        and height % 2 == width % 2 == 0
        and min(height, width) // 2 >= SMALLEST
    ):
        height, width, count = height // 2, width // 2, count + 1
    return count


def vector_spaces(space: Space) -> dict[str, Space]:
    """The entries that are no pictures, by path."""
    pictures = picture_spaces(space)
    return {path: leaf for path, leaf in leaf_spaces(space).items() if path not in pictures}


def vector_size(leaf: Space) -> int:
    """How many numbers `vector` makes of an entry."""
    match leaf:
        case Box():
            return math.prod(leaf.concrete_shape)
        case Discrete():
            return leaf.size
        case MultiDiscrete():
            return sum(leaf.nvec)
    raise UsageError(f"a world model cannot see {type(leaf).__name__}: Box or choices expected")


def vector(leaf: Space, value: Any) -> jax.Array:
    """Numbers on a logarithmic scale, choices one-hot: ``(..., N)`` of ``(..., *shape)``."""
    array = jnp.asarray(value)
    match leaf:
        case Discrete():
            return jax.nn.one_hot(array - leaf.start, leaf.size, dtype=jnp.float32)
        case MultiDiscrete():
            chosen = [
                jax.nn.one_hot(array[..., index], size, dtype=jnp.float32)
                for index, size in enumerate(leaf.nvec)
            ]
            return jnp.concatenate(chosen, axis=-1)
    batch = array.shape[: array.ndim - len(leaf.shape)] if isinstance(leaf, Box) else ()
    return symlog(array.astype(jnp.float32)).reshape((*batch, vector_size(leaf)))


def picture_group(space: Space) -> dict[str, Box]:
    """The pictures, by path; one after the other they are the channels of one.

    Raises:
        UsageError: where they differ in height or width.
    """
    pictures = picture_spaces(space)
    sizes = {box.concrete_shape[:2] for box in pictures.values()}
    if len(sizes) > 1:
        told = ", ".join(f"{path} {box.concrete_shape}" for path, box in pictures.items())
        raise UsageError(f"a world model sees pictures of one size: {told}; resize them")
    return pictures


class Encoder(Network):
    """``vectors/hidden_0`` …, and ``pictures/convolution_0`` …; tokens are both, joined.

    The encoder of DreamerV3 (Hafner et al. 2023): convolutions with a maximum over 2 x 2 places,
    norms, SiLU.

    Args:
        options: Sizes.
        observation_space: What is seen.
    """

    no_wider = NO_WIDER

    def __init__(self, options: EncoderOptions, observation_space: Space) -> None:
        self.spec = options.spec()
        self._options = options
        self._space = observation_space
        self._vectors = vector_spaces(observation_space)
        self._pictures = picture_group(observation_space)
        self._largest = {path: largest_value(box) for path, box in self._pictures.items()}
        self._depths: tuple[int, ...] = ()
        self._places = 0  # of what the convolutions leave of a picture
        size = options.units if self._vectors and options.layers else 0
        if self._vectors and not options.layers:
            size = sum(vector_size(leaf) for leaf in self._vectors.values())
        if self._pictures:
            box = next(iter(self._pictures.values()))
            count = convolution_count(box)
            self._depths = tuple(options.depth * multiple for multiple in MULTIPLES[:count])
            height, width, _ = (side >> count for side in box.concrete_shape)
            self._places = height * width
            size += self._places * (self._depths[-1] if count else self._channels)
        self.output_size = size

    @property
    def _channels(self) -> int:
        return sum(box.concrete_shape[2] for box in self._pictures.values())

    @property
    def hidden_layers(self) -> tuple[str, ...]:
        if not self._vectors:
            return ()
        return tuple(f"vectors/hidden_{index}" for index in range(self._options.layers))

    def init(self, key: jax.Array) -> Params:
        of_vectors, of_pictures = jax.random.split(key)
        params: Params = {}
        if self._vectors and self._options.layers:
            inputs = sum(vector_size(leaf) for leaf in self._vectors.values())
            widths = [self._options.units] * self._options.layers
            params["vectors"] = init_hidden_layers(of_vectors, inputs, widths)
        if self._depths:
            channels = (self._channels, *self._depths)
            keys = jax.random.split(of_pictures, len(self._depths))
            params["pictures"] = {
                f"convolution_{index}": init_convolution(
                    keys[index], channels[index], channels[index + 1]
                )
                for index in range(len(self._depths))
            }
        return params

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
        seen = leaf_observations(self._space, observation)
        dtype = DTYPES[self._options.dtype]
        tokens, tapped = [], {}
        if self._vectors:
            numbers = [vector(leaf, seen[path]) for path, leaf in self._vectors.items()]
            x = jnp.concatenate(numbers, axis=-1).astype(dtype)
            outputs = hidden_layers(params.get("vectors", {}), x)
            tapped = {f"vectors/{name}": output for name, output in outputs.items()}
            tokens.append([x, *outputs.values()][-1])
        if self._pictures:
            tokens.append(self._convolved(params.get("pictures", {}), seen))
        return jnp.concatenate(tokens, axis=-1), carry, chosen_taps(tapped, taps)

    def cast(self, params: Params) -> Params:
        return cast_kernels(params, DTYPES[self._options.dtype])

    def _convolved(self, params: Params, seen: Mapping[str, Any]) -> jax.Array:
        dtype = DTYPES[self._options.dtype]
        scaled = [
            jnp.asarray(seen[path]).astype(dtype) / largest - 0.5
            for path, largest in self._largest.items()
        ]
        x = jnp.concatenate(scaled, axis=-1)
        batch = x.shape[:-3]
        x = x.reshape((math.prod(batch), *x.shape[-3:]))
        for index in range(len(self._depths)):
            layer = params[f"convolution_{index}"]
            x = activated(layer["norm"], halving_convolution(layer, x))
        return x.reshape((*batch, math.prod(x.shape[1:])))

    def axes(self) -> Axes:
        axes = self._vector_axes()[0]
        name, reads = "channels", channel_pieces(self._pictures)
        for index, depth in enumerate(self._depths):
            path = f"pictures/convolution_{index}"
            made = units(path, depth)
            axes |= normed_axes(path, name, reads, made, SIDE)
            name, reads = path, (made,)
        return axes

    def output_pieces(self) -> tuple[Piece, ...]:
        vectors = self._vector_axes()[1]
        if not self._pictures:
            return vectors
        if self._depths:
            return (*vectors, units("pictures", self._depths[-1], self._places))
        first, *others = channel_pieces(self._pictures)
        if others:  # place by place, so that no picture's channels are together
            return (*vectors, Piece("pictures", self._places * self._channels, "fixed"))
        return (*vectors, dataclasses.replace(first, repeats=self._places))

    def options_for(self, observation_space: Space, actions: int) -> Mapping[str, Any]:
        del actions
        check_sizes(self._pictures, observation_space)
        return {}

    def _vector_axes(self) -> tuple[dict[str, Any], tuple[Piece, ...]]:
        """Axes of the layers that read what is no picture, and what they put out."""
        reads = tuple(
            dataclasses.replace(piece, activation=_scale(self._vectors[piece.of]))
            for piece in column_pieces(self._space)
            if piece.of in self._vectors
        )
        widths = [self._options.units] * (self._options.layers if self._vectors else 0)
        axes, _, made = hidden_axes("vectors/", "observation", reads, widths)
        return axes, made


def check_sizes(pictures: Mapping[str, Box], space: Space) -> None:
    """See that pictures have the sizes that there are weights for.

    Args:
        pictures: By path, as they were.
        space: Of what is to be seen.

    Raises:
        MismatchError: naming the first that has another one.
    """
    for path, box in picture_spaces(space).items():
        was = next(iter(pictures.values()), box)  # all have one size
        if was.concrete_shape[:2] != box.concrete_shape[:2]:
            raise MismatchError(
                f"{path} of {box.shape} for a world model that saw {was.shape}: every place of a "
                "picture has weights of its own",
                "Show pictures of the size that they had (the option resize of an environment)",
            )


def channel_pieces(pictures: Mapping[str, Box], *, predicted: bool = False) -> tuple[Piece, ...]:
    """The channels of pictures, one picture after the other."""
    return tuple(
        Piece(path, box.concrete_shape[2], "channels", box.names, predicted=predicted)
        for path, box in pictures.items()
    )


def _scale(leaf: Space) -> str:
    """What `vector` does to the numbers of an entry."""
    return "symlog" if isinstance(leaf, Box) else ""


def _build(spec: NetworkSpec, observation_space: Space, output_size: int | None) -> Encoder:
    if output_size is not None:
        raise UsageError("a dreamer_encoder ends in tokens: it is a trunk, or part of one")
    return Encoder(read_world_options(EncoderOptions, spec), observation_space)


register_network("dreamer_encoder", _build)
