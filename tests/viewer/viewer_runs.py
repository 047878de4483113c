"""Synthetic run folders: what training would have written, without training."""

from __future__ import annotations

import hashlib
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from heredity.common.files import dump_json
from heredity.common.formats import WEIGHTS
from heredity.common.recording import Recording, Scene, Shape
from heredity.common.run_folder import RunFolder
from heredity.common.tensors import tensor_bytes

ORANGE = (0.93, 0.52, 0.25, 1.0)

VERSIONS = {"heredity": "0.1.0", "jax": "0.10.2", "flax": "0.12.8", "brax": "0.14.2"}


def digest(text: str) -> str:
    """A stand-in for the content hash of a policy."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product of quaternions (..., 4), w first."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    parts = (
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    )
    return np.stack(parts, axis=-1)


def _turn(axis: tuple[float, float, float], angle: np.ndarray) -> np.ndarray:
    """The quaternions (T, 4) of turns about one axis."""
    unit = np.asarray(axis) / np.linalg.norm(axis)
    return np.concatenate([np.cos(angle / 2)[:, None], np.sin(angle / 2)[:, None] * unit], axis=-1)


def _rotate(turn: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """A vector (3,) turned by quaternions (T, 4)."""
    pure = np.broadcast_to(np.concatenate([[0.0], vector]), turn.shape)
    return _multiply(_multiply(turn, pure), turn * np.array([1, -1, -1, -1]))[:, 1:]


def _limb(body: int, start: np.ndarray, end: np.ndarray, color: Any) -> Shape:
    """A capsule between two points of its body's frame."""
    along = end - start
    length = float(np.linalg.norm(along))
    axis = np.cross([0.0, 0.0, 1.0], along / length)
    angle = math.acos(float(along[2]) / length)
    turn = _turn(tuple(axis), np.array([angle]))[0]
    return Shape(
        "capsule",
        (0.08, length / 2),
        body,
        position=tuple((start + end) / 2),
        rotation=tuple(turn),
        color=color,
    )


CORNERS = ((1, 1), (-1, 1), (-1, -1), (1, -1))


def ant_scene(step_seconds: float = 0.05, color: Any = ORANGE) -> Scene:
    """Nine bodies shaped like the well-known four-legged ant."""
    bodies = ["torso"]
    shapes = [
        Shape("plane", (40.0, 40.0), -1, color=(0.5, 0.5, 0.5, 1.0)),
        Shape("sphere", (0.25,), 0, color=color),
    ]
    for leg, (x, y) in enumerate(CORNERS):
        out = np.array([x, y, 0.0]) * 0.2
        shapes.append(_limb(0, np.zeros(3), out, color))
        bodies += [f"hip_{leg}", f"ankle_{leg}"]
        shapes.append(_limb(1 + 2 * leg, np.zeros(3), out, color))
        shapes.append(_limb(2 + 2 * leg, np.zeros(3), out * 2, color))
    return Scene(tuple(bodies), tuple(shapes), step_seconds, tracked_body=0, camera_distance=4.0)


def ant_recording(skill: float, steps: int = 400, seed: int = 0, tinted: bool = False) -> Recording:
    """A rollout that flails at skill 0 and runs at skill 1.

    With `tinted` it is blue at skill 0 and red at skill 1, so that a picture tells which it is.
    """
    rng = np.random.default_rng(seed)
    dt = 0.05
    time = np.arange(steps) * dt
    wobble = np.cumsum(rng.normal(0, 0.03, (steps, 8)), axis=0) * (1 - skill)
    phase = 2 * math.pi * (0.8 + 1.2 * skill) * time
    heading = 0.25 * np.sin(0.15 * time) * skill + np.cumsum(rng.normal(0, 0.02, steps)) * (
        1 - skill
    )
    speed = 4.5 * skill * (1 - np.exp(-time)) * (1 + 0.15 * np.sin(2 * phase))
    torso = np.stack(
        [
            np.cumsum(speed * np.cos(heading)) * dt,
            np.cumsum(speed * np.sin(heading)) * dt,
            0.42 + 0.16 * skill + 0.04 * np.sin(2 * phase) * skill,
        ],
        axis=-1,
    )
    tilt = _turn((1, 0.3, 0), 0.12 * np.sin(phase) + 0.25 * (1 - skill) * np.sin(0.7 * time))
    facing = _multiply(_turn((0, 0, 1), heading), tilt)
    positions, rotations = [torso], [facing]
    for leg, (x, y) in enumerate(CORNERS):
        beat = phase + math.pi * (leg % 2)
        swing = (0.25 + 0.3 * skill) * np.sin(beat) + wobble[:, leg]
        lift = 0.95 + 0.3 * np.maximum(0, np.cos(beat)) + 0.4 * wobble[:, 4 + leg]
        out = np.array([x, y, 0.0]) * 0.2
        hip_at = torso + _rotate(facing, out)
        hip = _multiply(facing, _turn((0, 0, 1), swing))
        ankle_at = hip_at + _rotate(hip, out)
        ankle = _multiply(hip, _turn((-y, x, 0), lift))
        positions += [hip_at, ankle_at]
        rotations += [hip, ankle]
    observations = np.concatenate([torso, facing, wobble], axis=-1)
    return Recording(
        rewards=(speed + 0.2).astype(np.float32),
        step_seconds=dt,
        scene=ant_scene(dt, (skill, 0.1, 1.0 - skill, 1.0) if tinted else ORANGE),
        positions=np.stack(positions, axis=1),
        rotations=np.stack(rotations, axis=1),
        observations=observations,
        columns=tuple(f"obs_{i}" for i in range(observations.shape[1])),
    )


def picture_recording(skill: float, steps: int = 60, image_format: str = "JPEG") -> Recording:
    """A ball that bounces higher with more skill, as pictures."""
    frames = []
    for step in range(steps):
        image = Image.new("RGB", (160, 120), (20, 24, 48))
        draw = ImageDraw.Draw(image)
        draw.rectangle((0, 100, 160, 120), fill=(70, 90, 70))
        height = 90 * skill * abs(math.sin(step / 6))
        x = 10 + step * 2
        draw.ellipse((x, 80 - height, x + 20, 100 - height), fill=(240, 180, 60))
        stream = io.BytesIO()
        image.save(stream, image_format)
        frames.append(stream.getvalue())
    return Recording(rewards=np.ones(steps), step_seconds=1 / 30, frames=tuple(frames), columns=())


def signal_recording(skill: float, steps: int = 200) -> Recording:
    """A pole that is balanced longer with more skill, as numbers alone."""
    time = np.arange(steps)
    observations = np.stack(
        [
            np.sin(time / 20) * (1.2 - skill),
            np.cos(time / 20) * (1.2 - skill) / 20,
            0.1 * np.sin(time / 7) * (1.2 - skill),
            0.2 * np.cos(time / 7),
        ],
        axis=-1,
    )
    return Recording(
        rewards=np.ones(steps),
        step_seconds=0.02,
        observations=observations,
        columns=("cart_position", "cart_velocity", "pole_angle", "pole_velocity"),
    )


RECORDERS = {"scene": ant_recording, "frames": picture_recording, "signals": signal_recording}


def _write_policy(folder: Path, step: int, skill: float, lineage: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    tensors: dict[str, np.ndarray] = {
        "normalizer/mean": np.zeros(8, np.float32),
        "normalizer/count": np.array(step, np.uint32),
    }
    for layer, (rows, columns) in enumerate([(27, 64), (64, 64), (64, 8)]):
        for part in ("actor", "critic"):
            kernel = rng.normal(0, rows**-0.5, (rows, columns)) * (1 + (0.3 + layer) * skill)
            tensors[f"{part}/hidden_{layer}/kernel"] = kernel.astype(np.float32)
            tensors[f"{part}/hidden_{layer}/bias"] = np.full(columns, 0.05 * skill, np.float32)
    (folder / "model.safetensors").write_bytes(tensor_bytes(tensors, WEIGHTS.header))
    config = {"schema_version": 1, "environment": {"id": "brax/ant", "options": {}}}
    (folder / "config.json").write_text(dump_json(config))
    (folder / "lineage.json").write_text(dump_json(lineage))


def _lineage(run: str, steps: list[int], returns: list[float], upto: int) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []

    def add(operation: str, step: int, parent: str | None, score: float | None) -> str:
        own = digest(f"{run}/{operation}/{step}")
        entries.append(
            {
                "operation": operation,
                "hash": own,
                "parent": parent,
                "step": step,
                "time": f"2026-03-{1 + step * 20 // max(steps[-1], 1):02d}T12:00:00Z",
                "run": run,
                "arguments": {"num_envs": 2048},
                "versions": VERSIONS,
                "score": None
                if score is None
                else {"mean_return": score, "std_return": abs(score) / 10, "episodes": 8},
            }
        )
        return own

    train = add("train", 0, None, None)
    middle = steps[len(steps) // 2]
    parent = train
    for step, score in zip(steps, returns, strict=True):
        if step > upto:
            break
        if step == middle:
            checkpoint = add("checkpoint", step, train, None)
            parent = add("resume", step, checkpoint, None)
        if step == upto:
            add("snapshot", step, parent, score)
    return {"schema_version": 1, "policy_hash": entries[-1]["hash"], "entries": entries}


def write_run(
    root: Path, kind: str = "scene", snapshots: int = 10, run_id: str = "ant-runner", **options: Any
) -> Path:
    """Write a run folder with `snapshots` recordings of one kind, and return it."""
    folder = RunFolder(root)
    root.mkdir(parents=True)
    total = 50_000_000
    config = {
        "schema_version": 1,
        "run_id": run_id,
        "created": "2026-03-01T12:00:00Z",
        "algorithm": "ppo",
        "settings": {
            "learning_rate": 3e-4,
            "num_envs": 2048,
            "unroll_length": 20,
            "network": {"actor": [64, 64], "critic": [64, 64], "activation": "silu"},
            "normalize_observations": True,
        },
        "environment": {"id": "brax/ant", "options": {"backend": "positional"}},
        "seed": 7,
        "total_timesteps": total,
        "versions": VERSIONS,
    }
    folder.config.write_text(dump_json(config))
    steps = [round(total * i / max(snapshots - 1, 1)) for i in range(snapshots)]
    skills = [min(1.0, 1.05 * (1 - math.exp(-4 * s / total)) ** 1.5) for s in steps]
    returns = [-120 + 6200 * skill for skill in skills]
    for index, (step, skill, score) in enumerate(zip(steps, skills, returns, strict=True)):
        place = folder.snapshot(step)
        lineage = _lineage(run_id, steps, returns, step)
        _write_policy(place / "policy", step, skill, lineage)
        spread = 40 + 400 * skill * (1 - skill)
        rng = np.random.default_rng(index)
        episodes = score + spread * rng.normal(size=8)
        evaluation = {
            "schema_version": 1,
            "step": step,
            "mean_return": float(np.mean(episodes)),
            "std_return": float(np.std(episodes)),
            "episodes": 8,
            "returns": [float(value) for value in episodes],
            "lengths": [int(200 + 800 * skill)] * 8,
            "deterministic": True,
            "policy_hash": lineage["policy_hash"],
        }
        (place / "evaluation.json").write_text(dump_json(evaluation))
        (place / "rollout").mkdir()
        recorder: Any = RECORDERS[kind]
        recorder(skill, **options).save(place / "rollout")
    if steps:
        last = folder.checkpoint(steps[-1])
        _write_policy(
            last / "policy", steps[-1], skills[-1], _lineage(run_id, steps, returns, total)
        )
        (folder.checkpoints / "last").symlink_to(last.name)
        np.savez(
            folder.evaluations,
            timesteps=np.array(steps),
            results=np.array(returns)[:, None]
            + np.random.default_rng(1).normal(0, 150, (len(steps), 8)),
            ep_lengths=np.full((len(steps), 8), 1000),
        )
    write_metrics(folder.metrics, total)
    return root


def write_metrics(path: Path, total: int, rows: int = 200) -> None:
    """A ``metrics.csv`` as training logs it, with stable-baselines3 keys."""
    rng = np.random.default_rng(3)
    names = [
        "time/total_timesteps", "time/fps", "rollout/ep_rew_mean", "rollout/ep_len_mean",
        "train/approx_kl", "train/clip_fraction", "train/entropy_loss", "train/explained_variance",
        "train/policy_gradient_loss", "train/value_loss", "train/learning_rate",
    ]  # fmt: skip
    lines = [",".join(names)]
    for row in range(1, rows + 1):
        at = row / rows
        skill = (1 - math.exp(-4 * at)) ** 1.5
        noise = rng.normal(size=9)
        values = [
            total * at, 410_000 + 9000 * noise[0] - (150_000 if row == 1 else 0),
            -120 + 6000 * skill + 120 * noise[1], 250 + 740 * skill + 15 * noise[2],
            0.012 + 0.003 * noise[3], 0.14 + 0.02 * noise[4], -11 + 6 * at + 0.1 * noise[5],
            1 - 0.9 * math.exp(-6 * at) + 0.01 * noise[6], -0.012 + 0.002 * noise[7],
            30 * math.exp(-3 * at) + 1 + 0.5 * abs(noise[8]), 3e-4 * (1 - at),
        ]  # fmt: skip
        lines.append(",".join(f"{value:.8g}" for value in values))
    path.write_text("\n".join(lines) + "\n")
