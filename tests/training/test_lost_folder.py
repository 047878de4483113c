"""A run whose folder is moved, removed or replaced while it trains."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_runs import resume, train

from heredity.common.errors import LostFolderError
from heredity.common.run_folder import RunFolder
from heredity.training.callbacks import Callback


class Then(Callback):
    """Does something once, at a step."""

    def __init__(self, step: int, what: Callable[[], object]) -> None:
        self._step, self._what = step, what

    def on_progress(self, step: int, row: dict[str, float]) -> None:
        if step >= self._step:
            self._step = 10**9
            self._what()


SETTINGS = {"checkpoint_every": 64, "evaluate_every": 256, "log_every": 10_000}


OFTEN = {**SETTINGS, "snapshot_every": 64, "log_every": 64}


@pytest.mark.parametrize("settings", [SETTINGS, OFTEN], ids=["seldom", "often"])
def test_a_run_that_is_moved_ends_and_is_resumed_where_it_lies(tmp_path: Path, settings: dict):
    run, there = tmp_path / "run", tmp_path / "there"
    with pytest.raises(LostFolderError, match=rf"^{run}: was moved.*resume it where it lies now"):
        train(run, 512, Then(192, lambda: run.rename(there)), **settings)
    assert not run.exists()
    assert resume(there)[-1].step == 512


def remove(folder: Path) -> None:
    """Whole, although somebody is writing into it."""
    aside = folder.with_name("aside")
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def test_a_run_that_is_removed_is_not_made_anew(tmp_path: Path):
    run = tmp_path / "run"
    with pytest.raises(LostFolderError):
        train(run, 256, Then(128, lambda: remove(run)), **SETTINGS)
    assert not run.exists()


def test_a_run_without_its_config_is_told(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    with pytest.raises(LostFolderError, match=r"run: has lost its config\.json"):
        train(run.root, 256, Then(128, run.config.unlink), **SETTINGS)


def test_a_run_that_is_put_back_in_time_goes_on(tmp_path: Path):
    run, there = tmp_path / "run", tmp_path / "there"

    def move_and_put_back() -> None:
        # No checkpoint is due before the end: one that is just being written would miss its folder.
        assert not any(run.glob("checkpoints/*"))
        run.rename(there)
        there.rename(run)

    seldom = {**SETTINGS, "checkpoint_every": 256}
    assert train(run, 256, Then(128, move_and_put_back), **seldom)[-1].step == 256
