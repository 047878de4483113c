"""Putting a run together: from fresh weights, or from checkpoints."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

from heredity.algorithms.contract import Algorithm, AlgorithmConfig
from heredity.algorithms.registry import algorithm_of
from heredity.common.errors import UsageError
from heredity.common.files import remove_tree
from heredity.common.run_folder import RunFolder
from heredity.environments import Environment, HostEnvironment
from heredity.networks.observations import chosen_entries, leaf_spaces
from heredity.policies import Lineage, LineageEntry, PolicySpec
from heredity.policies.elsewhere import Elsewhere
from heredity.training.callbacks import Callback, with_children
from heredity.training.checkpoints import Checkpoint
from heredity.training.compilation import Compilations
from heredity.training.continuity import (
    check_policy,
    numeric_differences,
    other_company,
    other_devices,
)
from heredity.training.evaluation import Evaluator
from heredity.training.group import Seat
from heredity.training.host_evaluation import evaluation_copy
from heredity.training.loop import Run
from heredity.training.member import Member
from heredity.training.memory import Memory
from heredity.training.mesh import mesh_for
from heredity.training.metrics import CsvSink, MetricsSink, TensorBoardSink
from heredity.training.processes import Processes
from heredity.training.runners import Driver, Learner, make_driver
from heredity.training.settings import RunSettings
from heredity.training.start import FRESH, Start, with_copies
from heredity.weights import content_hash, unflatten
from heredity.weights.frozen import FrozenProof

log = logging.getLogger("heredity")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run is put together from.

    Args:
        driver: Trains the policies.
        environment: Where.
        settings: How the run is kept.
        seats: Where the policies lie.
        folder: Of the whole run; None to keep nothing.
        callbacks: Of the user.
        record: ``config.json`` of the whole run.
        made: Closed when the run ends; environments that are made for it are added.
        compiled: Counts the programs of the run.
        processes: That train together.
        after_loss: Whether one of them was lost, so that all begin again from here.
        resume_command: What a person types to go on after an interruption; None to derive it.
        start: What the first weights are, where they are not fresh.
    """

    driver: Driver
    environment: Environment
    settings: RunSettings
    seats: Sequence[Seat]
    folder: RunFolder | None
    callbacks: list[Callback]
    record: dict[str, Any]
    made: contextlib.ExitStack
    compiled: Compilations
    processes: Processes
    after_loss: bool = False
    resume_command: str | None = None
    start: Start = FRESH

    @property
    def place(self) -> tuple[int, int]:
        """How many devices the run has, and of how many processes."""
        devices = self.settings.devices
        assert isinstance(devices, int)  # once they are known
        return devices, self.processes.count

    def written(self, folder: RunFolder | None) -> RunFolder | None:
        """A folder, for the process that writes into it; None for others."""
        return folder if self.processes.writes else None


def driver_of(
    config: AlgorithmConfig,
    environment: Environment,
    settings: RunSettings,
    processes: Processes,
    stage: int = 0,
) -> tuple[Driver, RunSettings]:
    """What trains the policies of a run, and its settings with the devices that it has.

    Args:
        config: Of the algorithm.
        environment: Where.
        settings: How the run is kept.
        processes: That train together.
        stage: How many of the settings' unfreezings there were already.

    Raises:
        UsageError: when the environment, or the devices, do not fit the settings.
    """
    if isinstance(settings.devices, int):
        # Before anybody is told how to have so many.
        processes.check(environment, settings, settings.devices)
    mesh = mesh_for(settings.devices, config)
    settings = dataclasses.replace(settings, devices=1 if mesh is None else mesh.size)
    processes.check(environment, settings, 1 if mesh is None else mesh.size)
    if isinstance(environment, HostEnvironment) and environment.num_envs != config.num_envs:
        raise UsageError(
            f"the environment has {environment.num_envs} copies, num_envs is {config.num_envs}"
        )
    algorithm = algorithm_of(config).build(
        config,
        environment.observation_space,
        environment.action_space,
        schedule_timesteps=settings.schedule_timesteps or settings.total_timesteps,
        action_repeat=environment.action_repeat,
        environment=environment.spec.to_json() if environment.spec else None,
        stage=stage,
    )
    _warn_of_late_unfreezing(algorithm, settings.total_timesteps)
    driver = make_driver(algorithm, environment, settings.seed, settings.seeds, mesh)
    return driver, settings


def _warn_of_late_unfreezing(algorithm: Algorithm, total: int) -> None:
    """What is unfrozen in the last iteration, or after it, is never trained."""
    size = algorithm.steps_per_iteration
    last = (total - 1) // size * size  # where the last iteration begins
    for pattern, step in algorithm.unfreezing:
        if step > last:
            log.warning(
                "unfreeze '%s@%s' trains nothing: the last iteration of this run begins at step %s",
                pattern,
                step,
                f"{last:,}",
            )


def fresh_run(plan: Plan) -> Run:
    """A run from its start.

    Raises:
        MismatchError: when the first weights it is given are not those of its networks.
    """
    if isinstance(plan.environment, HostEnvironment) and plan.environment.spec is None:
        log.warning(
            "the environment has no id, so another process can resume this run only when it is "
            "given the environment again"
        )
    _keep_files(plan)
    evaluator = _make_evaluator(plan)
    environment = plan.environment
    unseeded = environment.unseeded if isinstance(environment, HostEnvironment) else ""
    if unseeded:
        log.warning("this run cannot be resumed exactly: %s", unseeded)
    lineages, weights = [], []
    for seat, learner in zip(plan.seats, plan.driver.learners, strict=True):
        fresh = learner.policy_leaves()
        arguments = {
            "algorithm": plan.driver.algorithm.config.algorithm,
            "environment": plan.record["environment"],
            "seed": seat.seed,
            "settings": plan.record["settings"],
        }
        fresh_hash = content_hash(unflatten(fresh))
        born = LineageEntry("train", fresh_hash, None, 0, seat.run_id, arguments)
        spec = plan.driver.algorithm.spec
        leaves, lineage = plan.start.first_weights(spec, fresh, born)
        weights.append(leaves)
        lineages.append(lineage)
    if not plan.start.is_fresh:
        algorithm = plan.driver.algorithm
        begun = [
            plan.start.first_state(
                with_copies(learner.save(), algorithm.copied, leaves), algorithm.goes_on
            )
            for learner, leaves in zip(plan.driver.learners, weights, strict=True)
        ]
        plan.driver.load(weights, begun)
    elsewhere = None
    if plan.settings.encoder_kept == "hash":
        if plan.start.encoder is None:
            raise UsageError(
                "encoder_kept hash: this run has no encoder from a file; leave it out, or name the "
                "weights of an encoder"
            )
        elsewhere = plan.start.encoder.elsewhere(weights[0])
    members = []
    for seat, learner, lineage in zip(plan.seats, plan.driver.learners, lineages, strict=True):
        memory = Memory(
            parent=lineage.head,
            frozen=FrozenProof.of(learner.constants).hashes,
            together=len(plan.seats),
            devices=plan.place[0],
            processes=plan.place[1],
        )
        if unseeded:
            memory.note_exactness([unseeded])
        members.append(_member(plan, seat, learner, lineage, memory, elsewhere))
    return _run(plan, evaluator, members, None)


def resumed_run(plan: Plan, checkpoints: Sequence[Checkpoint], changed: dict[str, Any]) -> Run:
    """A run that goes on.

    Args:
        plan: Of the run as it is from now on.
        checkpoints: To go on from, one for each seat, of the same step.
        changed: What is other than before, by name.

    Raises:
        MismatchError: when they are of other policies than the run would train now.
    """
    if changed.get("encoder_kept") == "hash":
        raise UsageError(
            "encoder_kept hash: that is said when a run begins, with the file of the encoder; a "
            "resume can only change it to bytes"
        )
    seats, driver = plan.seats, plan.driver
    places = [seat.folder.checkpoint(checkpoints[0].step) for seat in seats if seat.folder]
    for checkpoint, place in zip(checkpoints, places, strict=True):
        check_policy(checkpoint.spec, driver.algorithm.spec, place)
    _keep_files(plan)
    exactness = driver.load(
        [one.policy for one in checkpoints],
        [one.state for one in checkpoints],
        [one.shared for one in checkpoints],
    )
    evaluator = _make_evaluator(plan)
    found = zip(seats, driver.learners, checkpoints, places, strict=True)
    members = []
    told: set[str] = set()
    for seat, learner, checkpoint, place in found:
        memory = Memory.recalled(checkpoint.notes, place)
        reasons = [exactness.reason] if not exactness.exact else []
        if "environment" in changed:
            reasons.append("it goes on in another environment than it began in")
        reasons += other_company(memory.together, len(seats))
        reasons += other_devices((memory.devices, memory.processes), plan.place)
        reasons += numeric_differences(checkpoint.notes)
        if reasons:
            told.add("; ".join(reasons))
        policy_hash = content_hash(unflatten(checkpoint.policy))
        entry = LineageEntry(
            operation="resume",
            hash=policy_hash,
            parent=policy_hash,
            step=checkpoint.step,
            run=checkpoint.run,
            arguments={
                **changed,
                "total_timesteps": plan.settings.total_timesteps,
                **({"after_loss": True} if plan.after_loss else {}),
                "exact": not reasons,
                "reason": "; ".join(reasons),
            },
        )
        devices, processes = plan.place
        memory = dataclasses.replace(
            memory,
            parent=policy_hash,
            together=len(seats),
            devices=devices,
            processes=processes,
        )
        memory.note_exactness(reasons)
        FrozenProof(memory.frozen).check(unflatten(checkpoint.policy))
        lineage = checkpoint.lineage.then(entry)
        elsewhere = checkpoint.elsewhere if plan.settings.encoder_kept == "hash" else None
        members.append(_member(plan, seat, learner, lineage, memory, elsewhere))
    for reasons in sorted(told):
        log.warning("this resume is not exact: %s", reasons)
    if all(member.memory.asked for member in members):
        # They ended the run; whoever goes on all the same begins to ask anew.
        for member in members:
            member.memory.asked = False
    log.info("resuming %s at step %s", plan.folder and plan.folder.root, f"{checkpoints[0].step:,}")
    return _run(plan, evaluator, members, checkpoints[0].step)


def _keep_files(plan: Plan) -> None:
    """Give a folder to what checkpoints share; once the run ends, they alone have it."""
    if (folder := plan.written(plan.folder)) is not None:
        plan.made.callback(remove_tree, folder.shared)
        plan.driver.keep_in(folder.shared)


def _member(
    plan: Plan,
    seat: Seat,
    learner: Learner,
    lineage: Lineage,
    memory: Memory,
    elsewhere: Elsewhere | None,
) -> Member:
    spec = plan.driver.algorithm.spec
    folder = plan.written(seat.folder)
    memory.losses += plan.after_loss
    return Member(seat.run_id, seat.seed, learner, spec, lineage, folder, memory, elsewhere)


def _run(
    plan: Plan, evaluator: Evaluator | None, members: Sequence[Member], resume_at: int | None
) -> Run:
    """The run of these members, which goes on from a step, or begins."""
    _tell_reads(plan.driver.algorithm.spec)
    # Last, because rows of metrics are taken back here. A run from fresh weights may find some as
    # well: of one that was killed before its first checkpoint.
    since = -1 if resume_at is None else resume_at
    for member in members:
        if member.folder is not None:
            member.sinks.append(CsvSink(member.folder.metrics, since))
            member.sinks.append(TensorBoardSink(member.folder.root, since))
    # Those of callbacks are told of all members together.
    common: list[MetricsSink] = []
    for callback in with_children(plan.callbacks) if plan.processes.writes else ():
        common += callback.sinks(plan.record["run_id"], plan.record)
    if len(members) == 1:
        members[0].sinks += common
        common = []
    return Run(
        driver=plan.driver,
        members=members,
        evaluator=evaluator,
        settings=plan.settings,
        folder=plan.written(plan.folder),
        callbacks=plan.callbacks,
        sinks=common,
        saved_at=resume_at,
        held=plan.made,
        compiled=plan.compiled,
        processes=plan.processes,
        kept=plan.folder is not None,
        resume_command=plan.resume_command,
        saves_first=resume_at is None and not plan.start.is_fresh,
    )


def _tell_reads(spec: PolicySpec) -> None:
    """Say what actor and critic read where that differs: it decides where a policy can be used."""
    if spec.trunk is not None or spec.critic is None:
        return
    both = [chosen_entries(spec.observation_space, one.reads) for one in (spec.actor, spec.critic)]
    actor, critic = (list(leaf_spaces(space, "")) for space in both)
    if actor != critic:
        log.info("the actor reads %s; the critic reads %s", ", ".join(actor), ", ".join(critic))


def _make_evaluator(plan: Plan) -> Evaluator | None:
    settings, environment = plan.settings, plan.environment
    episodes = settings.evaluation_episodes
    if episodes == 0:
        return None
    record = settings.snapshot_every is not None
    if isinstance(environment, HostEnvironment):
        environment = evaluation_copy(environment, episodes, record)
        plan.made.callback(environment.close)
    return Evaluator(plan.driver.algorithm.spec, environment, episodes, record=record)
