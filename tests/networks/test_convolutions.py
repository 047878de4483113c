"""Convolutions as products of matrices: the numbers and gradients of those that XLA has."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.networks.world_model import convolutions


@pytest.mark.parametrize(
    ("ours", "plain", "sides", "channels"),
    [
        (convolutions._halved_by_products, convolutions._halved, (6, 10), 3),
        (convolutions._halved_on_processor, convolutions._halved, (6, 10), 3),
        (convolutions._halved_on_processor, convolutions._halved, (6, 10), 8),
        (convolutions._doubled_by_products, convolutions._doubled, (3, 5), 3),
        (convolutions._doubled_by_products, convolutions._doubled, (1, 2), 3),
    ],
)
def test_products_are_the_convolution(
    ours: Callable, plain: Callable, sides: tuple[int, int], channels: int
):
    of_kernel, of_pictures, of_weights = jax.random.split(jax.random.key(0), 3)
    kernel = jax.random.normal(of_kernel, (5, 5, channels, 2))
    x = jax.random.normal(of_pictures, (2, *sides, channels))
    expected = plain(kernel, x)
    weights = jax.random.normal(of_weights, expected.shape)
    np.testing.assert_allclose(ours(kernel, x), expected, rtol=1e-4, atol=1e-4)
    gradients = [
        jax.grad(lambda k, x, f=f: jnp.sum(weights * f(k, x)), argnums=(0, 1))(kernel, x)
        for f in (ours, plain)
    ]
    for found, wanted in zip(*gradients, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_on_a_processor_they_are_products():
    params = convolutions.init_convolution(jax.random.key(0), 3, 2)
    for made in (convolutions.halving_convolution, convolutions.doubling_convolution):
        text = jax.jit(made).lower(params, jnp.zeros((1, 4, 4, 3))).compile().as_text()
        assert "convolution(" not in text.replace("_convolution(", "")


def test_several_policies_act_at_once():
    kernels = jax.random.normal(jax.random.key(0), (2, 5, 5, 8, 2))
    x = jax.random.normal(jax.random.key(1), (2, 3, 6, 10, 8))
    together = jax.vmap(convolutions._halved_on_processor)(kernels, x)
    expected = jax.vmap(convolutions._halved)(kernels, x)
    np.testing.assert_allclose(together, expected, rtol=1e-4, atol=1e-4)
