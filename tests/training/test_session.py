"""What keeps a run from beginning, and going on with one."""

import dataclasses
import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import CONFIG, environment, final_bytes, metrics_steps, resume, started, train

from heredity.common.errors import RefusedError, UnknownNameError, UsageError
from heredity.common.files import FolderLock, seal_json
from heredity.common.run_folder import RunFolder
from heredity.environments import HostEnvironment
from heredity.training.checkpoints import read_checkpoint, verify_checkpoint
from heredity.training.session import begin_run
from heredity.training.settings import RunSettings

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


def test_a_config_that_is_no_runs_is_not_written_over(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="holds a run already"):
        train(tmp_path, 128)
    assert (tmp_path / "config.json").read_text() == "{}"


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
