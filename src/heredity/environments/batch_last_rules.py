"""How single operations of JAX are done on arrays that have the batch as their last axis.

Axes are counted from the front, so most operations stay what they are: `sum(axis=0)` of one example
is `sum(axis=0)` of all of them. What names shapes or counts dimensions gets one more.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

Equation: TypeAlias = Any  # jax.extend.core.JaxprEqn, whose fields are not typed


@dataclasses.dataclass(frozen=True, slots=True)
class Batched:
    """A value that differs from example to example.

    Args:
        array: Shape (..., B): what one example has, for each of B examples.
    """

    array: jax.Array


Value: TypeAlias = Any  # Batched, or an array that all examples share

# Takes an equation of one example's jaxpr, its operands and B; gives its results, batch last. None
# where the rule does not know how.
Rule: TypeAlias = Callable[[Equation, Sequence[Value], int], Sequence[jax.Array] | None]

# Sums of so few terms are written out: x[0] + x[1] + ... fuses with what is around it, and XLA's
# loop then runs over examples. Its reduction is a loop within each example and fuses with nothing
# behind it. Vectors, quaternions and 3 x 3 matrices are all that positional physics knows.
FEW_TERMS = 8

# Larger products of two matrices are left to the library of matrix products, example by example.
# Measured for 256 examples: 14 x 14 takes 0.08 ms here and 0.11 there, 24 x 24 0.39 and 0.20; a
# matrix of 24 x 24 with a vector 0.02 and 0.06, of 60 x 60 with one 0.16 and 0.36.
SMALL_MATRIX = 16


def lifted(value: Value, shape: Sequence[int], size: int) -> jax.Array:
    """A value with all its axes: of shape (*shape, size).

    Args:
        value: Of shape `shape` in one example, with ones where it is to be repeated; or a scalar.
        shape: What one example has.
        size: Of the batch.

    Example:
        >>> lifted(jnp.ones(3), (3,), 5).shape, lifted(Batched(jnp.ones(5)), (3,), 5).shape
        ((3, 5), (3, 5))
    """
    full = (*shape, size)
    if not isinstance(value, Batched):
        return lax.broadcast_in_dim(value, full, range(jnp.ndim(value)))
    array = value.array
    if array.shape == full:
        return array
    return lax.broadcast_in_dim(array, full, range(len(full) - array.ndim, len(full)))


def _shapes(equation: Equation) -> list[tuple[int, ...]]:
    return [variable.aval.shape for variable in equation.invars]


def _arrays(equation: Equation, operands: Sequence[Value], size: int) -> list[jax.Array]:
    """All operands, batched."""
    shapes = _shapes(equation)
    return [lifted(value, shape, size) for value, shape in zip(operands, shapes, strict=True)]


def _elementwise(equation: Equation, operands: Sequence[Value], size: int) -> list[jax.Array]:
    shape = equation.outvars[
        0
    ].aval.shape  # of the operands too, or they are scalars, or one long where it is longer
    full = [lifted(value, shape, size) for value in operands]
    return [equation.primitive.bind(*full, **equation.params)]


def _same_axes(equation: Equation, operands: Sequence[Value], size: int) -> list[jax.Array]:
    results = equation.primitive.bind(*_arrays(equation, operands, size), **equation.params)
    return list(results) if equation.primitive.multiple_results else [results]


def _reduce_sum(equation: Equation, operands: Sequence[Value], size: int) -> list[jax.Array]:
    (array,), axes = _arrays(equation, operands, size), equation.params["axes"]
    if len(axes) != 1 or not 0 < array.shape[axes[0]] <= FEW_TERMS:
        return _same_axes(equation, operands, size)
    terms = (
        lax.index_in_dim(array, index, axes[0], keepdims=False)
        for index in range(array.shape[axes[0]])
    )
    return [functools.reduce(lax.add, terms)]


def _broadcast_in_dim(
    equation: Equation, operands: Sequence[Value], size: int
) -> list[jax.Array] | None:
    params = equation.params
    if params.get("sharding") is not None or len(operands) != 1:
        return None
    shape = params["shape"]
    dimensions = (*params["broadcast_dimensions"], len(shape))
    return [lax.broadcast_in_dim(operands[0].array, (*shape, size), dimensions)]


def _reshape(equation: Equation, operands: Sequence[Value], size: int) -> list[jax.Array] | None:
    params = equation.params
    if params.get("sharding") is not None or params.get("dimensions") is not None:
        return None
    return [lax.reshape(operands[0].array, (*params["new_sizes"], size))]


def _transpose(equation: Equation, operands: Sequence[Value], _: int) -> list[jax.Array]:
    permutation = equation.params["permutation"]
    return [lax.transpose(operands[0].array, (*permutation, len(permutation)))]


def _tile(equation: Equation, operands: Sequence[Value], _: int) -> list[jax.Array]:
    return [jnp.tile(operands[0].array, (*equation.params["reps"], 1))]


def _slice(equation: Equation, operands: Sequence[Value], size: int) -> list[jax.Array]:
    params = equation.params
    strides = None if params["strides"] is None else (*params["strides"], 1)
    start, limit = (*params["start_indices"], 0), (*params["limit_indices"], size)
    return [lax.slice(operands[0].array, start, limit, strides)]


def _pad(equation: Equation, operands: Sequence[Value], size: int) -> list[jax.Array] | None:
    if isinstance(operands[1], Batched):
        return None
    config = (*equation.params["padding_config"], (0, 0, 0))
    return [lax.pad(operands[0].array, operands[1], config)]


def _dynamic_slice(
    equation: Equation, operands: Sequence[Value], size: int
) -> list[jax.Array] | None:
    array, *start = operands
    if any(isinstance(index, Batched) for index in start):
        return None
    return [
        lax.dynamic_slice(array.array, [*start, 0], (*equation.params["slice_sizes"], size)),
    ]


def _dynamic_update_slice(
    equation: Equation, operands: Sequence[Value], size: int
) -> list[jax.Array] | None:
    start = operands[2:]
    if any(isinstance(index, Batched) for index in start):
        return None
    array, update = (
        lifted(value, shape, size)
        for value, shape in zip(operands[:2], _shapes(equation)[:2], strict=True)
    )
    return [lax.dynamic_update_slice(array, update, [*start, 0])]


def _indices_first(indices: jax.Array) -> jax.Array:
    """Indices as gather and scatter want them: the vector of coordinates is the last axis."""
    return jnp.moveaxis(indices, -1, -2)


def _gather(equation: Equation, operands: Sequence[Value], size: int) -> list[jax.Array]:
    array, indices = operands
    params = dict(equation.params)
    numbers: lax.GatherDimensionNumbers = params["dimension_numbers"]
    rank = equation.invars[0].aval.ndim
    if isinstance(indices, Batched):
        # The examples are one more axis of the indices, the last one; what is not in `offset_dims`
        # of the result are the axes of the indices, in their order, and so it is last there too.
        where = indices.array.ndim - 2
        indices = _indices_first(indices.array)
        params["indices_are_sorted"] = False
        if isinstance(array, Batched):
            params["slice_sizes"] = (*params["slice_sizes"], 1)
            numbers = numbers._replace(
                operand_batching_dims=(*numbers.operand_batching_dims, rank),
                start_indices_batching_dims=(*numbers.start_indices_batching_dims, where),
            )
    else:  # the same places of all examples: take the whole batch along
        params["slice_sizes"] = (*params["slice_sizes"], size)
        last = equation.outvars[0].aval.ndim
        numbers = numbers._replace(offset_dims=(*numbers.offset_dims, last))
    array = array.array if isinstance(array, Batched) else array
    return [equation.primitive.bind(array, indices, **{**params, "dimension_numbers": numbers})]


def _scatter(equation: Equation, operands: Sequence[Value], size: int) -> list[jax.Array]:
    indices = operands[1]
    array, updates = (lifted(operands[index], _shapes(equation)[index], size) for index in (0, 2))
    params = dict(equation.params)
    numbers: lax.ScatterDimensionNumbers = params["dimension_numbers"]
    if isinstance(indices, Batched):
        where = indices.array.ndim - 2
        indices = _indices_first(indices.array)
        params["indices_are_sorted"] = False
        numbers = numbers._replace(
            operand_batching_dims=(*numbers.operand_batching_dims, array.ndim - 1),
            scatter_indices_batching_dims=(*numbers.scatter_indices_batching_dims, where),
        )
    else:
        numbers = numbers._replace(
            update_window_dims=(*numbers.update_window_dims, updates.ndim - 1)
        )
    params["dimension_numbers"] = numbers
    return [equation.primitive.bind(array, indices, updates, **params)]


def _dot_general(
    equation: Equation, operands: Sequence[Value], size: int
) -> list[jax.Array] | None:
    """Products of matrices, which are sums of products of vectors over the examples if small."""
    left, right = equation.invars[0].aval, equation.invars[1].aval
    out = equation.outvars[0].aval
    (left_sum, right_sum), (left_batch, right_batch) = equation.params["dimension_numbers"]
    terms = math.prod(left.shape[axis] for axis in left_sum)
    # Half precision is summed in single precision, and truth values are no numbers.
    if terms == 0 or out.dtype.itemsize < 4:
        return None
    if terms > FEW_TERMS and not all(isinstance(value, Batched) for value in operands):
        return _matmul(equation, operands)
    left_free = [axis for axis in range(left.ndim) if axis not in (*left_sum, *left_batch)]
    right_free = [axis for axis in range(right.ndim) if axis not in (*right_sum, *right_batch)]
    if left_free and right_free and terms > SMALL_MATRIX:
        return None

    arrays = [v.array if isinstance(v, Batched) else jnp.asarray(v)[..., None] for v in operands]
    # Without a barrier XLA fuses what computes an operand into each of the terms that it stands in,
    # and so computes it many times over. One barrier for both, because XLA sees through a barrier
    # of one array alone: physics of the ant is then slower than with the batch first.
    arrays = lax.optimization_barrier(arrays)

    def arranged(array: jax.Array, axes: Sequence[int], shape: Sequence[int]) -> jax.Array:
        """Batch axes, free axes of both (ones for the other's), terms, examples (one if shared)."""
        turned = lax.transpose(array.astype(out.dtype), (*axes, len(axes)))
        return turned.reshape(*shape, terms, array.shape[-1])

    batch = [left.shape[axis] for axis in left_batch]
    rows = [left.shape[axis] for axis in left_free]
    columns = [right.shape[axis] for axis in right_free]
    ones_left, ones_right = [1] * len(columns), [1] * len(rows)
    one = arranged(arrays[0], (*left_batch, *left_free, *left_sum), [*batch, *rows, *ones_left])
    other = arranged(
        arrays[1], (*right_batch, *right_free, *right_sum), [*batch, *ones_right, *columns]
    )
    if terms > FEW_TERMS:
        return [jnp.sum(one * other, -2)]
    products = (one[..., term, :] * other[..., term, :] for term in range(terms))
    return [functools.reduce(lax.add, products)]


def _matmul(equation: Equation, operands: Sequence[Value]) -> list[jax.Array]:
    """A product with what all examples share: they are one more free axis, the last one."""
    params = equation.params
    if isinstance(operands[1], Batched):
        return [equation.primitive.bind(operands[0], operands[1].array, **params)]
    (left_sum, right_sum), (left_batch, right_batch) = params["dimension_numbers"]
    turned = ((right_sum, left_sum), (right_batch, left_batch))
    product = equation.primitive.bind(
        operands[1], operands[0].array, **{**params, "dimension_numbers": turned}
    )
    shared = len(left_batch)
    columns = equation.invars[1].aval.ndim - shared - len(right_sum)
    rest = range(shared + columns, product.ndim - 1)
    order = [*range(shared), *rest, *range(shared, shared + columns), product.ndim - 1]
    return [lax.transpose(product, order)]


_ELEMENTWISE = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp clz
    convert_element_type copy copy_p cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor
    ge gt imag integer_pow is_finite le lgamma log log1p logistic lt max min mul ne neg nextafter
    not or population_count pow real reduce_precision rem round rsqrt select_n shift_left
    shift_right_arithmetic shift_right_logical sign sin sinh sqrt square stop_gradient sub tan tanh
    xor
""".split()  # noqa: SIM905 - a table to read

_SAME_AXES = """
    argmax argmin concatenate cumlogsumexp cummax cummin cumprod cumsum reduce_and reduce_max
    reduce_min reduce_or reduce_prod reduce_xor rev sort split squeeze stack unstack
""".split()  # noqa: SIM905 - a table to read

_SCATTERS = "scatter scatter-add scatter_add scatter_max scatter_min scatter_mul scatter_sub"

RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_SAME_AXES, _same_axes),
    **dict.fromkeys(_SCATTERS.split(), _scatter),
    "broadcast_in_dim": _broadcast_in_dim,
    "dot_general": _dot_general,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "gather": _gather,
    "pad": _pad,
    "reduce_sum": _reduce_sum,
    "reshape": _reshape,
    "slice": _slice,
    "tile": _tile,
    "transpose": _transpose,
}
