"""What is seen and what is done: shapes, bounds, and the names of columns.

Sizes may be symbolic: ``Box((Dim("nodes"), 2))`` says that the first axis is whatever the number
of nodes is. A space with symbolic sizes describes a family of problems; `bind` picks one of it.
"""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, TypeAlias

import numpy as np

from heredity.common.errors import UsageError


@dataclasses.dataclass(frozen=True, order=True)
class Dim:
    """A size known by name alone.

    Example:
        >>> Box((Dim("nodes"), 2)).bind({"nodes": 10}).shape
        (10, 2)
    """

    name: str

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise UsageError(f"Dim name {self.name!r}: an identifier such as 'nodes' was expected")


Size: TypeAlias = int | Dim
Bound: TypeAlias = float | tuple[Any, ...]
"""One number for all, or nested tuples; arrays are taken and turned into one of these."""


DTYPES = (
    "bool",
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    *(f"float{bits}" for bits in (16, 32, 64)),
)
_SHORT = {np.dtype(name).str: name for name in DTYPES}
"""The names by what numpy writes for short, such as ``<f4``."""


def _dtype_name(given: Any) -> str:
    """The name of a dtype that arrays of a box may have."""
    # numpy takes None for float64, and its parser of texts raises whatever it meets
    name = _SHORT.get(given, given) if isinstance(given, str) else None
    if name is None and given is not None:
        try:
            name = np.dtype(given).name
        except (TypeError, ValueError):
            name = None
    if name not in DTYPES:
        told, known = reprlib.repr(given), ", ".join(DTYPES)
        raise UsageError(f"Box dtype {told}: one of {known} was expected")
    return name


def _bind(size: Size, sizes: Mapping[str, int]) -> Size:
    return sizes.get(size.name, size) if isinstance(size, Dim) else size


def _check_size(size: Size, what: str) -> None:
    if isinstance(size, Dim):
        return
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise UsageError(f"{what} {size!r}: a whole number >= 0 or a Dim was expected")


def _concrete(shape: tuple[Size, ...], owner: object) -> tuple[int, ...]:
    for size in shape:
        if isinstance(size, Dim):
            raise UsageError(f"{owner} has the symbolic size {size.name!r}: bind() it to a number")
    return shape  # pyright: ignore[reportReturnType]


def _freeze_bound(value: Any, dtype: str) -> Bound:
    """A bound as one number where it is uniform, else nested tuples (hashable, exact in JSON)."""
    array = np.asarray(value, dtype=dtype)
    if array.size == 0:
        return 0.0
    if array.size == 1 or (array == array.flat[0]).all():
        return array.flat[0].item()

    def nest(part: Any) -> Any:
        return tuple(nest(item) for item in part) if isinstance(part, list) else part

    return nest(array.tolist())


def _checked_names(names: Any, what: str) -> tuple[str, ...]:
    """Names as a tuple, if each is a text that says something, and no two are the same."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise UsageError(f"{what} names {names!r}: a list of names was expected")
    found = tuple(names)
    for name in found:
        if not isinstance(name, str) or not name:
            raise UsageError(f"{what} name {name!r}: a text that is not empty was expected")
    repeated = sorted({name for name in found if found.count(name) > 1})
    if repeated:
        raise UsageError(f"{what} names repeat: {', '.join(repeated)}")
    return found


class Space:
    """Base of all spaces. Spaces are immutable, comparable and hashable."""

    @property
    def dims(self) -> frozenset[str]:
        """Names of the sizes that are still symbolic."""
        raise NotImplementedError

    def bind(self, sizes: Mapping[str, int]) -> Self:
        """The same space with named sizes filled in."""
        raise NotImplementedError

    def contains(self, value: Any) -> bool:
        """Whether `value` (one, not a batch) belongs to the space."""
        raise NotImplementedError

    def sample(self, generator: np.random.Generator) -> Any:
        """One value drawn from the space; unbounded sides are drawn from a normal."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Box(Space):
    """Arrays of a fixed rank.

    Args:
        shape: Sizes, outermost first; each a number or a `Dim`.
        low: Smallest value, one number or an array of `shape`. May be ``-inf``.
        high: Largest value.
        dtype: numpy name of the dtype: bool, or an integer or float of 8 to 64 bits.
        names: One name for each column of the last axis; () when nobody named them.
        static: Whether it stays the same within an episode (it is then stored once for it).

    Raises:
        UsageError: when names and columns differ in number, or names repeat; for another dtype.

    Example:
        >>> Box((2,), names=("position", "velocity")).columns
        ('position', 'velocity')
    """

    shape: tuple[Size, ...]
    low: Bound = float("-inf")
    high: Bound = float("inf")
    dtype: str = "float32"
    names: tuple[str, ...] = ()
    static: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "names", _checked_names(self.names, "Box"))
        object.__setattr__(self, "dtype", _dtype_name(self.dtype))
        for size in self.shape:
            _check_size(size, "Box size")
        limits = np.iinfo(self.dtype) if np.issubdtype(self.dtype, np.integer) else None
        for side, infinite in (("low", float("-inf")), ("high", float("inf"))):
            value = getattr(self, side)
            if limits is not None and isinstance(value, float) and value == infinite:
                value = limits.min if side == "low" else limits.max
            frozen = _freeze_bound(value, self.dtype)
            if isinstance(frozen, tuple) and np.shape(frozen) != self.shape:
                raise UsageError(
                    f"Box {side} has shape {np.shape(frozen)}, {self.shape} was expected"
                )
            object.__setattr__(self, side, frozen)
        if self.names:
            columns = self.shape[-1] if self.shape else None
            if columns != len(self.names):
                raise UsageError(f"Box names {len(self.names)} columns, its last axis is {columns}")

    @property
    def dims(self) -> frozenset[str]:
        return frozenset(size.name for size in self.shape if isinstance(size, Dim))

    @property
    def concrete_shape(self) -> tuple[int, ...]:
        """The shape as numbers; an error when a size is still symbolic."""
        return _concrete(self.shape, self)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the last axis; ``0``, ``1``, … where nobody named them."""
        if self.names or not self.shape or isinstance(self.shape[-1], Dim):
            return self.names
        return tuple(str(index) for index in range(self.shape[-1]))

    def bind(self, sizes: Mapping[str, int]) -> Box:
        return dataclasses.replace(self, shape=tuple(_bind(size, sizes) for size in self.shape))

    def contains(self, value: Any) -> bool:
        array = np.asarray(value)
        return (
            array.shape == self.concrete_shape
            and np.can_cast(array.dtype, self.dtype, casting="same_kind")
            and bool(np.all(array >= np.asarray(self.low, self.dtype)))
            and bool(np.all(array <= np.asarray(self.high, self.dtype)))
        )

    def sample(self, generator: np.random.Generator) -> np.ndarray:
        shape = self.concrete_shape
        if np.issubdtype(self.dtype, np.integer) or self.dtype == "bool":
            low, high = np.asarray(self.low, np.int64), np.asarray(self.high, np.int64)
            return generator.integers(low, high, shape, endpoint=True).astype(self.dtype)
        low = np.broadcast_to(np.asarray(self.low, self.dtype), shape)
        high = np.broadcast_to(np.asarray(self.high, self.dtype), shape)
        normal = generator.normal(size=shape)
        bounded = np.isfinite(low) & np.isfinite(high)
        inside = np.where(bounded, low, 0) + np.where(bounded, high - low, 0) * generator.random(
            shape
        )
        return np.clip(np.where(bounded, inside, normal), low, high).astype(self.dtype)


@dataclasses.dataclass(frozen=True)
class Discrete(Space):
    """One of `n` choices, numbered from `start`.

    Args:
        n: How many; a `Dim` when the number is that of something (choose a node).
        start: The number of the first choice.
        names: One name for each choice; () when nobody named them.
    """

    n: Size
    start: int = 0
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_size(self.n, "Discrete n")
        object.__setattr__(self, "names", _checked_names(self.names, "Discrete"))
        if self.names and self.n != len(self.names):
            raise UsageError(f"Discrete({self.n}) was given {len(self.names)} names")

    @property
    def dims(self) -> frozenset[str]:
        return frozenset({self.n.name} if isinstance(self.n, Dim) else ())

    @property
    def size(self) -> int:
        """`n` as a number; an error when it is still symbolic."""
        return _concrete((self.n,), self)[0]

    def bind(self, sizes: Mapping[str, int]) -> Discrete:
        return dataclasses.replace(self, n=_bind(self.n, sizes))

    def contains(self, value: Any) -> bool:
        array = np.asarray(value)
        if array.shape != () or not np.issubdtype(array.dtype, np.integer):
            return False
        return self.start <= int(array) < self.start + self.size

    def sample(self, generator: np.random.Generator) -> np.int64:
        return np.int64(self.start + generator.integers(self.size))


@dataclasses.dataclass(frozen=True)
class MultiDiscrete(Space):
    """Several choices made at once.

    Args:
        nvec: How many options each choice has.
        names: One name for each choice; () when nobody named them.
    """

    nvec: tuple[int, ...]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "nvec", tuple(int(n) for n in self.nvec))
        object.__setattr__(self, "names", _checked_names(self.names, "MultiDiscrete"))
        if not self.nvec or min(self.nvec) < 1:
            raise UsageError(f"MultiDiscrete {self.nvec}: at least one choice of >= 1 was expected")
        if self.names and len(self.names) != len(self.nvec):
            raise UsageError(
                f"MultiDiscrete has {len(self.nvec)} choices, {len(self.names)} names were given"
            )

    @property
    def dims(self) -> frozenset[str]:
        return frozenset()

    def bind(self, sizes: Mapping[str, int]) -> MultiDiscrete:
        return self

    def contains(self, value: Any) -> bool:
        array = np.asarray(value)
        return (
            array.shape == (len(self.nvec),)
            and np.issubdtype(array.dtype, np.integer)
            and bool(np.all((array >= 0) & (array < np.asarray(self.nvec))))
        )

    def sample(self, generator: np.random.Generator) -> np.ndarray:
        return generator.integers(np.asarray(self.nvec))


@dataclasses.dataclass(frozen=True, init=False)
class Dict(Space):
    """Several spaces by name, kept in the order of their names.

    Example:
        >>> list(Dict({"state": Box((3,)), "goal": Box((2,))}))
        ['goal', 'state']
    """

    entries: tuple[tuple[str, Space], ...]

    def __init__(self, spaces: Mapping[str, Space]) -> None:
        for name, space in spaces.items():
            if not isinstance(space, Space):
                raise UsageError(f"Dict entry {name!r} is a {type(space).__name__}, not a space")
            if not name or "/" in name:
                raise UsageError(f"Dict key {name!r}: a name without '/' was expected")
        object.__setattr__(self, "entries", tuple(sorted(spaces.items())))

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.entries)

    def __getitem__(self, name: str) -> Space:
        return dict(self.entries)[name]

    @property
    def dims(self) -> frozenset[str]:
        return frozenset().union(*(space.dims for _, space in self.entries))

    def bind(self, sizes: Mapping[str, int]) -> Dict:
        return Dict({name: space.bind(sizes) for name, space in self.entries})

    def contains(self, value: Any) -> bool:
        return (
            isinstance(value, Mapping)
            and sorted(value) == list(self)
            and all(space.contains(value[name]) for name, space in self.entries)
        )

    def sample(self, generator: np.random.Generator) -> dict[str, Any]:
        return {name: space.sample(generator) for name, space in self.entries}


@dataclasses.dataclass(frozen=True)
class Graph(Space):
    """Nodes and directed edges with features, as padded arrays with masks.

    A value is a mapping with ``nodes (N, F)``, ``edges (E, G)``, ``senders (E,)``,
    ``receivers (E,)`` (int32), ``node_mask (N,)`` and ``edge_mask (E,)`` (bool).

    Args:
        nodes: Features of the nodes, first axis the number of nodes (usually a `Dim`).
        edges: Features of the edges, first axis the number of edges.
        static: Whether the structure stays the same within an episode.
    """

    nodes: Box
    edges: Box
    static: bool = False

    def __post_init__(self) -> None:
        for what in ("nodes", "edges"):
            if len(getattr(self, what).shape) != 2:
                raise UsageError(
                    f"Graph {what} have shape {getattr(self, what).shape}: "
                    "(number, features) was expected"
                )

    @property
    def dims(self) -> frozenset[str]:
        return self.nodes.dims | self.edges.dims

    def bind(self, sizes: Mapping[str, int]) -> Graph:
        return dataclasses.replace(self, nodes=self.nodes.bind(sizes), edges=self.edges.bind(sizes))

    def fields(self) -> Dict:
        """The same as a `Dict` of boxes: what is stored and batched."""
        n, e = self.nodes.shape[0], self.edges.shape[0]
        last = float("inf") if isinstance(n, Dim) else max(n - 1, 0)
        ends = Box((e,), 0, last, "int32", static=self.static)
        return Dict(
            {
                "nodes": self.nodes,
                "edges": self.edges,
                "senders": ends,
                "receivers": ends,
                "node_mask": Box((n,), 0, 1, "bool", static=self.static),
                "edge_mask": Box((e,), 0, 1, "bool", static=self.static),
            }
        )

    def contains(self, value: Any) -> bool:
        return self.fields().contains(value)

    def sample(self, generator: np.random.Generator) -> dict[str, Any]:
        value = self.fields().sample(generator)
        value["node_mask"][:] = True
        value["edge_mask"][:] = True
        return value
