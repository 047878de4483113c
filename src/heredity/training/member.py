"""One policy of a run: its folder, lineage, memory and metrics."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from heredity.algorithms.freezing import Unfreezing
from heredity.common.intervals import mean_interval
from heredity.common.run_folder import RunFolder
from heredity.policies import Lineage, LineageEntry, PolicySpec
from heredity.policies.elsewhere import Elsewhere
from heredity.training.checkpoints import Checkpoint
from heredity.training.evaluation import Evaluation
from heredity.training.events import Event
from heredity.training.memory import Memory
from heredity.training.metrics import Accumulator, MetricsSink, append_evaluation
from heredity.training.runner_base import Learner
from heredity.training.settings import RunSettings
from heredity.training.snapshots import write_snapshot
from heredity.training.writer import BackgroundWriter
from heredity.weights import WeightReport, content_hash, flatten, unflatten
from heredity.weights.frozen import FrozenProof

log = logging.getLogger("heredity")

# Columns whose spread over seeds is worth two columns more.
RETURNS = ("rollout/ep_rew_mean", "eval/mean_reward")


class Member:
    """What belongs to one policy of a run; most runs have one.

    Args:
        run_id: Of the policy's run.
        seed: Of the policy.
        learner: Holds its weights and state.
        spec: Of the policy.
        lineage: Up to where this process begins; each rollback is added to it.
        folder: Where everything of it is written; None to keep nothing.
        memory: From the checkpoint this process begins at.
        elsewhere: Weights that need not be written, because they are in a file of their own.

    Attributes:
        sinks: Where its rows of metrics go.
        gathered: Metrics since the last row.
    """

    def __init__(
        self,
        run_id: str,
        seed: int,
        learner: Learner,
        spec: PolicySpec,
        lineage: Lineage,
        folder: RunFolder | None,
        memory: Memory,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.run_id = run_id
        self.seed = seed
        self.learner = learner
        self.spec = spec
        self.lineage = lineage
        self.folder = folder
        self.memory = memory
        self.elsewhere = elsewhere
        self.sinks: list[MetricsSink] = []
        self.gathered = Accumulator()
        self._proof = FrozenProof(memory.frozen)
        self._row: dict[str, float] = {}

    def write_row(self, step: int, row: dict[str, float]) -> None:
        """Give a row of metrics to the sinks."""
        if self.memory.restarts:
            row["environment/restarts"] = float(self.memory.restarts)
        if self.memory.losses:
            row["processes/losses"] = float(self.memory.losses)
        self._row = self._row | row
        for sink in self.sinks:
            sink.write(step, row)

    def check_frozen(self, leaves: dict[str, np.ndarray]) -> None:
        """See that no frozen weight moved.

        Args:
            leaves: All weights by path.

        Raises:
            FrozenError: when one did.
        """
        self._proof.check(unflatten(leaves))

    def unfroze(self, step: int, done: Sequence[Unfreezing], report: WeightReport) -> None:
        """Remember what is trained from now on, and record it.

        Args:
            step: Of the run.
            done: What was unfrozen.
            report: Of it.
        """
        self.memory.unfrozen = [
            *self.memory.unfrozen,
            *({"pattern": one.pattern, "step": step} for one in done),
        ]
        still = flatten(self.learner.constants)
        self.frozen_again({path: self.memory.frozen[path] for path in still})
        policy_hash = content_hash(unflatten(self.learner.policy_leaves()))
        patterns = [one.pattern for one in done]
        entry = self.entry(
            "unfreeze", policy_hash, step, None, patterns=patterns, report=report.to_json()
        )
        self.lineage = self.lineage.then(entry)
        self.memory.parent = policy_hash

    def frozen_again(self, hashes: dict[str, str]) -> None:
        """From now on these weights must not move.

        Args:
            hashes: By path.
        """
        self.memory.frozen = hashes
        self._proof = FrozenProof(hashes)

    def evaluated(
        self,
        step: int,
        previous_step: int,
        evaluation: Evaluation | None,
        row: dict[str, float],
        snapshot: bool,
        settings: RunSettings,
        writer: BackgroundWriter,
    ) -> Event:
        """Note how the policy scored, keep it if a snapshot is due, and tell of it.

        Args:
            step: Of the run.
            previous_step: One iteration before.
            evaluation: Of the policy as it is now; None when the run does not evaluate.
            row: Of metrics; how it scored is added, and all of it written.
            snapshot: Whether one is due.
            settings: Of the run.
            writer: Writes while training goes on.
        """
        leaves = self.learner.policy_leaves()
        if evaluation is not None and not evaluation.is_finite:
            whose = f"seed {self.seed}: " if self.memory.together > 1 else ""
            told = f"{whose}the return of the evaluation at step %s is not finite"
            log.warning(told, f"{step:,}")
        is_best = False
        if evaluation is not None:
            mean = evaluation.mean if evaluation.is_finite else None
            is_best = self.memory.note_evaluation(step, mean)
        policy_hash = content_hash(unflatten(leaves))
        operation = "snapshot" if snapshot else "evaluate"
        lineage = self.lineage.then(self.entry(operation, policy_hash, step, evaluation))
        path = None
        folder = self.folder
        if folder is not None:
            if evaluation is not None:
                scored = dataclasses.replace(evaluation, recording=None, imagined=None)
                writer.submit(lambda: append_evaluation(folder, step, scored))
            if snapshot:
                path = folder.snapshot(step)
                keep = settings.keep_snapshots
                spec, elsewhere = self.spec, self.elsewhere
                writer.submit(
                    lambda: write_snapshot(
                        folder, step, spec, leaves, lineage, evaluation, keep, elsewhere
                    )
                )
                self.memory.parent = policy_hash
        if evaluation is not None:
            row["eval/mean_reward"] = evaluation.mean
            row["eval/mean_ep_length"] = float(evaluation.lengths.mean())
        if row:
            self.write_row(step, row)
        return Event(
            step=step,
            total_timesteps=settings.total_timesteps,
            metrics=dict(self._row),
            spec=self.spec,
            leaves=leaves,
            lineage=lineage,
            measured=evaluation,
            is_best=is_best,
            snapshot=path,
            previous_step=previous_step,
            evaluations=self.memory.evaluations,
            evaluations_since_best=self.memory.evaluations_since_best,
            seed=self.seed,
            seeds=self.memory.together,
        )

    def entry(
        self,
        operation: str,
        policy_hash: str,
        step: int,
        evaluation: Evaluation | None,
        **arguments: Any,
    ) -> LineageEntry:
        """What the lineage says of something that was done now."""
        restarts = self.memory.restarts
        return LineageEntry(
            operation=operation,
            hash=policy_hash,
            parent=self.memory.parent,
            step=step,
            run=self.run_id,
            arguments=arguments | ({"restarts": restarts} if restarts else {}),
            score=None if evaluation is None else evaluation.score(),
        )

    def checkpoint(
        self, step: int, leaves: dict[str, np.ndarray], evaluation: Evaluation | None
    ) -> Checkpoint:
        """Everything that a resume needs, copied now.

        Args:
            step: Of the run.
            leaves: All weights by path.
            evaluation: Of this moment, if there was one.
        """
        policy_hash = content_hash(unflatten(leaves))
        return Checkpoint(
            step=step,
            run=self.run_id,
            spec=self.spec,
            policy=leaves,
            state=self.learner.save(),
            shared=self.learner.shared(),
            elsewhere=self.elsewhere,
            lineage=self.lineage.then(self.entry("checkpoint", policy_hash, step, evaluation)),
            notes=self.memory.notes(),
        )


def over_seeds(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """One row of metrics for all seeds: means, and the intervals of the mean returns.

    Args:
        rows: Of each seed.

    Returns:
        Of one seed its row. Of several the mean of each column that all of them have, and for
        returns also ``…_low`` and ``…_high``, the 95 % interval of the mean.

    Example:
        >>> row = over_seeds([{"eval/mean_reward": 1.0}, {"eval/mean_reward": 3.0}])
        >>> {name: round(value, 1) for name, value in row.items()}
        {'eval/mean_reward': 2.0, 'eval/mean_reward_low': -10.7, 'eval/mean_reward_high': 14.7}
    """
    if len(rows) == 1:
        return rows[0]
    found: dict[str, float] = {}
    for name in rows[0]:
        if not all(name in row for row in rows):
            continue
        values = [row[name] for row in rows]
        found[name] = sum(values) / len(values)
        if name in RETURNS:
            interval = mean_interval(values)
            found[f"{name}_low"], found[f"{name}_high"] = interval.low, interval.high
    return found
