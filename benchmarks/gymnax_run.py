"""How a peer that is one compiled program on gymnax is trained and measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

import measure
from problems import Problem


def run(
    problem: Problem,
    seed: int,
    clock: measure.Clock,
    init: Callable[[jax.Array], Any],
    train: Callable[[Any], tuple[Any, Any]],
    play: Callable[[Any, int], Any],
    weights_of: Callable[[Any], Any],
) -> None:
    """Train chunk by chunk, and evaluate after each; several seeds are one program.

    Args:
        problem: With how many chunks, and seeds.
        seed: Of the run.
        clock: Is told everything but the report.
        init: From a key to what is trained.
        train: One chunk; gives what is trained, and what is logged.
        play: From weights and a seed to returns.
        weights_of: What is trained, as the weights that `play` takes.
    """
    keys = jax.random.split(jax.random.key(seed), problem.seeds or 1)
    if problem.seeds is None:
        keys = keys[0]
    else:
        init, train = jax.vmap(init), jax.vmap(train)
    clock.learning()
    carry = jax.jit(init)(keys)
    compiled = jax.jit(train, donate_argnums=0).lower(carry).compile()
    clock.compiled()
    for chunk in range(problem.chunks):
        carry, _ = jax.block_until_ready(compiled(carry))
        clock.mark((chunk + 1) * problem.chunk * (problem.seeds or 1))
        with clock.stopped():
            returns = measure.evaluated(play, weights_of(carry), seed + 1000, problem.seeds)
            clock.scored(returns.mean(), returns.std())
