"""The options of the wrappers, which join those of every adapter.

Each stands in a class of its own, so that an adapter that has an option of the same kind keeps its
own and is not given a second one.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Collection, Mapping
from typing import Any

from heredity.common.errors import UsageError
from heredity.common.fields import check_fields
from heredity.environments.options import build_options
from heredity.environments.wrappers.base import check_whole


@dataclasses.dataclass(frozen=True)
class _TimeLimit:
    """See `heredity.environments.wrappers.time_limit`."""

    max_episode_steps: int | None = None
    """Steps of the environment after which an episode is truncated (action repeats count); none for
    the environment's own limit."""


@dataclasses.dataclass(frozen=True)
class _ActionRepeat:
    """See `heredity.environments.wrappers.action_repeat`."""

    action_repeat: int = 1
    """Steps of the environment in each decision; their rewards are added."""


@dataclasses.dataclass(frozen=True)
class _Grayscale:
    """See `heredity.environments.wrappers.grayscale`."""

    grayscale: bool = False
    """Turn pictures of three colours into one channel of brightness."""


@dataclasses.dataclass(frozen=True)
class _Resize:
    """See `heredity.environments.wrappers.resize`."""

    resize: tuple[int, ...] = ()
    """Height and width that pictures are resized to; none to leave them as they are."""


@dataclasses.dataclass(frozen=True)
class _FrameStack:
    """See `heredity.environments.wrappers.frame_stack`."""

    frame_stack: int = 1
    """How many of the last observations are shown together, the newest last: pictures stacked along
    channels, vectors one behind the other."""


@dataclasses.dataclass(frozen=True)
class _RewardScale:
    """See `heredity.environments.wrappers.rewards`."""

    reward_scale: float = 1.0
    """Factor on the rewards that are learnt from, before `reward_clip`; returns count the
    environment's own. PPO has a `reward_scale` too, which comes after both: they multiply."""


@dataclasses.dataclass(frozen=True)
class _RewardClip:
    """See `heredity.environments.wrappers.rewards`."""

    reward_clip: float | None = None
    """Clip the rewards that are learnt from to between minus and plus this, after scaling; none for
    no limit; returns count the environment's own."""


# In the order in which they are put around an environment, the innermost first.
_ORDER = (
    _TimeLimit,
    _ActionRepeat,
    _Grayscale,
    _Resize,
    _FrameStack,
    _RewardScale,
    _RewardClip,
)
_BY_NAME = {dataclasses.fields(kind)[0].name: kind for kind in _ORDER}

# What adapters and factories call the same thing; whoever has one of these is not given another.
_SAME = {"max_episode_steps": ("episode_length",), "action_repeat": ("frame_skip",)}


@dataclasses.dataclass(frozen=True)
class Wrapping(*reversed(_ORDER)):
    """Everything that is put around an environment, in its fixed order.

    Raises:
        UsageError: for a value that cannot be.
    """

    def __post_init__(self) -> None:
        check_fields(self)
        if self.max_episode_steps is not None:
            check_whole("max_episode_steps", self.max_episode_steps)
        for name in ("action_repeat", "frame_stack"):
            check_whole(name, getattr(self, name))
        if len(self.resize) not in (0, 2):
            raise UsageError(f"resize={self.resize!r}: a height and a width were expected")
        for size in self.resize:
            check_whole("resize", size)
        if not math.isfinite(self.reward_scale) or self.reward_scale <= 0:
            raise UsageError(f"reward_scale={self.reward_scale!r}: a number > 0 was expected")
        if self.reward_clip is not None and not 0 < self.reward_clip < math.inf:
            raise UsageError(f"reward_clip={self.reward_clip!r}: a number > 0 was expected")

    def told(self) -> dict[str, Any]:
        """Those that differ from doing nothing, by name, as JSON values: what a file keeps."""
        told = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                told[field.name] = list(value) if isinstance(value, tuple) else value
        return told


def offered(taken: Collection[str]) -> tuple[str, ...]:
    """Names of the wrappers' options that somebody with options `taken` is given besides.

    Example:
        >>> offered(["episode_length", "action_repeat", "backend"])
        ('grayscale', 'resize', 'frame_stack', 'reward_scale', 'reward_clip')
    """
    return tuple(
        name for name in _BY_NAME if not any(own in taken for own in (name, *_SAME.get(name, ())))
    )


@functools.cache
def options_with_wrappers(kind: type) -> type:
    """An adapter's dataclass of options with those of the wrappers behind its own.

    Args:
        kind: The frozen dataclass of the adapter, of which the result is a subclass.
    """
    names = offered([field.name for field in dataclasses.fields(kind)])
    joined = dataclasses.make_dataclass(
        kind.__name__,
        [],
        # Fields of the last base come first.
        bases=(*(_BY_NAME[name] for name in reversed(names)), kind),
        frozen=True,
    )
    joined.__doc__ = kind.__doc__
    joined.__module__ = kind.__module__
    return joined


def split_options(kind: type, given: Mapping[str, Any], owner: str) -> tuple[Any, Wrapping]:
    """What of the given options is the adapter's, as its dataclass, and what the wrappers'.

    Args:
        kind: The adapter's dataclass of options.
        given: Values by name.
        owner: Whose options they are, for errors, such as ``brax/ant``.

    Raises:
        UnknownNameError: for a name that belongs to neither.
        UsageError: for a wrong value.
    """
    values = build_options(options_with_wrappers(kind), given, owner)
    own = [field.name for field in dataclasses.fields(kind)]
    wrapping = {name: getattr(values, name) for name in offered(own)}
    return kind(**{name: getattr(values, name) for name in own}), Wrapping(**wrapping)


def split_by_name(
    taken: Collection[str], given: Mapping[str, Any], owner: str
) -> tuple[dict[str, Any], Wrapping]:
    """The same for a function: what its parameters do not take and a wrapper does is the wrapper's.

    Args:
        taken: Names of its parameters.
        given: Values by name.
        owner: Whose options they are, for errors.

    Raises:
        UsageError: for a wrong value of a wrapper's option.
    """
    names = offered(taken)
    wrapping = {name: value for name, value in given.items() if name in names}
    rest = {name: value for name, value in given.items() if name not in names}
    return rest, build_options(Wrapping, wrapping, owner)
