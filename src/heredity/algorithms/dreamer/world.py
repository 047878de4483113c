"""The networks of a world model and its actor, by name, as functions of one dict of weights."""

from __future__ import annotations

from typing import Any, cast

import jax

from heredity.algorithms.dreamer.config import DreamerConfig
from heredity.networks.world_model import Decoder, Head, Rssm
from heredity.policies import ActorCritic
from heredity.weights import Params


class World:
    """Functions over the weights of a policy of DreamerV3; holds none itself.

    Args:
        config: Settings.
        functions: Of the policy.
    """

    def __init__(self, config: DreamerConfig, functions: ActorCritic) -> None:
        self.config = config
        self.functions = functions
        self.family = functions.family
        self.rssm = cast(Rssm, functions.trunk)

    def logits(self, name: str, params: Params, features: jax.Array) -> jax.Array:
        """Of the output layer of a head (or actor, or critic) for features ``(..., F)``."""
        head = cast(Head, self.functions.networks[name])
        return head.outputs(params[name], features)[0]

    def action_parameters(self, params: Params, features: jax.Array) -> jax.Array:
        """Of the distribution over actions, ``(..., P)``."""
        return self.family.parameters(params["actor"], self.logits("actor", params, features))

    def reconstruction(
        self, params: Params, features: jax.Array, observations: Any
    ) -> dict[str, jax.Array]:
        """Losses ``(...,)`` of what is predicted of observations, by entry."""
        decoder = cast(Decoder, self.functions.networks["decoder"])
        found = decoder.losses(params["decoder"], features, observations)
        return {path.removeprefix("observation/"): loss for path, loss in found.items()}
