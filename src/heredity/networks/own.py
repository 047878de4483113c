"""Networks of one's own, by import path: ``my_package.my_module:MyNetwork``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import math
import os
import sys
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from heredity.common.errors import UnknownNameError, UsageError
from heredity.common.fields import accept, describe_type
from heredity.networks.contract import (
    Carry,
    Network,
    NetworkSpec,
    Taps,
    known_networks,
    register_network,
)
from heredity.networks.foreign import (
    BATCH,
    MOMENTS,
    asking,
    check_network,
    check_output,
    in_words,
    output_expected,
    raised_in_words,
)
from heredity.networks.mlp import chosen_taps
from heredity.networks.observations import (
    example_batch,
    feature_size,
    features,
)
from heredity.spaces import Dict, Space, space_in_words
from heredity.weights import Params, flatten

_sizes: dict[Any, int] = {}  # of modules that were tried, by what they are and read


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
    except Exception as error:  # of any kind: it is not our code
        told = str(error) if isinstance(error, ImportError) else raised_in_words(error)
        raise UsageError(f"network {kind!r}: {module_name} cannot be imported: {told}") from error
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


def import_networks(kinds: Iterable[str], trust: Sequence[str] | None = None) -> None:
    """Import the networks of one's own that settings name.

    Args:
        kinds: Their names.
        trust: Those that a person vouches for, where a file named them; None where a person did.

    Raises:
        UsageError: when one cannot be imported.
    """
    for kind in kinds:
        if trust is None or kind in trust:
            trust_network(kind)


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
        # Modules are built again for each policy that is loaded: once is enough to know one.
        known = type(module), repr(module), observation_space, output_size
        if known not in _sizes:
            _sizes[known] = self._tried(output_size)
        self.output_size = _sizes[known]

    def _tried(self, output_size: int | None) -> int:
        """Call the module with shapes alone; how many numbers it puts out."""
        kind, module = self.spec.kind, self._module
        call, expected = f"__call__ with {in_words(self._example)}", output_expected
        with asking(kind, call, expected((1,), output_size)):
            output, variables = jax.eval_shape(
                lambda key: module.init_with_output(key, self._example), jax.random.key(0)
            )
        others = sorted(set(variables) - {"params"})
        if others:
            raise UsageError(
                f"network {kind!r} has the collections {', '.join(others)}: only params are "
                "trained and saved"
            )
        size = check_output(kind, call, output, (1,), output_size)
        # What is right for one observation may be written for one alone, or for one batch axis.
        batch = (BATCH,) if self._whole else (MOMENTS, BATCH)
        many = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((*batch, *leaf.shape[1:]), leaf.dtype), self._example
        )
        call = f"__call__ with {in_words(many)}"
        if not self._whole:
            call += " (moments, batch, features; reads_observations = True makes one axis of both)"
        with asking(kind, call, expected(batch, size)):
            output = jax.eval_shape(module.apply, variables, many)
        return check_output(kind, call, output, batch, size)

    def init(self, key: jax.Array) -> Params:
        variables: Any = self._module.init(key, self._example)
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
        hints = _plain_hints(kind)
        options = {n: tuple(v) if isinstance(v, list) else v for n, v in spec.options.items()}
        for name, value in options.items():
            if name not in taken:
                known = sorted({*taken} - {"parent", "name", "output_size"})
                raise UnknownNameError(f"option of the network {spec.kind!r}", name, known)
            if name in hints and not accept(value, hints[name])[0]:
                raise UsageError(
                    f"option {name} of the network {spec.kind!r} is {value!r}: "
                    f"{describe_type(hints[name])} was expected; leave it out for its default"
                )
        if "output_size" in taken and output_size is not None:
            options["output_size"] = output_size
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        with asking(spec.kind, f"{kind.__name__}({given})", "a Flax module"):
            module = kind(**options)
        return LinenNetwork(spec, module, space, output_size)

    return build


def _plain_hints(kind: type[nn.Module]) -> dict[str, Any]:
    """Types of the fields of a module that an option can be held against."""
    try:
        hints = typing.get_type_hints(kind)
    except Exception:  # of any kind: they may name what is imported for type checkers alone
        return {}
    return {name: hint for name, hint in hints.items() if _is_plain(hint)}


def _is_plain(hint: Any) -> bool:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return all(_is_plain(part) for part in parts)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return (len(parts) == 1 or parts[1:] == (Ellipsis,)) and _is_plain(parts[0])
    return origin is typing.Literal or hint in (bool, int, float, str, type(None))


def _checked_builder(function: Any, kind: str) -> Any:
    named = f"{getattr(function, '__name__', kind)}(spec, observation_space, output_size)"
    passed = set()

    def build(spec: NetworkSpec, space: Space, output_size: int | None) -> Network:
        call = f"{named} with {space_in_words(space)} and {output_size}"
        with asking(kind, call, "a heredity.networks.Network"):
            network = function(spec, space, output_size)
        known = json.dumps(spec.to_json(), sort_keys=True), space, output_size
        if known not in passed:
            check_network(kind, network, space, output_size)
            passed.add(known)
        return network

    return build
