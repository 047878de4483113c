"""PPO in environments that live on the host: acting there, learning on the device."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.state import PPOState, Rollout
from heredity.environments.infos import InfoMeans
from heredity.training.host_acting import HostActor
from heredity.training.host_base import Counted, HostBase
from heredity.weights import Params, merge


class HostRunner(HostBase[PPO, PPOState]):
    """Acts on the host, and learns on the device in one compiled call an iteration.

    Acting is computed in numpy where the network is written in it, else by a compiled call a step.
    """

    def _use(self, algorithm: PPO) -> None:
        super()._use(algorithm)
        self._actor = HostActor(algorithm)
        self._value = jax.jit(lambda parts, *seen: algorithm.value(merge(*parts), *seen))
        self._learn = jax.jit(self._learn_step, donate_argnums=1, compiler_options=self._options)

    def _begun(self, state: PPOState) -> PPOState:
        carry = self.algorithm.functions.initial_carry((self.algorithm.config.num_envs,))
        return dataclasses.replace(state, experience=carry)

    def _begun_anew(self) -> None:
        none_yet = jnp.zeros_like(self.state.discounted_returns)
        self.state = dataclasses.replace(self.state, discounted_returns=none_yet)

    def _learn_step(
        self, constants: Params, state: PPOState, rollout: Rollout
    ) -> tuple[PPOState, dict[str, jax.Array]]:
        # The distributions acted with are computed again in one batch, which is cheaper than to
        # bring them home at each step.
        params = self.algorithm.all_params(constants, state)
        rollout = self.algorithm.described(params, rollout)
        state, logged = self.algorithm.learn(constants, state, rollout)
        return dataclasses.replace(state, experience=rollout.last_carry), logged

    def _iteration(self, told: InfoMeans) -> dict[str, float]:
        rollout, counted = self._collect(told)
        self.state, logged = self._learn(self.constants, self.state, rollout)
        values = {name: float(value) for name, value in jax.device_get(logged).items()}
        return {**values, **counted.sums}

    def _collect(self, told: InfoMeans) -> tuple[Rollout, Counted]:
        num_steps, num_envs = self.algorithm.config.num_steps, self.algorithm.config.num_envs
        parts = (self.constants, self.state.params, self.state.statistics)
        self._actor.begin(parts, self.state)
        raw_actions = []
        rewards = np.zeros((num_steps, num_envs), np.float32)
        terminated = np.zeros((num_steps, num_envs), bool)
        truncated = np.zeros((num_steps, num_envs), bool)
        final_values = np.zeros((num_steps, num_envs), np.float32)
        counted = Counted()
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
            ended = counted.add(self._episodes, result)
            if ended.any():
                if truncated[t].any():
                    values = np.asarray(self._value(parts, observation, carry))
                    final_values[t] = np.where(truncated[t], values, 0.0)
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


def _put(filled: Any, t: int, moment: Any) -> None:
    """Put one moment into arrays of many, dicts of them part by part."""
    if isinstance(filled, dict):
        for name, part in filled.items():
            _put(part, t, moment[name])
    else:
        filled[t] = moment
