import dataclasses
import importlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest
from command_line import TINY

from heredity.algorithms.ppo.network_config import NetworkConfig
from heredity.algorithms.registry import ALGORITHMS
from heredity.cli import resume
from heredity.cli.places import claim_directory
from heredity.cli.train import _parse, _told_preset, conclude
from heredity.common.errors import StorageError
from heredity.common.files import seal_json
from heredity.common.run_folder import RunFolder
from heredity.training.settings import RunSettings

PPO = ALGORITHMS["ppo"]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def name_environment(config: Path, name: str) -> None:
    """Write another environment into a run's record and seal it again."""
    record = json.loads(config.read_text())
    record.pop("sha256", None)
    record["environment"]["id"] = name
    config.write_text(seal_json(record))


def test_training_says_what_to_look_at(trained: Path, heredity, tmp_path: Path):
    done = heredity(
        "train", *TINY, "--total-timesteps", "1e2", "--directory", tmp_path / "new", "--progress"
    )
    assert done.code == 0 and done.out == ""
    assert f"{tmp_path}/new/checkpoints/best/policy" in done.err
    assert f"heredity view {tmp_path}/new" in done.err
    assert "return " in done.err
    assert RunFolder(tmp_path / "new").checkpoint_steps()[-1] == 128


def test_a_run_without_a_directory_gets_a_new_one(
    heredity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("probe-observation-action-reward", "probe-observation-action-reward-2"):
        done = heredity("train", *TINY, "--total-timesteps", "64")
        assert done.code == 0
        assert done.err.count(f"run      runs/{name}\n") == 2
        assert RunFolder(Path("runs") / name).checkpoint_steps() == [64]
    # What is refused leaves no folder behind.
    assert heredity("train", *TINY, "--total-timesteps", "64", "--freeze", "nothing").code == 2
    assert len(list(Path("runs").iterdir())) == 2


@pytest.mark.parametrize("given", [[], ["--directory", "mine"]], ids=["claimed", "given"])
def test_a_run_that_fails_at_its_first_step_can_be_begun_again(
    heredity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    right = "return self.observation_space.sample(), 0.0, True, False, {}"
    source = f"""
import gymnasium

class Beginners(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (3,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {{}}

    def step(self, action):
        {right}
"""
    module = tmp_path / "beginners.py"
    module.write_text(source.replace(right, right.replace("True, False", "True")))
    spec = gymnasium.envs.registration.EnvSpec("Beginners-v0", "beginners:Beginners")
    monkeypatch.setitem(gymnasium.registry, spec.id, spec)
    sizes = ["--num-envs", "2", "--num-steps", "8", "--total-timesteps", "16"]
    words = ["train", "ppo", "--env", f"gym/{spec.id}", *sizes, *given]
    failed = heredity(*words)
    assert failed.code == 2 and "truncated" in failed.err
    assert not any(tmp_path.rglob("config.json")) and not any(tmp_path.rglob("metrics.csv"))
    assert not any(tmp_path.glob("runs/*"))
    module.write_text(source)
    monkeypatch.delitem(sys.modules, "beginners")
    importlib.invalidate_caches()
    assert heredity(*words).code == 0
    where = Path("mine") if given else Path("runs/gym-Beginners-v0")
    assert RunFolder(where).checkpoint_steps() == [16]


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ("gym/CartPole-v1", "gym-CartPole-v1"),
        ("gymnax/CartPole-v1", "gymnax-CartPole-v1"),
        ("gym/ALE/Pong-v5", "gym-ALE-Pong-v5"),
        ("my_package.my_module:make_env", "my_package.my_module-make_env"),
        ("../..", "run"),
    ],
)
def test_the_name_of_a_claimed_directory(tmp_path: Path, environment: str, name: str):
    root = tmp_path / "runs"
    assert claim_directory(environment, root) == root / name
    assert claim_directory(environment, root) == root / f"{name}-2"
    assert sorted(path.name for path in root.iterdir()) == [name, f"{name}-2"]


def test_a_file_where_runs_belong_is_told(tmp_path: Path):
    (tmp_path / "runs").write_text("mine")
    with pytest.raises(StorageError, match="runs"):
        claim_directory("gym/CartPole-v1", tmp_path / "runs")


def test_a_directory_with_a_run_is_not_taken(trained: Path, heredity):
    done = heredity("train", *TINY, "--total-timesteps", "64", "--directory", trained)
    assert done.code == 2
    assert f"holds a run already: go on with `heredity resume {trained}`" in done.err


@pytest.mark.parametrize("below", ["", "/run", "/far/run"])
def test_a_file_in_the_way_is_told(tmp_path: Path, heredity, below: str):
    (tmp_path / "file").write_text("mine")
    done = heredity(
        "train", *TINY, "--total-timesteps", "64", "--directory", f"{tmp_path}/file{below}"
    )
    assert done.code == 1 and "could not be written" in done.err
    assert (tmp_path / "file").read_text() == "mine"


def test_going_on(trained: Path, heredity, caplog: pytest.LogCaptureFixture):
    done = heredity("resume", trained, "--total-timesteps", "6.4e2", "--no-progress", "--no-report")
    assert done.code == 0
    assert f"resuming {trained} at step 512" in caplog.text
    assert RunFolder(trained).checkpoint_steps()[-1] == 640


def test_a_resume_takes_every_setting_that_a_run_may_change():
    def names(kind: type) -> set[str]:
        return {field.name for field in dataclasses.fields(kind)}

    assert names(resume._changes()) == names(RunSettings) - {"seed", "seeds", "schedule_timesteps"}


def test_settings_and_the_environment_of_a_resume(trained: Path, heredity):
    # The file names an environment that may not be made: a person may name the right one.
    name_environment(trained / "config.json", "nowhere:make")
    words = ("resume", trained, "--total-timesteps", "576", "--no-progress", "--no-report")
    assert heredity(*words).code == 2
    done = heredity(
        *words, "--env", "probe/observation-action-reward", "--env.length", "5",
        "--max-rollbacks", "7",
    )  # fmt: skip
    assert done.code == 0, done
    folder = RunFolder(trained)
    assert folder.checkpoint_steps()[-1] == 576
    kept = folder.read_config()["run"]
    assert (kept["max_rollbacks"], kept["keep_last"], kept["seed"]) == (7, 3, 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--env", "probe/constant-rewrad"], "did you mean 'probe/constant-reward'"),
        (["--env.length", "3"], "--env.length"),
        (["--seed", "3"], "--seed"),
        (["--max-rollbacks", "-1"], "max_rollbacks -1: a whole number >= 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_of_resume_is_answered(trained: Path, heredity, words: list[str], told: str):
    done = heredity("resume", trained, "--total-timesteps", "1e6", *words)
    assert done.code == 2 and told in done.told


@pytest.mark.parametrize("settings", [None, {}, {"num_envs": "4"}, {"num_envs": 0}])
def test_a_run_that_does_not_say_its_copies_is_refused(tmp_path: Path, heredity, settings: object):
    record = {"schema_version": 2, "algorithm": "ppo", "settings": settings}
    (tmp_path / "config.json").write_text(json.dumps(record))
    done = heredity("resume", tmp_path, "--env", "probe/constant-reward")
    assert done.code == 3 and "num_envs" in done.err


def test_commands_that_are_shown_can_be_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    directory = tmp_path / "my runs; $HOME"
    conclude(directory, report=False)
    shown = capsys.readouterr().err.split("look")[1]
    assert shlex.split(shown) == ["heredity", "view", str(directory)]


def test_a_finished_run_is_told_what_to_do(trained: Path, heredity):
    done = heredity("resume", trained)
    assert done.code == 2
    assert "is at step 512 of 512: give a larger --total-timesteps" in done.err


@pytest.mark.parametrize("what", ["absent", "empty", "torn", "policy", "file"])
def test_what_is_no_run_is_refused(trained: Path, heredity, tmp_path: Path, what: str):
    place = tmp_path / what
    if what == "empty":
        place.mkdir()
    elif what == "torn":
        place.mkdir()
        (place / "config.json").write_text("{")
    elif what == "policy":
        place = trained / "checkpoints" / "last" / "policy"
    elif what == "file":
        place.write_text("x")
    done = heredity("resume", place, "--total-timesteps", "1e6")
    assert done.code == 3 and str(place) in done.err


def test_a_torn_checkpoint_is_named_and_the_one_before_is_used(
    trained: Path, heredity, caplog: pytest.LogCaptureFixture
):
    state = trained / "checkpoints" / "000000000512" / "training_state" / "state.safetensors"
    flip(state)
    done = heredity("resume", trained, "--total-timesteps", "576", "--no-progress", "--no-report")
    assert done.code == 0
    assert f"refused: {state}: was altered or torn" in caplog.text
    assert "at step 384" in caplog.text
    assert RunFolder(trained).checkpoint_steps()[-1] == 576


def test_options_of_the_environment_are_remembered(trained: Path):
    assert RunFolder(trained).read_config()["environment"] == {
        "id": "probe/observation-action-reward", "options": {"length": 5, "host": False},
    }  # fmt: skip


def test_an_environment_from_a_file_runs_no_code(trained: Path, heredity, tmp_path: Path):
    """An id that names code is not even imported, whatever the command."""
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    name_environment(trained / "config.json", "evil_module:make")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-m", "heredity", "resume", str(trained), "--total-timesteps", "1000"],
        env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "could run code that the file chose" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists()


def test_another_kind_of_network_leaves_out_what_it_does_not_have():
    """MuJoCo's preset names an initialiser, which a network of one's own lacks."""
    words = ["--env", "gym/HalfCheetah-v5", "--total-timesteps", "1", "--network.kind"]
    given = _parse(PPO, [*words, "package.module:Network"])
    assert given.network.kernel_init == NetworkConfig().kernel_init
    assert _parse(PPO, [*words, "gru"]).network.kernel_init == "lecun_uniform"


@pytest.mark.parametrize(
    ("preset", "environment", "told"),
    [
        ("auto", "gym/Hopper-v5", "gym/Hopper-v5"),
        ("gym/Hopper-v5", "gym/Ant-v5", "gym/Hopper-v5"),
        ("auto", "atari/Breakout", "none: settings are PPO's own; of atari/: --preset atari/Pong"),
        ("none", "atari/Pong", "none: settings are PPO's own"),
        ("auto", "probe/recall", "none: settings are PPO's own"),
    ],
)
def test_the_preset_is_told(preset: str, environment: str, told: str):
    assert _told_preset(PPO, preset, environment) == told


def test_options_of_ray_are_for_ray(heredity):
    words = "train ppo --env probe/recall --total-timesteps 64 --ray.workers 2"
    done = heredity(*words.split())
    assert done == type(done)(2, "", "heredity: --ray.workers is for Ray: add --launcher ray\n")


def test_environments_that_cannot_be_closed_cost_nothing(
    tmp_path: Path, heredity, monkeypatch: pytest.MonkeyPatch
):
    def refuse(self: object) -> None:
        raise RuntimeError("close fails")

    monkeypatch.setattr("heredity.environments.gymnasium_vectors.SyncEnvironment.close", refuse)
    words = ["--preset", "none", "--num-envs", "2", "--num-steps", "16", "--num-minibatches", "1"]
    words += ["--evaluation-episodes", "0", "--total-timesteps", "32", "--no-progress"]
    done = heredity(
        *("train", "ppo", "--env", "gym/CartPole-v1", *words, "--directory", tmp_path / "run")
    )
    assert done.code == 0
    assert "an environment could not be closed (RuntimeError: close fails" in done.told
    assert (tmp_path / "run" / "checkpoints" / "last").exists()
    assert "look heredity view" in done.told
