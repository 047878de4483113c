"""Wrappers on the two contracts: options that every adapter has, and `wrap` for your own.

Nothing here brings JAX before something is wrapped.
"""

from heredity.environments.wrappers.base import HostWrapper, JaxWrapper
from heredity.environments.wrappers.options import (
    Wrapping,
    options_with_wrappers,
    split_options,
)
from heredity.environments.wrappers.wrapping import wrap, wrap_with

__all__ = [
    "HostWrapper",
    "JaxWrapper",
    "Wrapping",
    "options_with_wrappers",
    "split_options",
    "wrap",
    "wrap_with",
]
