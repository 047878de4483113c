"""The dict of arrays that everything here is about."""

from heredity.weights.pytree import tree_from_host, tree_to_host
from heredity.weights.tree import (
    Params,
    content_hash,
    count,
    flatten,
    merge,
    partition,
    select,
    to_host,
    unflatten,
)

__all__ = [
    "Params",
    "content_hash",
    "count",
    "flatten",
    "merge",
    "partition",
    "select",
    "to_host",
    "tree_from_host",
    "tree_to_host",
    "unflatten",
]
