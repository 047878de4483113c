"""What a run tells while it goes on: step, metrics, policy and evaluation, together."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np

from heredity.common.errors import UsageError
from heredity.policies import Lineage, Policy, PolicySpec
from heredity.training.evaluation import Evaluation
from heredity.weights import unflatten


@dataclasses.dataclass(frozen=True)
class Event:
    """A moment at which the policy was evaluated.

    Args:
        step: Environment steps so far.
        total_timesteps: Where the run ends.
        metrics: The newest row of metrics, by the names of Stable-Baselines3.
        spec: Of the policy.
        leaves: Weights by path, copies of their own.
        lineage: Of the policy.
        measured: The evaluation; None only when the run was told to do none.
        is_best: Whether it is the best evaluation of the run so far.
        snapshot: Folder of the snapshot taken at this moment, written while training goes on; None
            if none was taken.
        previous_step: Step one iteration earlier, so that an event alone tells which multiples of a
            frequency were passed.
        evaluations: How many the run has made, this one among them, in every process of it.
        evaluations_since_best: How many of them were made after the best one; 0 when this is it.
        seed: Of this policy.
        seeds: How many seeds are trained together. Each moment gives one event for each of them,
            in the order of the seeds.
    """

    step: int
    total_timesteps: int
    metrics: dict[str, float]
    spec: PolicySpec
    leaves: dict[str, np.ndarray]
    lineage: Lineage
    measured: Evaluation | None
    is_best: bool = False
    snapshot: Path | None = None
    previous_step: int = 0
    evaluations: int = 0
    evaluations_since_best: int = 0
    seed: int = 0
    seeds: int = 1

    @functools.cached_property
    def policy(self) -> Policy:
        """The policy of this moment: it stays what it is while training goes on."""
        return Policy(self.spec, unflatten(self.leaves), self.lineage)

    @property
    def evaluation(self) -> Evaluation:
        """The evaluation of this moment.

        Raises:
            UsageError: when the run was told to do none.
        """
        if self.measured is None:
            raise UsageError("this run does not evaluate: evaluation_episodes is 0")
        return self.measured
