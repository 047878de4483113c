"""`jax.vmap` with the batch as the last axis of every array, which is what a CPU likes.

`jax.vmap` puts the batch first. The innermost loops that XLA writes for a CPU then run over the
last axis of what one example has: the three numbers of a position, the four of a rotation. With the
batch last they run over examples, and one instruction serves eight or sixteen of them. Physics made
of many small vectors gets faster by that; nothing else changes but rounding.

The function is traced for one example, and its jaxpr is gone through operation by operation.
What has no rule is done by `jax.vmap`, operation by operation as well.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from heredity.environments.batch_last_rules import RULES, Batched, Value, lifted

# Operations that do nothing but call a jaxpr, and what they call it. Derivatives of their own are
# not kept: nobody differentiates through a step.
_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}


def vmap_last(function: Callable[..., Any]) -> Callable[..., Any]:
    """What `jax.vmap(function)` is, with the batch last while it computes.

    Arguments and results have the batch first, all of them, as with `jax.vmap`. It can be jitted,
    and vmapped over something else; derivatives that the function defines by itself are lost.

    Args:
        function: Of one example: pytrees of arrays, which may be random keys, to pytrees.

    Example:
        >>> turn = vmap_last(jnp.cross)
        >>> turn(jnp.eye(3)[:2], jnp.eye(3)[1:]).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """

    def batched(*arguments: Any) -> Any:
        return _apply(function, arguments, set())

    return batched


def without_rule(function: Callable[..., Any], *arguments: Any) -> set[str]:
    """The names of the operations in a function that `vmap_last` leaves to `jax.vmap`.

    Args:
        function: Of one example.
        arguments: As for `vmap_last(function)`: a batch, or its `jax.ShapeDtypeStruct`.

    Example:
        >>> without_rule(lambda x: jnp.fft.fft(x) + 1, jnp.ones((5, 4)))
        {'fft'}
    """
    left: set[str] = set()
    jax.eval_shape(lambda *batch: _apply(function, batch, left), *arguments)
    return left


def _apply(function: Callable[..., Any], arguments: Sequence[Any], left: set[str]) -> Any:
    leaves, tree = jax.tree.flatten(arguments)
    size = leaves[0].shape[0]
    single = [
        jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype, weak_type=jax.typeof(leaf).weak_type)
        for leaf in leaves
    ]
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*jax.tree.unflatten(tree, single))
    inputs = [Batched(jnp.moveaxis(leaf, 0, -1)) for leaf in leaves]
    results = _Interpreter(size, left).run(closed, inputs)
    outputs = [
        jnp.moveaxis(lifted(value, aval.shape, size), -1, 0)
        for value, aval in zip(results, closed.out_avals, strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(shapes), outputs)


def _is_batched(values: Sequence[Value]) -> list[bool]:
    return [isinstance(value, Batched) for value in values]


def _arrays(values: Sequence[Value]) -> list[Any]:
    return [value.array if isinstance(value, Batched) else value for value in values]


def _marked(arrays: Sequence[Any], flags: Sequence[bool]) -> list[Value]:
    pairs = zip(arrays, flags, strict=True)
    return [Batched(array) if flag else array for array, flag in pairs]


class _Interpreter:
    """Goes through jaxprs of one example, for a batch.

    Args:
        size: Of the batch.
        left: Gets the names of the operations that are left to `jax.vmap`.
    """

    def __init__(self, size: int, left: set[str]) -> None:
        self._size = size
        self._left = left
        self._loops = {"scan": self._scan, "while": self._while, "cond": self._cond}

    def run(self, closed: core.ClosedJaxpr, inputs: Sequence[Value]) -> list[Value]:
        """The results of a jaxpr; those that no batched input reaches stay without the batch."""
        jaxpr = closed.jaxpr
        known = dict(zip(jaxpr.constvars, closed.consts, strict=True))
        known |= zip(jaxpr.invars, inputs, strict=True)

        def read(variable: Any) -> Value:
            if isinstance(variable, core.Literal):
                aval: Any = variable.aval
                return np.asarray(variable.val, aval.dtype)
            return known[variable]

        for equation in jaxpr.eqns:
            results = self._equation(equation, [read(variable) for variable in equation.invars])
            known |= zip(equation.outvars, results, strict=True)
        return [read(variable) for variable in jaxpr.outvars]

    def _equation(self, equation: Any, operands: Sequence[Value]) -> Sequence[Value]:
        called = _called(equation)
        if called is not None:
            return self.run(called, operands)
        if not any(_is_batched(operands)):
            return _bound(equation, *operands)
        name = equation.primitive.name
        if name in self._loops:
            return self._loops[name](equation.params, operands)
        rule = RULES.get(name)
        arrays = None if rule is None else rule(equation, operands, self._size)
        if arrays is None:
            arrays = self._with_vmap(equation, operands)
        return [Batched(array) for array in arrays]

    def _with_vmap(self, equation: Any, operands: Sequence[Value]) -> Sequence[jax.Array]:
        self._left.add(equation.primitive.name)
        axes = [-1 if flag else None for flag in _is_batched(operands)]
        return jax.vmap(functools.partial(_bound, equation), axes, -1)(*_arrays(operands))

    def _lifted(self, values: Sequence[Value], avals: Sequence[Any], flags: Sequence[bool]) -> list:
        """Arrays of the values: with the batch where a flag is set, as they are elsewhere."""
        triples = zip(values, avals, flags, strict=True)
        return [
            lifted(value, aval.shape, self._size) if flag else value
            for value, aval, flag in triples
        ]

    def _scan(self, params: Any, operands: Sequence[Value]) -> list[Value]:
        closed = params["jaxpr"]
        carry, consts = params["num_carry"], params["num_consts"]
        first, xs = operands[consts : consts + carry], operands[consts + carry :]
        flags = _reached_in_scan(params, _is_batched(operands))

        def body(state: list, x: list) -> tuple[list, list]:
            inputs = [*operands[:consts], *_marked(state, flags[:carry])]
            inputs += _marked(x, _is_batched(xs))
            results = self._lifted(self.run(closed, inputs), closed.out_avals, flags)
            return results[:carry], results[carry:]

        start = self._lifted(first, closed.in_avals[consts : consts + carry], flags[:carry])
        last, outputs = lax.scan(
            body,
            start,
            _arrays(xs),
            length=params["length"],
            reverse=params["reverse"],
            unroll=params["unroll"],
        )
        return _marked([*last, *outputs], flags)

    def _while(self, params: Any, operands: Sequence[Value]) -> list[Value]:
        test, body = params["cond_jaxpr"], params["body_jaxpr"]
        tested, used = params["cond_nconsts"], params["body_nconsts"]
        test_consts, body_consts = operands[:tested], operands[tested : tested + used]
        flags, apart = _reached_in_while(params, _is_batched(operands))

        def goes_on(state: list) -> Any:
            return self.run(test, [*test_consts, *_marked(state, flags)])[0]

        def test_all(state: list) -> Any:
            # Until the last example is through.
            return goes_on(state).array.any() if apart else goes_on(state)

        def turn(state: list) -> list:
            results = self.run(body, [*body_consts, *_marked(state, flags)])
            after = self._lifted(results, body.out_avals, flags)
            if not apart:
                return after
            on = goes_on(state).array
            return [jnp.where(on, new, old) for new, old in zip(after, state, strict=True)]

        start = self._lifted(operands[tested + used :], body.out_avals, flags)
        return _marked(lax.while_loop(test_all, turn, start), flags)

    def _cond(self, params: Any, operands: Sequence[Value]) -> list[Value]:
        branches, (index, *inputs) = params["branches"], operands
        avals = branches[0].out_avals
        everything = [True] * len(avals)
        if isinstance(index, Batched):  # all branches, and each example takes its own
            which = jnp.clip(index.array, 0, len(branches) - 1)
            results = [self._lifted(self.run(b, inputs), avals, everything) for b in branches]
            return [Batched(_select(which, cases)) for cases in zip(*results, strict=True)]

        def taken(branch: core.ClosedJaxpr) -> Callable[..., list]:
            def run(*arrays: Any) -> list:
                marked = _marked(arrays, _is_batched(inputs))
                return self._lifted(self.run(branch, marked), avals, everything)

            return run

        results = lax.switch(index, [taken(branch) for branch in branches], *_arrays(inputs))
        return [Batched(array) for array in results]


def _select(which: jax.Array, cases: Sequence[jax.Array]) -> jax.Array:
    chosen = cases[0]
    for number, case in enumerate(cases[1:], 1):
        chosen = jnp.where(which == number, case, chosen)
    return chosen


def _bound(equation: Any, *operands: Any) -> Sequence[Any]:
    """An operation, done as it is written."""
    results = equation.primitive.bind(*operands, **equation.params)
    return results if equation.primitive.multiple_results else [results]


def _called(equation: Any) -> core.ClosedJaxpr | None:
    name = _CALLS.get(equation.primitive.name)
    if name is None:
        return None
    called = equation.params[name]
    return called if isinstance(called, core.ClosedJaxpr) else core.ClosedJaxpr(called, ())


# --- what the batch reaches ---------------------------------------------------------------------
# A loop is traced once, so it has to be known before which of the values that it carries differ
# from example to example. A counter that does not keeps its indices and its branches one for all.


def _reached(closed: core.ClosedJaxpr, flags: Sequence[bool]) -> list[bool]:
    """Which results of a jaxpr differ from example to example, given which inputs do."""
    known = dict(zip(closed.jaxpr.invars, flags, strict=True))

    def read(variable: Any) -> bool:
        return not isinstance(variable, core.Literal) and known.get(variable, False)

    for equation in closed.jaxpr.eqns:
        inputs = [read(variable) for variable in equation.invars]
        known |= zip(equation.outvars, _reached_by(equation, inputs), strict=True)
    return [read(variable) for variable in closed.jaxpr.outvars]


def _reached_by(equation: Any, flags: Sequence[bool]) -> Sequence[bool]:
    called = _called(equation)
    if called is not None and any(flags):
        return _reached(called, flags)
    if equation.primitive.name == "scan":
        return _reached_in_scan(equation.params, flags)
    if equation.primitive.name == "while":
        return _reached_in_while(equation.params, flags)[0]
    return [any(flags)] * len(equation.outvars)


def _reached_in_scan(params: Any, flags: Sequence[bool]) -> list[bool]:
    """Of the carry, then of the stacked outputs."""
    consts, carry = params["num_consts"], params["num_carry"]
    while True:
        results = _reached(params["jaxpr"], flags)
        state = [a or b for a, b in zip(flags[consts : consts + carry], results, strict=False)]
        if state == list(flags[consts : consts + carry]):
            return [*state, *results[carry:]]
        flags = [*flags[:consts], *state, *flags[consts + carry :]]


def _reached_in_while(params: Any, flags: Sequence[bool]) -> tuple[list[bool], bool]:
    """Of what is carried; and whether the examples stop apart, which then reaches everything."""
    tested, used = params["cond_nconsts"], params["body_nconsts"]
    state = list(flags[tested + used :])
    while True:
        if any(_reached(params["cond_jaxpr"], [*flags[:tested], *state])):
            return [True] * len(state), True
        results = _reached(params["body_jaxpr"], [*flags[tested : tested + used], *state])
        following = [a or b for a, b in zip(state, results, strict=True)]
        if following == state:
            return state, False
        state = following
