import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import (
    CONFIG,
    Fault,
    Faulty,
    diverging,
    environment,
    metrics_steps,
    resume,
    train,
)

import heredity as hd
from heredity.common.errors import DivergedError
from heredity.common.run_folder import RunFolder
from heredity.environments import Exactness
from heredity.environments.hosted import HostedEnvironment
from heredity.policies import Policy
from heredity.training import loop as loop_module
from heredity.training.checkpoints import newest_whole_checkpoint, read_checkpoint
from heredity.training.runners import DeviceRunner
from heredity.weights import flatten

# An episode goes wrong at its 40th decision: in the third iteration of sixteen.
FAULT = Fault(time=40)


def finite(directory: Path) -> int:
    """Step of the newest checkpoint, all of whose numbers are finite."""
    checkpoint, refused = newest_whole_checkpoint(RunFolder(directory))
    assert checkpoint is not None and refused == []
    for leaves in (checkpoint.policy, checkpoint.state):
        for name, leaf in leaves.items():
            assert leaf.dtype.kind != "f" or np.isfinite(leaf).all(), name
    return checkpoint.step


@pytest.mark.parametrize(
    ("fault", "normalize"),
    [
        (FAULT, True),
        (FAULT, False),
        (Fault(40, "observation"), True),
        (Fault(40, "reward", float("inf")), False),
    ],
)
def test_the_run_stops_and_names_the_last_good_checkpoint(
    tmp_path: Path, fault: Fault, normalize: bool
):
    config = dataclasses.replace(
        CONFIG, normalize_observations=normalize, normalize_rewards=normalize
    )
    env = Faulty(fault, length=60)
    with pytest.raises(DivergedError, match="not finite at step 192") as raised:
        train(tmp_path, 1024, config=config, env=env, checkpoint_every=64, evaluation_episodes=0)
    assert f"the last good checkpoint is {tmp_path}/checkpoints/000000000128" in str(raised.value)
    assert raised.value.exit_code == 1
    named = normalize and fault.part == "observation"
    assert ("what was seen in column signal of the observation" in str(raised.value)) is named
    assert finite(tmp_path) == 128
    # It can be gone on with: where the world is as it should be, here.
    resume(tmp_path, total_timesteps=256)
    assert finite(tmp_path) == 256


def test_without_a_checkpoint_that_is_told(tmp_path: Path):
    env = Faulty(FAULT, length=60)
    for directory in (None, tmp_path):
        with pytest.raises(DivergedError, match="there is no checkpoint yet"):
            train(directory, 1024, env=env, checkpoint_every=512, evaluation_episodes=0)
    resume(tmp_path, total_timesteps=128)


def test_on_the_host_too(tmp_path: Path):
    env = HostedEnvironment(Faulty(FAULT, length=60), CONFIG.num_envs)
    env.spec = env.env.spec
    with pytest.raises(DivergedError, match="not finite at step 192"):
        train(tmp_path, 1024, env=env, checkpoint_every=64, evaluation_episodes=0)
    assert finite(tmp_path) == 128


def test_rollback_happens_at_most_so_often(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    env = Faulty(FAULT, length=60)
    with pytest.raises(DivergedError, match="it was rolled back 2 times"):
        train(
            tmp_path, 1024, env=env, checkpoint_every=64, evaluation_episodes=0,
            on_divergence="rollback", max_rollbacks=2,
        )  # fmt: skip
    assert [f"attempt {number}" in caplog.text for number in (1, 2, 3)] == [True, True, False]
    assert finite(tmp_path) == 128


@pytest.fixture
def bad_luck(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Training goes wrong once, at the fifth iteration; what was learnt there is kept."""
    return diverging(monkeypatch, [320])


def test_rollback_goes_on_with_other_draws(
    tmp_path: Path, bad_luck: list[np.ndarray], caplog: pytest.LogCaptureFixture
):
    events = train(
        tmp_path / "run", 640, checkpoint_every=128, snapshot_every=64, on_divergence="rollback",
        keep_last=99,
    )  # fmt: skip
    assert "rolled back, attempt 1" in caplog.text
    folder = RunFolder(tmp_path / "run")
    assert events[-1].step == 640
    assert all(np.isfinite(leaf).all() for leaf in flatten(events[-1].policy.params).values())
    again = Policy.from_pretrained(folder.snapshot(320) / "policy")
    assert not np.array_equal(bad_luck[0], flatten(again.params)["actor/output/kernel"])
    lineage = read_checkpoint(folder.checkpoint(640)).lineage.entries
    rollback = next(entry for entry in lineage if entry.operation == "rollback")
    assert (rollback.step, rollback.arguments) == (256, {"attempt": 1, "diverged_at": 320})
    assert rollback.hash == rollback.parent == read_checkpoint(folder.checkpoint(256)).lineage.head
    assert int(read_checkpoint(folder.checkpoint(640)).state["attempt"]) == 1


def test_rows_of_the_branch_that_was_left_are_gone(tmp_path: Path, bad_luck: list[np.ndarray]):
    train(
        tmp_path, 384, checkpoint_every=192, log_every=64, evaluation_episodes=0,
        on_divergence="rollback",
    )  # fmt: skip
    assert len(bad_luck) == 1
    assert metrics_steps(tmp_path) == [64, 128, 192, 256, 320, 384]


def test_episodes_that_could_not_be_rolled_back_are_noted(
    tmp_path: Path, bad_luck: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
):
    real = DeviceRunner.load

    def load(self: DeviceRunner, *words: Any) -> Exactness:
        real(self, *words)
        return Exactness(False, "environment 0 is another")

    monkeypatch.setattr(DeviceRunner, "load", load)
    train(tmp_path, 384, checkpoint_every=64, evaluation_episodes=0, on_divergence="rollback")
    noted = read_checkpoint(RunFolder(tmp_path).checkpoint(384)).notes["exactness"]
    assert len(bad_luck) == 1
    assert noted == {"exact": False, "reason": "environment 0 is another"}


def test_what_was_chosen_is_not_recommended():
    with pytest.raises(DivergedError, match=r"nothing to roll back to\. Lower") as raised:
        train(
            None, 1024, env=Faulty(FAULT, length=60), evaluation_episodes=0,
            on_divergence="rollback",
        )  # fmt: skip
    assert "--on-divergence" not in str(raised.value)


def test_a_rolled_back_run_resumes_exactly(tmp_path: Path, bad_luck: list[np.ndarray]):
    settings = {"checkpoint_every": 64, "on_divergence": "rollback", "schedule_timesteps": 640}
    train(tmp_path / "whole", 640, **settings)
    bad_luck.clear()
    train(tmp_path / "parts", 448, **settings)
    resume(tmp_path / "parts", total_timesteps=640)
    states = [
        read_checkpoint(RunFolder(tmp_path / name).checkpoint(640)) for name in ("whole", "parts")
    ]
    assert [int(state.state["attempt"]) for state in states] == [1, 1]
    for path, leaf in states[0].policy.items():
        assert leaf.tobytes() == states[1].policy[path].tobytes(), path


def test_a_signal_does_not_save_what_diverged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import signal

    real = DeviceRunner.iterate

    def iterate(self: DeviceRunner, iterations: int) -> dict[str, float]:
        metrics = real(self, 1)
        if self.step == 128:
            self.state.params["critic"]["output"]["bias"] *= float("nan")
            signal.raise_signal(signal.SIGINT)
            return {**metrics, "finite": 0.0}
        return metrics

    monkeypatch.setattr(DeviceRunner, "iterate", iterate)
    with pytest.raises(DivergedError):
        train(tmp_path, 640, checkpoint_every=64)
    assert finite(tmp_path) == 64


def test_a_reward_that_is_no_number_is_never_the_best(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    # Evaluations go wrong where training, here, does not.
    real = loop_module.Evaluator.evaluate
    means = iter([float("nan"), 3.0, float("inf"), 5.0])

    def evaluate(self, params, seed=0, **given):
        evaluation = real(self, params, seed, **given)
        return dataclasses.replace(evaluation, returns=evaluation.returns * 0 + next(means))

    monkeypatch.setattr(loop_module.Evaluator, "evaluate", evaluate)
    with caplog.at_level(logging.WARNING, "heredity"):
        events = train(tmp_path, 192, snapshot_every=64)
    assert [event.is_best for event in events] == [False, True, False, True]
    assert caplog.text.count("is not finite") == 2
    folder = RunFolder(tmp_path)
    told = [(folder.snapshot(s) / "evaluation.json").exists() for s in folder.snapshot_steps()]
    assert told == [False, True, False, True]
    assert [event.policy.lineage.entries[-1].score is None for event in events] == [
        True, False, True, False,
    ]  # fmt: skip
    assert read_checkpoint(folder.checkpoints / "best").step == 192
    resume(tmp_path, total_timesteps=256, evaluation_episodes=0)


def test_the_facade_passes_it_on():
    model = hd.PPO(environment(), config=dataclasses.replace(CONFIG, learning_rate=1e30))
    with pytest.raises(DivergedError, match="Lower learning_rate"):
        model.learn(10_000, evaluation_episodes=0)
