"""Beginning a run, and going on with one."""

from __future__ import annotations

import dataclasses
import logging
import uuid
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.config import PPOConfig
from heredity.common.errors import MismatchError, RefusedError, UsageError
from heredity.common.files import dump_json, point_symlink, sweep_temporaries, write_atomically
from heredity.common.provenance import now, numerics, versions
from heredity.common.run_folder import RUN_SCHEMA_VERSION, RunFolder, step_name
from heredity.environments import (
    Environment,
    EnvironmentSpec,
    HostEnvironment,
    make,
    make_recorded,
)
from heredity.policies import Lineage, LineageEntry
from heredity.training.callbacks import CallbackLike, as_callbacks
from heredity.training.checkpoints import Checkpoint, newest_whole_checkpoint
from heredity.training.evaluation import Evaluator
from heredity.training.events import Event
from heredity.training.loop import Memory, Run
from heredity.training.metrics import CsvSink, MetricsSink, TensorBoardSink
from heredity.training.runners import Runner, make_runner
from heredity.training.settings import RunSettings
from heredity.weights import content_hash, unflatten
from heredity.weights.frozen import FrozenProof

log = logging.getLogger("heredity")

EVALUATION_ENVIRONMENTS = 8  # host environments that an evaluation plays side by side, at most


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
        UsageError: when the directory holds a run already.
    """
    callbacks = as_callbacks(callback)
    for one in callbacks:
        settings = one.configure(settings)
    schedule = settings.schedule_timesteps or settings.total_timesteps
    settings = dataclasses.replace(settings, schedule_timesteps=schedule)
    folder = None if directory is None else RunFolder(Path(directory))
    if folder is not None and folder.config.exists():
        raise UsageError(
            f"{folder.root} holds a run already: go on with `heredity resume {folder.root}`, "
            "or choose another directory"
        )
    run_id = uuid.uuid4().hex[:12]
    record = _config_record(run_id, config, environment, settings)
    runner = _make_runner(config, environment, settings)
    run = _fresh(run_id, runner, environment, settings, folder, callbacks, record)
    if folder is not None:
        # Last: what was refused on the way here has not taken the directory.
        write_atomically(folder.config, dump_json(record))
    return run.events()


def _fresh(
    run_id: str,
    runner: Runner,
    environment: Environment,
    settings: RunSettings,
    folder: RunFolder | None,
    callbacks: list,
    record: dict[str, Any],
) -> Run:
    policy_hash = content_hash(unflatten(runner.policy_leaves()))
    arguments = {
        "algorithm": "ppo",
        "environment": record["environment"],
        "seed": settings.seed,
        "settings": record["settings"],
    }
    born = LineageEntry("train", policy_hash, None, 0, run_id, arguments)
    memory = Memory(parent=policy_hash, frozen=FrozenProof.of(runner.constants).hashes)
    if isinstance(environment, HostEnvironment) and environment.spec is None:
        log.warning(
            "the environment has no id, so another process can resume this run only when it is "
            "given the environment again"
        )
    return Run(
        run_id=run_id,
        runner=runner,
        evaluator=_make_evaluator(runner.algorithm, environment, settings),
        settings=settings,
        spec=runner.algorithm.spec,
        lineage=Lineage().then(born),
        folder=folder,
        callbacks=callbacks,
        sinks=_sinks(folder, callbacks, run_id, record, None),
        memory=memory,
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
        UsageError: when there is nothing left to do.
    """
    folder = RunFolder(Path(directory))
    record = folder.read_config()
    config, settings = _read_settings(folder, record)
    known = {field.name for field in dataclasses.fields(RunSettings)}
    fixed = {"seed", "schedule_timesteps"}
    for name in changes or {}:
        if name not in known - fixed:
            raise UsageError(f"{name} cannot be changed by a resume")
    settings = dataclasses.replace(settings, **(changes or {}))
    callbacks = as_callbacks(callback)
    for one in callbacks:
        settings = one.configure(settings)
    for place in (folder.root, folder.checkpoints, folder.snapshots):
        sweep_temporaries(place)

    checkpoint, refused = newest_whole_checkpoint(folder)
    for error in refused:
        log.warning("refused: %s", error)
    finished = checkpoint is not None and checkpoint.step >= settings.total_timesteps
    if checkpoint is not None and finished and not checkpoint.notes.get("owed"):
        raise UsageError(
            f"{folder.root} is at step {checkpoint.step:,} of {settings.total_timesteps:,}: "
            "give a larger --total-timesteps to train on"
        )
    if environment is None:
        environment = _recorded_environment(folder, record, config.num_envs, trust)
    runner = _make_runner(config, environment, settings)
    if checkpoint is None:
        log.warning("%s: no whole checkpoint, starting again from config.json", folder.root)
        run = _fresh(record["run_id"], runner, environment, settings, folder, callbacks, record)
    else:
        run = _resumed(checkpoint, runner, environment, settings, folder, callbacks, record)
    _set_aside(folder, -1 if checkpoint is None else checkpoint.step)
    total = settings.total_timesteps
    changed = {**record, "run": _settings_json(settings), "total_timesteps": total}
    write_atomically(folder.config, dump_json(changed))
    return run.events()


def _set_aside(folder: RunFolder, step: int) -> None:
    """Checkpoints after `step` were refused: they count no longer, nor are taken for one."""
    for later in folder.checkpoint_steps():
        if later > step:
            aside = folder.checkpoint(later)
            aside.rename(aside.with_name(f"{aside.name}.refused-{uuid.uuid4().hex[:6]}"))
    if step >= 0:
        point_symlink(folder.checkpoints / "last", step_name(step))


def _resumed(
    checkpoint: Checkpoint,
    runner: Runner,
    environment: Environment,
    settings: RunSettings,
    folder: RunFolder,
    callbacks: list,
    record: dict[str, Any],
) -> Run:
    place = folder.checkpoint(checkpoint.step)
    spec = runner.algorithm.spec
    if checkpoint.spec.to_json() != spec.to_json():
        raise MismatchError(
            "the checkpoint's policy is another than config.json describes",
            "Settings of the networks and spaces cannot change within a run",
            place,
        )
    exactness = runner.load(checkpoint.policy, checkpoint.state, None)

    notes = checkpoint.notes
    reasons = [exactness.reason] if not exactness.exact else []
    reasons += _numeric_differences(notes)
    before = notes.get("exactness", {"exact": True, "reason": ""})
    if reasons:
        log.warning("this resume is not exact: %s", "; ".join(reasons))
    exact = before["exact"] and not reasons
    reason = "; ".join([r for r in [before["reason"], *reasons] if r])
    policy_hash = content_hash(unflatten(checkpoint.policy))
    entry = LineageEntry(
        operation="resume",
        hash=policy_hash,
        parent=policy_hash,
        step=checkpoint.step,
        run=checkpoint.run,
        arguments={
            "total_timesteps": settings.total_timesteps,
            "exact": not reasons,
            "reason": "; ".join(reasons),
        },
    )
    memory = Memory(
        best=notes.get("best"),
        elapsed=notes.get("elapsed", 0.0),
        parent=policy_hash,
        frozen=notes.get("frozen", {}),
        exactness={"exact": exact, "reason": reason},
        owed=notes.get("owed"),
    )
    FrozenProof(memory.frozen).check(unflatten(checkpoint.policy))
    log.info("resuming %s at step %s", folder.root, f"{checkpoint.step:,}")
    return Run(
        run_id=checkpoint.run,
        runner=runner,
        evaluator=_make_evaluator(runner.algorithm, environment, settings),
        settings=settings,
        spec=spec,
        lineage=checkpoint.lineage.then(entry),
        folder=folder,
        callbacks=callbacks,
        sinks=_sinks(folder, callbacks, checkpoint.run, record, checkpoint.step),
        memory=memory,
        saved_at=checkpoint.step,
    )


def _numeric_differences(notes: dict[str, Any]) -> list[str]:
    """What is other than when the checkpoint was written and may change bits."""
    differences = []
    for kind, current in (("numerics", numerics()), ("versions", versions())):
        for name, saved in notes.get(kind, {}).items():
            now_is = current.get(name)
            if name not in ("heredity", "safetensors") and saved != now_is:
                differences.append(f"{name} was {saved or 'unset'}, is {now_is or 'unset'}")
    return differences


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
    algorithm: PPO, environment: Environment, settings: RunSettings
) -> Evaluator | None:
    episodes = settings.evaluation_episodes
    if episodes == 0:
        return None
    if isinstance(environment, HostEnvironment):
        environment = evaluation_copy(environment, episodes, settings.snapshot_every is not None)
    record = settings.snapshot_every is not None
    return Evaluator(algorithm.spec, environment, episodes, record=record)


def evaluation_copy(environment: HostEnvironment, episodes: int, draw: bool) -> HostEnvironment:
    """A host environment of the same kind, for evaluating.

    Args:
        environment: The one trained in.
        episodes: How many will be played.
        draw: Whether it should draw pictures, if that kind can.
    """
    if environment.spec is None:
        raise UsageError(
            "the environment has no id, so no second one can be made for evaluation: "
            "set evaluation_episodes=0"
        )
    options = dict(environment.spec.options)
    if draw and "render" in options:
        options["render"] = True
    copies = min(episodes, EVALUATION_ENVIRONMENTS)
    copy = make(environment.spec.id, num_envs=copies, **options)
    assert isinstance(copy, HostEnvironment)
    return copy


def _sinks(
    folder: RunFolder | None,
    callbacks: list,
    run_id: str,
    record: dict[str, Any],
    resume_at: int | None,
) -> list[MetricsSink]:
    sinks: list[MetricsSink] = []
    if folder is not None:
        sinks += [
            CsvSink(folder.metrics, resume_at),
            TensorBoardSink(folder.root, resume_at),
        ]
    for callback in callbacks:
        sinks += callback.sinks(run_id, record)
    return sinks


def _settings_json(settings: RunSettings) -> dict[str, Any]:
    return dataclasses.asdict(settings)


def _config_record(
    run_id: str, config: PPOConfig, environment: Environment, settings: RunSettings
) -> dict[str, Any]:
    return {
        "schema_version": RUN_SCHEMA_VERSION,
        "run_id": run_id,
        "created": now(),
        "algorithm": "ppo",
        "settings": dataclasses.asdict(config),
        "run": _settings_json(settings),
        "environment": environment.spec.to_json() if environment.spec else None,
        "seed": settings.seed,
        "total_timesteps": settings.total_timesteps,
        "versions": versions(),
        "numerics": numerics(),
    }


def _read_settings(folder: RunFolder, record: dict[str, Any]) -> tuple[PPOConfig, RunSettings]:
    if record.get("algorithm") != "ppo":
        raise RefusedError(folder.config, f"names the algorithm {record.get('algorithm')!r}")
    if not isinstance(record.get("run_id"), str):
        raise RefusedError(folder.config, f"names the run_id {record.get('run_id')!r}")
    try:
        return PPOConfig(**record["settings"]), RunSettings(**record["run"])
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(folder.config, f"does not describe a run ({error})") from None


def _recorded_environment(
    folder: RunFolder, record: dict[str, Any], num_envs: int, trust: Sequence[str]
) -> Environment:
    named = record.get("environment")
    if not isinstance(named, dict):
        raise UsageError(f"{folder.root} names no environment: give it with --env")
    identity, options = named.get("id"), named.get("options")
    if not isinstance(identity, str) or not isinstance(options, dict):
        raise RefusedError(folder.config, f"does not name its environment (id, options): {named}")
    return make_recorded(EnvironmentSpec(identity, options), num_envs, trust)
