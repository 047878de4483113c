"""A scene set up in viser: light, floor, camera and bodies that can be posed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heredity.common.errors import UnknownNameError, UsageError
from heredity.common.recording import Scene, Shape
from heredity.viewer.framing import FIELD_OF_VIEW, view_of
from heredity.viewer.motion import Motion

if TYPE_CHECKING:
    import viser

# The floor's lines, metres: a fine cell and the stronger line around cells.
FLOOR_CELL = 0.5
FLOOR_SECTION = 2.0


def capsule_mesh(
    radius: float, half_length: float, segments: int = 24, rings: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Points (V, 3) and triangles (F, 3) of a capsule along z.

    Args:
        radius: Of the two half spheres, metres.
        half_length: From the middle to the centre of either half sphere, metres.
        segments: Corners of a circle around the axis.
        rings: Circles on each half sphere.
    """
    polar = np.concatenate(
        [np.linspace(0, np.pi / 2, rings + 1), np.linspace(np.pi / 2, np.pi, rings + 1)]
    )[1:-1]
    shift = np.where(np.arange(len(polar)) < rings, half_length, -half_length)
    around = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    circles = np.stack(
        [
            radius * np.sin(polar)[:, None] * np.cos(around),
            radius * np.sin(polar)[:, None] * np.sin(around),
            np.repeat((radius * np.cos(polar) + shift)[:, None], segments, axis=1),
        ],
        axis=-1,
    ).reshape(-1, 3)
    top, bottom = [0.0, 0.0, half_length + radius], [0.0, 0.0, -half_length - radius]
    vertices = np.concatenate([[top], circles, [bottom]])
    here = np.arange(segments)
    following = (here + 1) % segments
    faces = [np.stack([np.zeros_like(here), 1 + here, 1 + following], axis=-1)]
    for ring in range(len(polar) - 1):
        a, b = 1 + ring * segments, 1 + (ring + 1) * segments
        faces.append(np.stack([a + here, b + here, b + following], axis=-1))
        faces.append(np.stack([a + here, b + following, a + following], axis=-1))
    last = 1 + (len(polar) - 1) * segments
    end = np.full_like(here, len(vertices) - 1)
    faces.append(np.stack([end, last + following, last + here], axis=-1))
    return vertices.astype(np.float32), np.concatenate(faces).astype(np.uint32)


# How many numbers the size of each kind of shape has.
SIZES = {"box": 3, "sphere": 1, "capsule": 2, "cylinder": 2, "plane": 2, "mesh": 0}


def check_scene(scene: Scene) -> None:
    """Check that a scene read from a file can be drawn.

    Raises:
        UsageError: which names the first shape that cannot, and why.
    """
    if not isinstance(scene.bodies, tuple) or not _numbers((scene.camera_distance,), 1):
        raise UsageError("the scene has no list of bodies or no camera_distance")
    if not isinstance(scene.tracked_body, int):
        raise UsageError(f"tracked_body is {scene.tracked_body!r}, an index was expected")
    for index, shape in enumerate(scene.shapes):
        what = f"shape {index} of the scene"
        if shape.kind not in SIZES:
            raise UnknownNameError(f"kind of {what}", shape.kind, SIZES)
        if not isinstance(shape.body, int) or not -1 <= shape.body < len(scene.bodies):
            raise UsageError(f"{what} hangs on body {shape.body!r} of {len(scene.bodies)}")
        needed = {
            "size": (shape.size, SIZES[shape.kind]),
            "position": (shape.position, 3),
            "rotation": (shape.rotation, 4),
            "color": (shape.color, 4),
        }
        for name, (values, count) in needed.items():
            if not _numbers(values, count):
                raise UsageError(f"{name} of {what} is {values!r}, {count} numbers were expected")
        if shape.kind == "mesh":
            points = len(shape.vertices)
            whole = all(_numbers(point, 3) for point in shape.vertices) and all(
                _numbers(face, 3) and all(0 <= corner < points for corner in face)
                for face in shape.faces
            )
            if not whole:
                raise UsageError(f"the mesh of {what} is not made of points and triangles")


def _numbers(values: object, least: int) -> bool:
    """Whether it is a tuple of at least so many finite numbers."""
    return (
        isinstance(values, tuple)
        and len(values) >= least
        and all(isinstance(one, int | float) and np.isfinite(one) for one in values)
    )


def is_floor(shape: Shape) -> bool:
    """Whether a shape is the world's level ground, which is drawn as an endless floor."""
    return shape.kind == "plane" and shape.body < 0 and abs(shape.rotation[0]) > 0.999


class Stage:
    """The geometry of one `Scene` in a viser server, and its bodies' poses.

    The camera never moves by itself, so that a person can turn it; instead bodies, obstacles and
    floor are placed relative to the point that it looks at.
    """

    def __init__(self, server: viser.ViserServer, scene: Scene) -> None:
        """Build the scene.

        Raises:
            UsageError: when it cannot be drawn; nothing is built then.
        """
        check_scene(scene)
        self._server = server
        self._scene = scene
        world = server.scene
        world.set_up_direction("+z")
        world.configure_default_lights(enabled=True, cast_shadow=True)
        world.configure_environment_map(hdri=None)
        world.add_light_hemisphere(
            "/light/sky", sky_color=(255, 250, 240), ground_color=(150, 150, 165), intensity=2.2
        )
        floors = [shape for shape in scene.shapes if is_floor(shape)]
        self._floor = world.add_grid(
            "/floor",
            infinite_grid=True,
            cell_size=FLOOR_CELL,
            section_size=FLOOR_SECTION,
            cell_color=(178, 184, 194),
            section_color=(128, 136, 150),
            cell_thickness=0.6,
            section_thickness=1.0,
            fade_distance=6.0 * scene.camera_distance,
            fade_strength=2.0,
            shadow_opacity=0.32 if floors else 0.0,
        )
        self._floor_height = float(floors[0].position[2]) if floors else 0.0
        self._bodies = [
            world.add_frame(f"/body/{index}", show_axes=False) for index in range(len(scene.bodies))
        ]
        self._world = world.add_frame("/world", show_axes=False)
        self._has_obstacles = False
        for index, shape in enumerate(scene.shapes):
            if not is_floor(shape):
                self._has_obstacles |= shape.body < 0
                self._add(f"{self._parent(shape)}/{index}", shape)

    def look(self, motion: Motion) -> None:
        """Place the camera that a viewer starts with."""
        view = view_of(self._scene, motion)
        camera = self._server.initial_camera
        camera.fov = FIELD_OF_VIEW
        camera.look_at = view.look_at
        camera.position = view.position

    def show(self, motion: Motion, frame: int) -> None:
        """Put everything where it is in one frame."""
        x, y = motion.anchors[frame]
        self._floor.position = (-(x % FLOOR_SECTION), -(y % FLOOR_SECTION), self._floor_height)
        if self._has_obstacles:
            self._world.position = (-x, -y, 0.0)
        for index, body in enumerate(self._bodies):
            body.position = motion.positions[frame, index]
            body.wxyz = motion.rotations[frame, index]

    def remove(self) -> None:
        """Take everything out of the scene."""
        for name in ("/floor", "/body", "/world", "/light"):
            self._server.scene.remove_by_name(name)

    @staticmethod
    def _parent(shape: Shape) -> str:
        return f"/body/{shape.body}" if shape.body >= 0 else "/world"

    def _add(self, name: str, shape: Shape) -> None:
        world = self._server.scene
        red, green, blue, opacity = np.clip(shape.color[:4], 0.0, 1.0).tolist()
        color = (round(255 * red), round(255 * green), round(255 * blue))
        veil = None if opacity >= 1 else opacity
        place = {"position": shape.position[:3], "wxyz": shape.rotation[:4]}
        size = shape.size
        if shape.kind == "sphere":
            world.add_icosphere(name, size[0], color, subdivisions=4, opacity=veil, **place)
        elif shape.kind == "box":
            dimensions = (2 * size[0], 2 * size[1], 2 * size[2])
            world.add_box(name, color, dimensions, opacity=veil, **place)
        elif shape.kind == "plane":
            # Zero stands for endless in MuJoCo; a wall that large is far beyond the fog.
            x, y = (2 * (half if half > 0 else 50.0) for half in size[:2])
            world.add_box(name, color, (x, y, 0.002), opacity=veil, **place)
        elif shape.kind == "cylinder":
            world.add_cylinder(name, size[0], 2 * size[1], color, opacity=veil, **place)
        elif shape.kind == "capsule":
            vertices, faces = capsule_mesh(size[0], size[1])
            world.add_mesh_simple(name, vertices, faces, color=color, opacity=veil, **place)
        elif shape.kind == "mesh":
            world.add_mesh_simple(
                name,
                np.asarray(shape.vertices, np.float32).reshape(-1, 3),
                np.asarray(shape.faces, np.uint32).reshape(-1, 3),
                color=color,
                opacity=veil,
                flat_shading=True,
                side="double",
                **place,
            )
