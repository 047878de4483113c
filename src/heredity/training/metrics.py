"""Where metrics go: metrics.csv, TensorBoard, Weights & Biases; and evaluations.npz."""

from __future__ import annotations

import csv
import importlib
import io
import logging
import math
import socket
import struct
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from heredity.algorithms.contract import NUMBERS
from heredity.common.errors import MissingExtraError, RefusedError, StorageError, UsageError
from heredity.common.files import check_in_place, set_aside, write_atomically
from heredity.common.run_folder import RunFolder, read_rows
from heredity.training.evaluation import Evaluation

log = logging.getLogger("heredity")

STEP = "time/total_timesteps"
# Settings that change while a run goes on: a row tells what they are, not what they were.
LAST_VALUES = ("train/learning_rate", "train/clip_range", "train/gradient_steps")


class Accumulator:
    """Metrics of several stretches of iterations as one row.

    Names are those of Stable-Baselines3.
    """

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._weights: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def add(self, metrics: dict[str, float]) -> None:
        """Add what `Runner.iterate` gave."""
        made = metrics["iterations"]
        for name, value in metrics.items():
            if name in LAST_VALUES:
                self._last[name] = value
            elif name not in ("iterations", "finite") and not name.startswith(NUMBERS):
                counted = name.startswith("episode")
                weight = 1.0 if counted else metrics.get(NUMBERS + name, made)
                self._sums[name] = self._sums.get(name, 0.0) + weight * value
                self._weights[name] = self._weights.get(name, 0.0) + weight

    def row(self) -> dict[str, float]:
        """Means, and the return and length of the episodes that ended (absent if none did)."""
        row = {
            name: total / self._weights[name]
            for name, total in self._sums.items()
            if not name.startswith("episode") and self._weights[name]
        } | self._last
        episodes = self._sums.get("episodes", 0.0)
        if episodes:
            row["rollout/ep_rew_mean"] = self._sums["episode_returns"] / episodes
            row["rollout/ep_len_mean"] = self._sums["episode_lengths"] / episodes
            row["rollout/episodes"] = episodes
        return row


class MetricsSink(Protocol):
    """Something that rows of metrics are written to."""

    def write(self, step: int, row: dict[str, float]) -> None:
        """Write one row."""
        ...

    def rewind(self, step: int) -> None:
        """Take back the rows after `step`: the run goes over them again."""
        ...

    def close(self) -> None:
        """Flush and close."""
        ...


class CsvSink:
    """``metrics.csv``, from the first row on; each is flushed. New columns rewrite the file.

    Args:
        path: Of the file.
        resume_at: Rows after this step are dropped: the run goes over them again. A run that begins
            drops all of them.
    """

    def __init__(self, path: Path, resume_at: int = -1) -> None:
        self._path = path
        self._columns: list[str] = []
        if path.is_file():
            self.rewind(resume_at)

    def rewind(self, step: int) -> None:
        """Take back the rows after `step`."""
        rows = [row for row in self._rows() if _step_of(row) <= step]
        self._columns = list(rows[0]) if rows else []
        self._rewrite(rows)

    def _rows(self) -> list[dict[str, Any]]:
        """What is there; a file that is no table is set aside, because metrics stop no training."""
        if not self._path.is_file():
            return []
        try:
            return read_rows(self._path)
        except RefusedError as error:
            log.warning("%s: restarted; what was there is %s", error, set_aside(self._path))
            return []

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        text = io.StringIO()
        if self._columns:
            writer = csv.DictWriter(text, self._columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        write_atomically(self._path, text.getvalue())

    def write(self, step: int, row: dict[str, float]) -> None:
        """Append one row."""
        cells = {STEP: step} | {n: "" if math.isnan(v) else f"{v:.9g}" for n, v in row.items()}
        new = [name for name in cells if name not in self._columns]
        try:
            if new or not self._path.is_file():  # somebody may have moved it away
                rows = self._rows() if self._columns else []
                self._columns += new
                self._rewrite([*rows, cells])
                return
            check_in_place(self._path)
            with self._path.open("a", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, self._columns, restval="", lineterminator="\n")
                writer.writerow(cells)
        except OSError as error:
            raise StorageError(self._path, error) from error

    def close(self) -> None:
        """Nothing is open between rows."""


def _step_of(row: dict[str, Any]) -> float:
    try:
        return float(row[STEP])
    except (KeyError, TypeError, ValueError):
        return math.inf  # a torn row: dropped


class TensorBoardSink:
    """``events.*`` in the run folder, from the first row on; nothing is kept open between rows.

    The library's own writer has a thread behind a queue, and waits for ever once that thread has
    died of a full disk.

    Args:
        folder: Of the run.
        resume_at: What was logged after this step is taken back: the run goes over it again. A run
            that begins takes back everything that is there.

    Raises:
        StorageError: when the disk refuses; so does `write`.
    """

    def __init__(self, folder: Path, resume_at: int = -1) -> None:
        from tensorboardX.record_writer import masked_crc32c

        # Their classes are made when they are imported, where no type checker sees them.
        events: Any = importlib.import_module("tensorboardX.proto.event_pb2")
        summaries: Any = importlib.import_module("tensorboardX.proto.summary_pb2")
        self._event, self._summary = events.Event, summaries.Summary
        self._checksum = masked_crc32c
        before = any(folder.glob("events.out.tfevents.*"))
        # TensorBoard reads the files of a folder in the order of their names.
        self._path = folder / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        self._session_start = events.SessionLog(status=events.SessionLog.START)
        if before:
            self.rewind(resume_at)

    def rewind(self, step: int) -> None:
        """Take back what was logged after `step`: TensorBoard drops it when it reads this."""
        self._append(step=step + 1, session_log=self._session_start)

    def _append(self, **what: Any) -> None:
        try:
            check_in_place(self._path)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            first = [] if self._path.exists() else [self._record(file_version="brain.Event:2")]
            with self._path.open("ab") as stream:
                stream.write(b"".join([*first, self._record(**what)]))
        except OSError as error:
            raise StorageError(self._path, error) from error

    def _record(self, **what: Any) -> bytes:
        """Length, checksum of it, event, checksum of it (the format TFRecord)."""
        data = self._event(wall_time=time.time(), **what).SerializeToString()
        length = struct.pack("<Q", len(data))
        checksums = [struct.pack("<I", self._checksum(part)) for part in (length, data)]
        return length + checksums[0] + data + checksums[1]

    def write(self, step: int, row: dict[str, float]) -> None:
        """Add one scalar for each column."""
        values = [
            self._summary.Value(tag=name, simple_value=value)
            for name, value in row.items()
            if not math.isnan(value)
        ]
        self._append(step=step, summary=self._summary(value=values))

    def close(self) -> None:
        """Nothing is open between rows."""


class WandbSink:
    """A run on Weights & Biases, if the extra ``wandb`` is installed.

    Rows are drawn over the column ``time/total_timesteps``. What was sent stays there: a run that
    is resumed from before its last row, or rolled back, goes over those steps again, and its new
    rows are drawn beside the old ones.

    Args:
        project: Name of the project there.
        config: What is stored as the run's configuration.
        run_id: So that a resumed run goes on there as well.
    """

    def __init__(self, project: str, config: dict[str, Any], run_id: str) -> None:
        try:
            import wandb
        except ModuleNotFoundError as error:
            raise MissingExtraError("Weights & Biases", "wandb", str(error)) from None
        try:
            self._run = wandb.init(project=project, config=config, id=run_id, resume="allow")
        except wandb.Error as error:
            raise UsageError(
                f"Weights & Biases refused: {error}. `wandb login` gives it a key; with "
                "WANDB_MODE=offline it needs none"
            ) from None
        # The step that the library counts by itself only grows, and a row given an earlier one is
        # dropped: it counts rows, and ours is the axis.
        self._run.define_metric(STEP, hidden=True)
        self._run.define_metric("*", step_metric=STEP)

    def write(self, step: int, row: dict[str, float]) -> None:
        """Log one row."""
        known = {name: value for name, value in row.items() if not math.isnan(value)}
        self._run.log({STEP: step, **known})

    def rewind(self, step: int) -> None:
        """Say that what was sent after `step` stays there, beside what comes now."""
        log.warning(
            "Weights & Biases keeps the rows after step %s: those that come now are drawn beside "
            "them",
            f"{step:,}",
        )

    def close(self) -> None:
        """End the run."""
        self._run.finish()


def append_evaluation(folder: RunFolder, step: int, evaluation: Evaluation) -> None:
    """Add one evaluation to ``evaluations.npz``, whose arrays are those of Stable-Baselines3.

    An evaluation at or after `step` that is there already is replaced: the run went over it again.
    """
    before = _stored_evaluations(folder)
    steps = before.get("timesteps", np.zeros(0, np.int64))
    kept = steps < step
    arrays: dict[str, Any] = {"timesteps": np.append(steps[kept], step)}
    for name, row in (("results", evaluation.returns), ("ep_lengths", evaluation.lengths)):
        old = before.get(name, np.zeros((0, 0)))[kept]
        table = np.full((len(old) + 1, max(old.shape[1], len(row))), np.nan)
        table[:-1, : old.shape[1]] = old
        table[-1, : len(row)] = row
        arrays[name] = table
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(folder.evaluations, buffer.getvalue())


def _stored_evaluations(folder: RunFolder) -> dict[str, np.ndarray]:
    """What is there; a file that is none is set aside, because it stops no training."""
    try:
        stored = folder.read_evaluations()
        if not stored:
            return {}
        shapes = {name: leaf.shape for name, leaf in stored.items()}
        length = shapes.get("timesteps", ())
        tables = [shapes.get(name, ()) for name in ("results", "ep_lengths")]
        numbers = all(np.issubdtype(leaf.dtype, np.number) for leaf in stored.values())
        fitting = len(length) == 1 and all(len(s) == 2 and s[0] == length[0] for s in tables)
        if not numbers or not fitting:
            raise RefusedError(folder.evaluations, f"holds other arrays than evaluations: {shapes}")
        return stored
    except RefusedError as error:
        log.warning("%s: restarted; what was there is %s", error, set_aside(folder.evaluations))
        return {}
