"""A recorded rollout as the report carries it: a viser recording, pictures, or curves."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from heredity.common.errors import UsageError
from heredity.common.recording import Recording, Scene
from heredity.viewer.extras import start_server, stop_server
from heredity.viewer.motion import MAX_FRAMES_PER_SECOND, checked_seconds, motion_of, shown_steps
from heredity.viewer.stage import Stage

if TYPE_CHECKING:
    import viser

# What the poses of one rollout and the pictures of all rollouts may weigh.
MOST_POSES = 12_000
MOST_PICTURE_BYTES = 9_000_000
FEWEST_FRAMES_PER_SECOND = 10.0
MOST_SIGNALS = 12
MOST_SIGNAL_STEPS = 800
PICTURE_TYPES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}

# Where the exported page of viser holds its recording.
_PAYLOAD = re.compile(r'(window\.__VISER_EMBED_DATA__=")([A-Za-z0-9+/=]*)(")')


class SceneExporter:
    """Turns recordings into viser recordings that share one copy of viser's page.

    viser exports a page with its whole client, and the recording in base64 as one string of it.
    The page is kept once, the strings once a rollout; the report puts them together again.

    Attributes:
        page: viser's page before and after the recording; None before the first rollout.
    """

    def __init__(self) -> None:
        self.page: tuple[str, str] | None = None
        self._server: viser.ViserServer | None = None
        self._stage: Stage | None = None
        self._scene: Scene | None = None

    def __enter__(self) -> SceneExporter:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._server is not None:
            stop_server(self._server)
        self._server = self._stage = self._scene = None

    def _stage_of(self, scene: Scene) -> tuple[viser.ViserServer, Stage]:
        if self._server is None or self._stage is None or scene != self._scene:
            # A server remembers what was removed from it; a new scene gets a new one.
            self._stop()
            self._server = start_server("127.0.0.1", 8650)
            self._stage = Stage(self._server, scene)
            self._scene = scene
        return self._server, self._stage

    def export(self, recording: Recording) -> tuple[str, str]:
        """The viser recording in base64, and what was cut from it in words.

        Raises:
            UsageError: when the scene or the poses make no sense.
        """
        if recording.scene is None:
            raise UsageError("the recording has no scene")
        fps = MAX_FRAMES_PER_SECOND
        motion = motion_of(recording, fps)
        weight = motion.frames * max(1, len(recording.scene.bodies))
        if weight > MOST_POSES:
            fps = max(FEWEST_FRAMES_PER_SECOND, fps * MOST_POSES / weight)
            motion = motion_of(recording, fps)
        server, stage = self._stage_of(recording.scene)
        stage.look(motion)
        stage.show(motion, 0)
        recorder = server.get_scene_serializer()
        for frame in range(motion.frames):
            if frame:
                stage.show(motion, frame)
            recorder.insert_sleep(motion.seconds_per_frame)
        page = recorder.as_html()
        found = _PAYLOAD.search(page)
        if found is None:
            raise UsageError(
                "this version of viser exports its scenes in an unknown way: use 1.1.1"
            )
        self.page = (page[: found.start(2)], page[found.end(2) :])
        return found.group(2), motion.cut


def picture_type(data: bytes) -> str | None:
    """The media type of JPEG and PNG bytes; None for others."""
    return next((kind for magic, kind in PICTURE_TYPES.items() if data.startswith(magic)), None)


def pictures_payload(recording: Recording, most_bytes: float) -> dict[str, Any]:
    """Pictures as ``data:`` addresses, thinned until they weigh no more than `most_bytes`.

    Raises:
        UsageError: when a picture is neither JPEG nor PNG.
    """
    step_seconds = checked_seconds(recording.step_seconds)
    steps = shown_steps(len(recording.frames), step_seconds)
    stride = int(steps[1] - steps[0]) if len(steps) > 1 else 1
    weight = sum(len(recording.frames[step]) for step in steps)
    thinner = max(1, int(np.ceil(weight / most_bytes)))
    steps = steps[::thinner]
    pictures = []
    for step in steps:
        data = recording.frames[step]
        kind = picture_type(data)
        if kind is None:
            raise UsageError(f"picture {step} is neither JPEG nor PNG")
        pictures.append(f"data:{kind};base64,{base64.b64encode(data).decode()}")
    shown, whole = int(steps[-1]) + 1, len(recording.frames)
    cut = f"first {shown * step_seconds:.0f} s" if shown + stride * thinner < whole else ""
    if thinner > 1:
        cut = "; ".join(filter(None, [cut, f"1 picture in {stride * thinner}"]))
    return {
        "kind": "frames",
        "pictures": pictures,
        "seconds": stride * thinner * step_seconds,
        "cut": cut,
    }


def signals_payload(recording: Recording) -> dict[str, Any]:
    """The observations over time: those that vary most, and the reward."""
    rewards = np.asarray(recording.rewards, np.float64).reshape(-1)
    observations = recording.observations
    columns = list(recording.columns)
    if observations is None:
        observations = np.zeros((len(rewards), 0))
    observations = np.asarray(observations, np.float64).reshape(len(observations), -1)
    names = columns if len(columns) == observations.shape[1] else []
    seconds = checked_seconds(recording.step_seconds)
    stride = max(1, -(-len(observations) // MOST_SIGNAL_STEPS))
    variance = np.nan_to_num(np.var(observations, axis=0), nan=-1.0)
    chosen = np.sort(np.argsort(-variance, kind="stable")[:MOST_SIGNALS])
    cut = []
    if len(chosen) < observations.shape[1]:
        cut.append(f"the {len(chosen)} of {observations.shape[1]} observations that vary most")
    if stride > 1:
        cut.append(f"1 step in {stride}")
    return {
        "kind": "signals",
        "seconds": stride * seconds,
        "series": [
            {
                "name": names[c] if names else f"observation {c}",
                "values": plain_numbers(observations[::stride, c]),
            }
            for c in chosen
        ],
        "rewards": plain_numbers(rewards[::stride]),
        "cut": "; ".join(cut),
    }


def plain_numbers(values: np.ndarray) -> list[float | None]:
    """Numbers for JSON: five digits, None for what is not finite."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values.tolist()]


def rollout_payload(
    recording: Recording, exporter: SceneExporter, most_bytes: float
) -> dict[str, Any]:
    """What the report carries of one recording.

    Args:
        recording: The rollout.
        exporter: Shared by all rollouts of the report.
        most_bytes: What pictures may weigh.

    Raises:
        UsageError: when the recording makes no sense.
    """
    if recording.kind == "scene":
        data, cut = exporter.export(recording)
        return {"kind": "scene", "data": data, "cut": cut}
    if recording.kind == "frames":
        return pictures_payload(recording, most_bytes)
    return signals_payload(recording)
