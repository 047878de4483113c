"""What a run reports where weights that were frozen are trained from then on."""

from __future__ import annotations

from heredity.algorithms.contract import Algorithm
from heredity.training.runner_base import Learner
from heredity.weights import WeightReport, WeightRow
from heredity.weights.report import EXACT, row_of

MOMENTS = 2
"""Numbers that the optimiser keeps for each that is trained."""


def unfreezing_report(before: Algorithm, after: Algorithm, learner: Learner) -> WeightReport:
    """One row for each weight: trained from now on, still frozen, or as it was.

    Args:
        before: The algorithm of the stage that ends.
        after: Of the stage that begins.
        learner: Has the weights.
    """
    leaves = learner.policy_leaves()
    rows: list[WeightRow] = []
    slots = 0
    for path, leaf in leaves.items():
        if path in after.plan.frozen:
            rows.append(row_of(path, "frozen", leaf))
        elif path in before.plan.frozen:
            note = f"the optimiser grew by {MOMENTS * leaf.size:,} numbers"
            rows.append(row_of(path, "trained", leaf, note=note))
            slots += MOMENTS * leaf.nbytes
        else:
            rows.append(row_of(path, "kept", leaf))
    told = f"the optimiser grew by {slots:,} bytes; no weight changed"
    return WeightReport("unfreeze", tuple(rows), EXACT, notes=(told,))
