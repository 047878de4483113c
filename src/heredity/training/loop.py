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
from collections.abc import Generator
from typing import Any

from heredity.common.run_folder import RunFolder
from heredity.policies import Lineage, LineageEntry, PolicySpec
from heredity.training.boundaries import Boundaries, Due
from heredity.training.callbacks import Callback, tell, with_children
from heredity.training.checkpoints import Checkpoint, retire_checkpoints, write_checkpoint
from heredity.training.evaluation import Evaluation, Evaluator
from heredity.training.events import Event
from heredity.training.memory import Memory
from heredity.training.metrics import Accumulator, MetricsSink, append_evaluation
from heredity.training.recovery import back_to, best_kept, last_good, set_aside_later
from heredity.training.runners import Runner
from heredity.training.settings import RunSettings
from heredity.training.signals import StopSignals, TrainingInterrupted
from heredity.training.snapshots import write_snapshot
from heredity.training.writer import BackgroundWriter
from heredity.weights import content_hash, unflatten
from heredity.weights.frozen import FrozenProof

log = logging.getLogger("heredity")

STRETCH_SECONDS = 1.0  # how long the device runs by itself before somebody looks at signals


class Run:
    """One process's part of a run.

    Args:
        run_id: Of the whole run.
        runner: Drives the algorithm.
        evaluator: Scores policies; None when the run does not evaluate.
        settings: How the run is kept.
        spec: Of the policy.
        lineage: Up to where this process begins; each rollback is added to it.
        folder: Where everything is written; None to keep nothing.
        callbacks: Of the user.
        sinks: Where rows of metrics go.
        memory: From the checkpoint this process begins at.
        saved_at: Step of that checkpoint, which need not be written again.
        held: What is closed when the run ends, after everything else: the environments that were
            made for it, the lock of the folder.
    """

    def __init__(
        self,
        run_id: str,
        runner: Runner,
        evaluator: Evaluator | None,
        settings: RunSettings,
        spec: PolicySpec,
        lineage: Lineage,
        folder: RunFolder | None,
        callbacks: list[Callback],
        sinks: list[MetricsSink],
        memory: Memory,
        saved_at: int | None = None,
        held: contextlib.ExitStack | None = None,
    ) -> None:
        self.run_id = run_id
        self.runner = runner
        self.evaluator = evaluator
        self.settings = settings
        self.spec = spec
        self.lineage = lineage
        self.folder = folder
        self.callbacks = callbacks
        self.sinks = sinks
        self.memory = memory
        self._held = contextlib.ExitStack() if held is None else held
        self._proof = FrozenProof(memory.frozen)
        self._hooked = with_children(callbacks)
        further = [callback.every for callback in self._hooked if callback.every]
        self._boundaries = Boundaries(settings, further)
        self._row: dict[str, float] = {}
        self._gathered = Accumulator()
        self._stretch = 1
        self._compiled = False
        self._saved_at = saved_at
        self._finite = True
        self._reached = runner.step
        self._restarts = self._count_restarts()
        self._began = time.monotonic() - memory.elapsed
        self._train_seconds, self._logged_at = 0.0, runner.step

    # --- the generator ----------------------------------------------------------------------------

    def events(self) -> Generator[Event]:
        """Train; yield an event at each evaluation. Stop by breaking out of the loop.

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
            for sink in self.sinks:
                ending.callback(sink.close)
            started = ending.enter_context(contextlib.ExitStack())
            signals = ending.enter_context(StopSignals())
            writer = ending.enter_context(BackgroundWriter())
            for callback in self._hooked:
                callback.on_training_start(self.runner.step, total)
                # Not the runner's step: a device that failed may have lost even that.
                started.callback(lambda on=callback: on.on_training_end(self._reached))
            try:
                yield from self._train(signals, writer)
            except GeneratorExit:
                # The person broke out of the loop: what was learnt is not lost.
                self._checkpoint(writer)
                raise

    def _train(self, signals: StopSignals, writer: BackgroundWriter) -> Generator[Event]:
        total = self.settings.total_timesteps
        at_start = self.runner.step == 0 and self.settings.snapshot_every is not None
        if at_start and self._saved_at is None and self.memory.owed is None:
            event = self._evaluated(writer, Due(False, True, True, True), {})
            self._checkpoint(writer, event)
            with signals.released():
                yield event
            if not self._go_on(writer, event):
                return
        if self.settings.on_divergence == "rollback":
            self._checkpoint(writer)
        while self.runner.step < total or self.memory.owed is not None:
            settling = self.memory.owed is not None
            if self.memory.owed is not None:
                due, self.memory.owed = Due(**self.memory.owed), None
                # The checkpoint of this step says that it is owed, until another one is written.
                self._saved_at = None
            else:
                before = self.runner.step
                self._advance(self._boundaries.next(before), signals, writer)
                if not self._finite:
                    # Before anything is saved, also when a signal came meanwhile.
                    self._recover(writer)
                    continue
                due = self._boundaries.due(before, self.runner.step)
            if signals.requested is not None:
                self._save_owing(writer, due)
                writer.flush()
                raise TrainingInterrupted(self._interrupted(signals.requested.name))
            row = self._gathered_row() if due.log else {}
            event = None
            if due.evaluation:
                event = self._evaluated(writer, due, row)
            elif row:
                self._write_row(row)
            if due.checkpoint or settling or (event is not None and event.is_best):
                self._checkpoint(writer, event)
            if event is not None:
                with signals.released():
                    yield event
                if not self._go_on(writer, event):
                    self._checkpoint(writer)
                    return
        if self.memory.restarts:
            log.warning(
                "%s restarts in this run, of processes of its environments that died",
                self.memory.restarts,
            )
        writer.flush()

    def _go_on(self, writer: BackgroundWriter, event: Event) -> bool:
        try:
            return tell(self.callbacks, event)
        except BaseException:
            # An exception in a callback loses no training either.
            self._checkpoint(writer)
            raise

    def _save_owing(self, writer: BackgroundWriter, due: Due) -> None:
        """Save before what is due here is done: who resumes does it first."""
        owed = dataclasses.replace(due, log=False)
        self.memory.owed = dataclasses.asdict(owed) if due.evaluation else None
        self._checkpoint(writer)

    # --- steps of the loop ------------------------------------------------------------------------

    def _advance(self, target: int, signals: StopSignals, writer: BackgroundWriter) -> None:
        """Iterate up to a boundary, in stretches short enough to notice a signal."""
        size = self.runner.algorithm.steps_per_iteration
        before = self.runner.step
        self._finite = True
        while self.runner.step < target and signals.requested is None and self._finite:
            wanted = -(-(target - self.runner.step) // size)
            iterations = min(wanted, self._stretch)
            began = time.monotonic()
            metrics = self.runner.iterate(iterations)
            seconds = max(time.monotonic() - began, 1e-9)  # some clocks tick slowly
            self._reached = self.runner.step
            self._note_restarts()
            self._train_seconds += seconds
            # How many iterations go into one call changes nothing but when somebody looks; the
            # first call compiles, and says nothing about the time of the next.
            if self._compiled:
                self._stretch = max(1, int(STRETCH_SECONDS * metrics["iterations"] / seconds))
            self._compiled = True
            self._finite = bool(metrics["finite"])
            self._gathered.add(metrics)
            row = self._gathered.row()
            try:
                for callback in self._hooked:
                    callback.on_progress(self._reached, row)
            except BaseException:
                if self._finite:
                    self._save_owing(writer, self._boundaries.due(before, self._reached))
                raise

    def _gathered_row(self) -> dict[str, float]:
        """The metrics since the last row; the gathering begins anew."""
        row = self._gathered.row()
        steps = self.runner.step - self._logged_at
        row["time/fps"] = steps / max(self._train_seconds, 1e-9)
        row["time/time_elapsed"] = time.monotonic() - self._began
        self._gathered, self._train_seconds = Accumulator(), 0.0
        self._logged_at = self.runner.step
        return row

    def _count_restarts(self) -> int:
        return self.runner.restarts + (self.evaluator.restarts if self.evaluator else 0)

    def _note_restarts(self) -> None:
        before, self._restarts = self._restarts, self._count_restarts()
        self.memory.note_restarts(self._restarts - before)

    def _write_row(self, row: dict[str, float]) -> None:
        if self.memory.restarts:
            row["environment/restarts"] = float(self.memory.restarts)
        self._row = self._row | row
        for sink in self.sinks:
            sink.write(self.runner.step, row)

    def _evaluated(self, writer: BackgroundWriter, due: Due, row: dict[str, float]) -> Event:
        """Score the policy as it is now, keep it if a snapshot is due, and tell of it."""
        step = self.runner.step
        leaves = self.runner.policy_leaves()
        evaluation = None
        if self.evaluator is not None:
            try:
                evaluation = self.evaluator.evaluate(unflatten(leaves), self.settings.seed)
            except BaseException:
                # Nor does one in the environment that it is played in.
                self._save_owing(writer, due)
                raise
            self._note_restarts()
        if evaluation is not None and not evaluation.is_finite:
            log.warning("the return of the evaluation at step %s is not finite", f"{step:,}")
        is_best = False
        if evaluation is not None:
            mean = evaluation.mean if evaluation.is_finite else None
            is_best = self.memory.note_evaluation(step, mean)
        policy_hash = content_hash(unflatten(leaves))
        entry = self._entry("snapshot" if due.snapshot else "evaluate", policy_hash, evaluation)
        lineage = self.lineage.then(entry)
        path = None
        folder = self.folder
        if folder is not None:
            if evaluation is not None:
                scored = dataclasses.replace(evaluation, recording=None)
                writer.submit(lambda: append_evaluation(folder, step, scored))
            if due.snapshot:
                path = folder.snapshot(step)
                keep = self.settings.keep_snapshots
                spec = self.spec
                writer.submit(
                    lambda: write_snapshot(folder, step, spec, leaves, lineage, evaluation, keep)
                )
                self.memory.parent = policy_hash
        if evaluation is not None:
            row["eval/mean_reward"] = evaluation.mean
            row["eval/mean_ep_length"] = float(evaluation.lengths.mean())
        if row:
            self._write_row(row)
        return Event(
            step=step,
            total_timesteps=self.settings.total_timesteps,
            metrics=dict(self._row),
            spec=self.spec,
            leaves=leaves,
            lineage=lineage,
            measured=evaluation,
            is_best=is_best,
            snapshot=path,
            previous_step=max(step - self.runner.algorithm.steps_per_iteration, 0),
            evaluations=self.memory.evaluations,
            evaluations_since_best=self.memory.evaluations_since_best,
        )

    def _entry(
        self, operation: str, policy_hash: str, evaluation: Evaluation | None, **arguments: Any
    ) -> LineageEntry:
        restarts = self.memory.restarts
        return LineageEntry(
            operation=operation,
            hash=policy_hash,
            parent=self.memory.parent,
            step=self.runner.step,
            run=self.run_id,
            arguments=arguments | ({"restarts": restarts} if restarts else {}),
            score=None if evaluation is None else evaluation.score(),
        )

    def _checkpoint(self, writer: BackgroundWriter, event: Event | None = None) -> None:
        """Copy everything now, write it while training goes on."""
        step, folder = self.runner.step, self.folder
        leaves = self.runner.policy_leaves() if event is None else event.leaves
        self._proof.check(unflatten(leaves))
        is_best = event is not None and event.is_best
        if folder is None or (self._saved_at == step and not is_best):
            return
        self._saved_at = step
        self.memory.elapsed = time.monotonic() - self._began
        policy_hash = content_hash(unflatten(leaves))
        evaluation = None if event is None else event.measured
        checkpoint = Checkpoint(
            step=step,
            run=self.run_id,
            spec=self.spec,
            policy=leaves,
            state=self.runner.save(),
            lineage=self.lineage.then(self._entry("checkpoint", policy_hash, evaluation)),
            notes=dataclasses.asdict(self.memory),
        )
        best = self.memory.best["step"] if self.memory.best else None
        settings = self.settings

        def write() -> None:
            write_checkpoint(folder, checkpoint)
            retire_checkpoints(folder, settings.keep_last, best, settings.keep_every)

        writer.submit(write)

    # --- when things go wrong ---------------------------------------------------------------------

    def _interrupted(self, signal_name: str) -> str:
        if self.folder is None:
            return f"{signal_name} at step {self.runner.step:,}; nothing was kept (no directory)"
        return (
            f"{signal_name}: saved at step {self.runner.step:,}. "
            f"Go on with: heredity resume {shlex.quote(str(self.folder.root))}"
        )

    def _recover(self, writer: BackgroundWriter) -> None:
        """After a loss or weight that is not finite: stop, or go back to the last good moment."""
        step, folder = self.runner.step, self.folder
        writer.flush()
        good, attempt = last_good(folder, self.run_id, self.settings, self.lineage, step)
        assert folder is not None  # where a checkpoint was found
        set_aside_later(folder, good.step)
        exactness = self.runner.load(good.policy, good.state, attempt)
        if not exactness.exact:
            log.warning("the episodes were restarted: %s", exactness.reason)
            self.memory.note_exactness([exactness.reason])
        for sink in self.sinks:
            sink.rewind(good.step)
        self._gathered, self._train_seconds = Accumulator(), 0.0
        self._logged_at = self._reached = self.runner.step
        policy_hash = content_hash(unflatten(good.policy))
        # What was evaluated or snapshotted after the good moment is no past of what comes now.
        then = Memory.recalled(good.notes, folder.checkpoint(good.step))
        self.memory.best, self.memory.evaluations = best_kept(folder, then.best), then.evaluations
        self.memory.parent = policy_hash
        self.lineage = back_to(self.lineage, good).then(
            self._entry("rollback", policy_hash, None, attempt=attempt, diverged_at=step)
        )
        # At once, so that whoever resumes finds it recorded and makes no attempt twice.
        self._saved_at = None
        self._checkpoint(writer)
