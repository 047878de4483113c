"""Convolutions that halve or double the sides of a picture, as DreamerV3 has them.

Both read pictures through kernels of 5 x 5. On a processor they are computed as products of
matrices at the smaller of the two sizes, with the four places of each 2 x 2 as channels of one:

- a maximum over 2 x 2 places of a convolution needs all four, which read 6 x 6 places, or 3 x 3
  times 2 x 2; so it is a convolution of 3 x 3 from four times the channels to four times as many;
- a picture that is shown twice as large has four places of one value, so that those of a kernel
  which fall on the same can be added before: 3 x 3 places are left of 5 x 5 for each of the four.

The numbers are the same but for the order of sums. To learn, XLA's own convolutions take processors
four to nine times as long where sides are doubled, and up to twice as long where they are halved
(docs/performance.md); on other devices those are used. Where nothing is learnt, as in acting,
those of float32 are faster from some channels on, together with XLA's own way to take the most of
2 x 2 places, whose gradient is slow.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap

from heredity.networks.products import tall_product
from heredity.networks.world_model.layers import truncated_normal
from heredity.weights import Params

SIDE = 5  # of all kernels
FEW_CHANNELS = 8  # below them XLA's convolution takes longer than products where nothing is learnt


def init_convolution(key: jax.Array, inputs: int, outputs: int, *, normed: bool = True) -> Params:
    """Weights of a convolution with a kernel ``(5, 5, inputs, outputs)``."""
    kernel = truncated_normal(key, (SIDE, SIDE, inputs, outputs), SIDE * SIDE * inputs)
    params: Params = {"kernel": kernel, "bias": jnp.zeros(outputs, jnp.float32)}
    return {**params, "norm": jnp.ones(outputs, jnp.float32)} if normed else params


def convolution(params: Params, x: jax.Array) -> jax.Array:
    """``(N, H, W, inputs)`` to ``(N, H, W, outputs)``, padded with zeros."""
    return _biased(params, _convolved(params["kernel"], x))


def halving_convolution(params: Params, x: jax.Array) -> jax.Array:
    """``(N, 2H, 2W, inputs)`` to ``(N, H, W, outputs)``: the most of each 2 x 2 places."""
    found = jax.lax.platform_dependent(
        params["kernel"], x, cpu=_halved_on_processor, default=_halved
    )
    return _biased(params, found)


def doubling_convolution(params: Params, x: jax.Array) -> jax.Array:
    """``(N, H, W, inputs)`` to ``(N, 2H, 2W, outputs)``: of each place four of the same value."""
    found = jax.lax.platform_dependent(
        params["kernel"], x, cpu=_doubled_by_products, default=_doubled
    )
    return _biased(params, found)


def _biased(params: Params, y: jax.Array) -> jax.Array:
    return y + params["bias"].astype(y.dtype)


def _convolved(kernel: jax.Array, x: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel.astype(x.dtype), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _halved(kernel: jax.Array, x: jax.Array) -> jax.Array:
    y = _convolved(kernel, x)
    count, height, width, channels = y.shape
    return y.reshape((count, height // 2, 2, width // 2, 2, channels)).max(axis=(2, 4))


def _doubled(kernel: jax.Array, x: jax.Array) -> jax.Array:
    return _convolved(kernel, jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2))


# One after the other for several kernels: XLA has no fast convolution of many at once.
@sequential_vmap
def _halved_in_windows(kernel: jax.Array, x: jax.Array) -> jax.Array:
    least = jnp.array(-jnp.inf, x.dtype)
    windows = (1, 2, 2, 1)
    return jax.lax.reduce_window(
        _convolved(kernel, x), least, jax.lax.max, windows, windows, "VALID"
    )


@jax.custom_vjp
def _halved_on_processor(kernel: jax.Array, x: jax.Array) -> jax.Array:
    products = x.shape[-1] < FEW_CHANNELS or x.dtype == jnp.bfloat16
    return (_halved_by_products if products else _halved_in_windows)(kernel, x)


def _halved_to_learn(kernel: jax.Array, x: jax.Array) -> tuple[jax.Array, Any]:
    return jax.vjp(_halved_by_products, kernel, x)


def _gradients_of_halved(back: Any, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    return back(gradient)


_halved_on_processor.defvjp(_halved_to_learn, _gradients_of_halved)


# --- as products of matrices ----------------------------------------------------------------------


def _at_four_places(kernel: jax.Array) -> jax.Array:
    """What each of 2 x 2 places reads of the 6 x 6 that all of them do.

    Returns:
        ``(3, 2, 3, 2, inputs, 4 * outputs)`` of ``(5, 5, inputs, outputs)``: which of three twos
        and which of both, along each side.
    """
    placed = [
        jnp.pad(kernel, ((down, 1 - down), (along, 1 - along), (0, 0), (0, 0)))
        for down in range(2)
        for along in range(2)
    ]
    six = jnp.concatenate(placed, axis=-1)
    return six.reshape((3, 2, 3, 2, *six.shape[2:]))


def _halved_by_products(kernel: jax.Array, x: jax.Array) -> jax.Array:
    count, height, width, inputs = (x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3])
    outputs = kernel.shape[-1]
    small = _at_four_places(kernel).transpose((0, 2, 1, 3, 4, 5))
    twos = x.reshape((count, height, 2, width, 2, inputs)).transpose((0, 1, 3, 2, 4, 5))
    twos = twos.reshape((count, height, width, 4 * inputs))
    y = _of_three(small.reshape((3, 3, 4 * inputs, 4 * outputs)), twos)
    return y.reshape((count, height, width, 4, outputs)).max(axis=3)


def _doubled_by_products(kernel: jax.Array, x: jax.Array) -> jax.Array:
    count, height, width, _ = x.shape
    outputs = kernel.shape[-1]
    y = _of_three(_at_four_places(kernel).sum(axis=(1, 3)), x)
    y = y.reshape((count, height, width, 2, 2, outputs)).transpose((0, 1, 3, 2, 4, 5))
    return y.reshape((count, 2 * height, 2 * width, outputs))


def _of_three(kernel: jax.Array, x: jax.Array) -> jax.Array:
    """A convolution of 3 x 3, a product for each row of the kernel."""
    _, height, width, inputs = x.shape
    kernel = kernel.reshape((3, 3 * inputs, -1))
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    # Three times the channels; all nine at once would take three times the memory, and as long.
    beside = jnp.concatenate([x[:, :, first : first + width] for first in range(3)], axis=-1)
    rows = [beside[:, first : first + height] for first in range(3)]
    found: list[Any] = [tall_product(row, part) for row, part in zip(rows, kernel, strict=True)]
    return found[0] + found[1] + found[2]
