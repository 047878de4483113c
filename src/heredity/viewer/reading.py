"""A run folder as the viewer shows it. What is not there yet is empty; what is torn is a note."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heredity.common.errors import HeredityError, RefusedError
from heredity.common.formats import LINEAGE
from heredity.common.open_loop import OpenLoop
from heredity.common.recording import Recording
from heredity.common.run_folder import RunFolder


def number(value: Any) -> float | None:
    """A finite number read from a file; None for everything else.

    Example:
        >>> number(3), number("3"), number(float("nan")), number(True)
        (3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return None
    try:
        finite = float(value)
    except OverflowError:  # JSON has whole numbers of any length
        return None
    return finite if math.isfinite(finite) else None


def short_hash(value: Any, digits: int = 12) -> str:
    """The beginning of a content hash, without the name of its algorithm.

    Example:
        >>> short_hash("sha256:0123456789abcdef")
        '0123456789ab'
    """
    text = str(value or "")
    for prefix in ("sha256:", "sha256-"):
        text = text.removeprefix(prefix)
    return text[:digits]


@dataclasses.dataclass(frozen=True)
class Score:
    """What a policy scored when it was evaluated."""

    mean: float
    std: float | None = None
    episodes: int | None = None
    length: float | None = None

    @classmethod
    def from_json(cls, value: Any) -> Score | None:
        """From ``evaluation.json`` or the score of a lineage entry; None if it holds no score."""
        if not isinstance(value, dict) or (mean := number(value.get("mean_return"))) is None:
            return None
        episodes = number(value.get("episodes"))
        lengths = value.get("lengths")
        known = [number(one) for one in lengths] if isinstance(lengths, list) else []
        finite = [one for one in known if one is not None]
        return cls(
            mean=mean,
            std=number(value.get("std_return")),
            episodes=None if episodes is None else int(episodes),
            length=sum(finite) / len(finite) if finite else None,
        )


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """One snapshot, without its recording, which is read when it is shown.

    Args:
        step: Environment steps that its policy was trained for.
        folder: Where it lies.
        score: From its evaluation, or from its lineage.
        policy_hash: Content hash of its policy; empty if it is not told.
        lineage: Entries of its policy's lineage.
        has_rollout: Whether a rollout was recorded.
        units: Dead units and all units of each hidden layer; {} if nobody counted them.
    """

    step: int
    folder: Path
    score: Score | None
    policy_hash: str
    lineage: tuple[dict[str, Any], ...]
    has_rollout: bool
    units: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)

    def recording(self) -> Recording:
        """The recorded rollout.

        Raises:
            RefusedError: when it is missing or torn.
        """
        return Recording.load(self.folder / "rollout")

    @property
    def has_imagined(self) -> bool:
        """Whether a world model imagined the beginning of the rollout."""
        return (self.folder / "imagined").is_dir()

    def imagined(self) -> OpenLoop:
        """What it imagined.

        Raises:
            RefusedError: when it is missing or torn.
        """
        return OpenLoop.load(self.folder / "imagined")


@dataclasses.dataclass
class Run:
    """Everything of a run but recordings and weights.

    Args:
        folder: The run folder.
        config: What it was started with.
        metrics: Columns of ``metrics.csv``.
        evaluations: Arrays of ``evaluations.npz``.
        snapshots: Those that can be read, ascending.
        checkpoint_lineage: Of the newest checkpoint; empty without one.
        notes: What was left out and why.
    """

    folder: RunFolder
    config: dict[str, Any]
    metrics: dict[str, np.ndarray]
    evaluations: dict[str, np.ndarray]
    snapshots: list[Snapshot]
    checkpoint_lineage: tuple[dict[str, Any], ...]
    notes: list[str]

    @property
    def name(self) -> str:
        """The name of its folder, which a person chose."""
        return self.folder.root.resolve().name

    @property
    def environment(self) -> str:
        """Id of the environment; empty if it is not told."""
        environment = self.config.get("environment")
        return str(environment.get("id", "")) if isinstance(environment, dict) else ""


def run_folder(root: Path) -> RunFolder:
    """The run folder at a path, which may not be a folder inside one.

    A policy has a ``config.json`` too, and would be taken for a run that has just begun.

    Raises:
        RefusedError: for a policy, a snapshot, a checkpoint or a rollout; it names the run that
            they are of, if they lie in one.
    """
    if any((root / name).exists() for name in ("model.safetensors", "lineage.json")):
        kind = "a policy"
    elif (root / "training_state").exists():
        kind = "a checkpoint"
    elif (root / "policy").is_dir() and not (root / "config.json").exists():
        kind = "a snapshot"
    elif (root / "recording.json").exists():
        kind = "a rollout"
    else:
        return RunFolder(root)
    above = next((place for place in root.resolve().parents if _is_run(place)), None)
    remedy = (
        f"Give the run folder that it lies in: {above}"
        if above
        else "Give the --directory of a `heredity train`"
    )
    raise RefusedError(root, f"is {kind}, not a run folder", remedy)


def _is_run(place: Path) -> bool:
    folder = RunFolder(place)
    parts = (folder.snapshots, folder.checkpoints)
    return folder.config.is_file() and any(part.is_dir() for part in parts)


def read_run(root: Path) -> Run:
    """Read a run folder, also of a run that is still going.

    Raises:
        RefusedError: when it is not a run folder, or its ``config.json`` is torn.
    """
    folder = run_folder(root)
    config = folder.read_config()
    notes: list[str] = []
    metrics: dict[str, np.ndarray] = {}
    evaluations: dict[str, np.ndarray] = {}
    try:
        metrics = folder.read_metrics()
    except HeredityError as error:
        notes.append(f"metrics.csv was left out: {_said(error)}")
    try:
        evaluations = checked_evaluations(folder.read_evaluations())
    except HeredityError as error:
        notes.append(f"evaluations.npz was left out: {_said(error)}")
    snapshots = read_snapshots(folder, folder.snapshot_steps(), notes)
    return Run(
        folder=folder,
        config=config,
        metrics=metrics,
        evaluations=evaluations,
        snapshots=snapshots,
        checkpoint_lineage=_checkpoint_lineage(folder, notes),
        notes=notes,
    )


def read_snapshots(folder: RunFolder, steps: Sequence[int], notes: list[str]) -> list[Snapshot]:
    """Those snapshots that can be read; a note for each other one that is there."""
    found = []
    for step in steps:
        try:
            found.append(read_snapshot(folder, step))
        except HeredityError as error:
            if folder.snapshot(step).is_dir():  # else it was retired after it was listed
                notes.append(f"The snapshot at step {step:,} was left out: {_said(error)}")
    return found


def read_snapshot(folder: RunFolder, step: int) -> Snapshot:
    """One snapshot.

    Raises:
        RefusedError: when what is there of it is torn, or nothing is.
    """
    place = folder.snapshot(step)
    evaluation: dict[str, Any] = {}
    if (place / "evaluation.json").exists():
        evaluation = folder.read_snapshot_evaluation(step)
    # A policy is a folder of its own that is useful alone; without it there is no snapshot.
    head, lineage = read_lineage(place / "policy")
    score = Score.from_json(evaluation)
    if score is None and lineage:
        score = Score.from_json(lineage[-1].get("score"))
    return Snapshot(
        step=step,
        folder=place,
        score=score,
        units=_units(evaluation.get("units")),
        policy_hash=str(evaluation.get("policy_hash") or head),
        lineage=lineage,
        has_rollout=(place / "rollout").is_dir(),
    )


def _units(told: Any) -> dict[str, tuple[int, int]]:
    """Dead units and all units of each hidden layer, as far as a file says it."""
    found: dict[str, tuple[int, int]] = {}
    for name, value in told.items() if isinstance(told, dict) else ():
        dead, total = (number(value.get(key)) for key in ("dead", "units"))
        if dead is not None and total and 0 <= dead <= total:
            found[str(name)] = int(dead), int(total)
    return found


def read_lineage(policy: Path) -> tuple[str, tuple[dict[str, Any], ...]]:
    """The hash and the lineage entries of a policy folder.

    Raises:
        RefusedError: when it is missing, torn or altered.
    """
    value = LINEAGE.read(policy / "lineage.json")
    entries = value.get("entries")
    listed = entries if isinstance(entries, list) else []
    return str(value.get("policy_hash") or ""), tuple(e for e in listed if isinstance(e, dict))


def checked_evaluations(stored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those evaluations whose arrays fit each other; none if they do not."""
    steps, results = stored.get("timesteps"), stored.get("results")
    if steps is None or results is None or steps.ndim != 1 or len(steps) != len(results):
        return {}
    if not len(steps) or not np.issubdtype(results.dtype, np.number):
        return {}
    kept = {"timesteps": steps, "results": results.reshape(len(steps), -1)}
    lengths = stored.get("ep_lengths")
    if lengths is not None and len(lengths) == len(steps):
        kept["ep_lengths"] = lengths.reshape(len(steps), -1)
    return kept


def _checkpoint_lineage(folder: RunFolder, notes: list[str]) -> tuple[dict[str, Any], ...]:
    steps = folder.checkpoint_steps()
    last = folder.checkpoints / "last"
    place = last if last.is_dir() else folder.checkpoint(steps[-1]) if steps else None
    if place is None:
        return ()
    try:
        return read_lineage(place / "policy")[1]
    except HeredityError as error:
        notes.append(f"The newest checkpoint was left out: {_said(error)}")
        return ()


def _said(error: HeredityError) -> str:
    """An error's message with the folder's path cut down to the file's last parts."""
    path = getattr(error, "path", None)
    text = str(error)
    return text.replace(str(path), "/".join(path.parts[-3:])) if path else text


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` positions, evenly spread, the first and the last among them.

    Example:
        >>> evenly(10, 4)
        [0, 3, 6, 9]
        >>> evenly(3, 24)
        [0, 1, 2]
    """
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)}) if most > 1 else [0]
