"""What is to be done to each weight, before anything is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from heredity.networks.axes import Piece
from heredity.policies.specification import PolicySpec
from heredity.policies.transfer.elements import ADDED, ChoiceMatch, EntryMatch
from heredity.policies.transfer.recipes import Recipe
from heredity.weights.report import Guarantee, WeightReport, WeightRow


@dataclasses.dataclass(frozen=True)
class TransferPlan:
    """How a policy becomes one for other spaces or widths. Print it to read it.

    Args:
        old: Specification of the policy.
        spec: Specification of the new one.
        policy_hash: Of the policy's weights: the plan fits no others.
        recipes: How each weight is made.
        rows: What is done to each weight, in words, with its guarantee.
        guarantee: What holds of the actions.
        critic_guarantee: What holds of the values.
        entries: Where each entry of the new observation comes from.
        choices: Where each choice or dimension of the action comes from.
        folded: For kernels that read what is no more: what stands for each element of the axis that
            they read, as the network sees it, ``(old,)``; their bias takes it in.
        new_share: Probability that all new choices of a discrete action have together, at most.
        notes: What concerns no weight in particular.
        seed: Of weights that are new.
    """

    old: PolicySpec
    spec: PolicySpec
    policy_hash: str
    recipes: tuple[Recipe, ...]
    rows: tuple[WeightRow, ...]
    guarantee: Guarantee
    critic_guarantee: Guarantee
    entries: Mapping[str, EntryMatch]
    choices: Mapping[str, ChoiceMatch]
    folded: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    new_share: float = 0.01
    notes: tuple[str, ...] = ()
    seed: int = 0

    @property
    def report(self) -> WeightReport:
        """The plan as a report of which nothing was measured yet."""
        return WeightReport("transfer", self.rows, self.guarantee, notes=self.notes)

    @property
    def sources(self) -> dict[str, str]:
        """The old path of each entry of the new observation that there was before."""
        return {
            path: match.source for path, match in self.entries.items() if match.source is not None
        }

    def recipe(self, path: str) -> Recipe:
        """How the weight at a path is made."""
        return next(recipe for recipe in self.recipes if recipe.path == path)

    def to_json(self) -> dict[str, Any]:
        """The plan as a JSON object: its report, and the spaces it leads to."""
        spec = self.spec.to_json()
        return {
            "policy_hash": self.policy_hash,
            "observation_space": spec["observation_space"],
            "action_space": spec["action_space"],
            "plan": self.report.to_json(),
        }

    def __str__(self) -> str:
        return str(self.report)

    def __rich__(self) -> Any:
        return self.report.__rich__()


def new_outputs(recipe: Recipe) -> list[tuple[Piece, np.ndarray, np.ndarray]]:
    """For each piece of what a weight makes: the piece, the places of its elements, which are new.

    Returns:
        Pieces with the places that they take ``(n,)``, and which of these are new ``(n,)``, bool.
    """
    number = recipe.axis("makes")
    if number is None:
        return []
    return [
        (piece, np.arange(place.start, place.stop), recipe.places[number][place] == ADDED)
        for piece, place in recipe.axes[number].parts()
    ]
