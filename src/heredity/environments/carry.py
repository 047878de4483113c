"""States that keep their dtypes under `lax.scan`: what goes in comes out alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from heredity.common.errors import UsageError


def stable_template(reset: Callable[[], Any], step: Callable[[Any], Any], owner: str) -> Any:
    """Shapes and dtypes that a state has from its second step on. Traces, runs nothing.

    Environments written in JAX often start from Python numbers (``time=0``) whose dtype is weak,
    and become something else after a step; `lax.scan` refuses that.

    Args:
        reset: Gives a first state.
        step: Gives the state after one step.
        owner: Whose state it is, for the error.

    Raises:
        UsageError: when shape or structure change from step to step.
    """
    first = jax.eval_shape(reset)
    template = first
    # int32 + float gives float: the dtype settles after a few steps or never.
    for _ in range(4):
        after = jax.eval_shape(step, template)
        if jax.tree.structure(after) != jax.tree.structure(template):
            raise UsageError(f"{owner}: the structure of its state changes from step to step")
        shapes = (jax.tree.leaves(template), jax.tree.leaves(after))
        for before, now in zip(*shapes, strict=True):
            if before.shape != now.shape:
                raise UsageError(
                    f"{owner}: an array of its state changes shape, {before.shape} to {now.shape}"
                )
        settled = jax.tree.map(_wider, template, after)
        if jax.tree.leaves(settled) == jax.tree.leaves(template):
            return settled
        template = settled
    raise UsageError(f"{owner}: the dtypes of its state do not settle")


def _wider(before: Any, now: Any) -> jax.ShapeDtypeStruct:
    if jnp.issubdtype(before.dtype, jax.dtypes.extended):  # typed random keys
        return jax.ShapeDtypeStruct(before.shape, before.dtype)
    dtype = jnp.promote_types(before.dtype, now.dtype)
    return jax.ShapeDtypeStruct(before.shape, dtype)


def conform(value: Any, template: Any) -> Any:
    """Leaves of `value` as strongly typed arrays of the template's dtypes."""

    def leaf(part: Any, like: Any) -> jax.Array:
        if jnp.issubdtype(like.dtype, jax.dtypes.extended):
            return part
        return jnp.asarray(part, like.dtype)

    return jax.tree.map(leaf, value, template)
