"""Where the camera stands so that what moves is in the picture."""

from __future__ import annotations

import dataclasses

import numpy as np

from heredity.common.recording import Scene, Shape
from heredity.viewer.motion import Motion

FIELD_OF_VIEW = float(np.deg2rad(38.0))
# From the point looked at towards the camera, z up. What walks is seen from the side and above;
# what stays at its place is mostly flat, and is seen from nearer its front.
WALKING = (0.55, -1.0, 0.42)
STANDING = (0.28, -1.0, 0.27)
# A scene that touches the upper and lower edge of the picture would need 1; pictures are wider
# than high, so most scenes may come nearer.
CLOSENESS = 0.78


@dataclasses.dataclass(frozen=True)
class View:
    """A camera.

    Args:
        position: Where it stands, metres.
        look_at: What it looks at, metres.
    """

    position: tuple[float, float, float]
    look_at: tuple[float, float, float]


def rotate(rotation: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 3) turned by unit quaternions (..., 4), w first.

    Example:
        >>> half = np.sqrt(0.5)
        >>> rotate(np.array([half, 0.0, 0.0, half]), np.array([2.0, 0.0, 1.0])).round(6) + 0.0
        array([0., 2., 1.])
    """
    w, axis = rotation[..., :1], rotation[..., 1:]
    across = 2.0 * np.cross(axis, points)
    return points + w * across + np.cross(axis, across)


def corners(shape: Shape) -> np.ndarray:
    """Points (K, 3) of a shape's outline in the frame of its body; none for a plane."""
    if shape.kind == "plane":
        return np.zeros((0, 3))
    if shape.kind == "mesh":
        points = np.asarray(shape.vertices, np.float64).reshape(-1, 3)
    elif shape.kind == "box":
        signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
        points = signs * np.asarray(shape.size[:3])
    elif shape.kind == "sphere":
        points = np.concatenate([np.eye(3), -np.eye(3)]) * shape.size[0]
    else:
        points = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]) * shape.size[1]
    return rotate(np.asarray(shape.rotation[:4]), points) + np.asarray(shape.position[:3])


def view_of(scene: Scene, motion: Motion) -> View:
    """The camera that a rollout begins with.

    A tracked body is looked at from the scene's distance. Without one the camera looks at the
    middle of everything there is, from far enough to see it.
    """
    if 0 <= scene.tracked_body < len(scene.bodies):
        focus, direction, distance = np.array([0.0, 0.0, motion.height]), WALKING, 0.0
    else:
        low, high = _bounds(scene, motion)
        focus, direction = (low + high) / 2, STANDING
        radius = float(np.linalg.norm(high - low)) / 2
        distance = CLOSENESS * radius / np.sin(FIELD_OF_VIEW / 2)
    towards = np.asarray(direction) / np.linalg.norm(direction)
    position = focus + towards * max(distance, scene.camera_distance)
    return View(_triple(position), _triple(focus))


def _bounds(scene: Scene, motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """The corners of the box around all shapes in all of the rollout, seen a few times."""
    seen = np.unique(np.linspace(0, motion.frames - 1, 25).astype(int))
    parts = [motion.positions[seen].reshape(-1, 3)]
    for shape in scene.shapes:
        points = corners(shape)
        if shape.body < 0:
            parts.append(points)
        else:
            where = motion.positions[seen, None, shape.body]
            parts.append(
                (rotate(motion.rotations[seen, None, shape.body], points) + where).reshape(-1, 3)
            )
    everything = np.concatenate(parts) if parts else np.zeros((0, 3))
    if not len(everything):
        return np.zeros(3), np.zeros(3)
    return everything.min(axis=0), everything.max(axis=0)


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
