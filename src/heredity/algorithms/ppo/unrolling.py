"""Networks over a whole rollout: all of it at once, or in parts where pictures would fill memory.

Between the observations, which are bytes, and what a network makes of them stand the same pictures
as float32 and the first layers' outputs, several times as large. An update has them of a minibatch;
here they would be there of all transitions at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax

from heredity.common.seeds import seeds_together
from heredity.networks import picture_spaces
from heredity.networks.contract import Carry
from heredity.spaces import Space

MOST_BYTES = 2**26
"""Of pictures as float32 that a network is given at once, of all seeds together."""


def parts_of(space: Space, steps: int, envs: int) -> int:
    """Into how many parts of equal length a rollout is cut in time; 1 where nothing is a picture.

    Args:
        space: Of observations.
        steps: T of the rollout; the parts divide it.
        envs: B of the rollout.

    Example:
        >>> from heredity.spaces import Box
        >>> parts_of(Box((84, 84, 4), 0, 255, "uint8"), 128, 128)
        32
        >>> parts_of(Box((348,)), 128, 4096)
        1
    """
    size = sum(4 * math.prod(box.concrete_shape) for box in picture_spaces(space).values())
    size *= steps * envs * seeds_together()
    enough = (
        parts for parts in range(1, steps) if steps % parts == 0 and size <= parts * MOST_BYTES
    )
    return next(enough, steps)


def unrolled(
    function: Callable[[Any, Carry, Any], tuple[Any, Carry]],
    seen: Any,
    carry: Carry,
    is_first: Any,
    parts: int,
) -> Any:
    """What a function gives over a rollout, part after part.

    Args:
        function: From what is seen ``(T, B, ...)``, memory ``(B, ...)`` and where episodes begin
            ``(T, B)`` to outputs ``(T, B, ...)`` and the memory after them, for any T.
        seen: Of all moments.
        carry: Memory before the first moment.
        is_first: Where episodes begin; None without memory.
        parts: How many; of 1 the function is called as it is.
    """
    if parts == 1:
        return function(seen, carry, is_first)[0]

    def cut(array: jax.Array) -> jax.Array:
        return array.reshape((parts, array.shape[0] // parts, *array.shape[1:]))

    def step(carry: Carry, part: tuple[Any, Any]) -> tuple[Carry, Any]:
        outputs, carry = function(part[0], carry, part[1])
        return carry, outputs

    _, outputs = jax.lax.scan(step, carry, jax.tree.map(cut, (seen, is_first)))
    return jax.tree.map(lambda array: array.reshape((-1, *array.shape[2:])), outputs)
