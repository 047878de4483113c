"""Observations as the features that networks compute with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from heredity.common.errors import UnknownNameError, UsageError
from heredity.spaces import Box, Dict, Discrete, MultiDiscrete, Space
from heredity.weights import select


def leaf_spaces(space: Space, prefix: str = "observation") -> dict[str, Space]:
    """The spaces that are not `Dict`, by path, in the order in which features are joined.

    Example:
        >>> list(leaf_spaces(Dict({"state": Box((3,)), "goal": Box((2,))}), ""))
        ['goal', 'state']
    """
    if isinstance(space, Dict):
        leaves: dict[str, Space] = {}
        for name, part in space.entries:
            leaves.update(leaf_spaces(part, f"{prefix}/{name}" if prefix else name))
        return leaves
    return {prefix: space}


def leaf_observations(
    space: Space, observation: Any, prefix: str = "observation"
) -> dict[str, Any]:
    """The arrays of an observation under the paths of `leaf_spaces`."""
    if isinstance(space, Dict):
        leaves: dict[str, Any] = {}
        for name, part in space.entries:
            path = f"{prefix}/{name}" if prefix else name
            leaves.update(leaf_observations(part, observation[name], path))
        return leaves
    return {prefix: observation}


def map_entries(
    space: Space,
    function: Callable[[str, Space, Any], Any],
    observation: Any = None,
    path: str = "observation",
) -> Any:
    """Dicts nested as the space is, of what a function makes of each entry.

    Args:
        space: Of the observation.
        function: Of the path of an entry, its space, and what is seen of it.
        observation: None where the function needs none.
        path: Of the space.

    Example:
        >>> space = Dict({"state": Box((3,)), "goal": Box((2,))})
        >>> map_entries(
        ...     space,
        ...     lambda path, leaf, seen: (path, leaf.shape, seen + 1),
        ...     {"state": 1, "goal": 2},
        ... )
        {'goal': ('observation/goal', (2,), 3), 'state': ('observation/state', (3,), 2)}
    """
    if not isinstance(space, Dict):
        return function(path, space, observation)
    return {
        name: map_entries(
            part, function, None if observation is None else observation[name], f"{path}/{name}"
        )
        for name, part in space.entries
    }


def chosen_entries(space: Space, patterns: Sequence[str]) -> Space:
    """A `Dict` with those entries alone that the patterns choose; () chooses all.

    A name stands for everything below it.

    Raises:
        UnknownNameError: when a pattern matches no entry, or names entries of what has none.

    Example:
        >>> space = Dict({"state": Box((3,)), "camera": Dict({"left": Box((8, 8, 3))})})
        >>> list(leaf_spaces(chosen_entries(space, ["camera"]), ""))
        ['camera/left']
    """
    if not patterns:
        return space
    if not isinstance(space, Dict):
        told = f"the observation is one {type(space).__name__}, without entries to choose from"
        raise UnknownNameError("entry of the observation", patterns[0], (), f"({told})", brief=True)
    paths = leaf_spaces(space, "")
    folders = {path.rsplit("/", n)[0] for path in paths for n in range(1, path.count("/") + 1)}
    known = {*paths, *folders}
    for pattern in patterns:
        if not pattern.startswith("!") and not set("*?") & set(pattern) and pattern not in known:
            raise UnknownNameError("entry of the observation", pattern, known)
    whole = [f"{pattern}/**" if pattern.lstrip("!") in known else pattern for pattern in patterns]
    chosen = select(paths, whole)

    def walk(part: Dict, prefix: str) -> dict[str, Space]:
        kept: dict[str, Space] = {}
        for name, inner in part.entries:
            path = f"{prefix}{name}"
            if isinstance(inner, Dict):
                below = walk(inner, f"{path}/")
                if below:
                    kept[name] = Dict(below)
            elif path in chosen:
                kept[name] = inner
        return kept

    return Dict(walk(space, ""))


def example_batch(space: Space) -> Any:
    """A batch of one observation, for the shapes and dtypes of its arrays."""
    value = space.sample(np.random.default_rng(0))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], value)


def feature_size(space: Space) -> int:
    """How many features `features` gives.

    Raises:
        UsageError: for a space whose size is not fixed.
    """
    total = 0
    for path, leaf in leaf_spaces(space).items():
        match leaf:
            case Box():
                size = 1
                for axis in leaf.concrete_shape:
                    size *= axis
                total += size
            case Discrete():
                total += leaf.size
            case MultiDiscrete():
                total += sum(leaf.nvec)
            case _:
                raise UsageError(
                    f"{path} is a {type(leaf).__name__}: a network of fixed size cannot read it"
                )
    return total


def feature_names(space: Space) -> tuple[str, ...]:
    """The name of each of the `features`; () where some have none.

    Example:
        >>> feature_names(Box((2,), names=("angle", "speed")))
        ('angle', 'speed')
    """
    names: list[str] = []
    for leaf in leaf_spaces(space).values():
        if not isinstance(leaf, Box) or not leaf.names or len(leaf.shape) != 1:
            return ()
        names += leaf.names
    return tuple(names)


def features(space: Space, observation: Any) -> jax.Array:
    """One float32 vector per observation: boxes flattened, choices one-hot, entries joined.

    Args:
        space: Of one observation.
        observation: With leading batch axes ``(...,)``.

    Returns:
        Shape ``(..., feature_size(space))``.
    """
    parts = []
    for path, value in leaf_observations(space, observation).items():
        leaf = leaf_spaces(space)[path]
        array = jnp.asarray(value)
        match leaf:
            case Box():
                shape = leaf.concrete_shape
                batch = array.shape[: array.ndim - len(shape)]
                # Not -1, which cannot be inferred for an empty batch.
                parts.append(array.astype(jnp.float32).reshape((*batch, math.prod(shape))))
            case Discrete():
                parts.append(jax.nn.one_hot(array - leaf.start, leaf.size, dtype=jnp.float32))
            case MultiDiscrete():
                parts += [
                    jax.nn.one_hot(array[..., i], n, dtype=jnp.float32)
                    for i, n in enumerate(leaf.nvec)
                ]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)


def features_in_numpy(space: Space, *, batched: bool = False) -> Callable[[Any], np.ndarray]:
    """`features` in numpy, for one observation at a time or for a batch.

    Args:
        space: Of one observation.
        batched: Whether observations come with a leading axis (B,).

    Example:
        >>> features_in_numpy(Dict({"goal": Discrete(3), "state": Box((2,))}))(
        ...     {"goal": np.int64(1), "state": np.ones(2)}
        ... )
        array([0., 1., 0., 1., 1.], dtype=float32)
    """
    if isinstance(space, Box):
        size = feature_size(space)
        shape = (-1, size) if batched else (-1,)
        return lambda array: np.reshape(array, shape).astype(np.float32, copy=False)
    leaves = leaf_spaces(space)

    def function(observation: Any) -> np.ndarray:
        parts = []
        for path, value in leaf_observations(space, observation).items():
            array = np.asarray(value)
            match leaves[path]:
                case Box():
                    parts.append(array.reshape((len(array), -1) if batched else -1))
                case Discrete() as leaf:
                    choices = np.arange(leaf.start, leaf.start + leaf.size)
                    parts.append(choices == array[..., None])
                case MultiDiscrete() as leaf:
                    parts += [np.arange(n) == array[..., i, None] for i, n in enumerate(leaf.nvec)]
        return np.concatenate(parts, axis=-1, dtype=np.float32, casting="unsafe")

    return function
