"""Train policies to the end, over seeds, beside peers; keep each seed as soon as it is finished.

``python benchmarks/returns.py`` trains whatever is not recorded yet, seed after seed; stop it when
you like and start it again: only the seed that was being trained begins anew. Several may run side
by side, for example one for each ``--library``. ``--tables`` trains nothing and renders the
documentation from what is recorded.

Peers are run by the Python that ``HEREDITY_PEERS`` names, see docs/performance.md; without it only
ours is trained.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import returns_tables
from heredity.common.files import write_atomically
from heredity.common.provenance import now, processor
from return_problems import RETURN_PROBLEMS, ReturnProblem

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "returns"
PEERS = os.environ.get("HEREDITY_PEERS", "")
SCRIPTS = {"ours": "returns_ours.py", "sb3": "returns_sb3.py"}


def machine() -> dict[str, Any]:
    """What a seed was trained on, and how much else was running there at its end."""
    return {"processor": processor(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}


def recorded(problem: ReturnProblem) -> dict[str, Any]:
    """What is known of a problem, by contestant a list of seeds."""
    path = RESULTS / f"{problem.name}.json"
    if not path.exists():
        return {"problem": problem.name, "runs": {}}
    return json.loads(path.read_text(encoding="utf-8"))


def record(problem: ReturnProblem, contestant: str, found: Iterable[dict[str, Any]]) -> None:
    """Add finished seeds to the file of the problem; a seed that is there already stays."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "writing.tmp").open("w") as lock:  # other processes may write as well
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = recorded(problem)
        known |= {
            "environment": problem.environment,
            "options": problem.options,
            "evaluation": f"{problem.episodes} episodes of the last policy, most likely actions, "
            "statistics frozen",
            "published": problem.published,
        }
        runs = known["runs"].setdefault(contestant, [])
        there = {run["seed"] for run in runs}
        runs += [one for one in found if one["seed"] not in there]
        runs.sort(key=lambda run: run["seed"])
        write_atomically(RESULTS / f"{problem.name}.json", written(known))


def written(known: dict[str, Any]) -> str:
    """As JSON with a line for each seed, so that a seed more is a line more."""
    runs = known["runs"]
    marks = {name: [f"@{name}{index}" for index in range(len(runs[name]))] for name in runs}
    text = json.dumps(known | {"runs": marks}, indent=1)
    for name, seeds in runs.items():
        for mark, run in zip(marks[name], seeds, strict=True):
            text = text.replace(f'"{mark}"', json.dumps(run))
    return text + "\n"


def train(problem: ReturnProblem, contestant: str, seed: int) -> None:
    """One seed, or the group of ours that it begins, in a process of its own."""
    python = sys.executable if contestant == "ours" else PEERS
    command = [python, str(HERE / SCRIPTS[contestant]), problem.name, "--seed", str(seed)]
    alone = {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**alone, **os.environ}
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    for one in found:
        one |= {"machine": machine(), "when": now()}
        mean = sum(one["returns"]) / len(one["returns"])
        print(
            f"{problem.name} {contestant} seed {one['seed']}: {mean:,.1f} after "
            f"{one['steps']:,} steps, {one['seconds']:,.0f} s",
            flush=True,
        )
    record(problem, contestant, found)


def missing(
    problems: Iterable[ReturnProblem], contestants: Iterable[str], seeds: int
) -> list[tuple[ReturnProblem, str, int]]:
    """What is not recorded yet, the first seed of everything first."""
    left = []
    for seed in range(seeds):
        for problem in problems:
            for contestant in contestants:
                if contestant not in problem.contestants:
                    continue
                there = {run["seed"] for run in recorded(problem)["runs"].get(contestant, [])}
                follows = contestant == "ours" and seed % problem.together
                if seed not in there and not follows:
                    left.append((problem, contestant, seed))
    return left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problems", nargs="*", choices=[[], *RETURN_PROBLEMS], help="default: all")
    parser.add_argument("--library", choices=SCRIPTS, help="default: all that are installed")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tables", action="store_true", help="train nothing, render")
    given = parser.parse_args()
    contestants = [given.library] if given.library else ["ours", *(["sb3"] if PEERS else [])]
    if given.library == "sb3" and not PEERS:
        sys.exit("HEREDITY_PEERS names no Python that has stable_baselines3")
    chosen = [RETURN_PROBLEMS[name] for name in given.problems or RETURN_PROBLEMS]
    while not given.tables:
        left = missing(chosen, contestants, given.seeds)  # another process may have added some
        if not left:
            break
        train(*left[0])
    returns_tables.render(RESULTS)


if __name__ == "__main__":
    main()
