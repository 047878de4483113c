"""Moments one after the other, whose weights get their gradient from all of them at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# From weights, what is carried and what is known of a moment to what is carried on and given out.
Step = Callable[[Any, Any, Any], tuple[Any, Any]]


def scan(step: Step, weights: Any, carry: Any, moments: Any) -> tuple[Any, Any]:
    """`jax.lax.scan` of a step with weights: what is carried last, and all that was given out.

    The gradient of `jax.lax.scan` adds to that of every weight at every moment: of few sequences
    that is mostly reading and writing as many numbers as there are weights. Here it goes back
    through the moments for what is carried alone; then the step is computed once more, for all
    moments as one batch, and its gradient is that of the weights.

    Args:
        step: Closes over nothing that has a gradient.
        weights: The same at every moment.
        carry: Before the first moment.
        moments: ``(T, ...)``.
    """
    return _scan(step, weights, carry, moments)


def _plain(step: Step, weights: Any, carry: Any, moments: Any) -> tuple[Any, Any]:
    return jax.lax.scan(functools.partial(step, weights), carry, moments)


def _forward(step: Step, weights: Any, carry: Any, moments: Any) -> tuple[Any, Any]:
    def shifted(before: Any, now: tuple[Any, Any]) -> tuple[Any, Any]:
        moment, shift = now
        after, given = step(weights, before, moment)
        return jax.tree.map(jnp.add, after, shift), (given, before)

    def run(carry: Any, moments: Any, shifts: Any) -> tuple[Any, Any]:
        last, (given, befores) = jax.lax.scan(shifted, carry, (moments, shifts))
        return (last, given), befores

    count = len(jax.tree.leaves(moments)[0])
    # What is carried has the gradient that something added to it would have.
    none = jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), carry)
    found, back, befores = jax.vjp(run, carry, moments, none, has_aux=True)
    return found, (weights, moments, befores, back)


def _backward(step: Step, known: Any, gradient: tuple[Any, Any]) -> tuple[Any, Any, Any]:
    weights, moments, befores, back = known
    of_carry, of_moments, of_carried = back(gradient)

    def at_once(weights: Any) -> tuple[Any, Any]:
        return jax.vmap(step, in_axes=(None, 0, 0))(weights, befores, moments)

    (of_weights,) = jax.vjp(at_once, weights)[1]((of_carried, gradient[1]))
    return of_weights, of_carry, of_moments


_scan = jax.custom_vjp(_plain, nondiff_argnums=(0,))
_scan.defvjp(_forward, _backward)
