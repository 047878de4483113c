"""Putting wrappers around an environment, always in the same order."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from heredity.common.errors import UsageError
from heredity.environments.checks import called
from heredity.environments.contract import (
    Environment,
    EnvironmentSpec,
    HostEnvironment,
    JaxEnvironment,
    not_an_environment,
)
from heredity.environments.room import bytes_of, bytes_of_box, check_room
from heredity.environments.wrappers.base import HostWrapper, JaxWrapper
from heredity.environments.wrappers.options import Wrapping, offered
from heredity.spaces import Box

_LARGER = ("resize", "frame_stack")  # what makes observations larger

Wrapped = TypeVar("Wrapped", JaxEnvironment, HostEnvironment, Environment)


def wrap(
    env: Wrapped,
    *,
    max_episode_steps: int | None = None,
    action_repeat: int = 1,
    grayscale: bool = False,
    resize: tuple[int, ...] = (),
    frame_stack: int = 1,
    reward_scale: float = 1.0,
    reward_clip: float | None = None,
) -> Wrapped:
    """An environment of your own with wrappers around it, as `make` puts them around others.

    They are applied in the order of the arguments, the first one innermost. An environment that
    was made from an id keeps it, with these options beside its own, so that a file can name it.

    Args:
        env: The environment; a `JaxEnvironment` or a `HostEnvironment`, which it stays.
        max_episode_steps: Truncate episodes after so many steps of the environment.
        action_repeat: Steps of the environment for each decision; their rewards are added.
        grayscale: Turn pictures of three colours into one channel of brightness.
        resize: Height and width that pictures are brought to.
        frame_stack: Show the last so many observations at once.
        reward_scale: Multiply rewards.
        reward_clip: Cut rewards to between minus and plus this, after scaling.

    Raises:
        UsageError: for a wrong value, observations that cannot be treated so, or an option that
            the environment has to be made with.

    Example:
        >>> from heredity.environments import make
        >>> env = wrap(make("probe/two-step-discount"), frame_stack=3)
        >>> env.observation_space.names
        ('signal[t-2]', 'signal[t-1]', 'signal')
        >>> env.spec.options["frame_stack"]
        3
    """
    if not isinstance(env, JaxEnvironment | HostEnvironment):
        raise not_an_environment(env, "env is", "a JaxEnvironment or HostEnvironment")
    wrapping = Wrapping(
        max_episode_steps=max_episode_steps,
        action_repeat=action_repeat,
        grayscale=grayscale,
        resize=resize,
        frame_stack=frame_stack,
        reward_scale=reward_scale,
        reward_clip=reward_clip,
    )
    if env.spec is not None:
        _check_spec(env, env.spec, wrapping)
    wrapped: Any = wrap_with(env, wrapping)
    return wrapped


def _check_spec(env: Environment, spec: EnvironmentSpec, wrapping: Wrapping) -> None:
    """Refuse what the same id and all options together would not make again."""
    told = wrapping.told()
    free = offered(spec.options)
    for name, value in told.items():
        if name not in free or isinstance(env, JaxWrapper | HostWrapper):
            raise UsageError(
                f"{name}={value!r} has to be given when {spec.id} is made, together with its other "
                f"options: make({spec.id!r}, {name}={value!r}, ...)"
            )


def wrap_with(env: Environment, wrapping: Wrapping) -> Environment:
    """Put wrappers around an environment, and their options into its specification.

    Raises:
        UsageError: for observations that cannot be treated so.
    """
    told = wrapping.told()
    if not told:
        return env
    wrapped = _apply(env, wrapping)
    if env.spec is not None:
        wrapped.spec = EnvironmentSpec(env.spec.id, {**env.spec.options, **told})
    return wrapped


def _apply(env: Environment, wrapping: Wrapping) -> Environment:
    # These bring JAX, which somebody who only lists environments does not need.
    from heredity.environments.wrappers.action_repeat import repeat_actions
    from heredity.environments.wrappers.frame_stack import stack_frames
    from heredity.environments.wrappers.grayscale import grayscale
    from heredity.environments.wrappers.resize import resize
    from heredity.environments.wrappers.rewards import clip_rewards, scale_rewards
    from heredity.environments.wrappers.time_limit import limit_time

    _check_room(env, wrapping)
    if wrapping.max_episode_steps is not None:
        env = limit_time(env, wrapping.max_episode_steps)
    if wrapping.action_repeat > 1:
        env = repeat_actions(env, wrapping.action_repeat)
    if wrapping.grayscale:
        env = grayscale(env)
    if wrapping.resize:
        env = resize(env, *wrapping.resize)
    if wrapping.frame_stack > 1:
        env = stack_frames(env, wrapping.frame_stack)
    if wrapping.reward_scale != 1.0:
        env = scale_rewards(env, wrapping.reward_scale)
    if wrapping.reward_clip is not None:
        env = clip_rewards(env, wrapping.reward_clip)
    return env


def _check_room(env: Environment, wrapping: Wrapping) -> None:
    """Refuse observations that would become too large, before any is made."""
    from heredity.environments.wrappers.observations import is_picture  # brings JAX

    def wrapped(box: Box) -> int:
        if box.static or not box.shape:
            return bytes_of_box(box)
        size = bytes_of_box(box) * wrapping.frame_stack
        if not wrapping.resize or not is_picture(box):
            return size
        height, width = box.concrete_shape[:2]
        return size // max(height * width, 1) * math.prod(wrapping.resize)

    if not wrapping.resize and wrapping.frame_stack == 1:
        return
    copies = env.num_envs or 1
    given = [f"{n}={value}" for n, value in wrapping.told().items() if n in _LARGER]
    check_room(
        copies * bytes_of(env.observation_space, wrapped),
        f"{called(env)}: with {', '.join(given)}, the observations of {copies} environments",
        f"give a smaller {' or '.join(_LARGER)}, or make fewer environments",
    )
