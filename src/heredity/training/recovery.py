"""What a run goes back to: the last good checkpoint, the best that is kept, the lineage of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from heredity.common.errors import DivergedError, RefusedError, first_few
from heredity.common.files import set_aside
from heredity.common.run_folder import RunFolder
from heredity.networks.axes import column_names
from heredity.networks.normalizer import normalized_leaves
from heredity.policies import Lineage
from heredity.training.checkpoints import (
    Checkpoint,
    newest_whole_checkpoint,
    read_checkpoint,
    verify_checkpoint,
)
from heredity.training.member import Member
from heredity.training.memory import Memory
from heredity.training.runner_base import Runner
from heredity.training.settings import RunSettings
from heredity.weights import content_hash, unflatten

log = logging.getLogger("heredity")

_REMEDY = "Lower learning_rate, or look for NaN in observations and rewards"


def last_good(
    folder: RunFolder | None,
    run_id: str,
    settings: RunSettings,
    lineage: Lineage,
    step: int,
    seen: str = "",
) -> tuple[Checkpoint, int]:
    """After a loss or weight that is not finite: where to go back to, and which attempt it is.

    Rollbacks are counted over the whole run, in every process of it, because each attempt draws
    differently: one that was made already would end the same way.

    Args:
        folder: Of the run.
        run_id: Of the run.
        settings: Whether to go back at all, and how often.
        lineage: Of the run until now, every rollback among its entries.
        step: At which it diverged.
        seen: What was seen that is not finite, for the error.

    Raises:
        DivergedError: when the run is to stop, has nothing to go back to, or has gone back as often
            as it may.
    """
    good, refused = None, []
    if folder is not None:
        good, refused = newest_whole_checkpoint(folder, run_id)
    where = "there is no checkpoint yet"
    if good is not None and folder is not None:
        where = f"the last good checkpoint is {folder.checkpoint(good.step)}"
    problem = f"a loss, weight, reward or observation is not finite at step {step:,}{seen}; {where}"
    if settings.on_divergence == "stop":
        raise DivergedError(
            f"{problem}. {_REMEDY}, or go back by itself with --on-divergence rollback"
        )
    if good is None:
        raise DivergedError(f"{problem}, so nothing to roll back to. {_REMEDY}")
    recorded = [e for e in lineage.entries if e.operation == "rollback" and e.run == run_id]
    made = max(len(recorded), int(good.state["attempt"]))
    if made >= settings.max_rollbacks:
        raise DivergedError(f"{problem}; it was rolled back {made} times. {_REMEDY}")
    for error in refused:
        log.warning("refused: %s", error)
    log.warning("%s: rolled back, attempt %d", problem, made + 1)
    return good, made + 1


def go_back(
    member: Member, runner: Runner, folder: RunFolder | None, settings: RunSettings, step: int
) -> None:
    """After a loss or weight that is not finite: go on from the last good checkpoint.

    Args:
        member: The policy of the run; its memory, lineage and sinks go back as well.
        runner: That trains it.
        folder: Of the run.
        settings: Whether to go back at all, and how often.
        step: At which it diverged.

    Raises:
        DivergedError: see `last_good`.
    """
    good, attempt = last_good(folder, member.run_id, settings, member.lineage, step, _seen(runner))
    assert folder is not None  # where a checkpoint was found
    set_aside_later(folder, good.step)
    then = Memory.recalled(good.notes, folder.checkpoint(good.step))
    if len(then.unfrozen) < runner.algorithm.stage:
        runner.go_back_to(len(then.unfrozen))
    exactness = runner.load(good.policy, good.state, attempt, good.shared)
    member.memory.unfrozen = then.unfrozen
    member.frozen_again(then.frozen)
    if not exactness.exact:
        log.warning("it does not go on exactly where it was: %s", exactness.reason)
        member.memory.note_exactness([exactness.reason])
    for sink in member.sinks:
        sink.rewind(good.step)
    policy_hash = content_hash(unflatten(good.policy))
    # What was evaluated or snapshotted after the good moment is no past of what comes now.
    member.memory.best = best_kept(folder, then.best)
    member.memory.evaluations = then.evaluations
    member.memory.parent = policy_hash
    rolled_back = member.entry(
        "rollback", policy_hash, runner.step, None, attempt=attempt, diverged_at=step
    )
    member.lineage = back_to(member.lineage, good).then(rolled_back)


def _seen(runner: Runner) -> str:
    """Which columns of the observation were not finite, as far as their statistics tell."""
    leaves, names = runner.policy_leaves(), list[str]()
    for path, box in normalized_leaves(runner.algorithm.spec.observation_space).items():
        mean = leaves.get(f"normalizer/{path}/mean")
        if mean is None:
            continue
        known, entry = column_names(box), path.partition("/")[2]
        for index in np.flatnonzero(~np.isfinite(mean)):
            name = known[index] if known else str(index)
            names.append(f"{entry}/{name}" if entry else name)
    if not names:
        return ""
    return f", and what was seen in column {first_few(names)} of the observation is not finite"


def diverged_together(
    folders: Sequence[RunFolder | None], seeds: Sequence[int], step: int
) -> DivergedError:
    """The error of several seeds of which some have a loss or weight that is not finite.

    Args:
        folders: Of all seeds.
        seeds: Those that diverged.
        step: At which they did.
    """
    named = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    kept = [set(folder.checkpoint_steps()) for folder in folders if folder is not None]
    common = set.intersection(*kept) if kept else set()
    where = "there is no checkpoint yet"
    if common:
        where = f"the last checkpoint of all seeds is that of step {max(common):,}"
    return DivergedError(
        f"{named}: a loss, weight, reward or observation is not finite at step {step:,}; {where}. "
        f"{_REMEDY}; the other "
        "seeds can be gone on with alone: heredity resume on their folders"
    )


def back_to(lineage: Lineage, good: Checkpoint) -> Lineage:
    """A run's lineage, now ending in the weights of a checkpoint that it goes back to.

    Nothing is taken out of it: what was rolled back before stays recorded.
    """
    if good.lineage.head in (None, lineage.head):
        return lineage
    return lineage.then(good.lineage.entries[-1])


def set_aside_later(folder: RunFolder, step: int | None) -> None:
    """Set the checkpoints after the one that is gone on from aside: they were refused.

    They count no longer against those that are kept, nor is one taken for whole.

    Args:
        folder: Of the run.
        step: Of the checkpoint that is gone on from; None for none.
    """
    for later in folder.checkpoint_steps():
        if step is None or later > step:
            set_aside(folder.checkpoint(later))


def best_kept(folder: RunFolder, best: dict[str, Any] | None) -> dict[str, Any] | None:
    """What is remembered of the best checkpoint, if it is there whole; else the best that is.

    A run whose best checkpoint is lost would otherwise have none until it does better than that
    one, which may be never.

    Args:
        folder: Of the run.
        best: What the loop remembers of the best one.

    Returns:
        ``step``, ``mean`` and ``evaluation`` of a whole checkpoint; None if none was evaluated, so
        that the next evaluation is the best.
    """
    if best is None:
        return None
    place = folder.checkpoint(best["step"])
    try:
        verify_checkpoint(place)
        return best
    except RefusedError as error:
        log.warning(
            "the best checkpoint, of step %s and mean return %g, is lost: %s",
            f"{best['step']:,}",
            best["mean"],
            error,
        )
    if place.is_dir():
        set_aside(place)
    kept: list[dict[str, Any]] = []
    for step in folder.checkpoint_steps():
        try:
            checkpoint = read_checkpoint(folder.checkpoint(step))
        except RefusedError as error:
            log.warning("refused: %s", error)
            continue
        score = checkpoint.lineage.score_of(str(checkpoint.lineage.head))
        if score is not None:
            number = checkpoint.notes.get("evaluations", 0)
            kept.append({"step": step, "mean": score["mean_return"], "evaluation": number})
    found = max(kept, key=lambda one: one["mean"], default=None)
    told = "none, until the next evaluation" if found is None else f"that of step {found['step']:,}"
    log.warning("the best one is now %s", told)
    return found
