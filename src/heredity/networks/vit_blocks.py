"""The Vision Transformer (Dosovitskiy et al. 2021) as Flax modules, with DINOv2's layer scale."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from heredity.networks.layers import DTYPES
from heredity.networks.products import dense_product

_SMALL = nn.initializers.truncated_normal(0.02)  # of kernels and embeddings, as in the paper's code


@dataclasses.dataclass(frozen=True)
class EncoderShape:
    """Sizes of an encoder.

    Args:
        grid: Rows and columns of patches.
        channels: Of a picture.
        patch: Side of a patch.
        width: Of a token.
        depth: How many blocks.
        heads: Of attention; divides the width.
        mlp_width: Of the hidden layer of each block.
        layer_scale: What each block's two contributions are multiplied by at the start; 0 for
            blocks without these weights.
        norm_epsilon: Added to variances.
        pooling: ``class`` for the class token, ``mean`` for the mean over patches.
        dtype: What is computed in.
    """

    grid: tuple[int, int]
    channels: int
    patch: int
    width: int
    depth: int
    heads: int
    mlp_width: int
    layer_scale: float
    norm_epsilon: float
    pooling: Literal["class", "mean"]
    dtype: str

    @property
    def tokens(self) -> int:
        """Patches, and the class token."""
        return 1 + math.prod(self.grid)

    def dense(self, width: int, name: str) -> nn.Dense:
        """A layer of `width` outputs."""
        return nn.Dense(
            width,
            kernel_init=_SMALL,
            dtype=DTYPES[self.dtype],
            dot_general=dense_product,
            name=name,
        )

    def norm(self, name: str) -> nn.LayerNorm:
        """A layer norm over each token."""
        return nn.LayerNorm(epsilon=self.norm_epsilon, dtype=DTYPES[self.dtype], name=name)


class Attention(nn.Module):
    """Each token reads from all: ``query``, ``key``, ``value``, ``output``."""

    shape: EncoderShape

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """``(N, tokens, width)`` to the same."""
        shape = self.shape
        size = shape.width // shape.heads

        def heads(name: str) -> jax.Array:
            return shape.dense(shape.width, name)(x).reshape((*x.shape[:-1], shape.heads, size))

        query, key, value = heads("query"), heads("key"), heads("value")
        scores = jnp.einsum("nqhd,nkhd->nhqk", query, key).astype(jnp.float32) / math.sqrt(size)
        weights = nn.softmax(scores).astype(value.dtype)
        read = jnp.einsum("nhqk,nkhd->nqhd", weights, value)
        return shape.dense(shape.width, "output")(read.reshape(x.shape))


class Mlp(nn.Module):
    """``hidden`` with an exact GELU, then ``output``."""

    shape: EncoderShape

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """``(N, tokens, width)`` to the same."""
        x = nn.gelu(self.shape.dense(self.shape.mlp_width, "hidden")(x), approximate=False)
        return self.shape.dense(self.shape.width, "output")(x)


class Block(nn.Module):
    """Attention and an MLP, each behind a norm and added to what was there."""

    shape: EncoderShape

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """``(N, tokens, width)`` to the same."""
        x = x + self._scaled("attention_scale", self._attended(x))
        return x + self._scaled("mlp_scale", self._transformed(x))

    def _attended(self, x: jax.Array) -> jax.Array:
        return Attention(self.shape, name="attention")(self.shape.norm("attention_norm")(x))

    def _transformed(self, x: jax.Array) -> jax.Array:
        return Mlp(self.shape, name="mlp")(self.shape.norm("mlp_norm")(x))

    def _scaled(self, name: str, x: jax.Array) -> jax.Array:
        if self.shape.layer_scale == 0.0:
            return x
        start = nn.initializers.constant(self.shape.layer_scale)
        return x * self.param(name, start, (self.shape.width,)).astype(x.dtype)


class Encoder(nn.Module):
    """Patches to tokens, blocks, a last norm, and what is pooled of it.

    Leaves: ``patches/…``, ``class_token``, ``positions``, ``block_0/…``, …, ``norm/…``.
    """

    shape: EncoderShape

    @nn.compact
    def __call__(self, pictures: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Preprocessed pictures ``(N, height, width, channels)`` to features and tokens.

        Returns:
            Features ``(N, width)`` and all tokens ``(N, tokens, width)``, float32.
        """
        shape = self.shape
        side = (shape.patch, shape.patch)
        x = nn.Conv(
            shape.width,
            side,
            side,
            padding="VALID",
            kernel_init=_SMALL,
            dtype=DTYPES[shape.dtype],
            name="patches",
        )(pictures)
        x = x.reshape((x.shape[0], math.prod(shape.grid), shape.width))
        first = self.param("class_token", _SMALL, (1, 1, shape.width)).astype(x.dtype)
        first = jnp.broadcast_to(first, (x.shape[0], 1, shape.width))
        positions = self.param("positions", _SMALL, (1, shape.tokens, shape.width))
        x = jnp.concatenate([first, x], axis=1) + positions.astype(x.dtype)
        for index in range(shape.depth):
            x = Block(shape, name=f"block_{index}")(x)
        x = shape.norm("norm")(x).astype(jnp.float32)
        return x[:, 0] if shape.pooling == "class" else x[:, 1:].mean(axis=1), x
