"""Ours and the peers on one problem, in turn, several times over."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from problems import Problem
from processes import PEERS, Failed, called, script

# Scripts by the adapter of the problem's environment; ours first.
CONTESTANTS = {
    "brax": {"ours": "ppo_ours.py", "brax": "ppo_brax.py"},
    "gymnax": {"ours": "ppo_ours.py", "rejax": "ppo_rejax.py", "purejax": "ppo_purejax.py"},
    "gym": {"ours": "ppo_ours.py", "sb3": "ppo_sb3.py", "sbx": "ppo_sb3.py --sbx"},
}
# What is compared, of each run.
COMPARED = (
    "steps_per_second",
    "steps_per_cpu_second",
    "seconds",
    "cpu_seconds",
    "startup_seconds",
    "compile_seconds",
    "seconds_to_return",
    "peak_mib",
    "programs",
)
Run = Mapping[str, Any]


def compete(
    problem: Problem, rounds: int, quick: bool, patience: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """All who can, one after another, and the other way round in every second round.

    A peer that fails is told of under ``failed`` and takes no further part.

    Args:
        problem: To solve.
        rounds: How often.
        quick: Whether only to see that it runs.
        patience: How many times longer than usual a script may take.
        say: Is told each result.

    Raises:
        Failed: when ours fails.
    """
    scripts = CONTESTANTS[problem.environment.partition("/")[0]]
    entrants = [name for name in scripts if name == "ours" or PEERS]
    runs: dict[str, list[Run]] = {name: [] for name in entrants}
    failed: dict[str, str] = {}

    def run(name: str, number: int, environment: Mapping[str, str] | None = None) -> Run:
        arguments = [problem.name, "--seed", str(number), *(["--quick"] if quick else [])]
        command = script(scripts[name], *arguments)
        found = called(command, problem.limit * patience, environment)
        say(f"{name:8}{told(found)}")
        return found

    with tempfile.TemporaryDirectory() as kept:
        keep = {
            "JAX_COMPILATION_CACHE_DIR": kept,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        for number in range(rounds):
            for name in entrants if number % 2 == 0 else reversed(entrants):
                if name in failed:
                    continue
                try:
                    first_of_ours = name == "ours" and number == 0 and problem.start_again
                    runs[name].append(run(name, number, keep if first_of_ours else None))
                except Failed as error:
                    if name == "ours":
                        raise
                    failed[name] = str(error)
                    say(f"{name:8}FAILED: {error}")
        # What a second start of the same run costs, as the command line has it by default.
        again = run("ours", 0, keep) if problem.start_again else None
    whole = {name: found for name, found in runs.items() if name not in failed}
    return {
        "rounds": rounds,
        "peers_measured": bool(PEERS),
        "failed": failed,
        "contestants": {name: summary(found) for name, found in whole.items()},
        "ours_with_kept_programs": again and {name: again[name] for name in COMPARED},
        "ratios": {
            name: ratios(runs["ours"], found) for name, found in whole.items() if name != "ours"
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


def told(found: Run) -> str:
    """One line on what was just measured."""
    parts = f"{found['startup_seconds']:.1f} starting, {found['compile_seconds']:.1f} compiling"
    return (
        f"{found['steps_per_second']:>10,.0f} steps/s ({found['steps_per_cpu_second']:,.0f} by "
        f"CPU time); {found['seconds']:.1f} s in all, {parts}; "
        f"return {found['final_return']['mean']:.1f}; {found['peak_mib']:.0f} MiB"
    )


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Medians over the rounds; None for what not every round has."""
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


def ratios(ours: Sequence[Run], peer: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Ours by the peer's, of each round: the median and how far the rounds are apart."""
    found = {}
    for name in COMPARED:
        pairs = [(a[name], b[name]) for a, b in zip(ours, peer, strict=True)]
        if all(a is not None and b for a, b in pairs):
            each = sorted(a / b for a, b in pairs)
            found[name] = {"median": statistics.median(each), "low": each[0], "high": each[-1]}
    return found
