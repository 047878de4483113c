"""Environments divided among devices: the same training, in less time."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_runs import CONFIG, apart, environment, resume, train

from heredity.algorithms.dreamer.algorithm import Dreamer
from heredity.algorithms.dreamer.config import DreamerConfig
from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.collect import collect
from heredity.algorithms.ppo.config import PPOConfig
from heredity.common.errors import UsageError
from heredity.common.run_folder import RunFolder
from heredity.environments import JaxEnvironment, make
from heredity.training.checkpoints import read_manifest
from heredity.training.device_runner import DeviceRunner
from heredity.training.mesh import DeviceMesh, mesh_for

DREAMER = DreamerConfig(
    num_envs=4,
    num_steps=8,
    train_ratio=1.0,
    batch_size=4,
    batch_length=4,
    replay_capacity=128,
    learning_rate=1e-3,
    learning_rate_warmup=0,
    deter=24,
    blocks=2,
    hidden=8,
    units=8,
    groups=2,
    classes=3,
    imagination_length=3,
)
COLLECTIVE = re.compile(r" (all-gather|all-reduce|all-to-all|collective-permute)(?:-start)?\(")


def ppo(config: PPOConfig, env: JaxEnvironment) -> PPO:
    return PPO(config, env.observation_space, env.action_space, schedule_timesteps=10_000)


def jax_environment(name: str) -> JaxEnvironment:
    env = make(name, num_envs=4)
    assert isinstance(env, JaxEnvironment)
    return env


def two_devices(config: PPOConfig = CONFIG) -> DeviceMesh:
    mesh = mesh_for("all", config)
    assert mesh is not None and mesh.size == 2
    return mesh


def test_two_devices_do_what_one_does_and_go_on_bit_for_bit():
    env = environment()
    assert isinstance(env, JaxEnvironment)
    config = dataclasses.replace(CONFIG, freeze=("actor/hidden_0/**",))
    one = DeviceRunner(ppo(config, env), env, 3)
    two = DeviceRunner(ppo(config, env), env, 3, two_devices())
    check_alike(one, two)
    mesh = two_devices()
    for leaf in jax.tree.leaves((two.state.experience, two.state.discounted_returns)):
        assert leaf.sharding.is_equivalent_to(mesh.split, leaf.ndim)
    for leaf in jax.tree.leaves((two.constants, two.state.params, two.state.optimizer)):
        assert leaf.sharding.is_fully_replicated

    policy, state = two.policy_leaves(), two.save()
    two.iterate(2)
    again = DeviceRunner(ppo(config, env), env, 1, two_devices())
    assert again.load(policy, state, None).exact
    again.iterate(1)
    again.iterate(1)
    for was, now in ((two.policy_leaves(), again.policy_leaves()), (two.save(), again.save())):
        assert all(was[path].tobytes() == now[path].tobytes() for path in was)
    # Frozen weights come from the file.
    kernels = [runner.constants["actor"]["hidden_0"]["kernel"] for runner in (two, again)]
    assert np.asarray(kernels[0]).tobytes() == np.asarray(kernels[1]).tobytes()


def test_sequences_are_divided_as_well():
    env = jax_environment("gymnax/Pendulum-v1")
    memory = {"kind": "gru", "memory_size": 8, "hidden": (8,)}
    config = dataclasses.replace(CONFIG, learning_rate=1e-3, network=memory, sequence_length=8)
    mesh = two_devices(config)
    check_alike(
        DeviceRunner(ppo(config, env), env, 3), DeviceRunner(ppo(config, env), env, 3, mesh)
    )


@pytest.mark.slow
def test_a_world_model_is_learnt_by_two_devices():
    env = jax_environment("gymnax/Catch-bsuite")
    algorithm = Dreamer(DREAMER, env.observation_space, env.action_space)
    mesh = mesh_for("all", DREAMER)
    assert mesh is not None
    one, two = DeviceRunner(algorithm, env, 3), DeviceRunner(algorithm, env, 3, mesh)
    was, now = one.iterate(1), two.iterate(1)
    assert was["train/gradient_steps"] == now["train/gradient_steps"] == 2
    # What is imagined says nothing yet: while the chances of returns up to 5e8 are nearly those of
    # -5e8, their mean is made of rounding.
    of_world = re.compile("train/(dynamics|representation|reward|continue|reconstruction)")
    names = [name for name in was if of_world.match(name)]
    assert len(names) == 5
    for name in names:
        assert now[name] == pytest.approx(was[name], rel=1e-4), name
    acted = {path: leaf for path, leaf in one.save().items() if "experience/moment" in path}
    assert acted and apart(acted, {path: two.save()[path] for path in acted}) < 1e-4
    for leaf in jax.tree.leaves(two.state.experience.moment):
        assert leaf.sharding.shard_shape(leaf.shape)[0] == 2, "each device has two of the four"
    for leaf in jax.tree.leaves((two.state.params, two.state.experience.replay)):
        assert leaf.sharding.is_fully_replicated
    with jax.set_mesh(mesh.mesh):
        program = two._advance.lower(two.constants, two.state, np.int32(1)).compile()
    divided = f"f32[{DREAMER.batch_length},{DREAMER.batch_size // 2},{DREAMER.deter}]"
    assert divided in program.as_text(), "each device learns from half of the sequences"


def check_alike(one: DeviceRunner, two: DeviceRunner) -> None:
    """Two iterations give the same, within rounding."""
    for _ in range(2):
        was, now = one.iterate(1), two.iterate(1)
        assert was.keys() == now.keys()
        assert was["episodes"] == now["episodes"]
        assert max(abs(was[name] - now[name]) for name in was) < 1e-4
        assert apart(one.policy_leaves(), two.policy_leaves()) < 1e-4
        assert apart(one.save(), two.save()) < 1e-4
    assert one.step == two.step


@pytest.mark.parametrize("batches_last", [False, True])
def test_nobody_waits_for_another_device_while_acting(batches_last: bool):
    env = jax_environment("gymnax/Pendulum-v1")
    env.batches_last = batches_last
    algorithm, mesh = ppo(CONFIG, env), two_devices()
    runner = DeviceRunner(algorithm, env, 0, mesh)
    runner.save()  # begins the episodes

    def act(constants, state):
        experience, rollout, sums = collect(
            algorithm, env, algorithm.all_params(constants, state), state
        )
        return experience, rollout.rewards, sums

    with jax.set_mesh(mesh.mesh):
        program = jax.jit(act).lower(runner.constants, runner.state).compile()
    experience, rewards, _ = program(runner.constants, runner.state)
    for leaf in (*jax.tree.leaves(experience), rewards.T):
        assert leaf.sharding.shard_shape(leaf.shape)[0] == 2, "each device has two of the four"
    found = COLLECTIVE.findall(program.as_text())
    # What is logged is added up once, after the last step.
    assert set(found) <= {"all-reduce"} and len(found) <= 4, found


@pytest.mark.parametrize(
    ("devices", "changed", "told"),
    [
        (3, {}, r"devices 3: JAX finds 2 \(cpu\); JAX_NUM_CPU_DEVICES"),
        (2, {"num_envs": 3, "num_steps": 16}, "num_envs 3 cannot be divided among 2 devices"),
        (2, {"num_minibatches": 64, "normalize_advantages": False},
         r"num_envs \* num_steps / num_minibatches 1 cannot be divided among 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_divided_is_refused(devices: int, changed: dict, told: str):
    with pytest.raises(UsageError, match=told):
        mesh_for(devices, dataclasses.replace(CONFIG, **changed))


@pytest.mark.parametrize(
    ("settings", "host", "told"),
    [
        ({"seeds": 2}, False, "seeds 2 on 2 devices: several seeds share one device"),
        ({}, True, "2 devices in probe/.*: only JAX programs"),
        # More than there are: nobody is told how to have so many, to be refused then.
        ({"seeds": 2, "devices": 3}, False, "seeds 2 on 3 devices"),
        ({"devices": 3}, True, "3 devices in probe/"),
    ],
)
def test_what_runs_on_one_device_alone_is_refused(settings: dict, host: bool, told: str):
    with pytest.raises(UsageError, match=told):
        train(None, 64, env=environment(host=host), **{"devices": 2, **settings})


def test_a_run_remembers_its_devices(tmp_path: Path):
    """A resume has as many; another number is told of and recorded."""
    train(tmp_path, 64, devices="all", evaluation_episodes=0)
    assert RunFolder(tmp_path).read_config(sealed=True)["run"]["devices"] == 2
    resume(tmp_path, total_timesteps=128)
    manifest = read_manifest(RunFolder(tmp_path).checkpoint(128))
    assert manifest["exactness"]["exact"] and (manifest["devices"], manifest["processes"]) == (2, 1)
    resume(tmp_path, total_timesteps=192, devices=1)
    manifest = read_manifest(RunFolder(tmp_path).checkpoint(192))
    reason = manifest["exactness"]["reason"]
    assert reason == "it was trained on 2 devices and goes on on 1 device"
    assert "devices" not in manifest
