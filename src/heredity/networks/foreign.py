"""Code that is not ours is tried before it is trusted with a run: what it was asked, and did.

Everything here looks at shapes alone (`jax.eval_shape`): nothing is computed, and nothing compiled.
"""

from __future__ import annotations

import contextlib
import numbers
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from heredity.common.errors import HeredityError, UsageError
from heredity.common.own_code import own_line
from heredity.networks.contract import Network
from heredity.networks.observations import example_batch
from heredity.spaces import Space
from heredity.weights import flatten

# No size that a network is likely to have by itself, so that no axis passes for another.
MOMENTS, BATCH = 5, 7

_LONGEST = 300


def in_words(value: Any) -> str:
    """Arrays, and what they are in, as dtypes and shapes.

    Example:
        >>> in_words({"turn": jnp.zeros((2, 4)), "more": (jnp.zeros(3, jnp.int32), None)})
        "{'turn': float32[2, 4], 'more': (int32[3], None)}"
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name!r}: {in_words(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"({', '.join(in_words(part) for part in value)}{',' if len(value) == 1 else ''})"
    return repr(value)[:_LONGEST]


def raised_in_words(error: BaseException) -> str:
    """An exception in one line, with the last line of code that is not of a library of ours."""
    told = " ".join(str(error).partition("\n")[0].split())
    if len(told) > _LONGEST:
        told = f"{told[:_LONGEST]}…"
    return f"{type(error).__name__}{f': {told}' if told else ''}{own_line(error)}"


@contextlib.contextmanager
def asking(kind: str, call: str, expected: str) -> Iterator[None]:
    """Within the block, whatever code of somebody else raises is told as an error of ours.

    Args:
        kind: Of the network.
        call: What was called, and with what.
        expected: What it has to give.

    Raises:
        UsageError: with what was raised as its cause.
    """
    try:
        yield
    except HeredityError:
        raise
    except (Exception, SystemExit) as error:  # of any kind: it is not our code
        told = f"network {kind!r}: {call} raised {raised_in_words(error)}; {expected} was expected"
        raise UsageError(told) from error


def batched(space: Space, batch: tuple[int, ...]) -> Any:
    """Shapes and dtypes of a batch of observations."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((*batch, *leaf.shape[1:]), leaf.dtype),
        example_batch(space),
    )


def output_expected(batch: tuple[int, ...], output_size: int | None) -> str:
    """The outputs that a network has to give, in words."""
    sizes = [*map(str, batch), "any size" if output_size is None else str(output_size)]
    return f"one array float32[{', '.join(sizes)}]"


def check_output(
    kind: str, call: str, output: Any, batch: tuple[int, ...], output_size: int | None
) -> int:
    """See that outputs are one array of numbers with fractions, ``(*batch, output_size)``.

    Args:
        kind: Of the network.
        call: What was called, and with what.
        output: What it gave.
        batch: Shape of the batch that it was given.
        output_size: How many numbers there have to be; None for any.

    Returns:
        How many there are.

    Raises:
        UsageError: when it is something else.
    """
    fine = (
        isinstance(output, jax.ShapeDtypeStruct)
        and output.ndim == len(batch) + 1
        and output.shape[:-1] == batch
        and output_size in (None, output.shape[-1])
        # Whole numbers have no gradient.
        and jnp.issubdtype(output.dtype, jnp.floating)
    )
    if not fine:
        raise UsageError(
            f"network {kind!r}: {call} gave {in_words(output)}; "
            f"{output_expected(batch, output_size)} was expected"
        )
    return output.shape[-1]


def check_network(kind: str, network: Any, space: Space, output_size: int | None) -> None:
    """See that the parts of a network that somebody else wrote agree with each other.

    Args:
        kind: By which it was named.
        network: What was built.
        space: What it reads.
        output_size: How many numbers it has to put out; None for a trunk, which decides itself.

    Raises:
        UsageError: naming the first function that raises, or gives what others do not take.
    """
    if not isinstance(network, Network):
        raise UsageError(
            f"network {kind!r} gave a {type(network).__name__}: a heredity.networks.Network "
            "was expected"
        )
    size = getattr(network, "output_size", None)
    if not isinstance(size, numbers.Integral) or (output_size is not None and size != output_size):
        expected = "a whole number" if output_size is None else str(output_size)
        raise UsageError(f"network {kind!r} has output_size {size!r}, {expected} was expected")
    params = _fresh_weights(kind, network)
    for name, batch, remembered in (
        ("apply", (BATCH,), (BATCH,)),
        ("scan", (MOMENTS, BATCH), (BATCH,)),
        ("apply", (), ()),  # a policy that is asked for one action
    ):
        carry = _carry(kind, network, remembered)
        for is_first in (None, jax.ShapeDtypeStruct(batch, bool)):
            _try(kind, network, name, batch, params, batched(space, batch), carry, is_first)


def _fresh_weights(kind: str, network: Network) -> Any:
    expected = "a nested dict of arrays"
    call = "init(key)"
    with asking(kind, call, expected):
        params = jax.eval_shape(network.init, jax.random.key(0))
    leaves = flatten(params).values() if isinstance(params, Mapping) else [None]
    if not all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves):
        raise UsageError(
            f"network {kind!r}: {call} gave {in_words(params)}; {expected} was expected"
        )
    return params


def _carry(kind: str, network: Network, batch: tuple[int, ...]) -> Any:
    """The memory at the start of an episode; () where there is none."""
    call = f"initial_carry({batch})"
    expected = "arrays that begin with the axes of the batch (or () for no memory)"
    with asking(kind, call, expected):
        carry = jax.eval_shape(lambda: network.initial_carry(batch))
    if any(leaf.shape[: len(batch)] != batch for leaf in jax.tree.leaves(carry)):
        raise UsageError(
            f"network {kind!r}: {call} gave {in_words(carry)}; {expected} were expected"
        )
    return carry


def _try(
    kind: str,
    network: Network,
    name: str,
    batch: tuple[int, ...],
    params: Any,
    seen: Any,
    carry: Any,
    is_first: Any,
) -> None:
    """See that `apply` or `scan` gives outputs, and the memory as it got it."""
    call = f"{name} with observation {in_words(seen)}, carry {in_words(carry)} and is_first "
    call += in_words(is_first)
    output = output_expected(batch, network.output_size)
    tuple_of = "(output, carry, taps)" if name == "apply" else "(output, carry)"
    expected = f"{tuple_of} with {output} as output"
    function = getattr(network, name)
    with asking(kind, call, expected):
        given = jax.eval_shape(
            lambda params, seen, carry, is_first: function(params, seen, carry, is_first=is_first),
            *(params, seen, carry, is_first),
        )
    if not isinstance(given, tuple) or len(given) != tuple_of.count(",") + 1:
        raise UsageError(
            f"network {kind!r}: {call} gave {in_words(given)}; {expected} was expected"
        )
    check_output(kind, call, given[0], batch, network.output_size)
    if _form(given[1]) != _form(carry):
        raise UsageError(
            f"network {kind!r}: {call} gave the carry {in_words(given[1])}; the new memory has to "
            f"have the form of the one that was given, {in_words(carry)}"
        )


def _form(carry: Any) -> tuple[Any, Sequence[tuple[Any, ...]]]:
    leaves, structure = jax.tree.flatten(carry)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]
