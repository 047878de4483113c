"""The classic control tasks in three dimensions: simple shapes, z up, seen along y.

Angles and positions are those of the tasks (Gymnasium's `classic_control`, which gymnax follows);
x points to the right and all motion is in the plane y = 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from heredity.common.recording import Scene, Shape
from heredity.environments.contract import Pose

_RAIL = (0.45, 0.48, 0.52, 1.0)
_DARK = (0.20, 0.22, 0.26, 1.0)
_BLUE = (0.23, 0.43, 0.65, 1.0)
_AMBER = (0.89, 0.55, 0.26, 1.0)
_RED = (0.82, 0.29, 0.25, 1.0)
_GREEN = (0.42, 0.60, 0.38, 1.0)
_FLOOR = (0.80, 0.82, 0.85, 1.0)

# Shapes along z, turned so that they lie along x or y.
_ALONG_X = (math.sqrt(0.5), 0.0, math.sqrt(0.5), 0.0)
_ALONG_Y = (math.sqrt(0.5), math.sqrt(0.5), 0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class ClassicScene:
    """How a task is drawn.

    Args:
        scene: Makes the geometry.
        pose: Where its bodies are in a state of the task; pure.
    """

    scene: Callable[[], Scene]
    pose: Callable[[Any], Pose]


def _turn(angle: Any) -> Any:
    """Unit quaternion (w, x, y, z) of a turn about y: z goes towards x by `angle`."""
    half = angle / 2.0
    zero = jnp.zeros_like(half)
    return jnp.stack([jnp.cos(half), zero, jnp.sin(half), zero])


def _pose(*bodies: tuple[Any, Any, Any]) -> Pose:
    """A pose from (x, z, angle) of each body."""
    positions = [jnp.stack([x, jnp.zeros_like(x), z]) for x, z, _ in bodies]
    return Pose(jnp.stack(positions), jnp.stack([_turn(angle) for _, _, angle in bodies]))


def _floor(height: float) -> Shape:
    return Shape("plane", (10.0, 10.0), -1, (0.0, 0.0, height), color=_FLOOR)


_CART_HEIGHT = 1.0


def _cartpole() -> Scene:
    shapes = (
        _floor(0.0),
        Shape("capsule", (0.03, 2.6), -1, (0.0, 0.0, _CART_HEIGHT), _ALONG_X, _RAIL),
        *(
            Shape("cylinder", (0.04, _CART_HEIGHT / 2), -1, (x, 0.0, _CART_HEIGHT / 2), color=_RAIL)
            for x in (-2.6, 2.6)
        ),
        Shape("box", (0.25, 0.14, 0.10), 0, color=_BLUE),
        Shape("cylinder", (0.05, 0.16), 1, rotation=_ALONG_Y, color=_DARK),
        Shape("capsule", (0.045, 0.5), 1, (0.0, -0.19, 0.5), color=_AMBER),
    )
    return Scene(("cart", "pole"), shapes, 0.02, camera_distance=6.0)


def _cartpole_pose(state: Any) -> Pose:
    height = jnp.full_like(state.x, _CART_HEIGHT)
    return _pose((state.x, height, jnp.zeros_like(state.x)), (state.x, height, state.theta))


_PIVOT_HEIGHT = 1.5


def _pendulum() -> Scene:
    shapes = (
        _floor(0.0),
        Shape(
            "box", (0.09, 0.06, _PIVOT_HEIGHT / 2), -1, (0.0, 0.16, _PIVOT_HEIGHT / 2), color=_RAIL
        ),
        Shape("cylinder", (0.07, 0.14), 0, (0.0, 0.04, 0.0), _ALONG_Y, _DARK),
        Shape("capsule", (0.05, 0.5), 0, (0.0, 0.0, 0.5), color=_AMBER),
        Shape("sphere", (0.13,), 0, (0.0, 0.0, 1.0), color=_RED),
    )
    return Scene(("pendulum",), shapes, 0.05, camera_distance=5.0)


def _pendulum_pose(state: Any) -> Pose:
    # theta = 0 is upright and grows against the clock.
    theta = state.theta
    return _pose((jnp.zeros_like(theta), jnp.full_like(theta, _PIVOT_HEIGHT), -theta))


_BAR_HEIGHT = 2.4


def _acrobot() -> Scene:
    shapes = (
        _floor(0.0),
        # The tip has to rise above this line: one link above the bar.
        Shape("capsule", (0.012, 1.6), -1, (0.0, 0.3, _BAR_HEIGHT + 1.0), _ALONG_X, _GREEN),
        Shape("box", (0.09, 0.06, _BAR_HEIGHT / 2), -1, (0.0, 0.24, _BAR_HEIGHT / 2), color=_RAIL),
        Shape("cylinder", (0.06, 0.20), 0, (0.0, 0.06, 0.0), _ALONG_Y, _DARK),
        Shape("capsule", (0.06, 0.5), 0, (0.0, 0.0, -0.5), color=_AMBER),
        Shape("cylinder", (0.08, 0.10), 1, rotation=_ALONG_Y, color=_DARK),
        Shape("capsule", (0.05, 0.5), 1, (0.0, 0.0, -0.5), color=_BLUE),
        Shape("sphere", (0.09,), 1, (0.0, 0.0, -1.0), color=_RED),
    )
    return Scene(("upper", "lower"), shapes, 0.2, camera_distance=7.0)


def _acrobot_pose(state: Any) -> Pose:
    # Both angles are 0 hanging down and grow against the clock; the second is relative.
    first, second = state.joint_angle1, state.joint_angle1 + state.joint_angle2
    x, z = jnp.zeros_like(first), jnp.full_like(first, _BAR_HEIGHT)
    return _pose((x, z, -first), (x + jnp.sin(first), z - jnp.cos(first), -second))


def _hill(x: float) -> float:
    return 0.45 * math.sin(3.0 * x) + 0.55


def _mountain_car() -> Scene:
    xs = [-1.3 + 2.0 * step / 60 for step in range(61)]
    vertices: list[tuple[float, float, float]] = []
    for x in xs:
        vertices += [(x, -0.15, _hill(x)), (x, 0.15, _hill(x)), (x, -0.15, 0.0), (x, 0.15, 0.0)]
    faces: list[tuple[int, int, int]] = []
    for i in range(0, 4 * (len(xs) - 1), 4):
        near, far, low_near, low_far = i, i + 1, i + 2, i + 3
        faces += [(near, near + 4, far + 4), (near, far + 4, far)]  # the road
        faces += [(low_near, low_near + 4, near + 4), (low_near, near + 4, near)]  # front
        faces += [(far, far + 4, low_far + 4), (far, low_far + 4, low_far)]  # back
    flag = _hill(0.5)
    shapes = (
        _floor(0.0),
        Shape("mesh", (), -1, color=_GREEN, vertices=tuple(vertices), faces=tuple(faces)),
        Shape("cylinder", (0.008, 0.13), -1, (0.5, 0.1, flag + 0.13), color=_DARK),
        Shape("box", (0.045, 0.004, 0.03), -1, (0.545, 0.1, flag + 0.23), color=_RED),
        Shape("box", (0.07, 0.045, 0.025), 0, (0.0, 0.0, 0.055), color=_BLUE),
        Shape("box", (0.04, 0.04, 0.02), 0, (-0.01, 0.0, 0.10), color=_AMBER),
        *(
            Shape("cylinder", (0.026, 0.012), 0, (x, y, 0.026), _ALONG_Y, _DARK)
            for x in (-0.045, 0.045)
            for y in (-0.045, 0.045)
        ),
    )
    return Scene(("car",), shapes, 1 / 30, camera_distance=2.4)


def _mountain_car_pose(state: Any) -> Pose:
    x = state.position
    slope = jnp.arctan(1.35 * jnp.cos(3.0 * x))
    return _pose((x, 0.45 * jnp.sin(3.0 * x) + 0.55, -slope))


CLASSIC_SCENES: dict[str, ClassicScene] = {
    "Acrobot-v1": ClassicScene(_acrobot, _acrobot_pose),
    "CartPole-v1": ClassicScene(_cartpole, _cartpole_pose),
    "MountainCar-v0": ClassicScene(_mountain_car, _mountain_car_pose),
    "MountainCarContinuous-v0": ClassicScene(_mountain_car, _mountain_car_pose),
    "Pendulum-v1": ClassicScene(_pendulum, _pendulum_pose),
}
