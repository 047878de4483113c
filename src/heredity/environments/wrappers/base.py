"""What all wrappers have in common: they hand through what they do not change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from heredity.common.errors import UsageError
from heredity.common.recording import Scene
from heredity.environments.contract import HostEnvironment, JaxEnvironment, Pose, TimeStep


def check_whole(name: str, value: int) -> None:
    """Refuse what is no whole number of at least one."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name}={value!r}: a whole number >= 1 was expected")


class JaxWrapper(JaxEnvironment):
    """A JAX environment around another one; as it stands it changes nothing.

    Override `reset` and `step`. One that keeps something of its own in the state overrides
    `inner_state` too, so that the viewer finds the state that it draws.

    Args:
        env: The environment inside.
    """

    def __init__(self, env: JaxEnvironment) -> None:
        self.env = env
        self.observation_space = env.observation_space
        self.action_space = env.action_space
        self.num_envs = env.num_envs
        self.action_repeat = env.action_repeat
        self.max_episode_steps = env.max_episode_steps
        self.reset_is_cheap = env.reset_is_cheap
        self.step_seconds = env.step_seconds
        self.actor_reads = env.actor_reads
        # `step_batch` transforms the step of the outermost one, all that is inside included.
        self.batches_last = env.batches_last

    def inner_state(self, state: Any) -> Any:
        """The state of the environment inside."""
        return state

    def reset(self, key: Any) -> tuple[Any, Any]:
        return self.env.reset(key)

    def step(self, state: Any, action: Any) -> tuple[Any, TimeStep]:
        return self.env.step(state, action)

    def scene(self) -> Scene | None:
        return self.env.scene()

    def pose(self, state: Any) -> Pose | None:
        return self.env.pose(self.inner_state(state))


class HostWrapper(HostEnvironment):
    """A host environment around another one; as it stands it changes nothing.

    Override `reset` and `step`. Whatever it keeps has to follow from the seeds of the resets and
    the actions since, and nothing else: a resumed run plays them again and has to get here.

    Args:
        env: The environment inside.
    """

    def __init__(self, env: HostEnvironment) -> None:
        self.env = env
        self.observation_space = env.observation_space
        self.action_space = env.action_space
        self.num_envs = env.num_envs
        self.action_repeat = env.action_repeat
        self.max_episode_steps = env.max_episode_steps
        self.step_seconds = env.step_seconds
        self.actor_reads = env.actor_reads
        self.unseeded = env.unseeded

    @property
    def restarts(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many processes of the environment inside were started again so far."""
        return self.env.restarts

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> Any:
        return self.env.reset(seeds, mask)

    def step(self, actions: np.ndarray) -> TimeStep:
        return self.env.step(actions)

    def render(self) -> np.ndarray | None:
        return self.env.render()

    def close(self) -> None:
        self.env.close()


def choose(mask: np.ndarray, yes: Any, no: Any) -> Any:
    """By environment, one of two batches of numpy arrays; dicts of them part by part.

    Args:
        mask: Shape (num_envs,), bool.
        yes: Taken where `mask`.
        no: Taken elsewhere.

    Example:
        >>> choose(np.array([True, False]), np.ones((2, 2)), np.zeros((2, 2))).tolist()
        [[1.0, 1.0], [0.0, 0.0]]
    """
    if isinstance(no, Mapping):
        return {name: choose(mask, yes[name], part) for name, part in no.items()}
    yes, no = np.asarray(yes), np.asarray(no)
    return np.where(np.reshape(mask, (-1,) + (1,) * (no.ndim - 1)), yes, no)
