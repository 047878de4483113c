"""How long each convolution of DreamerV3 takes, in every way to compute it; prints two tables.

``python benchmarks/profile_convolutions.py size12m``
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import jax

from cells import Row, table
from heredity.algorithms.dreamer.config import SIZES
from heredity.common.kept_memory import keep_memory
from heredity.networks.world_model import convolutions
from heredity.networks.world_model.encoder import MULTIPLES
from timing import quartiles

SIDE, COLOURS = 64, 3
Convolution = Callable[[jax.Array, jax.Array], Any]
# By the kind of layer, then by name: the function, and what it computes in.
WAYS: dict[str, dict[str, tuple[Convolution, str]]] = {
    "halved": {
        "convolution": (convolutions._halved, "float32"),
        "products": (convolutions._halved_by_products, "float32"),
        "products, bfloat16": (convolutions._halved_by_products, "bfloat16"),
        "convolution, `reduce_window`": (convolutions._halved_in_windows, "float32"),
    },
    "doubled": {
        "convolution": (convolutions._doubled, "float32"),
        "products": (convolutions._doubled_by_products, "float32"),
        "products, bfloat16": (convolutions._doubled_by_products, "bfloat16"),
    },
}
LEARNT = ("convolution", "products", "products, bfloat16")  # the gradient of the fourth is slow


def milliseconds(function: Callable[..., Any], *given: Any) -> float:
    """The median of half a second of calls, of five at least, once compiled."""
    program = jax.jit(function)
    return quartiles(lambda: jax.block_until_ready(program(*given)), 0.5)["median_ms"]


def with_gradients(way: Convolution, of_pictures: bool) -> Convolution:
    """Forward and back: to the kernel, and to what was read unless nobody learns from it."""

    def both(kernel: jax.Array, x: jax.Array) -> Any:
        if of_pictures:
            found, back = jax.vjp(way, kernel, x)
        else:
            found, back = jax.vjp(lambda kernel: way(kernel, x), kernel)
        return back(found)

    return both


def timed(
    kind: str, names: Iterable[str], pictures: int, side: int, inputs: int, outputs: int
) -> Row:
    """A row of a table: one layer in each of the ways."""
    cells = [f"{side} x {side} x {inputs} to {outputs}, {kind}"]
    for name in names:
        way, dtype = WAYS[kind][name]
        kernel = jax.random.normal(jax.random.key(0), (5, 5, inputs, outputs), dtype)
        x = jax.random.normal(jax.random.key(1), (pictures, side, side, inputs), dtype)
        if pictures > 100:
            way = with_gradients(way, of_pictures=inputs != COLOURS)
        taken = milliseconds(way, kernel, x)
        cells.append(f"{taken:,.0f}" if pictures > 100 else f"{taken:.1f}")
    return tuple(cells)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("preset", choices=SIZES)
    keep_memory()
    depth = int(SIZES[parser.parse_args().preset]["depth"])
    channels = [COLOURS, *(depth * multiple for multiple in MULTIPLES)]
    sides = [SIDE >> number for number in range(len(MULTIPLES) + 1)]
    layers = list(zip(sides, itertools.pairwise(channels), strict=False))
    of_learning: list[Row] = [("layer, 1,024 pictures, with gradients", *LEARNT)]
    for side, (inputs, outputs) in layers:
        of_learning.append(timed("halved", LEARNT, 1024, side, inputs, outputs))
    for side, (outputs, inputs) in reversed(layers):
        of_learning.append(timed("doubled", LEARNT, 1024, side // 2, inputs, outputs))
    print(table(*of_learning, right=range(1, 4)))
    of_acting: list[Row] = [("layer, 16 pictures", *WAYS["halved"])]
    for side, (inputs, outputs) in layers:
        of_acting.append(timed("halved", WAYS["halved"], 16, side, inputs, outputs))
    print(table(*of_acting, right=range(1, 5)))


if __name__ == "__main__":
    main()
