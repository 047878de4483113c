"""A recorded rollout: poses of a 3-D scene, or pictures, or nothing but numbers.

Written by training into a snapshot, played by the viewer, which never meets a live environment.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from heredity.common.errors import RefusedError
from heredity.common.files import dump_json
from heredity.common.formats import RECORDING
from heredity.common.tensors import read_tensors, tensor_bytes

ENDS = ("terminated", "truncated", "cut", "")


def how_it_ended(terminated: bool, truncated: bool) -> str:
    """How an episode that is no longer watched ended, in a recording's words.

    Example:
        >>> how_it_ended(True, False), how_it_ended(False, True), how_it_ended(False, False)
        ('terminated', 'truncated', 'cut')
    """
    return "terminated" if terminated else "truncated" if truncated else "cut"


@dataclasses.dataclass(frozen=True)
class Shape:
    """One drawable thing fixed to a body.

    Args:
        kind: ``box``, ``sphere``, ``capsule``, ``cylinder``, ``plane`` or ``mesh``.
        size: Metres. box: half extents (x, y, z); sphere: (radius,); capsule and cylinder: (radius,
            half length along z); plane: half extents (x, y), normal z; mesh: ().
        body: Index of the body that carries it; -1 for the world.
        position: Of the shape in its body's frame, metres.
        rotation: Of the shape in its body's frame, unit quaternion (w, x, y, z).
        color: Red, green, blue, opacity, each in 0..1.
        vertices: For a mesh, points (x, y, z).
        faces: For a mesh, index triples.
    """

    kind: str
    size: tuple[float, ...]
    body: int
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    color: tuple[float, float, float, float] = (0.7, 0.7, 0.7, 1.0)
    vertices: tuple[tuple[float, float, float], ...] = ()
    faces: tuple[tuple[int, int, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class Scene:
    """The geometry of an environment, given once; z points up.

    Args:
        bodies: Names of the moving bodies; poses follow this order.
        shapes: What is drawn.
        step_seconds: Simulated time between two poses.
        tracked_body: Index of the body that the camera follows; -1 when it stands still.
        camera_distance: From the tracked body or the origin, metres.
    """

    bodies: tuple[str, ...]
    shapes: tuple[Shape, ...]
    step_seconds: float
    tracked_body: int = -1
    camera_distance: float = 4.0

    def to_json(self) -> dict[str, Any]:
        """The scene as a JSON object."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Scene:
        """The scene that `to_json` wrote."""

        def tuples(part: Any) -> Any:
            return tuple(tuples(item) for item in part) if isinstance(part, list) else part

        shapes = tuple(Shape(**{k: tuples(v) for k, v in s.items()}) for s in value["shapes"])
        return cls(**{**{k: tuples(v) for k, v in value.items()}, "shapes": shapes})


@dataclasses.dataclass(frozen=True)
class Recording:
    """One episode of T decisions: T rewards, and T + 1 moments around them.

    The last moment is how the episode ended, before any reset.

    Args:
        rewards: Shape (T,).
        step_seconds: Time between two decisions, for playing at the right speed.
        scene: Geometry, when the environment has one.
        positions: Shape (T + 1, bodies, 3), metres; with a scene.
        rotations: Shape (T + 1, bodies, 4), unit quaternions (w, x, y, z); with a scene.
        frames: Pictures as JPEG or PNG bytes, for environments that draw themselves.
        observations: Shape (T + 1, D), flattened, without pictures; always there, for environments
            that show nothing.
        columns: Names of the D observation columns.
        frame_steps: The moment, 0 to T, that each picture was drawn at, ascending; empty when
            there is one picture of each moment from the first on.
        end: How the episode ended: ``terminated``, ``truncated``, or ``cut`` when it was still
            going when it was no longer watched; empty when nobody wrote it down.

    Example:
        >>> fallen = Recording(np.ones(65), step_seconds=0.02, end="terminated")
        >>> fallen.episode_return, fallen.episode_length, fallen.kind
        (65.0, 65, 'signals')
    """

    rewards: np.ndarray
    step_seconds: float
    scene: Scene | None = None
    positions: np.ndarray | None = None
    rotations: np.ndarray | None = None
    frames: tuple[bytes, ...] = ()
    observations: np.ndarray | None = None
    columns: tuple[str, ...] = ()
    frame_steps: tuple[int, ...] = ()
    end: str = ""

    @property
    def episode_return(self) -> float:
        """Undiscounted sum of the rewards."""
        return float(np.sum(self.rewards, dtype=np.float64))

    @property
    def episode_length(self) -> int:
        """How many decisions there were."""
        return len(self.rewards)

    @property
    def kind(self) -> str:
        """What there is to see: ``scene``, ``frames`` or ``signals``."""
        if self.scene is not None:
            return "scene"
        return "frames" if self.frames else "signals"

    def save(self, folder: Path) -> None:
        """Write ``recording.json`` and ``recording.safetensors`` into an existing folder."""
        tensors: dict[str, np.ndarray] = {"rewards": np.asarray(self.rewards, np.float32)}
        for name in ("positions", "rotations", "observations"):
            array = getattr(self, name)
            if array is not None:
                tensors[name] = np.asarray(array, np.float32)
        if self.frames:
            tensors["frames"] = np.frombuffer(b"".join(self.frames), np.uint8)
            tensors["frame_lengths"] = np.asarray([len(f) for f in self.frames], np.int64)
            if self.frame_steps:
                tensors["frame_steps"] = np.asarray(self.frame_steps, np.int64)
        header = {
            "schema_version": RECORDING.newest,
            "kind": self.kind,
            "step_seconds": self.step_seconds,
            "scene": self.scene.to_json() if self.scene else None,
            "columns": list(self.columns),
            "end": self.end,
        }
        (folder / "recording.json").write_text(dump_json(header), encoding="utf-8")
        (folder / "recording.safetensors").write_bytes(tensor_bytes(tensors, {}))

    @classmethod
    def load(cls, folder: Path) -> Recording:
        """Read what `save` wrote.

        Raises:
            RefusedError: when a file is missing or torn.
        """
        path = folder / "recording.json"
        header = RECORDING.read(path)
        tensors, _ = read_tensors(folder / "recording.safetensors")
        try:
            frames: tuple[bytes, ...] = ()
            frame_steps: tuple[int, ...] = ()
            if "frames" in tensors:
                ends = np.cumsum(tensors["frame_lengths"]).tolist()
                starts = [0, *ends[:-1]]
                data = tensors["frames"].tobytes()
                frames = tuple(data[a:b] for a, b in zip(starts, ends, strict=True))
                frame_steps = _frame_steps(tensors.get("frame_steps"), len(frames))
            return cls(
                rewards=tensors["rewards"],
                step_seconds=header["step_seconds"],
                scene=Scene.from_json(header["scene"]) if header["scene"] else None,
                positions=tensors.get("positions"),
                rotations=tensors.get("rotations"),
                frames=frames,
                observations=tensors.get("observations"),
                columns=tuple(header["columns"]),
                frame_steps=frame_steps,
                end=_end(header.get("end", "")),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise RefusedError(path, f"does not describe a recording ({error})") from None


def _end(value: object) -> str:
    if value not in ENDS:
        raise ValueError(f"end is {value!r}, one of {', '.join(filter(None, ENDS))} was expected")
    return str(value)


def _frame_steps(stored: np.ndarray | None, frames: int) -> tuple[int, ...]:
    if stored is None:
        return ()
    steps = tuple(int(step) for step in stored.tolist())
    rising = all(a < b for a, b in itertools.pairwise(steps))
    if len(steps) != frames or not rising or min(steps, default=0) < 0:
        raise ValueError(f"frame_steps does not name {frames} ascending moments")
    return steps
