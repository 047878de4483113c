"""The one thing that is handed on: a specification, weights, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from heredity.common.errors import MismatchError, RefusedError, UsageError
from heredity.common.streams import stream
from heredity.networks.contract import Carry
from heredity.policies.actor_critic import ActorCritic
from heredity.policies.files import CONFIG, load_policy, save_policy
from heredity.policies.lineage import Lineage
from heredity.policies.specification import PolicySpec
from heredity.spaces import Box, Dict, Discrete, Space, space_difference
from heredity.weights import Params, content_hash, count, flatten, unflatten


class Policy:
    """A policy that can act, be saved, be loaded, and be given to somebody else.

    It needs neither the environment nor the code that trained it.

    Args:
        spec: What it sees, does, and is built from.
        params: Weights as a nested dict; statistics of the normaliser among them.
        lineage: Where the weights come from.

    Attributes:
        params: The weights, numpy and read-only; to change some, make a new policy of a new dict.

    Raises:
        MismatchError: when the weights do not fit the specification.

    Example:
        >>> from heredity.networks import DistributionSpec, MlpOptions
        >>> spec = PolicySpec(
        ...     Box((4,)), Discrete(2), MlpOptions().spec(), DistributionSpec("categorical")
        ... )
        >>> policy = Policy(spec, ActorCritic(spec).init(0))
        >>> action, state = policy.predict(np.zeros(4, np.float32))
        >>> action in (0, 1)
        True
    """

    def __init__(self, spec: PolicySpec, params: Params, lineage: Lineage | None = None) -> None:
        self.spec = spec
        self.lineage = lineage or Lineage()
        self.functions = ActorCritic(spec)
        # Copies of its own: a buffer that training donates later must not be part of a policy. Read
        # only: a weight changed in place would leave the hash and the compiled functions behind.
        leaves = {path: np.array(leaf) for path, leaf in flatten(params).items()}
        for leaf in leaves.values():
            leaf.flags.writeable = False
        self.functions.check(unflatten(leaves))
        self.params: Params = unflatten(leaves)
        self._draws = 0
        self._hash: str | None = None
        self._on_device: Params | None = None
        self._mode_of_one = self.functions.mode_in_numpy(self.params)
        self._mode = jax.jit(self._mode_actions)
        self._drawn = jax.jit(self._drawn_actions)

    @property
    def policy_hash(self) -> str:
        """Content hash (SHA-256) of the weights."""
        if self._hash is None:
            self._hash = content_hash(self.params)
        return self._hash

    @property
    def parameter_count(self) -> int:
        """How many numbers the weights have, statistics among them."""
        return count(self.params)

    # --- pure functions, for learning, distilling and exporting -----------------------------------

    def distribution(
        self,
        params: Params,
        observation: Any,
        carry: Carry = (),
        *,
        is_first: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, Carry]:
        """Parameters of the distribution over actions; read them with `functions.family`.

        Args:
            params: Weights of this specification (not necessarily this policy's own).
            observation: With batch axes ``(...,)``.
            carry: Memory.
            is_first: Where episodes begin, ``(...,)``.
            key: For networks that draw.

        Returns:
            Shape ``(..., P)``, and the new carry.
        """
        seen = self.functions.preprocess(params, observation)
        return self.functions.parameters(params, seen, carry, is_first=is_first, key=key)

    def act(
        self,
        params: Params,
        observation: Any,
        carry: Carry = (),
        key: jax.Array | None = None,
        *,
        is_first: jax.Array | None = None,
        deterministic: bool = False,
    ) -> tuple[jax.Array, Carry]:
        """Actions for the environment, shape ``(..., *action)``, and the new carry. Pure.

        Raises:
            UsageError: when it should draw and has no key.
        """
        parameters, carry = self.distribution(params, observation, carry, is_first=is_first)
        family = self.functions.family
        if deterministic:
            return family.to_action(family.mode(parameters)), carry
        if key is None:
            raise UsageError("act() without deterministic=True draws and needs a key")
        return family.to_action(family.sample(parameters, key)), carry

    # --- numpy in, numpy out ----------------------------------------------------------------------

    def _mode_actions(self, params: Params, observation: Any) -> jax.Array:
        return self.act(params, observation, deterministic=True)[0]

    def _drawn_actions(self, params: Params, observation: Any, seed: Any, draw: Any) -> jax.Array:
        return self.act(params, observation, key=stream(seed, "predict", draw))[0]

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
        *,
        key: int | None = None,
    ) -> tuple[Any, Any]:
        """Actions for one observation or a batch of them.

        Args:
            observation: One observation of the policy's space, or several with one leading axis.
            state: Memory from the last call, for policies that have one.
            episode_start: Shape ``(B,)``, where an episode begins; for policies with memory.
            deterministic: Whether to take the most likely action rather than to draw one.
            key: A whole number that decides the draw; without it, calls are numbered.

        Returns:
            The action, numpy, batched as the observation was; and the memory (None if there is
            none).

        Raises:
            MismatchError: when the observation is not of the policy's space, or has NaN.
            UsageError: when `key` is not a whole number of 32 bits.
        """
        del episode_start
        observation, batched = self._checked(observation)
        if deterministic and not batched and self._mode_of_one is not None:
            with np.errstate(all="ignore"):  # what overflows on the way is left to JAX
                action = self._mode_of_one(observation)
            if action is not None:
                return action, state
        params = self._on_device
        if params is None:
            params = self._on_device = jax.device_put(self.params)
        if deterministic:
            action = np.asarray(self._mode(params, observation))
        else:
            draw = self._draws if key is None else _checked_key(key)
            self._draws += key is None
            action = np.asarray(self._drawn(params, observation, np.uint32(0), np.uint32(draw)))
        if isinstance(self.spec.action_space, Discrete) and not batched:
            return np.int64(action), state
        # The array is JAX's own and read-only; people scale and clip actions in place.
        return action.copy(), state

    def _checked(self, observation: Any) -> tuple[Any, bool]:
        space = self.spec.observation_space
        if isinstance(space, Box):
            return _checked_leaf(space, observation, "observation")
        return _checked_tree(space, observation, "observation")

    def check_spaces(self, observation_space: Space, action_space: Space) -> None:
        """See that an environment shows what the policy sees and takes what it does.

        Bounds may differ; shapes, dtypes, keys and given names may not.

        Raises:
            MismatchError: naming the first difference.
        """
        for what, own, other in (
            ("observations", self.spec.observation_space, observation_space),
            ("actions", self.spec.action_space, action_space),
        ):
            difference = space_difference(own, other)
            if difference:
                raise MismatchError(
                    f"the environment's {what} are not the policy's: {difference}",
                    "Choose the environment it was trained in, or one with the same spaces",
                )

    # --- files ------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, path: str | Path, *, revision: str | None = None) -> Policy:
        """Load a policy from a folder, or from the Hugging Face hub (extra ``hub``).

        Every hash is checked. No code from the file is run.

        Args:
            path: A folder; or ``hf://owner/name`` on the hub.
            revision: Branch, tag or commit on the hub.

        Raises:
            RefusedError: naming the file that is missing, torn, altered or from the future.
        """
        if str(path).startswith("hf://"):
            from heredity.policies.hub import download

            folder = download(str(path).removeprefix("hf://"), revision)
        else:
            folder = Path(path)
        spec, leaves, lineage, policy_hash = load_policy(folder)
        try:
            policy = cls(spec, unflatten(leaves), lineage)
        except Exception as error:  # sizes and names from a file can fail in any layer below
            raise RefusedError(folder / CONFIG, f"cannot be built: {error}") from error
        policy._hash = policy_hash
        return policy

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the policy as a folder: config.json, model.safetensors, lineage.json, README.md.

        Raises:
            StorageError: when the disk refuses.
        """
        leaves = {path: np.asarray(leaf) for path, leaf in flatten(self.params).items()}
        save_policy(Path(folder), self.spec, leaves, self.lineage)

    def push_to_hub(self, repo_id: str, *, private: bool = False) -> str:
        """Upload the policy folder to the Hugging Face hub (extra ``hub``); returns its address."""
        from heredity.policies.hub import upload

        return upload(self, repo_id, private=private)

    # The names people know from Stable-Baselines3.
    save = save_pretrained
    load = from_pretrained


def _checked_key(key: Any) -> int:
    if not isinstance(key, int | np.integer) or not 0 <= key < 2**32:
        raise UsageError(f"key {key!r}: a whole number from 0 to 2**32 - 1 was expected")
    return int(key)


def _checked_leaf(space: Space, value: Any, path: str) -> tuple[np.ndarray, bool]:
    """The array of one leaf space, and whether it has a leading batch axis."""
    array = _as_array(space, value, path)
    if isinstance(space, Box):
        shape = space.shape
    else:
        shape = () if isinstance(space, Discrete) else (len(space.nvec),)  # pyright: ignore[reportAttributeAccessIssue]
    batched = array.ndim == len(shape) + 1 and array.shape[1:] == shape
    if array.shape != shape and not batched:
        raise MismatchError(
            f"{path} has shape {array.shape}, {shape} or (batch, {', '.join(map(str, shape))}) "
            "was expected",
            "The policy was trained on other observations",
        )
    if isinstance(space, Box):
        _refuse_nan(space, array, path)
    else:
        _refuse_unknown_choices(space, array, path)
    return array, batched


def _as_array(space: Space, value: Any, path: str) -> np.ndarray:
    """The value in the space's dtype; whole numbers stay what they are."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise MismatchError(f"{path} is not an array ({error})") from None
    whole = not isinstance(space, Box) or np.dtype(space.dtype).kind in "iu"
    if array.dtype.kind not in ("iu" if whole else "iufb"):
        expected = "whole numbers were" if whole else "numbers were"
        raise MismatchError(f"{path} has dtype {array.dtype}, {expected} expected")
    if not isinstance(space, Box) or array.dtype == space.dtype:
        return array
    if whole and array.size:
        limits = np.iinfo(space.dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise MismatchError(f"{path} does not fit {space.dtype}: {array.min()} … {array.max()}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, as in training
        return array.astype(space.dtype)


def _refuse_nan(space: Box, array: np.ndarray, path: str) -> None:
    if array.dtype.kind != "f":
        return
    # A sum is finite unless something in it is not (or it overflows: then look closely).
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum()):
            return
    missing = np.isnan(array)
    if missing.any():
        columns = np.unique(np.nonzero(missing)[-1])[:5] if space.shape else [0]
        names = [space.columns[i] if space.columns else str(i) for i in columns]
        raise MismatchError(
            f"{path} has NaN in column {', '.join(names)}",
            "A policy cannot act on what was not measured: fix or replace the sensor",
        )


def _refuse_unknown_choices(space: Space, array: np.ndarray, path: str) -> None:
    first = space.start if isinstance(space, Discrete) else 0
    size = np.asarray(space.size if isinstance(space, Discrete) else space.nvec)  # pyright: ignore[reportAttributeAccessIssue]
    if np.any((array < first) | (array >= first + size)):
        raise MismatchError(
            f"{path} is {array.tolist()}, choices from {first} to below {(first + size).tolist()} "
            "were expected"
        )


def _checked_tree(space: Space, value: Any, path: str) -> tuple[Any, bool]:
    if not isinstance(space, Dict):
        return _checked_leaf(space, value, path)
    if not isinstance(value, Mapping) or set(value) != set(space):
        given = sorted(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise MismatchError(f"{path} has the keys {given}, {list(space)} were expected")
    checked = {
        name: _checked_tree(part, value[name], f"{path}/{name}") for name, part in space.entries
    }
    values = {name: array for name, (array, _) in checked.items()}
    batched = any(flag for _, flag in checked.values())
    if batched and len({len(leaf) for leaf in jax.tree.leaves(values) if leaf.ndim}) != 1:
        raise MismatchError(f"{path} mixes batches of different sizes")
    if not all(flag is batched for _, flag in checked.values()):
        raise MismatchError(f"{path} mixes single and batched entries")
    return values, batched
