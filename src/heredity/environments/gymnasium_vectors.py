"""A vector of Gymnasium environments: a lean loop in this process, or in several.

The loop is our own because `SyncVectorEnv` costs much beside a step as cheap as CartPole's (infos
merged key by key, spaces iterated, observations copied twice), and `AsyncVectorEnv` sends every
number through a pipe; see `SyncEnvironment` and `AsyncEnvironment`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TimeLimit

from heredity.common.errors import UsageError
from heredity.environments.batching import Batch, batch_for
from heredity.environments.checks import tell_out_of_bounds
from heredity.environments.contract import HostEnvironment, TimeStep
from heredity.environments.exits import exits_told
from heredity.environments.gymnasium_checks import check_alike, check_declared, declared
from heredity.environments.infos import stacked
from heredity.environments.room import bytes_of, check_room
from heredity.environments.stepping import MISFITS, Stepper
from heredity.environments.vectors import VectorOptions
from heredity.environments.worker_process import Maker
from heredity.environments.workers import WorkerVector
from heredity.spaces import Box, Discrete, MultiDiscrete, Space, from_gymnasium

log = logging.getLogger("heredity")


def make_vector(
    id: str,
    maker: Callable[[bool], Callable[[], gym.Env[Any, Any]]],
    num_envs: int,
    options: VectorOptions,
) -> GymEnvironment:
    """A vector of Gymnasium environments, in this process or in workers.

    Args:
        id: What it is called in errors and warnings.
        maker: Gives what makes one of them, able to draw or not; it has to survive pickling.
        num_envs: How many.
        options: Where they run, and whether environment 0 draws; where it cannot, that is told and
            nothing is drawn.
    """
    problem = _why_it_cannot_draw(id, maker) if options.render else ""
    render = options.render and not problem
    makers = [maker(render and index == 0) for index in range(num_envs)]
    env = (
        AsyncEnvironment(makers, options.workers, options.worker_timeout, id)
        if options.vectorization == "async"
        else SyncEnvironment(makers, id)
    )
    if problem:
        # Told only here: what cannot be made without drawing either has failed for another reason.
        log.warning(
            "%s cannot be drawn here, snapshots will show observations only: %s", id, problem
        )
    return env


def _why_it_cannot_draw(id: str, maker: Callable[[bool], Maker]) -> str:
    """Try it on one that is thrown away; empty when there is a picture.

    Drawing fails in any way it likes (a missing library, no display, no OpenGL driver), and in
    any place: when the environment is made, reset or drawn.
    """
    with exits_told(id, "__init__"):
        plain = maker(False)()
    modes = plain.metadata.get("render_modes") or []
    plain.close()
    if "rgb_array" not in modes:
        # Gymnasium would only warn, and draw as it likes or not at all.
        return f"it has no render mode 'rgb_array' (metadata['render_modes'] is {modes})"
    try:
        with exits_told("it", "a trial"):
            env = maker(True)()
            try:
                env.reset(seed=0)
                env.render()
            finally:
                env.close()
    except Exception as error:
        told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if "pygame" in told:
            told += "; pip install 'heredity[classic-control]'"
        return told
    return ""


class GymEnvironment(HostEnvironment):
    """What both kinds of vector share: spaces, actions as the environments want them, time limits.

    Every call returns fresh arrays, so callers may keep them.

    Args:
        sample: One of the environments.
        num_envs: How many there are.
        id: What they are called; their class when empty.
    """

    def __init__(self, sample: gym.Env[Any, Any], num_envs: int, id: str) -> None:
        self.num_envs = num_envs
        self._id = id or type(sample.unwrapped).__name__
        self._is_seen = False
        check_declared(sample, self._id)
        self.observation_space = from_gymnasium(sample.observation_space)
        self.action_space = from_gymnasium(sample.action_space)
        _check_actions(self.action_space, sample)
        self.max_episode_steps = _time_limit(sample)
        self.step_seconds = _step_seconds(sample)
        check_room(
            num_envs * bytes_of(self.observation_space),
            f"{self._id}: the observations of {num_envs} environments",
            "wrap the environment so that it shows less, or make fewer of them",
        )
        self._batch: Batch = batch_for(sample.observation_space, num_envs)
        self._action_dtype = sample.action_space.dtype
        self._time = 0  # steps of the vector so far
        self._begun = np.zeros(num_envs, np.int64)  # when the episodes began
        self._nobody = np.zeros(num_envs, bool)
        self._next_limit: float = self.max_episode_steps or math.inf  # nobody reaches it before

    def _seen_at_reset(self, observation: Any) -> Any:
        """The same; with the first ones, whether they lie within their bounds is looked at."""
        if not self._is_seen:
            self._is_seen = True
            tell_out_of_bounds(self.observation_space, observation, self._id)
        return observation

    def _cut_off(self, truncated: np.ndarray) -> np.ndarray:
        """One step later: who is truncated, by itself or by the limit."""
        self._time += 1
        if self._time < self._next_limit:
            return truncated
        assert self.max_episode_steps is not None
        self._next_limit = int(self._begun.min()) + self.max_episode_steps
        return truncated | (self._time - self._begun >= self.max_episode_steps)


class SyncEnvironment(GymEnvironment):
    """Gymnasium environments stepped one after the other in this process.

    Args:
        makers: Make the environments; the first is the one that draws.
        id: What they are called in errors.

    Raises:
        UsageError: when they declare no spaces, or unlike ones; also later, when one of them gives
            something else than they say.
        HeredityError: when one of them wants to end the program; also later.
        Exception: whatever an environment raises.
    """

    def __init__(self, makers: list[Maker], id: str = "") -> None:
        with exits_told(id or "an environment", "__init__"):
            envs = [maker() for maker in makers]
        super().__init__(envs[0], len(envs), id)
        check_alike(envs, declared(envs[0]), self._id)
        self._draws = envs[0].render_mode is not None
        self._stepper = Stepper(envs, self._batch, id=self._id)

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> Any:
        self._batch.begin(keep=True)
        for index in np.flatnonzero(mask).tolist():
            self._stepper.reset(index, int(seeds[index]))
        self._begun[mask] = self._time
        return self._seen_at_reset(self._batch.value)

    def step(self, actions: np.ndarray) -> TimeStep:
        batch = self._batch
        batch.begin()
        rewards, ended, cut, infos = self._stepper.step(np.asarray(actions, self._action_dtype))
        try:
            terminated, truncated = self._nobody.copy(), self._nobody.copy()
            if any(cut):
                truncated[:] = cut
            if has_ended := any(ended):
                terminated[:] = ended
            info = stacked(infos) if any(infos) else {}
            rewarded = np.empty(self.num_envs, np.float32)
            rewarded[:] = rewards
        except MISFITS:
            self._stepper.explain()
            raise
        truncated = self._cut_off(truncated)
        if has_ended:
            truncated &= ~terminated
        return TimeStep(batch.value, rewarded, terminated, truncated, info)

    def render(self) -> np.ndarray | None:
        return self._stepper.render() if self._draws else None

    def close(self) -> None:
        self._stepper.close()


class AsyncEnvironment(GymEnvironment):
    """Gymnasium environments in worker processes; a worker that dies is started again.

    The episodes that ran in it are truncated with the last observation known and reward 0
    (`TimeStep.lost`), and the others go on as if nothing had been.

    Processes come from a fork server, so a script that makes such an environment needs
    ``if __name__ == "__main__":`` around its work. They ignore SIGINT and SIGTERM, which the main
    process answers by saving; see `heredity.environments.workers`.

    Args:
        makers: Make the environments; the first is the one that draws.
        workers: How many processes; none for one each, but not more than there are cores.
        timeout: Seconds for an answer of a worker, after which it has died; None for ever.
        id: What they are called in errors.

    Raises:
        UsageError: as `SyncEnvironment`.
        HeredityError: when a process dies again and again, or an environment wants to end the
            program; also later, from any call.
        Exception: whatever an environment raises in its process.
    """

    def __init__(
        self,
        makers: list[Maker],
        workers: int | None = None,
        timeout: float | None = None,
        id: str = "",
    ) -> None:
        with exits_told(id or "an environment", "__init__"):
            sample = makers[0]()
        super().__init__(sample, len(makers), id)
        self._draws = sample.render_mode is not None
        sample.close()
        self._vector = WorkerVector(makers, sample, workers, timeout, self._id)
        arrays = self._vector.arrays
        self._batch.adopt(arrays)
        self._rewards, self._terminated = arrays["reward"], arrays["terminated"]
        self._truncated = arrays["truncated"]
        self._seen = self._batch.copy()

    @property
    def restarts(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many processes died and were started again so far."""
        return self._vector.restarts

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> Any:
        self._vector.reset(seeds, mask)
        self._begun[mask] = self._time
        return self._seen_at_reset(self._look())

    def step(self, actions: np.ndarray) -> TimeStep:
        self._vector.step(actions)
        reward, terminated = self._rewards.copy(), self._terminated.copy()
        lost = self._vector.lost.copy() if self._vector.any_lost else None
        truncated = self._truncated.copy()
        if lost is not None:
            reward[lost], terminated[lost], truncated[lost] = 0.0, False, True
        truncated = self._cut_off(truncated) & ~terminated
        info = self._vector.info()
        return TimeStep(self._look(), reward, terminated, truncated, info, lost)

    def _look(self) -> Any:
        """The observations; where an episode was lost, the last one known."""
        seen = self._batch.copy()
        if self._vector.any_lost:
            _put_back(seen, self._seen, self._vector.lost)
        self._seen = seen
        return seen

    def render(self) -> np.ndarray | None:
        return self._vector.render() if self._draws else None

    def close(self) -> None:
        self._vector.close()


def _put_back(seen: Any, before: Any, mask: np.ndarray) -> None:
    if isinstance(seen, dict):
        for name, part in seen.items():
            _put_back(part, before[name], mask)
    else:
        seen[mask] = before[mask]


def _time_limit(env: gym.Env[Any, Any]) -> int | None:
    while isinstance(env, gym.Wrapper):
        if isinstance(env, TimeLimit):
            return int(env._max_episode_steps)
        env = env.env
    return None


def _step_seconds(env: gym.Env[Any, Any]) -> float:
    seconds = getattr(env.unwrapped, "dt", None) or getattr(env.unwrapped, "tau", None)
    if isinstance(seconds, int | float) and seconds > 0:
        return float(seconds)
    rate = env.metadata.get("render_fps")
    return 1.0 / rate if rate else HostEnvironment.step_seconds


def _check_actions(space: Space, env: gym.Env[Any, Any]) -> None:
    flat = not isinstance(space, MultiDiscrete) or len(env.action_space.shape or ()) == 1
    if not flat or not isinstance(space, Box | Discrete | MultiDiscrete):
        raise UsageError(
            f"actions of {env} are a {type(space).__name__}: an array of numbers or choices was "
            "expected; flatten them with a wrapper"
        )
