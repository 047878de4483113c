"""Beginning a run, and going on with one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import shlex
import uuid
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.config import PPOConfig
from heredity.common.errors import UsageError
from heredity.common.files import (
    FolderLock,
    seal_json,
    sweep_temporaries,
    write_atomically,
)
from heredity.common.run_folder import RunFolder
from heredity.environments import (
    Environment,
    HostEnvironment,
)
from heredity.policies import Lineage, LineageEntry
from heredity.training.callbacks import Callback, CallbackLike, as_callbacks, with_children
from heredity.training.checkpoints import Checkpoint, newest_whole_checkpoint, point_links
from heredity.training.continuity import changed_settings, check_policy, numeric_differences
from heredity.training.evaluation import Evaluator, evaluation_copy
from heredity.training.events import Event
from heredity.training.loop import Run
from heredity.training.memory import Memory
from heredity.training.metrics import CsvSink, MetricsSink, TensorBoardSink
from heredity.training.record import config_record, read_settings, recorded_environment
from heredity.training.recovery import best_kept, set_aside_later
from heredity.training.runners import Runner, make_runner
from heredity.training.settings import RunSettings
from heredity.weights import content_hash, unflatten
from heredity.weights.frozen import FrozenProof

log = logging.getLogger("heredity")


def begin_run(
    config: PPOConfig,
    environment: Environment,
    settings: RunSettings,
    directory: str | Path | None = None,
    callback: CallbackLike = None,
) -> Generator[Event]:
    """Train a policy from fresh weights; yields an event at each evaluation.

    Args:
        config: Of the algorithm.
        environment: Where; a host environment has `config.num_envs` copies.
        settings: How the run is kept.
        directory: Where everything is written; None to keep nothing.
        callback: One or several callbacks.

    Raises:
        UsageError: when the directory holds a run already, or somebody else is using it.
    """
    callbacks = as_callbacks(callback)
    for one in with_children(callbacks):
        settings = one.configure(settings)
    settings = settings.settled()
    folder = None if directory is None else RunFolder(Path(directory))
    if folder is not None:
        _check_unused(folder)
    run_id = uuid.uuid4().hex[:12]
    record = config_record(run_id, config, environment, settings)
    runner = _make_runner(config, environment, settings)
    made = contextlib.ExitStack()
    try:
        if folder is not None:
            made.callback(FolderLock(folder.root).close)
            _check_unused(folder)  # somebody may have been faster
        run = _fresh(run_id, runner, environment, settings, folder, callbacks, record, made)
        if folder is not None:
            # Last: what was refused on the way here has not taken the directory.
            write_atomically(folder.config, seal_json(record))
    except BaseException:
        made.close()
        raise
    return run.events()


def _check_unused(folder: RunFolder) -> None:
    if folder.config.exists():
        raise UsageError(
            f"{folder.root} holds a run already: go on with "
            f"`heredity resume {shlex.quote(str(folder.root))}`, or choose another directory"
        )
    if folder.checkpoint_steps() or folder.snapshot_steps():
        raise UsageError(
            f"{folder.root} has checkpoints or snapshots of another run, whose config.json is "
            "gone: choose another directory"
        )


def _fresh(
    run_id: str,
    runner: Runner,
    environment: Environment,
    settings: RunSettings,
    folder: RunFolder | None,
    callbacks: list[Callback],
    record: dict[str, Any],
    made: contextlib.ExitStack,
) -> Run:
    """A run from fresh weights, which closes what was `made` for it when it ends."""
    policy_hash = content_hash(unflatten(runner.policy_leaves()))
    arguments = {
        "algorithm": "ppo",
        "environment": record["environment"],
        "seed": settings.seed,
        "settings": record["settings"],
    }
    born = LineageEntry("train", policy_hash, None, 0, run_id, arguments)
    memory = Memory(parent=policy_hash, frozen=FrozenProof.of(runner.constants).hashes)
    if isinstance(environment, HostEnvironment) and environment.unseeded:
        log.warning("this run cannot be resumed exactly: %s", environment.unseeded)
        memory.note_exactness([environment.unseeded])
    if isinstance(environment, HostEnvironment) and environment.spec is None:
        log.warning(
            "the environment has no id, so another process can resume this run only when it is "
            "given the environment again"
        )
    return Run(
        run_id=run_id,
        runner=runner,
        evaluator=_make_evaluator(runner.algorithm, environment, settings, made),
        settings=settings,
        spec=runner.algorithm.spec,
        lineage=Lineage().then(born),
        folder=folder,
        callbacks=callbacks,
        sinks=_sinks(folder, callbacks, run_id, record, -1),
        memory=memory,
        held=made,
    )


def resume_run(
    directory: str | Path,
    changes: dict[str, Any] | None = None,
    callback: CallbackLike = None,
    environment: Environment | None = None,
    trust: Sequence[str] = (),
) -> Generator[Event]:
    """Go on with a run from its newest whole checkpoint, or from the start if it has none.

    Args:
        directory: Of the run.
        changes: Settings of the run that are to be others from now on, such as
            ``{"total_timesteps": 10_000_000}``. Schedules keep their length.
        callback: One or several callbacks.
        environment: Instead of the one that the run names.
        trust: Ids of environments in the file that may be made although they are not built in.

    Raises:
        RefusedError: when this is not a run, or its environment may not be made.
        UsageError: when there is nothing left to do, or somebody else is using the directory.
    """
    folder = RunFolder(Path(directory))
    folder.read_config(sealed=True)  # before anything is written into what may be no run
    made = contextlib.ExitStack()
    made.callback(FolderLock(folder.root).close)
    try:
        run = _resume(folder, changes or {}, callback, environment, trust, made)
    except BaseException:
        made.close()
        raise
    return run.events()


def _resume(
    folder: RunFolder,
    changes: dict[str, Any],
    callback: CallbackLike,
    environment: Environment | None,
    trust: Sequence[str],
    made: contextlib.ExitStack,
) -> Run:
    record = folder.read_config(sealed=True)
    config, recorded = read_settings(folder, record)
    known = {field.name for field in dataclasses.fields(RunSettings)}
    fixed = {"seed", "schedule_timesteps"}
    for name in changes:
        if name not in known - fixed:
            raise UsageError(f"{name} cannot be changed by a resume")
    settings = dataclasses.replace(recorded, **changes)
    callbacks = as_callbacks(callback)
    for one in with_children(callbacks):
        settings = one.configure(settings)
    for name in fixed:
        if getattr(settings, name) != getattr(recorded, name):
            raise UsageError(f"{name} cannot be changed by a resume, nor by a callback of it")
    for place in (folder.root, folder.checkpoints, folder.snapshots):
        sweep_temporaries(place)

    checkpoint, refused = newest_whole_checkpoint(folder, record["run_id"])
    for error in refused:
        log.warning("refused: %s", error)
    finished = checkpoint is not None and checkpoint.step >= settings.total_timesteps
    if checkpoint is not None and finished and not checkpoint.notes.get("owed"):
        raise UsageError(
            f"{folder.root} is at step {checkpoint.step:,} of {settings.total_timesteps:,}: "
            "give a larger --total-timesteps (total_timesteps) to train on"
        )
    before = record
    if environment is None:
        environment = recorded_environment(folder, record, config.num_envs, trust)
        if isinstance(environment, HostEnvironment):
            made.callback(environment.close)
    else:
        given = environment.spec and environment.spec.to_json()
        record = {**record, "environment": json.loads(json.dumps(given))}  # as the file has it
    _warn_of_idle_end(config, settings)
    runner = _make_runner(config, environment, settings)
    if checkpoint is None:
        log.warning("%s: no whole checkpoint, starting again from config.json", folder.root)
        run = _fresh(
            record["run_id"], runner, environment, settings, folder, callbacks, record, made
        )
    else:
        changed = changed_settings(before, record, recorded, settings)
        run = _resumed(
            checkpoint, runner, environment, settings, folder, callbacks, record, changed, made
        )
    set_aside_later(folder, None if checkpoint is None else checkpoint.step)
    run.memory.best = best_kept(folder, run.memory.best)
    point_links(folder, None if checkpoint is None else checkpoint.step, run.memory.best)
    total = settings.total_timesteps
    record = {**record, "run": dataclasses.asdict(settings), "total_timesteps": total}
    write_atomically(folder.config, seal_json(record))
    return run


def _warn_of_idle_end(config: PPOConfig, settings: RunSettings) -> None:
    """Steps after the end of a linear schedule have its last learning rate, which may be zero."""
    schedule, total = settings.schedule_timesteps, settings.total_timesteps
    ends_at_zero = config.learning_rate_schedule == "linear" and config.learning_rate_end == 0
    if schedule is not None and total > schedule and ends_at_zero:
        log.warning(
            "the learning rate is 0 from step %s on, so nothing will be learnt from there to step "
            "%s: a run that is to be extended is started with a larger --schedule-timesteps, or "
            "with --learning-rate-end",
            f"{schedule:,}",
            f"{total:,}",
        )


def _resumed(
    checkpoint: Checkpoint,
    runner: Runner,
    environment: Environment,
    settings: RunSettings,
    folder: RunFolder,
    callbacks: list[Callback],
    record: dict[str, Any],
    changed: dict[str, Any],
    made: contextlib.ExitStack,
) -> Run:
    place = folder.checkpoint(checkpoint.step)
    spec = runner.algorithm.spec
    check_policy(checkpoint.spec, spec, place)
    exactness = runner.load(checkpoint.policy, checkpoint.state, None)

    notes = checkpoint.notes
    reasons = [exactness.reason] if not exactness.exact else []
    if "environment" in changed:
        reasons.append("it goes on in another environment than it began in")
    reasons += numeric_differences(notes)
    if reasons:
        log.warning("this resume is not exact: %s", "; ".join(reasons))
    policy_hash = content_hash(unflatten(checkpoint.policy))
    entry = LineageEntry(
        operation="resume",
        hash=policy_hash,
        parent=policy_hash,
        step=checkpoint.step,
        run=checkpoint.run,
        arguments={
            **changed,
            "total_timesteps": settings.total_timesteps,
            "exact": not reasons,
            "reason": "; ".join(reasons),
        },
    )
    memory = dataclasses.replace(Memory.recalled(notes, place), parent=policy_hash)
    memory.note_exactness(reasons)
    FrozenProof(memory.frozen).check(unflatten(checkpoint.policy))
    log.info("resuming %s at step %s", folder.root, f"{checkpoint.step:,}")
    return Run(
        run_id=checkpoint.run,
        runner=runner,
        evaluator=_make_evaluator(runner.algorithm, environment, settings, made),
        settings=settings,
        spec=spec,
        lineage=checkpoint.lineage.then(entry),
        folder=folder,
        callbacks=callbacks,
        sinks=_sinks(folder, callbacks, checkpoint.run, record, checkpoint.step),
        memory=memory,
        saved_at=checkpoint.step,
        held=made,
    )


def _make_runner(config: PPOConfig, environment: Environment, settings: RunSettings) -> Runner:
    if isinstance(environment, HostEnvironment) and environment.num_envs != config.num_envs:
        raise UsageError(
            f"the environment has {environment.num_envs} copies, num_envs is {config.num_envs}"
        )
    algorithm = PPO(
        config,
        environment.observation_space,
        environment.action_space,
        schedule_timesteps=settings.schedule_timesteps or settings.total_timesteps,
        action_repeat=environment.action_repeat,
        environment=environment.spec.to_json() if environment.spec else None,
    )
    return make_runner(algorithm, environment, settings.seed)


def _make_evaluator(
    algorithm: PPO, environment: Environment, settings: RunSettings, made: contextlib.ExitStack
) -> Evaluator | None:
    episodes = settings.evaluation_episodes
    if episodes == 0:
        return None
    record = settings.snapshot_every is not None
    if isinstance(environment, HostEnvironment):
        environment = evaluation_copy(environment, episodes, record)
        made.callback(environment.close)
    return Evaluator(algorithm.spec, environment, episodes, record=record)


def _sinks(
    folder: RunFolder | None,
    callbacks: list[Callback],
    run_id: str,
    record: dict[str, Any],
    resume_at: int,
) -> list[MetricsSink]:
    """Where rows go; those after `resume_at` are taken back, at -1 all of them.

    Also a run from fresh weights may find some: one that was killed before its first checkpoint.
    """
    sinks: list[MetricsSink] = []
    if folder is not None:
        sinks += [
            CsvSink(folder.metrics, resume_at),
            TensorBoardSink(folder.root, resume_at),
        ]
    for callback in with_children(callbacks):
        sinks += callback.sinks(run_id, record)
    return sinks
