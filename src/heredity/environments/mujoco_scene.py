"""The geometry of a MuJoCo model as a `Scene`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from heredity.common.recording import Scene, Shape

FLOOR_COLOR = (0.80, 0.82, 0.85, 1.0)

# MuJoCo's numbering of geom types (mjtGeom); height fields and distance fields are not drawn.
_PLANE, _ELLIPSOID = 0, 4
_KINDS = {0: "plane", 2: "sphere", 3: "capsule", 4: "mesh", 5: "cylinder", 6: "box", 7: "mesh"}
# How many of a geom's three sizes our shape of that kind has.
_NUMBERS = {"plane": 2, "sphere": 1, "capsule": 2, "cylinder": 2, "box": 3, "mesh": 0}
# Of joint types (mjtJoint).
_FREE, _SLIDE, _HINGE = 0, 2, 3
_INFINITE_PLANE = 50.0
# Groups above this one are collision hulls and helpers that MuJoCo's own viewer hides.
_LAST_VISIBLE_GROUP = 2

# Colours that say that nobody chose one: MuJoCo's grey, white, and brax's brown.
_UNCHOSEN = ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0), (0.4, 0.33, 0.26))
_BASE = np.array([0.89, 0.55, 0.26])  # amber
_LEFT = np.array([0.28, 0.56, 0.66])  # left limbs in teal, so that crossing legs can be told apart


def scene_from_mujoco(model: Any, step_seconds: float) -> Scene:
    """Bodies and shapes of a compiled MuJoCo model; body i here is MuJoCo's body i + 1.

    Args:
        model: `mujoco.MjModel`.
        step_seconds: Simulated time between two poses.
    """
    bodies = tuple(model.body(i).name or f"body_{i}" for i in range(1, model.nbody))
    shapes = [shape for i in range(model.ngeom) if (shape := _shape(model, i)) is not None]
    tracked = _tracked_body(model)
    return Scene(
        bodies=bodies,
        shapes=tuple(shapes),
        step_seconds=step_seconds,
        tracked_body=tracked,
        camera_distance=_camera_distance(model, tracked),
    )


def _tracked_body(model: Any) -> int:
    """What moves freely or slides along two axes from the world: the torso; else -1."""
    for body in range(1, model.nbody):
        if model.body_parentid[body] != 0:
            continue
        first, number = int(model.body_jntadr[body]), int(model.body_jntnum[body])
        kinds = model.jnt_type[first : first + number].tolist() if number else []
        turns = kinds.count(_HINGE)
        slides = kinds.count(_SLIDE)
        # A planar walker is two slides and a hinge; a target that slides is not worth following.
        if _FREE in kinds or (slides == 2 and turns == 1):
            return body - 1
    return -1


def _camera_distance(model: Any, tracked: int) -> float:
    """Far enough for all that is drawn at rest; with somebody to follow, for what moves."""
    import mujoco

    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    shown = model.geom_type != _PLANE
    if tracked >= 0:
        shown &= model.geom_bodyid > 0
    if not shown.any():
        return 4.0
    centers, radii = data.geom_xpos[shown], model.geom_rbound[shown][:, None]
    extent = np.max((centers + radii).max(axis=0) - (centers - radii).min(axis=0))
    return round(float(np.clip(1.8 * extent, 0.8, 12.0)), 2)


def _triple(values: Any) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 6) for value in values)
    return (x, y, z)


def _shape(model: Any, geom: int) -> Shape | None:
    color = _color(model, geom)
    if color[3] == 0 or model.geom_group[geom] > _LAST_VISIBLE_GROUP:
        return None
    w, x, y, z = (float(value) for value in model.geom_quat[geom])
    sizes = [float(value) for value in model.geom_size[geom]]
    vertices: Any = ()
    faces: Any = ()
    kind = _KINDS.get(int(model.geom_type[geom]))
    if kind is None:
        return None
    size: tuple[float, ...] = tuple(sizes[: _NUMBERS[kind]])
    if kind == "plane":
        size = tuple(value if value > 0 else _INFINITE_PLANE for value in size)
    elif model.geom_type[geom] == _ELLIPSOID:
        vertices, faces = _ellipsoid(sizes)
    elif kind == "mesh":
        vertices, faces = _mesh(model, int(model.geom_dataid[geom]))
    return Shape(
        kind=kind,
        size=tuple(round(value, 6) for value in size),
        body=int(model.geom_bodyid[geom]) - 1,
        position=_triple(model.geom_pos[geom]),
        rotation=(w, x, y, z),
        color=color,
        vertices=vertices,
        faces=faces,
    )


def _color(model: Any, geom: int) -> tuple[float, float, float, float]:
    if model.geom_type[geom] == _PLANE:
        return FLOOR_COLOR
    rgba = np.array(model.geom_rgba[geom], float)
    material = int(model.geom_matid[geom])
    if material >= 0 and tuple(rgba[:3]) == (0.5, 0.5, 0.5):
        rgba = np.array(model.mat_rgba[material], float)
    if any(np.allclose(rgba[:3], color, atol=0.01) for color in _UNCHOSEN):
        rgba[:3] = _body_color(model, int(model.geom_bodyid[geom]))
    red, green, blue, opacity = (round(float(value), 3) for value in rgba)
    return (red, green, blue, opacity)


def _body_color(model: Any, body: int) -> np.ndarray:
    """Amber, lighter towards the tips; limbs on the left in teal; the world in grey."""
    if body == 0:
        return np.array([0.62, 0.64, 0.67])
    name, depth, at = "", 0, body
    while at > 0:
        name, depth, at = f"{model.body(at).name} {name}", depth + 1, int(model.body_parentid[at])
    color = _LEFT if "left" in name else _BASE
    return color + (1.0 - color) * min(0.14 * (depth - 1), 0.42)


def _mesh(model: Any, mesh: int) -> tuple[Any, Any]:
    first, number = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
    points = model.mesh_vert[first : first + number]
    first, number = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
    triangles = model.mesh_face[first : first + number]
    return tuple(_triple(p) for p in points), tuple(tuple(t) for t in triangles.tolist())


def _ellipsoid(sizes: list[float], rings: int = 8, sectors: int = 16) -> tuple[Any, Any]:
    """A sphere of latitude rings, stretched; the poles are the first and the last vertex."""
    points = [(0.0, 0.0, sizes[2])]
    for ring in range(1, rings):
        height, radius = math.cos(math.pi * ring / rings), math.sin(math.pi * ring / rings)
        for sector in range(sectors):
            angle = 2 * math.pi * sector / sectors
            x, y = radius * math.cos(angle), radius * math.sin(angle)
            points.append((x * sizes[0], y * sizes[1], height * sizes[2]))
    points.append((0.0, 0.0, -sizes[2]))
    faces = []
    for sector in range(sectors):
        after, last = (sector + 1) % sectors, len(points) - 1
        bottom = last - sectors
        faces.append((0, 1 + sector, 1 + after))
        faces.append((last, bottom + after, bottom + sector))
        for ring in range(rings - 2):
            a, b = 1 + ring * sectors, 1 + (ring + 1) * sectors
            faces.append((a + sector, b + sector, b + after))
            faces.append((a + sector, b + after, a + after))
    return tuple(_triple(p) for p in points), tuple(faces)
