"""Eight seeds in one program, beside eight runs one after another: steady state, no compilation.

Both are measured in turn in the same process. The last line is one JSON object.

    python benchmarks/seeds.py [NUM_ENVS [SEEDS [ROUNDS]]]
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.presets import preset_config
from heredity.environments import JaxEnvironment, make
from heredity.training.runners import DeviceRunner, SeedsRunner

ENVIRONMENT = "gymnax/CartPole-v1"
DEFAULTS = (8, 8, 7)  # environments, seeds, rounds
STRETCH_SECONDS = 1.5


def stretch_of(iterate: Callable[[int], Any]) -> int:
    """So many iterations take about `STRETCH_SECONDS`; compiles on the way."""
    iterate(1)
    began = time.perf_counter()
    iterate(5)
    return max(1, round(STRETCH_SECONDS * 5 / (time.perf_counter() - began)))


def seconds(iterate: Callable[[int], Any], iterations: int) -> float:
    began = time.perf_counter()
    iterate(iterations)
    return (time.perf_counter() - began) / iterations


def main() -> None:
    given = [int(word) for word in sys.argv[1:4]]
    num_envs, seeds, turns = [*given, *DEFAULTS[len(given) :]]
    config = dataclasses.replace(preset_config("auto", ENVIRONMENT), num_envs=num_envs)
    environment = make(ENVIRONMENT, num_envs=num_envs)
    assert isinstance(environment, JaxEnvironment)
    spaces = (environment.observation_space, environment.action_space)
    algorithm = PPO(config, *spaces, schedule_timesteps=10**9)
    alone = DeviceRunner(algorithm, environment, 0)
    together = SeedsRunner(algorithm, environment, range(seeds))
    stretches = stretch_of(alone.iterate), stretch_of(together.iterate)
    rounds = []
    for _ in range(turns):
        one = seconds(alone.iterate, stretches[0])
        many = seconds(together.iterate, stretches[1])
        rounds.append((one, many, seeds * one / many))
        print(f"{one * 1e3:.2f} ms alone, {many * 1e3:.2f} ms for {seeds}: {rounds[-1][2]:.2f}x")
    one, many, ratio = (statistics.median(column) for column in zip(*rounds, strict=True))
    found = {
        "environment": ENVIRONMENT,
        "settings": dataclasses.asdict(config),
        "environments": num_envs,
        "seeds": seeds,
        "alone_iteration_seconds": one,
        "together_iteration_seconds": many,
        "speed_up": ratio,
        "least_and_most": [min(row[2] for row in rounds), max(row[2] for row in rounds)],
        "alone_steps_per_second": config.num_transitions / one,
        "together_steps_per_second": seeds * config.num_transitions / many,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
