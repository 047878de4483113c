"""From a recorded rollout to what is shown of it: fewer frames, and a camera that follows."""

from __future__ import annotations

import dataclasses

import numpy as np

from heredity.common.errors import UsageError
from heredity.common.recording import Recording

MAX_FRAMES_PER_SECOND = 30.0
MAX_SECONDS = 20.0
# The camera follows the tracked body's path averaged over this long, so that the picture glides
# while the body bobs in it.
FOLLOW_SECONDS = 1.0
# Steps of 2^-11 m (half a millimetre) and 2^-11 of a unit quaternion are below a pixel, and leave
# the floating point numbers with many zero bits, which is what makes a recording compress.
QUANTUM = 2.0**-11


def shown_steps(
    steps: int,
    step_seconds: float,
    max_fps: float = MAX_FRAMES_PER_SECOND,
    max_seconds: float = MAX_SECONDS,
) -> np.ndarray:
    """Which of a rollout's steps are shown: at most `max_fps`, the first `max_seconds`.

    Example:
        >>> shown_steps(steps=10, step_seconds=0.01, max_fps=25.0)
        array([0, 4, 8])
        >>> shown_steps(steps=100, step_seconds=0.5, max_seconds=1.0)
        array([0, 1, 2])
    """
    # The tolerance keeps 0.033333 s per step from being taken for more than 30 a second.
    stride = max(1, int(np.ceil(1 / (max_fps * step_seconds) - 1e-3)))
    # The smaller first: `max_seconds` may be infinite.
    last = int(min(steps - 1, np.floor(max_seconds / step_seconds + 1e-6)))
    return np.arange(0, last + 1, stride)


def checked_seconds(step_seconds: object) -> float:
    """The time of one step.

    Raises:
        UsageError: when it is not a positive number.
    """
    if not isinstance(step_seconds, int | float) or not 0 < step_seconds < np.inf:
        raise UsageError(f"step_seconds is {step_seconds!r}, a positive time was expected")
    return float(step_seconds)


@dataclasses.dataclass(frozen=True)
class Motion:
    """Poses as the camera sees them: the camera stands still and the world glides by.

    Args:
        seconds_per_frame: Between two of the N frames.
        positions: Shape (N, bodies, 3), metres, relative to `anchors`.
        rotations: Shape (N, bodies, 4), unit quaternions (w, x, y, z).
        anchors: Shape (N, 2), the point of the world's floor that the camera looks at.
        height: Of the point that the camera looks at, metres.
        cut: Why there is less of it than was recorded; empty if there is not.
    """

    seconds_per_frame: float
    positions: np.ndarray
    rotations: np.ndarray
    anchors: np.ndarray
    height: float
    cut: str = ""

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self.positions)


def _smoothed(path: np.ndarray, window: int) -> np.ndarray:
    """A path (N, 2) averaged over `window` frames, without being drawn to the ends."""
    half = min(window // 2, (len(path) - 1) // 2)
    if half < 1:
        return path
    # Beyond its ends the path is continued by its reflection in the end point, so that a body
    # that runs off at once is in the middle of the picture from the first frame on.
    before = 2 * path[0] - path[half:0:-1]
    after = 2 * path[-1] - path[-2 : -half - 2 : -1]
    padded = np.concatenate([before, path, after])
    sums = np.cumsum(np.concatenate([np.zeros((1, 2)), padded]), axis=0)
    width = 2 * half + 1
    return (sums[width:] - sums[:-width]) / width


def motion_of(
    recording: Recording,
    max_fps: float = MAX_FRAMES_PER_SECOND,
    max_seconds: float = MAX_SECONDS,
) -> Motion:
    """What is shown of a recording that has a scene.

    Raises:
        UsageError: when it has no scene, or its poses do not fit the scene's bodies.
    """
    scene, positions, rotations = recording.scene, recording.positions, recording.rotations
    if scene is None or positions is None or rotations is None:
        raise UsageError("the recording has no scene with poses")
    bodies = len(scene.bodies)
    if positions.shape[1:] != (bodies, 3) or rotations.shape != (*positions.shape[:2], 4):
        raise UsageError(
            f"the poses have shapes {positions.shape} and {rotations.shape}, the scene has "
            f"{bodies} bodies: (T, {bodies}, 3) and (T, {bodies}, 4) were expected"
        )
    cut = []
    whole = np.asarray(np.isfinite(positions).all((1, 2)) & np.isfinite(rotations).all((1, 2)))
    steps = len(whole) if whole.all() else int(np.argmin(whole))
    if steps == 0:
        raise UsageError("the recording has no pose that is finite")
    if steps < len(whole):
        cut.append(f"poses are not finite from step {steps} on")
    step_seconds = checked_seconds(recording.step_seconds)
    if steps * step_seconds > max_seconds * 1.05:
        cut.append(f"first {max_seconds:g} s of {steps * step_seconds:.0f} s")
    chosen = shown_steps(steps, step_seconds, max_fps, max_seconds)
    stride = int(chosen[1] - chosen[0]) if len(chosen) > 1 else 1
    seconds = stride * step_seconds
    if not cut and chosen[-1] < steps - 1:
        # How it ended is seen, if a part of a frame too early.
        chosen = np.append(chosen, steps - 1)
    shown = positions[chosen].astype(np.float64)
    if 0 <= scene.tracked_body < bodies:
        tracked = shown[:, scene.tracked_body]
        anchors = _smoothed(tracked[:, :2], round(FOLLOW_SECONDS / seconds))
        height = float(np.median(tracked[:, 2]))
    else:
        anchors = np.zeros((len(shown), 2))
        height = float(np.median(shown[:, :, 2])) if bodies else 0.0
    shown[:, :, :2] -= anchors[:, None]
    return Motion(
        seconds_per_frame=seconds,
        positions=_quantised(shown),
        rotations=_quantised(rotations[chosen].astype(np.float64)),
        anchors=anchors,
        height=height,
        cut="; ".join(cut),
    )


def _quantised(values: np.ndarray) -> np.ndarray:
    return np.round(values / QUANTUM) * QUANTUM
