"""A trained policy gets two more sensors and loses one; the report says what stays the same.

About a minute on two cores. Everything is kept in runs/new_sensor.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jax.numpy as jnp

import heredity as hd
from heredity.environments.wrappers.base import JaxWrapper
from heredity.spaces import Box
from heredity.training.checkpoints import Checkpoint, read_checkpoint
from heredity.training.transfer import transfer

RUN = Path("runs/new_sensor")
SETTINGS: dict[str, Any] = {"num_envs": 16, "num_steps": 64, "learning_rate": 1e-3}
OLD = ("x", "theta", "theta_velocity")
NEW = ("theta", "theta_velocity", "x_velocity", "tip")  # x broke; x_velocity and tip are new


class Robot(JaxWrapper):
    """CartPole with the sensors that somebody put on it."""

    def __init__(self, *sensors: str) -> None:
        super().__init__(hd.make("gymnax/CartPole-v1", num_envs=SETTINGS["num_envs"]))  # type: ignore[arg-type]
        self.sensors = sensors
        self.observation_space = Box((len(sensors),), names=sensors)

    def seen(self, body: Any) -> Any:
        x, x_velocity, theta, theta_velocity = (body[..., i] for i in range(4))
        known = {"x": x, "x_velocity": x_velocity, "theta": theta, "theta_velocity": theta_velocity}
        known["tip"] = x + jnp.sin(theta)  # where the tip of the pole is
        return jnp.stack([known[name] for name in self.sensors], axis=-1)

    def reset(self, key: Any) -> Any:
        state, body = self.env.reset(key)
        return state, self.seen(body)

    def step(self, state: Any, action: Any) -> Any:
        state, result = self.env.step(state, action)
        return state, result._replace(observation=self.seen(result.observation))


def returns(model: hd.PPO, steps: int, directory: Path) -> dict[int, float]:
    """The return at each of four steps of training."""
    events = model.run(steps, directory, evaluate_every=steps // 4, evaluation_episodes=32)
    return {event.step: event.evaluation.mean for event in events if event.evaluation}


def main(steps: int = 60_000, compare: bool = True) -> None:
    """Train, plan, transfer, and go on; beside it a run from fresh weights."""
    shutil.rmtree(RUN, ignore_errors=True)
    old, new = Robot(*OLD), Robot(*NEW)
    model = hd.PPO(old, normalize_observations=True, **SETTINGS)
    model.learn(steps, directory=RUN / "old", evaluation_episodes=16)
    checkpoint = read_checkpoint(RUN / "old" / "checkpoints" / "last")
    policy = checkpoint.to_policy()
    print(f"with {', '.join(OLD)}: return {hd.evaluate_policy(policy, old, 32).mean:.0f}\n")

    plan = policy.plan_transfer(new.observation_space)
    print(plan, end="\n\n")
    moved, report = transfer(checkpoint, plan)
    print(*report.measurements, *report.notes, sep="\n", end="\n\n")

    first = hd.evaluate_policy(moved.to_policy(), new, 32).mean
    print(f"with {', '.join(NEW)}: return {first:.0f}, before anything is learnt of them")

    def run(name: str, start: Checkpoint | None) -> tuple[hd.PPO, dict[int, float]]:
        model = hd.PPO(new, start=start, normalize_observations=True, **SETTINGS)
        return model, returns(model, steps, RUN / name)

    going_on, found = run("new", moved)
    fresh = run("fresh", None)[1] if compare else {}
    print(f"{'':>22}  going on" + ("  fresh weights" if compare else ""))
    for step, value in found.items():
        beside = f"  {fresh[step]:13.0f}" if compare else ""
        print(f"  after {step:>8,} steps  {value:8.0f}{beside}")
    if compare:
        print(
            "Added sensors alone cost nothing; what the lost one told is learnt from the others,\n"
            "and on the way the return may fall. This problem is learnt from nothing as soon;\n"
            "docs/transfer.md has one that is not, with five seeds of each."
        )
    going_on.save(RUN / "policy")
    print(f"\nheredity lineage {RUN / 'policy'}   shows where its weights come from")


if __name__ == "__main__":
    main()
