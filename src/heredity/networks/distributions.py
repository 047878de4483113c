"""Distributions over actions, as functions of a flat parameter array.

A family turns the outputs of a network (and, for some, free parameters of its own) into
``parameters (..., P)``. Everything else, log-probabilities, entropies and divergences among them,
is a function of that array, so it can be stored in a batch and compared later.

A *raw* action is what is drawn; `to_action` turns it into what the environment receives (clipped,
squashed, shifted). Log-probabilities are of raw actions, which needs no inverse of the squashing.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from heredity.common.errors import UnknownNameError, UsageError
from heredity.networks.choices import Categorical, MultiCategorical
from heredity.networks.distribution import Distribution
from heredity.networks.normals import BoundedNormal, Normal, SquashedNormal, TanhNormal
from heredity.spaces import Box, Discrete, MultiDiscrete, Space


@dataclasses.dataclass(frozen=True)
class DistributionSpec:
    """A family as data.

    Args:
        kind: categorical, multi_categorical, normal, tanh_normal, squashed_normal or
            bounded_normal.
        initial_std: For normal: the standard deviation at the start.
        uniform_mix: For choices: share of equal chances in those that are drawn from.
    """

    kind: str
    initial_std: float = 1.0
    uniform_mix: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.uniform_mix < 1.0:
            raise ValueError(f"uniform_mix {self.uniform_mix!r}: from 0 to below 1 was expected")

    def to_json(self) -> dict[str, Any]:
        """The specification as a JSON object. Those without a mix need not say so."""
        mix = {"uniform_mix": self.uniform_mix} if self.uniform_mix else {}
        return {"kind": self.kind, "initial_std": self.initial_std, **mix}


def default_kind(space: Space) -> str:
    """The family that suits an action space when nobody chose one."""
    match space:
        case Discrete():
            return "categorical"
        case MultiDiscrete():
            return "multi_categorical"
        case Box():
            return "normal"
    raise UsageError(f"actions {space}: Box, Discrete or MultiDiscrete was expected")


def build_distribution(spec: DistributionSpec, space: Space) -> Distribution:
    """The family that a specification describes, over an action space.

    Raises:
        UsageError: when the family does not fit the space.
        UnknownNameError: for an unknown family.
    """
    match spec.kind, space:
        case "categorical", Discrete():
            return Categorical(space, spec.uniform_mix)
        case "multi_categorical", MultiDiscrete():
            return MultiCategorical(space, spec.uniform_mix)
        case "normal", Box():
            return Normal(space, spec.initial_std)
        case "tanh_normal", Box():
            return TanhNormal(space)
        case "squashed_normal", Box():
            return SquashedNormal(space)
        case "bounded_normal", Box():
            return BoundedNormal(space)
    known = (
        *("bounded_normal", "categorical", "multi_categorical"),
        *("normal", "squashed_normal", "tanh_normal"),
    )
    if spec.kind not in known:
        raise UnknownNameError("distribution", spec.kind, known)
    raise UsageError(f"distribution {spec.kind!r} does not fit {type(space).__name__} actions")
