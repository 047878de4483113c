"""Boundaries follow from the step; what a signal puts off is done by whoever resumes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import heredity as hd
from heredity.common.run_folder import RunFolder
from heredity.training.boundaries import Boundaries
from heredity.training.runners import DeviceRunner
from heredity.training.settings import RunSettings
from heredity.training.signals import TrainingInterrupted


def test_a_boundary_is_the_first_multiple_after_a_step() -> None:
    settings = RunSettings(1_000, log_every=300, snapshot_every=250, checkpoint_every=400)
    boundaries = Boundaries(settings, [70])
    assert [boundaries.next(step) for step in (0, 70, 245, 250, 999)] == [70, 140, 250, 280, 1_000]


def test_the_end_is_a_boundary_of_every_kind() -> None:
    due = Boundaries(RunSettings(1_000, snapshot_every=600), []).due(990, 1_010)
    assert (due.log, due.evaluation, due.snapshot, due.checkpoint) == (True, True, True, True)


def test_a_run_without_snapshots_never_owes_one() -> None:
    assert not Boundaries(RunSettings(1_000), []).due(990, 1_010).snapshot


@pytest.mark.parametrize("total", [512, 1_024])
def test_a_snapshot_put_off_by_a_signal_is_taken_by_the_resume(
    total: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal in the stretch that ends at step 512, where a snapshot is due."""
    iterate = DeviceRunner.iterate

    def iterate_and_ask(self: DeviceRunner, iterations: int) -> dict[str, float]:
        metrics = iterate(self, iterations)
        if self.step == 512:
            signal.raise_signal(signal.SIGTERM)
        return metrics

    monkeypatch.setattr(DeviceRunner, "iterate", iterate_and_ask)
    model = hd.PPO("probe/constant-reward", num_envs=8, num_steps=16, num_minibatches=2)
    with pytest.raises(TrainingInterrupted):
        list(model.run(total, tmp_path / "run", snapshot_every=256, evaluation_episodes=2))
    folder = RunFolder(tmp_path / "run")
    assert folder.checkpoint_steps()[-1] == 512
    assert folder.snapshot_steps() == [0, 256]

    monkeypatch.setattr(DeviceRunner, "iterate", iterate)
    steps = [event.step for event in hd.resume(tmp_path / "run").run()]
    assert steps == list(range(512, total + 1, 256))
    assert folder.snapshot_steps() == list(range(0, total + 1, 256))
