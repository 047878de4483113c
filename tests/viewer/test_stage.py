import dataclasses

import numpy as np
import pytest
from viewer_runs import ant_recording, ant_scene

from heredity.common.errors import UnknownNameError, UsageError
from heredity.common.recording import Recording, Scene, Shape
from heredity.viewer.framing import corners, rotate, view_of
from heredity.viewer.motion import motion_of
from heredity.viewer.stage import capsule_mesh, check_scene, is_floor


def test_a_capsule_is_closed_and_points_outwards():
    vertices, faces = capsule_mesh(0.1, 0.5)
    # Every edge of a closed surface belongs to two triangles, once in each direction.
    edges = {(int(f[i]), int(f[(i + 1) % 3])) for f in faces for i in range(3)}
    assert len(edges) == 3 * len(faces)
    assert all((b, a) in edges for a, b in edges)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
    exact = np.pi * 0.1**2 * 1.0 + 4 / 3 * np.pi * 0.1**3
    assert volume == pytest.approx(exact, rel=0.03)
    assert np.abs(vertices[:, 2]).max() == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "teapot"}, "teapot"),
        ({"size": ()}, "size of shape 1"),
        ({"size": ("a", "b")}, "size of shape 1"),
        ({"size": (float("nan"), 1.0)}, "size of shape 1"),
        ({"position": (0.0, 0.0)}, "position of shape 1"),
        ({"rotation": None}, "rotation of shape 1"),
        ({"body": 99}, "body 99"),
        ({"body": "torso"}, "torso"),
        ({"kind": "mesh", "vertices": ((0, 0, 0),), "faces": ((0, 1, 2),)}, "triangles"),
    ],
)
def test_a_damaged_scene_is_refused_by_the_name_of_the_shape(change: dict, message: str):
    scene = ant_scene()
    shapes = list(scene.shapes)
    shapes[1] = dataclasses.replace(shapes[1], **change)
    with pytest.raises(UsageError, match=message):
        check_scene(dataclasses.replace(scene, shapes=tuple(shapes)))


def test_a_near_miss_of_a_kind_is_guessed():
    scene = Scene((), (Shape("capsul", (1.0, 1.0), -1),), 0.1)
    with pytest.raises(UnknownNameError, match="did you mean 'capsule'"):
        check_scene(scene)


def test_only_level_ground_of_the_world_is_a_floor():
    assert is_floor(Shape("plane", (1.0, 1.0), -1))
    assert not is_floor(Shape("plane", (1.0, 1.0), 0))
    assert not is_floor(Shape("plane", (1.0, 1.0), -1, rotation=(0.7071, 0.7071, 0.0, 0.0)))


def test_the_camera_keeps_the_scenes_distance_from_a_tracked_body():
    recording = ant_recording(1.0)
    assert recording.scene is not None
    view = view_of(recording.scene, motion_of(recording))
    assert np.linalg.norm(np.subtract(view.position, view.look_at)) == pytest.approx(4.0)
    assert view.position[2] > view.look_at[2]


def test_a_scene_that_stands_still_is_seen_whole():
    scene = Scene(
        ("cart",),
        (Shape("box", (0.1, 0.1, 0.1), 0), Shape("box", (4.0, 0.1, 0.1), -1, (3.0, 0.0, 2.0))),
        step_seconds=0.1,
        camera_distance=1.0,
    )
    still = Recording(
        np.zeros(3), 0.1, scene, np.zeros((3, 1, 3)), np.tile([1.0, 0, 0, 0], (3, 1, 1))
    )
    view = view_of(scene, motion_of(still))
    np.testing.assert_allclose(view.look_at, (3.0, 0.0, 1.0), atol=1e-9)
    assert np.linalg.norm(np.subtract(view.position, view.look_at)) > 8.0


def test_corners_follow_the_shapes_own_turn():
    half = np.sqrt(0.5)
    lying = Shape("capsule", (0.1, 2.0), 0, (0.0, 0.0, 1.0), rotation=(half, 0.0, half, 0.0))
    np.testing.assert_allclose(corners(lying), [[2, 0, 1], [-2, 0, 1]], atol=1e-12)
    assert len(corners(Shape("plane", (1.0, 1.0), -1))) == 0
    turned = rotate(np.array([half, 0, 0, half]), np.array([[1.0, 0, 0], [0, 1.0, 0]]))
    np.testing.assert_allclose(turned, [[0, 1, 0], [-1, 0, 0]], atol=1e-12)
