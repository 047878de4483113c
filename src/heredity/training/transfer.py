"""Whole checkpoints moved to other spaces and widths: the optimiser follows the weights.

Moments follow by the same recipe as the weights they are of; moments of new elements begin at zero,
as in a new run. The age of the optimiser begins at 0 again with them. Were that of Adam kept,
nothing would correct their bias, and their first steps would be `(1 - b1) / sqrt(1 - b2)` = 3.16
times the learning rate long. With age 0 theirs are as in a new run, and those of elements with
moments begin at about a third of what they were and grow back within some thousand steps: a
learning rate that warms up.

LaProp divides gradients before it takes their mean, so that nothing shortens a mean that is kept:
with age 0 it would count `1 / (1 - b1)` = 10 times. It begins at zero (`Registered.short_moments`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from heredity.algorithms.registry import short_moments
from heredity.common.errors import MismatchError, UsageError
from heredity.policies import ActorCritic, Policy
from heredity.policies.transfer import TransferPlan
from heredity.policies.transfer import transfer as transfer_policy
from heredity.policies.transfer.recipes import Recipe
from heredity.training.checkpoints import Checkpoint, read_checkpoint, write_checkpoint_folder
from heredity.training.start import AGES
from heredity.weights import WeightReport, content_hash, flatten

OPTIMIZER = "optimizer/"
# Where environments are, and what follows from it, is of the old environment.
_LEFT_BEHIND = ("experience/",)


def transfer(
    checkpoint: Checkpoint, plan: TransferPlan, observations: Any = None
) -> tuple[Checkpoint, WeightReport]:
    """A checkpoint for other spaces or widths: weights, statistics, critic and optimiser together.

    A run that starts from it (`PPO(env, start=...)`, ``heredity train --from``) goes on learning
    with the moments it has. It is no moment of the old run, and cannot be resumed there.

    Args:
        checkpoint: To be moved; stays as it is.
        plan: Made of its policy.
        observations: See `policies.transfer.transfer`.

    Returns:
        The new checkpoint, and the report of its weights.

    Raises:
        GuaranteeError: when what was measured is not within what the plan guarantees.
        MismatchError: when the plan is for other weights.
    """
    made, _, report = _transferred(checkpoint, plan, observations)
    return made, report


def _transferred(
    checkpoint: Checkpoint, plan: TransferPlan, observations: Any
) -> tuple[Checkpoint, Policy, WeightReport]:
    """What `transfer` gives, and the policy of the new checkpoint, which is built already."""
    moved, report = transfer_policy(checkpoint.to_policy(), plan, observations)
    leaves = {path: np.asarray(leaf) for path, leaf in flatten(moved.params).items()}
    state = transferred_state(plan, checkpoint.state)
    moments = sum(path.startswith(OPTIMIZER) for path in state)
    note = (
        f"{moments} arrays of the optimiser moved with their weights; it begins at age 0, so that "
        "the first steps of what is new are no longer than in a new run"
    )
    report = dataclasses.replace(report, notes=(*report.notes, note))
    notes = {**checkpoint.notes, "best": None, "owed": None, "parent": moved.policy_hash}
    notes["frozen"] = {
        recipe.path: content_hash({"leaf": leaves[recipe.path]})
        for recipe in plan.recipes
        if recipe.source in checkpoint.notes["frozen"]
    }
    notes["exactness"] = {"exact": False, "reason": "it was transferred to other spaces"}
    made = dataclasses.replace(
        checkpoint,
        spec=moved.spec,
        policy=leaves,
        state=state,
        lineage=moved.lineage,
        notes=notes,
    )
    return made, moved, report


def transfer_checkpoint(
    source: str | Path, plan: TransferPlan, place: str | Path, observations: Any = None
) -> tuple[Policy, WeightReport]:
    """Move the checkpoint in a folder, and write the new one into another; see `transfer`.

    Args:
        source: Folder of the checkpoint.
        plan: Made of its policy.
        place: Where the new one goes; not there yet.
        observations: See `policies.transfer.transfer`.

    Returns:
        The new policy, and the report.

    Raises:
        GuaranteeError: when what was measured is not within what the plan guarantees.
        MismatchError: when the plan is for other weights.
        RefusedError: naming the file of the checkpoint that is missing, torn or altered.
        StorageError: when the disk refuses.
        UsageError: when something is at `place` already.

    Example:
        >>> import heredity as hd
        >>> last = "runs/cartpole/checkpoints/last"
        >>> policy = hd.Policy.from_pretrained(f"{last}/policy")  # doctest: +SKIP
        >>> plan = policy.plan_transfer(hidden=[128, 128])  # doctest: +SKIP
        >>> wider, report = hd.transfer_checkpoint(last, plan, "wider")  # doctest: +SKIP
    """
    place = Path(place)
    if place.exists():
        raise UsageError(f"{place} is there already: choose another folder")
    made, policy, report = _transferred(read_checkpoint(Path(source)), plan, observations)
    write_checkpoint_folder(place, made)
    return policy, report


def transferred_state(plan: TransferPlan, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The training state beside the new weights.

    Args:
        plan: Of the policy.
        state: By path, as a checkpoint has it.
    """
    moved: dict[str, np.ndarray] = {}
    weights = flatten(ActorCritic(plan.old).shapes())
    by_source: dict[str, list[Recipe]] = {}
    for recipe in plan.recipes:
        if recipe.source is not None:
            by_source.setdefault(recipe.source, []).append(recipe)
    folders, short = set(), short_moments(plan.old.algorithm)
    for path, leaf in state.items():
        if path.startswith(_LEFT_BEHIND):
            continue
        if not path.startswith(OPTIMIZER):
            moved[path] = leaf
        elif path.endswith(AGES):
            # One age for all: a new run has no weights that began later.
            moved[path] = np.zeros(1, leaf.dtype)
        else:
            folder, weight = _of_weight(path, weights)
            folders.add(folder)
            for recipe in by_source.get(weight, ()):
                shape = tuple(axis.size for axis in recipe.axes)
                zeros = np.zeros(shape, leaf.dtype)
                found = zeros if path.startswith(short) else recipe.moved(leaf, zeros)
                moved[f"{folder}/{recipe.path}"] = found
    trained = {_of_weight(path, weights)[1] for path in state if _is_moment(path)}
    for recipe in plan.recipes:
        # New weights of a network that is trained are trained as well.
        network = recipe.path.partition("/")[0]
        if recipe.source is None and any(path.startswith(f"{network}/") for path in trained):
            shape = tuple(axis.size for axis in recipe.axes)
            for folder in folders:
                moved[f"{folder}/{recipe.path}"] = np.zeros(shape, np.float32)
    return moved


def _is_moment(path: str) -> bool:
    return path.startswith(OPTIMIZER) and not path.endswith(AGES)


def _of_weight(path: str, weights: Collection[str]) -> tuple[str, str]:
    """The folder of the optimiser's state that an array is in, and the weight that it is of."""
    parts = path.split("/")
    for start in range(1, len(parts)):
        weight = "/".join(parts[start:])
        if weight in weights:
            return "/".join(parts[:start]), weight
    raise MismatchError(
        f"{path} in the state of the optimiser is of no weight of the policy",
        "Transfer the policy alone: its folder instead of the checkpoint's",
    )
