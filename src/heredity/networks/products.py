"""Products with kernels, which are cast to the dtype of the other side.

Processors that multiply bfloat16 (AMX, AVX512-BF16) add up in float32, and take a quarter of its
time. XLA uses that where a product is asked for in float32 and all of it lies in memory row after
row; else it makes float32 of both sides first, or gives up where it finds out too late ("BF16 x
BF16 = F32" is then unsupported). So on a processor products of bfloat16 and their gradients are
written out, and say how they lie. Elsewhere, among several devices, and in float32 but for
`tall_product`, they are those of `jax.numpy`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jax.experimental.layout import Layout, with_layout_constraint


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """``x (..., i) @ kernel (i, o)``, in the dtype of ``x``.

    Example:
        >>> product(jnp.ones((2, 3), jnp.bfloat16), jnp.full((3, 1), 0.5)).ravel().tolist()
        [1.5, 1.5]
    """
    kernel = kernel.astype(x.dtype)
    return tall_product(x, kernel) if x.dtype == jnp.bfloat16 else x @ kernel


def tall_product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`product` of so many rows that it matters in float32, too, how they lie.

    Left to itself XLA may turn the gradient of all of them before it multiplies it with them.
    """
    kernel = kernel.astype(x.dtype)
    if _divided():
        return x @ kernel
    return jax.lax.platform_dependent(x, kernel, cpu=_on_processor, default=jnp.matmul)


def dense_product(x: jax.Array, kernel: jax.Array, numbers: Any, **_: Any) -> jax.Array:
    """`product` in the place of the ``dot_general`` of `flax.linen.Dense`."""
    assert numbers == (((x.ndim - 1,), (0,)), ((), ())), numbers
    return product(x, kernel)


def block_products(x: jax.Array, kernels: jax.Array) -> jax.Array:
    """The product of each block of ``x (g, ..., i)`` with its own of ``kernels (g, i, o)``.

    Example:
        >>> block_products(jnp.ones((2, 5, 3)), jnp.ones((2, 3, 4))).shape
        (2, 5, 4)
    """
    kernels = kernels.astype(x.dtype)
    if x.dtype != jnp.bfloat16 or _divided():
        return _by_block(x, kernels)
    return jax.lax.platform_dependent(x, kernels, cpu=_blocks_on_processor, default=_by_block)


def _divided() -> bool:
    """Whether among several devices: arrays would be gathered, to lie as they are said to."""
    return not jax.sharding.get_abstract_mesh().empty


def _by_block(x: jax.Array, kernels: jax.Array) -> jax.Array:
    return jnp.einsum("g...i,gio->g...o", x, kernels)


def _on_processor(x: jax.Array, kernel: jax.Array) -> jax.Array:
    y = _of_matrices(x.reshape((-1, x.shape[-1])), kernel)
    return y.reshape((*x.shape[:-1], kernel.shape[-1]))


def _blocks_on_processor(x: jax.Array, kernels: jax.Array) -> jax.Array:
    blocks, inputs, outputs = kernels.shape
    y = _of_matrices(x.reshape((blocks, -1, inputs)), kernels)
    return y.reshape((*x.shape[:-1], outputs))


@jax.custom_vjp
def _of_matrices(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """``(n, i)`` and ``(i, o)`` to ``(n, o)``; or each of them as often as there are blocks."""
    return _multiplied(x, kernel)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Any]:
    return _of_matrices(x, kernel), (x, kernel)


def _backward(known: Any, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = known
    return _multiplied_across(gradient, kernel), _of_kernel(x, gradient)


def _of_kernel(x: jax.Array, gradient: jax.Array) -> jax.Array:
    if x.dtype != jnp.bfloat16:
        return _multiplied_down(x, gradient)
    if x.shape[-1] <= gradient.shape[-1]:
        return _multiplied(_turned(x), gradient)
    return _turned(_multiplied(_turned(gradient), x))  # turns what is narrower


_of_matrices.defvjp(_forward, _backward)


# With vmap one after the other: several kernels at once would be no faster, and lie otherwise.
@sequential_vmap
def _multiplied(left: jax.Array, right: jax.Array) -> jax.Array:
    return _dot(left, right, (-1, -2))


@sequential_vmap
def _multiplied_across(left: jax.Array, right: jax.Array) -> jax.Array:
    """With the transposed matrix on the right."""
    return _dot(left, right, (-1, -1))


@sequential_vmap
def _multiplied_down(left: jax.Array, right: jax.Array) -> jax.Array:
    """With the transposed matrix on the left, which bfloat16 cannot."""
    return _dot(left, right, (-2, -2))


@sequential_vmap
def _turned(x: jax.Array) -> jax.Array:
    """Transposed, in memory too."""
    return _row_after_row(jnp.swapaxes(x, -1, -2))


def _dot(left: jax.Array, right: jax.Array, axes: tuple[int, int]) -> jax.Array:
    """Over one axis on the left and one on the right; by block where there are some."""
    blocks = tuple(range(left.ndim - 2))
    over_left, over_right = (axis + left.ndim for axis in axes)
    numbers = (((over_left,), (over_right,)), (blocks, blocks))
    left, right = _row_after_row(left), _row_after_row(right)
    exact = jnp.promote_types(left.dtype, jnp.float32)
    found = jax.lax.dot_general(left, right, numbers, preferred_element_type=exact)
    return _row_after_row(found).astype(left.dtype)


def _row_after_row(x: jax.Array) -> jax.Array:
    return with_layout_constraint(x, Layout(tuple(range(x.ndim))))
