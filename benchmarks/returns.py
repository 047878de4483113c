"""Train policies to the end, over seeds, beside peers; keep each seed as soon as it is finished.

``python benchmarks/returns.py`` trains whatever is not recorded yet, seed after seed; stop it when
you like and start it again: only the seed that was being trained begins anew. Several may run side
by side, for example one for each ``--library``. ``--tables`` trains nothing and renders the
documentation from what is recorded.

Numbers outlive changes of the code: every seed of ours says the commit that trained it.
``--again`` trains anew what other code trained; a seed is replaced when its new one is finished.

Peers are those of ``make peers``, or of the Python that ``HEREDITY_PEERS`` names; without them only
ours is trained.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import returns_tables
from heredity.common.files import write_atomically
from heredity.common.provenance import now, processor
from processes import HERE, PEERS
from return_problems import RETURN_PROBLEMS, ReturnProblem
from source import settings_hash, source

RESULTS = HERE / "results" / "returns"
CONTESTANTS = ("ours", "sb3", "brax")


def machine() -> dict[str, Any]:
    """What a seed was trained on, and how much else was running there at its end."""
    return {"processor": processor(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}


def recorded(problem: ReturnProblem) -> dict[str, Any]:
    """What is known of a problem, by contestant a list of seeds."""
    path = RESULTS / f"{problem.name}.json"
    if not path.exists():
        return {"problem": problem.name, "runs": {}}
    return json.loads(path.read_text(encoding="utf-8"))


def record(
    problem: ReturnProblem, contestant: str, found: Iterable[dict[str, Any]], again: bool = False
) -> None:
    """Add finished seeds to the file of the problem.

    Args:
        problem: That was trained on.
        contestant: Who was trained.
        found: What is known of each seed.
        again: Whether they replace seeds that are there already; else those stay.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "writing.tmp").open("w") as lock:  # other processes may write as well
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = recorded(problem)
        known |= {
            "algorithm": problem.algorithm,
            "environment": problem.environment,
            "options": problem.options,
            "evaluation": f"{problem.episodes} episodes of the last policy, most likely actions, "
            "statistics frozen",
            "published": problem.published,
        }
        new = {one["seed"]: one for one in found}
        old = {run["seed"]: run for run in known["runs"].get(contestant, [])}
        runs = old | new if again else new | old
        known["runs"][contestant] = [runs[seed] for seed in sorted(runs)]
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


def train(problem: ReturnProblem, contestant: str, seed: int, again: bool = False) -> None:
    """One seed, or the group of ours that it begins, in a process of its own; see `record`."""
    python = sys.executable if contestant == "ours" else PEERS
    script = HERE / problem.scripts[contestant]
    command = [python, str(script), problem.name, "--seed", str(seed)]
    alone = {"JAX_PLATFORMS": "cpu"}
    code = source()  # before: it is imported at the start
    if unfinished := unfinished_run(problem, contestant, seed, code):
        command += ["--directory", str(unfinished)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**alone, **os.environ}
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    if problem.settings:
        found = [of_benchmark(problem, seed, found)]
    for one in found:
        one |= {"machine": machine(), "when": now()}
        if contestant == "ours":
            one |= {"source": code, "settings_hash": settings_hash(one["settings"])}
        mean = sum(one["returns"]) / len(one["returns"])
        print(
            f"{problem.name} {contestant} seed {one['seed']}: {mean:,.1f} after "
            f"{one['steps']:,} steps, {one['seconds']:,.0f} s",
            flush=True,
        )
    record(problem, contestant, found, again)
    if unfinished:
        shutil.rmtree(unfinished)
        unfinished.with_suffix(".json").unlink()


def unfinished_run(
    problem: ReturnProblem, contestant: str, seed: int, code: Mapping[str, Any]
) -> Path | None:
    """Where a seed is kept until it is finished; one for each version of the code.

    Returns:
        The folder of its run; None for what is not saved: peers, uncommitted code, and what the
        benchmark of speed trains.
    """
    if contestant != "ours" or problem.settings or not code["clean"]:
        return None
    return RESULTS / "unfinished" / f"{problem.name}-{seed}-{code['package'][:12]}"


def of_this_code(run: Mapping[str, Any], code: Mapping[str, Any]) -> bool:
    """Whether a seed was trained by the package as it is now."""
    known = run.get("source")
    if known is None:  # before commits were recorded
        return False
    return known["clean"] and code["clean"] and known["package"] == code["package"]


def of_benchmark(problem: ReturnProblem, seed: int, run: dict[str, Any]) -> dict[str, Any]:
    """A seed from what a script of the benchmark of speed tells: means of its evaluations."""
    return {
        "seed": seed,
        **{name: run[name] for name in ("library", "versions", "steps")},
        **{name: round(run[name], 1) for name in ("seconds", "cpu_seconds")},
        "settings": problem.settings,
        "returns": [round(run["final_return"]["mean"], 3)],
        "curve": [[step, round(mean, 3)] for step, _, mean in run["curve"]],
    }


def missing(
    problems: Iterable[ReturnProblem],
    contestants: Iterable[str],
    seeds: int,
    code: Mapping[str, Any] | None = None,
) -> list[tuple[ReturnProblem, str, int]]:
    """What is not recorded yet, the first seed of everything first.

    Args:
        problems: To be trained on.
        contestants: To be trained.
        seeds: How many.
        code: What `source` gives, where seeds of other code count as not recorded.
    """
    left = []
    for seed in range(seeds):
        for problem in problems:
            for contestant in contestants:
                if contestant not in problem.scripts:
                    continue
                known = recorded(problem)["runs"].get(contestant, [])
                there = {run["seed"] for run in known if code is None or of_this_code(run, code)}
                together = problem.together if contestant == "ours" else 1
                group = range(seed, min(seed + together, seeds))
                if seed % together == 0 and not there.issuperset(group):
                    left.append((problem, contestant, seed))
    return left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problems", nargs="*", choices=[[], *RETURN_PROBLEMS], help="default: all")
    parser.add_argument("--library", choices=CONTESTANTS, help="default: all that are installed")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--again", action="store_true", help="ours, where other code trained it")
    parser.add_argument("--tables", action="store_true", help="train nothing, render")
    given = parser.parse_args()
    contestants = [given.library] if given.library else CONTESTANTS if PEERS else ["ours"]
    if given.library not in (None, "ours") and not PEERS:
        missing_peer = returns_tables.NAMES[given.library]
        sys.exit(f"no Python that has {missing_peer}: `make peers` installs one")
    chosen = [RETURN_PROBLEMS[name] for name in given.problems or RETURN_PROBLEMS]
    if given.again and not given.tables:
        if given.library == "sb3":
            sys.exit("--again is for ours: peers have pinned versions")
        # The list is made once: what uncommitted code trains never counts as done.
        for problem, _, seed in missing(chosen, ["ours"], given.seeds, source()):
            train(problem, "ours", seed, again=True)
    while not given.tables:
        left = missing(chosen, contestants, given.seeds)  # another process may have added some
        if not left:
            break
        train(*left[0])
    returns_tables.render(RESULTS)


if __name__ == "__main__":
    main()
