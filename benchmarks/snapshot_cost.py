"""What snapshots cost: everything that is not learning, in a run that keeps one every 1 %.

A run with and a run without differ by less than the machine's noise, so the cost is taken apart
instead: the time the training thread spends outside of learning and evaluating (copying, hashing,
handing over), and the processor time of the thread that writes, rollouts among what it writes.
Neither compilation nor evaluation counts as time in which a snapshot could hide.

Snapshots are as far apart as 1 % of a run of 6.4 million steps, which takes minutes; of that run
only the first part is made, because each snapshot costs what the one before it did.

    python benchmarks/snapshot_cost.py [SNAPSHOTS]
"""

import json
import sys
import tempfile
import time

import heredity as hd
from heredity.training import evaluation, runners, writer

SNAPSHOTS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
WHOLE_RUN = 6_400_000
EVERY = WHOLE_RUN // 100
learning: list[float] = []
evaluating: list[float] = []
writing: list[float] = []


def timed(function, seconds):
    def call(*arguments, **keywords):
        began = time.perf_counter()
        try:
            return function(*arguments, **keywords)
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
steps = (SNAPSHOTS + 1) * EVERY
with tempfile.TemporaryDirectory() as folder:
    events = model.run(steps, f"{folder}/run", snapshot_every=EVERY, checkpoint_every=steps)
    # What was built and compiled until the first one is no snapshot's cost.
    next(events)
    evaluating.clear(), learning.clear()
    began = time.perf_counter()
    kept = sum(event.snapshot is not None for event in events)
    wall = time.perf_counter() - began
outside = wall - sum(learning) - sum(evaluating)
print(
    json.dumps(
        {
            "steps": kept * EVERY,
            "snapshots": kept,
            "wall_seconds": wall,
            "learning_seconds": sum(learning),
            "evaluation_seconds": sum(evaluating),
            "outside_seconds": outside,
            "writer_cpu_seconds": sum(writing),
            "cost_share": (outside + sum(writing)) / (wall - sum(evaluating)),
        }
    )
)
