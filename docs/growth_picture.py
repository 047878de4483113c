"""The picture at the top of the README: what a run recorded at some of its snapshots, side by side.

Train the run of the README, then draw it, with the extras ``brax`` and ``viewer`` and Chromium::

    heredity train ppo --env brax/ant --env.backend positional --total-timesteps 5e6 --seed 0 \
        --directory runs/ant --snapshot-every 5e5
    python docs/growth_picture.py runs/ant docs/pictures/ant-grows.webp --snapshots 0 1 4 10

Each panel plays the same seconds of a recorded episode, drawn by the viewer, frame by frame and not
in real time, so that a slow machine draws the same picture.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import heredity.viewer.stage
from heredity.common.recording import Recording, Scene
from heredity.common.run_folder import RunFolder
from heredity.viewer.extras import start_server, stop_server
from heredity.viewer.motion import Motion, motion_of
from heredity.viewer.players import sky
from heredity.viewer.reading import Snapshot, read_snapshots
from heredity.viewer.stage import Stage

# The browser of the viewer's tests.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "viewer"))
from viewer_browser import find_chromium, open_browser

WIDTH, HEIGHT, GAP = 236, 190, 4
FRAMES_PER_SECOND = 20.0
HOLD_SECONDS = 1.0  # of the last frame
QUALITY = 60
INK, PALE = (38, 44, 52), (96, 104, 116)


def drawn(recording: Recording, start: float, seconds: float) -> list[Image.Image]:
    """The frames of a recording, as the viewer shows them.

    Args:
        recording: With a scene.
        start: From which second of the episode on.
        seconds: How long.
    """
    if recording.scene is None:
        sys.exit("these snapshots have no scene in 3-D")
    motion = motion_of(recording, FRAMES_PER_SECOND, np.inf)
    first = round(start / motion.seconds_per_frame)
    wanted = range(first, min(first + round(seconds / motion.seconds_per_frame), motion.frames))
    # What runs at 8 m/s passes nearly one fine line of the floor in a frame: they would seem to
    # stand still or to go backwards, as the spokes of a wheel in a film.
    heredity.viewer.stage.FLOOR_CELL = heredity.viewer.stage.FLOOR_SECTION
    frames: list[Image.Image] = []
    while len(frames) < len(wanted):
        before = len(frames)
        try:
            _draw(recording.scene, motion, wanted[before:], frames)
        except TimeoutError as error:  # a browser may stop answering on a busy machine
            if len(frames) == before:
                raise
            print(f"a new browser goes on at frame {len(frames)}: {error}", flush=True)
    return frames


def _draw(scene: Scene, motion: Motion, wanted: Sequence[int], frames: list[Image.Image]) -> None:
    """Add the frames that are wanted of one motion, with a browser of its own."""
    executable = find_chromium()
    if executable is None:
        sys.exit("no Chromium on this machine (Debian: apt-get install chromium)")
    server = start_server("127.0.0.1", 8790)
    try:
        stage = Stage(server, scene)
        server.scene.set_background_image(sky(), format="png")
        stage.look(motion)
        with open_browser(executable) as browser:
            browser.open(f"http://127.0.0.1:{server.get_port()}", WIDTH, HEIGHT)
            browser.wait_until(lambda: bool(server.get_clients()), "the viewer's client")
            (client,) = server.get_clients().values()

            def picture(frame: int) -> np.ndarray:
                stage.show(motion, frame)
                server.flush()
                found = client.get_render(HEIGHT, WIDTH, transport_format="png", timeout=60.0)
                return found[..., :3]

            # Camera and sky come a little after the page: until then nothing stands still.
            now = before = picture(wanted[0])
            for _ in range(60):
                time.sleep(1.0)
                before, now = now, picture(wanted[0])
                if now[0].min() > 100 and (before == now).all():
                    break
            else:
                raise TimeoutError("the scene was not there after a minute")
            for frame in wanted:
                frames.append(Image.fromarray(picture(frame)))
    finally:
        stop_server(server)


def moved(recording: Recording, start: float, until: float) -> float:
    """How far the tracked body is at one moment from where it was at another, metres."""
    assert recording.positions is not None and recording.scene is not None
    path = recording.positions[:, recording.scene.tracked_body, :2]
    a, b = (min(round(t / recording.step_seconds), len(path) - 1) for t in (start, until))
    return float(np.linalg.norm(path[b] - path[a]))


def joined(
    panels: Sequence[Sequence[Image.Image]],
    snapshots: Sequence[Snapshot],
    recordings: Sequence[Recording],
    start: float,
) -> list[Image.Image]:
    """Panels side by side, each with its step, its score and how far it has come."""
    bold, plain = ImageFont.load_default(15), ImageFont.load_default(13)
    frames = []
    for index in range(max(map(len, panels))):
        whole = Image.new("RGB", (len(panels) * (WIDTH + GAP) - GAP, HEIGHT), "white")
        draw = ImageDraw.Draw(whole)
        for place, frames_of_one in enumerate(panels):
            x = place * (WIDTH + GAP)
            at = min(index, len(frames_of_one) - 1)
            whole.paste(frames_of_one[at], (x, 0))
            snapshot, recording = snapshots[place], recordings[place]
            until = start + at / FRAMES_PER_SECOND
            draw.text((x + 9, 6), f"step {snapshot.step:,}", INK, bold)
            if snapshot.score is not None:
                draw.text((x + 9, 25), f"mean return {snapshot.score.mean:,.0f}", PALE, plain)
            told = f"{moved(recording, start, until):.1f} m"
            draw.text((x + WIDTH - 9, 6), told, INK, bold, anchor="ra")
        frames.append(whole)
    return frames


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path, help="a .webp")
    parser.add_argument("--snapshots", type=int, nargs="+", help="which, counted from 0")
    parser.add_argument("--start", type=float, default=10.0, help="second of the episode")
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    folder = RunFolder(given.run)
    steps = [folder.snapshot_steps()[place] for place in given.snapshots]
    snapshots = read_snapshots(folder, steps, notes := [])
    if notes:
        sys.exit("\n".join(notes))
    recordings = [snapshot.recording() for snapshot in snapshots]
    panels = []
    for snapshot, recording in zip(snapshots, recordings, strict=True):
        panels.append(drawn(recording, given.start, given.seconds))
        print(f"step {snapshot.step:,} is drawn", flush=True)
    first, *others = joined(panels, snapshots, recordings, given.start)
    tick = round(1000 / FRAMES_PER_SECOND)
    durations = [tick] * len(others) + [round(1000 * HOLD_SECONDS)]
    first.save(
        given.output,
        save_all=True,
        append_images=others,
        duration=durations,
        loop=0,
        quality=QUALITY,
        method=6,
    )
    print(f"{given.output}: {given.output.stat().st_size / 1e6:.2f} MB, {len(durations)} frames")


if __name__ == "__main__":
    main()
