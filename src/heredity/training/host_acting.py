"""Acting for a vector of host environments: drawn in numpy, all chance of an iteration at once.

Calling a compiled program at each step costs more than a small network does. So what the network
puts out is computed in numpy where that is written, and by the compiled program elsewhere; what is
drawn from it is the same either way.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.state import PPOState
from heredity.networks.contract import NumpyFunction
from heredity.policies import ActorCritic
from heredity.weights import Params, merge


class NumpyActor:
    """Acts in numpy, where the networks of a policy are written in it.

    Args:
        functions: Of the policy.
    """

    def __init__(self, functions: ActorCritic) -> None:
        self._functions = functions
        shapes = jax.eval_shape(functions.init, np.uint32(0))
        none_yet = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        # Weights are brought home for nothing where the answer does not depend on them.
        self._is_able = functions.outputs_in_numpy(none_yet, batched=True) is not None
        self._outputs: NumpyFunction | None = None
        self._no_noise = np.zeros((), np.float32)

    def begin(self, params: Params) -> None:
        """Take over weights, in copies.

        Args:
            params: All of them.
        """
        own = params if self._is_able else {"actor": self._free(params["actor"])}
        # Copies: the buffers may be given to the update that follows.
        weights = jax.tree.map(np.array, own)
        self.free = weights["actor"]
        if self._is_able:
            self._outputs = self._functions.outputs_in_numpy(weights, batched=True)

    def _free(self, actor: Params) -> Params:
        """The parameters of the distribution that do not depend on what is seen."""
        return {name: actor[name] for name in self._functions.family.init() if name in actor}

    def outputs(self, observation: Any) -> np.ndarray | None:
        """Of the actor's network for ``(B, ...)``; None where the compiled program has to tell."""
        if self._outputs is None:
            return None
        with np.errstate(all="ignore"):  # what overflows on the way is left to JAX
            return self._outputs(observation)

    def act(self, observation: Any) -> np.ndarray | None:
        """The most likely actions for ``(B, ...)``; None as `outputs`."""
        outputs = self.outputs(observation)
        if outputs is None:
            return None
        family = self._functions.family
        return family.to_action_in_numpy(family.draw_in_numpy(self.free, outputs, self._no_noise))


class HostActor:
    """Draws the actions of one iteration after the other.

    Args:
        algorithm: Whose policy acts.
    """

    def __init__(self, algorithm: PPO) -> None:
        self._functions = algorithm.functions
        self._quick = NumpyActor(algorithm.functions)
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
        self._quick.begin(merge(*parts))

    def act(
        self, t: int, observation: Any, carry: Any, is_first: Any
    ) -> tuple[np.ndarray, np.ndarray, Any]:
        """Actions for what is seen at step `t` of the iteration, ``(B, ...)``.

        Returns:
            What the environments receive, what was drawn, and the new memory.
        """
        outputs = self._quick.outputs(observation)
        if outputs is None:
            found, carry = self._outputs(self._parts, observation, carry, is_first)
            outputs = np.asarray(found)
        family = self._functions.family
        raw_action = family.draw_in_numpy(self._quick.free, outputs, self._draws[t])
        return family.to_action_in_numpy(raw_action), raw_action, carry
