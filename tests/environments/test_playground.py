"""MuJoCo Playground: endings, broken physics, worlds, bodies in their places."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import heredity as hd
from heredity.common.errors import UnknownNameError, UsageError
from heredity.environments import list_environments, make, playground, registry
from heredity.environments.brax_api import quietly
from heredity.environments.hosted import HostedEnvironment
from heredity.environments.playground import (
    DM_CONTROL,
    ROBOTS,
    OwnRandomizer,
    PlaygroundEnvironment,
)
from heredity.environments.wrappers.frame_stack import stack_frames
from heredity.spaces import Box, Dict

pytest.importorskip("mujoco_playground")
mujoco = pytest.importorskip("mujoco")

MODEL = """
<mujoco>
  <worldbody>
    <body name="ball"><joint name="slide" type="slide"/><geom size="0.1"/></body>
  </worldbody>
  <actuator><motor name="push" joint="slide"/></actuator>
</mujoco>
"""


class Falling:
    """Shaped like one of Playground's, without physics: ends at the fourth step, pays its number.

    Args:
        breaks: Step whose numbers are not finite.
        tells: Whether it says of broken physics that the episode is done.
    """

    action_size = 1
    dt = 0.02

    def __init__(self, breaks: int = 99, tells: bool = True) -> None:
        self.mj_model = mujoco.MjModel.from_xml_string(MODEL)
        self.breaks = breaks
        self.tells = tells

    def reset(self, rng):
        from mujoco_playground import State

        zero = jnp.zeros(())
        metrics = {"reward/height": zero, "vector": jnp.zeros(3)}
        return State(zero, self.show(zero), zero, zero, metrics, {"rng": rng})

    def show(self, number):
        return {"state": number[None], "privileged_state": jnp.stack([number, -number])}

    def step(self, state, action):
        number = state.data + 1.0
        broken = number == self.breaks
        seen = jnp.where(broken, jnp.nan, number)
        state.metrics["reward/height"] = 4.0 - seen
        done = (number >= 4) | (broken & self.tells)
        return state.replace(
            data=number, obs={**self.show(number), "state": seen[None]}, reward=seen,
            done=done.astype(float),
        )  # fmt: skip


def rollout(env, steps):
    def step(state, _):
        return env.step(state, jnp.zeros(env.action_space.shape))

    state, first = env.reset(jax.random.key(0))
    return first, jax.lax.scan(step, state, None, steps)[1]


def test_both_endings_and_dicts_of_observations():
    env = PlaygroundEnvironment(Falling(), "falling", episode_length=3)
    assert env.observation_space == Dict({"state": Box((1,)), "privileged_state": Box((2,))})
    assert env.action_space == Box((1,), -1.0, 1.0, names=("push",))
    assert (env.max_episode_steps, env.step_seconds) == (3, 0.02)
    assert not env.reset_is_cheap
    # What only a simulation knows is for critics.
    assert env.actor_reads == ("state",)
    assert stack_frames(env, 2).actor_reads == ("state",)
    assert HostedEnvironment(env, 1).actor_reads == ("state",)
    first, results = rollout(env, 3)
    assert sorted(first) == ["privileged_state", "state"]
    np.testing.assert_array_equal(results.truncated, [False, False, True])
    assert not results.terminated.any()
    np.testing.assert_array_equal(results.observation["state"], [[1], [2], [3]])
    np.testing.assert_array_equal(results.info["reward/height"], [3, 2, 1])
    assert "vector" not in results.info
    # Both at once is termination.
    _, results = rollout(PlaygroundEnvironment(Falling(), "falling", 4), 4)
    np.testing.assert_array_equal(results.terminated, [False, False, False, True])
    assert not results.truncated.any()


def test_action_repeat_stops_at_the_end():
    env = PlaygroundEnvironment(Falling(), "falling", episode_length=9, action_repeat=3)
    assert (env.max_episode_steps, env.step_seconds) == (3, 0.06)
    _, results = rollout(env, 2)
    np.testing.assert_array_equal(results.terminated, [False, True])
    np.testing.assert_array_equal(results.reward, [1 + 2 + 3, 4])


@pytest.mark.parametrize("tells", [True, False])
def test_broken_physics_ends_the_episode_and_breaks_nothing_else(tells):
    env = PlaygroundEnvironment(Falling(breaks=3, tells=tells), "falling", episode_length=3)
    _, results = rollout(env, 3)
    np.testing.assert_array_equal(results.terminated, [False, False, True])
    assert not results.truncated.any()
    np.testing.assert_array_equal(results.reward, [1, 2, 0])
    np.testing.assert_array_equal(results.observation["state"], [[1], [2], [0]])
    np.testing.assert_array_equal(results.observation["privileged_state"][2], [3, -3])
    np.testing.assert_array_equal(results.info["reward/height"], [3, 2, 0])


def test_stepping_leaves_the_given_state_alone():
    env = PlaygroundEnvironment(Falling(), "falling", episode_length=9)
    state, _ = env.reset(jax.random.key(0))
    env.step(state, jnp.ones(1))
    assert float(state.playground.metrics["reward/height"]) == 0.0


# --- the real thing, compiled once ----------------------------------------------------------------

LENGTH = 12


@pytest.fixture(scope="module")
def cartpole():
    return make(
        "playground/CartpoleBalance",
        episode_length=LENGTH,
        randomize={"mass": (0.5, 2.0), "gear": (0.5, 2.0), "damping": (0.5, 2.0)},
    )


@pytest.fixture(scope="module")
def play(cartpole):
    """A compiled episode for each key, with factors other than drawn where any is given."""
    worlds = cartpole._worlds[0]
    chosen = {}

    class Chosen:
        apply = worlds.apply

        def draw(self, key):
            drawn = worlds.draw(key)
            return {n: jnp.where(chosen[n] > 0, chosen[n], drawn[n]) for n in drawn}

    cartpole._worlds = (Chosen(),)

    def one(key, push, factors):
        chosen.update(factors)
        state, first = cartpole.reset(key)
        drawn = state.worlds[0]

        def step(state, time):
            state, result = cartpole.step(state, push * jnp.ones(1))
            return state, (cartpole.pose(state), state.playground.data.qpos, result)

        _, shown = jax.lax.scan(step, state, jnp.arange(LENGTH))
        return drawn, first, *shown

    return jax.jit(jax.vmap(one))


def factors(**given):
    """As drawn where nothing is given."""
    return {
        name: jnp.array(given.get(name, [0.0] * 4), jnp.float32)
        for name in ("mass", "gear", "damping")
    }


@pytest.fixture(scope="module")
def played(play):
    keys = jax.random.split(jax.random.key(1), 2)[jnp.array([0, 1, 0, 1])]
    return play(keys, jnp.full(4, 0.4, jnp.float32), factors())


@pytest.mark.slow
def test_an_episode_of_the_cartpole(cartpole, played):
    _, first, pose, joints, results = played
    assert cartpole.observation_space == Box((5,))
    assert cartpole.action_space == Box((1,), -1.0, 1.0, names=("slide",))
    assert cartpole.step_seconds == 0.01
    assert first.dtype == results.observation.dtype == np.float32
    np.testing.assert_array_equal(results.truncated[0], [False] * (LENGTH - 1) + [True])
    assert not results.terminated.any()
    assert (results.reward > 0.9).all()
    assert results.info["reward/upright"].shape == (4, LENGTH)
    # Bodies are where MuJoCo has them, in its order.
    assert cartpole.scene().bodies == ("cart", "pole_1")
    data = mujoco.MjData(cartpole.env.mj_model)
    data.qpos[:] = joints[0, -1]
    mujoco.mj_kinematics(cartpole.env.mj_model, data)
    np.testing.assert_allclose(pose.position[0, -1], data.xpos[1:], atol=1e-5)
    np.testing.assert_allclose(pose.rotation[0, -1], data.xquat[1:], atol=1e-5)


@pytest.mark.slow
def test_every_key_is_a_world_of_its_own_and_always_the_same(played):
    drawn, _, _, _, results = played
    for values in drawn.values():
        assert ((values >= 0.5) & (values <= 2.0)).all()
        assert values[0] == values[2] != values[1]
    np.testing.assert_array_equal(results.observation[0], results.observation[2])
    assert len({float(values[0]) for values in drawn.values()}) == 3  # not one draw for all


@pytest.mark.slow
def test_factors_do_what_they_say(play):
    keys = jnp.stack([jax.random.key(0)] * 4)
    one = {"mass": [1.0] * 4, "damping": [1.0] * 4}
    # Twice the gear is twice the push.
    _, _, _, _, results = play(
        keys,
        jnp.array([0.3, 0.6, 0.3, 0.3], jnp.float32),
        factors(**one, gear=[2.0, 1.0, 1.0, 1.0]),
    )
    moved = results.observation[:, -1]
    np.testing.assert_allclose(moved[0], moved[1], atol=1e-5)
    assert np.abs(moved[0] - moved[2]).max() > 0.01
    # Where everything that resists and everything that pushes is doubled, nothing changes.
    two = [2.0, 1.0, 2.0, 1.0]
    _, _, _, _, results = play(
        keys, jnp.full(4, 0.3, jnp.float32), factors(mass=two, gear=[2.0, 1, 1, 1], damping=two)
    )
    doubled, plain, heavy, _ = results.observation[:, -1]
    np.testing.assert_allclose(doubled, plain, atol=1e-4)
    assert np.abs(heavy - plain).max() > 0.01


def test_playgrounds_own_randomizers(cartpole):
    def randomizer(model, keys):
        """In the form in which Playground registers them."""

        @jax.vmap
        def draw(key):
            key, other = jax.random.split(key)
            friction = model.geom_friction.at[0, 0].set(jax.random.uniform(key, (), jnp.float32))
            return friction, model.body_mass * jax.random.uniform(other, model.body_mass.shape)

        friction, mass = draw(keys)
        axes = jax.tree.map(lambda _: None, model)
        return (
            model.tree_replace({"geom_friction": friction, "body_mass": mass}),
            axes.tree_replace({"geom_friction": 0, "body_mass": 0}),
        )

    model = cartpole.env.mjx_model
    own = OwnRandomizer(randomizer, model)
    drawn = own.draw(jax.random.key(3))
    assert sorted(drawn) == [".body_mass", ".geom_friction"]
    changed = own.apply(model, drawn)
    assert changed.body_mass.shape == model.body_mass.shape
    assert not np.array_equal(changed.body_mass, model.body_mass)
    np.testing.assert_array_equal(changed.geom_friction, drawn[".geom_friction"])
    np.testing.assert_array_equal(changed.body_inertia, model.body_inertia)
    again = own.draw(jax.random.key(3))
    np.testing.assert_array_equal(again[".body_mass"], drawn[".body_mass"])
    assert not np.array_equal(own.draw(jax.random.key(4))[".body_mass"], drawn[".body_mass"])


@pytest.mark.slow
def test_an_interrupted_run_in_random_worlds_ends_in_the_same_bytes(tmp_path):
    """A few iterations: the state of MJX, of the worlds and of the wrapper."""
    options = {"episode_length": 7, "randomize": {"mass": (0.5, 1.5)}, "frame_stack": 2}
    small = {"num_envs": 4, "num_steps": 4, "num_minibatches": 2, "num_epochs": 1}
    small |= {"network": {"hidden": (8,)}, "preset": "none"}

    def weights_and_state(directory):
        files = (tmp_path / directory / "checkpoints" / "last").rglob("*.safetensors")
        return [file.read_bytes() for file in sorted(files)]

    env = make("playground/CartpoleBalance", **options)
    kept = {"evaluation_episodes": 0, "checkpoint_every": 48}
    hd.PPO(env, **small).learn(96, directory=tmp_path / "whole", **kept)
    # As it would lie there if it had been killed right after the checkpoint in the middle.
    shutil.copytree(tmp_path / "whole", tmp_path / "parts", symlinks=True)
    checkpoints = tmp_path / "parts" / "checkpoints"
    shutil.rmtree(checkpoints / f"{96:012d}")
    (checkpoints / "last").unlink()
    (checkpoints / "last").symlink_to(f"{48:012d}")
    hd.resume(tmp_path / "parts").learn(96)
    assert len(weights_and_state("whole")) == 2
    assert weights_and_state("parts") == weights_and_state("whole")
    record = json.loads((tmp_path / "parts" / "config.json").read_text())
    assert record["environment"]["options"]["randomize"] == {"mass": [0.5, 1.5]}


# --- names and options ----------------------------------------------------------------------------


def test_all_that_playground_knows_is_listed():
    from mujoco_playground import dm_control_suite, locomotion, manipulation

    assert set(DM_CONTROL) == set(dm_control_suite.ALL_ENVS)
    assert set(ROBOTS) == {*locomotion.ALL_ENVS, *manipulation.ALL_ENVS}


def test_what_cannot_be_made_here_says_why(monkeypatch):
    monkeypatch.setattr(playground, "_menagerie", lambda: False)
    row = next(row for row in list_environments() if row.name == "playground")
    assert "CartpoleBalance" in row.names and "Go1Getup" not in row.names
    download = next(why for why in row.lacking if "Menagerie" in why)
    assert row.lacking[download] == ROBOTS
    for name in ("Go1Getup", "PandaPickCube"):
        with pytest.raises(UsageError, match=r"MuJoCo Menagerie has to be downloaded once"):
            make(f"playground/{name}")
    with pytest.raises(UsageError, match=r"ReacherEasy cannot be made here: .* older MuJoCo"):
        make("playground/ReacherEasy")
    with pytest.raises(UnknownNameError, match="did you mean 'playground/CheetahRun'"):
        make("playground/CheetaRun")
    monkeypatch.setattr(playground, "_menagerie", lambda: True)
    row = next(row for row in list_environments() if row.name == "playground")
    assert "Go1Getup" in row.names and "ReacherEasy" not in row.names


def test_the_outdated_ones_are_outdated_still():
    """When this fails, Playground or MuJoCo has changed: take them off the list."""
    from mujoco_playground import registry as theirs

    with quietly(), pytest.raises(AttributeError, match="find_body"):
        theirs.load("ReacherEasy", config_overrides={"impl": "jax"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"impl": "warp"}, "'jax' expected"),
        ({"episode_length": 0}, "episode_length=0: a whole number >= 1"),
        ({"config_overrides": {"impl": "warp"}}, "may not hold impl: give it as an option"),
        ({"config_overrides": {"ctrl_dtt": 0.1}}, "did you mean 'ctrl_dt'"),
        ({"config_overrides": {"ctrl_dt": "long"}}, "ctrl_dt='long' .*: float expected, such as"),
        ({"config_overrides": {"vision": True}}, "unknown config_overrides"),
        ({"randomize": {"mas": (1, 2)}}, "did you mean 'mass'"),
        ({"randomize": {"mass": (2, 1)}}, "the smallest and the largest factor"),
        ({"randomize": {"mass": (1,)}}, "the smallest and the largest factor"),
        ({"randomize": {"mass": (1, float("inf"))}}, "the smallest and the largest factor"),
        ({"randomize": {"stiffness": (1, 2)}}, "none to multiply, all are zero"),
        ({"own_randomizer": True}, "Playground has none for CartpoleBalance; give factors"),
        ({"max_episode_steps": 5}, "unknown option"),
    ],
)
def test_options_are_checked(options, message, capfd):
    with pytest.raises(UsageError, match=message):
        make("playground/CartpoleBalance", **options)
    assert capfd.readouterr().out == ""


def test_overrides_arrive():
    env = make(
        "playground/CartpoleSwingup",
        action_repeat=2,
        config_overrides={"ctrl_dt": 0.02, "sim_dt": 0.01},
    )
    assert env.step_seconds == 0.04
    assert env.max_episode_steps == 500
    assert env.env.n_substeps == 2
    assert env.spec.options["config_overrides"] == {"ctrl_dt": 0.02, "sim_dt": 0.01}
    names = {field.name for field in dataclasses.fields(hd.environments.options_of(env.spec.id))}
    assert "frame_stack" in names and "max_episode_steps" not in names


@pytest.mark.slow
def test_making_says_nothing():
    code = (
        "import heredity.environments as e;"
        "e.make('playground/CartpoleBalance', randomize={'mass': (0.5, 2)});"
        "print('made')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(registry.__file__).parents[2])},
    )
    assert done.stdout == "made\n"
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["FishSwim", "HopperHop"])
def test_other_models_are_described(name):
    env = make(f"playground/{name}")  # which traces a reset and a step
    state, first = jax.eval_shape(env.reset, jax.random.key(0))
    assert first.shape == env.observation_space.shape
    pose = jax.eval_shape(env.pose, state)
    assert pose.position.shape == (len(env.scene().bodies), 3)
    assert len(env.action_space.names) == env.action_space.shape[0]
