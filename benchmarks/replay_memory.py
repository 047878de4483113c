"""What a large replay of the host takes: memory, time and files, until it is full and longer.

Records are those of size12m with pictures of 64 x 64; nothing learns, so that the memory is that
of the replay. Batches are read all the time, from memory and from files, and states are put back.

    python benchmarks/replay_memory.py [STEPS] [GIBIBYTES] [FOLDER]
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from heredity.algorithms.dreamer.host_replay import HostReplay
from heredity.algorithms.dreamer.replay import Record

STEPS = int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000
GIBIBYTES = float(sys.argv[2]) if len(sys.argv) > 2 else 4.0
ENVIRONMENTS, BATCH, LENGTH = 16, 16, 65
EVERY = 512  # records between two batches
AFTER = 1.25  # of the capacity are written, so that the oldest go
chance = np.random.default_rng(0)


def step(number: int) -> Record:
    """A step of all environments."""
    flags = np.full(ENVIRONMENTS, number % 1000 == 0)
    return Record(
        observation=PICTURES[number % len(PICTURES)],
        action=np.zeros(ENVIRONMENTS, np.int32),
        reward=np.full(ENVIRONMENTS, number, np.float32),
        is_first=flags,
        is_last=np.zeros_like(flags),
        is_terminal=np.zeros_like(flags),
        deter=np.full((ENVIRONMENTS, 2048), number % 60_000, np.uint16),
        stoch=np.zeros((ENVIRONMENTS, 32), np.uint8),
    )


def memory() -> float:
    """Gibibytes that are this process's own: not those of files that the system keeps in reach."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 2**20
    raise SystemExit("this system does not tell what memory a process has of its own")


PICTURES = chance.integers(0, 256, (64, ENVIRONMENTS, 64, 64, 3), np.uint8)
before = memory()
rows, reading, saving = [], [], []
with tempfile.TemporaryDirectory(dir=sys.argv[3] if len(sys.argv) > 3 else None) as folder:
    replay = HostReplay(step(0), STEPS // ENVIRONMENTS, GIBIBYTES * 2**30, Path(folder))
    last = int(STEPS * AFTER) // ENVIRONMENTS
    for number in range(last):
        replay.add(step(number))
        records = (number + 1) * ENVIRONMENTS
        if records % EVERY == 0 and replay.starts(LENGTH) > BATCH:
            began = time.perf_counter()
            place = replay.draw(chance, BATCH, LENGTH)
            batch = replay.read(place)
            replay.put_states(place, batch.deter, batch.stoch)
            reading.append(time.perf_counter() - began)
            assert (np.diff(batch.reward, axis=0) == 1).all()
        if records % max(STEPS // 20, ENVIRONMENTS) == 0:
            began = time.perf_counter()
            saved, shared = replay.save(), replay.shared()
            with tempfile.TemporaryDirectory(dir=folder) as links:
                for file in shared.values():
                    file.put(Path(links) / file.path.name)
            saving.append(time.perf_counter() - began)
            written = sum(leaf.nbytes for leaf in saved.values())
            del saved
            rows.append(
                {
                    "records": records,
                    "memory_gibibytes": memory() - before,
                    "files_gibibytes": sum(p.stat().st_size for p in Path(folder).iterdir())
                    / 2**30,
                    "read_milliseconds": statistics.median(reading[-50:] or [0.0]) * 1e3,
                    "saved_mebibytes": written / 2**20,
                    "save_seconds": saving[-1],
                }
            )
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
print(
    json.dumps(
        {
            "capacity": STEPS,
            "budget_gibibytes": GIBIBYTES,
            "most_gibibytes": max(row["memory_gibibytes"] for row in rows),
            "rows": rows,
        }
    )
)
