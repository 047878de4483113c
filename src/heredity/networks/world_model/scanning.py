"""Moments one after the other, whose weights get their gradient from all of them at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# From weights, what is carried and what is known of a moment to what is carried on and given out.
Step = Callable[[Any, Any, Any], tuple[Any, Any]]


def scan(
    step: Step, weights: Any, carry: Any, moments: Any, axes: tuple[int, ...]
) -> tuple[Any, Any]:
    """`jax.lax.scan` of a step with weights: what is carried last, and all that was given out.

    The gradient of `jax.lax.scan` adds to that of every weight at every moment: of few sequences
    that is mostly reading and writing as many numbers as there are weights. Here it goes back
    through the moments for what is carried alone; then the step is computed once more, for all
    moments as one batch, and its gradient is that of the weights.

    Args:
        step: Closes over nothing that has a gradient, takes any number of axes of a batch, and has
            them first in what it gives out.
        weights: The same at every moment.
        carry: Before the first moment; floats.
        moments: ``(T, ...)``.
        axes: The first axis of the batch in each array of ``carry``.
    """
    return _scan(step, axes, weights, carry, moments)


def _plain(
    step: Step, axes: tuple[int, ...], weights: Any, carry: Any, moments: Any
) -> tuple[Any, Any]:
    del axes
    return widened_scan(functools.partial(step, weights), carry, moments)


def _forward(
    step: Step, axes: tuple[int, ...], weights: Any, carry: Any, moments: Any
) -> tuple[Any, Any]:
    del axes

    def shifted(before: Any, now: tuple[Any, Any]) -> tuple[Any, Any]:
        moment, shift = now
        after, given = step(weights, before, moment)
        return jax.tree.map(jnp.add, after, shift), (given, before)

    def run(carry: Any, moments: Any, shifts: Any) -> tuple[Any, Any]:
        last, (given, befores) = widened_scan(shifted, carry, (moments, shifts))
        return (last, given), befores

    count = len(jax.tree.leaves(moments)[0])
    # What is carried has the gradient that something added to it would have.
    none = jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), carry)
    found, back, befores = jax.vjp(run, carry, moments, none, has_aux=True)
    return found, (weights, moments, befores, back)


def _backward(
    step: Step, axes: tuple[int, ...], known: Any, gradient: tuple[Any, Any]
) -> tuple[Any, Any, Any]:
    weights, moments, befores, back = known
    of_carry, of_moments, of_carried = back(gradient)

    def beside_batch(carried: Any) -> Any:
        leaves, tree = jax.tree.flatten(carried)
        moved = [jnp.moveaxis(leaf, 0, axis) for leaf, axis in zip(leaves, axes, strict=True)]
        return tree.unflatten(moved)

    def at_once(weights: Any) -> tuple[Any, Any]:
        return step(weights, beside_batch(befores), moments)

    (of_weights,) = jax.vjp(at_once, weights)[1]((beside_batch(of_carried), gradient[1]))
    return of_weights, of_carry, of_moments


_scan = jax.custom_vjp(_plain, nondiff_argnums=(0, 1))
_scan.defvjp(_forward, _backward)


def widened_scan(step: Any, carry: Any, moments: Any, length: int | None = None) -> tuple[Any, Any]:
    """`jax.lax.scan`; where it carries bfloat16 it carries and keeps float32 instead.

    A processor writes one moment of bfloat16 into an array of many by making float32 of all of
    them, and bfloat16 again. What a gradient needs would be kept like that too, so that it is
    computed again instead. No number changes.
    """
    if all(leaf.dtype != jnp.bfloat16 for leaf in jax.tree.leaves(carry)):
        return jax.lax.scan(step, carry, moments, length)
    first = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), moments)
    given_like = jax.eval_shape(step, carry, first)[1]

    @jax.checkpoint
    def widened_step(before: Any, now: Any) -> tuple[Any, Any]:
        return _wide(step(_like(before, carry), _like(now, first)))

    last, given = jax.lax.scan(widened_step, _wide(carry), _wide(moments), length)
    return _like(last, carry), _like(given, given_like)


def _wide(tree: Any) -> Any:
    def widened(x: jax.Array) -> jax.Array:
        return x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x

    return jax.tree.map(widened, tree)


def _like(tree: Any, other: Any) -> Any:
    return jax.tree.map(lambda x, like: x.astype(like.dtype), tree, other)
