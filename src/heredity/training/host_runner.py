"""PPO in environments that live on the host: acting there, learning on the device."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from heredity.algorithms.contract import NUMBERS
from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.state import PPOState, Rollout
from heredity.environments import Exactness, HostEnvironment, SeededEpisodes
from heredity.environments.infos import InfoMeans
from heredity.training.host_acting import HostActor
from heredity.training.metrics import LAST_VALUES
from heredity.training.runner_base import BaseRunner, means
from heredity.weights import Params, merge


class HostRunner(BaseRunner[PPO, PPOState]):
    """Acts on the host, and learns on the device in one compiled call an iteration.

    Acting is computed in numpy where the network is written in it, else by a compiled call a step.

    Args:
        algorithm: What to run.
        environment: A vector of host environments, `num_envs` of the settings.
        seed: Of the run.
    """

    EPISODES = "episodes/"

    def __init__(self, algorithm: PPO, environment: HostEnvironment, seed: int) -> None:
        self._environment = environment
        super().__init__(algorithm)
        self.begin(seed)

    def _use(self, algorithm: PPO) -> None:
        super()._use(algorithm)
        self._actor = HostActor(algorithm)
        self._value = jax.jit(lambda parts, *seen: algorithm.value(merge(*parts), *seen))
        self._learn = jax.jit(self._learn_step, donate_argnums=1, compiler_options=self._options)

    def begin(self, seed: int) -> None:
        """Start anew from fresh weights; nothing is compiled again."""
        self.constants, state = self._init(np.uint32(seed))
        # The environments stand in files of their own: here only what the networks remember.
        num_envs = self.algorithm.config.num_envs
        carry = self.algorithm.functions.initial_carry((num_envs,))
        self.state = dataclasses.replace(state, experience=carry)
        self._episodes = SeededEpisodes(self._environment, seed)
        self._observation: Any = None

    @property
    def restarts(self) -> int:
        """How often a process of the environment was started again."""
        return self._environment.restarts

    def _learn_step(
        self, constants: Params, state: PPOState, rollout: Rollout
    ) -> tuple[PPOState, dict[str, jax.Array]]:
        # The distributions acted with are computed again in one batch, which is cheaper than to
        # bring them home at each step.
        params = self.algorithm.all_params(constants, state)
        rollout = self.algorithm.described(params, rollout)
        state, logged = self.algorithm.learn(constants, state, rollout)
        return dataclasses.replace(state, experience=rollout.last_carry), logged

    def iterate(self, iterations: int) -> dict[str, float]:
        """Run whole iterations, each acting first and learning then."""
        if self._observation is None:
            self._observation = self._episodes.start()
        sums: dict[str, float] = {}
        told = InfoMeans()
        made, finite = 0, True
        while made < iterations and finite:
            rollout, counted = self._collect(told)
            self.state, logged = self._learn(self.constants, self.state, rollout)
            values = {name: float(value) for name, value in jax.device_get(logged).items()}
            finite = bool(values["finite"])
            for name, value in {**values, **counted}.items():
                sums[name] = value if name in LAST_VALUES else sums.get(name, 0.0) + value
            made += 1
        found = means({**sums, "iterations": made, "finite": finite})
        for name, (mean, numbers) in told.found().items():
            found[f"environment/{name}"] = mean
            found[f"{NUMBERS}environment/{name}"] = numbers
        return found

    def _collect(self, told: InfoMeans) -> tuple[Rollout, dict[str, float]]:
        num_steps, num_envs = self.algorithm.config.num_steps, self.algorithm.config.num_envs
        parts = (self.constants, self.state.params, self.state.statistics)
        self._actor.begin(parts, self.state)
        raw_actions = []
        rewards = np.zeros((num_steps, num_envs), np.float32)
        terminated = np.zeros((num_steps, num_envs), bool)
        truncated = np.zeros((num_steps, num_envs), bool)
        final_values = np.zeros((num_steps, num_envs), np.float32)
        counted = {"episodes": 0.0, "episode_returns": 0.0, "episode_lengths": 0.0}
        observation = self._observation
        # Filled step by step: an environment may show the next observation in the same array.
        observations = jax.tree.map(
            lambda leaf: np.empty((num_steps, *np.shape(leaf)), np.asarray(leaf).dtype), observation
        )
        has_memory = self.algorithm.functions.has_memory
        carry, is_first = self.state.experience, None
        length = self.algorithm.config.sequence_length or num_steps
        firsts, carries = [], []
        for t in range(num_steps):
            if has_memory:
                is_first = self._episodes.episode_lengths == 0
                firsts.append(is_first)
                if t % length == 0:
                    carries.append(carry)
            _put(observations, t, observation)
            action, raw_action, carry = self._actor.act(t, observation, carry, is_first)
            raw_actions.append(raw_action)
            result = self._episodes.step(action)
            rewards[t], terminated[t], truncated[t] = (
                result.reward,
                result.terminated,
                result.truncated,
            )
            if result.info:
                told.add(result.info)
            observation = result.observation
            ended = terminated[t] | truncated[t]
            if ended.any():
                if truncated[t].any():
                    values = np.asarray(self._value(parts, observation, carry))
                    final_values[t] = np.where(truncated[t], values, 0.0)
                whole = ended if result.lost is None else ended & ~result.lost
                counted["episodes"] += float(whole.sum())
                counted["episode_returns"] += float(self._episodes.episode_returns[whole].sum())
                counted["episode_lengths"] += float(self._episodes.episode_lengths[whole].sum())
                observation = self._episodes.reset_finished(ended)
        self._observation = observation
        described_by_learn = np.zeros(0, np.float32)
        fields = (
            observations,
            np.stack(raw_actions),
            described_by_learn,
            described_by_learn,
            rewards,
            terminated,
            truncated,
            final_values,
            observation,
        )
        rollout = Rollout(*jax.device_put(fields), last_carry=carry)
        if has_memory:
            rollout = rollout._replace(
                is_first=jnp.asarray(np.stack(firsts)),
                carries=jax.tree.map(lambda *parts: jnp.stack(parts), *carries),
                last_is_first=jnp.asarray(self._episodes.episode_lengths == 0),
            )
        return rollout, counted

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
        if not exactness.exact:
            # All episodes began anew: what was earned before belongs to none of them.
            none_yet = jnp.zeros_like(self.state.discounted_returns)
            self.state = dataclasses.replace(self.state, discounted_returns=none_yet)
        return exactness


def _put(filled: Any, t: int, moment: Any) -> None:
    """Put one moment into arrays of many, dicts of them part by part."""
    if isinstance(filled, dict):
        for name, part in filled.items():
            _put(part, t, moment[name])
    else:
        filled[t] = moment
