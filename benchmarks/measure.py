"""How one run is measured, the same for everybody. Needs nothing but Python.

A script imports this first of all, so that the clock sees its imports. The clock stands still while
a policy is evaluated.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import itertools
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from problems import PROBLEMS, Problem

BEGAN, CPU_BEGAN = time.perf_counter(), time.process_time()


def chosen() -> tuple[Problem, int]:
    """The problem and the seed that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("problem", choices=PROBLEMS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="only see that everything runs")
    given = parser.parse_args()
    problem = PROBLEMS[given.problem]
    return problem.quick() if given.quick else problem, given.seed


EVALUATED_AGENTS = 8  # of several that are trained in one program, at most


def evaluated(play: Callable[[Any, int], Any], params: Any, seed: int, agents: int | None) -> Any:
    """Returns of an evaluation: of the one agent, or of the first few of several together.

    Args:
        play: From weights and a seed to returns.
        params: Weights; of several agents, with a leading axis.
        seed: Of the first agent's episodes.
        agents: How many there are; None for one without a leading axis.
    """
    if agents is None:
        return play(params, seed)
    import jax
    import numpy as np

    chosen = range(min(agents, EVALUATED_AGENTS))
    one = [jax.tree.map(lambda leaf, index=index: leaf[index], params) for index in chosen]
    return np.concatenate([play(weights, seed + index) for index, weights in enumerate(one)])


def packages_of(problem: Problem) -> list[str]:
    """What everybody's numbers on this problem depend on."""
    of_environments = {
        "brax": ["brax", "mujoco", "mujoco-mjx"],
        "gymnax": ["gymnax"],
        "gym": ["gymnasium", *(["mujoco"] if "HalfCheetah" in problem.environment else [])],
    }
    adapter = problem.environment.partition("/")[0]
    return ["jax", "jaxlib", "flax", "optax", "numpy", *of_environments[adapter]]


class Clock:
    """What a run reached, when, and how good it was; evaluations take no time.

    To be told: `learning` when everything is imported and built; `mark` after each chunk, then
    `scored` after an evaluation made inside ``with stopped()``; `report` at the end.
    """

    def __init__(self) -> None:
        self._away, self._cpu_away = 0.0, 0.0
        self._stopped = False
        self.programs: int | None = None
        jax = sys.modules.get("jax")
        if jax is not None:
            self.programs = 0
            jax.monitoring.register_event_duration_secs_listener(self._note)
        self.startup_seconds = 0.0
        self.compile_seconds: float | None = None
        self.marks: list[tuple[int, float, float]] = []
        self.scores: list[tuple[int, float, float, float]] = []
        self.peak_mib = 0.0

    def now(self) -> tuple[float, float]:
        """Seconds, and processor seconds of all threads, since the script began."""
        seconds = time.perf_counter() - BEGAN - self._away
        return seconds, time.process_time() - CPU_BEGAN - self._cpu_away

    def _note(self, event: str, seconds: float, **_: object) -> None:
        """Count programs, as JAX tells of them."""
        if event == "/jax/core/compile/backend_compile_duration" and not self._stopped:
            assert self.programs is not None
            self.programs += 1

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """What is done inside takes no time and compiles nothing."""
        if not self.peak_mib:
            # Before anything is evaluated, with environments of its own.
            self.peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds, cpu_seconds = self.now()
        self._stopped = True
        yield
        self._stopped = False
        later, cpu_later = self.now()
        self._away += later - seconds
        self._cpu_away += cpu_later - cpu_seconds

    def learning(self) -> None:
        """Everything is imported and built; from here on it is compiled and learnt."""
        self.startup_seconds = self.now()[0]

    def compiled(self) -> None:
        """Compilation, where it is a step of its own, is over."""
        self.compile_seconds = self.now()[0] - self.startup_seconds

    def mark(self, steps: int) -> None:
        """So many steps were made, of all agents together."""
        self.marks.append((steps, *self.now()))

    def scored(self, mean: float, deviation: float) -> None:
        """How good the policy is at the last mark; of several agents, the mean of some."""
        steps, seconds, _ = self.marks[-1]
        self.scores.append((steps, seconds, float(mean), float(deviation)))

    def _steady_rate(self, column: int) -> float:
        """Steps a second, the median over the chunks after the second: both of them may compile."""
        pairs = itertools.pairwise(self.marks[1:])
        return statistics.median((b[0] - a[0]) / (b[column] - a[column]) for a, b in pairs)

    def report(
        self, problem: Problem, library: str, packages: Sequence[str], differences: Sequence[str]
    ) -> None:
        """Print what was measured as one line of JSON, the last one of the script.

        Args:
            problem: That was solved.
            library: Who solved it.
            packages: Whose versions matter.
            differences: In what it is not what ours does.
        """
        steps, seconds, cpu_seconds = self.marks[-1]
        rate = self._steady_rate(1)
        if self.compile_seconds is None:
            # Whatever learning at the steady rate would not have taken.
            self.compile_seconds = max(seconds - self.startup_seconds - steps / rate, 0.0)
        found = {
            "library": library,
            "versions": {name: importlib.metadata.version(name) for name in packages},
            "problem": problem.name,
            "steps": steps,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "startup_seconds": self.startup_seconds,
            "compile_seconds": self.compile_seconds,
            "steps_per_second": rate,
            "steps_per_cpu_second": self._steady_rate(2),
            "peak_mib": self.peak_mib,
            "programs": self.programs,
            "seconds_to_return": next(
                (when for _, when, mean, _ in self.scores if mean >= problem.threshold), None
            ),
            "final_return": {"mean": self.scores[-1][2], "deviation": self.scores[-1][3]},
            "curve": [[steps, when, mean] for steps, when, mean, _ in self.scores],
            "differences": list(differences),
        }
        print(json.dumps(found), flush=True)
