"""Measure ours beside its peers, keep the numbers as JSON, and render the tables from them.

Not part of ``make bench`` yet. ``python benchmarks/compare.py brax`` runs one family,
``… brax-ant`` one problem. ``--quick`` only sees that everything runs, and keeps nothing;
``--rounds`` says how often it is alternated between the contestants; ``--tables`` measures nothing
and renders again.

Peers are installed by hand into an environment of their own, whose Python ``HEREDITY_PEERS`` names;
which versions, stands in docs/performance.md. Without it only our own side is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tables
from heredity.common.provenance import now, versions
from problems import PROBLEMS, Problem

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PEERS = os.environ.get("HEREDITY_PEERS", "")

# Scripts by the adapter of the problem's environment; ours first.
CONTESTANTS = {
    "brax": {"ours": "ppo_ours.py", "brax": "ppo_brax.py"},
    "gymnax": {"ours": "ppo_ours.py", "rejax": "ppo_rejax.py", "purejax": "ppo_purejax.py"},
    "gym": {"ours": "ppo_ours.py", "sb3": "ppo_sb3.py", "sbx": "ppo_sb3.py --sbx"},
}
OF_PEERS = ("ppo_brax", "ppo_rejax", "ppo_purejax", "ppo_sb3", "predict_sb3")
# What is compared, of each run.
COMPARED = (
    "steps_per_second",
    "steps_per_cpu_second",
    "seconds",
    "startup_seconds",
    "compile_seconds",
    "seconds_to_return",
    "peak_mib",
)
STARTS = {
    "import heredity": (False, "import heredity as hd; hd.PPO"),
    "import heredity, a policy acts": (False, "import heredity as hd; hd.Policy"),
    "heredity --help": (False, "from heredity.cli.main import main; main(['--help'])"),
    "import stable_baselines3": (True, "from stable_baselines3 import PPO"),
    "import sbx": (True, "from sbx import PPO"),
    "import rejax": (True, "import rejax"),
    "import brax.training.agents.ppo.train": (
        True,
        "from brax import envs; from brax.training.agents.ppo import train",
    ),
    "import jax": (False, "import jax"),
}


def machine() -> dict[str, Any]:
    """What the numbers are measured on, and how much else was running there."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "load_before": os.getloadavg()[0],
    }


def called(command: Sequence[str], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What a script prints as its last line, as JSON. Nothing compiled is kept between scripts."""
    alone = {"JAX_PLATFORMS": "cpu", "HEREDITY_COMPILATION_CACHE": "off", **(environment or {})}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **alone}
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def script(words: str, *arguments: str) -> list[str]:
    """The command that runs a script of this folder in the environment it needs."""
    name, *options = words.split()
    ours = not name.startswith(OF_PEERS)
    return [sys.executable if ours else PEERS, str(HERE / name), *options, *arguments]


# --- one problem -----------------------------------------------------------------------------


def compete(problem: Problem, rounds: int, quick: bool) -> dict[str, Any]:
    """All who can, one after another, several times over."""
    entrants = CONTESTANTS[problem.environment.partition("/")[0]]
    entrants = {name: words for name, words in entrants.items() if name == "ours" or PEERS}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in entrants}
    with tempfile.TemporaryDirectory() as kept:
        keep = {
            "JAX_COMPILATION_CACHE_DIR": kept,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        for number in range(rounds):
            for name, words in entrants.items():
                arguments = [problem.name, "--seed", str(number), *(["--quick"] if quick else [])]
                first_of_ours = name == "ours" and number == 0
                found = called(script(words, *arguments), keep if first_of_ours else None)
                runs[name].append(found)
                tell(problem.name, name, found)
        # What a second start of the same run costs, as the command line has it by default.
        again = [problem.name, "--seed", "0", *(["--quick"] if quick else [])]
        second = called(script(entrants["ours"], *again), keep)
        tell(problem.name, "ours, again", second)
    return {
        "rounds": rounds,
        "contestants": {name: summary(found) for name, found in runs.items()},
        "ours_with_kept_programs": {name: second[name] for name in COMPARED},
        "ratios": {
            name: ratios(runs["ours"], found) for name, found in runs.items() if name != "ours"
        },
        "problem": {
            "environment": problem.environment,
            "options": problem.options,
            "settings": problem.settings,
            "seeds": problem.seeds,
            "steps": problem.chunk * problem.chunks * (problem.seeds or 1),
            "evaluation_episodes": problem.episodes,
            "threshold": problem.threshold,
        },
        "runs": runs,
    }


def tell(problem: str, name: str, found: Mapping[str, Any]) -> None:
    """One line on what was just measured."""
    parts = f"{found['startup_seconds']:.1f} starting, {found['compile_seconds']:.1f} compiling"
    print(
        f"  {problem} {name}: {found['steps_per_second']:,.0f} steps/s; {found['seconds']:.1f} s "
        f"in all, {parts}; return {found['final_return']['mean']:.1f}; {found['peak_mib']:.0f} MiB",
        flush=True,
    )


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds."""
    middle: dict[str, Any] = {
        name: None
        if any(run[name] is None for run in runs)
        else statistics.median(run[name] for run in runs)
        for name in COMPARED
    }
    returns = [run["final_return"]["mean"] for run in runs]
    first = runs[0]
    return {
        "library": first["library"],
        "versions": first["versions"],
        "differences": first["differences"],
        "steps": first["steps"],
        **middle,
        "final_return": statistics.fmean(returns),
        "final_returns": returns,
    }


def ratios(
    ours: Sequence[Mapping[str, Any]], peer: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """Ours by the peer's, of each round: the median and how far the rounds are apart."""
    found = {}
    for name in COMPARED:
        pairs = [(a[name], b[name]) for a, b in zip(ours, peer, strict=True)]
        if all(a is not None and b for a, b in pairs):
            each = sorted(a / b for a, b in pairs)
            found[name] = {"median": statistics.median(each), "low": each[0], "high": each[-1]}
    return found


# --- everything else -------------------------------------------------------------------------


def predict(rounds: int, quick: bool) -> dict[str, Any]:
    """One observation through `predict`, beside Stable-Baselines3, in turn."""
    del quick
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(called(script("predict_ours.py")))
        if PEERS:
            theirs.append(called(script("predict_sb3.py")))
    ours.sort(key=lambda run: run["microseconds"])
    theirs.sort(key=lambda run: run["microseconds"])
    middle = rounds // 2
    found: dict[str, Any] = {"ours": ours[middle], "peer": theirs[middle] if theirs else None}
    if theirs:
        found["ratio"] = ours[middle]["microseconds"] / theirs[middle]["microseconds"]
    return found


def start(rounds: int, quick: bool) -> dict[str, Any]:
    """How long it takes until there is something to work with, in turn."""
    del quick
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds + 1):
        for name, (of_peers, code) in STARTS.items():
            if of_peers and not PEERS:
                continue
            began = time.perf_counter()
            command = [PEERS if of_peers else sys.executable, "-c", code]
            subprocess.run(command, capture_output=True, check=True)
            seconds.setdefault(name, []).append(time.perf_counter() - began)
    # The first time files come from the disk.
    return {"seconds": {name: statistics.median(taken[1:]) for name, taken in seconds.items()}}


def snapshots(rounds: int, quick: bool) -> dict[str, Any]:
    """What a snapshot every 1 % of the steps costs a run of brax/ant."""
    del rounds
    return called(script("snapshot_cost.py", *(["51200"] if quick else [])))


def profile(rounds: int, quick: bool) -> dict[str, Any]:
    """Where the time of an iteration of ours goes."""
    del rounds
    names = [problem.name for problem in PROBLEMS.values() if problem.seeds is None]
    found = [called(script("profile_ours.py", name)) for name in (names[-2:] if quick else names)]
    return {"problems": found}


def changes(rounds: int, quick: bool) -> dict[str, Any]:
    """What each change for the sake of speed gives."""
    del rounds, quick
    return called(script("changes.py"))


OTHERS = {
    "predict": predict,
    "start": start,
    "profile": profile,
    "changes": changes,
    "snapshots": snapshots,
}


def wanted(names: Sequence[str]) -> list[str]:
    """The benchmarks that names stand for: a family stands for all of it that is no extra."""
    chosen: list[str] = []
    for name in names:
        family = [p.name for p in PROBLEMS.values() if p.name.startswith(f"{name}-")]
        family = [one for one in family if not PROBLEMS[one].extra]
        if name not in (*OTHERS, *PROBLEMS) and not family:
            known = ", ".join([*CONTESTANTS, *PROBLEMS, *OTHERS])
            sys.exit(f"unknown benchmark {name!r}: some of {known} were expected")
        chosen += [name] if name in (*OTHERS, *PROBLEMS) else family
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="families, problems; all when none is given")
    parser.add_argument("--rounds", type=int, help="alternations (default: what each needs)")
    parser.add_argument("--quick", action="store_true", help="see that it runs; keep nothing")
    parser.add_argument("--tables", action="store_true", help="only render the tables again")
    given = parser.parse_args()
    if not given.tables:
        began = time.monotonic()
        for name in wanted(given.names or [*OTHERS, "gymnax", "gym", "brax"]):
            print(f"{name} …", flush=True)
            where, problem = machine(), PROBLEMS.get(name)
            if problem is None:
                found = OTHERS[name](1 if given.quick else given.rounds or 3, given.quick)
            else:
                rounds = 1 if given.quick else given.rounds or problem.rounds
                found = compete(problem, rounds, given.quick)
            if given.quick:
                continue
            record = {"measured": now(), "machine": where, "versions": versions(), **found}
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
        print(f"Measured in {(time.monotonic() - began) / 60:.1f} minutes.")
    if not given.quick:
        for path in tables.render(RESULTS, HERE.parent):
            print(f"Rendered: {path.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
