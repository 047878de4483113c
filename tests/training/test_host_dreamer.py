"""DreamerV3 in environments of the host: what is recorded, how often it learns, exact resume."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from tests.algorithms.dreamer.test_algorithm import TINY
from tiny_runs import Fault, Faulty

from heredity.algorithms.dreamer.algorithm import Dreamer
from heredity.algorithms.dreamer.collect import collect
from heredity.common import counters
from heredity.common.errors import DivergedError
from heredity.common.run_folder import RunFolder
from heredity.environments import HostEnvironment, make
from heredity.environments.hosted import HostedEnvironment
from heredity.training.checkpoints import read_checkpoint
from heredity.training.host_dreamer import DreamerHostRunner
from heredity.training.session import begin_run, resume_run
from heredity.training.settings import RunSettings

CONFIG = dataclasses.replace(TINY, num_steps=16, train_ratio=4.0, replay_capacity=256)


@pytest.fixture(scope="module")
def environment() -> Iterator[HostEnvironment]:
    made = make("gym/CartPole-v1", num_envs=2)
    assert isinstance(made, HostEnvironment)
    yield made
    made.close()


def runner_in(environment: HostEnvironment) -> DreamerHostRunner:
    algorithm = Dreamer(CONFIG, environment.observation_space, environment.action_space)
    return DreamerHostRunner(algorithm, environment, 0)


def test_records_are_whole_episodes_and_learning_follows_their_number(
    environment: HostEnvironment,
):
    runner = runner_in(environment)
    episodes, records = 0.0, 0
    for _ in range(6):
        found = runner.iterate(1)
        assert found["finite"]
        episodes += found["episodes"]
    saved = runner.save()
    updates = counters.to_int(runner.state.updates)
    for env, written in enumerate(saved["replay/written"]):
        first, last, terminal = (
            saved[f"replay/records/{name}"][env, :written]
            for name in ("is_first", "is_last", "is_terminal")
        )
        rewards, actions = (
            saved[f"replay/records/{name}"][env, :written] for name in ("reward", "action")
        )
        assert first[0] and (first[1:] == last[:-1]).all()
        assert (rewards[first] == 0).all() and (rewards[~first] == 1).all()
        assert (terminal == last).all() and (actions[last] == 0).all()
        seen = saved["replay/records/observation"][env, :written]
        assert (np.abs(seen[last]).max(axis=-1) > 0.2).all()  # where it fell, not where it began
        assert (np.abs(seen[first]) <= 0.05).all()
        episodes -= last.sum()
        records += int(written)
    assert episodes == 0
    assert records == runner.step + saved["replay/records/is_last"].sum()
    # 4 of each record in 2 x 4: one gradient step for two records, an iteration's rest kept.
    assert updates == records // 2 and updates > 50


def files(run: Path) -> dict[str, bytes]:
    place = run / "checkpoints" / "000000000128"
    names = ("policy/model.safetensors", "training_state/state.safetensors")
    return {name: (place / name).read_bytes() for name in names}


def test_two_halves_are_the_whole(tmp_path: Path, environment: HostEnvironment):
    settings = RunSettings(
        total_timesteps=128, checkpoint_every=64, evaluate_every=128, evaluation_episodes=2
    )
    list(begin_run(CONFIG, environment, settings, tmp_path / "whole"))
    half = dataclasses.replace(settings, total_timesteps=64)
    list(begin_run(CONFIG, environment, half, tmp_path / "halves"))
    list(resume_run(tmp_path / "halves", {"total_timesteps": 128}))
    assert files(tmp_path / "whole") == files(tmp_path / "halves")


@pytest.mark.parametrize("part", ["reward", "observation"])
def test_what_is_not_finite_never_reaches_a_checkpoint(tmp_path: Path, part: str):
    """Although no gradient step has seen it: nothing is learnt from so few records."""
    faulty = Faulty(Fault(time=20, part=part), length=30)
    host = HostedEnvironment(faulty, CONFIG.num_envs)
    host.spec = faulty.spec
    settings = RunSettings(total_timesteps=256, checkpoint_every=32, evaluation_episodes=0)
    waiting = dataclasses.replace(CONFIG, batch_size=128)
    with pytest.raises(DivergedError, match="reward or observation is not finite at step 64"):
        list(begin_run(waiting, host, settings, tmp_path))
    assert RunFolder(tmp_path).checkpoint_steps() == [32]
    state = read_checkpoint(RunFolder(tmp_path).checkpoint(32)).state
    assert np.isfinite(state["replay/records/reward"]).all()


def test_on_the_device_it_is_told_as_well():
    environment = Faulty(Fault(time=5), length=30)
    algorithm = Dreamer(CONFIG, environment.observation_space, environment.action_space)
    constants, state = jax.jit(algorithm.init)(0)
    state = dataclasses.replace(state, experience=algorithm.begin(environment, 0))
    act = jax.jit(lambda state: collect(algorithm, environment, state.params, state)[1]["finite"])
    assert not constants and not act(state)
