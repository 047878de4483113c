"""A Vision Transformer over pictures, joined with whatever else is seen."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from heredity.common.errors import UsageError
from heredity.common.fields import check_fields
from heredity.networks.axes import (
    Axes,
    Axis,
    Piece,
    fixed,
    layer_axes,
)
from heredity.networks.contract import (
    NetworkSpec,
    Taps,
    register_network,
)
from heredity.networks.layers import LayerOptions, read_options
from heredity.networks.mlp import HiddenLayers
from heredity.networks.observations import (
    leaf_observations,
)
from heredity.networks.pictures import PictureNetwork, picture_spaces
from heredity.networks.vit_blocks import Encoder, EncoderShape
from heredity.spaces import Box, Space
from heredity.weights import Params

_METHODS = {"bilinear": "linear", "bicubic": "cubic"}


@dataclasses.dataclass(frozen=True)
class VitOptions(LayerOptions):
    """Options of the kind ``vit``; those of the encoder at first are a ViT-Tiny's.

    Args:
        hidden: Widths of the layers after the pooled features.
        activation: After each of them.
        patch: Side of a patch, in pixels.
        width: Of a token.
        depth: How many blocks.
        heads: Of attention; divides the width.
        mlp_width: Of the hidden layer of each block; 0 for four times the width.
        layer_scale: What each block's contributions are multiplied by at the start (weights of
            DINOv2); 0 for blocks without these weights.
        norm_epsilon: Added to the variances of the norms.
        pooling: What is made of the tokens: ``class`` (the class token), or ``mean`` (of patches).
        picture_size: Height and width that every picture is resized to; () for those of the first
            picture, up to whole patches.
        picture_channels: Of the pictures that the encoder reads; 0 for those of the first picture.
        picture_resize: How pictures are resized: ``bilinear`` or ``bicubic``, both with
            antialiasing.
        picture_mean: Subtracted from pixels between 0 and 1; one number, or one for each channel.
        picture_std: What they are divided by after that.
    """

    hidden: tuple[int, ...] = (512,)
    activation: str = "relu"
    patch: int = 16
    width: int = 192
    depth: int = 12
    heads: int = 3
    mlp_width: int = 0
    layer_scale: float = 0.0
    norm_epsilon: float = 1e-6
    pooling: Literal["class", "mean"] = "class"
    picture_size: tuple[int, ...] = ()
    picture_channels: int = 0
    picture_resize: Literal["bilinear", "bicubic"] = "bilinear"
    picture_mean: tuple[float, ...] = (0.5,)
    picture_std: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self)
        for name in ("patch", "width", "depth", "heads"):
            if getattr(self, name) < 1:
                raise UsageError(f"vit {name} {getattr(self, name)!r}: a whole number >= 1 needed")
        for name in ("mlp_width", "picture_channels", "layer_scale"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"vit {name} {getattr(self, name)!r}: a number >= 0 was expected")
        if self.width % self.heads:
            raise UsageError(f"vit heads {self.heads} do not divide the width {self.width}")
        if not 0 < self.norm_epsilon < 1:
            raise UsageError(f"vit norm_epsilon {self.norm_epsilon!r}: a small number was expected")
        size = self.picture_size
        if size and (len(size) != 2 or any(side < 1 or side % self.patch for side in size)):
            raise UsageError(
                f"vit picture_size {size}: height and width were expected, multiples of the patch "
                f"{self.patch}"
            )
        for name in ("picture_mean", "picture_std"):
            values = getattr(self, name)
            if not values or not all(math.isfinite(v) for v in values):
                raise UsageError(f"vit {name} {values}: a number, or one for each channel, needed")
            if self.picture_channels and len(values) not in (1, self.picture_channels):
                raise UsageError(
                    f"vit {name} {values}: one number, or {self.picture_channels}, one for each "
                    "channel that the encoder reads, were expected"
                )
        if any(value <= 0 for value in self.picture_std):
            raise UsageError(f"vit picture_std {self.picture_std}: numbers > 0 were expected")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches, once the size is known."""
        height, width = self.picture_size
        return height // self.patch, width // self.patch

    def encoder(self) -> EncoderShape:
        """The sizes of the encoder, once those of pictures are known."""
        return EncoderShape(
            grid=self.grid,
            channels=self.picture_channels,
            patch=self.patch,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            mlp_width=self.mlp_width,
            layer_scale=self.layer_scale,
            norm_epsilon=self.norm_epsilon,
            pooling=self.pooling,
            dtype=self.dtype,
        )

    def reading(self, space: Space) -> VitOptions:
        """The same with what follows from the pictures that are seen written down.

        Raises:
            UsageError: when nothing is a picture.
        """
        pictures = picture_spaces(space)
        if not pictures:
            raise UsageError(
                f"a vit reads pictures, boxes of shape (height, width, channels): {space} has "
                "none; choose the network kind mlp"
            )
        height, width, channels = next(iter(pictures.values())).concrete_shape
        up = [-(-side // self.patch) * self.patch for side in (height, width)]
        return dataclasses.replace(
            self,
            mlp_width=self.mlp_width or 4 * self.width,
            picture_size=self.picture_size or tuple(up),
            picture_channels=self.picture_channels or channels,
        )

    def spec(self) -> NetworkSpec:
        """These options as a specification."""
        return NetworkSpec("vit", self.to_json())


class Vit(PictureNetwork):
    """``encoder/…``, see `Encoder`, then ``joined/hidden_0``, …, ``joined/output``.

    One encoder reads every picture. Whole numbers are divided by the largest that the space allows,
    255 for pixels; then pictures are resized, and normalised by ``picture_mean`` and
    ``picture_std``. What has more channels than the encoder reads is read as so many pictures, such
    as stacked frames; one channel is repeated. Entries that are no pictures are joined after the
    encoder.

    Args:
        options: Sizes, functions and preprocessing.
        observation_space: What it reads; at least one entry of three axes.
        output_size: How many numbers it puts out; None for as many as its last hidden layer.

    Raises:
        UsageError: when nothing is a picture, or channels do not fit.
    """

    def __init__(
        self, options: VitOptions, observation_space: Space, output_size: int | None
    ) -> None:
        options = options.reading(observation_space)
        pictures = picture_spaces(observation_space)
        self.spec = options.spec()
        self.shape = options.encoder()
        self._seen = {path: _times_read(options, box, path) for path, box in pictures.items()}
        super().__init__(options, observation_space, output_size)
        self._encoder = Encoder(self.shape)
        self._layers = HiddenLayers(options, output_size)

    def preprocessed(self, picture: jax.Array, largest: float = 255.0) -> jax.Array:
        """A picture as the encoder reads it.

        Args:
            picture: Shape ``(..., height, width, channels)``; as many channels as the encoder
                reads, a multiple of them, or one.
            largest: The value of a white pixel.

        Returns:
            Shape ``(..., times, *size, channels)``: it is read so many times.
        """
        options, channels = self._options, self._options.picture_channels
        x = jnp.asarray(picture).astype(jnp.float32) / largest
        if x.shape[-1] == 1:
            x = jnp.broadcast_to(x, (*x.shape[:-1], channels))
        x = x.reshape((*x.shape[:-1], x.shape[-1] // channels, channels))
        x = jnp.moveaxis(x, -2, -4)
        size = (*x.shape[:-3], *options.picture_size, channels)
        if x.shape != size:
            x = jax.image.resize(x, size, _METHODS[options.picture_resize])
        return (x - jnp.array(options.picture_mean)) / jnp.array(options.picture_std)

    def init(self, key: jax.Array) -> Params:
        encoder, layers = jax.random.split(key)
        picture = jnp.zeros((1, *self._options.picture_size, self._options.picture_channels))
        joined = jnp.zeros((1, sum(piece.total for piece in self._joined_pieces())))
        found: Any = {
            "encoder": self._encoder.init(encoder, picture)["params"],
            "joined": self._layers.init(layers, joined).get("params", {}),
        }
        return {name: part for name, part in found.items() if part}

    def encoded(self, params: Params, observation: Any) -> tuple[jax.Array, Taps]:
        """What the hidden layers read, ``(..., F)``, and the features and tokens of each picture.

        Only the weights below ``encoder`` are needed.
        """
        values = leaf_observations(self._space, observation)
        batch: tuple[int, ...] = ()
        parts = []
        for path in self._names:
            batch = values[path].shape[:-3]
            picture = jnp.asarray(values[path])
            # Not -1, which cannot be inferred for an empty batch.
            picture = picture.reshape((math.prod(batch), *picture.shape[-3:]))
            x = self.preprocessed(picture, self._largest[path])
            parts.append(x.reshape((-1 if x.size else 0, *x.shape[2:])))
        together = parts[0] if len(parts) == 1 else jnp.concatenate(parts)
        applied: Any = self._encoder.apply({"params": params["encoder"]}, together)
        pooled, tokens = applied
        found, taps, start = [], {}, 0
        for path, name in self._names.items():
            times = self._seen[path]
            end = start + math.prod(batch) * times
            taps[name] = pooled[start:end].reshape((*batch, times * self.shape.width))
            taps[f"{name}/tokens"] = tokens[start:end].reshape(
                (*batch, times * self.shape.tokens, self.shape.width)
            )
            found.append(taps[name])
            start = end
        if (others := self._other_features(values)) is not None:
            found.append(others)
        return found[0] if len(found) == 1 else jnp.concatenate(found, axis=-1), taps

    @property
    def encoders(self) -> tuple[str, ...]:
        return ("encoder",)

    def joined(self, params: Params, features: jax.Array) -> tuple[jax.Array, Taps]:
        applied: Any = self._layers.apply({"params": params.get("joined", {})}, features)
        return applied

    def axes(self) -> Axes:
        options, shape = self._options, self.shape
        # LayerNorm and attention look at all of a token at once.
        token = (Piece("encoder/width", shape.width, grows=False),)
        channels = fixed("channels", options.picture_channels).pieces
        axes: dict[str, Any] = layer_axes(
            "encoder/patches", "channels", channels, token, options.patch
        )
        made = Axis("encoder/width", token, "makes")
        axes["encoder/class_token"] = (fixed("one", 1), fixed("one", 1), made)
        axes["encoder/positions"] = (fixed("one", 1), fixed("tokens", shape.tokens), made)
        for index in range(shape.depth):
            block = f"encoder/block_{index}"
            inside = (Piece(f"{block}/mlp/hidden", shape.mlp_width, grows=False),)
            axes |= layer_axes(f"{block}/mlp/hidden", "encoder/width", token, inside)
            axes |= layer_axes(f"{block}/mlp/output", f"{block}/mlp/hidden", inside, token)
            for name in ("query", "key", "value"):
                layer = f"{block}/attention/{name}"
                asked = (Piece(layer, shape.width, grows=False),)
                axes |= layer_axes(layer, "encoder/width", token, asked)
            heard = (Piece(f"{block}/attention/value", shape.width, grows=False),)
            layer = f"{block}/attention/output"
            axes |= layer_axes(layer, f"{block}/attention/value", heard, token)
            for part in ("attention", "mlp"):
                axes[f"{block}/{part}_norm/scale"] = axes[f"{block}/{part}_norm/bias"] = (made,)
                if shape.layer_scale:
                    axes[f"{block}/{part}_scale"] = (made,)
        axes["encoder/norm/scale"] = axes["encoder/norm/bias"] = (made,)
        return axes | self._joined_axes()

    def _picture_pieces(self) -> list[Piece]:
        """What the encoder made of each picture."""
        return [
            Piece(name, self.shape.width, repeats=self._seen[path], grows=False)
            for path, name in self._names.items()
        ]


def _times_read(options: VitOptions, box: Box, path: str) -> int:
    """How many pictures of the encoder's channels a picture is."""
    channels = box.concrete_shape[-1]
    if channels == 1:
        return 1
    if channels % options.picture_channels:
        raise UsageError(
            f"{path} of shape {box.shape} has {channels} channels, the encoder reads "
            f"{options.picture_channels}: a multiple of these, or one channel (which is repeated), "
            "was expected; leave grayscale out where frames are stacked"
        )
    return channels // options.picture_channels


def _build(spec: NetworkSpec, observation_space: Space, output_size: int | None) -> Vit:
    return Vit(read_options(VitOptions, spec), observation_space, output_size)


register_network("vit", _build)
