"""Scenes from MuJoCo models."""

import json

import numpy as np
import pytest

from heredity.common.recording import Scene
from heredity.environments.mujoco_scene import FLOOR_COLOR, scene_from_mujoco

mujoco = pytest.importorskip("mujoco")

MODEL = """
<mujoco>
  <asset>
    <texture name="checker" type="2d" builtin="checker" width="8" height="8"/>
    <material name="checker" texture="checker" rgba="1 1 1 1"/>
    <material name="paint" rgba="0 0 1 0.5"/>
    <mesh name="tetra" vertex="0 0 0  1 0 0  0 1 0  0 0 1"/>
  </asset>
  <worldbody>
    <geom type="plane" size="0 3 1" material="checker"/>
    <body name="first" pos="0 0 1">
      <freejoint/>
      <geom type="sphere" size="0.2" rgba="0.1 0.2 0.3 1"/>
      <geom type="box" size="0.1 0.2 0.3" pos="1 2 3" quat="0 1 0 0" material="paint"/>
      <geom type="sphere" size="0.1" rgba="0 0 0 0"/>
      <geom type="sphere" size="0.1" group="3"/>
      <body name="left_arm">
        <joint axis="0 1 0"/>
        <geom type="capsule" fromto="0 0 0 0 0 1" size="0.05"/>
        <geom type="cylinder" size="0.1 0.2"/>
      </body>
      <body>
        <joint axis="0 1 0"/>
        <geom type="ellipsoid" size="1 2 3"/>
        <geom type="mesh" mesh="tetra"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""


@pytest.fixture(scope="module")
def scene():
    return scene_from_mujoco(mujoco.MjModel.from_xml_string(MODEL), 0.05)


def test_bodies_and_what_is_drawn(scene):
    assert scene.bodies == ("first", "left_arm", "body_3")
    kinds = [(shape.kind, shape.body) for shape in scene.shapes]
    assert kinds == [
        ("plane", -1),
        ("sphere", 0),
        ("box", 0),
        ("capsule", 1),
        ("cylinder", 1),
        ("mesh", 2),
        ("mesh", 2),
    ]
    assert scene.tracked_body == 0
    assert scene.step_seconds == 0.05
    assert 0.8 <= scene.camera_distance <= 12


def test_sizes_places_and_colours(scene):
    plane, sphere, box, capsule, cylinder, _, _ = scene.shapes
    assert plane.size == (50.0, 3.0)  # 0 is MuJoCo's word for endless
    assert plane.color == FLOOR_COLOR
    assert sphere.size == (0.2,)
    assert sphere.color == (0.1, 0.2, 0.3, 1.0)
    assert box.size == (0.1, 0.2, 0.3)
    assert box.position == (1.0, 2.0, 3.0)
    assert box.rotation == (0.0, 1.0, 0.0, 0.0)
    assert box.color == (0.0, 0.0, 1.0, 0.5)
    assert capsule.size == (0.05, 0.5)
    assert capsule.position == (0.0, 0.0, 0.5)
    assert cylinder.size == (0.1, 0.2)
    assert capsule.color[2] > capsule.color[0]  # a left limb, in teal


def test_meshes(scene):
    ellipsoid, tetra = scene.shapes[-2:]
    points = np.array(ellipsoid.vertices)
    np.testing.assert_allclose(np.sum((points / (1, 2, 3)) ** 2, axis=1), 1.0, atol=1e-4)
    edges = {tuple(sorted((f[i], f[i - 1]))) for f in ellipsoid.faces for i in range(3)}
    # Closed, without holes: Euler's formula.
    assert len(points) - len(edges) + len(ellipsoid.faces) == 2
    for mesh in (ellipsoid, tetra):
        points = np.array(mesh.vertices)
        corners = points[np.array(mesh.faces)]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        outwards = np.sum(normals * (corners.mean(axis=1) - points.mean(axis=0)), axis=1)
        assert (outwards > 0).all()
    assert len(tetra.vertices) == 4
    assert len(tetra.faces) == 4


def test_it_survives_json(scene):
    assert Scene.from_json(json.loads(json.dumps(scene.to_json()))) == scene


@pytest.mark.parametrize(
    ("joints", "tracked"),
    [
        ("<freejoint/>", 0),
        ('<joint type="slide"/><joint type="slide" axis="1 0 0"/><joint axis="0 1 0"/>', 0),
        ('<joint type="slide"/><joint type="slide" axis="1 0 0"/>', -1),  # a target
        ('<joint type="slide"/>', -1),  # a cart
        ("<joint/>", -1),  # an arm
    ],
)
def test_whom_the_camera_follows(joints, tracked):
    model = f"<mujoco><worldbody><body>{joints}<geom size='1'/></body></worldbody></mujoco>"
    scene = scene_from_mujoco(mujoco.MjModel.from_xml_string(model), 0.1)
    assert scene.tracked_body == tracked
