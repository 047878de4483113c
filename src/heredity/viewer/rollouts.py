"""A recorded rollout as the report carries it: a viser recording, pictures, or curves."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from heredity.common.errors import UsageError
from heredity.common.recording import Recording, Scene
from heredity.viewer.endings import beginning_text, end_text, episode_text, hold_of
from heredity.viewer.extras import start_server, stop_server
from heredity.viewer.motion import (
    MAX_FRAMES_PER_SECOND,
    MAX_SECONDS,
    checked_seconds,
    motion_of,
)
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

    def export(self, recording: Recording) -> tuple[str, str, float]:
        """The viser recording in base64, what was cut from it in words, and how long it lasts.

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
        hold = hold_of(recording, motion.cut)
        if hold:
            recorder.insert_sleep(hold)
        page = recorder.as_html()
        found = _PAYLOAD.search(page)
        if found is None:
            raise UsageError(
                "this version of viser exports its scenes in an unknown way: use 1.1.1"
            )
        self.page = (page[: found.start(2)], page[found.end(2) :])
        lasts = motion.frames * motion.seconds_per_frame + hold
        return found.group(2), motion.cut, lasts


def picture_type(data: bytes) -> str | None:
    """The media type of JPEG and PNG bytes; None for others."""
    return next((kind for magic, kind in PICTURE_TYPES.items() if data.startswith(magic)), None)


def picture_times(recording: Recording) -> np.ndarray:
    """The moment of each picture, (N,), seconds.

    Raises:
        UsageError: when there are other moments than pictures.
    """
    moments = np.asarray(recording.frame_steps or range(len(recording.frames)), np.float64)
    if len(moments) != len(recording.frames):
        raise UsageError(f"{len(recording.frames)} pictures have {len(moments)} moments")
    return moments * checked_seconds(recording.step_seconds)


def pictures_payload(recording: Recording, most_bytes: float) -> dict[str, Any]:
    """Pictures as ``data:`` addresses, thinned until they weigh no more than `most_bytes`.

    The first and the last picture that are shown are always there.

    Raises:
        UsageError: when a picture is neither JPEG nor PNG.
    """
    times = picture_times(recording)
    spacing = float(times[1] - times[0]) if len(times) > 1 else float(recording.step_seconds)
    shown = np.flatnonzero(times <= MAX_SECONDS + 1e-6)
    # The tolerance keeps 0.033333 s between two from being taken for more than 30 a second.
    stride = max(1, int(np.ceil(1 / (MAX_FRAMES_PER_SECOND * spacing) - 1e-3)))
    weight = sum(len(recording.frames[index]) for index in shown[::stride])
    thinner = max(1, int(np.ceil(weight / most_bytes)))
    chosen = shown[:: stride * thinner]
    if chosen[-1] != shown[-1]:
        chosen = np.append(chosen, shown[-1])
    pictures = []
    for index in chosen:
        data = recording.frames[index]
        kind = picture_type(data)
        if kind is None:
            raise UsageError(f"picture {index} is neither JPEG nor PNG")
        pictures.append(f"data:{kind};base64,{base64.b64encode(data).decode()}")
    beginning = beginning_text(recording)
    thinned = f"1 picture in {stride * thinner}" if thinner > 1 else ""
    hold = hold_of(recording, beginning)
    return {
        "kind": "frames",
        "pictures": pictures,
        "times": plain_numbers(times[chosen]),
        "lasts": float(times[chosen[-1]]) + max(hold, spacing * stride * thinner),
        "cut": _joined(beginning or end_text(recording), thinned),
    }


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def signals_payload(recording: Recording) -> dict[str, Any]:
    """The observations over the steps: those that vary most, and the rewards.

    Steps, because an environment that draws nothing mostly has no time either. An observation
    stands at a moment; a reward is that of the step from its moment to the next.
    """
    rewards = np.asarray(recording.rewards, np.float64).reshape(-1)
    observations = recording.observations
    columns = list(recording.columns)
    if observations is None:
        observations = np.zeros((len(rewards), 0))
    observations = np.asarray(observations, np.float64).reshape(len(observations), -1)
    names = columns if len(columns) == observations.shape[1] else []
    moments = max(len(observations), len(rewards))
    stride = max(1, -(-moments // MOST_SIGNAL_STEPS))
    variance = np.nan_to_num(np.var(observations, axis=0), nan=-1.0)
    chosen = np.sort(np.argsort(-variance, kind="stable")[:MOST_SIGNALS])
    cut = []
    if len(chosen) < observations.shape[1]:
        cut.append(f"the {len(chosen)} of {observations.shape[1]} observations that vary most")
    if stride > 1:
        cut.append(f"1 step in {stride}")
    return {
        "kind": "signals",
        "stride": stride,
        "series": [
            {
                "name": names[c] if names else f"observation {c}",
                "values": plain_numbers(observations[::stride, c]),
            }
            for c in chosen
        ],
        "rewards": plain_numbers(rewards[::stride]),
        "cut": _joined(end_text(recording), *cut),
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
    checked_seconds(recording.step_seconds)
    own, detail = episode_text(recording)
    told: dict[str, Any] = {"episode": own, "episode_detail": detail}
    if recording.kind == "scene":
        data, cut, lasts = exporter.export(recording)
        ending = "" if beginning_text(recording) else end_text(recording)
        return told | {"kind": "scene", "data": data, "cut": _joined(cut, ending), "lasts": lasts}
    if recording.kind == "frames":
        return told | pictures_payload(recording, most_bytes)
    return told | signals_payload(recording)
