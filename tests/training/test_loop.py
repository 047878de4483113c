import atexit
import dataclasses
import gc
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from tiny_runs import CONFIG, SIZE, environment, final_bytes, metrics_steps, resume, started, train

from heredity.common.errors import FrozenError
from heredity.common.run_folder import RunFolder
from heredity.policies import Policy
from heredity.training import loop as loop_module
from heredity.training.callbacks import Callback
from heredity.training.checkpoints import read_checkpoint, verify_checkpoint
from heredity.training.session import begin_run
from heredity.training.settings import RunSettings
from heredity.weights import flatten

# --- boundaries -----------------------------------------------------------------------------------


def test_boundaries_are_the_first_iteration_ends_at_or_after_each_multiple(tmp_path: Path):
    events = train(
        tmp_path / "run", 700,
        snapshot_every=200, evaluate_every=300, checkpoint_every=150, log_every=100, keep_last=99,
    )  # fmt: skip
    folder = RunFolder(tmp_path / "run")

    def firsts(every: int, total: int = 704) -> list[int]:
        return sorted({-(-multiple // SIZE) * SIZE for multiple in range(every, total + 1, every)})

    assert folder.snapshot_steps() == [0, *firsts(200), 704]
    assert [event.step for event in events] == sorted({0, *firsts(200), *firsts(300), 704})
    assert set(firsts(150)) | {0, 704} <= set(folder.checkpoint_steps())
    assert metrics_steps(tmp_path / "run") == sorted(
        {0, *firsts(100), *firsts(200), *firsts(300), 704}
    )
    assert [event.snapshot is not None for event in events] == [
        event.step in folder.snapshot_steps() for event in events
    ]


def test_events_carry_everything_together(run: Path):
    seen = resume(run, total_timesteps=1024)[-1]
    assert seen.step == seen.total_timesteps == 1024
    assert seen.policy.lineage.entries[-1].step == 1024
    assert seen.policy.policy_hash == seen.lineage.head
    assert seen.metrics["eval/mean_reward"] == seen.evaluation.mean
    assert {"rollout/ep_rew_mean", "time/fps", "train/approx_kl", "train/loss"} <= set(seen.metrics)
    stored = Policy.from_pretrained(seen.snapshot / "policy")
    assert stored.policy_hash == seen.policy.policy_hash
    assert json.loads((seen.snapshot / "evaluation.json").read_text())["step"] == 1024


def test_an_events_policy_stays_what_it_is_while_training_goes_on():
    kept = RunSettings(total_timesteps=512, evaluate_every=128, evaluation_episodes=1)
    seen, hashes = [], []
    for event in begin_run(CONFIG, environment(), kept):
        seen.append(event.policy)
        hashes.append(Policy(event.spec, event.policy.params).policy_hash)
    assert len(set(hashes)) == 4
    for policy, before in zip(seen, hashes, strict=True):
        assert Policy(policy.spec, policy.params).policy_hash == before == policy.policy_hash


# --- leaving early --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["break", "raise", "close", "callback"])
def test_leaving_early_saves(tmp_path: Path, how: str):
    directory = tmp_path / "run"
    mistake = RuntimeError("mine")

    def wrong(event: object) -> bool:
        if event.step >= 512:
            raise mistake
        return True

    if how == "callback":
        with pytest.raises(RuntimeError, match="mine"):
            list(started(directory, checkpoint_every=10_000, callback=wrong))
    elif how == "raise":
        with pytest.raises(RuntimeError, match="mine"):
            for event in started(directory, checkpoint_every=10_000):
                wrong(event)
    elif how == "close":
        events = started(directory, checkpoint_every=10_000)
        next(events), next(events)
        events.close()
    else:
        for event in started(directory, checkpoint_every=10_000):
            if event.step >= 512:
                break
    assert verify_checkpoint(RunFolder(directory).checkpoint(512))["step"] == 512
    assert os.readlink(directory / "checkpoints" / "last") == f"{512:012d}"
    if how == "break":
        resume(directory, total_timesteps=768)
        train(tmp_path / "whole", 768, schedule_timesteps=2048)
        assert final_bytes(directory, 768) == final_bytes(tmp_path / "whole", 768)


def test_a_generator_that_is_kept_until_the_end_of_the_program_saves(tmp_path: Path):
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from tiny_runs import CONFIG, environment\n"
        "import heredity as hd\n"
        "model = hd.PPO(environment(), config=CONFIG)\n"
        "events = model.run(10**6, sys.argv[1], evaluate_every=128, checkpoint_every=10**6,\n"
        "                   evaluation_episodes=1)\n"
        "for event in events:\n"
        "    if event.step >= 256: break\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "run", *sys.path],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert RunFolder(tmp_path / "run").checkpoint_steps()[-1] == 256


def test_what_is_left_of_a_run_is_closed(monkeypatch: pytest.MonkeyPatch):
    left = []
    monkeypatch.setattr(atexit, "unregister", lambda function: left.append(function))

    class Closing(Callback):
        def on_training_end(self, step: int) -> None:
            left.append(step)
            raise RuntimeError("at the end")

    events = started(None, callback=[Closing(), Closing()])
    next(events)
    with pytest.raises(RuntimeError, match="at the end"):
        events.close()
    assert [entry for entry in left if isinstance(entry, int)] == [256, 256]
    assert any(callable(entry) for entry in left)


def test_the_error_of_the_last_save_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    events = started(tmp_path / "run", checkpoint_every=10_000)
    next(events), next(events)

    def full(*args: object) -> None:
        raise hd_storage_error()

    monkeypatch.setattr(loop_module, "write_checkpoint", full)
    with pytest.raises(Exception, match="No space left"):
        events.close()


def hd_storage_error() -> Exception:
    from heredity.common.errors import StorageError

    return StorageError("run", OSError(28, "No space left on device"))


# --- retention ------------------------------------------------------------------------------------


def test_retention_and_symlinks(tmp_path: Path):
    events = train(
        tmp_path, 1024, checkpoint_every=64, keep_last=2, keep_every=320, keep_snapshots=3,
        snapshot_every=128, evaluate_every=128, evaluation_episodes=4,
    )  # fmt: skip
    folder = RunFolder(tmp_path)
    best = next(event for event in reversed(events) if event.is_best)
    kept = {0, 320, 640, 960, 1024, best.step}
    assert set(folder.checkpoint_steps()) == kept
    assert folder.snapshot_steps() == [768, 896, 1024]
    for name, step in (("last", 1024), ("best", best.step)):
        assert os.readlink(folder.checkpoints / name) == f"{step:012d}"
    for step in kept:
        verify_checkpoint(folder.checkpoint(step))
    # The whole run can be moved: links are relative.
    shutil.move(tmp_path, tmp_path.with_name("elsewhere"))
    moved = RunFolder(tmp_path.with_name("elsewhere"))
    assert read_checkpoint(moved.checkpoints / "best").step == best.step
    assert best.evaluation.mean == max(event.evaluation.mean for event in events)


# --- frozen weights -------------------------------------------------------------------------------


def test_frozen_weights_keep_their_bytes_and_have_no_slot(tmp_path: Path):
    config = dataclasses.replace(CONFIG, freeze=("actor/hidden_0/**", "normalizer/reward/**"))
    events = train(tmp_path, 512, config=config, snapshot_every=256)
    frozen = {"actor/hidden_0/bias", "actor/hidden_0/kernel"} | {
        f"normalizer/reward/{name}" for name in ("count", "mean", "variance")
    }
    first, last = flatten(events[0].policy.params), flatten(events[-1].policy.params)
    still = {path for path in first if first[path].tobytes() == last[path].tobytes()}
    assert still == frozen
    checkpoint = read_checkpoint(RunFolder(tmp_path).checkpoint(512))
    assert set(checkpoint.notes["frozen"]) == frozen
    slots = [name for name in checkpoint.state if name.startswith("optimizer")]
    assert any("output" in name for name in slots)
    assert not any(path in name for name in slots for path in frozen)
    # And a resume knows them too.
    resume(tmp_path, total_timesteps=640)
    again = read_checkpoint(RunFolder(tmp_path).checkpoint(640))
    assert again.notes["frozen"] == checkpoint.notes["frozen"]


@pytest.mark.parametrize("directory", [True, False])
def test_a_moved_frozen_weight_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, directory: bool
):
    from heredity.training import runners

    real = runners.DeviceRunner.iterate

    def iterate(self, iterations: int):
        metrics = real(self, iterations)
        bias = self.constants["actor"]["hidden_0"]["bias"]
        self.constants["actor"]["hidden_0"]["bias"] = bias.at[0].add(1e-7)
        return metrics

    monkeypatch.setattr(runners.DeviceRunner, "iterate", iterate)
    config = dataclasses.replace(CONFIG, freeze=("actor/hidden_0/**",))
    with pytest.raises(FrozenError, match="actor/hidden_0/bias"):
        train(tmp_path / "run" if directory else None, 256, config=config, snapshot_every=1000)
    if directory:
        assert RunFolder(tmp_path / "run").checkpoint_steps() == [0]


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_snapshots(tmp_path: Path):
    # A policy of 36 kilobytes, so that two hundred kept ones could not be overlooked.
    config = dataclasses.replace(
        CONFIG, num_envs=2, num_steps=2, num_minibatches=1,
        network={"hidden": (64, 64)},
    )  # fmt: skip
    kept = RunSettings(
        total_timesteps=4 * 250, snapshot_every=4, evaluation_episodes=1, checkpoint_every=1000,
        log_every=1000,
    )  # fmt: skip
    sizes = {}
    for event in begin_run(config, environment(), kept, tmp_path):
        if event.step == 200:
            tracemalloc.start()  # not before: what is compiled would take twice as long
        if event.step in (300, 1000):
            gc.collect()
            sizes[event.step] = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(RunFolder(tmp_path).snapshot_steps()) == 251
    assert sizes[1000] - sizes[300] < 1_000_000, sizes
