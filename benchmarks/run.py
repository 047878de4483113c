"""Measure, write the numbers as JSON, and render the README's table from them.

``make bench`` runs everything; ``python benchmarks/run.py predict`` one of them, and what follows
the name (the steps of ``snapshots``) is given to it. Peers are
installed by hand into any environment of your choice, which ``HEREDITY_PEERS`` names:
``HEREDITY_PEERS=/path/to/python make bench``. Without it only our own side is measured, and the
table keeps the peer's number out.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from heredity.common.provenance import now, versions

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
README = HERE.parent / "README.md"
TABLE = re.compile(r"(<!-- benchmarks -->\n).*?(<!-- /benchmarks -->)", re.DOTALL)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {"processor": model, "cores": os.cpu_count(), "system": platform.system()}


def script(
    name: str, python: str = sys.executable, arguments: Sequence[str] = ()
) -> dict[str, Any]:
    """What a script of this folder prints as its last line, as JSON."""
    command = [python, str(HERE / name), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def predict() -> dict[str, Any]:
    """One observation through `predict`, beside Stable-Baselines3, three times in turn."""
    peer = os.environ.get("HEREDITY_PEERS")
    ours, theirs = [], []
    for _ in range(3):
        ours.append(script("predict_ours.py"))
        if peer:
            theirs.append(script("predict_sb3.py", peer))
    ours.sort(key=lambda run: run["microseconds"])
    theirs.sort(key=lambda run: run["microseconds"])
    found: dict[str, Any] = {"ours": ours[1], "peer": theirs[1] if theirs else None}
    if theirs:
        found["ratio"] = ours[1]["microseconds"] / theirs[1]["microseconds"]
    return found


def snapshots() -> dict[str, Any]:
    """What a snapshot every 1 % of the steps costs a run of brax/ant."""
    return script("snapshot_cost.py", arguments=sys.argv[2:])


BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {"predict": predict, "snapshots": snapshots}


def read(name: str) -> dict[str, Any] | None:
    """The newest numbers of a benchmark; None when it was never run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def table() -> str:
    """The README's table, from the JSON files alone."""
    rows = ["| work | heredity | beside it | ratio |", "|---|---|---|---|"]
    if (found := read("predict")) is not None:
        ours, peer = found["ours"], found["peer"]
        beside = f"{peer['library']}: {peer['microseconds']:.0f} µs" if peer else "not measured"
        ratio = f"{found['ratio']:.2f}x its time" if peer else ""
        rows.append(
            "| `predict` of one CartPole observation, 2 x 64 units "
            f"| {ours['microseconds']:.0f} µs "
            f"| {beside} | {ratio} |"
        )
    if (found := read("snapshots")) is not None:
        rows.append(
            "| a snapshot every 1 % of the steps, brax/ant, "
            f"{found['learning_seconds']:.0f} s of learning "
            f"| {found['cost_share'] * 100:.2f} % of the wall time, evaluation apart "
            "| no snapshots | |"
        )
    return "\n".join(rows) + "\n"


def main() -> None:
    chosen = sys.argv[1:2] or list(BENCHMARKS)
    RESULTS.mkdir(exist_ok=True)
    for name in chosen:
        if name not in BENCHMARKS:
            sys.exit(f"unknown benchmark {name!r}: one of {', '.join(BENCHMARKS)} was expected")
        print(f"{name} …", flush=True)
        found = BENCHMARKS[name]()
        record = {"measured": now(), "machine": machine(), "versions": versions(), **found}
        (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
        print(json.dumps(found, indent=2), flush=True)
    README.write_text(TABLE.sub(lambda found: found[1] + table() + found[2], README.read_text()))
    print(f"Written: {RESULTS}, and the table in {README.name}")


if __name__ == "__main__":
    main()
