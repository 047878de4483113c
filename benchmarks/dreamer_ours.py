"""How long our DreamerV3 takes for an update, and to act; prints JSON.

``python benchmarks/dreamer_ours.py walker size1m``

Of the runner for environments of the host, whose environments stand still: an update reads its
batch from the replay and writes the refreshed states back. Acting ends, as the other's does, with
actions and what a replay needs in numpy. What is made ready for all steps of an iteration, such as
weights in the dtype that is computed in, is counted for each by its share of as many as there are
by default. ``acting_and_keeping`` is a step of a run, with the environments' own part and the
replay. Memory is kept as ``heredity train`` keeps it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from typing import Any

import jax
import numpy as np

from heredity.algorithms.dreamer.algorithm import Dreamer
from heredity.algorithms.dreamer.config import SIZES, DreamerConfig
from heredity.common.kept_memory import keep_memory
from heredity.common.provenance import versions
from heredity.environments import HostEnvironment
from heredity.environments.contract import TimeStep
from heredity.environments.infos import InfoMeans
from heredity.spaces import Box, Dict, Discrete, Space
from heredity.training.host_dreamer import DreamerHostRunner, Standing
from timing import largest_megabytes, quartiles

ENVS = 16
PROBLEMS: dict[str, tuple[Space, Space]] = {
    "walker": (
        Dict({"orientations": Box((14,)), "height": Box((1,)), "velocity": Box((9,))}),
        Box((6,), -1.0, 1.0),
    ),
    "crafter": (Box((64, 64, 3), 0, 255, "uint8"), Discrete(17)),
}


class Still(HostEnvironment):
    """Shows always the same, which is random."""

    num_envs = ENVS

    def __init__(self, problem: str) -> None:
        self.observation_space, self.action_space = PROBLEMS[problem]
        draw = np.random.default_rng(0)
        seen = [self.observation_space.sample(draw) for _ in range(ENVS)]
        self.seen = jax.tree.map(lambda *leaves: np.stack(leaves), *seen)

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> Any:
        return self.seen

    def step(self, actions: np.ndarray) -> TimeStep:
        none = np.zeros(ENVS, bool)
        return TimeStep(self.seen, np.zeros(ENVS, np.float32), none, none, {})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("problem", choices=PROBLEMS)
    parser.add_argument("preset", choices=SIZES)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    keep_memory()
    kept: dict[str, Any] = {"num_envs": ENVS, "num_steps": 64, "replay_capacity": ENVS * 1000}
    sizes: dict[str, Any] = dict(SIZES[given.preset])
    config = DreamerConfig(**sizes, **kept, dtype=given.dtype, train_ratio=0.0)
    environment = Still(given.problem)
    spaces = environment.observation_space, environment.action_space
    runner = DreamerHostRunner(Dreamer(config, *spaces), environment, 0)
    told = InfoMeans()
    runner.iterate(5)  # as many records as a batch begins in

    def update() -> None:
        runner.learn(1)
        jax.block_until_ready(runner.state.params)

    updates = quartiles(update, given.seconds)

    parts, standing, key, version = runner._ready()
    acting_on = Standing(standing.carry, standing.reward, np.zeros(ENVS, bool))
    carries = [standing.carry]

    def act() -> None:
        now = acting_on._replace(carry=carries[0])
        carries[0], *decided = runner._act(parts, environment.seen, now, key, np.uint32(0), version)
        jax.device_get(decided)

    def act_and_keep() -> None:
        acted = runner.act(runner._ready(), told, runner._replay.add)
        runner.state = dataclasses.replace(runner.state, experience=acted.standing)

    def ready() -> None:
        jax.block_until_ready(runner._ready().parts)

    acting = quartiles(act, given.seconds / 4)
    made_ready = quartiles(ready, given.seconds / 8)["median_ms"]
    keeping = quartiles(act_and_keep, given.seconds / 4)
    for name in ("median_ms", "quarter_ms", "three_quarters_ms"):
        acting[name] = round(acting[name] + made_ready / DreamerConfig().num_steps, 3)
        keeping[name] = round(keeping[name] / config.num_steps, 3)
    result = {
        "what": "DreamerV3, ours",
        "problem": given.problem,
        "preset": given.preset,
        "dtype": given.dtype,
        "device": str(jax.devices()[0].device_kind),
        "load_before": round(load, 2),
        "batch": [config.batch_size, config.batch_length],
        "update": updates,
        "acting": {"environments": ENVS, **acting, "made_ready_ms": made_ready},
        "acting_and_keeping": {"environments": ENVS, **keeping},
        "largest_megabytes": largest_megabytes(),
        "versions": versions(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
