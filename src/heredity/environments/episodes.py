"""Exact resume for host environments: every episode from a seed, its actions remembered.

A host environment cannot be saved, but it can be led back: reset with the same seed, the same
actions again. Whether that led to the same place is checked by a hash of what is seen there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from heredity.common.errors import RefusedError
from heredity.environments.checks import called, check_first_observations, check_first_step
from heredity.environments.contract import HostEnvironment, TimeStep
from heredity.environments.exits import exit_error, exits_told
from heredity.spaces import Box

_MASK = (1 << 64) - 1
_SAVED = {
    "actions",
    "episode_indices",
    "episode_lengths",
    "episode_returns",
    "observation_sha256",
    "seed",
}


class Exactness(NamedTuple):
    """Whether a restored environment goes on exactly where it was.

    Args:
        exact: Whether it does.
        reason: Why not; empty when it does.
    """

    exact: bool
    reason: str


def episode_seed(seed: int, environment: int, episode: int) -> int:
    """The seed that an episode is reset with; a part of the file format, so it never changes.

    The three numbers go one after the other through the finaliser of SplitMix64 (Steele, Lea,
    Flood 2014); the upper 31 bits are taken, because some simulators take a signed int.

    Args:
        seed: Of the run; taken modulo 2^64.
        environment: Index of the environment in the vector.
        episode: Index of the episode in that environment.

    Returns:
        A number in [0, 2^31).

    Example:
        >>> [episode_seed(0, 0, 0), episode_seed(0, 0, 1), episode_seed(0, 1, 0)]
        [297876190, 554620824, 1246311959]
    """
    state = 0
    for part in (seed, environment, episode):
        state = (state + (part & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 33


class SeededEpisodes:
    """A host environment whose episodes can be saved and led back to.

    Args:
        host: The environment.
        seed: Of the run; the seeds of all episodes follow from it by `episode_seed`.
        is_known: Whether this very environment has been looked at before.

    Raises:
        UsageError: from the first reset and the first step, when the environment gives something
            else than its spaces, or `TimeStep`, say.
        HeredityError: from any call, when the environment wants to end the program.

    Example:
        >>> from heredity.environments import make
        >>> episodes = SeededEpisodes(make("probe/always-terminated", 2, host=True), seed=3)
        >>> episodes.start().shape
        (2, 1)
        >>> step = episodes.step(np.zeros(2, np.int32))
        >>> episodes.restore(episodes.save())
        Exactness(exact=True, reason='')
    """

    def __init__(self, host: HostEnvironment, seed: int, is_known: bool = False) -> None:
        self.host = host
        self.seed = int(seed)
        self._observation: Any = None
        self._is_seen = self._is_seen_stepping = is_known
        space, count = host.action_space, host.num_envs
        dtype = space.dtype if isinstance(space, Box) else "int64"
        shape = np.shape(space.sample(np.random.default_rng(0)))
        self._indices = np.arange(count)
        self._episodes = np.zeros(count, np.int64)
        self._lengths = np.zeros(count, np.int64)
        self._at_most = 0  # decisions in a running episode; the exact number costs time
        self._returns = np.zeros(count, np.float64)
        self._actions = np.zeros((64, count, *shape), dtype)

    @property
    def observation(self) -> Any:
        """What is seen now, of every environment."""
        return self._observation

    @property
    def episode_returns(self) -> np.ndarray:
        """Own rewards summed since the running episodes began, shape (num_envs,), float64."""
        return self._returns.copy()

    @property
    def episode_lengths(self) -> np.ndarray:
        """Decisions since the running episodes began, shape (num_envs,), int64."""
        return self._lengths.copy()

    def start(self) -> Any:
        """Begin the first episode everywhere; return the first observations."""
        self._episodes[:] = 0
        return self._begin(np.ones(self.host.num_envs, bool))

    def step(self, actions: np.ndarray) -> TimeStep:
        """One decision in every environment, remembered. Resets nothing."""
        # A copy: what JAX hands out is read-only, and an environment may clip its action in place.
        actions = np.array(actions, self._actions.dtype)
        if self._at_most >= len(self._actions):
            self._at_most = int(self._lengths.max())
            if self._at_most >= len(self._actions):
                self._actions = np.concatenate([self._actions, np.zeros_like(self._actions)])
        self._at_most += 1
        self._actions[self._lengths, self._indices] = actions
        try:
            result = self.host.step(actions)
        except SystemExit as error:  # `exits_told` would cost time at each step
            raise exit_error(error, called(self.host), "step") from error
        if not self._is_seen_stepping:
            check_first_step(self.host, result)
            self._is_seen_stepping = True
        self._observation = result.observation
        self._lengths += 1
        self._returns += result.earned
        return result

    def reset_finished(self, mask: np.ndarray) -> Any:
        """Begin the next episode where `mask`; return the current observation of all."""
        mask = np.asarray(mask, bool)
        if mask.any():
            self._episodes[mask] += 1
            self._begin(mask)
        return self._observation

    def save(self) -> dict[str, np.ndarray]:
        """Everything needed to come back here; the same training gives the same arrays.

        To be called when every episode is running: after `reset_finished`, not before.
        """
        longest = int(self._lengths.max())
        actions = self._actions[:longest].copy()
        # Rows behind an episode's end are left over from longer ones before it.
        actions[np.arange(longest)[:, None] >= self._lengths] = 0
        return {
            "actions": actions,
            "episode_indices": self._episodes.copy(),
            "episode_lengths": self._lengths.copy(),
            "episode_returns": self._returns.copy(),
            "observation_sha256": self._hashes(),
            "seed": np.asarray(self.seed & _MASK, np.uint64),
        }

    def restore(self, saved: Mapping[str, np.ndarray]) -> Exactness:
        """Come back to where `save` was called, if this environment can.

        Resets and replays all environments in lockstep, each started so late that all arrive
        together; what an environment plays before its start is thrown away. If one does not
        arrive, all begin their next episodes instead.

        Returns:
            Whether it is exact; if not, which environment differs and in what.

        Raises:
            RefusedError: when `saved` is not what `save` gives.
        """
        self._check(saved)
        count, saved_count = self.host.num_envs, len(saved["episode_indices"])
        if saved_count != count:
            self.start()
            return Exactness(False, f"saved with {saved_count} environments, there are {count}")
        if int(saved["seed"]) != self.seed & _MASK:
            self.start()
            return Exactness(False, f"saved with seed {int(saved['seed'])}, it is {self.seed} now")
        # Replayed, what is unseeded may show what it showed before, with other chances ahead.
        problem = "" if self.host.unseeded else self._replay(saved)
        if problem or self.host.unseeded:
            self._episodes[:] = saved["episode_indices"] + 1
            self._begin(np.ones(count, bool))
            told = self.host.unseeded or f"{problem}; all episodes were restarted"
            return Exactness(False, told)
        return Exactness(True, "")

    def _replay(self, saved: Mapping[str, np.ndarray]) -> str:
        """Play the saved episodes again; what went wrong, or nothing."""
        actions = np.asarray(saved["actions"])
        lengths = np.asarray(saved["episode_lengths"])
        longest = len(actions)
        starts = longest - lengths
        self._episodes[:] = saved["episode_indices"]
        self._begin(np.ones(self.host.num_envs, bool))
        finished = np.zeros(self.host.num_envs, bool)
        filler = actions[0, int(lengths.argmax())] if longest else None
        for time in range(longest):
            playing = starts <= time
            # Begin what starts now, and throw-away episodes that ended.
            renew = (starts == time) & (time > 0) | finished & ~playing
            if renew.any():
                self._begin(renew)
            given = np.where(playing, time - starts, 0)
            row = actions[given, self._indices]
            row[~playing] = filler
            result = self.step(row)
            finished = np.asarray(result.terminated | result.truncated)
            early = finished & playing
            # Also at the very end: what is saved between two steps is running.
            if early.any():
                index = int(np.flatnonzero(early)[0])
                if result.lost is not None and result.lost[index]:
                    return f"the process of environment {index} died when its actions were replayed"
                return (
                    f"environment {index} ended its episode after {time - starts[index] + 1} "
                    f"steps when its actions were replayed, {lengths[index]} were played before"
                )
        unplayed = lengths == 0
        if unplayed.any() and longest:
            self._begin(unplayed)
        seen = np.any(self._hashes() != saved["observation_sha256"], axis=1)
        if seen.any():
            index = int(np.flatnonzero(seen)[0])
            return f"environment {index} shows another observation when its actions are replayed"
        earned = self._returns != saved["episode_returns"]
        if earned.any():
            index = int(np.flatnonzero(earned)[0])
            return f"environment {index} gives other rewards when its actions are replayed"
        return ""

    def _begin(self, mask: np.ndarray) -> Any:
        seeds = np.zeros(self.host.num_envs, np.int64)
        for index in np.flatnonzero(mask).tolist():
            seeds[index] = episode_seed(self.seed, index, int(self._episodes[index]))
        with exits_told(called(self.host), "reset"):
            self._observation = self.host.reset(seeds, mask)
        if not self._is_seen:
            check_first_observations(self.host, self._observation)
            self._is_seen = True
        self._lengths[mask] = 0
        self._returns[mask] = 0.0
        return self._observation

    def _hashes(self) -> np.ndarray:
        """SHA-256 of each environment's observation, shape (num_envs, 32), uint8."""
        rows = []
        for index in range(self.host.num_envs):
            digest = hashlib.sha256()
            _feed(digest, self._observation, index, "")
            rows.append(np.frombuffer(digest.digest(), np.uint8))
        return np.stack(rows)

    def _check(self, saved: Mapping[str, np.ndarray]) -> None:
        if set(saved) != _SAVED:
            raise RefusedError(
                "saved episodes", f"hold {sorted(saved)}, {sorted(_SAVED)} were expected"
            )
        actions, lengths = np.asarray(saved["actions"]), np.asarray(saved["episode_lengths"])
        if actions.ndim < 2 or actions.shape[2:] != self._actions.shape[2:]:
            raise RefusedError(
                "saved episodes",
                f"hold actions of shape {actions.shape[2:]}, the environment takes "
                f"{self._actions.shape[2:]}",
            )
        if len(actions) != lengths.max(initial=0) or lengths.min(initial=0) < 0:
            raise RefusedError(
                "saved episodes",
                f"hold {len(actions)} rows of actions for lengths {lengths.tolist()}",
            )


def _feed(digest: Any, observation: Any, index: int, path: str) -> None:
    if isinstance(observation, Mapping):
        for name in sorted(observation):
            _feed(digest, observation[name], index, f"{path}/{name}")
        return
    array = np.ascontiguousarray(np.asarray(observation)[index])
    digest.update(f"{path} {array.dtype.str} {array.shape}".encode())
    digest.update(array.tobytes())
