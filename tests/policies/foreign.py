"""The fixtures of other libraries' policies: how each is imported, and what it did."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from heredity.policies.importers import ImportOptions

ROOT = Path(__file__).parents[2]
FOREIGN = ROOT / "tests" / "fixtures" / "foreign"
sys.path.append(str(ROOT / "benchmarks" / "conformance"))
from foreign_common import pictures  # noqa: E402 - a script's neighbour

UNNAMED = ("unnamed",)
_RSL_RL = ImportOptions(
    activation="elu",
    action_bounds=(-math.inf, math.inf),
    observation_names=UNNAMED,
    critic="same",
)
_PICKLED = ImportOptions(activation="swish", normalizer="file", observation_names=UNNAMED)


@dataclasses.dataclass(frozen=True)
class Case:
    """One file of another library.

    Args:
        name: Of the folder.
        format: To import it as.
        options: What it does not say.
        file: Within the folder.
        steps: Environment steps that it says.
    """

    name: str
    format: str
    options: ImportOptions
    file: str
    steps: int = 0

    @property
    def folder(self) -> Path:
        return FOREIGN / self.name

    @property
    def path(self) -> Path:
        return self.folder / self.file

    def expected(self) -> tuple[Any, np.ndarray, np.ndarray | None]:
        """Observations, actions, and values where they were recorded."""
        found = np.load(self.folder / "expected.npz")
        seen: Any = {
            name.removeprefix("seen/"): found[name] for name in found.files if "seen/" in name
        }
        seen = seen.get("observation", seen) if seen else pictures((36, 40, 1))
        return seen, found["actions"], found["values"] if "values" in found.files else None


def _sb3(name: str, steps: int = 0) -> Case:
    normalizer = FOREIGN / name / "vecnormalize.pkl"
    told = str(normalizer) if normalizer.exists() else "none"
    options = ImportOptions(observation_names=UNNAMED, normalizer=told)
    if name in ("sb3_ppo_cnn", "sb3_a2c_choices"):  # no vectors, so no names
        options = dataclasses.replace(options, observation_names=None)
    return Case(name, "sb3", options, "model.zip", steps)


def _brax(name: str) -> Case:
    options = ImportOptions(observation_names=UNNAMED)
    return Case(name, "brax", options, "checkpoint/000000000100", 100)


CASES = (
    _sb3("sb3_ppo_discrete", 16),
    _sb3("sb3_ppo_box", 16),
    _sb3("sb3_ppo_default"),
    _sb3("sb3_a2c_choices", 20),
    _sb3("sb3_ppo_dict", 16),
    _sb3("sb3_ppo_cnn"),
    _sb3("sb3_sac"),
    _sb3("sb3_sac_normalized", 12),
    *(Case(f"rsl_rl_{major}", "rsl_rl", _RSL_RL, "model.pt") for major in (2, 3, 4, 5)),
    *(Case(f"rsl_rl_{major}_normalized", "rsl_rl", _RSL_RL, "model.pt") for major in (3, 4, 5)),
    Case("rsl_rl_2_normalized", "rsl_rl", dataclasses.replace(_RSL_RL, critic="drop"), "model.pt"),
    _brax("brax_ppo"),
    _brax("brax_ppo_plain"),
    _brax("brax_ppo_constant"),
    _brax("brax_ppo_dict"),
    _brax("brax_ppo_normal"),
    Case("brax_ppo_pickle", "brax", _PICKLED, "params.pkl"),
    Case("brax_ppo_arrays", "brax", _PICKLED, "params.pkl"),
    Case(
        "cleanrl_ppo",
        "cleanrl",
        ImportOptions(activation="tanh", normalizer="none", observation_names=UNNAMED),
        "agent.cleanrl_model",
    ),
    Case(
        "cleanrl_ppo_continuous",
        "cleanrl",
        ImportOptions(
            activation="tanh",
            normalizer=str(FOREIGN / "cleanrl_ppo_continuous" / "statistics.npz"),
            action_bounds=(-1, 1),
            observation_names=UNNAMED,
        ),
        "agent.cleanrl_model",
    ),
)
BY_NAME = {case.name: case for case in CASES}
