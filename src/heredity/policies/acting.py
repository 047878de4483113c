"""Actions in numpy for what is seen in numpy: checked, with memory, from compiled functions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from heredity.common.errors import MismatchError, UsageError
from heredity.common.streams import stream
from heredity.networks.contract import Carry
from heredity.policies.actor_critic import ActorCritic
from heredity.policies.axes import UnreadColumns
from heredity.policies.given import checked_observation, without_unread
from heredity.spaces import Discrete
from heredity.weights import Params


class Acting:
    """What `Policy.predict` does.

    Args:
        functions: Of the policy.
        params: Its weights, numpy; they stay as they are.
        unread: The columns that no weight reads.
    """

    def __init__(self, functions: ActorCritic, params: Params, unread: UnreadColumns) -> None:
        self._functions = functions
        self._params = params
        self._unread = unread
        self._space = functions.spec.acting_space
        self._draws = 0
        self._on_device: Params | None = None
        self._unread_now: dict[str, np.ndarray] | None = None
        self._carry_of_one = functions.initial_carry((), acting=True) or None
        self._mode_of_one = None
        if self._carry_of_one is None:
            self._mode_of_one = functions.mode_in_numpy(params)
        self._mode = jax.jit(self._mode_actions)
        self._drawn = jax.jit(self._drawn_actions)

    def predict(
        self, observation: Any, state: Any, episode_start: Any, deterministic: bool, key: int | None
    ) -> tuple[Any, Any]:
        """Actions and memory; see `Policy.predict`."""
        observation, batched = self._checked(observation)
        if deterministic and not batched and self._mode_of_one is not None:
            with np.errstate(all="ignore"):  # what overflows on the way is left to JAX
                action = self._mode_of_one(observation)
            if action is not None:
                return action, state
        params = self._on_device
        if params is None:
            params = self._on_device = jax.device_put(self._functions.acting(self._params))
        carry, is_first = self._remembered(observation, batched, state, episode_start)
        if deterministic:
            action, carry, finite = self._mode(params, observation, carry, is_first)
        else:
            draw = self._draws if key is None else _checked_key(key)
            self._draws += key is None
            draws = np.uint32(draw)
            action, carry, finite = self._drawn(params, observation, carry, is_first, draws)
        if not finite:
            raise MismatchError(
                f"no action follows from this observation: its numbers, {_range(observation)}, "
                "make the outputs of the networks NaN or infinite",
                "Give observations such as the policy was trained on",
            )
        if carry:
            state = jax.tree.map(np.asarray, carry)
        if isinstance(self._functions.spec.action_space, Discrete) and not batched:
            return np.int64(action), state
        # The array is JAX's own and read-only; people scale and clip actions in place.
        return np.array(action), state

    def _mode_actions(
        self, params: Params, observation: Any, carry: Carry, is_first: Any
    ) -> tuple[jax.Array, Carry, jax.Array]:
        """Actions, memory, and whether all that led to them was finite."""
        parameters, carry = self._parameters(params, observation, carry, is_first)
        family = self._functions.family
        raw_action = family.mode(parameters)
        carry = self._functions.acted(carry, raw_action)
        return family.to_action(raw_action), carry, jnp.isfinite(parameters).all()

    def _drawn_actions(
        self, params: Params, observation: Any, carry: Carry, is_first: Any, draw: Any
    ) -> tuple[jax.Array, Carry, jax.Array]:
        key = stream(0, "predict", draw)
        of_networks = stream(0, "predict/networks", draw)
        parameters, carry = self._parameters(params, observation, carry, is_first, of_networks)
        family = self._functions.family
        raw_action = family.sample(parameters, key)
        carry = self._functions.acted(carry, raw_action)
        return family.to_action(raw_action), carry, jnp.isfinite(parameters).all()

    def _parameters(
        self, params: Params, observation: Any, carry: Carry, is_first: Any, key: Any = None
    ) -> tuple[jax.Array, Carry]:
        seen = self._functions.preprocess(params, observation, self._space)
        return self._functions.parameters(params, seen, carry, is_first=is_first, key=key)

    def _remembered(
        self, observation: Any, batched: bool, state: Any, episode_start: Any
    ) -> tuple[Carry, Any]:
        """What the networks remember, and where they forget it."""
        if self._carry_of_one is None:
            return (), None
        batch = (len(jax.tree.leaves(observation)[0]),) if batched else ()
        expected = jax.tree.map(lambda leaf: np.zeros((*batch, *leaf.shape)), self._carry_of_one)
        if state is None:
            state = jax.tree.map(lambda leaf: leaf.astype(np.float32), expected)
        found = jax.tree.map(np.shape, state)
        if found != (wanted := jax.tree.map(np.shape, expected)):
            raise MismatchError(
                f"state has the shapes {found}, {wanted} were expected",
                "Give what the last call of this policy returned for as many observations, or None",
            )
        if episode_start is None:
            return state, np.zeros(batch, bool)
        is_first = np.asarray(episode_start, bool)
        if is_first.shape not in (batch, (*batch, 1), (1,)[: 1 - len(batch)]):
            raise MismatchError(f"episode_start has shape {is_first.shape}, {batch} was expected")
        return state, is_first.reshape(batch)

    def _checked(self, observation: Any) -> tuple[Any, bool]:
        whole, needed = self._functions.spec.observation_space, self._space
        seen = without_unread(whole, needed, observation)
        return checked_observation(needed, seen, self._unread_columns)

    def _unread_columns(self) -> dict[str, np.ndarray]:
        if self._unread_now is None:
            self._unread_now = self._unread.of(self._params)
        return self._unread_now


def _range(observation: Any) -> str:
    """From which number to which an observation goes."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(observation)]
    lowest, highest = min(leaf.min() for leaf in leaves), max(leaf.max() for leaf in leaves)
    return f"{lowest:.3g} to {highest:.3g}"


def _checked_key(key: Any) -> int:
    if not isinstance(key, int | np.integer) or not 0 <= key < 2**32:
        raise UsageError(f"key {key!r}: a whole number from 0 to 2**32 - 1 was expected")
    return int(key)
