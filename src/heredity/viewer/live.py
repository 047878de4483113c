"""The timeline in a browser while training goes on: a viser server that plays recorded rollouts."""

from __future__ import annotations

import threading
import time
import webbrowser
from pathlib import Path

from heredity.common.errors import HeredityError
from heredity.common.group_folder import is_group
from heredity.viewer.extras import require, start_server, stop_server
from heredity.viewer.group_live import GroupViewer, view_group
from heredity.viewer.panel import Panel
from heredity.viewer.players import Player, player_of
from heredity.viewer.reading import Snapshot, read_snapshots, run_folder

POLL_SECONDS = 2.0
TICK_SECONDS = 1 / 60


class LiveViewer:
    """A running viewer. One thread of its own reads the folder and moves the scene.

    Attributes:
        url: Where a browser finds it.
    """

    def __init__(self, run: Path, host: str, port: int) -> None:
        self._folder = run_folder(run)
        self._folder.read_config()
        self._server = start_server(host, port, label="heredity")
        self.url = f"http://{'localhost' if host == '0.0.0.0' else host}:{self._server.get_port()}"
        self._panel = Panel(self._server, run.resolve().name)
        self._snapshots: list[Snapshot] = []
        self._player: Player | None = None
        self._shown: int | None = None
        self._refused: dict[int, str] = {}
        self._began = 0.0
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="heredity-viewer", daemon=True)
        self._thread.start()

    @property
    def shown_step(self) -> int | None:
        """The step of the snapshot that is being played; None before the first."""
        return self._shown

    def stop(self) -> None:
        """End the server and its thread.

        Raises:
            BaseException: what the viewer's thread died of, if it did.
        """
        self._stopping.set()
        self._thread.join(timeout=10.0)
        if not self._stopped:
            self._stopped = True
            stop_server(self._server)
        if self._failure is not None:
            raise self._failure

    def wait(self) -> None:
        """Block until `stop` is called elsewhere, or the person interrupts.

        Raises:
            KeyboardInterrupt: passed on, after the server has ended.
            BaseException: what the viewer's thread died of, if it did.
        """
        try:
            # Waiting in slices, because a wait without end does not see ctrl-C everywhere.
            while not self._stopping.wait(0.5):
                pass
        except KeyboardInterrupt:
            self.stop()
            raise
        self.stop()

    def _run(self) -> None:
        try:
            next_poll = 0.0
            while not self._stopping.wait(TICK_SECONDS):
                now = time.monotonic()
                if now >= next_poll:
                    self._poll()
                    next_poll = now + POLL_SECONDS
                self._choose()
                self._play(now)
        except BaseException as error:
            # Raised by `wait` and `stop`, which is where the person is.
            self._failure = error
            self._stopping.set()

    def _poll(self) -> None:
        """See which snapshots came and which were removed."""
        known = {snapshot.step: snapshot for snapshot in self._snapshots}
        steps = self._folder.snapshot_steps()
        notes: list[str] = []
        fresh = read_snapshots(self._folder, [s for s in steps if s not in known], notes)
        found = {**{s: known[s] for s in steps if s in known}, **{s.step: s for s in fresh}}
        snapshots = [found[step] for step in sorted(found)]
        if snapshots != self._snapshots:
            self._snapshots = snapshots
            self._panel.list_snapshots(snapshots, self._shown)
        self._panel.tell_notes([*notes, *self._refused.values()])

    def _choose(self) -> None:
        """Load the snapshot that the panel asks for, if it is another one."""
        wanted = self._panel.wanted
        if wanted is None or wanted == self._shown:
            return
        snapshot = next((s for s in self._snapshots if s.step == wanted), None)
        if snapshot is None:
            return
        self._began = time.monotonic()
        recording = None
        try:
            recording = snapshot.recording() if snapshot.has_rollout else None
            self._player = player_of(self._server, recording, self._player)
            self._refused.pop(wanted, None)
        except HeredityError as error:
            reason = getattr(error, "problem", str(error))
            self._refused[wanted] = f"The rollout at step {wanted:,} cannot be shown: {reason}"
            recording = None
            self._player = player_of(self._server, None, self._player)
            self._panel.tell_notes(list(self._refused.values()))
        self._panel.tell(snapshot, recording)
        self._shown = wanted

    def _play(self, now: float) -> None:
        """Show the frame that it is time for."""
        player = self._player
        if player is None:
            return
        if not self._panel.playing:
            # The clock stands still: what has been played so far stays played.
            self._began = now - player.at
            return
        position = player.at + (now - self._began - player.at) * self._panel.speed
        self._began = now - position
        if position >= player.seconds:
            self._began = now
            position = 0.0
            self._panel.finished()
        player.seek(position)


def view(
    run: Path | str, host: str = "127.0.0.1", port: int = 8080, open_browser: bool = True
) -> LiveViewer | GroupViewer:
    """Show a run's timeline in the browser, finished or still going.

    Of a run of several seeds it is the report over them; the timeline of one seed is that of its
    folder.

    Args:
        run: The run folder.
        host: Address to listen on; the default is seen from this machine alone.
        port: Port to listen on; if it is taken, the next free one.
        open_browser: Whether to open a browser window at it.

    Returns:
        The running viewer: its `wait` blocks, its `stop` ends it.

    Raises:
        RefusedError: when `run` is not a run folder.
        MissingExtraError: when viser or plotly is not installed.
    """
    if is_group(Path(run)):
        return view_group(run, host, port, open_browser)
    require("the live viewer")
    viewer = LiveViewer(Path(run), host, port)
    if open_browser:
        webbrowser.open(viewer.url)
    return viewer
