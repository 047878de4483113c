"""The live viewer's controls: which snapshot, how fast, and what it scored."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heredity.common.recording import Recording
from heredity.common.words import counted
from heredity.viewer.endings import end_text, episode_text
from heredity.viewer.formatting import mean_text, spread_text
from heredity.viewer.markup import escape
from heredity.viewer.reading import Snapshot, short_hash

if TYPE_CHECKING:
    import viser

SPEEDS = {"0.25×": 0.25, "0.5×": 0.5, "1×": 1.0, "2×": 2.0, "4×": 4.0}
ACCENT = (15, 118, 110)
MUTED = "opacity:.65;font-size:.85em"


def _unit(most: float) -> tuple[str, float]:
    """What steps are counted in on an axis that has little room."""
    for name, size in (("billion ", 1e9), ("million ", 1e6), ("thousand ", 1e3)):
        if most >= size:
            return name, size
    return "", 1.0


class Panel:
    """The controls and what they are set to.

    viser calls back on threads of its own; they only write down what is wanted, and the viewer's
    one thread does it.
    """

    def __init__(self, server: viser.ViserServer, name: str) -> None:
        self._lock = threading.Lock()
        self._snapshots: list[Snapshot] = []
        self._wanted: int | None = None
        gui = server.gui
        # Sharing would send the scene through a server on the internet.
        gui.configure_theme(brand_color=ACCENT, show_logo=False, show_share_button=False)
        gui.set_panel_label("heredity")
        self._gui = gui
        gui.add_html(
            f'<div style="padding:.4em 1em 0;overflow-wrap:anywhere"><b>{escape(name)}</b></div>'
        )
        self._told = gui.add_html(self._waiting())
        self._slider = gui.add_slider("Snapshot", 1, 2, 1, 1, disabled=True)
        self._turn = gui.add_button_group("Move", ("Previous", "Next"))
        self._playing = gui.add_checkbox("Play", True)
        self._speed = gui.add_dropdown("Speed", tuple(SPEEDS), initial_value="1×")
        self._through = gui.add_checkbox(
            "Play through", False, hint="After a rollout, go on with the next snapshot"
        )
        self._newest = gui.add_checkbox(
            "Follow training", True, hint="Show each new snapshot as soon as it is there"
        )
        self._curve: Any = None
        self._unit = ""
        self._notes = gui.add_html("", visible=False)
        self._slider.on_update(self._on_slider)
        self._turn.on_click(self._on_turn)

    @property
    def wanted(self) -> int | None:
        """The step of the snapshot that is to be shown; None while there is none."""
        with self._lock:
            return self._wanted

    @property
    def playing(self) -> bool:
        """Whether time runs."""
        return bool(self._playing.value)

    @property
    def speed(self) -> float:
        """How fast time runs; 1 is the environment's own."""
        return SPEEDS[self._speed.value]

    def finished(self) -> None:
        """A rollout has been played to its end."""
        if self._through.value:
            self._move(1)

    def list_snapshots(self, snapshots: Sequence[Snapshot], shown: int | None) -> None:
        """Take over the snapshots that there are now."""
        with self._lock:
            newest = self._snapshots[-1].step if self._snapshots else None
            self._snapshots = list(snapshots)
            steps = [s.step for s in self._snapshots]
            if not steps:
                self._wanted = None
            elif shown is None or (self._newest.value and steps[-1] != newest):
                self._wanted = steps[-1]
            elif shown not in steps:
                # It was removed to save space: the nearest that is left takes its place.
                self._wanted = min(steps, key=lambda step: abs(step - shown))
            position = steps.index(self._wanted) if self._wanted is not None else 0
        self._slider.max = max(2, len(steps))
        self._slider.disabled = len(steps) < 2
        self._slider.value = position + 1
        self._draw_curve()
        if not steps:
            self._told.content = self._waiting()

    def tell(self, snapshot: Snapshot, recording: Recording | None) -> None:
        """Write what the snapshot that is shown has scored, and its episode that is played."""
        score = snapshot.score
        returned = mean_text(score) if score else "not evaluated"
        spread = f' <span style="{MUTED}">{spread_text(score)}</span>' if score else ""
        known = score.episodes if score else None
        episodes = f"mean of {counted(known, 'episode')}" if known is not None else ""
        played = ""
        if recording is not None:
            own, steps = episode_text(recording)
            ending = f"<br>{escape(end_text(recording))}" if recording.end else ""
            played = f'<br><span style="{MUTED}">shown: <b>{own}</b> {steps}{ending}</span>'
        position = [s.step for s in self._snapshots].index(snapshot.step)
        self._slider.value = position + 1
        self._told.content = (
            f'<div style="padding:.2em 1em .6em"><span style="{MUTED}">snapshot {position + 1} of '
            f"{len(self._snapshots):,}, step {snapshot.step:,}</span><br>"
            f'<span style="font-size:1.7em;font-weight:650">{returned}</span>{spread}<br>'
            f'<span style="{MUTED}">{episodes} <code title="{escape(snapshot.policy_hash)}">'
            f"{escape(short_hash(snapshot.policy_hash))}</code></span>{played}</div>"
        )
        self._draw_curve()

    def tell_notes(self, notes: Sequence[str]) -> None:
        """Write what could not be shown; nothing if there is nothing."""
        listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
        content = f'<ul style="padding:0 1em 0 2em;font-size:.85em">{listed}</ul>' if notes else ""
        if self._notes.content != content:
            self._notes.content = content
            self._notes.visible = bool(notes)

    def _on_slider(self, event: Any) -> None:
        # Values that this program writes come back here as well, without a client.
        if event.client is None:
            return
        with self._lock:
            position = int(self._slider.value) - 1
            if 0 <= position < len(self._snapshots):
                self._wanted = self._snapshots[position].step
        self._newest.value = position == len(self._snapshots) - 1

    def _on_turn(self, event: Any) -> None:
        self._move(-1 if event.target.value == "Previous" else 1)

    def _move(self, by: int) -> None:
        with self._lock:
            steps = [s.step for s in self._snapshots]
            if self._wanted not in steps:
                return
            position = min(max(steps.index(self._wanted) + by, 0), len(steps) - 1)
            self._wanted = steps[position]
        self._newest.value = position == len(steps) - 1

    def _draw_curve(self) -> None:
        """The return over steps; the stretch up to the shown snapshot is filled."""
        with self._lock:
            scored = [(s.step, s.score.mean) for s in self._snapshots if s.score is not None]
            until = self._wanted if self._wanted is not None else 0
        if len(scored) < 2:
            return
        steps, means = (np.array(column, np.float64) for column in zip(*scored, strict=True))
        unit, size = _unit(float(steps[-1]))
        # From zero, because the area below the curve is filled.
        low, high = min(0.0, float(means.min())), max(0.0, float(means.max()))
        margin = 0.06 * (high - low) or 1.0
        floor = low - margin
        # Beyond the shown snapshot the second curve lies on the floor, where it is not seen.
        past = np.where(steps <= until, means, floor)
        data = (steps / size, means, past)
        scales = {"x": {"time": False}, "y": {"range": (floor, high + margin)}}
        if self._curve is None or unit != self._unit:
            if self._curve is not None:
                self._curve.remove()
            self._unit = unit
            self._curve = self._gui.add_uplot(
                data=data,
                series=(
                    {"label": "step"},
                    {
                        "label": "return",
                        "stroke": "#0f766e",
                        "width": 2,
                        "points": {"show": len(scored) < 40},
                    },
                    {
                        "label": "",
                        "stroke": "#0f766e00",
                        "fill": "#0f766e2b",
                        "width": 0,
                        "points": {"show": False},
                    },
                ),
                scales=scales,
                title=f"Return over {unit}steps",
                axes=({"stroke": "#777"}, {"stroke": "#777", "size": 56}),
                legend={"show": False},
                aspect=1.9,
            )
        else:
            self._curve.data = data
            self._curve.scales = scales

    @staticmethod
    def _waiting() -> str:
        return f'<div style="padding:.2em 1em .6em;{MUTED}">Waiting for the first snapshot…</div>'
