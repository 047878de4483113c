"""DreamerV3 as pure functions over one declared state."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from heredity.algorithms.contract import NUMBERS, Room
from heredity.algorithms.dreamer.collect import Experience, Moment, begin, collect
from heredity.algorithms.dreamer.config import DreamerConfig
from heredity.algorithms.dreamer.laprop import LaProp
from heredity.algorithms.dreamer.losses import Batch, Learnt, total_loss
from heredity.algorithms.dreamer.networks import policy_spec
from heredity.algorithms.dreamer.replay import Record, Replay, doubled, unpacked
from heredity.algorithms.dreamer.returns import ReturnRange
from heredity.algorithms.dreamer.state import DreamerState
from heredity.algorithms.dreamer.world import World
from heredity.algorithms.stages import Staged
from heredity.algorithms.training_plan import TrainingPlan
from heredity.common import counters
from heredity.common.devices import split
from heredity.common.errors import UsageError
from heredity.common.seeds import most_of_seeds
from heredity.environments.contract import JaxEnvironment
from heredity.environments.room import GIBIBYTE, bytes_of
from heredity.networks.world_model.options import DTYPES
from heredity.policies import PolicySpec
from heredity.spaces import Space
from heredity.weights import Params, all_finite, merge

_ENCODER = "trunk/encoder/"


class Dreamer(Staged[DreamerConfig]):
    """DreamerV3 (Hafner et al. 2023) for given spaces; see `Staged`.

    Attributes:
        keeps_tokens: Whether the replay keeps what a pretrained encoder makes of observations, for
            it is frozen, at first at least.
    """

    def __init__(
        self, config: DreamerConfig, observation_space: Space, action_space: Space, **more: Any
    ) -> None:
        super().__init__(config, observation_space, action_space, **more)
        self.steps_per_iteration = config.num_envs * config.num_steps * self.action_repeat
        self.world = World(config, self.functions)
        weights = self.plan.begins
        wished = config.encoder.is_vit and config.cache_features == "auto"
        encoder = {path for path in weights if path.startswith(_ENCODER)}
        self.keeps_tokens = wished and encoder <= TrainingPlan.of(config, weights, 0).frozen
        self._reads_tokens = self.keeps_tokens and encoder <= self.plan.frozen
        self.optimizer = LaProp(
            learning_rate=config.learning_rate,
            warmup=config.learning_rate_warmup,
            clip=config.gradient_clip,
            begins=self.plan.begins,
            scales=self.plan.scales,
        )

    # --- weights ----------------------------------------------------------------------------------

    def init(self, seed: jax.Array | int) -> tuple[Params, DreamerState]:
        """Frozen weights (constants) and a fresh state."""
        params = self.functions.init(jnp.uint32(seed))
        frozen, trained, statistics = self.plan.split(params)
        state = DreamerState(
            params=trained,
            statistics=statistics,
            optimizer=self.optimizer.init(trained, self.stage + 1),
            slow_critic=jax.tree.map(jnp.copy, params["critic"]),
            return_range=ReturnRange.zero(),
            owed=jnp.float32(0.0),
            steps=counters.zero(),
            iterations=counters.zero(),
            updates=counters.zero(),
            attempt=jnp.uint32(0),
            seed=jnp.uint32(seed),
        )
        return frozen, state

    @property
    def goes_on(self) -> tuple[str, ...]:
        """Of the state, beside the optimiser, where a run starts from a checkpoint."""
        return ("slow_critic", "return_range")

    @property
    def copied(self) -> Mapping[str, str]:
        """Folders of the state that begin as copies of weights, with the folders of these."""
        return {"slow_critic": "critic"}

    def check_all_used(self) -> None:
        """All settings do something, whatever is seen."""

    def _policy_spec(self, *given: Any) -> PolicySpec:
        return policy_spec(*given)

    def placed(self, whole: Any, split: Any) -> Any:
        """Where the parts of a state are: environments are divided; the replay is everywhere."""
        fields: dict[str, Any] = {field.name: whole for field in dataclasses.fields(DreamerState)}
        moment = Moment(*[split] * len(Moment._fields))
        return DreamerState(**{**fields, "experience": Experience(moment, whole)})

    def work(self, params: Params) -> float:
        """Operations in one gradient step, roughly."""
        config = self.config
        weights = sum(leaf.size for leaf in jax.tree.leaves(params))
        moments = config.batch_size * config.batch_length * (3 + config.imagination_length)
        return 2 * weights * moments

    def room(self) -> Room:
        """What is kept of what happened."""
        config = self.config
        one = bytes_of(self.spec.observation_space) + 2 * config.deter + config.groups
        if self.keeps_tokens:
            one += 2 * self.world.rssm.encoder.output_size
        return Room(
            one * config.records_per_env * config.num_envs,
            f"replay_capacity {config.replay_capacity:,} steps of {one:,} bytes",
            "lower replay_capacity or deter, or show less (a smaller resize or frame_stack)",
            math.inf if config.replay_memory is None else config.replay_memory * GIBIBYTE,
        )

    # --- one iteration ----------------------------------------------------------------------------

    def begin(self, environment: JaxEnvironment, seed: jax.Array | int) -> Experience:
        """First states of all environments, and an empty replay."""
        if self.config.overlap:
            raise UsageError(
                "overlap is for environments of the host: in this one acting and learning are one "
                "program; leave it out"
            )
        return begin(self, environment, seed)

    def iteration(
        self, environment: JaxEnvironment, constants: Params, state: DreamerState
    ) -> tuple[DreamerState, dict[str, jax.Array]]:
        """Act for some steps, and make the gradient steps that are due then."""
        params = self.all_params(constants, state)
        experience, sums = collect(self, environment, params, state)
        state = dataclasses.replace(
            state,
            experience=experience,
            steps=counters.add(state.steps, self.steps_per_iteration),
            iterations=counters.add(state.iterations, 1),
        )
        state, logged = self.learn(constants, state)
        return state, {**logged, **sums, "finite": logged["finite"] & sums["finite"]}

    def learn(
        self, constants: Params, state: DreamerState
    ) -> tuple[DreamerState, dict[str, jax.Array]]:
        """The gradient steps that are due for what was recorded in an iteration."""
        config = self.config
        enough = state.experience.replay.starts(config.sequence_length) >= (
            config.batch_size * config.batch_length
        )
        records = config.num_envs * config.num_steps
        owed = state.owed + records * config.gradient_steps_per_record
        owed = jnp.where(enough, owed, 0.0)
        due = jnp.floor(owed)
        state = dataclasses.replace(state, owed=owed - due)
        shapes = jax.eval_shape(lambda state: self.gradient_step(constants, state)[1], state)
        zeros = {name: jnp.zeros(leaf.shape, jnp.float32) for name, leaf in shapes.items()}

        def one(_: jax.Array, carry: tuple) -> tuple:
            state, sums = carry
            state, logged = self.gradient_step(constants, state)
            return state, {name: sums[name] + value for name, value in logged.items()}

        # The same for all seeds, so that they stay in one loop.
        count = most_of_seeds(due.astype(jnp.int32))
        state, sums = jax.lax.fori_loop(0, count, one, (state, zeros))
        logged = {f"train/{name}": value for name, value in sums.items()}
        numbers = {f"{NUMBERS}{name}": due for name in logged}
        return state, {
            **logged,
            **numbers,
            "train/gradient_steps": counters.to_float(state.updates),
            "finite": all_finite((state.params, sums["loss"])),
        }

    def gradient_step(
        self, constants: Params, state: DreamerState
    ) -> tuple[DreamerState, dict[str, jax.Array]]:
        """Learn once from some replayed sequences, and refresh what is known of them."""
        config = self.config
        of_replay, of_losses = jax.random.split(state.key("update", state.updates))
        replay: Replay = state.experience.replay
        place, replay = replay.draw(of_replay, config.batch_size, config.sequence_length)
        records = split(replay.read(place), axis=1)
        age = self.policy_age(state, records)
        state, learnt, logged = self.step_on(constants, state, self.batch(records), of_losses)
        later = place._replace(rows=place.rows[1:])
        replay = replay.with_states(later, learnt.states, self.priorities(learnt))
        experience = state.experience._replace(replay=replay)
        return dataclasses.replace(state, experience=experience), {**logged, "policy_age": age}

    def step_on(
        self, constants: Params, state: DreamerState, batch: Batch, key: jax.Array | None
    ) -> tuple[DreamerState, Learnt, dict[str, jax.Array]]:
        """One gradient step from a batch.

        Args:
            constants: Frozen weights.
            state: Before.
            batch: To learn from.
            key: Decides what is drawn; None for the most likely of everything.
        """
        loss, learnt, gradients = self.gradients(constants, state, batch, key)
        squares = [jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradients)]
        logged = {**learnt.logged, "loss": loss, "gradient_norm": jnp.sqrt(sum(squares))}
        return self.moved(constants, state, learnt, gradients), learnt, logged

    def policy_age(self, state: DreamerState, records: Record) -> jax.Array:
        """How many gradient steps ago the policies acted that made the records, in the mean."""
        return (state.updates[1] - records.version[1:]).astype(jnp.float32).mean()

    def priorities(self, learnt: Learnt) -> jax.Array:
        """What the world model lost on each moment of a batch, ``(T, B)``."""
        scales = self.config.loss_scales
        of_world = ("dynamics", "representation", "reward", "continue", "reconstruction")
        named = ((name.split("/")[0], loss) for name, loss in learnt.losses.items())
        found = [scales[name] * loss for name, loss in named if name in of_world]
        return jax.lax.stop_gradient(functools.reduce(jnp.add, found))

    def gradients(
        self, constants: Params, state: DreamerState, batch: Batch, key: jax.Array | None
    ) -> tuple[jax.Array, Learnt, Params]:
        """The loss of a batch, what comes with it, and its gradient; see `step_on`."""

        def loss_of(trained: Params) -> tuple[jax.Array, Learnt]:
            params = merge(constants, trained)
            return total_loss(self.world, params, state.slow_critic, state.return_range, batch, key)

        (loss, learnt), found = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        return loss, learnt, found

    def moved(
        self, constants: Params, state: DreamerState, learnt: Learnt, gradients: Params
    ) -> DreamerState:
        """The state after a step along gradients."""
        params, optimizer = self.optimizer.update(state.params, gradients, state.optimizer)
        rate = self.config.slow_critic_rate
        critic = merge(constants, params)["critic"]
        slow_critic = jax.tree.map(
            lambda slow, fast: rate * fast + (1.0 - rate) * slow, state.slow_critic, critic
        )
        return dataclasses.replace(
            state,
            params=params,
            optimizer=optimizer,
            slow_critic=slow_critic,
            return_range=learnt.return_range,
            updates=counters.add(state.updates, 1),
        )

    def batch(self, records: Record) -> Batch:
        """Sequences ``(T, B, ...)`` of records ``(T + 1, B, ...)``; the first is context."""
        dtype = DTYPES[self.config.dtype]
        first = jax.tree.map(lambda leaf: leaf[0], records)
        rest = jax.tree.map(lambda leaf: leaf[1:], records)
        return Batch(
            observations=rest.observation,
            actions=self.functions.family.features(records.action[:-1]),
            rewards=rest.reward,
            is_first=rest.is_first,
            is_last=rest.is_last,
            is_terminal=rest.is_terminal,
            context=unpacked(first.deter, first.stoch, self.config.classes, dtype),
            tokens=doubled(rest.tokens, dtype) if self._reads_tokens else None,
        )
