"""What snapshots cost: everything that is not learning, in a run that keeps one every 1 %.

A run with and a run without differ by less than the machine's noise, so the cost is taken apart
instead: the time the training thread spends outside of learning (copying, hashing, handing over),
and the processor time of the thread that writes. Evaluation is turned off, and compilation is not
counted as time in which a snapshot could hide.
"""

import json
import sys
import tempfile
import time

import heredity as hd
from heredity.training import runners, writer

# About five minutes on two cores; another number can be given on the command line.
STEPS = int(float(sys.argv[1])) if len(sys.argv) > 1 else 2_600_000
inside: list[float] = []
writing: list[float] = []

iterate, work = runners.DeviceRunner.iterate, writer.BackgroundWriter._work


def timed_iterate(self, iterations):
    began = time.perf_counter()
    try:
        return iterate(self, iterations)
    finally:
        inside.append(time.perf_counter() - began)


def timed_work(self):
    began = time.thread_time()
    work(self)
    writing.append(time.thread_time() - began)


runners.DeviceRunner.iterate = timed_iterate
writer.BackgroundWriter._work = timed_work

environment = hd.make("brax/ant", num_envs=256, backend="positional")
model = hd.PPO(environment)
with tempfile.TemporaryDirectory() as folder:
    events = model.run(
        STEPS,
        f"{folder}/run",
        snapshot_every=STEPS // 100,
        evaluation_episodes=0,
        checkpoint_every=STEPS,
    )
    next(events)  # what was built and compiled until the first one is no snapshot's cost
    began = time.perf_counter()
    kept = sum(event.snapshot is not None for event in events)
    wall = time.perf_counter() - began
learning = sum(inside)
print(
    json.dumps(
        {
            "steps": STEPS,
            "snapshots": kept,
            "wall_seconds": wall,
            "learning_seconds": learning,
            "first_call_seconds": inside[0],
            "outside_seconds": wall - learning,
            "writer_cpu_seconds": sum(writing),
            "cost_share": (wall - learning + sum(writing)) / (wall - inside[0]),
        }
    )
)
