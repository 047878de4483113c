"""Products of bfloat16: the numbers of float32 but for rounding, however things lie in memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.networks.products import block_products, product, tall_product

SIZES = [(16, 64, 96), (1, 7, 3), (100, 30, 4), (9, 1, 5)]  # rows, inputs, outputs


def gradients(x: jax.Array, kernel: jax.Array, weights: jax.Array) -> Any:
    return jax.vjp(product, x, kernel)[1](weights)


def of_blocks(x: jax.Array, kernels: jax.Array, weights: jax.Array) -> Any:
    """With the blocks in the middle, before and after."""

    def made(x: jax.Array, kernels: jax.Array) -> jax.Array:
        return jnp.moveaxis(block_products(jnp.moveaxis(x, 1, 0), kernels), 0, 1)

    found, back = jax.vjp(made, x, kernels)
    return found, back(weights)


# Where XLA may turn an array instead of the product, it would give up on one of bfloat16.
WAYS: dict[str, Callable] = {
    "as it is": lambda x, kernel, _: product(x, kernel),
    "turned after": lambda x, kernel, _: product(x, kernel).T,
    "turned before": lambda x, kernel, _: product(jnp.flip(x.T, 0).T, jnp.flip(kernel.T, 0).T),
    "gradients": gradients,
    "gradients turned": lambda *all_: jax.tree.map(lambda g: g.T, gradients(*all_)),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", WAYS)
def test_bfloat16_gives_the_numbers_of_float32(way: str, size: tuple[int, int, int]):
    rows, inputs, outputs = size
    holds(WAYS[way], (rows, inputs), (inputs, outputs), (rows, outputs))


@pytest.mark.parametrize("size", SIZES)
def test_by_block(size: tuple[int, int, int]):
    rows, inputs, outputs = size
    holds(of_blocks, (rows, 3, inputs), (3, inputs, outputs), (rows, 3, outputs))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_of_many_rows(dtype: str):
    draw = np.random.default_rng(0)
    x, kernel, weights = (
        jnp.asarray(draw.normal(size=shape), dtype)
        for shape in ((5, 4, 3, 6), (6, 2), (5, 4, 3, 2))
    )
    found, back = jax.vjp(tall_product, x, kernel)
    expected, plain = jax.vjp(jnp.matmul, x, kernel)
    for ours, wanted in zip((found, *back(weights)), (expected, *plain(weights)), strict=True):
        assert ours.dtype == dtype
        close = 1e-5 if dtype == "float32" else 5e-2
        np.testing.assert_allclose(np.float32(ours), np.float32(wanted), rtol=close, atol=close)


def test_of_several_policies_at_once():
    each = jax.vmap(gradients, in_axes=(1, 0, 2))
    holds(each, (16, 3, 64), (3, 64, 96), (16, 96, 3))
    of_one = jax.vmap(gradients, in_axes=(0, None, 0))
    holds(of_one, (3, 16, 64), (64, 96), (3, 16, 96))
    holds(jax.vmap(of_blocks), (2, 16, 3, 64), (2, 3, 64, 96), (2, 16, 3, 96))
    of_one = jax.vmap(of_blocks, in_axes=(1, None, 1))
    holds(of_one, (16, 2, 3, 64), (3, 64, 96), (16, 2, 3, 96))


PROGRAMS = {product: ((16, 64), (64, 32)), block_products: ((2, 16, 64), (2, 64, 32))}


@pytest.mark.parametrize("made", PROGRAMS)
def test_a_processor_is_asked_for_float32_unless_devices_share_the_work(made: Callable):
    x, kernel = (jnp.ones(shape, jnp.bfloat16) for shape in PROGRAMS[made])

    def text() -> str:
        return jax.jit(lambda *given: made(*given)).lower(x, kernel).as_text()

    assert "LayoutConstraint" in text()
    assert "xbf16>) -> tensor<" in text() and "16x32xf32>" in text()
    with jax.set_mesh(jax.make_mesh((2,), ("devices",))):
        assert "LayoutConstraint" not in text()


def holds(way: Callable, *shapes: tuple[int, ...]) -> None:
    """In bfloat16 a way gives what it gives in float32."""
    draw = np.random.default_rng(0)
    given = [jnp.asarray(draw.normal(size=shape), jnp.bfloat16) for shape in shapes]
    found = jax.tree.leaves(jax.jit(way)(*given))
    expected = jax.tree.leaves(way(*(array.astype(jnp.float32) for array in given)))
    for ours, wanted in zip(found, expected, strict=True):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_allclose(
            np.float32(ours), wanted, rtol=1e-2, atol=1e-2 * float(jnp.abs(wanted).max())
        )
