"""Brax without its wrappers: endings, options, names of columns, bodies in their places."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.common.errors import UnknownNameError, UsageError
from heredity.environments import make, registry
from heredity.environments.brax import NAMES, BraxEnvironment
from heredity.environments.randomization import Factors
from heredity.spaces import Box, Dict

pytest.importorskip("brax")


def rollout(env, act, steps, seed=0):
    """States and steps of `act(time)`; the first state and observation too."""

    def step(state, time):
        state, result = env.step(state, act(time))
        return state, (state, result)

    def run(key):
        state, first = env.reset(key)
        return state, first, jax.lax.scan(step, state, jnp.arange(steps))[1]

    return jax.jit(run)(jax.random.key(seed))


def zeros(env):
    return lambda time: jnp.zeros(env.action_space.shape)


@pytest.fixture(scope="module")
def pendulum():
    return make("brax/inverted_pendulum", backend="positional", episode_length=60)


@pytest.fixture(scope="module")
def fallen(pendulum):
    return rollout(pendulum, lambda time: jnp.ones(1), 60)


def test_truncation_with_the_last_observation():
    env = make("brax/fast", episode_length=5)
    assert env.max_episode_steps == 5
    _, first, (_, results) = rollout(env, lambda time: jnp.ones(1), 5)
    np.testing.assert_array_equal(results.truncated, [False] * 4 + [True])
    assert not results.terminated.any()
    assert results.observation[4, 0] > results.observation[3, 0] > first[0]


def test_termination_with_the_last_observation(fallen):
    _, _, (states, results) = fallen
    end = int(jnp.argmax(results.terminated))
    assert 0 < end < 59
    assert not results.truncated[: end + 1].any()
    assert abs(float(results.observation[end, 1])) > 0.2  # fallen, and not begun anew
    assert abs(float(results.observation[end - 1, 1])) <= 0.2
    np.testing.assert_array_equal(results.observation[end, :2], states.brax.pipeline_state.q[end])


class Falling:
    """Shaped like a brax environment without physics: ends at the fourth step, pays its number."""

    action_size = 1

    def reset(self, rng):
        from brax.envs.base import State

        zero = jnp.zeros(())
        return State(zero, jnp.zeros(1), zero, zero, {"height": zero}, {"rng": rng})

    def step(self, state, action):
        number = state.pipeline_state + 1.0
        state.metrics.update(height=4.0 - number)
        done = number >= 4  # a bool where there was a float: brax environments do that too
        return state.replace(pipeline_state=number, obs=number[None], reward=number, done=done)


def test_both_at_once_is_termination():
    env = BraxEnvironment(Falling(), "falling", episode_length=4)
    _, _, (_, results) = rollout(env, zeros(env), 4)
    np.testing.assert_array_equal(results.terminated, [False, False, False, True])
    assert not results.truncated.any()
    np.testing.assert_array_equal(results.info["height"], [3, 2, 1, 0])


def test_action_repeat_adds_rewards_and_stops_at_the_end():
    once = make("brax/fast", episode_length=12)
    thrice = make("brax/fast", episode_length=12, action_repeat=3)
    assert thrice.max_episode_steps == 4
    assert thrice.step_seconds == pytest.approx(3 * once.step_seconds)
    _, _, (_, fine) = rollout(once, lambda time: jnp.ones(1), 12)
    _, _, (_, coarse) = rollout(thrice, lambda time: jnp.ones(1), 4)
    np.testing.assert_allclose(coarse.observation, fine.observation[2::3])
    np.testing.assert_allclose(coarse.reward, fine.reward.reshape(4, 3).sum(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(coarse.truncated, [False, False, False, True])


def test_an_episode_that_ends_between_repeats_stays_where_it_ended():
    env = BraxEnvironment(Falling(), "falling", episode_length=9, action_repeat=3)
    _, _, (_, results) = rollout(env, zeros(env), 2)
    np.testing.assert_array_equal(results.terminated, [False, True])
    np.testing.assert_array_equal(results.reward, [1 + 2 + 3, 4])  # 5 and 6 were not stepped
    np.testing.assert_array_equal(results.observation, [[3.0], [4.0]])


def test_dict_observations():
    env = make("brax/fast", env_kwargs={"obs_mode": "dict_pixels_state"})
    assert env.observation_space == Dict(
        {
            "state": Box((2,)),
            "pixels.view_0": Box((4, 4, 3)),
            "pixels.view_1": Box((4, 4, 3)),
        }
    )
    _, first, (_, results) = rollout(env, zeros(env), 2)
    assert sorted(first) == sorted(results.observation) == list(env.observation_space)
    assert env.scene() is None


def test_stepping_leaves_the_given_state_alone():
    env = BraxEnvironment(Falling(), "falling")
    state, _ = env.reset(jax.random.PRNGKey(0))
    env.step(state, jnp.ones(1))
    assert float(state.brax.metrics["height"]) == 0.0
    assert float(env.step(state, jnp.ones(1))[1].info["height"]) == 3.0


def test_columns_are_named(pendulum, fallen):
    assert pendulum.observation_space.names == (
        "slider.position",
        "hinge.position",
        "slider.velocity",
        "hinge.velocity",
    )
    assert pendulum.action_space == Box((1,), -1.0, 1.0, names=("slide",))
    assert pendulum.step_seconds == 0.02
    state, first, _ = fallen
    inner = state.brax.pipeline_state
    np.testing.assert_array_equal(first, jnp.concatenate([inner.q, inner.qd]))


def kinematics(env, q):
    """MuJoCo's own positions and rotations of all bodies for brax's joint positions."""
    import mujoco

    data = mujoco.MjData(env._model)
    data.qpos[:] = q
    mujoco.mj_kinematics(env._model, data)
    return data.xpos[1:], data.xquat[1:]


def assert_bodies_in_place(env):
    """Bodies of a bent pose are where MuJoCo has them, in its order."""
    state = jax.eval_shape(env.reset, jax.random.key(0))[0]
    q = np.array(env.env.sys.init_q)
    free = 7 if env._model.jnt_type[0] == 0 else 0
    q[free:] += np.linspace(-0.2, 0.3, len(q) - free)
    inner = jax.jit(env.env.pipeline_init)(jnp.asarray(q), jnp.zeros(env._model.nv))
    pose = env.pose(state._replace(brax=state.brax.replace(pipeline_state=inner)))
    assert pose.position.shape == (len(env.scene().bodies), 3)
    position, rotation = kinematics(env, q)
    np.testing.assert_allclose(pose.position, position, atol=1e-4)
    likeness = np.abs(np.sum(np.asarray(pose.rotation) * rotation, axis=1))
    np.testing.assert_allclose(likeness, 1.0, atol=1e-4)  # q and -q are one rotation


def test_a_pendulums_bodies_are_where_mujoco_has_them(pendulum, fallen):
    assert pendulum.scene().bodies == ("cart", "pole")
    assert pendulum.scene().tracked_body == -1
    assert_bodies_in_place(pendulum)
    _, _, (states, _) = fallen
    poses = jax.vmap(pendulum.pose)(states)
    assert np.isfinite(poses.position).all()
    assert np.ptp(poses.position[:, 0, 0]) > 0.1  # the cart moves along its rail


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "mujoco"}, "'mjx' expected"),
        ({"episode_length": 0}, "episode_length=0: a whole number >= 1"),
        ({"action_repeat": 0}, "action_repeat=0: a whole number >= 1"),
        ({"env_kwargs": {"ctrl_cost_wait": 1.0}}, "did you mean 'ctrl_cost_weight'"),
        ({"env_kwargs": {"backend": "mjx"}}, "an option of its own"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(UsageError, match=message):
        make("brax/ant", **options)


def play_in_worlds(env, monkeypatch):
    """A compiled episode for each key, with factors other than drawn where any is given."""
    drawing = Factors.draw
    chosen = {}

    def draw(self, key):
        drawn = drawing(self, key)
        return {n: jnp.where(chosen[n] > 0, chosen[n], drawn[n]) for n in drawn}

    monkeypatch.setattr(Factors, "draw", draw)

    def one(key, push, factors):
        chosen.update(factors)
        state, first = env.reset(key)
        drawn = state.worlds[0]

        def step(state, _):
            state, result = env.step(state, push * jnp.ones(1))
            return state, result.observation

        return drawn, first, jax.lax.scan(step, state, None, 6)[1]

    return jax.jit(jax.vmap(one))


def given(names, **factors):
    return {n: jnp.array(factors.get(n, [0.0] * 4), jnp.float32) for n in names}


def test_every_key_is_a_world_of_its_own(monkeypatch):
    names = ("gear", "gravity")
    ranges = {name: (0.5, 2.0) for name in names}
    env = make("brax/inverted_pendulum", backend="positional", randomize=ranges)
    assert env.spec.options["randomize"] == {"gear": [0.5, 2.0], "gravity": [0.5, 2.0]}
    play = play_in_worlds(env, monkeypatch)
    keys = jax.random.split(jax.random.key(0), 2)[jnp.array([0, 1, 0, 1])]
    push = jnp.full(4, 0.4, jnp.float32)
    drawn, _, seen = play(keys, push, given(names))
    for values in drawn.values():
        assert ((values >= 0.5) & (values <= 2.0)).all()
        assert values[0] == values[2] != values[1]
    np.testing.assert_array_equal(seen[0], seen[2])
    # Twice the gear is twice the push.
    one = [1.0] * 4
    push = jnp.array([0.2, 0.4, 0.2, 0.4], jnp.float32)
    keys = jnp.stack([jax.random.key(0)] * 4)
    _, again, seen = play(keys, push, given(names, gear=[2.0, 1.0, 1.0, 1.0], gravity=one))
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-5, atol=1e-5)
    assert np.abs(seen[0] - seen[2])[-1].max() > 0.01
    np.testing.assert_array_equal(again[0], again[3])


@pytest.mark.slow
def test_factors_change_the_joints_of_the_generalized_physics(monkeypatch):
    names = ("damping", "gear", "gravity", "mass")
    ranges = {name: (0.5, 2.0) for name in names}
    play = play_in_worlds(make("brax/inverted_pendulum", randomize=ranges), monkeypatch)
    keys = jnp.stack([jax.random.key(0)] * 4)
    push = jnp.full(4, 0.2, jnp.float32)
    plain = {name: [1.0] * 4 for name in names}
    twice = [2.0, 1.0, 2.0, 1.0]
    # Where all that resists and all that pushes is doubled, nothing changes; where one is, it does.
    changed = {**plain, "mass": twice, "damping": [2.0, 1, 1, 1], "gear": [2.0, 1, 1, 1]}
    _, _, seen = play(keys, push, given(names, **changed))
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-4)
    assert np.abs(seen[2] - seen[1])[-1].max() > 0.01
    for name in ("gravity", "damping"):
        _, _, seen = play(keys, push, given(names, **{**plain, name: twice}))
        assert np.abs(seen[0] - seen[1])[-1].max() > 1e-4, name


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("reacher", {"backend": "spring", "randomize": {"damping": (1, 2)}}, "friction, gear, gra"),
        ("hopper", {"backend": "positional", "randomize": {"mass": (1, 2)}}, "friction, gear, gra"),
        ("reacher", {"randomize": {"masss": (1, 2)}}, "did you mean 'mass'"),
        ("reacher", {"randomize": {"stiffness": (1, 2)}}, "none to multiply, all are zero"),
        ("reacher", {"randomize": {"mass": (2, 1)}}, r"mass=\[2.0, 1.0\]: the smallest and the"),
        ("reacher", {"randomize": {"mass": (-1, 1)}}, "the smallest and the largest factor"),
        ("reacher", {"randomize": True}, "a mapping from names to a list of a number"),
        ("fast", {"randomize": {"mass": (1, 2)}}, "no physical model to randomize"),
    ],
)
def test_what_cannot_be_randomized(name, options, message):
    with pytest.raises(UsageError, match=message):
        make(f"brax/{name}", **options)


def test_a_backend_that_an_environment_lacks():
    with pytest.raises(UsageError, match="brax/swimmer with backend spring: Unsupported"):
        make("brax/swimmer", backend="spring")


def test_all_that_brax_knows_is_listed():
    from brax import envs

    assert set(NAMES) == set(envs._envs)
    with pytest.raises(UnknownNameError):
        make("brax/hoper")


def test_making_says_nothing():
    code = (
        "import heredity.environments as e;"
        "e.make('brax/halfcheetah', backend='spring');"
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


def test_other_warnings_are_let_through(capfd):
    from heredity.environments.brax_api import quietly

    with pytest.warns(UserWarning, match="something else"), quietly():
        print("said by somebody")
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert capfd.readouterr().out == "said by somebody\n"


@pytest.mark.slow
def test_an_ants_bodies():
    env = make("brax/ant", backend="spring")
    state, first, (states, results) = rollout(
        env, lambda time: jnp.sin(time * 0.7 + jnp.arange(8)), 60
    )
    scene = env.scene()
    assert scene.bodies[0] == "torso"
    assert scene.tracked_body == 0
    assert len(scene.bodies) == 9
    assert_bodies_in_place(env)
    poses = jax.vmap(env.pose)(states)
    assert np.isfinite(poses.position).all()
    np.testing.assert_allclose(np.linalg.norm(poses.rotation, axis=-1), 1.0, atol=1e-5)
    travelled = np.linalg.norm(poses.position[-1, 0, :2] - poses.position[0, 0, :2])
    assert travelled > 0.01
    assert env.observation_space.names[0] == "root.z"
    assert float(first[0]) == pytest.approx(float(state.brax.pipeline_state.q[2]))
    assert results.info["x_position"].shape == (60,)
    assert np.isfinite(results.reward).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("inverted_double_pendulum", "generalized"),
        ("inverted_pendulum", "mjx"),
    ],
)
def test_every_physics_keeps_its_state_alike(name, backend):
    env = make(f"brax/{name}", backend=backend)
    _, first, (_, results) = rollout(env, zeros(env), 3)
    assert env.observation_space.contains(np.asarray(first))
    assert np.isfinite(results.reward).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "halfcheetah",
        "hopper",
        "humanoid",
        "pusher",
        "reacher",
    ],
)
def test_bodies_and_columns_are_what_they_say(name):
    env = make(f"brax/{name}", backend="positional")
    assert_bodies_in_place(env)
    names = env.observation_space.names
    if not names:
        return
    state, first = jax.jit(env.reset)(jax.random.key(0))
    inner = state.brax.pipeline_state
    velocities = inner.qd.shape[0]
    positions = len(names) - velocities
    assert all("velocity" in column for column in names[positions:])
    np.testing.assert_allclose(first[positions:], inner.qd, atol=1e-6)
    # hopper shows the torso's height instead of how far it slid
    skip = 1 if name == "hopper" else 0
    np.testing.assert_allclose(first[skip:positions], inner.q[-positions:][skip:], atol=1e-6)
