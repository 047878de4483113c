"""What bounds DreamerV3 on this machine: large products, products of few rows, and draws.

``python benchmarks/profile_products.py`` prints a table. Its sizes are those of size12m.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from cells import Row, table
from heredity.algorithms.dreamer.config import SIZES, DreamerConfig
from heredity.common.kept_memory import keep_memory
from heredity.networks.products import product
from heredity.networks.world_model import latents
from profile_convolutions import milliseconds

SIZE = 2048  # of large products
ROWS = 16  # environments
KERNELS = 6  # so many that no cache next to a core has room for them


def large_products(dtype: str) -> Row:
    """Operations in a second."""
    x = jnp.ones((SIZE, SIZE), dtype)
    taken = milliseconds(product, x, x)
    return f"large products, {dtype}", f"{2 * SIZE**3 / taken / 1e6:,.0f} GFLOP/s"


def few_rows(dtype: str) -> Row:
    """Bytes of kernels that are read in a second."""
    x = jnp.ones((ROWS, SIZE), dtype)
    kernels = [jnp.ones((SIZE, SIZE // 2), dtype) for _ in range(KERNELS)]
    taken = milliseconds(lambda x, kernels: [product(x, kernel) for kernel in kernels], x, kernels)
    read = sum(kernel.nbytes for kernel in kernels)
    return f"products of {ROWS} rows, {dtype}", f"{read / taken / 1e6:.1f} GB/s"


def draws(config: DreamerConfig, gumbel: bool) -> Row:
    """Milliseconds of all that an update draws while it imagines."""
    moments = config.imagination_length * config.batch_size * config.batch_length
    shape = (moments, config.groups)
    logits = jnp.zeros((*shape, config.classes))

    def drawn(key: jax.Array, logits: jax.Array) -> jax.Array:
        probs = latents.mixed_probs(logits, config.uniform_mix)
        if not gumbel:
            return latents.choose(probs, latents.noise(key, shape))
        return latents.choose(jnp.log(probs) + jax.random.gumbel(key, logits.shape), None)

    taken = milliseconds(drawn, jax.random.key(0), logits)
    way = "a number for each class" if gumbel else "a number for each group"
    told = f"{moments * config.groups:,} draws of {config.classes} classes, {way}"
    return told, f"{taken:.0f} ms"


def main() -> None:
    keep_memory()
    config = DreamerConfig(**SIZES["size12m"])
    rows: list[Row] = [("size12m", "here")]
    rows += [large_products(dtype) for dtype in ("float32", "bfloat16")]
    rows += [few_rows(dtype) for dtype in ("float32", "bfloat16")]
    rows += [draws(config, gumbel) for gumbel in (True, False)]
    print(table(*rows, right=(1,)))


if __name__ == "__main__":
    main()
