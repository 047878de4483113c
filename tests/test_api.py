"""The facade that people import."""

import shutil
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import heredity as hd
from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.ppo.elsewhere import RENAMED
from heredity.common.errors import RefusedError, UnknownNameError, UsageError
from heredity.common.run_folder import RunFolder
from heredity.environments import HostEnvironment
from heredity.training.events import Event

PROBE = "probe/constant-reward"
SMALL = {"num_envs": 2, "num_steps": 8, "num_minibatches": 2, "network": {"hidden": (4,)}}


def test_names_that_no_folder_has_and_what_is_not_there_are_told(tmp_path: Path):
    model = hd.PPO(PROBE, **SMALL)
    for name, told in (("a\0b", "zero byte"), ("n" * 400, "File name too long")):
        with pytest.raises(UsageError, match=told):
            model.learn(16, directory=name)
        with pytest.raises(UsageError, match=told):
            hd.resume(name)
        with pytest.raises(RefusedError, match="no such folder"):
            hd.Policy.load(name)
    (tmp_path / "model.zip").touch()
    with pytest.raises(RefusedError, match=r"it is a file.*heredity import"):
        hd.Policy.load(tmp_path / "model.zip")
    with pytest.raises(UsageError, match=r"hd\.Policy\.from_pretrained.*hd\.resume"):
        hd.PPO.load("model.zip")


def test_a_start_that_was_refused_can_be_tried_again(tmp_path: Path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.json").write_text("{}")
    model = hd.PPO(PROBE, **SMALL)
    with pytest.raises(UsageError, match="holds a run already"):
        model.learn(16, directory=tmp_path / "taken")
    assert model.learn(16, directory=tmp_path / "free").policy.lineage.entries[-1].step == 16


def test_the_policy_is_that_of_the_newest_event_and_made_when_asked_for(
    monkeypatch: pytest.MonkeyPatch,
):
    model = hd.PPO(PROBE, **SMALL)
    with pytest.raises(UsageError, match="nothing has been learnt yet"):
        _ = model.policy
    made: list[int] = []
    build = Event.policy.func
    monkeypatch.setattr(Event.policy, "func", lambda self: made.append(self.step) or build(self))
    steps = [event.step for event in model.run(48, evaluate_every=16)]
    assert steps == [16, 32, 48]
    assert made == []
    assert model.policy is model.policy
    assert made == [48]


def test_as_many_environments_as_make_was_asked_for():
    assert hd.PPO(hd.make(PROBE, num_envs=64)).config.num_envs == 64
    assert hd.PPO(hd.make(PROBE, num_envs=64), num_envs=4).config.num_envs == 4
    given = PPOConfig(num_envs=16)
    assert hd.PPO(hd.make(PROBE, num_envs=64), config=given).config.num_envs == 16
    assert hd.PPO(hd.make(PROBE)).config.num_envs == hd.PPO(PROBE).config.num_envs
    assert hd.PPO(hd.make(PROBE, num_envs=3, host=True)).config.num_envs == 3


def weights(directory: Path, step: int) -> bytes:
    return (RunFolder(directory).checkpoint(step) / "policy" / "model.safetensors").read_bytes()


def test_learning_on_is_a_resume_in_the_same_directory(tmp_path: Path):
    def fresh() -> hd.PPO:
        return hd.PPO("gym/CartPole-v1", seed=3, preset="none", **SMALL)

    kept = {"evaluation_episodes": 0, "schedule_timesteps": 32}
    whole = fresh().learn(32, directory=tmp_path / "whole", **kept)
    model = fresh().learn(16, directory=tmp_path / "parts", **kept)
    assert model._environment is None  # what was made for a run is closed with it
    model.learn(32)
    assert weights(tmp_path / "parts", 32) == weights(tmp_path / "whole", 32)
    hashes = [one.policy.lineage.entries[-1].hash for one in (model, whole)]
    assert hashes[0] == hashes[1]
    with pytest.raises(UsageError, match="is at step 32 of 32"):
        model.learn()
    with pytest.raises(UsageError, match=r"goes on in .*parts"):
        model.learn(64, directory=tmp_path / "elsewhere")


def test_without_a_directory_there_is_nothing_to_go_on_from():
    model = hd.PPO(PROBE, **SMALL)
    with pytest.raises(UsageError, match="total_timesteps is needed"):
        model.learn()
    model.learn(16, evaluation_episodes=0)
    with pytest.raises(UsageError, match="give directory= to its first learn"):
        model.learn(32)


def test_a_run_is_resumed_as_a_model(tmp_path: Path):
    first = hd.PPO(PROBE, seed=7, **SMALL)
    for event in first.run(64, tmp_path, evaluate_every=16):
        if event.step == 32:
            break
    model = hd.resume(tmp_path)
    assert (model.seed, model.config) == (7, first.config)
    assert model.policy.lineage.entries[-1].step == 32
    assert model.policy is model.policy
    steps = [event.step for event in model.run(directory=tmp_path)]
    assert steps == [48, 64]  # to where it was to end, evaluated as often
    assert model.policy.lineage.entries[-1].step == 64
    events = list(hd.resume(tmp_path, hd.make(PROBE)).run(96, evaluate_every=32))
    assert [event.step for event in events] == [96]
    with pytest.raises(UsageError, match=r"seed.*given to the model"):
        hd.resume(tmp_path).learn(128, seed=1)


def test_what_cannot_be_resumed_is_told_at_once(tmp_path: Path):
    for folder in (tmp_path / "nothing", tmp_path):
        with pytest.raises(RefusedError, match="is not a run folder"):
            hd.resume(folder)
    env = hd.make(PROBE, num_envs=2, host=True)
    env.spec = None
    hd.PPO(env, **SMALL).learn(16, directory=tmp_path, evaluation_episodes=0)
    with pytest.raises(UsageError, match="names no environment"):
        hd.resume(tmp_path)
    with pytest.raises(UsageError, match=r"env has 3 copies, the run in .* has 2"):
        hd.resume(tmp_path, hd.make(PROBE, num_envs=3, host=True))
    with pytest.raises(UnknownNameError, match="did you mean"):
        hd.resume(tmp_path, PROBE + "s")
    assert isinstance(hd.resume(tmp_path, env).env, HostEnvironment)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("CartPole-v1", "did you mean 'gym/CartPole-v1'"),
        ("gym/CartPol-v1", "did you mean 'gym/CartPole-v1'"),
        ("no_such_module_anywhere:make_env", "there is no module"),
        (gym.make("CartPole-v1"), "give the id, 'gym/CartPole-v1'"),
        (gym.wrappers.FlattenObservation(gym.make("CartPole-v1")), "wrappers included"),
        (gym.Env, "env is a type.*is registered with gymnasium.register"),
        (3, "env is a int: an id, or an environment from hd.make, was expected$"),
    ],
)
def test_what_is_no_environment_is_refused_before_anything_is_learnt(env, message: str):
    with pytest.raises(UsageError, match=message):
        hd.PPO(env)


def test_all_settings_or_a_preset():
    with pytest.raises(UsageError, match="beside config"):
        hd.PPO(PROBE, preset="brax/ant", config=PPOConfig())


@pytest.mark.parametrize("host", [True, False])
def test_the_number_of_environments_is_that_of_make_unless_a_config_says_another(host: bool):
    env = hd.make(PROBE, num_envs=4, host=host)
    assert hd.PPO(env).config.num_envs == 4
    model = hd.PPO(env, config=PPOConfig(num_envs=16))
    assert model.config.num_envs == 16
    if host:
        with pytest.raises(UsageError, match="has 4 copies, num_envs is 16"):
            model.learn(64)


def test_a_host_environment_is_evaluated_as_it_is():
    env = hd.make(PROBE, num_envs=2, host=True)
    policy = hd.PPO(env, num_steps=16).learn(64).policy
    before = env.step
    taken = []

    def step(actions):
        taken.append(1)
        result = before(actions)
        return result._replace(reward=np.full(2, 5.0, np.float32))

    env.step = step
    assert hd.evaluate_policy(policy, env, 4).returns.min() >= 5.0
    assert taken


def test_settings_as_others_call_them():
    assert set(RENAMED.values()) <= set(PPOConfig.__dataclass_fields__)
    assert not set(RENAMED) & set(PPOConfig.__dataclass_fields__)
    told = {
        "gamma": "it is 'discount' here",
        "batch_size": "num_minibatches",
        "verbose": "progress_bar=True",
        "policy": "network=dict",
        "snapshot_every": r"given to learn\(\) or run\(\)",
        "discont": "did you mean 'discount'.*known:",
    }
    for name, message in told.items():
        with pytest.raises(UnknownNameError, match=f"unknown PPO setting '{name}': .*{message}"):
            hd.PPO(PROBE, **{name: 1})
    with pytest.raises(UsageError, match=r"the environment alone was expected.*network=dict"):
        hd.PPO("MlpPolicy", "gym/CartPole-v1")
    with pytest.raises(UnknownNameError, match=r"PPO\(env, learning_rate=\.\.\.\)"):
        hd.PPO(PROBE).learn(16, learning_rate=0.1)


@pytest.mark.parametrize("directory", ["", 5, b"run"])
def test_a_directory_is_a_path(directory: object):
    with pytest.raises(UsageError, match="the path of a folder was expected"):
        hd.PPO(PROBE).learn(16, directory=directory)  # pyright: ignore[reportArgumentType]


def test_what_is_no_policy_is_not_evaluated():
    with pytest.raises(UsageError, match="from_pretrained"):
        hd.evaluate_policy("runs/ant")  # pyright: ignore[reportArgumentType]


def test_the_policy_of_a_resumed_model_is_the_runs_own(tmp_path: Path):
    for name, seed in (("mine", 0), ("other", 1)):
        hd.PPO(PROBE, seed=seed, **SMALL).learn(
            32 if name == "mine" else 64, directory=tmp_path / name
        )
    own = hd.resume(tmp_path / "mine").policy.policy_hash
    newest = RunFolder(tmp_path / "other").checkpoint(64)
    shutil.copytree(newest, RunFolder(tmp_path / "mine").checkpoint(64))
    assert hd.resume(tmp_path / "mine").policy.policy_hash == own
