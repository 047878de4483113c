"""What runners share that act in environments of the host: their episodes, and whole iterations."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from heredity.algorithms.contract import NUMBERS, Algorithm, AlgorithmState
from heredity.common.shared_files import SharedFile
from heredity.environments import Exactness, HostEnvironment, SeededEpisodes
from heredity.environments.contract import TimeStep
from heredity.environments.infos import InfoMeans
from heredity.training.metrics import LAST_VALUES
from heredity.training.runner_base import NONE_SHARED, BaseRunner, means

Trained = TypeVar("Trained", bound=Algorithm)
State = TypeVar("State", bound=AlgorithmState)


class Counted:
    """Sums over the episodes that ended."""

    def __init__(self) -> None:
        self.sums = {"episodes": 0.0, "episode_returns": 0.0, "episode_lengths": 0.0}

    def add(self, episodes: SeededEpisodes, result: TimeStep) -> np.ndarray:
        """Count the episodes that a step ended, but for those that were lost on the way.

        Returns:
            Where one ended, (num_envs,) bool.
        """
        ended = result.terminated | result.truncated
        if ended.any():
            whole = ended if result.lost is None else ended & ~result.lost
            self.sums["episodes"] += float(whole.sum())
            self.sums["episode_returns"] += float(episodes.episode_returns[whole].sum())
            self.sums["episode_lengths"] += float(episodes.episode_lengths[whole].sum())
        return ended


class HostBase(BaseRunner[Trained, State], abc.ABC):
    """Acts on the host, and learns on the device.

    Args:
        algorithm: What to run.
        environment: A vector of host environments, `num_envs` of the settings.
        seed: Of the run.
    """

    EPISODES = "episodes/"

    def __init__(self, algorithm: Trained, environment: HostEnvironment, seed: int) -> None:
        self._environment = environment
        super().__init__(algorithm)
        self.begin(seed)

    def begin(self, seed: int) -> None:
        """Start anew from fresh weights; nothing is compiled again."""
        self.constants, state = self._init(np.uint32(seed))
        self.state = self._begun(state)
        self._episodes = SeededEpisodes(self._environment, seed)
        self._observation: Any = None

    @abc.abstractmethod
    def _begun(self, state: State) -> State:
        """A fresh state with what belongs to the environments; they stand in files of their own."""

    @abc.abstractmethod
    def _iteration(self, told: InfoMeans) -> dict[str, float]:
        """Act and learn once; see `Algorithm.iteration` for what is given back.

        Args:
            told: Takes what the environments tell.
        """

    @abc.abstractmethod
    def _begun_anew(self) -> None:
        """All episodes began anew instead of going on: what was known of them is of none."""

    @property
    def restarts(self) -> int:
        """How often a process of the environment was started again."""
        return self._environment.restarts

    def _start(self) -> None:
        """Begin the first episodes, unless they have begun."""
        if self._observation is None:
            self._observation = self._episodes.start()

    def iterate(self, iterations: int) -> dict[str, float]:
        """Run whole iterations, each acting first and learning then."""
        self._start()
        sums: dict[str, float] = {}
        told = InfoMeans()
        made, finite = 0, True
        while made < iterations and finite:
            values = self._iteration(told)
            finite = bool(values["finite"])
            for name, value in values.items():
                sums[name] = value if name in LAST_VALUES else sums.get(name, 0.0) + value
            made += 1
        found = means({**sums, "iterations": made, "finite": finite})
        for name, (mean, numbers) in told.found().items():
            found[f"environment/{name}"] = mean
            found[f"{NUMBERS}environment/{name}"] = numbers
        return found

    def save(self) -> dict[str, np.ndarray]:
        """The state, and the seeds and actions of the running episodes."""
        self._start()
        episodes = {self.EPISODES + name: leaf for name, leaf in self._episodes.save().items()}
        return {**super().save(), **episodes}

    def load(
        self,
        policy: dict[str, np.ndarray],
        state: dict[str, np.ndarray],
        attempt: int | None,
        shared: Mapping[str, SharedFile] = NONE_SHARED,
    ) -> Exactness:
        """Go on from a saved state; the running episodes are replayed."""
        episodes = {n: leaf for n, leaf in state.items() if n.startswith(self.EPISODES)}
        rest = {name: leaf for name, leaf in state.items() if name not in episodes}
        self._load_state(policy, rest, attempt)
        exactness = self._episodes.restore(
            {name.removeprefix(self.EPISODES): leaf for name, leaf in episodes.items()}
        )
        self._observation = self._episodes.observation
        if not exactness.exact:
            self._begun_anew()
        return exactness
