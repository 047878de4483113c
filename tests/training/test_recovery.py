"""What a run goes back to, and what it remembers of how it came there."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import Fault, Faulty, diverging, metrics_steps, resume, scoring, train

from heredity.common.errors import DivergedError
from heredity.common.run_folder import RunFolder
from heredity.policies import LineageEntry
from heredity.training.checkpoints import read_checkpoint, verify_checkpoint
from heredity.training.runners import DeviceRunner

ROLLBACK = {"checkpoint_every": 128, "on_divergence": "rollback", "keep_last": 99}


def rollbacks(directory: Path, step: int) -> list[tuple[int, int, int]]:
    """Step gone back to, attempt, step of the divergence; of each rollback in the lineage."""
    entries = read_checkpoint(RunFolder(directory).checkpoint(step)).lineage.entries
    check_chain(entries)
    return [
        (entry.step, entry.arguments["attempt"], entry.arguments["diverged_at"])
        for entry in entries
        if entry.operation == "rollback"
    ]


def check_chain(entries: tuple[LineageEntry, ...]) -> None:
    """Every entry but the first comes from one before it."""
    hashes: list[str | None] = [None]
    for entry in entries:
        assert entry.parent in hashes, entry
        hashes.append(entry.hash)


def damage(directory: Path, step: int) -> None:
    (RunFolder(directory).checkpoint(step) / "policy" / "model.safetensors").write_bytes(b"")


# --- rollbacks ------------------------------------------------------------------------------------


def test_every_rollback_is_recorded_and_draws_differently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lost = diverging(monkeypatch, [320, 320, 448])
    train(tmp_path, 512, evaluation_episodes=0, **ROLLBACK)
    expected = [(256, 1, 320), (256, 2, 320), (384, 3, 448)]
    assert rollbacks(tmp_path, 512) == expected
    assert len(lost) == 3 and not np.array_equal(lost[0], lost[1])
    resume(tmp_path, total_timesteps=576)
    assert rollbacks(tmp_path, 576) == expected
    # The checkpoint that was gone back to tells of them as well.
    entries = read_checkpoint(RunFolder(tmp_path).checkpoint(256)).lineage.entries
    assert [entry.operation for entry in entries] == [
        "train", "checkpoint", "rollback", "rollback", "checkpoint",
    ]  # fmt: skip


def test_a_run_that_dies_after_a_rollback_makes_no_attempt_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = {**ROLLBACK, "evaluation_episodes": 0, "schedule_timesteps": 512}
    with monkeypatch.context() as patched:
        lost = diverging(patched, [320, 320])
        train(tmp_path / "whole", 512, **settings)

    def die(runner: DeviceRunner) -> None:
        if lost and runner.step == 320:
            raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        lost = diverging(patched, [320], die)
        with pytest.raises(RuntimeError, match="killed"):
            train(tmp_path / "parts", 512, **settings)
    assert RunFolder(tmp_path / "parts").checkpoint_steps()[-1] == 256
    assert int(read_checkpoint(RunFolder(tmp_path / "parts").checkpoint(256)).state["attempt"]) == 1
    with monkeypatch.context() as patched:
        diverging(patched, [320])
        resume(tmp_path / "parts")
    assert rollbacks(tmp_path / "parts", 512) == [(256, 1, 320), (256, 2, 320)]
    ends = [read_checkpoint(RunFolder(tmp_path / n).checkpoint(512)) for n in ("whole", "parts")]
    for path, leaf in ends[0].policy.items():
        assert leaf.tobytes() == ends[1].policy[path].tobytes(), path


def test_rollbacks_are_counted_over_the_whole_run(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    env = Faulty(Fault(time=40), length=60)  # an environment in which every attempt fails
    settings = {**ROLLBACK, "checkpoint_every": 64, "max_rollbacks": 2, "evaluation_episodes": 0}
    with pytest.raises(DivergedError, match="it was rolled back 2 times"):
        train(tmp_path, 1024, env=env, **settings)
    assert rollbacks(tmp_path, 128) == [(128, 1, 192), (128, 2, 192)]
    caplog.clear()
    with pytest.raises(DivergedError, match="it was rolled back 2 times"):
        resume(tmp_path, env=env)
    assert "attempt" not in caplog.text
    # Who allows more gets attempts that were not made before.
    with pytest.raises(DivergedError, match="it was rolled back 3 times"):
        resume(tmp_path, env=env, max_rollbacks=3)
    assert [f"attempt {number}" in caplog.text for number in (1, 2, 3)] == [False, False, True]
    with pytest.raises(DivergedError, match="it was rolled back 3 times"):
        resume(tmp_path, env=env, max_rollbacks=1)


def test_a_rollback_past_a_damaged_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """What was evaluated there is forgotten, and what was refused is set aside."""
    scoring(monkeypatch, [1.0, 3.0, 9.0, 2.0, 5.0, 4.0, 4.5])
    folder = RunFolder(tmp_path)

    def spoil(runner: DeviceRunner) -> None:
        if runner.step == 256 and not lost:
            until = time.monotonic() + 60
            while not (folder.checkpoints / "best").resolve().name.endswith("192"):
                assert time.monotonic() < until
                time.sleep(0.01)
            damage(tmp_path, 192)

    lost: list[np.ndarray] = []
    lost = diverging(monkeypatch, [320], spoil)
    events = train(
        tmp_path, 320, evaluate_every=64, checkpoint_every=10_000, keep_last=2,
        on_divergence="rollback",
    )  # fmt: skip
    # That of 192 was the best, and the last good checkpoint is that of 128.
    told = [(e.step, e.evaluation.mean, e.evaluations, e.is_best) for e in events]
    assert told == [
        (64, 1.0, 1, True), (128, 3.0, 2, True), (192, 9.0, 3, True), (256, 2.0, 4, False),
        (192, 5.0, 3, True), (256, 4.0, 4, False), (320, 4.5, 5, False),
    ]  # fmt: skip
    assert rollbacks(tmp_path, 320) == [(128, 1, 320)]
    assert "refused" in caplog.text
    assert len(list(folder.checkpoints.glob("000000000192.refused-*"))) == 1
    assert folder.checkpoint_steps() == [192, 320]
    assert os.readlink(folder.checkpoints / "best") == f"{192:012d}"
    assert metrics_steps(tmp_path) == [64, 128, 192, 256, 320]


# --- the best checkpoint --------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [False, True])
def test_a_best_checkpoint_that_is_lost_is_replaced_by_the_best_that_is_kept(
    tmp_path: Path, missing: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    scoring(monkeypatch, [9.0, 3.0, 5.0, 4.0, 4.5, 6.0])
    train(tmp_path, 256, evaluate_every=64, checkpoint_every=64, keep_last=99)
    folder = RunFolder(tmp_path)
    assert os.readlink(folder.checkpoints / "best") == f"{64:012d}"
    if missing:
        folder.checkpoint(64).rename(tmp_path / "elsewhere")
    else:
        damage(tmp_path, 64)
    with caplog.at_level(logging.WARNING, "heredity"):
        (event,) = resume(tmp_path, total_timesteps=320)
    assert "the best checkpoint, of step 64 and mean return 9, is lost: " in caplog.text
    assert "the best one is now that of step 192" in caplog.text
    assert (event.is_best, event.evaluations, event.evaluations_since_best) == (False, 5, 2)
    assert os.readlink(folder.checkpoints / "best") == f"{192:012d}"
    assert len(list(folder.checkpoints.glob("000000000064.refused-*"))) == (not missing)
    # And what is better than that one, though not than the lost one, is the best.
    (event,) = resume(tmp_path, total_timesteps=384)
    assert (event.is_best, event.evaluations_since_best) == (True, 0)
    assert os.readlink(folder.checkpoints / "best") == f"{384:012d}"


def test_with_no_evaluated_checkpoint_left_the_next_evaluation_is_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    scoring(monkeypatch, [9.0, 3.0])
    train(tmp_path, 64, evaluate_every=64)
    resume(tmp_path, total_timesteps=128, evaluation_episodes=0)
    damage(tmp_path, 64)
    (event,) = resume(tmp_path, total_timesteps=192, evaluation_episodes=2)
    assert "the best one is now none, until the next evaluation" in caplog.text
    assert event.is_best and event.evaluation.mean == 3.0
    assert os.readlink(RunFolder(tmp_path).checkpoints / "best") == f"{192:012d}"


def test_a_best_checkpoint_after_the_one_gone_on_from_is_forgotten_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    scoring(monkeypatch, [1.0, 5.0, 9.0, 3.0])
    train(tmp_path, 192, evaluate_every=64, checkpoint_every=64)
    folder = RunFolder(tmp_path)
    damage(tmp_path, 192)
    again, event = resume(tmp_path, total_timesteps=256)
    # The run came to it again, bit for bit.
    assert (again.step, again.is_best, again.evaluations) == (192, True, 3)
    assert (event.is_best, event.evaluations, event.evaluations_since_best) == (False, 4, 1)
    assert os.readlink(folder.checkpoints / "best") == f"{192:012d}"
    verify_checkpoint(folder.checkpoint(192))
