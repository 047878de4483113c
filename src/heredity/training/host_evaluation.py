"""Whole episodes in a host environment, scored, and the first of them recorded."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from heredity.common.errors import HeredityError, UsageError
from heredity.common.recording import Recording, how_it_ended
from heredity.common.streams import stream
from heredity.environments import (
    HostEnvironment,
    SeededEpisodes,
    evaluation_options,
    make,
)
from heredity.policies import ActorCritic
from heredity.policies.axes import UnreadColumns
from heredity.spaces import Space
from heredity.training import dead_units
from heredity.training.host_acting import NumpyActor
from heredity.training.legible import legible_in_numpy, legible_names
from heredity.training.pictures import Packer, frame_stride, last_moment
from heredity.weights import Params

log = logging.getLogger("heredity")

# Runs have seeds below 2**32, so that none of them plays the episodes of an evaluation.
EVALUATION_PURPOSE = zlib.crc32(b"evaluate/reset") << 32
DEATHS_IN_AN_EVALUATION = 20  # of processes, after which it is given up
EVALUATION_ENVIRONMENTS = 8  # that an evaluation plays side by side, at most


class Played(NamedTuple):
    """Episodes that were played.

    Args:
        returns: Undiscounted sum of rewards of each, (E,).
        lengths: Decisions of each, (E,).
        cut: How many had not ended when they were no longer watched.
        recording: The first one, if it was recorded.
        units: Dead units, and all units, of each hidden layer, if it was recorded.
    """

    returns: np.ndarray
    lengths: np.ndarray
    cut: int
    recording: Recording | None
    units: dict[str, tuple[int, int]]


class HostPlayer:
    """Plays whole episodes of policies in one host environment.

    Args:
        host: The environment; nobody trains in it.
        functions: Of the policies.
        act: From weights, observations, a key and the number of the decision, memories, and where
            an episode begins, to actions and memories; compiled.
        deterministic: Whether it takes the most likely actions.
        episodes: How many.
        max_steps: Decisions after which an episode is no longer watched.
        record: Whether to record the first episode.
    """

    def __init__(
        self,
        host: HostEnvironment,
        functions: ActorCritic,
        act: Callable[..., tuple[Any, Any]],
        *,
        deterministic: bool,
        episodes: int,
        max_steps: int,
        record: bool,
    ) -> None:
        self._host = host
        self._functions = functions
        self._act = act
        self._unread = UnreadColumns(functions)
        self._actor = NumpyActor(functions) if deterministic else None
        self._episodes = episodes
        self._max_steps = max_steps
        self._camera = Camera(host) if record else None
        self._is_known = False
        self._widen = jax.jit(self._widened)

    def _widened(
        self,
        ranges: dead_units.Ranges,
        params: Params,
        observation: Any,
        carry: Any,
        is_first: Any,
        counts: Any,
    ) -> dead_units.Ranges:
        outputs = self._functions.hidden_outputs(params, observation, carry, is_first)
        return dead_units.widened(ranges, outputs, counts)

    def play(self, params: Params, seed: int, record: bool) -> Played:
        """Play them; equal seeds give equal episodes for equal policies.

        Args:
            params: All weights.
            seed: Decides first states and draws.
            record: Whether to record the first one.

        Raises:
            HeredityError: when processes of the environment die again and again.
        """
        host = self._host
        # Looked at once: a reward that is not finite later on is an evaluation's result.
        episodes = SeededEpisodes(host, EVALUATION_PURPOSE | seed, is_known=self._is_known)
        self._is_known = True
        # Every environment plays the same number of episodes (one more or less), or short ones
        # would be counted more often than long ones.
        quota = np.full(host.num_envs, self._episodes // host.num_envs)
        quota[: self._episodes % host.num_envs] += 1
        returns: list[list[float]] = [[] for _ in range(host.num_envs)]
        lengths: list[list[int]] = [[] for _ in range(host.num_envs)]
        recorder = self._recorder(self._camera) if self._camera and record else None
        key = stream(seed, "evaluate/action")
        if self._actor:
            self._actor.begin(params)
        filled = self._unread.in_numpy(params)
        params = jax.device_put(self._functions.acting(params))
        restarts = host.restarts
        observation, t, cut = episodes.start(), 0, 0
        carry = self._functions.initial_carry((host.num_envs,), acting=True)
        ranges: dead_units.Ranges = {}
        if recorder:
            recorder.see(observation)
            ranges = dead_units.no_ranges(self._functions, params, observation, carry)
        while any(len(done) < wanted for done, wanted in zip(returns, quota, strict=True)):
            is_first = episodes.episode_lengths == 0 if carry else None
            seen = filled(observation)
            if recorder:
                counts = np.array([len(n) < q for n, q in zip(returns, quota, strict=True)])
                ranges = self._widen(ranges, params, seen, carry, is_first, counts)
            action = self._actor.act(seen) if self._actor else None
            if action is None:
                action, carry = self._act(params, seen, key, np.uint32(t), carry, is_first)
            result = episodes.step(np.asarray(action))
            t += 1
            over_long = episodes.episode_lengths >= self._max_steps
            ended = result.terminated | result.truncated | over_long
            # What was cut off because its process died says nothing: another episode is played.
            if host.restarts - restarts > DEATHS_IN_AN_EVALUATION:
                raise HeredityError(
                    f"{host.restarts - restarts} processes of the environment died in one "
                    "evaluation: something in it makes them; see what they printed"
                )
            lost = np.zeros_like(ended) if result.lost is None else result.lost
            observation = result.observation
            if recorder:
                over = bool(ended[0])
                recorder.after(float(result.earned[0]), observation, over)
                if over and not lost[0]:
                    natural = bool((result.terminated | result.truncated)[0])
                    recorder.stop(how_it_ended(bool(result.terminated[0]), natural))
            if not ended.any():
                continue
            for index in np.flatnonzero(ended).tolist():
                if len(returns[index]) < quota[index] and not lost[index]:
                    returns[index].append(float(episodes.episode_returns[index]))
                    lengths[index].append(int(episodes.episode_lengths[index]))
                    cut += bool(over_long[index] & ~(result.terminated | result.truncated)[index])
            observation = episodes.reset_finished(ended)
            if self._camera and recorder and lost[0] and recorder.is_on:
                recorder = self._recorder(self._camera)
                recorder.see(observation)
        return Played(
            returns=np.array([value for done in returns for value in done], np.float64),
            lengths=np.array([value for done in lengths for value in done], np.int64),
            cut=cut,
            recording=recorder.recording() if recorder else None,
            units=dead_units.counted(ranges),
        )

    def _recorder(self, camera: Camera) -> HostRecorder:
        return HostRecorder(self._functions.spec.acting_space, self._host.step_seconds, camera)


class Camera:
    """Draws environment 0 of a host environment, until that fails.

    Args:
        host: The environment.

    Attributes:
        works: Whether it never failed.
    """

    def __init__(self, host: HostEnvironment) -> None:
        self._host = host
        self.works = True

    def take(self, packer: Packer) -> bytes | None:
        """A picture of this moment, packed; None where there is nothing to see."""
        try:
            picture = self._host.render()
            return None if picture is None else packer.pack(picture)
        except Exception as error:
            # Drawing needs libraries, a display, drivers, and fails in any way it likes. Training
            # is worth more than its pictures; what went wrong is told, once.
            self.works = False
            told = f"{type(error).__name__}: {error}".removesuffix(": ")
            if "pygame" in told:
                told += "; pip install 'heredity[classic-control]'"
            log.warning("snapshots will show observations only: drawing failed with %s", told)
            return None


class HostRecorder:
    """Records environment 0 until its first episode ends.

    Args:
        space: Of the observations that are kept.
        step_seconds: Time between two decisions.
        camera: Takes the pictures.

    Attributes:
        is_on: Whether that episode is still going.
    """

    def __init__(self, space: Space, step_seconds: float, camera: Camera) -> None:
        self._space = space
        self._legible = legible_in_numpy(space)
        self._step_seconds = step_seconds
        self._camera = camera
        self.is_on = True
        self._end = ""
        self._rewards: list[float] = []
        self._observations: list[np.ndarray] = []
        self._frames: list[bytes] = []
        self._frame_steps: list[int] = []
        self._stride = frame_stride(step_seconds)
        self._last_drawn = last_moment(step_seconds)
        self._packer = Packer()

    def see(self, observation: Any, last: bool = False) -> None:
        """Take in the moment that is now; the last one is drawn in any case."""
        first = jax.tree.map(lambda leaf: np.asarray(leaf)[0], observation)
        self._observations.append(self._legible(first))
        moment = len(self._rewards)
        due = moment % self._stride == 0 or last
        if self._camera.works and due and moment <= self._last_drawn:
            self._draw(moment)

    def _draw(self, moment: int) -> None:
        picture = self._camera.take(self._packer)
        if picture is not None:
            self._frames.append(picture)
            self._frame_steps.append(moment)
        if not self._camera.works:
            self._frames.clear()
            self._frame_steps.clear()

    def after(self, reward: float, observation: Any, last: bool) -> None:
        """Take in what a decision led to, before any reset."""
        if self.is_on:
            self._rewards.append(reward)
            self.see(observation, last)

    def stop(self, end: str) -> None:
        """The first episode is over; later ones are not recorded."""
        if self.is_on:
            self.is_on, self._end = False, end

    def recording(self) -> Recording:
        """What was taken in so far."""
        return Recording(
            rewards=np.array(self._rewards, np.float32),
            step_seconds=self._step_seconds,
            frames=tuple(self._frames),
            frame_steps=tuple(self._frame_steps),
            observations=np.stack(self._observations),
            columns=legible_names(self._space),
            end=self._end,
        )


def evaluation_copy(environment: HostEnvironment, episodes: int, draw: bool) -> HostEnvironment:
    """A host environment of the same kind with `evaluation_options`.

    Args:
        environment: The one trained in.
        episodes: How many will be played.
        draw: Whether it should draw pictures, if that kind can.
    """
    if environment.spec is None:
        raise UsageError(
            "the environment has no id, so no second one can be made for evaluation: "
            "set evaluation_episodes=0"
        )
    options = evaluation_options(environment.spec.id, environment.spec.options)
    if draw and "render" in options:
        options["render"] = True
    copies = min(episodes, EVALUATION_ENVIRONMENTS)
    copy = make(environment.spec.id, num_envs=copies, **options)
    assert isinstance(copy, HostEnvironment)
    return copy
