"""The loop: a generator around a runner, with everything that is not learning.

Boundaries (log, evaluate, snapshot, checkpoint) follow from the step alone, so that an interrupted
run meets the same ones again; and nothing done at a boundary touches the training state, so that
two runs that keep different things end in the same weights.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import logging
import shlex
import time
from collections.abc import Generator, Sequence

from heredity.common.errors import HeredityError
from heredity.common.kept_memory import bound_memory
from heredity.common.run_folder import RunFolder
from heredity.training.boundaries import Boundaries, Due
from heredity.training.callbacks import Callback, tell, with_children
from heredity.training.checkpoints import retire_checkpoints, write_checkpoint
from heredity.training.compilation import Compilations
from heredity.training.ended_early import interrupted, tell_how_to_go_on
from heredity.training.evaluation import Evaluation, Evaluator
from heredity.training.events import Event
from heredity.training.member import Member
from heredity.training.metrics import MetricsSink
from heredity.training.processes import Processes
from heredity.training.recovery import diverged_together, go_back
from heredity.training.rows import Rows
from heredity.training.runner_base import Alone, Driver
from heredity.training.settings import RunSettings
from heredity.training.signals import StopSignals, TrainingInterrupted
from heredity.training.unfreezing import unfreezing_report
from heredity.training.writer import BackgroundWriter
from heredity.weights import unflatten

log = logging.getLogger("heredity")

_LARGE = 2**28  # bytes of a checkpoint of which no two are held at once

STRETCH_SECONDS = 1.0  # how long the device runs by itself before somebody looks at signals


class Run:
    """One process's part of a run.

    Args:
        driver: Trains the policies.
        members: The policies: most runs have one, a run of several seeds one for each.
        evaluator: Scores policies; None when the run does not evaluate.
        settings: How the run is kept.
        folder: Of the whole run; None to keep nothing.
        callbacks: Of the user.
        sinks: Where rows go that tell of all members together.
        saved_at: Step of the checkpoint that this process begins at, which need not be written
            again.
        held: What is closed when the run ends, after everything else: the environments that were
            made for it, the locks of the folders.
        compiled: Counts programs since the run was put together; default: from here on.
        processes: That train together; of several, process 0 alone has the folders.
        kept: Whether some process has a folder; default: whether this one has.
        resume_command: What a person types to go on after an interruption; default: ``heredity
            resume`` with the folder.
        saves_first: Whether there is a checkpoint before anything is learnt, for weights that
            cannot be made again from the settings.

    Attributes:
        reached: The step of the newest iteration that was done.
    """

    def __init__(
        self,
        driver: Driver,
        members: Sequence[Member],
        evaluator: Evaluator | None,
        settings: RunSettings,
        folder: RunFolder | None,
        callbacks: list[Callback],
        sinks: Sequence[MetricsSink] = (),
        saved_at: int | None = None,
        held: contextlib.ExitStack | None = None,
        compiled: Compilations | None = None,
        processes: Processes | None = None,
        kept: bool | None = None,
        resume_command: str | None = None,
        saves_first: bool = False,
    ) -> None:
        self.driver = driver
        self.members = members
        self.evaluator = evaluator
        self.settings = settings
        self.folder = folder
        self.callbacks = callbacks
        self.sinks = sinks
        self._held = contextlib.ExitStack() if held is None else held
        self._programs = compiled or Compilations()
        self._processes = processes or Processes()
        self._kept = folder is not None if kept is None else kept
        if resume_command is None and folder is not None:
            resume_command = f"heredity resume {shlex.quote(str(folder.root))}"
        self._resume_command = resume_command
        self._hooked = with_children(callbacks)
        further = [callback.every for callback in self._hooked if callback.every]
        stops = [one.step for one in driver.algorithm.unfreezing]
        self._boundaries = Boundaries(settings, further, stops)
        self._stretch = 1
        self._compiled = False
        self._saved_at = saved_at
        self._saved_bytes = 0
        self._saves_first = saves_first or settings.on_divergence == "rollback"
        self._diverged: list[Member] = []
        self.reached = driver.step
        self._restarts = self._count_restarts()
        self._rows = Rows(driver, members, sinks, self._programs)

    @property
    def _owed(self) -> dict[str, bool] | None:
        # The same of all, unless one of several seeds went on alone for a while.
        return next((m.memory.owed for m in self.members if m.memory.owed is not None), None)

    # --- the generator ----------------------------------------------------------------------------

    def events(self) -> Generator[Event]:
        """Train; yield an event of each policy at each evaluation. Break out of the loop to stop.

        Somebody who breaks out and keeps the generator until the program ends still finds what was
        learnt saved: it is closed before threads and modules are taken down.

        Raises:
            TrainingInterrupted: after SIGINT or SIGTERM, when everything is saved.
            DivergedError: when a loss or weight is not finite.
            FrozenError: when a frozen weight moved.
            StorageError: when the disk refuses.
        """
        events = self._events()
        forget = atexit.unregister  # kept here: at the very end the module's own names are gone
        atexit.register(events.close)
        try:
            yield from events
        finally:
            forget(events.close)

    def _events(self) -> Generator[Event]:
        total = self.settings.total_timesteps
        with contextlib.ExitStack() as ending:
            # Left in the opposite order, all of it, whatever fails on the way.
            ending.enter_context(self._held)
            ending.callback(lambda: log.info("%s", self._programs))
            for sink in [*self.sinks, *(sink for member in self.members for sink in member.sinks)]:
                ending.callback(sink.close)
            ending.enter_context(self._processes.losses_told())
            started = ending.enter_context(contextlib.ExitStack())
            signals = ending.enter_context(StopSignals())
            writer = ending.enter_context(BackgroundWriter())
            for callback in self._hooked:
                callback.on_training_start(self.driver.step, total)
                # Not the driver's step: a device that failed may have lost even that.
                started.callback(lambda on=callback: on.on_training_end(self.reached))
            try:
                yield from self._train(signals, writer)
            except GeneratorExit:
                # The person broke out of the loop: what was learnt is not lost.
                self._checkpoint(writer)
                raise
            except HeredityError:
                raise  # it says itself what to do
            except Exception as error:  # of an environment or a callback
                tell_how_to_go_on(error, self._saved_at, self._resume_command)
                raise

    def _train(self, signals: StopSignals, writer: BackgroundWriter) -> Generator[Event]:
        total = self.settings.total_timesteps
        self._unfreeze()  # a run that was left at the very step
        at_start = self.driver.step == 0 and self.settings.snapshot_every is not None
        if at_start and self._saved_at is None and self._owed is None:
            events = self._evaluated(writer, Due(False, True, True, True))
            self._checkpoint(writer, events)
            if not (yield from self._told(writer, signals, events)):
                return
        if self._saves_first:
            self._checkpoint(writer)
        while self.driver.step < total or self._owed is not None:
            settling = self._owed is not None
            if self._owed is not None:
                due = Due(**self._owed)
                for member in self.members:
                    member.memory.owed = None
                # The checkpoint of this step says that it is owed, until another one is written.
                self._saved_at = None
            else:
                before = self.driver.step
                self._advance(self._boundaries.next(before), signals, writer)
                if self._diverged:
                    # Before anything is saved, also when a signal came meanwhile.
                    self._recover(writer)
                    continue
                self._unfreeze()
                due = self._boundaries.due(before, self.driver.step)
            if self._asked_to_stop(signals):
                if due.log:
                    self._rows.write(self._rows.taken())
                self._save_owing(writer, due)
                writer.flush()
                raise TrainingInterrupted(self._interrupted(signals))
            events: list[Event] = []
            if due.evaluation:
                events = self._evaluated(writer, due)
            elif due.log:
                self._rows.write(self._rows.taken())
            if due.checkpoint or settling or any(event.is_best for event in events):
                self._checkpoint(writer, events)
            if not (yield from self._told(writer, signals, events)):
                self._checkpoint(writer)
                return
        restarts = self.members[0].memory.restarts
        if restarts:
            log.warning(
                "%s restarts in this run, of processes of its environments that died", restarts
            )
        writer.flush()

    def _told(
        self, writer: BackgroundWriter, signals: StopSignals, events: Sequence[Event]
    ) -> Generator[Event, None, bool]:
        """Give the events to whoever runs the loop and to the callbacks.

        Returns:
            Whether to go on: False once each member was asked to stop, now or before.
        """
        asked = [member.memory.asked for member in self.members]
        for member, event in zip(self.members, events, strict=False):
            with signals.released():
                yield event
            if not self._processes.first_int(self._go_on(writer, event)):
                member.memory.asked = True
        now = [member.memory.asked for member in self.members]
        if now != asked and not all(now):
            # Whoever resumes from here knows it as well.
            self._saved_at = None
            self._checkpoint(writer, events)
        return not all(now)

    def _go_on(self, writer: BackgroundWriter, event: Event) -> bool:
        try:
            return tell(self.callbacks, event)
        except BaseException:
            # An exception in a callback loses no training either.
            if self._processes.count == 1:
                self._checkpoint(writer)
            raise

    def _asked_to_stop(self, signals: StopSignals) -> bool:
        """Whether a signal has come, to any of the processes."""
        return self._processes.any(signals.requested is not None)

    def _save_owing(self, writer: BackgroundWriter, due: Due) -> None:
        """Save before what is due here is done: who resumes does it first."""
        owed = dataclasses.replace(due, log=False)
        for member in self.members:
            member.memory.owed = dataclasses.asdict(owed) if due.evaluation else None
        self._checkpoint(writer)

    # --- steps of the loop ------------------------------------------------------------------------

    def _advance(self, target: int, signals: StopSignals, writer: BackgroundWriter) -> None:
        """Iterate up to a boundary, in stretches short enough to notice a signal."""
        size = self.driver.algorithm.steps_per_iteration
        before = self.driver.step
        self._diverged = []
        while self.driver.step < target and not self._diverged:
            if self._asked_to_stop(signals):
                return
            wanted = -(-(target - self.driver.step) // size)
            iterations = min(wanted, self._stretch)
            began = time.monotonic()
            metrics = self.driver.iterate(iterations)
            seconds = max(time.monotonic() - began, 1e-9)  # some clocks tick slowly
            bound_memory()
            self.reached = self.driver.step
            self._note_restarts()
            # How many iterations go into one call changes nothing but when somebody looks; the
            # first call compiles, and says nothing about the time of the next.
            if self._compiled:
                stretch = max(1, int(STRETCH_SECONDS * metrics[0]["iterations"] / seconds))
                self._stretch = self._processes.first_int(stretch)
            self._compiled = True
            row = self._rows.add(metrics, seconds)
            each = zip(self.members, metrics, strict=True)
            self._diverged = [member for member, logged in each if not logged["finite"]]
            try:
                for callback in self._hooked:
                    callback.on_progress(self.reached, row)
            except BaseException:
                if not self._diverged and self._processes.count == 1:
                    self._save_owing(writer, self._boundaries.due(before, self.reached))
                raise

    def _unfreeze(self) -> None:
        """Train what the settings unfreeze at a step that is reached."""
        before = self.driver.algorithm
        due = [one for one in before.unfreezing if one.step <= self.driver.step]
        if len(due) <= before.stage:
            return
        self.driver.go_on_at(len(due))
        self._compiled = False  # the next stretch compiles, and says nothing of the time of others
        report = unfreezing_report(before, self.driver.algorithm, self.members[0].learner)
        for member in self.members:
            member.unfroze(self.driver.step, due[before.stage :], report)
        log.info("step %s: %s", f"{self.driver.step:,}", report.summary())

    def _count_restarts(self) -> int:
        return self.driver.restarts + (self.evaluator.restarts if self.evaluator else 0)

    def _note_restarts(self) -> None:
        before, self._restarts = self._restarts, self._count_restarts()
        for member in self.members:
            member.memory.note_restarts(self._restarts - before)

    def _evaluated(self, writer: BackgroundWriter, due: Due) -> list[Event]:
        """Score the policies as they are now, keep them if a snapshot is due, and tell of them."""
        rows = self._rows.taken() if due.log else [{} for _ in self.members]
        scores: list[Evaluation | None] = [None for _ in self.members]
        if self.evaluator is not None:
            try:
                for index, member in enumerate(self.members):
                    scores[index] = self._scored(self.evaluator, member, due.snapshot)
            except BaseException:
                # Nor does one in the environment that it is played in.
                if self._processes.count == 1:
                    self._rows.write(rows)
                    self._save_owing(writer, due)
                raise
            self._note_restarts()
        step = self.driver.step
        previous = max(step - self.driver.algorithm.steps_per_iteration, 0)
        events = [
            member.evaluated(step, previous, score, row, due.snapshot, self.settings, writer)
            for member, score, row in zip(self.members, scores, rows, strict=True)
        ]
        self._rows.write_common(rows)
        return events

    def _scored(self, evaluator: Evaluator, member: Member, record: bool) -> Evaluation:
        """Every process plays the same episodes, so that none has to wait; process 0's count."""
        weights = unflatten(member.learner.policy_leaves())
        score = evaluator.evaluate(weights, member.seed, record=record)
        first = self._processes.first
        returns, lengths = first(score.returns), first(score.lengths)
        return dataclasses.replace(score, returns=returns, lengths=lengths)

    def _checkpoint(self, writer: BackgroundWriter, events: Sequence[Event] = ()) -> None:
        """Copy everything now, write it while training goes on."""
        step = self.driver.step
        leaves = [event.leaves for event in events]
        if not leaves:
            leaves = [member.learner.policy_leaves() for member in self.members]
        for member, weights in zip(self.members, leaves, strict=True):
            member.check_frozen(weights)
        is_best = any(event.is_best for event in events)
        if not self._kept or (self._saved_at == step and not is_best):
            return
        self._saved_at = step
        if self._saved_bytes > _LARGE:
            writer.flush()  # two copies of a large replay may be more than there is room for
        jobs = []
        for index, member in enumerate(self.members):
            member.memory.elapsed = self._rows.elapsed
            evaluation = events[index].measured if events else None
            best = member.memory.best["step"] if member.memory.best else None
            checkpoint = member.checkpoint(step, leaves[index], evaluation)
            if member.folder is not None:  # else this process only took part in collecting it
                jobs.append((member.folder, checkpoint, best))
        self._saved_bytes = sum(
            leaf.nbytes for _, checkpoint, _ in jobs for leaf in checkpoint.state.values()
        )
        settings = self.settings

        def write() -> None:
            for folder, checkpoint, _ in jobs:
                write_checkpoint(folder, checkpoint)
            # Not before all of them are there: seeds are resumed together from the same step.
            for folder, _, best in jobs:
                retire_checkpoints(folder, settings.keep_last, best, settings.keep_every)

        if jobs:
            writer.submit(write)

    # --- when things go wrong ---------------------------------------------------------------------

    def _interrupted(self, signals: StopSignals) -> str:
        kept = self._kept
        return interrupted(signals.requested, self.driver.step, kept, self._resume_command)

    def _recover(self, writer: BackgroundWriter) -> None:
        """After a loss or weight that is not finite: stop, or go back to the last good moment."""
        step, folder = self.driver.step, self.folder
        writer.flush()
        if not isinstance(self.driver, Alone):
            folders = [member.folder for member in self.members]
            raise diverged_together(folders, [member.seed for member in self._diverged], step)
        go_back(self.members[0], self.driver.runner, folder, self.settings, step)
        self._compiled = False  # it may be another program
        self._rows.forget()
        self.reached = self.driver.step
        # At once, so that whoever resumes finds it recorded and makes no attempt twice.
        self._saved_at = None
        self._checkpoint(writer)
