"""Acting for a vector of host environments: drawn in numpy, all chance of an iteration at once.

Calling a compiled program at each step costs more than a small network does. So what the network
puts out is computed in numpy where that is written, and by the compiled program elsewhere; what is
drawn from it is the same either way.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from heredity.algorithms.ppo.algorithm import PPO, PPOState
from heredity.weights import Params, merge


class HostActor:
    """Draws the actions of one iteration after the other.

    Args:
        algorithm: Whose policy acts.
    """

    def __init__(self, algorithm: PPO) -> None:
        self._functions = algorithm.functions
        self._noise = jax.jit(algorithm.noise)
        self._outputs = jax.jit(self._compiled_outputs)

    def _compiled_outputs(
        self, parts: tuple[Params, ...], observation: Any, carry: Any, is_first: Any
    ) -> tuple[jax.Array, Any]:
        params = merge(*parts)
        seen = self._functions.preprocess(params, observation)
        return self._functions.outputs(params, seen, carry, is_first=is_first)

    def begin(self, parts: tuple[Params, ...], state: PPOState) -> None:
        """Take over the weights of an iteration.

        Args:
            parts: All weights, in parts.
            state: Decides what is drawn.
        """
        self._parts = parts
        self._draws = np.asarray(self._noise(state))
        # Copies: the buffers are given to the update that follows.
        weights = jax.tree.map(np.array, merge(*parts))
        self._free = weights["actor"]
        self._in_numpy = self._functions.outputs_in_numpy(weights, batched=True)

    def act(
        self, t: int, observation: Any, carry: Any, is_first: Any
    ) -> tuple[np.ndarray, np.ndarray, Any]:
        """Actions for what is seen at step `t` of the iteration, ``(B, ...)``.

        Returns:
            What the environments receive, what was drawn, and the new memory.
        """
        outputs = None
        if self._in_numpy is not None:
            with np.errstate(all="ignore"):  # what overflows on the way is left to JAX
                outputs = self._in_numpy(observation)
        if outputs is None:
            found, carry = self._outputs(self._parts, observation, carry, is_first)
            outputs = np.asarray(found)
        family = self._functions.family
        raw_action = family.draw_in_numpy(self._free, outputs, self._draws[t])
        return family.to_action_in_numpy(raw_action), raw_action, carry
