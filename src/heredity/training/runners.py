"""Driving PPO: whole iterations on the device, or acting on the host and learning on the device.

Both runners do the same for the loop above them: iterate, give the policy's weights, save, load.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from heredity.algorithms.ppo.algorithm import PPO, PPOState, Rollout
from heredity.algorithms.ppo.collect import begin, iteration
from heredity.common import counters
from heredity.environments import Exactness, HostEnvironment, JaxEnvironment, SeededEpisodes
from heredity.training.metrics import LAST_VALUES
from heredity.weights import (
    Params,
    flatten,
    merge,
    partition,
    to_host,
    tree_from_host,
    tree_to_host,
    unflatten,
)

EXACT = Exactness(True, "")


class Runner(Protocol):
    """What the loop needs."""

    algorithm: PPO
    constants: Params

    @property
    def step(self) -> int:
        """Environment steps so far."""
        ...

    @property
    def restarts(self) -> int:
        """How often a process of the environment was started again; see `HostEnvironment`."""
        ...

    def iterate(self, iterations: int) -> dict[str, float]:
        """Run whole iterations; stops early when something is not finite.

        Returns:
            Means of what is logged (of `LAST_VALUES` the last one); sums ``episodes``,
            ``episode_returns``, ``episode_lengths``; ``iterations`` made; ``finite`` 1 or 0.
        """
        ...

    def policy_leaves(self) -> dict[str, np.ndarray]:
        """All weights by path, copies of their own."""
        ...

    def save(self) -> dict[str, np.ndarray]:
        """Everything else that a resume needs, by path, copies of their own."""
        ...

    def load(
        self, policy: dict[str, np.ndarray], state: dict[str, np.ndarray], attempt: int | None
    ) -> Exactness:
        """Go on from what `policy_leaves` and `save` gave."""
        ...


class _Runner:
    """What both runners share: weights and state in and out."""

    constants: Params
    state: PPOState

    def __init__(self, algorithm: PPO) -> None:
        self.algorithm = algorithm

    @property
    def step(self) -> int:
        """Environment steps so far."""
        return counters.to_int(self.state.steps)

    @property
    def restarts(self) -> int:
        """How often a process of the environment was started again."""
        return 0

    def policy_leaves(self) -> dict[str, np.ndarray]:
        """All weights by path, copies of their own."""
        return to_host(merge(self.constants, self.state.params, self.state.statistics))

    def save(self) -> dict[str, np.ndarray]:
        """The state without the weights, which stand in the policy's own file."""
        return tree_to_host(dataclasses.replace(self.state, params={}, statistics={}))

    def _load_state(
        self, policy: dict[str, np.ndarray], state: dict[str, np.ndarray], attempt: int | None
    ) -> None:
        template = dataclasses.replace(self.state, params={}, statistics={})
        restored: PPOState = tree_from_host(template, state, "training_state/state.safetensors")
        paths = set(flatten(self.constants))
        params = unflatten({path: jnp.array(leaf) for path, leaf in policy.items()})
        frozen, rest = partition(params, sorted(paths)) if paths else ({}, params)
        statistics = {"normalizer": rest.pop("normalizer")} if "normalizer" in rest else {}
        self.constants = frozen
        self.state = dataclasses.replace(restored, params=rest, statistics=statistics)
        if attempt is not None:
            self.state = dataclasses.replace(self.state, attempt=jnp.uint32(attempt))


class DeviceRunner(_Runner):
    """Whole iterations as one compiled program with donated buffers, for JAX environments.

    Args:
        algorithm: What to run.
        environment: Where.
        seed: Of the run.
    """

    def __init__(self, algorithm: PPO, environment: JaxEnvironment, seed: int) -> None:
        super().__init__(algorithm)
        self._environment = environment
        self._first = jax.jit(lambda seed: begin(environment, algorithm.config.num_envs, seed))
        self._advance = jax.jit(self._many_iterations, donate_argnums=1)
        self.begin(seed)

    def begin(self, seed: int) -> None:
        """Start anew from fresh weights; nothing is compiled again."""
        self.constants, state = self.algorithm.init(seed)
        self._seed = np.uint32(seed)
        # Only their shapes: a resume never needs the first states of the environments.
        self.state = dataclasses.replace(state, experience=jax.eval_shape(self._first, self._seed))
        self._begun = False

    def _begin_experience(self) -> None:
        if not self._begun:
            self.state = dataclasses.replace(self.state, experience=self._first(self._seed))
            self._begun = True

    def _many_iterations(
        self, constants: Params, state: PPOState, iterations: jax.Array
    ) -> tuple[PPOState, dict[str, jax.Array]]:
        """The number of iterations is data, so that one program serves every stretch."""

        def one(state: PPOState) -> tuple[PPOState, dict[str, jax.Array]]:
            return iteration(self.algorithm, self._environment, constants, state)

        zeros = {
            name: jnp.zeros(leaf.shape, jnp.float32)
            for name, leaf in jax.eval_shape(one, state)[1].items()
        }

        def go_on(carry: tuple) -> jax.Array:
            made, finite, _, _ = carry
            return (made < iterations) & finite

        def body(carry: tuple) -> tuple:
            made, _, state, sums = carry
            state, logged = one(state)
            sums = {
                name: value if name in LAST_VALUES else sums[name] + value
                for name, value in logged.items()
            }
            return made + 1, logged["finite"], state, sums

        start = (jnp.int32(0), jnp.asarray(True), state, zeros)
        made, finite, state, sums = jax.lax.while_loop(go_on, body, start)
        return state, {**sums, "iterations": made, "finite": finite}

    def iterate(self, iterations: int) -> dict[str, float]:
        """Run whole iterations without returning to the host in between."""
        self._begin_experience()
        self.state, sums = self._advance(self.constants, self.state, np.int32(iterations))
        return _means({name: float(value) for name, value in jax.device_get(sums).items()})

    def load(
        self, policy: dict[str, np.ndarray], state: dict[str, np.ndarray], attempt: int | None
    ) -> Exactness:
        """Go on from a saved state, environments included."""
        self._load_state(policy, state, attempt)
        self._begun = True
        return EXACT

    def save(self) -> dict[str, np.ndarray]:
        """The state, environments included, without the weights."""
        self._begin_experience()
        return super().save()


class HostRunner(_Runner):
    """Acting is one compiled call a step; learning one compiled call an iteration.

    Args:
        algorithm: What to run.
        environment: A vector of host environments, `num_envs` of the settings.
        seed: Of the run.
    """

    EPISODES = "episodes/"

    def __init__(self, algorithm: PPO, environment: HostEnvironment, seed: int) -> None:
        super().__init__(algorithm)
        self._environment = environment
        self._act = jax.jit(self._act_step)
        self._value = jax.jit(lambda parts, seen: algorithm.value(merge(*parts), seen))
        self._action_key = jax.jit(lambda state: jax.random.key_data(state.key("action")))
        self._learn = jax.jit(self._learn_step, donate_argnums=1)
        self.begin(seed)

    def begin(self, seed: int) -> None:
        """Start anew from fresh weights; nothing is compiled again."""
        self.constants, self.state = self.algorithm.init(seed)
        self._episodes = SeededEpisodes(self._environment, seed)
        self._observation: Any = None

    @property
    def restarts(self) -> int:
        """How often a process of the environment was started again."""
        return self._environment.restarts

    def _act_step(
        self, parts: tuple[Params, ...], observation: Any, key: jax.Array, t: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        key = jax.random.fold_in(jax.random.wrap_key_data(key), t)
        action, (raw_action, _, _) = self.algorithm.act(merge(*parts), observation, key)
        return action, raw_action

    def _learn_step(
        self, constants: Params, state: PPOState, rollout: Rollout
    ) -> tuple[PPOState, dict[str, jax.Array]]:
        # The distributions acted with are computed again in one batch, which is cheaper than to
        # bring them home at each step.
        functions = self.algorithm.functions
        params = self.algorithm.all_params(constants, state)
        seen = functions.preprocess(params, rollout.observations)
        parameters, _ = functions.parameters(params, seen)
        log_probs = functions.family.log_prob(parameters, rollout.raw_actions)
        rollout = rollout._replace(parameters=parameters, log_probs=log_probs)
        return self.algorithm.learn(constants, state, rollout)

    def iterate(self, iterations: int) -> dict[str, float]:
        """Run whole iterations, each acting first and learning then."""
        if self._observation is None:
            self._observation = self._episodes.start()
        sums: dict[str, float] = {}
        made, finite = 0, True
        while made < iterations and finite:
            rollout, counted = self._collect()
            self.state, logged = self._learn(self.constants, self.state, rollout)
            values = {name: float(value) for name, value in jax.device_get(logged).items()}
            finite = bool(values["finite"])
            for name, value in {**values, **counted}.items():
                sums[name] = value if name in LAST_VALUES else sums.get(name, 0.0) + value
            made += 1
        return _means({**sums, "iterations": made, "finite": finite})

    def _collect(self) -> tuple[Rollout, dict[str, float]]:
        num_steps, num_envs = self.algorithm.config.num_steps, self.algorithm.config.num_envs
        parts = (self.constants, self.state.params, self.state.statistics)
        key = self._action_key(self.state)
        observations, raw_actions = [], []
        rewards = np.zeros((num_steps, num_envs), np.float32)
        terminated = np.zeros((num_steps, num_envs), bool)
        truncated = np.zeros((num_steps, num_envs), bool)
        final_values = np.zeros((num_steps, num_envs), np.float32)
        counted = {"episodes": 0.0, "episode_returns": 0.0, "episode_lengths": 0.0}
        observation = self._observation
        for t in range(num_steps):
            action, raw_action = self._act(parts, observation, key, np.uint32(t))
            # A copy: an environment may show the next observation in the same array.
            observations.append(jax.tree.map(np.array, observation))
            raw_actions.append(np.asarray(raw_action))
            result = self._episodes.step(np.asarray(action))
            rewards[t], terminated[t], truncated[t] = (
                result.reward,
                result.terminated,
                result.truncated,
            )
            observation = result.observation
            ended = terminated[t] | truncated[t]
            if ended.any():
                if truncated[t].any():
                    values = np.asarray(self._value(parts, observation))
                    final_values[t] = np.where(truncated[t], values, 0.0)
                whole = ended if result.lost is None else ended & ~result.lost
                counted["episodes"] += float(whole.sum())
                counted["episode_returns"] += float(self._episodes.episode_returns[whole].sum())
                counted["episode_lengths"] += float(self._episodes.episode_lengths[whole].sum())
                observation = self._episodes.reset_finished(ended)
        self._observation = observation
        described_by_learn = np.zeros(0, np.float32)
        fields = (
            jax.tree.map(lambda *steps: np.stack(steps), *observations),
            np.stack(raw_actions),
            described_by_learn,
            described_by_learn,
            rewards,
            terminated,
            truncated,
            final_values,
            observation,
        )
        return Rollout(*jax.device_put(fields)), counted

    def save(self) -> dict[str, np.ndarray]:
        """The state, and the seeds and actions of the running episodes."""
        if self._observation is None:
            self._observation = self._episodes.start()
        episodes = {self.EPISODES + name: leaf for name, leaf in self._episodes.save().items()}
        return {**super().save(), **episodes}

    def load(
        self, policy: dict[str, np.ndarray], state: dict[str, np.ndarray], attempt: int | None
    ) -> Exactness:
        """Go on from a saved state; the running episodes are replayed."""
        episodes = {n: leaf for n, leaf in state.items() if n.startswith(self.EPISODES)}
        rest = {name: leaf for name, leaf in state.items() if name not in episodes}
        self._load_state(policy, rest, attempt)
        exactness = self._episodes.restore(
            {name.removeprefix(self.EPISODES): leaf for name, leaf in episodes.items()}
        )
        self._observation = self._episodes.observation
        return exactness


def _means(sums: dict[str, float]) -> dict[str, float]:
    """Means over the iterations made, of everything that is neither a count nor a last value."""
    counts = ("episodes", "episode_returns", "episode_lengths", "iterations", "finite")
    made = max(sums["iterations"], 1)
    kept = (*counts, *LAST_VALUES)
    return {name: v if name in kept else v / made for name, v in sums.items()}


def make_runner(
    algorithm: PPO, environment: JaxEnvironment | HostEnvironment, seed: int
) -> DeviceRunner | HostRunner:
    """The runner that suits an environment."""
    if isinstance(environment, JaxEnvironment):
        return DeviceRunner(algorithm, environment, seed)
    return HostRunner(algorithm, environment, seed)
