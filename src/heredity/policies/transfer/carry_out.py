"""A plan carried out: the new weights, made, measured, and recorded in the lineage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from heredity.common.errors import MismatchError
from heredity.networks.axes import Piece
from heredity.policies.actor_critic import ActorCritic
from heredity.policies.policy import Policy
from heredity.policies.transfer.elements import ADDED
from heredity.policies.transfer.measuring import measured_report
from heredity.policies.transfer.plan import TransferPlan, new_outputs
from heredity.policies.transfer.recipes import Recipe
from heredity.spaces import Box
from heredity.weights import Params, WeightReport, flatten, unflatten


def transfer(
    policy: Policy, plan: TransferPlan, observations: Any = None
) -> tuple[Policy, WeightReport]:
    """The new policy, and the report with what was measured; the lineage keeps both.

    Args:
        policy: That the plan was made for.
        plan: What to do.
        observations: Of the policy's space, recorded, with a leading axis ``(B,)``; default: drawn
            from the statistics of the normaliser where there are some, else from the space.

    Raises:
        GuaranteeError: when what was measured is not within what the plan guarantees.
        MismatchError: when the plan is for other weights.

    Example:
        >>> from heredity.networks import DistributionSpec, MlpOptions
        >>> from heredity.policies import PolicySpec
        >>> from heredity.spaces import Discrete
        >>> spec = PolicySpec(
        ...     Box((2,), names=("angle", "speed")),
        ...     Discrete(2),
        ...     MlpOptions((16,)).spec(),
        ...     DistributionSpec("categorical"),
        ... )
        >>> policy = Policy(spec, ActorCritic(spec).init(0))
        >>> plan = policy.plan_transfer(Box((3,), names=("angle", "wind", "speed")))
        >>> moved, report = policy.transfer(plan)
        >>> str(report.guarantee), moved.lineage.entries[-1].operation
        ('exact up to rounding', 'transfer')
    """
    if plan.policy_hash != policy.policy_hash:
        raise MismatchError(
            f"the plan is for the policy {plan.policy_hash[:12]}, this is "
            f"{policy.policy_hash[:12]}",
            "Make a plan of this one",
        )
    moved = Policy(plan.spec, transferred(plan, policy.params))
    report = measured_report(plan, policy, moved, observations)
    return policy.descendant("transfer", moved, report), report


def transferred(plan: TransferPlan, params: Mapping[str, Any]) -> Params:
    """The new weights."""
    old = {path: np.asarray(leaf) for path, leaf in flatten(params).items()}
    start = first_weights(plan)
    new: dict[str, np.ndarray] = {}
    for recipe in plan.recipes:
        before = None if recipe.source is None else old[recipe.source]
        if recipe.is_identity:
            new[recipe.path] = recipe.identity(start[recipe.path])
        else:
            new[recipe.path] = recipe.moved(before, start[recipe.path])
    for path, values in plan.folded.items():
        _fold(plan.recipe(path), values, old, new)
    for recipe in plan.recipes:
        if recipe.source is not None and recipe.axis("reads") is not None:
            _begin_outputs(plan, recipe, new)
    return unflatten(new)


def first_weights(plan: TransferPlan) -> dict[str, np.ndarray]:
    """What new weights begin with, by path; of weights that have nothing new, zeros."""
    functions = ActorCritic(plan.spec)
    # Drawing compiles a program, which takes longer than everything else here.
    drawing = {recipe.path.partition("/")[0] for recipe in plan.recipes if _draws(recipe)}
    drawn = jax.jit(lambda seed: functions.init_networks(seed, drawing))(plan.seed)
    shapes = flatten(functions.shapes())
    zeros = {path: np.zeros(leaf.shape, leaf.dtype) for path, leaf in shapes.items()}
    begun: Params = functions.init_beside()
    found = {**flatten(drawn), **flatten(begun)}
    return zeros | {path: np.asarray(leaf) for path, leaf in found.items()}


def _draws(recipe: Recipe) -> bool:
    """Whether a weight has new elements that are drawn: units, predictions, what nobody says."""
    if recipe.path.startswith("normalizer/"):
        return False
    return any(
        (piece.kind in ("units", "opaque") or piece.predicted) and is_new.any()
        for piece, _, is_new in new_outputs(recipe)
    )


def _bias(path: str) -> str:
    return f"{path.rpartition('/')[0]}/bias"


def _fold(
    recipe: Recipe, values: np.ndarray, old: Mapping[str, np.ndarray], new: dict[str, np.ndarray]
) -> None:
    """Let the bias take in what a kernel does not read any more."""
    assert recipe.source is not None
    bias = _bias(recipe.path)
    if bias not in new:
        raise MismatchError(f"{recipe.path} has no bias beside it to take in what is not read now")
    sums = np.tensordot(values, old[recipe.source].astype(np.float64), axes=(0, -2))
    makes = recipe.places[-1]
    kept = makes != ADDED
    changed = np.array(new[bias])
    changed[kept] = (changed[kept] + sums[makes[kept]]).astype(changed.dtype)
    new[bias] = changed


def _begin_outputs(plan: TransferPlan, recipe: Recipe, new: dict[str, np.ndarray]) -> None:
    """What new choices and dimensions of the action begin with."""
    pieces = [(p, places, is_new) for p, places, is_new in new_outputs(recipe) if is_new.any()]
    logits = [piece for piece, _, _ in pieces if piece.kind == "logits"]
    for piece, places, is_new in pieces:
        if piece.kind not in ("logits", "means", "deviations"):
            continue
        kernel, bias = np.array(new[recipe.path]), np.array(new[_bias(recipe.path)])
        fresh, kept = places[is_new], places[~is_new]
        kernel[..., fresh], bias[fresh] = 0, 0
        if piece.kind == "logits" and len(kept):
            # The mean of logits is at most the log of the mean of their exponentials. So much less
            # than it, all new ones have at most their share, whatever is seen.
            share = plan.new_share / len(logits)
            less = np.log(len(fresh) / len(kept) * (1 - share) / share)
            # Below the mean of the others, so that the most likely one stays.
            less = max(less, _LESS)
            kernel[..., fresh] = kernel[..., kept].mean(axis=-1, keepdims=True)
            bias[fresh] = bias[kept].mean() - less
        elif piece.kind == "means":
            bias[fresh] = _middle(plan, piece)[is_new]
        new[recipe.path], new[_bias(recipe.path)] = kernel, bias


_LESS = 0.01


def _middle(plan: TransferPlan, piece: Piece) -> np.ndarray:
    """The mean that a new dimension of the action begins with, ``(A,)``.

    0, or what of the bounds is nearest to it; squashed means are in the middle at 0 anyway.
    """
    space = plan.spec.action_space
    assert isinstance(space, Box)  # means are of continuous actions
    if plan.spec.distribution.kind != "normal":
        return np.zeros(piece.size)
    shape = space.concrete_shape
    return np.clip(np.zeros(shape), np.asarray(space.low), np.asarray(space.high))
