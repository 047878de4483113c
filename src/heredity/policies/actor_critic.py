"""The pure functions of a policy: from weights and observations to distributions and values."""

from __future__ import annotations

from typing import Any

import jax

from heredity.common.errors import MismatchError, UsageError
from heredity.common.streams import stream
from heredity.networks import build_distribution, build_network
from heredity.networks.contract import Carry, NumpyFunction
from heredity.networks.normalizer import (
    init_observation_statistics,
    init_statistics,
    normalize_observation,
    normalizer_in_numpy,
)
from heredity.policies.specification import PolicySpec
from heredity.weights import Params, flatten


class ActorCritic:
    """Functions over the weights of one `PolicySpec`; holds no weights.

    The weights are ``actor/…`` (with ``actor/log_std`` for the normal family), ``critic/…`` and
    ``normalizer/observation/…``.

    Args:
        spec: What to build.
    """

    def __init__(self, spec: PolicySpec) -> None:
        self.spec = spec
        self.family = build_distribution(spec.distribution, spec.action_space)
        self.actor = build_network(spec.actor, spec.observation_space, self.family.output_size)
        self.critic = (
            None if spec.critic is None else build_network(spec.critic, spec.observation_space, 1)
        )

    def init(self, seed: jax.Array | int) -> Params:
        """Fresh weights, statistics among them."""
        actor = self.actor.init(stream(seed, "init/actor"))
        params: Params = {"actor": {**actor, **self.family.init()}}
        if self.critic is not None:
            params["critic"] = self.critic.init(stream(seed, "init/critic"))
        statistics: Params = {}
        if self.spec.normalize_observations:
            statistics |= init_observation_statistics(self.spec.observation_space)
        if self.spec.normalize_rewards:
            statistics["reward"] = init_statistics(())
        return {**params, "normalizer": statistics} if statistics else params

    def preprocess(self, params: Params, observation: Any) -> Any:
        """The observation as the networks see it; ``(...,)`` batch axes stay."""
        if not self.spec.normalize_observations:
            return observation
        return normalize_observation(
            self.spec.observation_space,
            params.get("normalizer", {}),  # absent where nothing of a space can be normalised
            observation,
            self.spec.observation_clip,
        )

    def parameters(
        self,
        params: Params,
        seen: Any,
        carry: Carry = (),
        *,
        is_first: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, Carry]:
        """Parameters of the distribution over actions, ``(..., P)``, and the new carry.

        Args:
            params: All weights.
            seen: What `preprocess` gave.
            carry: Memory.
            is_first: Where episodes begin, ``(...,)``.
            key: For networks that draw.
        """
        outputs, carry, _ = self.actor.apply(
            params["actor"], seen, carry, is_first=is_first, key=key
        )
        return self.family.parameters(params["actor"], outputs), carry

    def mode_in_numpy(self, params: Params) -> NumpyFunction | None:
        """From one observation to the most likely action, in numpy; None where it is not written.

        The function gives None where sums could overflow: there the compiled one decides.

        Args:
            params: All weights, as numpy arrays.
        """
        outputs = self.actor.in_numpy(params["actor"])
        if outputs is None:
            return None
        see = None
        if self.spec.normalize_observations:
            statistics, clip = params.get("normalizer", {}), self.spec.observation_clip
            see = normalizer_in_numpy(self.spec.observation_space, statistics, clip)

        def mode(observation: Any) -> Any:
            found = outputs(observation if see is None else see(observation))
            return None if found is None else self.family.mode_in_numpy(found)

        return mode

    def value(self, params: Params, seen: Any) -> jax.Array:
        """Estimated discounted return, ``(...,)``, of what `preprocess` gave.

        Raises:
            UsageError: for a policy without a critic.
        """
        if self.critic is None:
            raise UsageError("this policy has no critic: its specification says so")
        return self.critic.apply(params["critic"], seen)[0][..., 0]

    def check(self, params: Params, path: str = "") -> None:
        """See that the weights are those of this specification: paths, shapes and dtypes.

        Raises:
            MismatchError: naming the first five leaves that do not fit.
        """
        expected = flatten(jax.eval_shape(self.init, 0))
        found = flatten(params)
        problems = [f"{name} is missing" for name in expected if name not in found]
        problems += [f"{name} is not specified" for name in found if name not in expected]
        problems += [
            f"{name} is {found[name].dtype}{list(found[name].shape)}, "
            f"{leaf.dtype}{list(leaf.shape)} was expected"
            for name, leaf in expected.items()
            if name in found
            and (tuple(found[name].shape), found[name].dtype) != (leaf.shape, leaf.dtype)
        ]
        if problems:
            more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
            raise MismatchError(
                f"the weights do not fit config.json: {'; '.join(problems[:5])}{more}",
                "Weights and specification have to come from the same policy",
                path,
            )
