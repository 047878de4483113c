"""Specifications for other spaces, and weights beside the specification that they are for."""

from __future__ import annotations

import dataclasses

from heredity.common.errors import MismatchError, first_few
from heredity.networks import build_distribution
from heredity.policies.actor_critic import ActorCritic
from heredity.policies.specification import PolicySpec
from heredity.spaces import Space
from heredity.weights import Params, flatten


def spec_for(
    functions: ActorCritic,
    observation_space: Space,
    action_space: Space,
    *,
    concrete: bool = False,
) -> PolicySpec:
    """The specification of a policy for other spaces, with what of its networks follows from them.

    Args:
        functions: Of the policy.
        observation_space: That is to be seen.
        action_space: Of what is to be done; of the same kind as before.
        concrete: Whether what followed from the size of a picture stays as it was.
    """
    spec = functions.spec
    actions = build_distribution(spec.distribution, action_space).action_features
    networks = {}
    for name, given in spec.networks.items():
        network = functions.networks[name]
        options = network.spec.options if concrete else given.options
        following = network.options_for(observation_space, actions)
        networks[name] = dataclasses.replace(given, options={**options, **following})
    spaces = {"observation_space": observation_space, "action_space": action_space}
    return dataclasses.replace(spec, **spaces).with_networks(networks)


def check_weights(functions: ActorCritic, params: Params) -> None:
    """See that weights are those of a specification: paths, shapes, dtypes, and variances.

    Args:
        functions: Of the specification.
        params: Arrays of numpy.

    Raises:
        MismatchError: naming the first five leaves that do not fit.
    """
    expected, found = flatten(functions.shapes()), flatten(params)
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
        raise MismatchError(
            f"the weights do not fit config.json: {first_few(problems, between='; ')}",
            "Weights and specification have to come from the same policy",
        )
    for path, leaf in found.items():
        if path.startswith("normalizer/") and path.endswith("/variance") and (leaf < 0).any():
            raise MismatchError(
                f"{path} has numbers below zero: no variance is",
                "Give variances, not their logarithms",
            )
