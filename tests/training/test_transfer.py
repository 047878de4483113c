"""Whole checkpoints in other spaces: the optimiser follows, and the first steps are safe."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.training.sensors import Sensors

import heredity as hd
from heredity.algorithms.ppo.adam import AdamState, adam
from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.ppo.presets import preset_config
from heredity.algorithms.training_plan import TrainingPlan
from heredity.common import counters
from heredity.common.errors import MismatchError, UsageError
from heredity.common.run_folder import RunFolder
from heredity.policies import Policy
from heredity.training.checkpoints import Checkpoint, read_checkpoint, write_checkpoint_folder
from heredity.training.transfer import transfer
from heredity.weights import count, flatten

RATE = 1e-3
SIZE = 64
CONFIG = PPOConfig(
    num_envs=4,
    num_steps=16,
    num_epochs=1,
    num_minibatches=1,
    learning_rate=RATE,
    adam_epsilon=1e-12,  # what is measured are the steps of Adam itself
    network={"hidden": (8,)},
    normalize_observations=True,
)
KEPT: dict[str, Any] = {"evaluation_episodes": 0, "checkpoint_every": SIZE, "keep_last": 9}
FEW = ("x", "theta")
MORE = ("x", "theta", "x_velocity", "theta_velocity")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The end of a run that saw few sensors."""
    directory = tmp_path_factory.mktemp("few")
    hd.PPO(Sensors(FEW), config=CONFIG).learn(20 * SIZE, directory=directory, **KEPT)
    return read_checkpoint(RunFolder(directory).checkpoint(20 * SIZE))


@pytest.fixture(scope="module")
def moved(source: Checkpoint) -> Checkpoint:
    """The same with more of them."""
    plan = policy_of(source).plan_transfer(Sensors(MORE).observation_space)
    return transfer(source, plan)[0]


def policy_of(checkpoint: Checkpoint) -> Policy:
    return checkpoint.to_policy()


def test_moments_and_counts_follow_their_weights(source: Checkpoint, moved: Checkpoint):
    assert policy_of(moved).lineage.entries[-1].operation == "transfer"
    for moment in ("mu", "nu"):
        name = f"optimizer/1/{moment}/actor/hidden_0/kernel"
        assert moved.state[name].shape == (4, 8) and source.state[name].any()
        np.testing.assert_array_equal(moved.state[name][:2], source.state[name])
        assert not moved.state[name][2:].any()
        other = f"optimizer/1/{moment}/critic/output/kernel"
        np.testing.assert_array_equal(moved.state[other], source.state[other])
    assert source.state["optimizer/1/count"] == 20 and moved.state["optimizer/1/count"] == 0
    seen = counters.to_float(jnp.asarray(moved.policy["normalizer/observation/count"]))
    np.testing.assert_array_equal(seen, [20 * SIZE, 20 * SIZE, 0, 0])
    # Of the environment that is left behind.
    assert not any(path.startswith("experience/") for path in moved.state)


def test_wider_layers_take_their_moments_along(source: Checkpoint):
    policy = policy_of(source)
    wide, report = transfer(source, policy.plan_transfer(hidden=[12]))
    assert "optimiser" in report.notes[-1]
    name = "optimizer/1/nu/actor/output/kernel"
    np.testing.assert_array_equal(wide.state[name][:8], source.state[name])
    assert wide.state[name].shape == (12, 2) and not wide.state[name][8:].any()
    paths = {path.partition("/nu/")[2] for path in wide.state if "/nu/" in path}
    assert paths == {path for path in flatten(policy.params) if "normalizer" not in path}


def steps_of(age: int, moved_moments: bool, gradients: np.ndarray) -> np.ndarray:
    """How far an element steps, in learning rates, once it is there at an age of the optimiser."""
    config = dataclasses.replace(CONFIG, max_grad_norm=1e9)
    params = {"weight": jnp.zeros(())}
    transformation = adam(TrainingPlan.of(config, params), config, params)
    state: Any = transformation.init(params)
    moments = (0.3, 0.3**2) if moved_moments else (0.0, 0.0)
    state = (state[0], AdamState(jnp.array([age], jnp.int32), *map(jnp.float32, moments)))
    found = []
    update = jax.jit(transformation.update)
    for gradient in gradients:
        direction, state = update(jnp.float32(gradient), state)
        found.append(float(direction))
    return np.abs(found)


def test_the_trap_is_there_and_age_zero_is_out_of_it():
    steady = np.full(300, 0.3)
    # What is new, in an optimiser that is old: 3.16 learning rates at once, and long for a while.
    trapped = steps_of(100_000, False, steady)
    assert trapped[0] == pytest.approx(3.16, abs=0.01) and trapped.max() > 5
    # At age 0: one learning rate, as in a new run.
    assert steps_of(0, False, steady).max() <= 1.001
    # What has moments takes shorter steps at first, never longer ones.
    warming = steps_of(0, True, steady)
    assert warming.max() <= 1.001 and warming[0] < 0.4 and warming[-1] > warming[10]


def first_step(checkpoint: Checkpoint, directory: Path) -> np.ndarray:
    """How far the new columns move in the first gradient step of a run, in learning rates."""
    model = hd.PPO(Sensors(MORE), config=CONFIG, start=checkpoint)
    model.learn(SIZE, directory=directory, **KEPT)
    folder = RunFolder(directory)
    weights = [
        read_checkpoint(folder.checkpoint(step)).policy["actor/hidden_0/kernel"]
        for step in (0, SIZE)
    ]
    np.testing.assert_array_equal(weights[0], checkpoint.policy["actor/hidden_0/kernel"])
    assert model.policy.lineage.entries[-2].operation in ("train", "transfer")
    return np.abs(weights[1] - weights[0])[2:] / RATE


def test_the_first_step_of_a_run_from_it_is_safe(moved: Checkpoint, tmp_path: Path):
    safe = first_step(moved, tmp_path / "safe")
    assert 0.9 < safe.max() <= 1.01  # it learns at once, by no more than the learning rate
    # The same with the age kept, which is what copying the optimiser would do.
    old = {**moved.state, "optimizer/1/count": np.array([100_000], np.int32)}
    trapped = first_step(dataclasses.replace(moved, state=old), tmp_path / "trapped")
    assert trapped.max() > 3


def test_what_was_moved_is_written_and_read(source: Checkpoint, tmp_path: Path):
    plan = policy_of(source).plan_transfer(hidden=[12])
    wide, report = transfer(source, plan)
    write_checkpoint_folder(tmp_path / "new", wide)
    again = read_checkpoint(tmp_path / "new")
    assert policy_of(again).policy_hash == wide.lineage.head
    # Of the wider layers, the units that there were.
    old, new = count(policy_of(source).params), count(policy_of(wide).params)
    assert report.coverage == pytest.approx(old / new)
    assert not again.notes["exactness"]["exact"] and again.notes["best"] is None
    with pytest.raises(UsageError, match="is there already"):
        hd.transfer_checkpoint(tmp_path / "old", plan, tmp_path / "new")


def test_an_optimiser_of_other_weights_is_refused(moved: Checkpoint, source: Checkpoint):
    wrong = dataclasses.replace(moved, state=source.state)
    model = hd.PPO(Sensors(MORE), config=CONFIG, start=wrong)
    with pytest.raises(MismatchError, match="the checkpoint has no optimizer"):
        model.learn(SIZE)
    with pytest.raises(MismatchError, match=r"shape \(2,\) where \(4,\) was expected"):
        hd.PPO(Sensors(FEW), config=CONFIG, start=moved).learn(SIZE)


@pytest.mark.slow
@pytest.mark.usefixtures("well_compiled")
def test_going_on_is_ahead_of_fresh_weights():
    """The claim of docs/transfer.md, small: one seed of Acrobot, a sensor added."""
    id = "gymnax/Acrobot-v1"
    config = preset_config(id, "")
    names = ("cos_theta1", "sin_theta1", "cos_theta2", "sin_theta2", "omega1", "omega2")
    few, more = (Sensors(seen, config.num_envs, id) for seen in (names[:5], names))
    learnt = hd.PPO(few, config=config).learn(120_000, evaluation_episodes=0).policy
    moved, _ = learnt.transfer(learnt.plan_transfer(more.observation_space))
    reached = {}
    for name, start in (("transferred", moved), ("fresh", None)):
        model = hd.PPO(more, config=config, start=start)
        events = model.run(20_480, evaluate_every=8_192, evaluation_episodes=16)
        reached[name] = np.mean([event.evaluation.mean for event in events if event.evaluation])
    # No episode ends before 500 steps for who knows nothing.
    assert reached["transferred"] > reached["fresh"] + 50
