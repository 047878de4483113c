"""Weights beside the specification that they are for."""

from __future__ import annotations

from heredity.common.errors import MismatchError, first_few
from heredity.policies.actor_critic import ActorCritic
from heredity.weights import Params, flatten


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
