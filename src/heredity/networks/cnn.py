"""Convolutions over pictures, joined with whatever else is seen."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from heredity.common.errors import UnknownNameError, UsageError
from heredity.networks.axes import (
    Axes,
    Piece,
    layer_axes,
)
from heredity.networks.contract import (
    NetworkSpec,
    Taps,
    register_network,
)
from heredity.networks.layers import ACTIVATIONS, DTYPES, INITIALIZERS, LayerOptions, read_options
from heredity.networks.mlp import HiddenLayers
from heredity.networks.observations import (
    example_batch,
    leaf_observations,
)
from heredity.networks.pictures import PictureNetwork, picture_spaces
from heredity.spaces import Box, Space
from heredity.weights import Params

NATURE = ("32x8/4", "64x4/2", "64x3/1")  # Mnih et al. 2015
POOLINGS = ("none", "mean")
SMALL = ("16x3/1",)  # the network of MinAtar (Young, Tian 2019), for pictures of a few cells
_NATURE_SIDE = 36  # the smallest picture that those layers leave something of
_LAYER = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,2})/([1-9]\d{0,2})")


@dataclasses.dataclass(frozen=True)
class CnnOptions(LayerOptions):
    """Options of the kind ``cnn``.

    Args:
        hidden: Widths of the layers after the convolutions.
        activation: After each convolution and hidden layer.
        convolutions: Each as ``features x side of the kernel / stride``, such as ``32x8/4``,
            without padding; () for those of Mnih et al. 2015, or of MinAtar for small pictures.
        pooling: ``none`` (every place of the picture has weights of its own), or ``mean`` (over all
            places: the weights then fit pictures of any size).
    """

    hidden: tuple[int, ...] = (512,)
    activation: str = "relu"
    convolutions: tuple[str, ...] = ()
    pooling: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "convolutions", tuple(self.convolutions))
        if self.pooling not in POOLINGS:
            raise UnknownNameError("pooling", self.pooling, POOLINGS)
        self.layers()

    def to_json(self) -> dict[str, Any]:
        """The options as JSON values. Those without pooling need not say so."""
        options = super().to_json()
        if self.pooling == "none":
            del options["pooling"]
        return options

    def layers(self) -> list[tuple[int, int, int]]:
        """Features, side of the kernel and stride of each convolution."""
        found = []
        for text in self.convolutions:
            match = _LAYER.fullmatch(text) if isinstance(text, str) else None
            if match is None:
                raise UsageError(
                    f"convolutions {text!r}: features x kernel / stride such as '32x8/4' expected"
                )
            found.append(tuple(int(part) for part in match.groups()))
        return found

    def spec(self) -> NetworkSpec:
        """These options as a specification."""
        return NetworkSpec("cnn", self.to_json())


def uses_small_pictures(space: Space) -> bool:
    """Whether a picture is too small for the convolutions of Mnih et al. 2015."""
    sides = [min(box.concrete_shape[:2]) for box in picture_spaces(space).values()]
    return bool(sides) and min(sides) < _NATURE_SIDE


class _Convolutions(nn.Module):
    options: CnnOptions

    @nn.compact
    def __call__(self, picture: jax.Array) -> jax.Array:
        """``(N, height, width, channels)`` to ``(N, features)``."""
        options = self.options
        x = picture
        for index, (channels, side, stride) in enumerate(options.layers()):
            layer = nn.Conv(
                channels,
                (side, side),
                (stride, stride),
                padding="VALID",
                kernel_init=INITIALIZERS[options.kernel_init](options.hidden_scale),
                dtype=DTYPES[options.dtype],
                name=f"convolution_{index}",
            )
            x = ACTIVATIONS[options.activation](layer(x))
        if options.pooling == "mean":
            return x.mean(axis=(1, 2))
        # Not -1, which cannot be inferred for an empty batch.
        return x.reshape((x.shape[0], math.prod(x.shape[1:])))


class _Module(nn.Module):
    options: CnnOptions
    pictures: tuple[str, ...]
    output_size: int | None

    def setup(self) -> None:
        for name in self.pictures:
            setattr(self, name, _Convolutions(self.options))
        self.joined = HiddenLayers(self.options, self.output_size)

    def encode(self, pictures: dict[str, jax.Array], vector: jax.Array | None) -> Any:
        """What the other layers read, and what was made of each picture."""
        batch = next(iter(pictures.values())).shape[:-3]
        parts = []
        for name, picture in pictures.items():
            flat = picture.reshape((math.prod(batch), *picture.shape[-3:]))
            seen = getattr(self, name)(flat)
            parts.append(seen.reshape((*batch, seen.shape[-1])))
        taps = dict(zip(pictures, parts, strict=True))
        if vector is not None:
            parts.append(vector.astype(parts[0].dtype))
        return jnp.concatenate(parts, axis=-1), taps

    def join(self, encoded: jax.Array) -> Any:
        return self.joined(encoded)

    def __call__(self, pictures: dict[str, jax.Array], vector: jax.Array | None) -> Any:
        encoded, taps = self.encode(pictures, vector)
        output, tapped = self.join(encoded)
        return output, {**taps, **tapped}


class Cnn(PictureNetwork):
    """Convolutions ``<picture>/convolution_0``, …, then ``joined/hidden_0``, …, ``joined/output``.

    Whole numbers are divided by the largest that the space allows, 255 for pixels. Entries that are
    no pictures are joined after the convolutions.

    Args:
        options: Sizes and functions.
        observation_space: What it reads; at least one entry of three axes.
        output_size: How many numbers it puts out; None for as many as its last hidden layer.

    Raises:
        UsageError: when nothing is a picture, or one is too small.
    """

    def __init__(
        self, options: CnnOptions, observation_space: Space, output_size: int | None
    ) -> None:
        pictures = picture_spaces(observation_space)
        if not pictures:
            raise UsageError(
                f"a cnn reads pictures, boxes of shape (height, width, channels): "
                f"{observation_space} has none; choose the network kind mlp"
            )
        if not options.convolutions:
            small = uses_small_pictures(observation_space)
            options = dataclasses.replace(options, convolutions=SMALL if small else NATURE)
        self.spec = options.spec()
        self._layers = options.layers()
        self._places = {path: _places_after(options, box, path) for path, box in pictures.items()}
        super().__init__(options, observation_space, output_size)
        self._module = _Module(options, tuple(self._names.values()), output_size)

    def _inputs(self, observation: Any) -> tuple[dict[str, jax.Array], jax.Array | None]:
        values = leaf_observations(self._space, observation)
        pictures = {
            name: jnp.asarray(values[path]).astype(jnp.float32) / self._largest[path]
            for path, name in self._names.items()
        }
        return pictures, self._other_features(values)

    def init(self, key: jax.Array) -> Params:
        pictures, vector = self._inputs(example_batch(self._space))
        variables: Any = self._module.init(key, pictures, vector)
        return variables["params"]

    @property
    def encoders(self) -> tuple[str, ...]:
        return tuple(self._names.values())

    def encoded(self, params: Params, observation: Any) -> tuple[jax.Array, Taps]:
        inputs = self._inputs(observation)
        applied: Any = self._module.apply({"params": params}, *inputs, method="encode")
        return applied

    def joined(self, params: Params, features: jax.Array) -> tuple[jax.Array, Taps]:
        applied: Any = self._module.apply({"params": params}, features, method="join")
        return applied

    def axes(self) -> Axes:
        axes: dict[str, Any] = {}
        for path, name in self._names.items():
            box = self._pictures[path]
            read = Piece(path, box.concrete_shape[2], "channels", box.names)
            source = f"{path}/channels"
            for index, (channels, side, _) in enumerate(self._layers):
                target = f"{name}/convolution_{index}"
                made = Piece(target, channels, activation=self._options.activation)
                axes |= layer_axes(target, source, (read,), (made,), side)
                source, read = target, made
        return axes | self._joined_axes()

    def _picture_pieces(self) -> list[Piece]:
        """What the convolutions left of each picture."""
        last, width = len(self._layers) - 1, self._layers[-1][0]
        return [
            Piece(
                f"{name}/convolution_{last}",
                width,
                repeats=self._places[path],
                activation=self._options.activation,
            )
            for path, name in self._names.items()
        ]


def _places_after(options: CnnOptions, box: Box, path: str) -> int:
    """How many places the convolutions leave of a picture."""
    height, width, _ = box.concrete_shape
    for after, side, stride in options.layers():
        if min(height, width) < side:
            raise UsageError(
                f"{path} of shape {box.shape} is too small for the convolutions "
                f"{' '.join(options.convolutions)}: at {after}x{side}/{stride} "
                f"{height} x {width} are left; give others with convolutions (--network."
                "convolutions), for example 16x3/1"
            )
        height, width = ((size - side) // stride + 1 for size in (height, width))
    return 1 if options.pooling == "mean" else height * width


def _build(spec: NetworkSpec, observation_space: Space, output_size: int | None) -> Cnn:
    return Cnn(read_options(CnnOptions, spec), observation_space, output_size)


register_network("cnn", _build)
