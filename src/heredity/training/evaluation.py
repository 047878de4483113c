"""Whole episodes of a policy, scored, and the first of them recorded."""

from __future__ import annotations

import dataclasses
import logging
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from heredity.common.errors import HeredityError, UsageError
from heredity.common.recording import Recording
from heredity.common.streams import stream
from heredity.environments import (
    Environment,
    HostEnvironment,
    JaxEnvironment,
    SeededEpisodes,
    make,
    own_rewards,
)
from heredity.networks.observations import features, leaf_spaces
from heredity.policies import ActorCritic, PolicySpec
from heredity.spaces import Box
from heredity.training.pictures import Packer, frame_stride, last_moment
from heredity.weights import Params

log = logging.getLogger("heredity")

# Runs have seeds below 2**32, so that none of them plays the episodes of an evaluation.
EVALUATION_PURPOSE = zlib.crc32(b"evaluate/reset") << 32
UNLIMITED_EPISODE = 10_000  # decisions after which an episode without a limit is no longer watched
BATCH = 128
DEATHS_IN_AN_EVALUATION = 20  # of processes, after which it is given up
EVALUATION_ENVIRONMENTS = 8  # host environments that an evaluation plays side by side, at most


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a policy reached.

    Args:
        returns: Undiscounted sum of rewards of each episode, (E,).
        lengths: Decisions of each episode, (E,).
        deterministic: Whether the most likely actions were taken.
        cut: How many episodes had not ended when they were no longer watched.
        recording: The first episode, if it was recorded.
    """

    returns: np.ndarray
    lengths: np.ndarray
    deterministic: bool
    cut: int = 0
    recording: Recording | None = None

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the returns; NaN when one of them is not finite."""
        return float(self.returns.std()) if self.is_finite else float("nan")

    @property
    def is_finite(self) -> bool:
        """Whether every return is a number: an environment can give rewards that are not."""
        return bool(np.isfinite(self.returns).all())

    @property
    def episodes(self) -> int:
        """How many episodes there were."""
        return len(self.returns)

    def score(self) -> dict[str, Any] | None:
        """The numbers that lineage and model card keep; None when they are not finite."""
        if not self.is_finite:
            return None
        return {"mean_return": self.mean, "std_return": self.std, "episodes": self.episodes}


class Evaluator:
    """Evaluates policies of one specification on one environment; compiled once.

    Args:
        spec: Of the policies.
        environment: Where; for a host environment, one of its own, not the one trained in.
        episodes: How many episodes.
        deterministic: Whether to take the most likely actions.
        record: Whether to record the first episode.
        max_steps: Decisions after which an episode is no longer watched; default: the
            environment's own limit, or 10,000.
    """

    def __init__(
        self,
        spec: PolicySpec,
        environment: Environment,
        episodes: int,
        *,
        deterministic: bool = True,
        record: bool = False,
        max_steps: int | None = None,
    ) -> None:
        if episodes < 1:
            raise UsageError(f"episodes {episodes}: a whole number >= 1 was expected")
        self._functions = ActorCritic(spec)
        self._environment = environment = own_rewards(environment)
        self._episodes = episodes
        self._deterministic = deterministic
        self._record = record
        self._max_steps = max_steps or environment.max_episode_steps or UNLIMITED_EPISODE
        self._columns = _columns(spec)
        self._drawing = True
        if isinstance(environment, JaxEnvironment):
            self._scene = environment.scene() if record else None
            self._play = jax.jit(self._play_batch)
        else:
            self._act = jax.jit(self._actions)

    @property
    def restarts(self) -> int:
        """How often a process of the environment was started again; see `HostEnvironment`."""
        environment = self._environment
        return environment.restarts if isinstance(environment, HostEnvironment) else 0

    def evaluate(self, params: Params, seed: int = 0) -> Evaluation:
        """Play the episodes; equal seeds give equal episodes for equal policies.

        Args:
            params: Weights of the specification.
            seed: Decides first states and, if not deterministic, actions; 32 bits. A run of the
                same seed is trained on other episodes.

        Raises:
            UsageError: for a seed that is no whole number of 32 bits.
        """
        if not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise UsageError(f"seed {seed!r}: a whole number from 0 to 2**32 - 1 was expected")
        if isinstance(self._environment, JaxEnvironment):
            return self._evaluate_jax(params, seed)
        return self._evaluate_host(self._environment, params, seed)

    def _actions(
        self, params: Params, observation: Any, key: jax.Array, carry: Any, is_first: Any
    ) -> tuple[jax.Array, Any]:
        functions = self._functions
        seen = functions.preprocess(params, observation, functions.spec.acting_space)
        parameters, carry = functions.parameters(params, seen, carry, is_first=is_first)
        family = functions.family
        raw = family.mode(parameters) if self._deterministic else family.sample(parameters, key)
        return family.to_action(raw), carry

    # --- JAX environments -------------------------------------------------------------------------

    def _evaluate_jax(self, params: Params, seed: int) -> Evaluation:
        size = min(self._episodes, BATCH)
        returns, lengths, alive, recording = [], [], [], None
        for batch in range(-(-self._episodes // size)):
            out = jax.device_get(self._play(params, np.uint32(seed), np.uint32(batch)))
            returns.append(out["returns"])
            lengths.append(out["lengths"])
            alive.append(out["alive"])
            if batch == 0 and self._record:
                recording = self._recording(out)
        chosen = slice(self._episodes)
        return Evaluation(
            returns=np.concatenate(returns)[chosen].astype(np.float64),
            lengths=np.concatenate(lengths)[chosen].astype(np.int64),
            deterministic=self._deterministic,
            cut=int(np.concatenate(alive)[chosen].sum()),
            recording=recording,
        )

    def _shown(self, state: Any, observation: Any) -> dict[str, jax.Array]:
        """What is recorded of one moment of environment 0."""
        first = jax.tree.map(lambda leaf: leaf[0], (state, observation))
        shown = {"observations": features(self._functions.spec.acting_space, first[1])}
        environment = self._environment
        if isinstance(environment, JaxEnvironment) and self._scene is not None:
            pose = environment.pose(first[0])
            if pose is not None:
                shown |= {"positions": pose.position, "rotations": pose.rotation}
        return shown

    def _play_batch(self, params: Params, seed: jax.Array, batch: jax.Array) -> dict[str, Any]:
        environment = self._environment
        assert isinstance(environment, JaxEnvironment)
        size = min(self._episodes, BATCH)
        reset_keys = jax.random.split(stream(seed, "evaluate/reset", batch), size)
        states, observation = jax.vmap(environment.reset)(reset_keys)
        action_key = stream(seed, "evaluate/action", batch)
        records = {}
        if self._record:
            shapes = jax.eval_shape(self._shown, states, observation)
            records = {
                name: jnp.zeros((self._max_steps + 1, *leaf.shape), leaf.dtype)
                for name, leaf in shapes.items()
            }
            shown = self._shown(states, observation)
            records = {name: records[name].at[0].set(shown[name]) for name in records}
            records |= {
                "rewards": jnp.zeros(self._max_steps, jnp.float32),
                "terminated": jnp.zeros((), bool),
            }

        def go_on(carry: tuple) -> jax.Array:
            t, _, _, alive, *_ = carry
            return (t < self._max_steps) & alive.any()

        def step(carry: tuple) -> tuple:
            t, states, observation, alive, returns, lengths, records, memory = carry
            # An episode is played from its start to its end: there is nothing to forget.
            key = jax.random.fold_in(action_key, t)
            action, memory = self._actions(params, observation, key, memory, None)
            states, result = environment.step_batch(states, action)
            reward = jnp.where(alive, result.reward.astype(jnp.float32), 0.0)
            if records:
                # The moment after the decision: the last one of the episode is how it ended, and
                # what comes after that is cut off.
                shown = self._shown(states, result.observation)
                records = (
                    records
                    | {n: records[n].at[t + 1].set(value) for n, value in shown.items()}
                    | {
                        "rewards": records["rewards"].at[t].set(reward[0]),
                        "terminated": records["terminated"] | (alive & result.terminated)[0],
                    }
                )
            returns, lengths = returns + reward, lengths + alive
            alive = alive & ~(result.terminated | result.truncated)
            return t + 1, states, result.observation, alive, returns, lengths, records, memory

        start = (
            jnp.int32(0),
            states,
            observation,
            jnp.ones(size, bool),
            jnp.zeros(size, jnp.float32),
            jnp.zeros(size, jnp.int32),
            records,
            self._functions.initial_carry((size,), acting=True),
        )
        *_, alive, returns, lengths, records, _ = jax.lax.while_loop(go_on, step, start)
        return {"returns": returns, "lengths": lengths, "alive": alive, "records": records}

    def _recording(self, out: dict[str, Any]) -> Recording:
        length = int(out["lengths"][0])
        records = dict(out["records"])
        terminated, rewards = bool(records.pop("terminated")), records.pop("rewards")
        records = {name: np.array(value[: length + 1]) for name, value in records.items()}
        return Recording(
            rewards=np.array(rewards[:length]),
            step_seconds=self._environment.step_seconds,
            scene=self._scene,
            positions=records.get("positions"),
            rotations=records.get("rotations"),
            observations=records["observations"],
            columns=self._columns,
            end=_end(terminated, not out["alive"][0]),
        )

    # --- host environments ------------------------------------------------------------------------

    def _evaluate_host(self, host: HostEnvironment, params: Params, seed: int) -> Evaluation:
        episodes = SeededEpisodes(host, EVALUATION_PURPOSE | seed)
        # Every environment plays the same number of episodes (one more or less), or short ones
        # would be counted more often than long ones.
        quota = np.full(host.num_envs, self._episodes // host.num_envs)
        quota[: self._episodes % host.num_envs] += 1
        returns: list[list[float]] = [[] for _ in range(host.num_envs)]
        lengths: list[list[int]] = [[] for _ in range(host.num_envs)]
        recorder = _HostRecorder(host, self) if self._record else None
        key = stream(seed, "evaluate/action")
        params = jax.device_put(params)
        restarts = host.restarts
        observation, t, cut = episodes.start(), 0, 0
        carry = self._functions.initial_carry((host.num_envs,), acting=True)
        if recorder:
            recorder.see(observation)
        while any(len(done) < wanted for done, wanted in zip(returns, quota, strict=True)):
            is_first = episodes.episode_lengths == 0 if carry else None
            draw = jax.random.fold_in(key, t)
            action, carry = self._act(params, observation, draw, carry, is_first)
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
                recorder.after(float(result.reward[0]), observation, over)
                if over and not lost[0]:
                    natural = bool((result.terminated | result.truncated)[0])
                    recorder.stop(_end(bool(result.terminated[0]), natural))
            if not ended.any():
                continue
            for index in np.flatnonzero(ended).tolist():
                if len(returns[index]) < quota[index] and not lost[index]:
                    returns[index].append(float(episodes.episode_returns[index]))
                    lengths[index].append(int(episodes.episode_lengths[index]))
                    cut += bool(over_long[index] & ~(result.terminated | result.truncated)[index])
            observation = episodes.reset_finished(ended)
            if recorder and lost[0] and recorder.is_on:
                recorder = _HostRecorder(host, self)
                recorder.see(observation)
        return Evaluation(
            returns=np.array([value for done in returns for value in done], np.float64),
            lengths=np.array([value for done in lengths for value in done], np.int64),
            deterministic=self._deterministic,
            cut=cut,
            recording=recorder.recording() if recorder else None,
        )


def _end(terminated: bool, ended: bool) -> str:
    """How a recorded episode ended, in a recording's words."""
    return "terminated" if terminated else "truncated" if ended else "cut"


class _HostRecorder:
    """Records environment 0 until its first episode ends."""

    def __init__(self, host: HostEnvironment, evaluator: Evaluator) -> None:
        self._host = host
        self._evaluator = evaluator
        self._space = evaluator._functions.spec.acting_space
        self._columns = evaluator._columns
        self.is_on = True
        self._end = ""
        self._rewards: list[float] = []
        self._observations: list[np.ndarray] = []
        self._frames: list[bytes] = []
        self._frame_steps: list[int] = []
        self._stride = frame_stride(host.step_seconds)
        self._last_drawn = last_moment(host.step_seconds)
        self._packer = Packer()

    def see(self, observation: Any, last: bool = False) -> None:
        """Take in the moment that is now; the last one is drawn in any case."""
        first = jax.tree.map(lambda leaf: np.asarray(leaf)[0], observation)
        self._observations.append(np.asarray(features(self._space, first)))
        moment = len(self._rewards)
        due = moment % self._stride == 0 or last
        if self._evaluator._drawing and due and moment <= self._last_drawn:
            self._draw(moment)

    def _draw(self, moment: int) -> None:
        try:
            picture = self._host.render()
            if picture is not None:
                self._frames.append(self._packer.pack(picture))
                self._frame_steps.append(moment)
        except Exception as error:
            # Drawing needs libraries, a display, drivers, and fails in any way it likes. Training
            # is worth more than its pictures; what went wrong is told, once.
            self._evaluator._drawing = False
            self._frames.clear()
            self._frame_steps.clear()
            told = f"{type(error).__name__}: {error}".removesuffix(": ")
            if "pygame" in told:
                told += "; pip install 'heredity[classic-control]'"
            log.warning("snapshots will show observations only: drawing failed with %s", told)

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
        return Recording(
            rewards=np.array(self._rewards, np.float32),
            step_seconds=self._host.step_seconds,
            frames=tuple(self._frames),
            frame_steps=tuple(self._frame_steps),
            observations=np.stack(self._observations),
            columns=self._columns,
            end=self._end,
        )


def _columns(spec: PolicySpec) -> tuple[str, ...]:
    """Names of the flattened observation's columns, where every leaf has names."""
    names: list[str] = []
    for leaf in leaf_spaces(spec.acting_space).values():
        if not isinstance(leaf, Box) or not leaf.names or len(leaf.shape) != 1:
            return ()
        names += leaf.names
    return tuple(names)


def evaluation_copy(environment: HostEnvironment, episodes: int, draw: bool) -> HostEnvironment:
    """A host environment of the same kind, for evaluating.

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
    options = dict(environment.spec.options)
    if draw and "render" in options:
        options["render"] = True
    copies = min(episodes, EVALUATION_ENVIRONMENTS)
    copy = make(environment.spec.id, num_envs=copies, **options)
    assert isinstance(copy, HostEnvironment)
    return copy
