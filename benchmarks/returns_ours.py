"""Ours with its preset, trained to the end; prints JSON, one entry for each seed."""

import argparse
import dataclasses
import importlib.metadata
import json
import sys
import time
from pathlib import Path

import heredity as hd
from heredity.common.files import write_atomically
from return_problems import RETURN_PROBLEMS

parser = argparse.ArgumentParser()
parser.add_argument("problem", choices=RETURN_PROBLEMS)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--steps", type=int, help="instead of the problem's, to see that it runs")
parser.add_argument("--together", type=int, help="seeds in one program, instead of the problem's")
parser.add_argument("--directory", type=Path, help="kept there, and gone on with from there")
parser.add_argument("--settings", default="{}", help="other than the preset's, as JSON")
given = parser.parse_args()
problem = RETURN_PROBLEMS[given.problem]
steps = given.steps or problem.steps


class Episodes(hd.callbacks.Callback):
    """Returns of the episodes of training, in twenty parts; a sink of metrics as well.

    What it took so far is kept beside the run, so that a seed that was stopped counts all of it.
    """

    def __init__(self, kept):
        self.kept = kept
        known = json.loads(kept.read_text()) if kept and kept.exists() else {}
        self.curve = known.get("curve", [])
        self.seconds, self.cpu_seconds = known.get("seconds", 0.0), known.get("cpu_seconds", 0.0)
        self.began = time.perf_counter(), time.process_time()

    def spent(self):
        seconds = self.seconds + time.perf_counter() - self.began[0]
        cpu_seconds = self.cpu_seconds + time.process_time() - self.began[1]
        return {"seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1)}

    def sinks(self, run_id, config):
        return [self]

    def write(self, step, row):
        self.rewind(step - 1)  # a run that goes on does so from a checkpoint, some rows earlier
        # Means over the seeds where there are several.
        if "rollout/ep_rew_mean" in row:
            self.curve.append([step, round(row["rollout/ep_rew_mean"], 3)])
        told = f"{self.curve[-1][1]:,.1f} an episode" if self.curve else "no episode yet"
        print(f"{problem.name}: {step:,} of {steps:,} steps, {told}", file=sys.stderr, flush=True)
        if self.kept:
            write_atomically(self.kept, json.dumps({"curve": self.curve, **self.spent()}))

    def rewind(self, step):
        self.curve = [point for point in self.curve if point[0] <= step]

    def close(self):
        pass


def fresh():
    """The model of the problem with the settings that were asked for."""
    settings = {**problem.changed, **json.loads(given.settings)}
    num_envs = settings.pop("num_envs", None)
    learner = getattr(hd, problem.algorithm)
    model = learner(problem.environment, seed=given.seed, **settings)
    if not num_envs and not problem.options:
        return model
    size = num_envs or model.config.num_envs
    environment = hd.make(problem.environment, size, **problem.options)
    return learner(environment, seed=given.seed, **settings)


directory = given.directory
episodes = Episodes(directory and directory.with_suffix(".json"))
if directory and directory.exists():
    model = hd.resume(directory)
    events = model.run(callback=episodes)
else:
    model = fresh()
    events = model.run(
        steps,
        directory,
        callback=episodes,
        seeds=given.together or problem.together,
        log_every=steps // 20,
        evaluate_every=steps,
        evaluation_episodes=problem.episodes,
    )
last = {event.seed: event for event in events}  # the only evaluation, at the end
packages = {
    "gym": ("gymnasium", "mujoco"),
    "gymnax": ("gymnax",),
    "playground": ("playground", "mujoco-mjx"),
    "minigrid": ("minigrid", "gymnasium"),
    "dm_control": ("dm_control", "mujoco"),
    "envpool": ("envpool",),
    "probe": (),
}[problem.environment.partition("/")[0]]
packages = ("jax", "jaxlib", "flax", "optax", "numpy", *packages)
found = [
    {
        "seed": seed,
        "library": f"heredity {hd.__version__}",
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "settings": dataclasses.asdict(model.config),
        "together": event.seeds,
        "steps": event.step,
        **episodes.spent(),
        "returns": [round(float(value), 3) for value in event.evaluation.returns],
        "lengths": [int(value) for value in event.evaluation.lengths],
        "curve": episodes.curve,
    }
    for seed, event in last.items()
]
print(json.dumps(found), flush=True)
