"""Training knows algorithms by their contract alone: one that is none of ours goes through it."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_runs import ENVIRONMENT, environment
from walk import WALK, Stride, WalkConfig

from heredity import api
from heredity.algorithms import registry
from heredity.cli import train as command
from heredity.cli.main import run_command
from heredity.common.errors import UnknownNameError, UsageError
from heredity.environments import JaxEnvironment
from heredity.training.checkpoints import read_checkpoint
from heredity.training.mesh import mesh_for
from heredity.training.runners import DeviceRunner, SeedsRunner
from heredity.training.trainer import Trainer


class Walking(Trainer[WalkConfig]):
    """Weights that walk."""

    algorithm = WALK


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {**registry.ALGORITHMS, "walk": WALK}
    for module in (registry, command):
        monkeypatch.setattr(module, "ALGORITHMS", both)
    monkeypatch.setattr("heredity.training.record.ALGORITHMS", both)
    monkeypatch.setattr(api, "TRAINERS", {**api.TRAINERS, "walk": Walking})


def test_it_trains_thaws_is_recorded_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    config = WalkConfig(freeze=("critic/**",), unfreeze=("critic/**@16",), stride=Stride(0.25))
    kept = {"evaluation_episodes": 0, "log_every": 16}
    Walking(environment(), config=config).learn(16, directory=tmp_path, **kept)
    assert json.loads((tmp_path / "config.json").read_text())["algorithm"] == "walk"
    model = api.resume(tmp_path)
    assert isinstance(model, Walking) and model.config == config
    born, *_ = model.learn(32).policy.lineage.entries
    assert born.arguments["algorithm"] == "walk"
    assert born.arguments["settings"]["stride"] == {"mean": 0.25}
    assert "it walks to 32" in caplog.text
    state = read_checkpoint(tmp_path / "checkpoints" / f"{32:012}").state
    assert state["optimizer/count"].tolist() == [8, 4]
    assert {"optimizer/last/critic/output/bias", "experience/time", "attempt"} <= set(state)


def test_seeds_and_devices_do_what_one_does_alone():
    env, mesh = environment(), mesh_for("all", WalkConfig())
    assert isinstance(env, JaxEnvironment) and mesh is not None
    spaces = env.observation_space, env.action_space
    algorithm = WALK.build(WalkConfig(), *spaces, schedule_timesteps=1)
    one, two = DeviceRunner(algorithm, env, 3), DeviceRunner(algorithm, env, 3, mesh)
    seeds = SeedsRunner(algorithm, env, (2, 3))
    reward = one.iterate(2)["walk/reward"]
    assert reward == pytest.approx(two.iterate(2)["walk/reward"])
    assert reward == pytest.approx(seeds.iterate(2)[1]["walk/reward"])
    for path, leaf in one.policy_leaves().items():
        np.testing.assert_allclose(leaf, two.policy_leaves()[path], rtol=1e-6)
        np.testing.assert_allclose(leaf, seeds.learners[1].policy_leaves()[path], rtol=1e-6)
    for leaf in jax.tree.leaves(two.state.experience):
        assert leaf.sharding.is_equivalent_to(mesh.split, leaf.ndim)
    with pytest.raises(UsageError, match="num_envs 3 cannot be divided among 2 devices"):
        mesh_for(2, WalkConfig(num_envs=3))


def test_its_command_has_its_settings_and_groups(capsys: pytest.CaptureFixture[str]):
    words = ["--env", ENVIRONMENT, "--total-timesteps", "16", "--num-envs", "2"]
    given = command._parse(WALK, [*words, "--preset", "slow"])
    assert given.walk.num_envs == 2 and given.stride.mean == 0.1
    with pytest.raises(UnknownNameError, match="preset 'slwo'"):
        command._parse(WALK, [*words, "--preset", "slwo"])
    with pytest.raises(SystemExit):
        run_command(["train", "walk", "--help"])
    told = capsys.readouterr().out
    assert "--stride.mean FLOAT" in told and "Train a policy with Walk." in told
