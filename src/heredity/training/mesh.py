"""The devices of a run: its environments are divided among them, everything else is on all."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from heredity.algorithms.contract import Algorithm, AlgorithmConfig
from heredity.common.devices import AXIS
from heredity.common.errors import UsageError

Tree = TypeVar("Tree")


class DeviceMesh:
    """Several devices that run one program.

    Args:
        devices: Of all processes, in the same order in each of them.
    """

    def __init__(self, devices: list[Any]) -> None:
        # Auto: XLA divides what nobody has said anything about.
        self.mesh = Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))
        self.whole = NamedSharding(self.mesh, PartitionSpec())
        self.split = NamedSharding(self.mesh, PartitionSpec(AXIS))
        self._gather = jax.jit(lambda tree: tree, out_shardings=self.whole)

    @property
    def size(self) -> int:
        """How many devices."""
        return self.mesh.size

    def of_state(self, algorithm: Algorithm) -> Any:
        """Where the parts of a training state are, as a prefix of its tree."""
        return algorithm.placed(self.whole, self.split)

    def placed(self, tree: Tree, shardings: Any) -> Tree:
        """A tree of arrays that every process has, put onto the devices.

        Args:
            tree: Equal in all processes.
            shardings: For its leaves, or a prefix of it.
        """
        return jax.tree.map(_placed, tree, jax.tree.broadcast(shardings, tree))

    def gathered(self, tree: Tree) -> Tree:
        """A tree with everything on every device, for whoever saves it: all processes take part."""
        return self._gather(tree)


def _placed(leaf: jax.Array, sharding: NamedSharding) -> jax.Array:
    is_key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    data = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
    array = jax.make_array_from_callback(data.shape, sharding, lambda index: data[index])
    return jax.jit(jax.random.wrap_key_data)(array) if is_key else array


def mesh_for(devices: int | Literal["all"] | None, config: AlgorithmConfig) -> DeviceMesh | None:
    """The devices that a run asks for; None for one.

    Args:
        devices: How many, or all; None for one, and for all where there are several processes.
        config: Whose environments are divided.

    Raises:
        UsageError: when there are not so many, or when they do not divide what they are to share.
    """
    processes, found = jax.process_count(), jax.devices()
    count = len(found) if devices == "all" or (devices is None and processes > 1) else devices or 1
    if count > len(found):
        more = "; JAX_NUM_CPU_DEVICES=N divides a CPU" if found[0].platform == "cpu" else ""
        raise UsageError(
            f"devices {count}: JAX finds {len(found)} ({found[0].platform}){more}. "
            "Give fewer (--devices, devices=)"
        )
    if processes > 1 and count < len(found):
        raise UsageError(
            f"devices {count}: {processes} processes have {len(found)}, and all of them take part; "
            "leave it out"
        )
    if count == 1:
        return None
    for name, size in config.divided.items():
        if size % count:
            raise UsageError(
                f"{name} {size} cannot be divided among {count} devices: a multiple of {count} was "
                "expected"
            )
    return DeviceMesh(found[:count])
