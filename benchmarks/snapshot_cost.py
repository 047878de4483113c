"""What snapshots cost: everything that is not learning, in a run that keeps one every 1 %.

A run with and a run without differ by less than the machine's noise, so the cost is taken apart
instead: the time the training thread spends outside of learning and evaluating (copying, hashing,
handing over), and the processor time of the thread that writes, rollouts among what it writes.
Neither compilation nor evaluation counts as time in which a snapshot could hide.
"""

import json
import sys
import tempfile
import time

import heredity as hd
from heredity.training import evaluation, runners, writer

# About five minutes on two cores; another number can be given on the command line.
STEPS = int(float(sys.argv[1])) if len(sys.argv) > 1 else 2_600_000
learning: list[float] = []
evaluating: list[float] = []
writing: list[float] = []


def timed(function, seconds):
    def call(*arguments):
        began = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            seconds.append(time.perf_counter() - began)

    return call


work = writer.BackgroundWriter._work


def timed_work(self):
    began = time.thread_time()
    work(self)
    writing.append(time.thread_time() - began)


runners.DeviceRunner.iterate = timed(runners.DeviceRunner.iterate, learning)
evaluation.Evaluator.evaluate = timed(evaluation.Evaluator.evaluate, evaluating)
writer.BackgroundWriter._work = timed_work

environment = hd.make("brax/ant", num_envs=256, backend="positional")
model = hd.PPO(environment)
with tempfile.TemporaryDirectory() as folder:
    events = model.run(STEPS, f"{folder}/run", snapshot_every=STEPS // 100, checkpoint_every=STEPS)
    next(events)  # what was built and compiled until the first one is no snapshot's cost
    evaluating.clear()
    began = time.perf_counter()
    kept = sum(event.snapshot is not None for event in events)
    wall = time.perf_counter() - began
outside = wall - sum(learning) - sum(evaluating)
print(
    json.dumps(
        {
            "steps": STEPS,
            "snapshots": kept,
            "wall_seconds": wall,
            "learning_seconds": sum(learning),
            "first_call_seconds": learning[0],
            "evaluation_seconds": sum(evaluating),
            "outside_seconds": outside,
            "writer_cpu_seconds": sum(writing),
            "cost_share": (outside + sum(writing)) / (wall - learning[0] - sum(evaluating)),
        }
    )
)
