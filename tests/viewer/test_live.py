import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from viewer_browser import Browser
from viewer_runs import ant_recording, write_run

from heredity.common.run_folder import RunFolder
from heredity.viewer import LiveViewer, live, view


@contextlib.contextmanager
def viewing(run: Path) -> Iterator[LiveViewer]:
    viewer = view(run, port=8720, open_browser=False)
    try:
        yield viewer
    finally:
        viewer.stop()


def wait(test: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < end, "not within the time"
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_SECONDS", 0.1)


@pytest.mark.parametrize("kind", ["scene", "frames", "signals"])
def test_each_kind_of_rollout_is_played(kind: str, tmp_path: Path):
    run = write_run(tmp_path / "run", kind=kind, snapshots=3, steps=20)
    with viewing(run) as viewer:
        wait(lambda: viewer.shown_step == 50_000_000)
        player = viewer._player
        assert player is not None
        wait(lambda: player.at > 0.1)
        assert player.at < player.seconds


def test_new_snapshots_appear_and_removed_ones_go(tmp_path: Path):
    source = RunFolder(write_run(tmp_path / "source", kind="signals", snapshots=4, steps=20))
    run = write_run(tmp_path / "run", snapshots=0)
    steps = source.snapshot_steps()
    with viewing(run) as viewer:
        time.sleep(0.3)
        assert viewer.shown_step is None
        for step in steps[:2]:
            shutil.copytree(source.snapshot(step), RunFolder(run).snapshot(step))
            wait(lambda step=step: viewer.shown_step == step)
        shutil.rmtree(RunFolder(run).snapshot(steps[1]))
        wait(lambda: viewer.shown_step == steps[0])


def test_a_person_who_looks_at_an_older_snapshot_is_left_alone(tmp_path: Path):
    source = RunFolder(write_run(tmp_path / "source", kind="signals", snapshots=4, steps=20))
    run = write_run(tmp_path / "run", snapshots=0)
    steps = source.snapshot_steps()
    for step in steps[:3]:
        shutil.copytree(source.snapshot(step), RunFolder(run).snapshot(step))
    with viewing(run) as viewer:
        wait(lambda: viewer.shown_step == steps[2])
        viewer._panel._move(-1)
        wait(lambda: viewer.shown_step == steps[1])
        shutil.copytree(source.snapshot(steps[3]), RunFolder(run).snapshot(steps[3]))
        wait(lambda: len(viewer._snapshots) == 4)
        time.sleep(0.3)
        assert viewer.shown_step == steps[1]


def test_a_torn_rollout_is_told_and_does_not_end_the_viewer(tmp_path: Path):
    run = write_run(tmp_path / "run", snapshots=3, steps=20)
    last = RunFolder(run).snapshot(50_000_000) / "rollout" / "recording.safetensors"
    last.write_bytes(b"torn")
    with viewing(run) as viewer:
        wait(lambda: "50,000,000" in viewer._panel._notes.content)
        viewer._panel._move(-1)
        wait(lambda: viewer.shown_step == 25_000_000)


def test_a_failure_of_its_thread_is_raised_where_the_person_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = write_run(tmp_path / "run", kind="signals", snapshots=1, steps=5)

    def fail(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(live, "player_of", fail)
    viewer = view(run, port=8720, open_browser=False)
    with pytest.raises(RuntimeError, match="on purpose"):
        viewer.wait()


def test_stopping_twice_is_stopping_and_the_port_is_free_again(tmp_path: Path):
    run = write_run(tmp_path / "run", kind="signals", snapshots=1, steps=5)
    viewer = view(run, port=8740, open_browser=False)
    url = viewer.url
    viewer.stop()
    viewer.stop()
    again = view(run, port=8740, open_browser=False)
    assert again.url == url
    again.stop()


def tint(picture: np.ndarray) -> tuple[int, int]:
    """How many pixels are clearly red and clearly blue, left of the controls."""
    red, green, blue = np.moveaxis(picture[:, :600].astype(np.int32), -1, 0)
    return int(np.sum(red - np.maximum(green, blue) > 60)), int(np.sum(blue - red > 60))


def test_moving_the_slider_moves_the_scene(browser: Browser, tmp_path: Path):
    run = write_run(tmp_path / "ant", snapshots=3, steps=40, tinted=True)

    def picture() -> tuple[int, int]:
        return tint(browser.screenshot(tmp_path / "live.png"))

    with viewing(run) as viewer:
        browser.open(viewer.url, 960, 600)
        browser.wait_until(lambda: picture()[0] > 2000, "a red ant")
        browser.evaluate("document.querySelector('[role=slider]').focus()")
        browser.key("Home")
        wait(lambda: viewer.shown_step == 0)
        browser.wait_until(lambda: picture()[1] > 2000 > picture()[0], "a blue ant")
        browser.wait_for("document.body.textContent.includes('snapshot 1 of 3')")
        assert browser.strangers == []
        assert any(url.startswith("ws://127.0.0.1") for url in browser.requests)
        assert browser.complaints == []


def test_the_scene_of_one_geometry_is_not_built_again(tmp_path: Path):
    run = write_run(tmp_path / "ant", snapshots=2, steps=20)
    with viewing(run) as viewer:
        wait(lambda: viewer.shown_step == 50_000_000)
        stage = viewer._player._stage  # type: ignore[union-attr]
        viewer._panel._move(-1)
        wait(lambda: viewer.shown_step == 0)
        assert viewer._player._stage is stage  # type: ignore[union-attr]
    assert ant_recording(0.0).scene == ant_recording(1.0).scene
