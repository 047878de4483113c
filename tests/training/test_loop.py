import atexit
import dataclasses
import json
import logging
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import CONFIG, SIZE, environment, final_bytes, metrics_steps, resume, train

import heredity as hd
from heredity.common.errors import FrozenError, RefusedError, UnknownNameError, UsageError
from heredity.common.files import FolderLock, seal_json
from heredity.common.run_folder import RunFolder
from heredity.environments import HostEnvironment
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


def started(directory: Path | None, total: int = 2048, **settings) -> hd.PPO:
    model = hd.PPO(environment(), config=CONFIG)
    return model.run(total, directory, evaluate_every=256, evaluation_episodes=1, **settings)


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


# --- what keeps a run from beginning --------------------------------------------------------------


def test_a_directory_holds_one_run(run: Path):
    before = (run / "config.json").read_bytes()
    with pytest.raises(UsageError, match="holds a run already: go on with `heredity resume"):
        train(run, 768)
    assert (run / "config.json").read_bytes() == before


@pytest.mark.parametrize("name", ["checkpoints", "snapshots"])
def test_leftovers_of_another_run_are_not_adopted(tmp_path: Path, name: str):
    (tmp_path / name / "000000000064").mkdir(parents=True)
    with pytest.raises(UsageError, match="has checkpoints or snapshots of another run"):
        train(tmp_path, 128)
    assert not (tmp_path / "config.json").exists()


def test_a_directory_has_one_owner(run: Path, tmp_path: Path):
    events = started(tmp_path / "new")
    next(events)
    with pytest.raises(UsageError, match=rf"new is in use by process {os.getpid()}: wait"):
        resume(tmp_path / "new")
    events.close()
    resume(tmp_path / "new", total_timesteps=320)
    # Whoever failed, or was never begun, holds nothing either.
    with pytest.raises(UsageError, match="give a larger"):
        resume(run)
    kept = RunSettings(total_timesteps=64, evaluation_episodes=0)
    begin_run(CONFIG, environment(), kept, tmp_path / "dropped")
    FolderLock(tmp_path / "dropped").close()
    held = FolderLock(run)
    with pytest.raises(UsageError, match="is in use"):
        resume(run, total_timesteps=832)
    held.close()
    resume(run, total_timesteps=832)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"freeze": ("actor/hiden_0/**",)}, "did you mean"),
        ({"freeze": ("**",)}, "nothing to train"),
        ({"distribution": "normal"}, "does not fit"),
        ({"num_envs": 8, "num_steps": 8}, "has 4 copies"),
    ],
)
def test_what_was_refused_has_not_taken_the_directory(tmp_path: Path, config: dict, told: str):
    env = environment(host=True)
    with pytest.raises((UsageError, UnknownNameError), match=told):
        train(tmp_path, 128, config=dataclasses.replace(CONFIG, **config), env=env)
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"total_timesteps": 0},
        {"total_timesteps": 1.5},
        {"total_timesteps": float("nan")},
        {"total_timesteps": "100"},
        {"total_timesteps": True},
        {"total_timesteps": 2**53},
        {"total_timesteps": 10, "seed": -1},
        {"total_timesteps": 10, "seed": 2**32},
        {"total_timesteps": 10, "snapshot_every": 0},
        {"total_timesteps": 10, "keep_last": 0},
        {"total_timesteps": 10, "keep_last": None},
        {"total_timesteps": 10, "evaluation_episodes": -1},
        {"total_timesteps": 10, "on_divergence": "ignore"},
    ],
    ids=str,
)
def test_settings_are_checked(settings: dict):
    with pytest.raises(UsageError, match="was expected"):
        RunSettings(**settings)


def test_whole_floats_are_whole_numbers():
    assert RunSettings(total_timesteps=5e6).total_timesteps == 5_000_000
    assert isinstance(RunSettings(total_timesteps=5e6).total_timesteps, int)


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
def test_memory_does_not_grow_with_the_number_of_snapshots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # not what is asked here
    # A policy of 36 kilobytes, so that a thousand kept ones could not be overlooked.
    config = dataclasses.replace(
        CONFIG, num_envs=2, num_steps=2, num_minibatches=1,
        network={"hidden": (64, 64)},
    )  # fmt: skip
    kept = RunSettings(
        total_timesteps=4 * 1000, snapshot_every=4, evaluation_episodes=1, checkpoint_every=1000,
        log_every=1000,
    )  # fmt: skip
    sizes = {}
    tracemalloc.start()
    for event in begin_run(config, environment(), kept, tmp_path):
        if event.step in (400, 4000):
            sizes[event.step] = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(RunFolder(tmp_path).snapshot_steps()) == 1001
    assert sizes[4000] - sizes[400] < 1_000_000


# --- going on -------------------------------------------------------------------------------------


def test_a_finished_run_is_told_what_to_do(run: Path):
    with pytest.raises(UsageError, match=r"step 768 of 768: give a larger --total-timesteps"):
        resume(run)
    with pytest.raises(UsageError, match="give a larger"):
        resume(run, total_timesteps=700)


@pytest.mark.parametrize("name", ["seed", "schedule_timesteps", "learning_rate", "nonsense"])
def test_what_a_resume_cannot_change(run: Path, name: str):
    with pytest.raises(UsageError, match=f"{name} cannot be changed by a resume"):
        resume(run, **{name: 1})


def test_what_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(RefusedError, match="is not a run folder"):
        resume(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 3},
        {"run": None},
        {"run": {"total_timesteps": -1}},
        {"run": {"total_timesteps": 1, "code": "x"}},
        {"settings": {"learning_rate": "x"}},
        {"settings": {"pickle": "x"}},
        {"settings": []},
        {"algorithm": "os.system"},
        {"environment": {"id": 3, "options": {}}},
        {"environment": {"id": "probe/constant-reward", "options": ["x"]}},
        {"run_id": None},
    ],
    ids=str,
)
def test_a_forged_run_is_refused(run: Path, change: dict):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(seal_json({**config, **change}))
    with pytest.raises(RefusedError, match=r"config\.json"):
        resume(run, total_timesteps=1024)


def test_one_changed_digit_of_a_run_is_refused(run: Path):
    path = run / "config.json"
    text = path.read_text()
    path.write_text(text.replace('"learning_rate": 0.01', '"learning_rate": 0.02'))
    assert path.read_text() != text
    with pytest.raises(RefusedError, match=r"config\.json: was altered") as raised:
        resume(run, total_timesteps=1024)
    assert raised.value.exit_code == 3
    with pytest.raises(RefusedError, match="was altered"):
        RunFolder(run).read_config()
    # One without a seal can be looked at, but not gone on with.
    plain = {name: value for name, value in json.loads(text).items() if name != "sha256"}
    path.write_text(json.dumps(plain))
    assert RunFolder(run).read_config() == plain
    with pytest.raises(RefusedError, match="has no seal"):
        resume(run, total_timesteps=1024)
    path.write_text(text)
    resume(run, total_timesteps=832)
    assert RunFolder(run).read_config(sealed=True)["total_timesteps"] == 832


def test_an_environment_of_a_file_is_built_in_or_trusted(run: Path):
    config = json.loads((run / "config.json").read_text())
    config["environment"] = {"id": "os:system", "options": {"command": "true"}}
    (run / "config.json").write_text(seal_json(config))
    with pytest.raises(UsageError, match=r"names the environment 'os:system'.*--trust os:system"):
        resume(run, total_timesteps=1024)


def test_torn_checkpoints_are_named_and_the_one_before_is_used(
    run: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    folder = RunFolder(run)
    steps = folder.checkpoint_steps()
    state = folder.checkpoint(768) / "training_state" / "state.safetensors"
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 1
    state.write_bytes(bytes(data))
    (folder.checkpoint(640) / "policy" / "config.json").unlink()
    with caplog.at_level(logging.WARNING, "heredity"):
        resume(run, total_timesteps=896)
    assert f"refused: {state}: was altered or torn" in caplog.text
    assert f"refused: {folder.checkpoint(640)}/policy/config.json: is missing" in caplog.text
    now = read_checkpoint(folder.checkpoint(896))
    resumed = [entry for entry in now.lineage.entries if entry.operation == "resume"]
    assert [entry.step for entry in resumed] == [steps[steps.index(640) - 1]]
    train(tmp_path / "whole", 896, schedule_timesteps=768)
    assert final_bytes(run, 896) == final_bytes(tmp_path / "whole", 896)


def test_with_no_whole_checkpoint_it_starts_again(run: Path, caplog: pytest.LogCaptureFixture):
    folder = RunFolder(run)
    before = final_bytes(run, 768)
    for step in folder.checkpoint_steps():
        (folder.checkpoint(step) / "training_state" / "manifest.json").write_text("{")
    with caplog.at_level(logging.WARNING, "heredity"):
        resume(run)
    assert "starting again from config.json" in caplog.text
    assert final_bytes(run, 768) == before
    # The torn ones no longer count as the newest, nor against keep_last.
    assert all(verify_checkpoint(folder.checkpoint(step)) for step in folder.checkpoint_steps())
    assert metrics_steps(run) == sorted(set(metrics_steps(run)))


def test_a_checkpoint_under_another_step_is_refused(run: Path):
    folder = RunFolder(run)
    folder.checkpoint(768).rename(folder.checkpoint(5000))
    resume(run, total_timesteps=832)
    assert folder.checkpoint_steps()[-1] == 832


def test_resuming_changes_what_it_is_told_to_and_remembers(run: Path):
    resume(run, total_timesteps=1024, evaluation_episodes=3, keep_last=1)
    config = json.loads((run / "config.json").read_text())
    assert config["run"]["total_timesteps"] == config["total_timesteps"] == 1024
    assert config["run"]["evaluation_episodes"] == 3
    assert config["run"]["schedule_timesteps"] == 768
    stored = RunFolder(run).read_evaluations()
    assert np.isnan(stored["results"][0]).tolist() == [False, False, True]
    assert stored["timesteps"].tolist() == [0, 256, 512, 768, 1024]


@pytest.mark.parametrize(("end", "told"), [(0.0, True), (1e-3, False)])
def test_steps_that_teach_nothing_are_told(
    tmp_path: Path, end: float, told: bool, caplog: pytest.LogCaptureFixture
):
    config = dataclasses.replace(CONFIG, learning_rate_schedule="linear", learning_rate_end=end)
    train(tmp_path, 64, config=config, evaluation_episodes=0)
    resume(tmp_path, total_timesteps=128)
    expected = "the learning rate is 0 from step 64 on, so nothing will be learnt from there to"
    assert (expected in caplog.text) is told


def test_who_makes_an_environment_closes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    closed: list[HostEnvironment] = []
    mine = environment(host=True)
    monkeypatch.setattr(type(mine), "close", lambda self: closed.append(self))
    train(tmp_path, 64, env=mine)
    assert len(closed) == 1 and mine not in closed  # the copy for evaluation
    resume(tmp_path, total_timesteps=128, env=mine)
    assert len(closed) == 2 and mine not in closed
    resume(tmp_path, total_timesteps=192)
    assert len(closed) == 4


def test_a_command_that_is_shown_can_be_copied(tmp_path: Path):
    directory = tmp_path / "my runs"
    train(directory, 64, evaluation_episodes=0)
    with pytest.raises(UsageError, match=f"`heredity resume '{directory}'`"):
        train(directory, 64)
