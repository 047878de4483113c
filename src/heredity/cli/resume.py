"""``heredity resume``: go on with a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from heredity.cli.parsing import parse
from heredity.cli.train import conclude, shown_callbacks


@dataclasses.dataclass(frozen=True)
class Resume:
    """Go on with a run from its newest whole checkpoint, bit for bit.

    What is not given stays as it was.

    Args:
        directory: Of the run.
        total_timesteps: A new end. Schedules keep their length, so nothing before the old end
            changes.
        snapshot_every: Steps between two snapshots.
        evaluate_every: Steps between two evaluations.
        evaluation_episodes: Episodes of one evaluation.
        checkpoint_every: Steps between two checkpoints.
        log_every: Steps between two rows of metrics.
        keep_last: How many of the newest checkpoints are kept.
        keep_every: Also keep checkpoints nearest after every so many steps.
        keep_snapshots: How many of the newest snapshots are kept.
        on_divergence: stop or rollback.
        trust: Environments that the run may name although they are not built in.
        wandb: Project on Weights & Biases to send metrics to.
        progress: Show the progress bar and a line for each evaluation.
        report: Write report.html at the end, when there are snapshots.
    """

    directory: Annotated[Path, tyro.conf.Positional]
    total_timesteps: int | None = None
    snapshot_every: int | None = None
    evaluate_every: int | None = None
    evaluation_episodes: int | None = None
    checkpoint_every: int | None = None
    log_every: int | None = None
    keep_last: int | None = None
    keep_every: int | None = None
    keep_snapshots: int | None = None
    on_divergence: Literal["stop", "rollback"] | None = None
    trust: tuple[str, ...] = ()
    wandb: str | None = None
    progress: bool = True
    report: bool = True


_OWN = ("directory", "trust", "wandb", "progress", "report")


def main(arguments: Sequence[str]) -> int:
    """Run ``heredity resume``."""
    given = parse(Resume, arguments, "heredity resume")
    from heredity.training.session import resume_run

    changes = {
        field.name: getattr(given, field.name)
        for field in dataclasses.fields(Resume)
        if field.name not in _OWN and getattr(given, field.name) is not None
    }
    callbacks = shown_callbacks(given.progress, given.wandb)
    for _ in resume_run(given.directory, changes, callbacks, trust=given.trust):
        pass
    conclude(given.directory, given.report)
    return 0
