"""One decision for several steps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from heredity.environments.contract import (
    Environment,
    HostEnvironment,
    JaxEnvironment,
    TimeStep,
)
from heredity.environments.infos import choose_infos
from heredity.environments.wrappers.base import HostWrapper, JaxWrapper, check_whole, choose


def _tell(wrapper: JaxWrapper | HostWrapper, times: int) -> None:
    """Say of a wrapper that its decisions are so many steps."""
    wrapper.action_repeat = wrapper.env.action_repeat * times
    wrapper.step_seconds = wrapper.env.step_seconds * times
    if wrapper.env.max_episode_steps is not None:
        wrapper.max_episode_steps = -(-wrapper.env.max_episode_steps // times)


class JaxActionRepeat(JaxWrapper):
    """A JAX environment in which each action is done `times` times and the rewards are added.

    An episode that ends between them stays where it ended: the rest is not stepped.

    Args:
        env: The environment inside.
        times: Steps for each decision.
    """

    def __init__(self, env: JaxEnvironment, times: int) -> None:
        super().__init__(env)
        self._times = times
        _tell(self, times)

    def step(self, state: Any, action: Any) -> tuple[Any, TimeStep]:
        def again(carry: Any, _: None) -> tuple[Any, None]:
            state, step = carry
            over = step.terminated | step.truncated
            after, following = self.env.step(state, action)
            following = following._replace(
                reward=step.reward + following.reward,
                # None, of which there is no sum, where `reward` is it.
                own_reward=jax.tree.map(jnp.add, step.own_reward, following.own_reward),
            )
            kept = jax.tree.map(lambda a, b: jnp.where(over, a, b), carry, (after, following))
            return kept, None

        first = self.env.step(state, action)
        (state, step), _ = jax.lax.scan(again, first, None, self._times - 1)
        return state, step


class HostActionRepeat(HostWrapper):
    """The same for a vector of host environments.

    A vector can only be stepped as a whole. So where one environment ends between the steps of a
    decision and others go on, that one is begun anew, with any seed, and played along; what it
    plays is thrown away, and the runner's own reset follows.

    Args:
        env: The environment inside.
        times: Steps for each decision.
    """

    def __init__(self, env: HostEnvironment, times: int) -> None:
        super().__init__(env)
        self._times = times
        _tell(self, times)
        self._drawn = False
        self._last_picture: np.ndarray | None = None

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> Any:
        if mask[0]:
            self._last_picture = None
        return self.env.reset(seeds, mask)

    def step(self, actions: np.ndarray) -> TimeStep:
        self._last_picture = None
        step = after = self.env.step(actions)
        for _ in range(self._times - 1):
            over = np.asarray(step.terminated | step.truncated)
            if over.all():
                break
            ended = np.asarray(after.terminated | after.truncated)
            if ended.any():
                if over[0] and self._drawn and self._last_picture is None:
                    self._last_picture = self.env.render()
                self.env.reset(np.zeros(self.num_envs, np.int64), ended)
            after = self.env.step(actions)
            own = jax.tree.map(np.add, step.own_reward, after.own_reward)  # None stays
            total = np.asarray(step.reward + after.reward, np.float32)
            after = after._replace(reward=total, own_reward=own)
            never = np.zeros(self.num_envs, bool)
            first, then = (
                {**moment._asdict(), "lost": never if moment.lost is None else moment.lost}
                for moment in (step, after)
            )
            info = choose_infos(over, first.pop("info"), then.pop("info"))
            if own is None:
                del first["own_reward"], then["own_reward"]
            step = TimeStep(**choose(over, first, then), info=info)
        return step

    def render(self) -> np.ndarray | None:
        if self._last_picture is not None:
            return self._last_picture
        picture = self.env.render()
        self._drawn = picture is not None
        return picture


def repeat_actions(env: Environment, times: int) -> Environment:
    """Do each action `times` times.

    Raises:
        UsageError: for a number below one.
    """
    check_whole("action_repeat", times)
    if isinstance(env, JaxEnvironment):
        return JaxActionRepeat(env, times)
    return HostActionRepeat(env, times)
