"""Networks of one's own, by import path: ``my_package.my_module:MyNetwork``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from heredity.common.errors import UnknownNameError, UsageError
from heredity.networks.contract import (
    Carry,
    Network,
    NetworkSpec,
    Taps,
    known_networks,
    register_network,
)
from heredity.networks.mlp import chosen_taps
from heredity.networks.observations import example_batch, feature_size, features
from heredity.spaces import Dict, Space
from heredity.weights import Params, flatten


def trust_network(kind: str) -> None:
    """Import what a kind names, so that it can be built from here on.

    To be called for what a person named, never for what a file did.

    Args:
        kind: ``package.module:name`` of a Flax Linen module, or of a function
            ``(spec, observation_space, output_size) -> Network``.

    Raises:
        UsageError: when it cannot be imported, or is neither.
    """
    if kind in known_networks():
        return
    module_name, colon, name = kind.partition(":")
    if not (colon and module_name and name):
        raise UnknownNameError(
            "network kind", kind, known_networks(), "your own: package.module:name"
        )
    try:
        # Console scripts do not look in the current folder, where people keep their own code.
        missing = importlib.util.find_spec(module_name.partition(".")[0]) is None
        if missing and os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
            importlib.invalidate_caches()
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(f"network {kind!r}: {module_name} cannot be imported: {error}") from error
    found = getattr(module, name, None)
    if found is None:
        raise UnknownNameError(f"network in {module_name}", name, vars(module), brief=True)
    if isinstance(found, type) and issubclass(found, nn.Module):
        register_network(kind, _module_builder(found))
    elif callable(found):
        register_network(kind, _checked_builder(found, kind))
    else:
        raise UsageError(
            f"network {kind!r} is a {type(found).__name__}: a Flax module, or a function that "
            "gives a Network, was expected"
        )


def check_dtypes(params: Params) -> None:
    """See that weights are of the one dtype that training has for them.

    Args:
        params: Of networks, without statistics.

    Raises:
        UsageError: naming the first that is of another one.

    Example:
        >>> check_dtypes({"actor": {"kernel": jnp.zeros(3, jnp.bfloat16)}})
        Traceback (most recent call last):
            ...
        heredity.common.errors.UsageError: actor/kernel is bfloat16: weights are trained as float32,
        whatever is computed in; for a layer of Flax that is param_dtype, beside dtype
    """
    for path, leaf in flatten(params).items():
        if leaf.dtype != jnp.float32:
            raise UsageError(
                f"{path} is {leaf.dtype}: weights are trained as float32, whatever is computed in; "
                "for a layer of Flax that is param_dtype, beside dtype"
            )


class LinenNetwork(Network):
    """A Flax Linen module over flattened observations, or over observations as they are.

    Args:
        spec: Whose options are the fields of the module.
        module: Takes features ``(..., F)`` and gives ``(..., output_size)``. One that has the
            attribute ``reads_observations = True`` takes observations of the space instead, with
            one leading axis ``(N,)`` whatever the batch is, and gives ``(N, output_size)``.
        observation_space: What it reads.
        output_size: What it has to put out; None for a trunk, whose size is its own.

    Raises:
        UsageError: when the module gives something else.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        module: nn.Module,
        observation_space: Space,
        output_size: int | None,
    ) -> None:
        self.spec = spec
        self._module = module
        self._space = observation_space
        self._whole = bool(getattr(module, "reads_observations", False))
        self._example = (
            example_batch(observation_space)
            if self._whole
            else jnp.zeros((1, feature_size(observation_space)), jnp.float32)
        )
        shape = jax.eval_shape(
            lambda key: module.init_with_output(key, self._example)[0], jax.random.key(0)
        ).shape
        if len(shape) != 2 or output_size not in (None, shape[-1]):
            raise UsageError(
                f"network {spec.kind!r} gives shape {shape} for one observation, "
                f"(1, {output_size or 'any number'}) was expected"
            )
        self.output_size = shape[-1]

    def init(self, key: jax.Array) -> Params:
        variables: Any = self._module.init(key, self._example)
        others = sorted(set(variables) - {"params"})
        if others:
            raise UsageError(
                f"network {self.spec.kind!r} has the collections {', '.join(others)}: only params "
                "are trained and saved"
            )
        return variables.get("params", {})

    def apply(
        self,
        params: Params,
        observation: Any,
        carry: Carry = (),
        *,
        is_first: jax.Array | None = None,
        key: jax.Array | None = None,
        taps: Sequence[str] = (),
    ) -> tuple[jax.Array, Carry, Taps]:
        del is_first, key
        variables = {"params": params}
        output: Any
        if self._whole:
            batch, given = _as_one_batch(self._space, observation, self._example)
            output = self._module.apply(variables, given)
            output = output.reshape((*batch, self.output_size))
        else:
            output = self._module.apply(variables, features(self._space, observation))
        return output.astype(jnp.float32), carry, chosen_taps({}, taps)

    def axes(self) -> Mapping[str, tuple[str, ...]]:
        shapes = flatten(jax.eval_shape(self.init, jax.random.key(0)))
        return {
            path: tuple(f"{path}/{index}" for index in range(leaf.ndim))
            for path, leaf in shapes.items()
        }


def _as_one_batch(space: Space, observation: Any, example: Any) -> tuple[tuple[int, ...], Any]:
    """The shape of a batch, and what of it is in the space, with all axes of the batch as one."""
    if isinstance(space, Dict):
        batch: tuple[int, ...] = ()
        found = {}
        for name, part in space.entries:
            batch, found[name] = _as_one_batch(part, observation[name], example[name])
        return batch, found
    array, shape = jnp.asarray(observation), example.shape[1:]
    batch = array.shape[: array.ndim - len(shape)]
    return batch, array.reshape((math.prod(batch), *shape))


def _module_builder(kind: type[nn.Module]) -> Any:
    def build(spec: NetworkSpec, space: Space, output_size: int | None) -> Network:
        taken = inspect.signature(kind).parameters
        options = {n: tuple(v) if isinstance(v, list) else v for n, v in spec.options.items()}
        for name in options:
            if name not in taken:
                known = sorted({*taken} - {"parent", "name", "output_size"})
                raise UnknownNameError(f"option of the network {spec.kind!r}", name, known)
        if "output_size" in taken and output_size is not None:
            options["output_size"] = output_size
        try:
            module = kind(**options)
        except TypeError as error:
            raise UsageError(f"network {spec.kind!r} cannot be made: {error}") from error
        return LinenNetwork(spec, module, space, output_size)

    return build


def _checked_builder(function: Any, kind: str) -> Any:
    def build(spec: NetworkSpec, space: Space, output_size: int | None) -> Network:
        network = function(spec, space, output_size)
        if not isinstance(network, Network):
            raise UsageError(
                f"network {kind!r} gave a {type(network).__name__}: a heredity.networks.Network "
                "was expected"
            )
        if output_size is not None and network.output_size != output_size:
            raise UsageError(
                f"network {kind!r} puts out {network.output_size} numbers, {output_size} expected"
            )
        return network

    return build
