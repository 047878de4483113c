"""Iterations of PPO around a frozen Vision Transformer, with its features kept and computed again.

Both ways take turns; the best of several repeats. ``--quick`` only sees that it runs.
"""

import dataclasses
import json
import sys
import time

import heredity as hd
from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.config import PPOConfig
from heredity.training.runners import make_runner
from heredity.weights import count

QUICK = "--quick" in sys.argv
REPEATS = 1 if QUICK else 4
SIDE, PATCH = (16, 8) if QUICK else (48, 8)
CONFIG = PPOConfig(
    num_envs=16,
    num_steps=16,
    network={
        "kind": "vit",
        "shared": True,
        "patch": PATCH,
        "picture_size": (SIDE, SIDE),
        "width": 128,
        "depth": 4,
        "heads": 4,
        "hidden": (256,),
    },
    freeze=("trunk/encoder/**",),
)

environment = hd.make("probe/catch", CONFIG.num_envs)
spaces = environment.observation_space, environment.action_space
runners = {}
for kept in (True, False):
    config = dataclasses.replace(CONFIG, cache_features="always" if kept else "never")
    algorithm = PPO(config, *spaces, schedule_timesteps=10_000)
    if algorithm.caches_features is not kept:
        raise SystemExit("this does not compare what it says")
    runners[kept] = make_runner(algorithm, environment, 0)
    runners[kept].iterate(1)
best = dict.fromkeys(runners, float("inf"))
for _ in range(REPEATS):
    for kept, runner in runners.items():
        began = time.perf_counter()
        runner.iterate(1)
        best[kept] = min(best[kept], time.perf_counter() - began)
print(
    json.dumps(
        {
            "parameters": count(runners[True].constants),
            "tokens": 1 + (SIDE // PATCH) ** 2,
            "transitions": CONFIG.num_transitions,
            "epochs": CONFIG.num_epochs,
            "kept_seconds": best[True],
            "again_seconds": best[False],
            "speed_up": best[False] / best[True],
        }
    )
)
