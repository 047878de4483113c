"""A trained policy gets two more sensors and loses one; the report says what stays the same.

Under a minute on two cores. Everything is kept in runs/new_sensor.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jax.numpy as jnp

import heredity as hd
from heredity.environments.wrappers.base import JaxWrapper
from heredity.spaces import Box
from heredity.training.checkpoints import read_checkpoint
from heredity.training.transfer import transfer

RUN = Path("runs/new_sensor")
SETTINGS: dict[str, Any] = {"num_envs": 16, "num_steps": 64, "learning_rate": 1e-3}
OLD = ("theta", "theta_velocity", "x_velocity")
NEW = ("x", "theta", "theta_velocity", "tip")  # x_velocity broke; x and tip are new


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


def main(steps: int = 60_000) -> None:
    """Train, plan, transfer, and go on."""
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
    print(f"with {', '.join(NEW)}: return {first:.0f}")
    going_on = hd.PPO(new, start=moved, normalize_observations=True, **SETTINGS)
    returns = {}
    for event in going_on.run(steps, RUN / "new", evaluate_every=steps // 4):
        returns[event.step] = event.evaluation.mean if event.evaluation else float("nan")
    for step, value in returns.items():
        print(f"  after {step:,} steps: {value:.0f}")
    going_on.save(RUN / "policy")
    print(f"\nheredity lineage {RUN / 'policy'}   shows where its weights come from")


if __name__ == "__main__":
    main()
