"""The facade that people import."""

from pathlib import Path

import pytest

import heredity as hd
from heredity.algorithms.ppo.config import PPOConfig
from heredity.common.errors import UsageError
from heredity.training.events import Event

PROBE = "probe/constant-reward"
SMALL = {"num_envs": 2, "num_steps": 8, "num_minibatches": 2, "actor_hidden": (4,)}


def test_a_start_that_was_refused_can_be_tried_again(tmp_path: Path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.json").write_text("{}")
    model = hd.PPO(PROBE, **SMALL)
    with pytest.raises(UsageError, match="holds a run already"):
        model.learn(16, directory=tmp_path / "taken")
    model.learn(16, directory=tmp_path / "free")
    with pytest.raises(UsageError, match="has learnt already"):
        model.learn(16)


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
