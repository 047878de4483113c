"""Steps a second of vectors of Gymnasium environments: ours and Gymnasium's own.

``python benchmarks/host_vectors.py [seconds] [environments]``; each vector gets so many seconds,
in three turns, of which the median counts. Random actions; episodes that ended are begun again.
"""

import json
import statistics
import sys
import time

import gymnasium as gym
import numpy as np

import heredity as hd

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
COUNT = int(sys.argv[2]) if len(sys.argv) > 2 else 8
NAMES = ("CartPole-v1", "HalfCheetah-v5")
TURNS = 3


class Ours:
    """Our vector, resets by its caller."""

    def __init__(self, name, vectorization):
        self.env = hd.make(f"gym/{name}", COUNT, vectorization=vectorization)
        self.seeds = np.arange(COUNT)
        self.env.reset(self.seeds, np.ones(COUNT, bool))
        self.sample = self.env.action_space.sample

    def step(self, actions):
        result = self.env.step(actions)
        ended = result.terminated | result.truncated
        if ended.any():
            self.seeds += COUNT
            self.env.reset(self.seeds, ended)


class Theirs:
    """Gymnasium's vector, which resets itself; its checker of each step is left out like ours."""

    def __init__(self, name, kind):
        makers = [lambda: gym.make(name, disable_env_checker=True)] * COUNT
        self.env = kind(makers)
        self.env.reset(seed=0)

    def step(self, actions):
        self.env.step(actions)


def steps_per_second(vector, actions, seconds):
    """Of all environments together."""
    made, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        for action in actions:
            vector.step(action)
        made += len(actions) * COUNT
    return made / passed


def main():
    found = {"environments": COUNT, "seconds": SECONDS}
    for name in NAMES:
        vectors = {
            "ours_sync": Ours(name, "sync"),
            "ours_async": Ours(name, "async"),
            "gymnasium_sync": Theirs(name, gym.vector.SyncVectorEnv),
            "gymnasium_async": Theirs(name, gym.vector.AsyncVectorEnv),
        }
        generator = np.random.default_rng(0)
        space = vectors["ours_sync"].env.action_space
        actions = [np.stack([space.sample(generator) for _ in range(COUNT)]) for _ in range(200)]
        rates = {kind: [] for kind in vectors}
        for _ in range(TURNS):
            for kind, vector in vectors.items():
                rates[kind].append(steps_per_second(vector, actions, SECONDS / TURNS))
        found[name] = {kind: round(statistics.median(rate)) for kind, rate in rates.items()}
        for vector in vectors.values():
            vector.env.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
