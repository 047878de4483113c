"""The dict of arrays that everything here is about."""

from heredity.weights import rules
from heredity.weights.difference import Difference, diff
from heredity.weights.exporting import export, write_safetensors
from heredity.weights.injection import inject
from heredity.weights.pytree import all_finite, named_leaves, tree_from_host, tree_to_host
from heredity.weights.report import Guarantee, Measurement, WeightReport, WeightRow
from heredity.weights.rules import Rule
from heredity.weights.tree import (
    Params,
    content_hash,
    count,
    find,
    flatten,
    folders,
    get,
    merge,
    partition,
    put,
    select,
    subtree,
    to_host,
    unflatten,
)

__all__ = [
    "Difference",
    "Guarantee",
    "Measurement",
    "Params",
    "Rule",
    "WeightReport",
    "WeightRow",
    "all_finite",
    "content_hash",
    "count",
    "diff",
    "export",
    "find",
    "flatten",
    "folders",
    "get",
    "inject",
    "merge",
    "named_leaves",
    "partition",
    "put",
    "rules",
    "select",
    "subtree",
    "to_host",
    "tree_from_host",
    "tree_to_host",
    "unflatten",
    "write_safetensors",
]
