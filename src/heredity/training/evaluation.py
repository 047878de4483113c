"""Whole episodes of a policy, scored, and the first of them recorded."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from heredity.common.errors import UsageError
from heredity.common.open_loop import OpenLoop
from heredity.common.recording import Recording, how_it_ended
from heredity.common.streams import stream
from heredity.environments import (
    Environment,
    HostEnvironment,
    JaxEnvironment,
    check_given,
    evaluation_options,
    make,
)
from heredity.policies import ActorCritic, Policy, PolicySpec
from heredity.policies.axes import UnreadColumns
from heredity.policies.open_loop import Imagination, lacking_world_model
from heredity.training import dead_units
from heredity.training.beginnings import KEPT, Tape, played_again
from heredity.training.host_evaluation import (
    EVALUATION_ENVIRONMENTS,
    EVALUATION_PURPOSE,
    HostPlayer,
)
from heredity.training.legible import legible_features, legible_names
from heredity.training.record import make_named
from heredity.weights import Params

UNLIMITED_EPISODE = 10_000  # decisions after which an episode without a limit is no longer watched
BATCH = 128


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a policy reached.

    Args:
        returns: Undiscounted sum of rewards of each episode, (E,).
        lengths: Decisions of each episode, (E,).
        deterministic: Whether the most likely actions were taken.
        cut: How many episodes had not ended when they were no longer watched.
        recording: The first episode, if it was recorded.
        units: Dead units, and all units, of each hidden layer of the actor, over all moments; {} if
            nothing was recorded.
        imagined: The beginning of that episode as the policy's world model imagines it, if it has
            one.
    """

    returns: np.ndarray
    lengths: np.ndarray
    deterministic: bool
    cut: int = 0
    recording: Recording | None = None
    units: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    imagined: OpenLoop | None = None

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
        record: Whether the first episode can be recorded.
        max_steps: Decisions after which an episode is no longer watched; default: the
            environment's own limit, or 10,000.
        keep: Decisions of the recorded episode that a world model is shown, if there is one.
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
        keep: int = KEPT,
    ) -> None:
        if episodes < 1:
            raise UsageError(f"episodes {episodes}: a whole number >= 1 was expected")
        self._functions = ActorCritic(spec)
        self._unread = UnreadColumns(self._functions)
        self._environment = environment
        self._episodes = episodes
        self._deterministic = deterministic
        self._record = record
        self._max_steps = max_steps or environment.max_episode_steps or UNLIMITED_EPISODE
        can_imagine = record and not lacking_world_model(self._functions)
        self._imagination = Imagination(self._functions) if can_imagine else None
        self._tape = Tape(spec.acting_space, min(keep, self._max_steps))
        if isinstance(environment, JaxEnvironment):
            self._scene = environment.scene() if record else None
            self._play = jax.jit(self._play_batch, static_argnames="record")
        else:
            self._act = jax.jit(self._actions_at)
            self._host_player = HostPlayer(
                environment,
                self._functions,
                self._act,
                deterministic=deterministic,
                episodes=episodes,
                max_steps=self._max_steps,
                record=record,
            )

    @property
    def imagination(self) -> Imagination | None:
        """What imagines the recorded episode; None where nothing does."""
        return self._imagination

    @property
    def restarts(self) -> int:
        """How often a process of the environment was started again; see `HostEnvironment`."""
        environment = self._environment
        return environment.restarts if isinstance(environment, HostEnvironment) else 0

    def evaluate(self, params: Params, seed: int = 0, *, record: bool | None = None) -> Evaluation:
        """Play the episodes; equal seeds give equal episodes for equal policies.

        Args:
            params: Weights of the specification.
            seed: Decides first states and, if not deterministic, actions; 32 bits. A run of the
                same seed is trained on other episodes.
            record: Whether to record the first episode this time; default: if it can be.

        Raises:
            UsageError: for a seed that is no whole number of 32 bits.
        """
        if not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise UsageError(f"seed {seed!r}: a whole number from 0 to 2**32 - 1 was expected")
        record = self._record if record is None else record and self._record
        if isinstance(self._environment, JaxEnvironment):
            return self._evaluate_jax(params, seed, record)
        played = self._host_player.play(params, seed, record)
        return Evaluation(
            returns=played.returns,
            lengths=played.lengths,
            deterministic=self._deterministic,
            cut=played.cut,
            recording=played.recording,
            units=played.units,
            imagined=self._imagined_of_host(params, seed) if record else None,
        )

    def _imagined_of_host(self, params: Params, seed: int) -> OpenLoop | None:
        host = self._environment
        if self._imagination is None or not isinstance(host, HostEnvironment):
            return None
        most = self._tape.most
        episode = played_again(
            host, self._functions, self._act, params, seed, EVALUATION_PURPOSE, most
        )
        if episode is None:
            return None
        return self._imagination.predict(params, episode, padded=most + 1)

    def _actions(
        self, params: Params, observation: Any, key: jax.Array, carry: Any, is_first: Any
    ) -> tuple[jax.Array, Any]:
        """What is done where `observation` has no gaps (see `UnreadColumns`), as in `predict`."""
        functions = self._functions
        seen = functions.preprocess(params, observation, functions.spec.acting_space)
        of_networks = None if self._deterministic else jax.random.fold_in(key, 0)
        parameters, carry = functions.parameters(
            params, seen, carry, is_first=is_first, key=of_networks
        )
        family = functions.family
        raw = family.mode(parameters) if self._deterministic else family.sample(parameters, key)
        return family.to_action(raw), functions.acted(carry, raw)

    def _actions_at(
        self, params: Params, observation: Any, key: jax.Array, t: jax.Array, *memory: Any
    ) -> tuple[jax.Array, Any]:
        return self._actions(params, observation, jax.random.fold_in(key, t), *memory)

    def _evaluate_jax(self, params: Params, seed: int, record: bool) -> Evaluation:
        size = min(self._episodes, BATCH)
        returns, lengths, alive, recording, imagined, units = [], [], [], None, None, {}
        for batch in range(-(-self._episodes // size)):
            first = record and batch == 0
            played = self._play(params, np.uint32(seed), np.uint32(batch), record=first)
            out = jax.device_get(played)
            returns.append(out["returns"])
            lengths.append(out["lengths"])
            alive.append(out["alive"])
            if first:
                recording, units = self._recording(out), dead_units.counted(out["ranges"])
                imagined = self._imagined(params, out)
        chosen = slice(self._episodes)
        return Evaluation(
            returns=np.concatenate(returns)[chosen].astype(np.float64),
            lengths=np.concatenate(lengths)[chosen].astype(np.int64),
            deterministic=self._deterministic,
            cut=int(np.concatenate(alive)[chosen].sum()),
            recording=recording,
            units=units,
            imagined=imagined,
        )

    def _shown(self, state: Any, observation: Any) -> dict[str, jax.Array]:
        """What is recorded of one moment of environment 0."""
        first = jax.tree.map(lambda leaf: leaf[0], (state, observation))
        shown = {"observations": legible_features(self._functions.spec.acting_space, first[1])}
        environment = self._environment
        if isinstance(environment, JaxEnvironment) and self._scene is not None:
            pose = environment.pose(first[0])
            if pose is not None:
                shown |= {"positions": pose.position, "rotations": pose.rotation}
        return shown

    def _play_batch(
        self, params: Params, seed: jax.Array, batch: jax.Array, record: bool
    ) -> dict[str, Any]:
        environment = self._environment
        assert isinstance(environment, JaxEnvironment)
        size = min(self._episodes, BATCH)
        reset_keys = jax.random.split(stream(seed, "evaluate/reset", batch), size)
        states, observation = jax.vmap(environment.reset)(reset_keys)
        action_key = stream(seed, "evaluate/action", batch)
        records = {}
        if record:
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

        functions = self._functions
        memory = functions.initial_carry((size,), acting=True)
        imagines = record and self._imagination is not None
        tape = self._tape.start(observation, memory) if imagines else {}
        ranges = dead_units.no_ranges(functions, params, observation, memory) if record else {}
        unread = self._unread.of(params)

        def go_on(carry: tuple) -> jax.Array:
            t, _, _, alive, *_ = carry
            return (t < self._max_steps) & alive.any()

        def step(carry: tuple) -> tuple:
            t, states, observation, alive, returns, lengths, records, ranges, memory, tape = carry
            seen = self._unread.filled(unread, observation)
            if record:
                outputs = functions.hidden_outputs(params, seen, memory)
                ranges = dead_units.widened(ranges, outputs, alive)
            # An episode is played from its start to its end: there is nothing to forget.
            key = jax.random.fold_in(action_key, t)
            action, memory = self._actions(params, seen, key, memory, None)
            states, result = environment.step_batch(states, action)
            reward = jnp.where(alive, result.earned.astype(jnp.float32), 0.0)
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
            if imagines:
                tape = self._tape.after(tape, t, memory, result)
            returns, lengths = returns + reward, lengths + alive
            alive = alive & ~(result.terminated | result.truncated)
            moved = t + 1, states, result.observation, alive
            return *moved, returns, lengths, records, ranges, memory, tape

        start = (
            jnp.int32(0),
            states,
            observation,
            jnp.ones(size, bool),
            jnp.zeros(size, jnp.float32),
            jnp.zeros(size, jnp.int32),
            records,
            ranges,
            memory,
            tape,
        )
        *_, alive, returns, lengths, records, ranges, _, tape = jax.lax.while_loop(
            go_on, step, start
        )
        found = {"returns": returns, "lengths": lengths, "alive": alive}
        return {**found, "records": records, "ranges": ranges, "tape": tape}

    def _imagined(self, params: Params, out: dict[str, Any]) -> OpenLoop | None:
        if self._imagination is None:
            return None
        terminated = bool(out["records"]["terminated"])
        episode = self._tape.episode(out["tape"], int(out["lengths"][0]), terminated)
        return self._imagination.predict(params, episode, padded=self._tape.most + 1)

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
            columns=legible_names(self._functions.spec.acting_space),
            end=how_it_ended(terminated, not out["alive"][0]),
        )


@contextlib.contextmanager
def scoring_environment(
    env: str | Environment | None,
    episodes: int,
    named: Mapping[str, Any] | None,
    *,
    trust: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Iterator[Environment]:
    """Within the block, the environment that policies are scored in; what is made is closed.

    Args:
        env: Id or environment; None for the one that is named.
        episodes: How many will be played: a host environment has no more copies.
        named: Id and options that the policy has, or None.
        trust: Ids that `named` may hold although they are not built in.
        options: Of the environment, when `env` is an id.

    Raises:
        UsageError: when no environment is named anywhere, or `env` is none.
    """
    if not isinstance(episodes, int) or episodes < 1:
        raise UsageError(f"episodes {episodes!r}: a whole number >= 1 was expected")
    if env is not None:
        check_given(env)
    copies = min(episodes, EVALUATION_ENVIRONMENTS)
    if isinstance(env, str):
        made = make(env, num_envs=copies, **evaluation_options(env, options or {}))
    elif env is not None:
        yield env
        return
    elif named is None:
        raise UsageError("the policy names no environment: give one (--env ID, in Python env=)")
    else:
        source = Path("config.json")  # of the policy, wherever it was loaded from
        made = make_named(named, copies, trust, source, evaluating=True)
    try:
        yield made
    finally:
        if isinstance(made, HostEnvironment):
            made.close()


def evaluate_policies(
    policies: Sequence[Policy],
    environment: Environment,
    episodes: int,
    *,
    deterministic: bool = True,
    seed: int = 0,
) -> list[Evaluation]:
    """Play whole episodes with each of several policies of one kind, such as those of many seeds.

    What they have in common is compiled once.

    Args:
        policies: To evaluate.
        environment: Where, as `scoring_environment` gives it.
        episodes: How many, of each.
        deterministic: Whether to take the most likely actions.
        seed: Of first states and sampled actions.

    Raises:
        UsageError: when they are of different kinds.
        MismatchError: when the environment's spaces are not theirs.
    """
    spec = policies[0].spec
    if any(policy.spec.to_json() != spec.to_json() for policy in policies):
        raise UsageError("the policies have different specifications: evaluate each by itself")
    policies[0].check_spaces(environment.observation_space, environment.action_space)
    evaluator = Evaluator(spec, environment, episodes, deterministic=deterministic)
    return [evaluator.evaluate(policy.params, seed) for policy in policies]
