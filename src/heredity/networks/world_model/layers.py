"""What the networks of world models are made of, as functions over nested dicts of weights.

Weights are float32 and are cast to the dtype of what is computed with; norms are computed in
float32. A layer's weights are ``kernel`` and ``bias``, and ``norm`` where a norm follows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from heredity.networks.axes import Axis, Piece, fixed, layer_axes
from heredity.networks.products import block_products, product
from heredity.weights import Params

EPSILON = 1e-4  # of the norms
NO_WIDER = (
    "layers of a world model cannot be made wider: a norm over all units follows each, and its "
    "recurrent layers are divided into blocks, so that every other number would change as well"
)
# A normal distribution cut at two deviations has this much less than the deviation of a whole one.
_CUT = 1.1368


def truncated_normal(
    key: jax.Array, shape: tuple[int, ...], fan_in: int, scale: float = 1.0
) -> jax.Array:
    """A kernel whose outputs have about the variance of its inputs, times ``scale**2``."""
    if scale == 0.0:
        return jnp.zeros(shape, jnp.float32)
    drawn = jax.random.truncated_normal(key, -2.0, 2.0, shape, jnp.float32)
    return drawn * (_CUT * math.sqrt(1.0 / fan_in) * scale)


def init_linear(
    key: jax.Array,
    inputs: int,
    outputs: int,
    *,
    blocks: int = 1,
    scale: float = 1.0,
    normed: bool = False,
) -> Params:
    """Weights of a layer from ``inputs`` to ``outputs`` numbers.

    Args:
        key: Decides the kernel.
        inputs: All of them.
        outputs: All of them.
        blocks: Into so many parts both are divided; each part of the outputs is computed from its
            own part of the inputs. The kernel is then ``(blocks, inputs / blocks, outputs /
            blocks)``, and its variance that of a kernel for all inputs.
        scale: Factor of the kernel.
        normed: Whether a norm follows.
    """
    shape = (inputs, outputs)
    if blocks > 1:
        shape = (blocks, inputs // blocks, outputs // blocks)
    params: Params = {
        "kernel": truncated_normal(key, shape, inputs, scale),
        "bias": jnp.zeros(outputs, jnp.float32),
    }
    return {**params, "norm": jnp.ones(outputs, jnp.float32)} if normed else params


def cast_kernels(params: Any, dtype: jnp.dtype) -> Any:
    """A tree of weights, the kernels in the dtype that is computed in; the rest stays float32."""

    def cast(leaf: Any) -> Any:
        return leaf.astype(dtype) if leaf.ndim > 1 and leaf.dtype != dtype else leaf

    return jax.tree.map(cast, params)


def linear(params: Params, x: jax.Array) -> jax.Array:
    """``(..., inputs)`` to ``(..., outputs)``; by blocks where the kernel has some."""
    kernel = params["kernel"]
    y = product(x, kernel) if kernel.ndim == 2 else _by_block(x, kernel)
    return y + params["bias"].astype(x.dtype)


def _by_block(x: jax.Array, kernels: jax.Array) -> jax.Array:
    """The product of each block of ``x (..., g * i)`` with its own of ``kernels (g, i, o)``."""
    blocks, inputs, _ = kernels.shape
    parts = jnp.moveaxis(x.reshape((*x.shape[:-1], blocks, inputs)), -2, 0)
    return jnp.moveaxis(block_products(parts, kernels), 0, -2).reshape((*x.shape[:-1], -1))


def rms_norm(scale: jax.Array, x: jax.Array) -> jax.Array:
    """``x (..., N)`` divided by the root of its mean square, times ``scale (N,)``."""
    y = x.astype(jnp.float32)
    mean_square = jnp.square(y).mean(axis=-1, keepdims=True)
    return (y * (jax.lax.rsqrt(mean_square + EPSILON) * scale)).astype(x.dtype)


def activated(norm: jax.Array, x: jax.Array) -> jax.Array:
    """What follows the product of a hidden layer: the norm, then SiLU."""
    return jax.nn.silu(rms_norm(norm, x))


def hidden(params: Params, x: jax.Array) -> jax.Array:
    """A hidden layer: a product, a norm, SiLU."""
    return activated(params["norm"], linear(params, x))


def init_hidden_layers(key: jax.Array, inputs: int, widths: Sequence[int]) -> Params:
    """Weights ``hidden_0``, ``hidden_1``, … of layers of these widths."""
    params: Params = {}
    for index, (each, width) in enumerate(
        zip(jax.random.split(key, max(len(widths), 1)), widths, strict=False)
    ):
        params[f"hidden_{index}"] = init_linear(each, inputs, width, normed=True)
        inputs = width
    return params


def hidden_layers(params: Params, x: jax.Array) -> dict[str, jax.Array]:
    """What each of the hidden layers puts out, by name, in their order."""
    outputs: dict[str, jax.Array] = {}
    while (name := f"hidden_{len(outputs)}") in params:
        x = outputs[name] = hidden(params[name], x)
    return outputs


def symlog(x: jax.Array) -> jax.Array:
    """``sign(x) ln(1 + |x|)``: large numbers become small ones, small ones stay as they are.

    Example:
        >>> symlog(jnp.array([-1e6, 0.0, 0.01])).round(2).tolist()
        [-13.819999694824219, 0.0, 0.009999999776482582]
    """
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symexp(x: jax.Array) -> jax.Array:
    """The inverse of `symlog`."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))


# --- what their weights are made of ---------------------------------------------------------------


def units(name: str, size: int, repeats: int = 1) -> Piece:
    """Units of a layer: as many as there are, for norms look at all of them."""
    return Piece(name, size, repeats=repeats, grows=False)


def normed_axes(
    path: str, name: str, reads: tuple[Piece, ...], made: Piece, window: int = 0
) -> dict[str, tuple[Axis, ...]]:
    """Axes of a layer with a norm behind it; see `networks.axes.layer_axes`."""
    norm = {f"{path}/norm": (Axis(path, (made,), "makes"),)}
    return layer_axes(path, name, reads, (made,), window) | norm


def hidden_axes(
    folder: str, name: str, reads: tuple[Piece, ...], widths: Sequence[int]
) -> tuple[dict[str, tuple[Axis, ...]], str, tuple[Piece, ...]]:
    """Axes of hidden layers of these widths, and the name and pieces of what they put out.

    Args:
        folder: Of the layers, such as ``vectors/``.
        name: Of what they read, for people.
        reads: What they read.
        widths: Of the layers.
    """
    axes: dict[str, tuple[Axis, ...]] = {}
    for index, width in enumerate(widths):
        path = f"{folder}hidden_{index}"
        made = units(path, width)
        axes |= normed_axes(path, name, reads, made)
        name, reads = path, (made,)
    return axes, name, reads


def block_axes(
    path: str, name: str, reads: tuple[Piece, ...], made: Piece, blocks: int
) -> dict[str, tuple[Axis, ...]]:
    """Axes of a layer in blocks.

    Args:
        path: Of the layer.
        name: Of what it reads, for people.
        reads: What each block reads.
        made: What each block makes.
        blocks: How many there are.
    """
    whole = dataclasses.replace(made, repeats=blocks * made.repeats)
    axes = layer_axes(path, name, reads, (whole,))
    if blocks > 1:
        kernel = fixed("blocks", blocks), Axis(name, reads, "reads"), Axis(path, (made,), "makes")
        axes[f"{path}/kernel"] = kernel
    return axes
