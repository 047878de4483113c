"""The classic tasks drawn: shapes are sound, and bodies are where Gymnasium draws them."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.common.recording import Scene
from heredity.environments import make
from heredity.environments.classic_scenes import CLASSIC_SCENES

pytest.importorskip("gymnax")
NUMBERS = {"plane": 2, "sphere": 1, "capsule": 2, "cylinder": 2, "box": 3, "mesh": 0}


def turned(quaternion, vector):
    """A vector turned by a unit quaternion (w, x, y, z)."""
    w, axis = float(quaternion[0]), np.asarray(quaternion[1:])
    vector = np.asarray(vector, float)
    return vector + 2 * np.cross(axis, np.cross(axis, vector) + w * vector)


@pytest.mark.parametrize("name", CLASSIC_SCENES)
def test_scenes_are_sound(name):
    env = make(f"gymnax/{name}")
    scene = env.scene()
    assert scene.step_seconds == env.step_seconds
    state, _ = env.reset(jax.random.key(0))
    pose = jax.jit(env.pose)(state)
    assert pose.position.shape == (len(scene.bodies), 3)
    assert pose.rotation.shape == (len(scene.bodies), 4)
    assert np.isfinite(pose.position).all()
    np.testing.assert_allclose(np.linalg.norm(pose.rotation, axis=1), 1.0, rtol=1e-6)
    for shape in scene.shapes:
        assert len(shape.size) == NUMBERS[shape.kind]
        assert -1 <= shape.body < len(scene.bodies)
        assert np.linalg.norm(shape.rotation) == pytest.approx(1.0)
        assert all(0 <= c <= 1 for c in shape.color)
        assert all(0 <= i < len(shape.vertices) for face in shape.faces for i in face)
    assert Scene.from_json(json.loads(json.dumps(scene.to_json()))) == scene


def test_poses_batch():
    env = make("gymnax/Acrobot-v1")
    state, _ = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 5))
    assert jax.vmap(env.pose)(state).position.shape == (5, 2, 3)


def test_a_leaning_pole_leans_to_the_right():
    state = SimpleNamespace(x=jnp.float32(0.7), theta=jnp.float32(0.2))
    pose = CLASSIC_SCENES["CartPole-v1"].pose(state)
    np.testing.assert_allclose(pose.position[:, 0], [0.7, 0.7])
    up = turned(pose.rotation[1], (0, 0, 1))
    np.testing.assert_allclose(up, (np.sin(0.2), 0, np.cos(0.2)), atol=1e-6)


def test_a_pendulum_grows_against_the_clock_from_the_top():
    pose = CLASSIC_SCENES["Pendulum-v1"].pose(SimpleNamespace(theta=jnp.float32(0.3)))
    np.testing.assert_allclose(
        turned(pose.rotation[0], (0, 0, 1)), (-np.sin(0.3), 0, np.cos(0.3)), atol=1e-6
    )


def test_an_acrobots_tip_is_where_the_task_says():
    first, second = 0.4, -0.9
    state = SimpleNamespace(joint_angle1=jnp.float32(first), joint_angle2=jnp.float32(second))
    pose = CLASSIC_SCENES["Acrobot-v1"].pose(state)
    elbow = pose.position[0] + turned(pose.rotation[0], (0, 0, -1))
    np.testing.assert_allclose(pose.position[1], elbow, atol=1e-6)
    tip = pose.position[1] + turned(pose.rotation[1], (0, 0, -1))
    # The task ends when -cos(first) - cos(first + second) > 1: the tip's height above the bar.
    height = -np.cos(first) - np.cos(first + second)
    assert float(tip[2] - pose.position[0, 2]) == pytest.approx(height, abs=1e-6)


@pytest.mark.parametrize("x", [-1.2, -0.5, 0.1, 0.5])
def test_a_car_stands_on_the_hill_along_its_slope(x):
    pose = CLASSIC_SCENES["MountainCar-v0"].pose(SimpleNamespace(position=jnp.float32(x)))
    assert float(pose.position[0, 2]) == pytest.approx(np.sin(3 * x) * 0.45 + 0.55, abs=1e-5)
    ahead = turned(pose.rotation[0], (1, 0, 0))
    assert ahead[2] / ahead[0] == pytest.approx(1.35 * np.cos(3 * x), abs=1e-5)
