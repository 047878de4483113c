"""Where everything of a run lies, and how to read it without any live object."""

from __future__ import annotations

import csv
import dataclasses
import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from heredity.common.errors import RefusedError
from heredity.common.files import (
    SEAL_KEY,
    check_schema,
    check_seal,
    parse_json,
    read_json,
    read_text,
)

RUN_SCHEMA_VERSION = 1
EVALUATION_SCHEMA_VERSION = 1
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

    def snapshot(self, step: int) -> Path:
        """The folder of one snapshot: ``policy/``, ``evaluation.json``, ``rollout/``."""
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
        text = read_text(self.config)
        config = parse_json(text, self.config)
        check_schema(config, self.config, "a run", RUN_SCHEMA_VERSION)
        if sealed or SEAL_KEY in config:
            return check_seal(text, self.config)
        return config

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
        try:
            rows = list(csv.DictReader(io.StringIO(read_text(self.metrics), newline="")))
        except csv.Error as error:
            raise RefusedError(self.metrics, f"is not a table ({error})") from None
        names = list(rows[0]) if rows else []
        return {n: np.array([_number(row.get(n)) for row in rows]) for n in names if n}

    def read_evaluations(self) -> dict[str, np.ndarray]:
        """``timesteps (E,)``, ``results (E, episodes)`` and ``ep_lengths (E, episodes)``."""
        if not self.evaluations.is_file():
            return {}
        try:
            # Opened here, because numpy leaves a torn archive open.
            with self.evaluations.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (
            *(OSError, ValueError, KeyError, EOFError),
            *(zipfile.BadZipFile, zlib.error, RuntimeError),  # an altered method or flag, each
        ) as error:
            raise RefusedError(self.evaluations, f"cannot be read ({error})") from None

    def read_snapshot_evaluation(self, step: int) -> dict[str, Any]:
        """``evaluation.json`` of one snapshot.

        Keys: ``step``, ``mean_return``, ``std_return``, ``episodes``, ``returns``, ``lengths``,
        ``deterministic``, ``policy_hash``.
        """
        path = self.snapshot(step) / "evaluation.json"
        evaluation = read_json(path)
        check_schema(evaluation, path, "an evaluation", EVALUATION_SCHEMA_VERSION)
        return evaluation


def _steps(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    return sorted(int(name) for name in names if name.isdigit() and len(name) >= STEP_DIGITS)


def _number(cell: str | None) -> float:
    try:
        return float(cell) if cell else float("nan")
    except ValueError:
        return float("nan")
