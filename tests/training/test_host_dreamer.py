"""DreamerV3 in environments of the host: what is recorded, how often it learns, exact resume."""

import dataclasses
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tests.algorithms.dreamer.test_algorithm import TINY
from tiny_runs import Fault, Faulty

from heredity.algorithms.dreamer.algorithm import Dreamer
from heredity.algorithms.dreamer.collect import collect
from heredity.algorithms.dreamer.replay import Place
from heredity.common import counters
from heredity.common.errors import DivergedError, RefusedError, UsageError
from heredity.common.run_folder import RunFolder
from heredity.environments import HostEnvironment, make
from heredity.environments.hosted import HostedEnvironment
from heredity.training.checkpoints import read_checkpoint, verify_checkpoint
from heredity.training.host_dreamer import DreamerHostRunner
from heredity.training.session import begin_run, resume_run
from heredity.training.settings import RunSettings
from heredity.weights import flatten, merge

SETTINGS = RunSettings(
    total_timesteps=128, checkpoint_every=64, evaluate_every=128, evaluation_episodes=2
)
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
    replay = runner._replay
    updates = counters.to_int(runner.state.updates)
    ends = 0
    for env, written in enumerate(replay.written):
        found = replay.read(Place(np.arange(written)[:, None], np.array([env])))
        found = jax.tree.map(lambda leaf: leaf[:, 0], found)
        first, last, terminal = found.is_first, found.is_last, found.is_terminal
        rewards, actions, seen = found.reward, found.action, found.observation
        assert first[0] and (first[1:] == last[:-1]).all()
        assert (rewards[first] == 0).all() and (rewards[~first] == 1).all()
        assert (terminal == last).all() and (actions[last] == 0).all()
        assert (np.abs(seen[last]).max(axis=-1) > 0.2).all()  # where it fell, not where it began
        assert (np.abs(seen[first]) <= 0.05).all()
        ends += int(last.sum())
        records += int(written)
    assert episodes == ends
    assert records == runner.step + ends
    # 4 of each record in 2 x 4: one gradient step for two records, an iteration's rest kept.
    assert updates == records // 2 and updates > 50


def files(run: Path) -> dict[str, bytes]:
    place = run / "checkpoints" / "000000000128"
    names = ("policy/model.safetensors", "training_state/state.safetensors")
    return {name: (place / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, environment: HostEnvironment) -> Path:
    """A run with checkpoints at 64 and 128."""
    folder = tmp_path_factory.mktemp("host_dreamer") / "whole"
    list(begin_run(CONFIG, environment, SETTINGS, folder))
    return folder


def segments(place: Path) -> list[Path]:
    """The files of records of a checkpoint, without those of their states."""
    files = sorted((place / "training_state/replay").iterdir())
    return [path for path in files if "-states" not in path.name]


def test_two_halves_are_the_whole(tmp_path: Path, whole: Path, environment: HostEnvironment):
    half = dataclasses.replace(SETTINGS, total_timesteps=64)
    list(begin_run(CONFIG, environment, half, tmp_path))
    list(resume_run(tmp_path, {"total_timesteps": 128}))
    assert files(whole) == files(tmp_path)
    places = [RunFolder(run).checkpoint(128) for run in (whole, tmp_path)]
    hashes = [verify_checkpoint(place, shared=True)["shared"] for place in places]
    assert hashes[0] == hashes[1] and len(hashes[0]) >= 3


def test_checkpoints_share_what_does_not_change(whole: Path):
    earlier, later = (
        {path.stat().st_ino for path in segments(RunFolder(whole).checkpoint(step))}
        for step in (64, 128)
    )
    assert earlier and earlier < later
    assert not RunFolder(whole).shared.exists()


@pytest.mark.parametrize("harm", ["torn", "missing"])
def test_a_torn_part_of_the_replay_is_left_out_and_recorded(
    tmp_path: Path, whole: Path, environment: HostEnvironment, harm: str, caplog: Any
):
    run = tmp_path / "run"
    shutil.copytree(whole, run, symlinks=True)
    place = RunFolder(run).checkpoint(128)
    found = segments(place)
    if harm == "torn":
        found[1].write_bytes(found[1].read_bytes()[:-1])
    else:
        shutil.rmtree(place / "training_state/replay")
    with pytest.raises(RefusedError, match=r"safetensors: (was altered|is missing)"):
        verify_checkpoint(place, shared=True)
    harmless = run / "shared"  # a person's
    harmless.mkdir()
    list(resume_run(run, {"total_timesteps": 160}))
    assert harmless.is_dir()
    assert "this resume is not exact: " in caplog.text
    told = read_checkpoint(RunFolder(run).checkpoint(160)).notes["exactness"]
    lost = 1 if harm == "torn" else len(found)
    assert not told["exact"] and f"{lost} of {len(found)} files of the replay" in told["reason"]


@pytest.mark.parametrize("part", ["reward", "observation"])
def test_what_is_not_finite_never_reaches_a_checkpoint(tmp_path: Path, part: str):
    """Although no gradient step has seen it: nothing is learnt from so few records."""
    faulty = Faulty(Fault(time=20, part=part), length=30)
    host = HostedEnvironment(faulty, CONFIG.num_envs)
    host.spec = faulty.spec
    settings = RunSettings(total_timesteps=256, checkpoint_every=32, evaluation_episodes=0)
    waiting = dataclasses.replace(CONFIG, batch_size=128, replay_capacity=2048)
    with pytest.raises(DivergedError, match="reward or observation is not finite at step 64"):
        list(begin_run(waiting, host, settings, tmp_path))
    assert RunFolder(tmp_path).checkpoint_steps() == [32]
    state = read_checkpoint(RunFolder(tmp_path).checkpoint(32)).state
    assert np.isfinite(state["replay/newest/reward"]).all()


def test_on_the_device_there_is_nothing_to_overlap():
    environment = make("probe/catch")
    with pytest.raises(UsageError, match="overlap is for environments of the host"):
        begin_run(dataclasses.replace(CONFIG, overlap=True), environment, SETTINGS)


def test_on_the_device_it_is_told_as_well():
    environment = Faulty(Fault(time=5), length=30)
    algorithm = Dreamer(CONFIG, environment.observation_space, environment.action_space)
    constants, state = jax.jit(algorithm.init)(0)
    state = dataclasses.replace(state, experience=algorithm.begin(environment, 0))
    act = jax.jit(lambda state: collect(algorithm, environment, state.params, state)[1]["finite"])
    assert not constants and not act(state)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_to_act_with_are_cast_before(environment: HostEnvironment, dtype: str):
    config = dataclasses.replace(CONFIG, dtype=dtype)
    algorithm = Dreamer(config, environment.observation_space, environment.action_space)
    runner = DreamerHostRunner(algorithm, environment, 0)
    weights = flatten(merge(*runner._ready().parts))
    kernels = {leaf.dtype.name for path, leaf in weights.items() if path.endswith("/kernel")}
    assert kernels == {dtype}
    assert any(path.startswith("critic/") for path in weights) == (dtype == "float32")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_acting_beside_learning_waits_for_nobody_and_depends_on_no_pace(
    tmp_path: Path, environment: HostEnvironment, monkeypatch: pytest.MonkeyPatch, dtype: str
):
    config = dataclasses.replace(CONFIG, overlap=True, dtype=dtype)
    settings = dataclasses.replace(SETTINGS, evaluation_episodes=0)
    act = DreamerHostRunner.act
    beside = []

    def late(self: DreamerHostRunner, *given: Any) -> Any:
        beside.append(threading.current_thread().name.startswith("heredity-acting"))
        time.sleep(0.02)
        return act(self, *given)

    list(begin_run(config, environment, settings, tmp_path / "as it comes"))
    monkeypatch.setattr(DreamerHostRunner, "act", late)
    list(begin_run(config, environment, settings, tmp_path / "acting late"))
    assert beside == [True] * 4
    half = dataclasses.replace(settings, total_timesteps=64)
    list(begin_run(config, environment, half, tmp_path / "halves"))
    list(resume_run(tmp_path / "halves", {"total_timesteps": 128}))
    assert files(tmp_path / "as it comes") == files(tmp_path / "acting late")
    assert files(tmp_path / "as it comes") == files(tmp_path / "halves")


@pytest.mark.parametrize("overlap", [False, True])
def test_records_say_which_version_of_the_policy_made_them(
    environment: HostEnvironment, overlap: bool
):
    config = dataclasses.replace(CONFIG, overlap=overlap)
    algorithm = Dreamer(config, environment.observation_space, environment.action_space)
    runner = DreamerHostRunner(algorithm, environment, 0)
    versions, counts = [], []
    for _ in range(4):
        counts.append(runner._replay.written.copy())
        versions.append(counters.to_int(runner.state.updates))
        runner.iterate(1)
    assert versions[1] == 0 if overlap else versions[1] > 0
    counts.append(runner._replay.written)
    found = runner._replay.read(Place(np.arange(counts[-1][0])[:, None], np.array([0]))).version
    expected = np.repeat(versions, np.diff([count[0] for count in counts]))
    np.testing.assert_array_equal(found[:, 0], expected)
