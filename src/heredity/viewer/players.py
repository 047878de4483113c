"""What the live viewer plays: a scene, pictures, or curves. Each can be sought to any moment."""

from __future__ import annotations

import abc
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from heredity.common.errors import UsageError
from heredity.common.recording import Recording, Scene
from heredity.viewer.endings import hold_of
from heredity.viewer.motion import motion_of
from heredity.viewer.rollouts import picture_times, picture_type, signals_payload
from heredity.viewer.stage import Stage, check_scene

if TYPE_CHECKING:
    import viser

# A picture stands upright, this many metres high, in front of a camera that looks along +y.
PICTURE_HEIGHT = 2.0
UPRIGHT = (np.sqrt(0.5), -np.sqrt(0.5), 0.0, 0.0)
CHART_COLORS = ("#0f766e", "#d97706", "#4f63d2", "#be4a7d", "#5f8a1f", "#7c4dbd", "#0e84ad")


def sky(height: int = 512) -> np.ndarray:
    """A backdrop (height, 2, 3): pale above, the colour of the floor below."""
    stops = ([0.0, 0.42, 1.0], np.array([[223, 230, 238], [244, 245, 244], [236, 234, 228]]))
    at = np.linspace(0, 1, height)
    column = np.stack([np.interp(at, stops[0], stops[1][:, c]) for c in range(3)], axis=-1)
    return np.repeat(column.round().astype(np.uint8)[:, None], 2, axis=1)


class Player(abc.ABC):
    """One rollout that is being played.

    Attributes:
        seconds: How long it lasts.
        at: The moment that is shown, seconds from its beginning.
    """

    seconds: float
    at: float = 0.0

    @abc.abstractmethod
    def seek(self, position: float) -> None:
        """Show a moment, in seconds from the beginning."""

    @abc.abstractmethod
    def remove(self) -> None:
        """Take it off the screen."""


class ScenePlayer(Player):
    """A rollout in 3-D."""

    def __init__(
        self, server: viser.ViserServer, recording: Recording, before: Player | None
    ) -> None:
        assert recording.scene is not None
        motion = motion_of(recording, max_seconds=np.inf)
        self.scene: Scene = recording.scene
        if isinstance(before, ScenePlayer) and before.scene == self.scene:
            # The same geometry stays, and with it the camera that a person has turned.
            self._stage = before._stage
        else:
            check_scene(self.scene)
            if before is not None:
                before.remove()
            self._stage = Stage(server, self.scene)
            self._stage.look(motion)
            server.scene.set_background_image(sky(), format="png")
        self._server = server
        self._motion = motion
        self._frame = -1
        self.seconds = motion.frames * motion.seconds_per_frame + hold_of(recording, motion.cut)
        self.seek(0.0)

    def seek(self, position: float) -> None:
        self.at = position
        frame = min(int(position / self._motion.seconds_per_frame), self._motion.frames - 1)
        if frame != self._frame:
            with self._server.atomic():
                self._stage.show(self._motion, frame)
            self._frame = frame

    def remove(self) -> None:
        self._stage.remove()
        self._server.scene.set_background_image(None)


class PicturePlayer(Player):
    """A rollout as the environment drew it."""

    def __init__(self, server: viser.ViserServer, recording: Recording) -> None:
        for index, data in enumerate(recording.frames):
            if picture_type(data) is None:
                raise UsageError(f"picture {index} is neither JPEG nor PNG")
        self._pictures = recording.frames
        self._times = picture_times(recording)
        first = self._decoded(0)
        server.scene.set_up_direction("+z")
        camera = server.initial_camera
        camera.fov = float(np.deg2rad(40.0))
        camera.look_at = (0.0, 0.0, 0.0)
        camera.position = (0.0, -1.6 * PICTURE_HEIGHT, 0.0)
        self._image = server.scene.add_image(
            "/picture",
            first,
            render_width=PICTURE_HEIGHT * first.shape[1] / first.shape[0],
            render_height=PICTURE_HEIGHT,
            wxyz=UPRIGHT,
        )
        self._frame = 0
        self.seconds = float(self._times[-1]) + max(hold_of(recording, ""), recording.step_seconds)

    def _decoded(self, index: int) -> np.ndarray:
        # Pillow comes with viser.
        from PIL import Image, UnidentifiedImageError

        try:
            return np.asarray(Image.open(io.BytesIO(self._pictures[index])).convert("RGB"))
        except (UnidentifiedImageError, OSError) as error:
            raise UsageError(f"picture {index} cannot be decoded ({error})") from None

    def seek(self, position: float) -> None:
        self.at = position
        frame = max(0, int(np.searchsorted(self._times, position + 1e-9, side="right")) - 1)
        if frame != self._frame:
            self._image.image = self._decoded(frame)
            self._frame = frame

    def remove(self) -> None:
        self._image.remove()


class SignalPlayer(Player):
    """A rollout of an environment that shows nothing: its observations over time."""

    def __init__(self, server: viser.ViserServer, recording: Recording) -> None:
        payload = signals_payload(recording)
        rewards = payload["rewards"]
        count = max([len(rewards), *(len(one["values"]) for one in payload["series"])])
        columns = [(one["name"], one["values"]) for one in payload["series"]]
        # The last reward is drawn to the end of its step.
        columns.append(("reward", rewards + rewards[-1:] * (count - len(rewards))))
        moments = np.arange(count) * payload["stride"]
        values = [np.array(column, np.float64) for _, column in columns]
        # None has become NaN; the chart takes a held value better than a hole.
        held = [np.nan_to_num(column, nan=0.0) for column in values]
        series: list[Any] = [
            {
                "label": name,
                "stroke": CHART_COLORS[i % len(CHART_COLORS)],
                "width": 1.5,
                "points": {"show": False},
            }
            for i, (name, _) in enumerate(columns)
        ]
        self._panel = server.gui.add_panel()
        with self._panel.add_tab("Observations over steps"):
            # The reward has a scale of its own, and so a chart of its own.
            for first, last, aspect in ((0, -1, 2.2), (-1, None, 6.0)):
                if held[first:last]:
                    server.gui.add_uplot(
                        data=(moments, *held[first:last]),
                        series=({"label": "step"}, *series[first:last]),
                        scales={"x": {"time": False}},
                        axes=({"stroke": "#777"}, {"stroke": "#777", "size": 56}),
                        aspect=aspect,
                    )
        self._panel.float(x=24, y=24, width=760)
        self.seconds = max(len(moments) * payload["stride"] * recording.step_seconds, 2.0)

    def seek(self, position: float) -> None:
        self.at = position

    def remove(self) -> None:
        self._panel.remove()


class EmptyPlayer(Player):
    """Nothing was recorded."""

    seconds = 1.0

    def seek(self, position: float) -> None:
        self.at = position

    def remove(self) -> None:
        return


def player_of(
    server: viser.ViserServer, recording: Recording | None, before: Player | None
) -> Player:
    """What plays a recording; what was played before it is taken off the screen.

    Raises:
        UsageError: when the recording makes no sense; what was before it stays.
    """
    if recording is not None and recording.kind == "scene":
        return ScenePlayer(server, recording, before)
    player: Player
    if recording is None:
        player = EmptyPlayer()
    elif recording.kind == "frames":
        player = PicturePlayer(server, recording)
    else:
        player = SignalPlayer(server, recording)
    # Two pictures share one name in the scene; removing the older would remove the newer.
    if before is not None and not (
        isinstance(before, PicturePlayer) and isinstance(player, PicturePlayer)
    ):
        before.remove()
    return player
