"""How differently two policies act on the same observations."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from heredity.common.errors import MismatchError, UsageError
from heredity.networks.observations import map_entries
from heredity.policies.policy import Policy
from heredity.spaces import Box, Discrete, MultiDiscrete, Space, space_difference
from heredity.weights import flatten


@dataclasses.dataclass(frozen=True)
class BehaviourDifference:
    """Two policies, a and b, on N shared observations. Numbers are over these observations.

    Args:
        observations: Which they were, and how many.
        same: Share of them on which the most likely actions are the same, bit for bit.
        mean: Mean absolute difference of the most likely actions, over all their numbers; None
            where actions are choices.
        largest: The largest one; None where actions are choices.
        kl_mean: Mean KL(a, b) of the distributions that actions are drawn from, in nats; None
            where these are of different kinds.
        kl_largest: The largest one.
    """

    observations: str
    same: float
    mean: float | None
    largest: float | None
    kl_mean: float | None
    kl_largest: float | None

    def to_json(self) -> dict[str, Any]:
        """The differences as a JSON object."""
        return dataclasses.asdict(self)


def compare(
    a: Policy, b: Policy, observations: Any = None, *, count: int = 1000, seed: int = 0
) -> BehaviourDifference:
    """How differently two policies act.

    Policies with memory see each observation as the first of an episode.

    Args:
        a: One policy.
        b: Another one, with the same spaces.
        observations: N of them on a leading axis; default: drawn, see `sampled_observations`.
        count: How many are drawn.
        seed: Decides the draw.

    Raises:
        MismatchError: when they do not see or do the same.
        UsageError: for no observations.

    Example:
        >>> from heredity.networks import DistributionSpec, MlpOptions
        >>> from heredity.policies import ActorCritic, PolicySpec
        >>> spec = PolicySpec(
        ...     Box((4,)), Discrete(2), MlpOptions().spec(), DistributionSpec("categorical")
        ... )
        >>> policy = Policy(spec, ActorCritic(spec).init(0))
        >>> compare(policy, policy, count=10)
        BehaviourDifference(observations='10 drawn observations', same=1.0, mean=None,
            largest=None, kl_mean=0.0, kl_largest=0.0)
    """
    for what, one, other in (
        ("observations", a.spec.acting_space, b.spec.acting_space),
        ("actions", a.spec.action_space, b.spec.action_space),
    ):
        difference = space_difference(one, other)
        if difference:
            raise MismatchError(f"the policies have different {what}: {difference}")
    told = "given"
    if observations is None:
        observations, told = sampled_observations(a, count, seed), "drawn"
    number = len(jax.tree.leaves(observations)[0])
    if number == 0:
        raise UsageError("no observations were given: at least one was expected")
    outputs = [_outputs(policy, observations) for policy in (a, b)]
    actions = [np.asarray(action) for action, _ in outputs]
    differs = (actions[0] != actions[1]).reshape(number, -1).any(axis=1)
    mean = largest = None
    if not isinstance(a.spec.action_space, Discrete | MultiDiscrete):
        apart = np.abs(actions[0].astype(np.float64) - actions[1])
        mean, largest = float(apart.mean()), float(apart.max())
    kl_mean = kl_largest = None
    if a.spec.distribution.kind == b.spec.distribution.kind:
        divergence = np.asarray(a.functions.family.kl(outputs[0][1], outputs[1][1]), np.float64)
        # Rounding may leave a divergence of nothing a little below zero.
        divergence = np.maximum(divergence, 0.0)
        kl_mean, kl_largest = float(divergence.mean()), float(divergence.max())
    return BehaviourDifference(
        f"{number:,} {told} observations", 1 - float(differs.mean()), mean, largest, kl_mean,
        kl_largest,
    )  # fmt: skip


def sampled_observations(
    policy: Policy, count: int, seed: int = 0, space: Space | None = None
) -> Any:
    """Observations such as the policy may have seen, drawn anew.

    Entries whose statistics it keeps are drawn from normals with these; others from their space,
    uniformly between bounds and from a standard normal without.

    Args:
        policy: Whose acting space, and statistics, are taken.
        count: How many.
        seed: Decides the draw.
        space: Instead of the acting space: all that it knows, say.

    Returns:
        An observation with a leading axis of `count`.
    """
    generator = np.random.default_rng(seed)
    space = policy.spec.acting_space if space is None else space
    statistics = flatten(policy.params.get("normalizer", {}))

    def drawn_of(path: str, leaf: Space, _: Any) -> np.ndarray:
        values = np.stack([leaf.sample(generator) for _ in range(count)])
        mean = statistics.get(f"{path}/mean")
        # Statistics that have seen nothing yet say nothing.
        if mean is not None and isinstance(leaf, Box) and statistics[f"{path}/count"].any():
            deviation = np.sqrt(statistics[f"{path}/variance"])
            drawn = mean + deviation * generator.normal(size=values.shape)
            values = np.clip(drawn, leaf.low, leaf.high).astype(leaf.dtype)
        return values

    return map_entries(space, drawn_of)


_AT_ONCE = 2**20  # numbers that are seen at once; what encoders make of them is many times as much


def _outputs(policy: Policy, observations: Any) -> tuple[jax.Array, jax.Array]:
    """The most likely actions, and the parameters of the distributions."""
    leaves = jax.tree.leaves(observations)
    number = len(leaves[0])
    size = sum(math.prod(np.shape(leaf)[1:]) for leaf in leaves)
    step = max(1, _AT_ONCE // max(size, 1))
    distribution = jax.jit(policy.distribution)
    found = []
    for start in range(0, number, step):
        part = jax.tree.map(lambda leaf, at=start: leaf[at : at + step], observations)
        count = min(step, number - start)
        carry = policy.functions.initial_carry((count,), acting=True)
        is_first = np.ones(count, bool)
        found.append(distribution(policy.params, part, carry, is_first=is_first)[0])
    parameters = jnp.concatenate(found)
    family = policy.functions.family
    return family.to_action(family.mode(parameters)), parameters
