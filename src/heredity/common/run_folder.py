"""Where everything of a run lies, and how to read it without any live object."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np

from heredity.common.errors import RefusedError
from heredity.common.formats import EVALUATION, RUN
from heredity.common.reading import MOST_TABLE, open_regular, read_text

STEP_DIGITS = 12


def step_name(step: int) -> str:
    """The folder name of a step: twelve digits, so that names sort as steps do."""
    return f"{step:0{STEP_DIGITS}d}"


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The layout of ``runs/<name>``; every path of a run comes from here.

    Example:
        >>> RunFolder(Path("runs/ant")).snapshot(500_000).as_posix()
        'runs/ant/snapshots/000000500000'
    """

    root: Path

    @property
    def config(self) -> Path:
        """What the run was started with, sealed."""
        return self.root / "config.json"

    @property
    def metrics(self) -> Path:
        """One row for each log boundary."""
        return self.root / "metrics.csv"

    @property
    def evaluations(self) -> Path:
        """Every evaluation, as Stable-Baselines3 writes them."""
        return self.root / "evaluations.npz"

    @property
    def report(self) -> Path:
        """The report, once it is written."""
        return self.root / "report.html"

    @property
    def snapshots(self) -> Path:
        """The timeline."""
        return self.root / "snapshots"

    @property
    def checkpoints(self) -> Path:
        """For resuming; with the links ``last`` and ``best``."""
        return self.root / "checkpoints"

    @property
    def shared(self) -> Path:
        """While it trains: files that its checkpoints share, under names of their own.

        Named as what a killed writer leaves, so that it goes with that.
        """
        return self.root / ".writing-shared"

    def snapshot(self, step: int) -> Path:
        """One snapshot: ``policy/``, ``evaluation.json``, ``rollout/``, ``imagined/``."""
        return self.snapshots / step_name(step)

    def checkpoint(self, step: int) -> Path:
        """The folder of one checkpoint: ``policy/``, ``training_state/``."""
        return self.checkpoints / step_name(step)

    def read_config(self, *, sealed: bool = False) -> dict[str, Any]:
        """What the run was started with.

        Args:
            sealed: Whether it must have a seal, as for going on with the run. For looking at it,
                one without is good enough; a seal that is there is always checked.

        Raises:
            RefusedError: when this is not a run folder, or its config.json was altered.
        """
        if not self.config.is_file():
            raise RefusedError(
                self.root,
                "is not a run folder (it has no config.json)",
                "Give the --directory of a `heredity train`",
            )
        return RUN.read(self.config, sealed=sealed)

    def snapshot_steps(self) -> list[int]:
        """Steps of the snapshots that are there, ascending."""
        return _steps(self.snapshots)

    def checkpoint_steps(self) -> list[int]:
        """Steps of the checkpoints that are there, ascending; they are not verified here."""
        return _steps(self.checkpoints)

    def read_metrics(self) -> dict[str, np.ndarray]:
        """The columns of ``metrics.csv`` as float arrays; empty cells are NaN."""
        if not self.metrics.is_file():
            return {}
        rows = read_rows(self.metrics)
        names = list(rows[0]) if rows else []
        return {n: np.array([_number(row[n]) for row in rows]) for n in names if n}

    def read_evaluations(self) -> dict[str, np.ndarray]:
        """``timesteps (E,)``, ``results (E, episodes)`` and ``ep_lengths (E, episodes)``."""
        if not self.evaluations.is_file():
            return {}
        try:
            # Opened here, because numpy leaves a torn archive open.
            with (
                open_regular(self.evaluations, most=MOST_TABLE) as file,
                np.load(file, allow_pickle=False) as stored,
            ):
                unpacked = sum(part.file_size for part in stored.zip.infolist())
                if unpacked > MOST_TABLE:
                    raise ValueError(f"it unpacks to {unpacked:,} bytes")
                return {name: stored[name] for name in stored.files}
        except RefusedError:
            raise
        except Exception as error:  # of the disk, zip, zlib, numpy, the tokenizer of its headers
            raise RefusedError(self.evaluations, f"cannot be read ({error})") from None

    def read_snapshot_evaluation(self, step: int) -> dict[str, Any]:
        """``evaluation.json`` of one snapshot.

        Keys: ``step``, ``mean_return``, ``std_return``, ``episodes``, ``returns``, ``lengths``,
        ``deterministic``, ``policy_hash``.
        """
        return EVALUATION.read(self.snapshot(step) / "evaluation.json")


def read_rows(table: Path) -> list[dict[str, str]]:
    """The whole rows of a table with a header, cells by column.

    A row that is being written, or was when its process died, is left out: its numbers may be cut
    short and still be numbers.

    Raises:
        RefusedError: when it is missing or no table.
    """
    whole = read_text(table, MOST_TABLE).rpartition("\n")[0]
    try:
        rows = list(csv.DictReader(io.StringIO(whole, newline="")))
    except csv.Error as error:
        raise RefusedError(table, f"is not a table ({error})") from None
    # With more cells than columns there is one named None, with fewer there are some that are None.
    return [row for row in rows if None not in row and None not in row.values()]


def _steps(folder: Path) -> list[int]:
    try:
        places = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RefusedError(folder, f"cannot be read ({error.strerror})") from None
    names = {place.name for place in places if place.is_dir() and not place.is_symlink()}
    steps = {int(name) for name in names if name.isascii() and name.isdecimal()}
    # Other spellings of a number are not the folders that `snapshot` and `checkpoint` name.
    return sorted(step for step in steps if step_name(step) in names)


def _number(cell: str) -> float:
    try:
        return float(cell) if cell else float("nan")
    except ValueError:
        return float("nan")
