"""Training states, which may hold any registered pytree, to flat names and back, strictly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from heredity.common.errors import MismatchError, first_few

Tree = TypeVar("Tree")


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _named_leaves(tree: Any) -> tuple[list[tuple[str, Any]], Any]:
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    named = [(jax.tree_util.keystr(p, simple=True, separator="/"), leaf) for p, leaf in leaves]
    return named, structure


def named_leaves(tree: Any) -> dict[str, Any]:
    """Leaves by path, as they are.

    Example:
        >>> named_leaves({"a": (1, 2)})
        {'a/0': 1, 'a/1': 2}
    """
    return dict(_named_leaves(tree)[0])


def tree_to_host(tree: Any) -> dict[str, np.ndarray]:
    """Leaves by path as numpy copies of their own; PRNG keys as their data."""
    named, _ = _named_leaves(tree)
    return {
        path: np.array(jax.random.key_data(leaf) if _is_key(leaf) else leaf) for path, leaf in named
    }


def tree_from_host(template: Tree, leaves: Mapping[str, np.ndarray], what: str) -> Tree:
    """A tree shaped like `template` with its leaves taken from `leaves`.

    Args:
        template: A tree of arrays or of `jax.ShapeDtypeStruct` (see `jax.eval_shape`).
        leaves: What `tree_to_host` gave.
        what: What it is, for the error.

    Raises:
        MismatchError: when a path is missing or left over, or a shape or dtype differs; the first
            five are named.
    """
    named, structure = _named_leaves(template)
    problems = [f"{path} is missing" for path, _ in named if path not in leaves]
    expected = {path for path, _ in named}
    problems += [f"{path} is not known" for path in leaves if path not in expected]
    restored = []
    for path, leaf in named:
        if path not in leaves:
            continue
        value = leaves[path]
        expected_data = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
        if (value.shape, value.dtype) != (tuple(expected_data.shape), expected_data.dtype):
            problems.append(
                f"{path} is {value.dtype}{list(value.shape)}, "
                f"{expected_data.dtype}{list(expected_data.shape)} was expected"
            )
            continue
        array = jnp.array(value)
        if _is_key(leaf):
            array = jax.random.wrap_key_data(array)
            if array.dtype != leaf.dtype:
                problems.append(f"{path} is {array.dtype}, {leaf.dtype} was expected")
        restored.append(array)
    if problems:
        raise MismatchError(
            f"{what} does not fit: {first_few(problems, between='; ')}",
            "It belongs to another configuration or environment",
        )
    return jax.tree_util.tree_unflatten(structure, restored)


def all_finite(tree: Any) -> jax.Array:
    """Whether every floating number of a tree is finite, one bool.

    Example:
        >>> bool(all_finite({"a": jnp.ones(2), "b": jnp.array([1, 2])}))
        True
    """
    checks = [
        jnp.isfinite(leaf).all()
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    return jnp.stack(checks).all()
