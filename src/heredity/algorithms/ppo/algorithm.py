"""PPO as pure functions over one declared state."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from heredity.algorithms.contract import Room
from heredity.algorithms.ppo import collect
from heredity.algorithms.ppo.adam import adam, grown
from heredity.algorithms.ppo.advantages import explained_variance, generalized_advantages
from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.ppo.networks import check_all_used, policy_spec
from heredity.algorithms.ppo.rewards import scaled_rewards
from heredity.algorithms.ppo.state import PPOState, Rollout
from heredity.algorithms.ppo.unrolling import parts_of, unrolled
from heredity.algorithms.ppo.update import (
    Minibatch,
    UpdateState,
    as_sequences,
    update,
)
from heredity.algorithms.stages import Staged
from heredity.common import counters
from heredity.common.devices import whole
from heredity.common.errors import UsageError
from heredity.environments.contract import JaxEnvironment
from heredity.environments.room import bytes_of
from heredity.networks.contract import Carry
from heredity.networks.normalizer import update_observation_statistics
from heredity.networks.observations import example_batch
from heredity.networks.own import check_dtypes
from heredity.policies import PolicySpec
from heredity.spaces import Space
from heredity.weights import Params, all_finite, flatten, merge, unflatten


class PPO(Staged[PPOConfig]):
    """Proximal policy optimisation for given spaces; see `Staged`.

    Raises:
        UsageError: also when sequences cannot be divided into minibatches, or features cannot be
            cached.

    Attributes:
        caches_features: Whether encoders are frozen, and compute features once, for acting.
    """

    def __init__(
        self,
        config: PPOConfig,
        observation_space: Space,
        action_space: Space,
        *,
        schedule_timesteps: int,
        **more: Any,
    ) -> None:
        super().__init__(
            config, observation_space, action_space, schedule_timesteps=schedule_timesteps, **more
        )
        self.steps_per_iteration = config.num_transitions * self.action_repeat
        self.caches_features = self._caches()
        if self.functions.has_memory and config.num_sequences % config.num_minibatches:
            raise UsageError(
                f"num_minibatches {config.num_minibatches} does not divide the sequences that a "
                f"network with memory learns from: num_envs * num_steps / sequence_length = "
                f"{config.num_sequences}"
            )

    # --- what training asks -----------------------------------------------------------------------

    @property
    def goes_on(self) -> tuple[str, ...]:
        """Of the state, beside the optimiser, where a run starts from a checkpoint."""
        # Training itself has set it.
        return ("learning_rate",) if self.config.learning_rate_schedule == "adaptive_kl" else ()

    @property
    def copied(self) -> Mapping[str, str]:
        """Nothing of the state begins as a copy of weights."""
        return {}

    def check_all_used(self) -> None:
        """See `networks.check_all_used`."""
        check_all_used(self.config, self.functions)

    def begin(self, environment: JaxEnvironment, seed: jax.Array | int) -> collect.Experience:
        """First states of all environments."""
        return collect.begin(self, environment, seed)

    def iteration(
        self, environment: JaxEnvironment, constants: Params, state: PPOState
    ) -> tuple[PPOState, dict[str, jax.Array]]:
        """Collect and learn: one iteration as one pure function."""
        return collect.iteration(self, environment, constants, state)

    def placed(self, whole: Any, split: Any) -> Any:
        """Where the parts of a state are: environments, and what belongs to each, are divided."""
        fields: dict[str, Any] = {field.name: whole for field in dataclasses.fields(PPOState)}
        return PPOState(**{**fields, "discounted_returns": split, "experience": split})

    def work(self, params: Params) -> float:
        """Operations in one gradient step, roughly."""
        weights = sum(leaf.size for leaf in jax.tree.leaves(params))
        # Forward, and twice as much backward, each an addition and a multiplication.
        return 6 * weights * self.config.minibatch_size

    def room(self) -> Room:
        """What is kept of a rollout: observations are what makes it large."""
        config = self.config
        one = bytes_of(self.spec.observation_space) if self.keeps_observations else 0
        if self.caches_features:
            one += sum(4 * size for size in self.feature_sizes)
        # As they were collected, and with a memory once more, cut into sequences.
        rollout = one * config.num_transitions * (2 if self.functions.has_memory else 1)
        return Room(
            rollout,
            f"num_steps {config.num_steps:,} x num_envs {config.num_envs:,} observations of "
            f"{one:,} bytes",
            "show less at once (a smaller resize, frame_stack or network), or lower num_steps or "
            "num_envs",
        )

    # --- weights ----------------------------------------------------------------------------------

    def init(self, seed: jax.Array | int) -> tuple[Params, PPOState]:
        """Frozen weights (constants) and a fresh state.

        Raises:
            UsageError: when weights are not float32.
        """
        frozen, trained, statistics = self.plan.split(self.functions.init(jnp.uint32(seed)))
        check_dtypes(trained)
        state = PPOState(
            params=trained,
            statistics=statistics,
            optimizer=adam(self.plan, self.config, trained).init(trained),
            learning_rate=jnp.float32(self.config.learning_rate),
            discounted_returns=jnp.zeros(self.config.num_envs, jnp.float32),
            steps=counters.zero(),
            iterations=counters.zero(),
            attempt=jnp.uint32(0),
            seed=jnp.uint32(seed),
        )
        return frozen, state

    @property
    def keeps_observations(self) -> bool:
        """Whether learning needs the observations themselves."""
        return not self.caches_features or self.config.normalize_observations

    @property
    def feature_sizes(self) -> tuple[int, ...]:
        """How many features each encoder computes of an observation."""
        functions = self.functions

        def encoded(key: jax.Array) -> Any:
            example = example_batch(self.spec.observation_space)
            return functions.encode(functions.init(key), example)

        shapes = jax.tree.leaves(jax.eval_shape(encoded, jnp.uint32(0)))
        return tuple(leaf.shape[-1] for leaf in shapes)

    def _caches(self) -> bool:
        """Whether everything that reads observations has an encoder that is frozen."""
        wish, encoders = self.config.cache_features, self.functions.encoders
        parts = tuple(f"{folder}/" for folder in encoders)
        weights = {path for path in self.plan.begins if path.startswith(parts)}
        possible = bool(weights) and weights <= self.plan.frozen
        # A later stage may have thawed them.
        if wish == "always" and not possible and self.stage == 0:
            kinds = ", ".join(sorted(self.spec.network_kinds))
            needed = f"an encoder without memory is needed, a cnn or a vit; there is {kinds}"
            if encoders:
                freeze = " ".join(f"{one}/**" for one in encoders)
                needed = f"freeze its encoder as a whole: --freeze {freeze}"
            raise UsageError(f"cache_features 'always': {needed}; or leave it out")
        return possible and wish != "never"

    def _policy_spec(self, *given: Any) -> PolicySpec:
        return policy_spec(*given)

    def _grown(self, optimizer: Any, params: Params) -> Any:
        return grown(self.plan, optimizer, params)

    # --- acting -----------------------------------------------------------------------------------

    def act(
        self,
        params: Params,
        observation: Any,
        noise: jax.Array,
        carry: Carry = (),
        is_first: jax.Array | None = None,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array], Carry]:
        """Draw actions for observations ``(B, ...)``, with the chance that `noise` gave.

        Returns:
            What the environments receive; what a `Rollout` keeps: raw actions, their
            log-probabilities, and the parameters of the distributions; and the new carry.
        """
        return self.act_on(params, self.seen(params, observation), noise, carry, is_first)

    def seen(self, params: Params, observation: Any) -> Any:
        """What is acted on: preprocessed, and encoded where `caches_features`."""
        seen = self.functions.preprocess(params, observation)
        return self.functions.encode(params, seen) if self.caches_features else seen

    def act_on(
        self,
        params: Params,
        seen: Any,
        noise: jax.Array,
        carry: Carry = (),
        is_first: jax.Array | None = None,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array], Carry]:
        """`act` on what `seen` gave."""
        parameters, carry = self.functions.parameters(params, seen, carry, is_first=is_first)
        family = self.functions.family
        raw_action = family.draw(parameters, noise)
        log_prob = family.log_prob(parameters, raw_action)
        return family.to_action(raw_action), (raw_action, log_prob, parameters), carry

    def noise(self, state: PPOState) -> jax.Array:
        """All chance that the actions of the state's iteration need, ``(T, B, N)``."""
        shape = (self.config.num_steps, self.config.num_envs)
        return self.functions.family.noise(state.key("action"), shape)

    def value(
        self,
        params: Params,
        observation: Any,
        carry: Carry = (),
        is_first: jax.Array | None = None,
    ) -> jax.Array:
        """Values of observations ``(..., *observation)``."""
        seen = self.functions.preprocess(params, observation)
        return self.functions.value(params, seen, carry, is_first=is_first)

    # --- learning ---------------------------------------------------------------------------------

    def learn(
        self, constants: Params, state: PPOState, rollout: Rollout
    ) -> tuple[PPOState, dict[str, jax.Array]]:
        """One update from one rollout.

        The statistics that acted also learn, so that old and new probabilities are compared like
        with like; what was seen is added to them afterwards.
        """
        config = self.config
        params = self.all_params(constants, state)
        steps = counters.add(state.steps, self.steps_per_iteration)
        learning_rate, clip_range = self._scheduled(state.learning_rate, steps)

        rewards, discounted_returns, moved = scaled_rewards(config, state, params, rollout)
        seen = rollout.encoded
        if not self.caches_features:
            seen = self.functions.preprocess(params, rollout.observations)
        values = self._over_rollout(self.functions.unroll_values, params, seen, rollout)
        last_value = self.value(
            params, rollout.last_observation, rollout.last_carry, rollout.last_is_first
        )
        advantages, targets = generalized_advantages(
            rewards,
            values,
            last_value,
            rollout.terminated,
            rollout.truncated,
            rollout.final_values,
            config.discount,
            config.gae_lambda,
        )
        transitions = Minibatch(
            seen,
            rollout.raw_actions,
            rollout.log_probs,
            rollout.parameters,
            values,
            advantages,
            targets,
            rollout.is_first,
        )
        # Any minibatch takes from all environments, in whatever order one device would.
        transitions, carries = whole((transitions, rollout.carries))
        if self.functions.has_memory:
            items = as_sequences(transitions, carries)
        else:
            items = jax.tree.map(lambda a: a.reshape((-1, *a.shape[2:])), transitions)
        updated, logged = update(
            config,
            self.functions,
            self.plan,
            merge(constants, state.statistics),
            UpdateState(state.params, state.optimizer, learning_rate),
            items,
            clip_range,
            state.key("update"),
        )
        if config.normalize_observations:
            moved |= update_observation_statistics(
                self.spec.observation_space, params.get("normalizer", {}), rollout.observations
            )
        # Those that are frozen are constants, and stay.
        seen_now = flatten({"normalizer": moved})
        statistics = unflatten({path: seen_now[path] for path in flatten(state.statistics)})
        new_state = dataclasses.replace(
            state,
            params=updated.params,
            statistics=statistics,
            optimizer=updated.optimizer,
            learning_rate=updated.learning_rate,
            discounted_returns=discounted_returns,
            steps=steps,
            iterations=counters.add(state.iterations, 1),
        )
        logged["train/explained_variance"] = explained_variance(values, targets)
        logged["train/learning_rate"] = updated.learning_rate
        logged["train/clip_range"] = clip_range
        if "log_std" in updated.params.get("actor", {}):
            logged["train/std"] = jnp.exp(updated.params["actor"]["log_std"]).mean()
        logged["finite"] = all_finite((updated.params, statistics, logged["train/loss"]))
        return new_state, logged

    def described(self, params: Params, rollout: Rollout) -> Rollout:
        """A rollout with the distributions that its actions were drawn from, and log-probabilities.

        Args:
            params: All weights, those that acted.
            rollout: Without them.
        """
        functions = self.functions
        seen = functions.preprocess(params, rollout.observations)
        if self.caches_features:
            parts = parts_of(self.spec.observation_space, *rollout.rewards.shape)
            seen = unrolled(
                lambda seen, *_: (functions.encode(params, seen), ()), seen, (), None, parts
            )
            rollout = rollout._replace(encoded=seen)
        parameters = self._over_rollout(functions.unroll_parameters, params, seen, rollout)
        log_probs = functions.family.log_prob(parameters, rollout.raw_actions)
        return rollout._replace(parameters=parameters, log_probs=log_probs)

    def _over_rollout(
        self, unroll: Callable[..., Any], params: Params, seen: Any, rollout: Rollout
    ) -> jax.Array:
        """What an actor or a critic says of all moments, ``(T, B, ...)``, in bounded memory."""
        first_carry = jax.tree.map(lambda leaf: leaf[0], rollout.carries)
        is_first = rollout.is_first if self.functions.has_memory else None
        parts = parts_of(self.spec.observation_space, *rollout.rewards.shape)
        if self.caches_features:
            parts = 1  # features are small
        return unrolled(functools.partial(unroll, params), seen, first_carry, is_first, parts)

    def _scheduled(self, learning_rate: jax.Array, steps: jax.Array) -> tuple[jax.Array, jax.Array]:
        config = self.config
        clip_range = jnp.float32(config.clip_range)
        if "linear" not in (config.learning_rate_schedule, config.clip_range_schedule):
            # Without the length of the run in it, one program serves runs of any length.
            return learning_rate, clip_range
        # float(): a whole number above 2**31 would not fit beside 32-bit arrays.
        progress = jnp.minimum(counters.to_float(steps) / float(self.schedule_timesteps), 1.0)
        if config.learning_rate_schedule == "linear":
            distance = config.learning_rate_end - config.learning_rate
            learning_rate = config.learning_rate + distance * progress
        if config.clip_range_schedule == "linear":
            clip_range = clip_range * (1.0 - progress)
        return learning_rate, clip_range
