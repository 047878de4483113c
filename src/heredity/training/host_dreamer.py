"""DreamerV3 in environments that live on the host: acting there, learning on the device."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from heredity.algorithms.contract import NUMBERS
from heredity.algorithms.dreamer.algorithm import Dreamer
from heredity.algorithms.dreamer.collect import Moment, acted
from heredity.algorithms.dreamer.host_replay import HostReplay
from heredity.algorithms.dreamer.replay import Place, Record, halved, packed
from heredity.algorithms.dreamer.state import DreamerState
from heredity.common import counters
from heredity.common.kept_memory import bound_memory
from heredity.common.shared_files import SharedFile
from heredity.environments import Exactness
from heredity.environments.infos import InfoMeans
from heredity.training.host_base import Counted, HostBase
from heredity.training.room import limit_on_host
from heredity.training.runner_base import NONE_SHARED
from heredity.weights import Params, all_finite, flatten, merge


class Standing(NamedTuple):
    """Where the environments are, beside what they show; axis 0 is E environments.

    Args:
        carry: Memory of the policy from the step before.
        reward: On arriving here, float32.
        is_first: Whether an episode begins.
    """

    carry: Any
    reward: Any
    is_first: Any


class Ready(NamedTuple):
    """Everything that decides the actions of an iteration.

    Args:
        parts: Weights, frozen and trained; at least those that decide actions.
        standing: Where the environments are.
        key: Decides what is drawn.
        version: How many gradient steps made the weights, uint32.
    """

    parts: tuple[Params, ...]
    standing: Standing
    key: jax.Array
    version: Any


class Acted(NamedTuple):
    """What became of an iteration's actions.

    Args:
        standing: Where the environments are then.
        records: How many there were.
        finite: Whether all that was seen and earned is.
        counted: The episodes that ended.
    """

    standing: Standing
    records: int
    finite: bool
    counted: Counted


Remember: TypeAlias = Callable[[Record, np.ndarray | None], None]


class DreamerHostRunner(HostBase[Dreamer, DreamerState]):
    """Acts and remembers on the host; each gradient step is one compiled call.

    While the device learns from a batch, the next one is read.
    """

    REPLAY = "replay/"
    SPILLS = True

    _folder: Path | None = None

    def _use(self, algorithm: Dreamer) -> None:
        super()._use(algorithm)
        self._act = jax.jit(self._act_step)
        self._cast = jax.jit(lambda parts: algorithm.functions.acting(merge(*parts)))
        shapes = algorithm.functions.shapes()
        cast, was = flatten(jax.eval_shape(algorithm.functions.acting, shapes)), flatten(shapes)
        # A copy, which learning does not overwrite, and which float32 does not need.
        self._casts = any(leaf.dtype != was[path].dtype for path, leaf in cast.items())
        self._tokens = jax.jit(
            lambda parts, seen: halved(algorithm.world.rssm.tokens(merge(*parts)["trunk"], seen))
        )
        self._key = jax.jit(lambda state: state.key("collect", state.iterations))
        self._learn = jax.jit(self._learn_step, donate_argnums=1, compiler_options=self._options)
        self._all_finite = jax.jit(all_finite)

    def _begun(self, state: DreamerState) -> DreamerState:
        algorithm = self.algorithm
        count = algorithm.config.num_envs
        carry = algorithm.functions.initial_carry((count,), acting=True)
        standing = Standing(carry, np.zeros(count, np.float32), np.ones(count, bool))
        one = algorithm.spec.observation_space.sample(np.random.default_rng(0))
        observation = jax.tree.map(lambda leaf: np.stack([leaf] * count), one)
        shapes = algorithm.functions.shapes()
        example = jax.eval_shape(
            lambda params, *now: acted(
                algorithm, params, _moment(*now), jax.random.key(0), np.uint32(0)
            )[1],
            shapes,
            observation,
            standing,
        )
        self._example = example
        self._replay = self._empty_replay()
        return dataclasses.replace(state, experience=standing)

    def _empty_replay(self) -> HostReplay:
        config = self.algorithm.config
        memory = limit_on_host(self.algorithm.room())
        rows = config.records_per_env
        return HostReplay(self._example, rows, memory, self._folder, config.mixture)

    def keep_in(self, folder: Path) -> None:
        """Before anything else: put what was recorded there, to be shared by checkpoints."""
        self._folder = folder
        del self._replay  # not two of them at once
        self._replay = self._empty_replay()

    def _begun_anew(self) -> None:
        count = self.algorithm.config.num_envs
        standing: Standing = self.state.experience
        anew = standing._replace(reward=np.zeros(count, np.float32), is_first=np.ones(count, bool))
        self.state = dataclasses.replace(self.state, experience=anew)

    # --- acting -----------------------------------------------------------------------------------

    def _act_step(
        self,
        parts: tuple[Params, ...],
        observation: Any,
        standing: Standing,
        key: jax.Array,
        t: np.ndarray,
        version: np.ndarray,
    ) -> tuple[Any, jax.Array, Record]:
        moment, key = _moment(observation, standing), jax.random.fold_in(key, t)
        carry, record, action = acted(self.algorithm, merge(*parts), moment, key, version)
        # What came from the host need not go back there.
        return carry, action, record._replace(observation=None)

    def _ready(self) -> Ready:
        """Everything that decides the next iteration's actions, as it is now."""
        state = self.state
        parts: tuple[Params, ...] = (self.constants, state.params)
        if self._casts:
            parts = (self._cast(parts),)
        return Ready(parts, state.experience, self._key(state), np.uint32(state.updates[1]))

    def act(self, ready: Ready, told: InfoMeans, remember: Remember) -> Acted:
        """Act for `num_steps`; of this runner nothing changes but its episodes.

        Args:
            ready: What decides the actions.
            told: Takes what the environments tell.
            remember: Takes each record, and of which environments it is, (E,) bool, or None for
                all. It must not keep the observation, which an environment may change.
        """
        parts, standing, key, version = ready
        counted, finite, records = Counted(), True, 0
        for t in range(self.algorithm.config.num_steps):
            observation, now = self._observation, (standing, key, np.uint32(t), version)
            carry, action, record = self._act(parts, observation, *now)
            action, record = jax.device_get((action, record))
            # Before the step: an environment may show the next observation in the same array.
            remember(record._replace(observation=observation), None)
            records += len(record.reward)
            result = self._episodes.step(action)
            if result.info:
                told.add(result.info)
            reward = np.asarray(result.reward, np.float32)
            observation = result.observation
            finite = finite and _finite(reward) and _finite(observation)
            ended = counted.add(self._episodes, result)
            if ended.any():
                last = record._replace(
                    observation=observation,
                    action=np.zeros_like(record.action),
                    reward=reward,
                    is_first=np.zeros_like(ended),
                    is_last=ended,
                    is_terminal=np.asarray(result.terminated),
                    tokens=self._tokens_of(parts, observation),
                )
                remember(last, ended)
                records += int(ended.sum())
                observation = self._episodes.reset_finished(ended)
                reward = np.where(ended, np.float32(0.0), reward)
            self._observation = observation
            standing = Standing(carry, reward, ended)
        return Acted(standing, records, finite, counted)

    def _tokens_of(self, parts: tuple[Params, ...], observation: Any) -> Any:
        """What the replay keeps of the encoder, for observations that no decision follows from."""
        if not self.algorithm.keeps_tokens:
            return ()
        return np.asarray(self._tokens(parts, observation))

    # --- learning ---------------------------------------------------------------------------------

    def _learn_step(
        self, constants: Params, state: DreamerState, records: Record
    ) -> tuple[DreamerState, tuple[jax.Array, ...], dict[str, jax.Array]]:
        algorithm = self.algorithm
        key = state.key("update", state.updates)
        batch, age = algorithm.batch(records), algorithm.policy_age(state, records)
        state, learnt, logged = algorithm.step_on(constants, state, batch, key)
        logged = {**logged, "policy_age": age}
        found = packed(learnt.states)
        if algorithm.config.mixture.priority:
            found = *found, algorithm.priorities(learnt)
        return state, found, logged

    def _draw(self, key: list[int], update: int) -> tuple[Place, Record]:
        """The batch of a gradient step, which follows from a key and its number."""
        config = self.algorithm.config
        chance = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, update]))
        place = self._replay.draw(chance, config.batch_size, config.sequence_length)
        return place, self._replay.read(place)

    def _owe(self, records: int) -> None:
        """Remember how many gradient steps are due now that there are so many more records."""
        owed = np.float32(0.0)
        if self._has_enough():
            ratio = np.float32(records * self.algorithm.config.gradient_steps_per_record)
            owed = np.float32(self.state.owed) + ratio
        self.state = dataclasses.replace(self.state, owed=jnp.float32(owed))

    def _has_enough(self) -> bool:
        """Whether there are as many sequences as a batch has moments."""
        config = self.algorithm.config
        return (
            self._replay.starts(config.sequence_length) >= config.batch_size * config.batch_length
        )

    def _due(self) -> int:
        """How many gradient steps are due, and are remembered no more."""
        owed = np.float32(self.state.owed)
        due = int(owed)
        self.state = dataclasses.replace(self.state, owed=jnp.float32(owed - due))
        return due

    def _iteration(self, told: InfoMeans) -> dict[str, float]:
        if self.algorithm.config.overlap:
            found, acted = self._overlapped(told)
            self._acted(acted)
        else:
            acted = self.act(self._ready(), told, self._replay.add)
            self._acted(acted)
            found = self.learn(self._due())
        return {**self._logged(found, acted.finite), **acted.counted.sums}

    @functools.cached_property
    def _beside(self) -> concurrent.futures.ThreadPoolExecutor:
        """The thread that acts while this one learns; one for all, as some environments need it."""
        return concurrent.futures.ThreadPoolExecutor(1, "heredity-acting")

    def _acted(self, acted: Acted) -> None:
        """Count what was done, and owe what is to be learnt of it."""
        self.state = dataclasses.replace(
            self.state,
            experience=acted.standing,
            steps=counters.add(self.state.steps, self.algorithm.steps_per_iteration),
            iterations=counters.add(self.state.iterations, 1),
        )
        self._owe(acted.records)

    def _overlapped(self, told: InfoMeans) -> tuple[list[dict[str, jax.Array]], Acted]:
        """Learn from what there is, and act meanwhile with the weights as they are now.

        Neither sees what the other does before both are done, so that their pace decides nothing.
        """
        new: list[tuple[Record, np.ndarray | None]] = []

        def remember(record: Record, which: np.ndarray | None) -> None:
            seen = jax.tree.map(np.array, record.observation)  # it may be changed by the next step
            new.append((record._replace(observation=seen), which))

        ready = self._ready()
        if not self._casts:
            # Learning overwrites its own; these are whole, and nobody else's.
            constants, trained = ready.parts
            ready = ready._replace(parts=(constants, jax.tree.map(jnp.copy, trained)))
        acting = self._beside.submit(self.act, ready, told, remember)
        try:
            found = self.learn(self._due())
        finally:
            concurrent.futures.wait([acting])
        acted = acting.result()
        for record, which in new:
            self._replay.add(record, which)
        return found, acted

    def learn(self, count: int) -> list[dict[str, jax.Array]]:
        """So many gradient steps; gives what each of them logged."""
        first = counters.to_int(self.state.updates)
        key = [int(self.state.seed), int(self.state.attempt)]
        standing = self.state.experience
        self.state = dataclasses.replace(self.state, experience=())
        found: list[dict[str, jax.Array]] = []
        following = self._draw(key, first) if count else None
        for update in range(first, first + count):
            assert following is not None
            place, batch = following
            self.state, learnt, logged = self._learn(self.constants, self.state, batch)
            found.append(logged)
            # Read while it is learnt from.
            following = self._draw(key, update + 1) if update + 1 < first + count else None
            later = place._replace(rows=place.rows[1:])
            self._replay.put_states(later, *jax.device_get(learnt))
            bound_memory()
        self.state = dataclasses.replace(self.state, experience=standing)
        return found

    def _logged(self, found: list[dict[str, jax.Array]], finite: bool) -> dict[str, float]:
        values: dict[str, float] = {}
        for logged in jax.device_get(found):
            for name, value in logged.items():
                values[f"train/{name}"] = values.get(f"train/{name}", 0.0) + float(value)
        # What is not finite would wait in the replay until it is drawn, in checkpoints as well.
        finite = finite and bool(np.isfinite(list(values.values())).all())
        return {
            **values,
            **{f"{NUMBERS}{name}": float(len(found)) for name in values},
            "train/gradient_steps": float(counters.to_int(self.state.updates)),
            "finite": float(finite and self._all_finite(self.state.params)),
        }

    # --- files ------------------------------------------------------------------------------------

    def save(self) -> dict[str, np.ndarray]:
        """The state, the running episodes, and of the replay what may change."""
        replay = {self.REPLAY + name: leaf for name, leaf in self._replay.save().items()}
        return {**super().save(), **replay}

    def shared(self) -> Mapping[str, SharedFile]:
        """Files of the records that do not change any more."""
        return self._replay.shared()

    def load(
        self,
        policy: dict[str, np.ndarray],
        state: dict[str, np.ndarray],
        attempt: int | None,
        shared: Mapping[str, SharedFile] = NONE_SHARED,
    ) -> Exactness:
        """Go on from a saved state; the running episodes are replayed."""
        replay = {n: leaf for n, leaf in state.items() if n.startswith(self.REPLAY)}
        rest = {name: leaf for name, leaf in state.items() if name not in replay}
        reasons = self._replay.load(
            {name.removeprefix(self.REPLAY): leaf for name, leaf in replay.items()},
            shared,
            "training_state/state.safetensors",
        )
        exactness = super().load(policy, rest, attempt)
        if not self._has_enough():  # records were lost
            self.state = dataclasses.replace(self.state, owed=jnp.float32(0.0))
        if exactness.reason:
            reasons.append(exactness.reason)
        return Exactness(not reasons, "; ".join(reasons))


def _finite(seen: Any) -> bool:
    """Whether numbers, or all of a dict of them, are finite."""
    if isinstance(seen, dict):
        return all(_finite(part) for part in seen.values())
    return seen.dtype.kind != "f" or bool(np.isfinite(seen).all())


def _moment(observation: Any, standing: Standing) -> Moment:
    """The moment that acting looks at; episodes that ended are over already."""
    none = jnp.zeros(standing.is_first.shape, bool)
    counts = jnp.zeros(standing.is_first.shape, jnp.float32)
    return Moment(
        (),
        observation,
        standing.reward,
        standing.is_first,
        none,
        none,
        standing.carry,
        counts,
        counts.astype(jnp.int32),
    )
