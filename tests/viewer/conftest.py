"""Run folders to look at, and a browser to look with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The helpers beside this file are found however pytest imports the tests.
sys.path.insert(0, str(Path(__file__).parent))

from viewer_browser import Browser, find_chromium, open_browser
from viewer_runs import write_run


@pytest.fixture
def scene_run(tmp_path: Path) -> Path:
    """Ten snapshots with a short rollout in 3-D."""
    return write_run(tmp_path / "ant", snapshots=10, steps=40)


@pytest.fixture
def frames_run(tmp_path: Path) -> Path:
    """Four snapshots with pictures."""
    return write_run(tmp_path / "ball", kind="frames", snapshots=4, steps=30)


@pytest.fixture
def signals_run(tmp_path: Path) -> Path:
    """Four snapshots with nothing but numbers."""
    return write_run(tmp_path / "pole", kind="signals", snapshots=4)


@pytest.fixture
def empty_run(tmp_path: Path) -> Path:
    """A run that has only begun."""
    run = write_run(tmp_path / "begun", snapshots=0)
    (run / "metrics.csv").unlink()
    return run


@pytest.fixture(scope="session")
def _process() -> Iterator[Browser]:
    executable = find_chromium()
    if executable is None:
        reason = "no chromium on this machine (Debian: apt-get install chromium)"
        if os.environ.get("HEREDITY_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with open_browser(executable) as opened:
        yield opened


@pytest.fixture
def browser(_process: Browser) -> Browser:
    """A browser that has asked for nothing yet."""
    _process.forget()
    return _process
