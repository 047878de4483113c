"""What changes for the sake of speed give: each switched off, and on again; prints JSON.

Whole iterations of ours, of the settings that are compared with peers; the best of several repeats,
both ways in turn. ``--quick`` only sees that it runs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import heredity as hd
from heredity.algorithms.ppo import collect, update
from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.config import PPOConfig
from heredity.training import runner_base
from heredity.training.host_acting import HostActor
from heredity.training.host_runner import HostRunner
from heredity.training.runners import DeviceRunner
from problems import PROBLEMS

QUICK = "--quick" in sys.argv
REPEATS, LEAST_SECONDS = (1, 0.0) if QUICK else (5, 0.5)


def best_of_each(ways: dict[str, Callable[[int], Any]]) -> dict[str, float]:
    """Seconds of one iteration each way, at its best; they take turns. Each call gets how many."""
    times, found = {}, dict.fromkeys(ways, float("inf"))
    for name, call in ways.items():
        call(1)
        began = time.perf_counter()
        call(1)
        times[name] = max(int(LEAST_SECONDS / (time.perf_counter() - began)), 1)
    for _ in range(REPEATS):
        for name, call in ways.items():
            began = time.perf_counter()
            call(times[name])
            found[name] = min(found[name], (time.perf_counter() - began) / times[name])
    return found


def told(change: str, name: str, found: dict[str, float], what: str = "iteration") -> dict:
    """One row."""
    return {
        "change": change,
        "what": what,
        "problem": name,
        "before_seconds": found["before"],
        "after_seconds": found["after"],
        "ratio": found["before"] / found["after"],
    }


def built(name: str, algorithm: type[PPO] = PPO) -> tuple[PPO, Any]:
    """Algorithm and environment of a problem."""
    problem = PROBLEMS[name]
    config = PPOConfig(**problem.settings)
    environment = hd.make(problem.environment, config.num_envs, **problem.options)
    spaces = environment.observation_space, environment.action_space
    return algorithm(config, *spaces, schedule_timesteps=problem.steps), environment


def batch_last(name: str) -> dict[str, Any]:
    """Physics with the batch as the last axis of every array, and as the first."""
    ways = {}
    for way, last in (("before", False), ("after", True)):
        algorithm, environment = built(name)
        environment.batches_last = last
        ways[way] = DeviceRunner(algorithm, environment, 0).iterate
    return told("the batch is the last axis of physics", name, best_of_each(ways))


class DrawsAtEachStep(PPO):
    """Draws for each step when it comes to it, from a key of its own."""

    def noise(self, state: Any) -> jax.Array:
        return jax.random.split(state.key("action"), self.config.num_steps)

    def act_on(self, params: Any, seen: Any, noise: Any, *rest: Any) -> Any:
        drawn = self.functions.family.noise(noise, (self.config.num_envs,))
        return super().act_on(params, seen, drawn, *rest)


def chance_at_once(name: str) -> dict[str, Any]:
    """All chance of an iteration, first states included, drawn before its first step, or not."""
    most, ways = collect._MOST_BYTES, {}
    for way, algorithm_type in (("before", DrawsAtEachStep), ("after", PPO)):
        collect._MOST_BYTES = -1 if way == "before" else most
        ways[way] = DeviceRunner(*built(name, algorithm_type), 0).iterate
        ways[way](1)  # compiled while it holds
    collect._MOST_BYTES = most
    return told("chance is drawn before the first step", name, best_of_each(ways))


def permutations(config: PPOConfig, key: jax.Array, items: int) -> jax.Array:
    """`update.minibatch_indices` with JAX's own permutation."""
    keys = jax.random.split(key, config.num_epochs)
    shuffled = jax.vmap(lambda one: jax.random.permutation(one, items))(keys)
    return shuffled.reshape(-1, items // config.num_minibatches)


def patched(change: str, module: Any, attribute: str, before: Any, name: str) -> dict[str, Any]:
    """Something of a module replaced by what was there before it, while a runner is compiled."""
    now, ways = getattr(module, attribute), {}
    for way, value in (("before", before), ("after", now)):
        setattr(module, attribute, value)
        ways[way] = DeviceRunner(*built(name), 0).iterate
        ways[way](1)  # compiled while it holds
    return told(change, name, best_of_each(ways))


class ActsCompiled(HostActor):
    """Calls the compiled program for every step."""

    def begin(self, parts: Any, state: Any) -> None:
        super().begin(parts, state)
        if self._quick._outputs is None:
            raise SystemExit("nothing is acted in with numpy: there is nothing to switch off")
        self._quick._outputs = None


def acting_in_numpy(name: str) -> dict[str, Any]:
    """Actions for host environments computed in numpy, and by a compiled program."""
    ways, environments = {}, []
    for way in ("before", "after"):
        algorithm, environment = built(name)
        runner = HostRunner(algorithm, environment, 0)
        if way == "before":
            runner._actor = ActsCompiled(algorithm)
        ways[way] = runner.iterate
        environments.append(environment)
    found = best_of_each(ways)
    for environment in environments:
        environment.close()
    return told("host environments are acted in with numpy", name, found)


def one_program_to_begin(name: str) -> dict[str, Any]:
    """First weights from one program, and operation by operation; compiling included."""
    algorithm, _ = built(name)
    ways = {"before": algorithm.init, "after": jax.jit(algorithm.init)}
    found = dict.fromkeys(ways, float("inf"))
    for _ in range(1 if QUICK else 2):
        for way, init in ways.items():
            jax.clear_caches()
            began = time.perf_counter()
            jax.block_until_ready(init(np.uint32(0)))
            found[way] = min(found[way], time.perf_counter() - began)
    return told("first weights come from one program", name, found, "first weights")


def main() -> None:
    rows = [
        batch_last("brax-inverted-pendulum" if QUICK else "brax-ant"),
        chance_at_once("gymnax-cartpole"),
        *(
            patched(*change, name)
            for change in (
                ("one sort shuffles minibatches", update, "minibatch_indices", permutations),
                ("XLA is told the size", runner_base, "training_program", lambda *_: {}),
            )
            for name in ("gymnax-cartpole", *(() if QUICK else ("brax-reacher",)))
        ),
        *(acting_in_numpy(f"gym-{name}") for name in ("cartpole", "halfcheetah")),
        one_program_to_begin("gymnax-cartpole"),
    ]
    print(json.dumps({"changes": rows}))


if __name__ == "__main__":
    main()
