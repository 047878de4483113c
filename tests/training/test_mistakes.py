"""Mistakes of others (callbacks, environments, devices) cost no training, and hide no error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_metrics import scalars
from tiny_runs import SIZE, final_bytes, resume, train

from heredity.common.run_folder import RunFolder
from heredity.training.callbacks import Callback
from heredity.training.checkpoints import read_checkpoint
from heredity.training.evaluation import Evaluation, Evaluator
from heredity.training.runners import DeviceRunner

SETTINGS = {"evaluate_every": 128, "checkpoint_every": 10_000, "snapshot_every": 256}


class FailingAt(Callback):
    """Makes a mistake in `on_progress`."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.ended: list[int] = []

    def on_progress(self, step: int, row: dict[str, float]) -> None:
        if step >= self.step:
            raise RuntimeError("mine")

    def on_training_end(self, step: int) -> None:
        self.ended.append(step)


def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    real = DeviceRunner.iterate
    monkeypatch.setattr(DeviceRunner, "iterate", lambda self, iterations: real(self, 1))


@pytest.mark.parametrize(("step", "owed"), [(192, False), (256, True)])
def test_a_mistake_amid_an_iteration_costs_no_training(
    tmp_path: Path, step: int, owed: bool, monkeypatch: pytest.MonkeyPatch
):
    one_at_a_time(monkeypatch)
    callback = FailingAt(step)
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(RuntimeError, match="mine") as failure:
        train(tmp_path / "run", 512, callback, **SETTINGS)
    assert failure.value.__notes__ == [
        f"heredity: what was learnt until step {step} is saved. "
        f"Go on with: heredity resume {folder.root}"
    ]
    assert callback.ended == [step]
    assert folder.checkpoint_steps()[-1] == step
    # What was due at that step is done by the resume, so that nothing is missing.
    assert (read_checkpoint(folder.checkpoint(step)).notes["owed"] is not None) == owed
    assert [event.step for event in resume(folder.root)] == [256, 384, 512]
    train(tmp_path / "whole", 512, **SETTINGS)
    assert final_bytes(folder.root, 512) == final_bytes(tmp_path / "whole", 512)
    for name in ("timesteps", "results"):
        stored = [RunFolder(tmp_path / one).read_evaluations()[name] for one in ("run", "whole")]
        assert np.array_equal(*stored), name


def test_a_mistake_after_a_divergence_saves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = DeviceRunner.iterate

    def iterate(self: DeviceRunner, iterations: int) -> dict[str, float]:
        metrics = real(self, 1)
        if self.step == 192:
            self.state.params["critic"]["output"]["bias"] *= float("nan")
            return {**metrics, "finite": 0.0}
        return metrics

    monkeypatch.setattr(DeviceRunner, "iterate", iterate)
    with pytest.raises(RuntimeError, match="mine"):
        train(tmp_path, 512, FailingAt(192), evaluate_every=128, checkpoint_every=128)
    assert RunFolder(tmp_path).checkpoint_steps()[-1] == 128


@pytest.mark.parametrize("step", [0, 256])
def test_an_evaluation_that_fails_costs_no_training(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
):
    real = Evaluator.evaluate
    calls: list[int] = []

    def evaluate(self: Evaluator, params: dict, seed: int = 0, **given: bool) -> Evaluation:
        calls.append(len(calls) * 128)
        if calls[-1] == step:
            raise RuntimeError("the renderer is gone")
        return real(self, params, seed, **given)

    with monkeypatch.context() as patched:
        patched.setattr(Evaluator, "evaluate", evaluate)
        with pytest.raises(RuntimeError, match="renderer"):
            train(tmp_path, 512, **SETTINGS)
    folder = RunFolder(tmp_path)
    assert folder.checkpoint_steps()[-1] == step
    events = resume(tmp_path)
    assert [event.step for event in events] == list(range(step, 513, 128))
    assert [event.evaluations for event in events] == list(range(step // 128 + 1, 6))
    assert folder.snapshot_steps() == [0, 256, 512]
    assert folder.read_evaluations()["timesteps"].tolist() == [0, 128, 256, 384, 512]


def test_a_device_that_fails_hides_no_error_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = DeviceRunner.iterate

    def iterate(self: DeviceRunner, iterations: int) -> dict[str, float]:
        if self.step < 128:
            return real(self, 1)
        # As when a program whose buffers were donated fails: nothing of the state is left.
        del self.state
        raise RuntimeError("out of memory")

    monkeypatch.setattr(DeviceRunner, "iterate", iterate)
    callbacks = [FailingAt(10_000), FailingAt(10_000)]
    with pytest.raises(RuntimeError, match="out of memory"):
        train(tmp_path, 512, callbacks, evaluate_every=SIZE)
    assert [callback.ended for callback in callbacks] == [[128], [128]]


def test_the_beginning_is_evaluated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def die(self: DeviceRunner, iterations: int) -> dict[str, float]:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(DeviceRunner, "iterate", die)
        with pytest.raises(RuntimeError, match="killed"):
            train(tmp_path, 256, **SETTINGS)
    assert RunFolder(tmp_path).checkpoint_steps() == [0]
    events = resume(tmp_path)
    assert [(event.step, event.evaluations) for event in events] == [(128, 2), (256, 3)]
    assert RunFolder(tmp_path).read_evaluations()["timesteps"].tolist() == [0, 128, 256]
    assert RunFolder(tmp_path).snapshot_steps() == [0, 256]


def test_rows_before_the_first_checkpoint_are_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one_at_a_time(monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr("heredity.training.loop.Run._checkpoint", lambda *words: None)
        with pytest.raises(RuntimeError, match="mine"):
            train(tmp_path, 192, FailingAt(128), log_every=64, evaluation_episodes=0)
    resume(tmp_path)
    told = [(step, name) for step, name, _ in scalars(tmp_path) if name in ("START", "train/loss")]
    # TensorBoard drops what it was told from that step on.
    assert told == [
        (64, "train/loss"),
        (0, "START"), (64, "train/loss"), (128, "train/loss"), (192, "train/loss"),
    ]  # fmt: skip
