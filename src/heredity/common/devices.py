"""Several devices in one compiled program: who computes which environments, and what all have.

Nothing here does anything where no mesh is set (`jax.set_mesh`) that has the axis `AXIS`, so that
an algorithm is written once, for one device and for many. What is drawn and in which order does not
depend on how many devices there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
from jax.sharding import PartitionSpec

AXIS = "envs"  # of the mesh

Tree = TypeVar("Tree")


def _mesh_is_set() -> bool:
    mesh = jax.sharding.get_abstract_mesh()
    # Within `on_each_device` a program is that of one device alone.
    return AXIS in mesh.axis_names and AXIS not in mesh.manual_axes


def _spec(axis: int | None) -> PartitionSpec:
    return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, AXIS)


def split(tree: Tree, axis: int = 0) -> Tree:
    """The same arrays, divided among the devices along one axis.

    Args:
        tree: Of arrays.
        axis: Whose length the number of devices divides.
    """
    return jax.lax.with_sharding_constraint(tree, _spec(axis)) if _mesh_is_set() else tree


def whole(tree: Tree) -> Tree:
    """The same arrays, whole on every device."""
    return jax.lax.with_sharding_constraint(tree, _spec(None)) if _mesh_is_set() else tree


def on_each_device(
    function: Callable[..., tuple],
    arguments: Sequence[int | None],
    results: Sequence[int | None],
) -> Callable[..., tuple]:
    """A function of a batch that each device computes for its own part, without the others.

    Args:
        function: Of pytrees, to a tuple of pytrees.
        arguments: The axis of the batch in each argument; None for one that all devices have whole.
        results: The axis of the batch in each result.

    Example:
        >>> import jax.numpy as jnp
        >>> on_each_device(lambda x, y: (x + y,), (0, None), (0,))(jnp.ones(2), 1.0)[0].tolist()
        [2.0, 2.0]
    """
    if not _mesh_is_set():
        return function
    given = tuple(_spec(axis) for axis in arguments)
    made: Any = tuple(_spec(axis) for axis in results)
    # Unchecked: environments are other people's code, which says nothing of devices.
    return jax.shard_map(function, in_specs=given, out_specs=made, check_vma=False)
