"""Starting a run, and going on with one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import shlex
import uuid
import weakref
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from heredity.algorithms.contract import AlgorithmConfig
from heredity.algorithms.registry import algorithm_of
from heredity.common.errors import LostFolderError, RefusedError, UsageError
from heredity.common.files import (
    FolderLock,
    check_in_place,
    seal_json,
    sweep_temporaries,
    write_atomically,
)
from heredity.common.group_folder import is_group
from heredity.common.run_folder import RunFolder
from heredity.environments import (
    Environment,
    HostEnvironment,
)
from heredity.networks.own import import_networks
from heredity.training.assembly import Plan, driver_of, fresh_run, resumed_run
from heredity.training.callbacks import CallbackLike, as_callbacks, with_children
from heredity.training.checkpoints import point_links
from heredity.training.compilation import Compilations
from heredity.training.continuity import changed_settings
from heredity.training.events import Event
from heredity.training.group import (
    Seat,
    check_members,
    lock_members,
    newest_common_checkpoint,
    seats_of,
)
from heredity.training.loop import Run
from heredity.training.processes import Processes
from heredity.training.record import config_record, read_settings, recorded_environment
from heredity.training.recovery import best_kept, set_aside_later
from heredity.training.settings import RunSettings
from heredity.training.start import FRESH, Start

log = logging.getLogger("heredity")


def begin_run(
    config: AlgorithmConfig,
    environment: Environment,
    settings: RunSettings,
    directory: str | Path | None = None,
    callback: CallbackLike = None,
    *,
    resume_command: str | None = None,
    start: Start = FRESH,
) -> Generator[Event]:
    """Train a policy, or one for each seed; yields an event at each evaluation.

    Args:
        config: Of the algorithm.
        environment: Where; a host environment has `config.num_envs` copies.
        settings: How the run is kept.
        directory: Where everything is written; None to keep nothing.
        callback: One or several callbacks.
        resume_command: What a person types to go on, told when the run is interrupted; default:
            ``heredity resume`` with the directory.
        start: What the first weights are, where they are not fresh.

    Raises:
        MismatchError: when the first weights it is given are not those of its networks.
        UsageError: when the directory holds a run already, or somebody else is using it; for
            several seeds in an environment that is no JAX program.
    """
    import_networks(config.own_networks)
    processes = Processes()
    callbacks = as_callbacks(callback)
    for one in with_children(callbacks):
        settings = one.configure(settings)
    settings = settings.settled()
    folder = None if directory is None else RunFolder(Path(directory))
    if folder is not None:
        processes.first_does(lambda: _check_unused(folder))
    _warn(config, settings)
    compiled = Compilations()
    config, encoder = algorithm_of(config).prepared(config, environment)
    start = dataclasses.replace(start, encoder=encoder)
    driver, settings = driver_of(config, environment, settings, processes)
    driver.algorithm.check_all_used()
    run_id = processes.first_json(uuid.uuid4().hex[:12])
    record = config_record(run_id, config, environment, settings, start.to_json())
    seats = seats_of(record, settings, folder)
    made = contextlib.ExitStack()
    plan = Plan(
        *(driver, environment, settings, seats, folder, callbacks, record, made, compiled),
        processes=processes,
        resume_command=resume_command,
        start=start,
    )
    try:
        with processes.losses_told():
            if folder is not None:
                processes.first_does(lambda: _take(folder, seats, made))
            run = fresh_run(plan)
            if folder is not None:
                # Last: what was refused on the way here has not taken the directory.
                processes.first_does(lambda: _write_records(folder, record, seats))
                if processes.count == 1:  # several are started again by a resume
                    # Weak: a run that nobody keeps lets go of its folder at once.
                    begun = weakref.ref(run)
                    made.push(lambda _, error, __: _give_back(folder, seats, begun(), error))
    except BaseException:
        made.close()
        raise
    return run.events()


def _warn(config: AlgorithmConfig, settings: RunSettings) -> None:
    ends = settings.schedule_timesteps, settings.total_timesteps
    for warning in algorithm_of(config).warnings_for(config, *ends):
        log.warning("%s", warning)


def _take(folder: RunFolder, seats: Sequence[Seat], made: contextlib.ExitStack) -> None:
    """Take a directory for a run that begins."""
    made.callback(FolderLock(folder.root).close)
    _prepare(folder, seats, made)
    _check_unused(folder)  # somebody may have been faster
    for seat in seats:
        assert seat.folder is not None
        _check_unused(seat.folder)


def _write_records(folder: RunFolder, record: dict[str, Any], seats: Sequence[Seat]) -> None:
    """``config.json`` of the whole run, and of each seed, which follow from it."""
    write_atomically(folder.config, seal_json(record))
    for seat in seats:
        if seat.folder is not None and seat.folder.root != folder.root:
            write_atomically(seat.folder.config, seal_json(seat.record))


def _give_back(
    folder: RunFolder, seats: Sequence[Seat], run: Run | None, error: BaseException | None
) -> None:
    """Let a run that failed before it had learnt anything be no run: its command can be repeated.

    What fails there is mostly an environment, at its first step, which somebody will correct.
    """
    folders = [folder, *(seat.folder for seat in seats if seat.folder is not None)]
    kept = any(one.checkpoint_steps() or one.snapshot_steps() for one in folders)
    if isinstance(error, Exception) and run is not None and run.reached == 0 and not kept:
        for one in folders:
            # What was moved away is left alone, and so is what is there now.
            with contextlib.suppress(LostFolderError):
                check_in_place(one.config)
                one.config.unlink(missing_ok=True)


def _check_unused(folder: RunFolder) -> None:
    kept = folder.checkpoint_steps() or folder.snapshot_steps()
    if folder.config.exists() and (kept or _can_begin_again(folder)):
        raise UsageError(
            f"{folder.root} holds a run already: go on with "
            f"`heredity resume {shlex.quote(str(folder.root))}`, or choose another directory"
        )
    if kept:
        raise UsageError(
            f"{folder.root} has checkpoints or snapshots of another run, whose config.json is "
            "gone: choose another directory"
        )


def _can_begin_again(folder: RunFolder) -> bool:
    """Whether a resume of a run without checkpoints could; if not, its folder is free to train in.

    Weights that a run was given are not in its config.json. Folders of several seeds stay taken,
    because the next run there may have others.
    """
    try:
        fresh = folder.read_config(sealed=True).get("start") is None
    except RefusedError:
        return True  # what it is nobody knows, and nobody writes over it
    return fresh or is_group(folder.root)


def resume_run(
    directory: str | Path,
    changes: dict[str, Any] | None = None,
    callback: CallbackLike = None,
    environment: Environment | None = None,
    trust: Sequence[str] = (),
    *,
    after_loss: bool = False,
    resume_command: str | None = None,
) -> Generator[Event]:
    """Go on with a run from its newest whole checkpoint, or from the start if it has none.

    Several seeds go on together, from the newest step of which all have a whole one.

    Args:
        directory: Of the run.
        changes: Settings of the run that are to be others from now on, such as
            ``{"total_timesteps": 10_000_000}``. Schedules keep their length.
        callback: One or several callbacks.
        environment: Instead of the one that the run names.
        trust: Ids of environments, and networks, that the file may name although they are not
            built in.
        after_loss: Whether another process of the run was lost, which is counted and recorded.
        resume_command: See `begin_run`.

    Raises:
        RefusedError: when this is not a run, or its environment may not be made.
        UsageError: when there is nothing left to do, or somebody else is using the directory.
    """
    folder = RunFolder(Path(directory))
    folder.read_config(sealed=True)  # before anything is written into what may be no run
    processes = Processes()
    made = contextlib.ExitStack()
    try:
        with processes.losses_told():
            processes.first_does(lambda: made.callback(FolderLock(folder.root).close))
            run = _resume(
                folder,
                changes or {},
                callback,
                environment,
                trust,
                made,
                processes,
                after_loss,
                resume_command,
            )
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
    processes: Processes,
    after_loss: bool,
    resume_command: str | None,
) -> Run:
    record = folder.read_config(sealed=True)
    config, recorded = read_settings(folder, record)
    recorded = dataclasses.replace(recorded, devices=recorded.devices or 1)
    import_networks(config.own_networks, trust)
    known = {field.name for field in dataclasses.fields(RunSettings)}
    fixed = {"seed", "seeds", "schedule_timesteps"}
    for name in changes:
        if name not in known - fixed:
            raise UsageError(f"{name} cannot be changed by a resume")
    everywhere = {"devices": None} if processes.count > 1 else {}
    settings = dataclasses.replace(recorded, **everywhere, **changes)
    callbacks = as_callbacks(callback)
    for one in with_children(callbacks):
        settings = one.configure(settings)
    for name in fixed:
        if getattr(settings, name) != getattr(recorded, name):
            raise UsageError(f"{name} cannot be changed by a resume, nor by a callback of it")
    seats = seats_of(record, settings, folder)
    folders = [seat.folder for seat in seats if seat.folder is not None]
    processes.first_does(lambda: check_members(seats, folder, record))
    processes.first_does(lambda: _prepare(folder, seats, made))
    checkpoints, refused = newest_common_checkpoint(seats)
    if processes.writes:
        for error in refused:
            log.warning("refused: %s", error)
    step = checkpoints[0].step if checkpoints else None
    owed = any(checkpoint.notes.get("owed") for checkpoint in checkpoints)
    if step is not None and step >= settings.total_timesteps and not owed:
        raise UsageError(
            f"{folder.root} is at step {step:,} of {settings.total_timesteps:,}: "
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
    _warn(config, settings)
    compiled = Compilations()
    stage = len(checkpoints[0].notes.get("unfrozen", ())) if checkpoints else 0
    driver, settings = driver_of(config, environment, settings, processes, stage)
    plan = Plan(
        *(driver, environment, settings, seats, folder, callbacks, record, made, compiled),
        processes=processes,
        after_loss=after_loss,
        resume_command=resume_command,
    )
    if processes.first_json(step) != step:
        raise RefusedError(folder.root, "shows this process another checkpoint than process 0")
    if checkpoints:
        run = resumed_run(plan, checkpoints, changed_settings(before, record, recorded, settings))
    elif record.get("start") is not None:
        raise RefusedError(
            folder.root,
            "has no whole checkpoint, and did not start from fresh weights",
            f"Train in {'another' if len(seats) > 1 else 'this'} directory, from what it started "
            "from (start=, --from)",
        )
    else:
        log.warning("%s: no whole checkpoint, starting again from config.json", folder.root)
        run = fresh_run(plan)
    for member, one in zip(run.members, folders, strict=True):
        if processes.writes:
            set_aside_later(one, step)
            member.memory.best = best_kept(one, member.memory.best)
            point_links(one, step, member.memory.best)
        member.memory.best = processes.first_json(member.memory.best)
    total = settings.total_timesteps
    record = {**record, "run": dataclasses.asdict(settings), "total_timesteps": total}
    seats = seats_of(record, settings, folder)
    processes.first_does(lambda: _write_records(folder, record, seats))
    return run


def _prepare(folder: RunFolder, seats: Sequence[Seat], made: contextlib.ExitStack) -> None:
    """Lock what is below the folder of a run, and clean it of what was never finished."""
    lock_members(seats, folder, made)
    sweep_temporaries(folder.root)
    for seat in seats:
        if seat.folder is not None:
            for place in (seat.folder.root, seat.folder.checkpoints, seat.folder.snapshots):
                sweep_temporaries(place)
