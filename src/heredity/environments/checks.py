"""What environments say of themselves, against what they then give.

An environment of somebody's own may be wrong in ways that would show far from where they are made:
in an array of another shape, or in a policy that learns nothing. The first look tells.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from heredity.common.errors import UsageError
from heredity.environments.contract import Environment, HostEnvironment, TimeStep
from heredity.spaces import Box, Dict, Discrete, Graph, MultiDiscrete, Space, space_in_words

log = logging.getLogger("heredity")

WHICHEVER = "correct whichever of the two is wrong"
FINITE = "nothing can be learnt from numbers that are not finite"
# What is taken where a space says another kind of number: nothing is lost by it.
_TAKEN = {"f": "fiub", "i": "iub", "b": "b"}
_IN_WORDS = {"f": "numbers with a fraction", "i": "whole numbers", "b": "booleans"}

_WRAPPERS = "heredity.environments.wrappers."

_told: set[str] = set()  # whose observations were told to be out of bounds


def check_spaces(env: Environment, owner: str) -> None:
    """Refuse an environment in which there is nothing to see or to do.

    Args:
        env: The environment.
        owner: What it is called.

    Raises:
        UsageError: when a space is missing, is none of `heredity.spaces`, or is empty.

    Example:
        >>> class Blind: observation_space, action_space = Box((0,)), Discrete(2)
        >>> check_spaces(Blind(), "blind")
        Traceback (most recent call last):
            ...
        heredity.common.errors.UsageError: blind: its observation_space is empty, Box float32[0]: \
there has to be something to see
    """
    for name, purpose in (("observation_space", "see"), ("action_space", "do")):
        space = getattr(env, name, None)
        if not isinstance(space, Space):
            given = (
                "nothing" if space is None else f"a {type(space).__module__}.{type(space).__name__}"
            )
            raise UsageError(
                f"{owner}: its {name} is {given}: one of heredity.spaces was expected, such as "
                f"Box((4,)) or Discrete(2), as an attribute {name}"
            )
        if not space.dims and _size(space) == 0:
            raise UsageError(
                f"{owner}: its {name} is empty, {space_in_words(space)}: there has to be something "
                f"to {purpose}"
            )


def described(value: Any) -> str:
    """What was given instead of what was expected.

    Example:
        >>> [described(value) for value in (None, "left", (1, 2), {}, np.zeros(3))]
        ['None', "'left'", '2 values', 'a dict', 'an array of shape (3,) and dtype float64']
    """
    if isinstance(value, tuple | list):
        return f"{len(value)} values"
    if value is None or isinstance(value, str | bool | int | float | np.generic):
        return repr(value)
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of shape {tuple(value.shape)} and dtype {value.dtype}"
    return f"a {type(value).__name__}"


def _size(space: Space) -> int:
    """How many numbers or choices it holds."""
    match space:
        case Box():
            return int(np.prod(space.concrete_shape, dtype=np.int64))
        case Discrete():
            return space.size
        case MultiDiscrete():
            return len(space.nvec)
        case Dict():
            return sum(_size(part) for _, part in space.entries)
    return 1


def kind_of(dtype: Any) -> str:
    """What kind of number: ``f`` with a fraction, ``i`` whole, ``b`` yes or no, or none of these.

    Example:
        >>> [kind_of(dtype) for dtype in ("float64", "uint8", "bool", "U3")]
        ['f', 'i', 'b', 'U']
    """
    try:
        dtype = np.dtype(dtype)
    except TypeError:
        return "?"  # a dtype of JAX alone, such as that of its random keys
    if dtype.kind == "V" and "float" in dtype.name:
        return "f"  # JAX's short floats are no floats to numpy
    return "i" if dtype.kind in "iu" else dtype.kind


def array_difference(
    value: Any, shape: Sequence[int | None], kind: str, path: str = "", of: str = ""
) -> str:
    """In what an array differs from its space; empty where it does not.

    Args:
        value: What has a shape and a dtype.
        shape: As the space says; None for any size.
        kind: Of the numbers of the space, see `kind_of`. Whole ones may stand where fractions are
            expected, and booleans for both: nothing is lost by it.
        path: Of a part of an observation, such as ``['camera']``.
        of: Whose shape it is, where that is not the space's alone.

    Example:
        >>> array_difference(np.zeros(3), (2,), "f")
        'an observation of shape (3,), its observation_space says (2,)'
        >>> array_difference(np.zeros(2), (2,), "i", "['camera']")
        "observation['camera'] of float64, its observation_space says whole numbers"
    """
    what = f"observation{path}" if path else "an observation"
    says = f"its observation_space says{of}"
    agrees = len(shape) == len(value.shape) and all(
        size in (None, own) for size, own in zip(shape, value.shape, strict=True)
    )
    if not agrees:
        sizes = ["any" if size is None else str(size) for size in shape]
        told = f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"
        return f"{what} of shape {tuple(value.shape)}, {says} {told}"
    if kind_of(value.dtype) not in _TAKEN[kind]:
        return f"{what} of {value.dtype}, {says} {_IN_WORDS[kind]}"
    return ""


def difference(space: Space, value: Any, leading: tuple[int, ...] = (), path: str = "") -> str:
    """In what an observation differs from its space; empty where it does not.

    Args:
        space: Of one observation.
        value: Arrays, or what else has a shape and a dtype, in dicts where the space has them.
        leading: Sizes of the axes before those of the space.
        path: Of a part, as for `array_difference`.

    Example:
        >>> difference(Dict({"camera": Box((2,))}), {"camera": np.zeros(3)})
        "observation['camera'] of shape (3,), its observation_space says (2,)"
    """
    if isinstance(space, Graph):
        space = space.fields()
    what = f"observation{path}" if path else "an observation"
    says = f"its observation_space says {space_in_words(space)}"
    other = f"{what} that is {described(value)}, {says}"
    if isinstance(space, Dict):
        if not isinstance(value, Mapping):
            return other
        keys = different_keys(list(value), list(space))
        if keys:
            return f"{what} {keys}"
        return first_problem(
            difference(part, value[name], leading, f"{path}[{name!r}]")
            for name, part in space.entries
        )
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        return other
    shape: list[int | None] = list(leading)
    kind = "i"
    if isinstance(space, Box):
        shape += [size if isinstance(size, int) else None for size in space.shape]
        kind = kind_of(space.dtype)
    elif isinstance(space, MultiDiscrete):
        shape.append(len(space.nvec))
    return array_difference(value, shape, kind, path, " of all together" if leading else "")


def first_problem(problems: Iterable[str]) -> str:
    """The first that is not empty; empty where all are."""
    return next(filter(None, problems), "")


def different_keys(given: list[Any], declared: list[Any]) -> str:
    """How the keys of a dict differ from those of its space; empty where they do not.

    Example:
        >>> different_keys(["camera", "gaol"], ["camera", "goal"])
        "without 'goal' and with 'gaol', its observation_space says 'camera', 'goal'"
    """
    lacking = [repr(key) for key in declared if key not in given]
    more = [repr(key) for key in given if key not in declared]
    if not lacking and not more:
        return ""
    told = [
        f"{how} {', '.join(keys)}" for how, keys in (("without", lacking), ("with", more)) if keys
    ]
    return f"{' and '.join(told)}, its observation_space says {', '.join(map(repr, declared))}"


def check_first_observations(env: HostEnvironment, observation: Any) -> None:
    """Refuse the first observations of a vector if they are other than its space says.

    Raises:
        UsageError: then; the message names the vector.
    """
    problem = _problem_of_all(env, observation)
    if problem:
        raise UsageError(f"{called(env)}: reset gave {problem}")


def check_first_step(env: HostEnvironment, result: Any) -> None:
    """Refuse the first step of a vector if it is no `TimeStep` of such a vector.

    Raises:
        UsageError: then; the message names the vector.
    """
    if not isinstance(result, TimeStep):
        raise UsageError(f"{called(env)}: step gave {described(result)}: a TimeStep was expected")
    problem = _problem_of_all(env, result.observation)
    for name, kinds in (("reward", "fib"), ("terminated", "b"), ("truncated", "b")):
        value = np.asarray(getattr(result, name))
        if not problem and (value.shape != (env.num_envs,) or kind_of(value.dtype) not in kinds):
            wanted = "numbers" if name == "reward" else "booleans"
            problem = (
                f"{name} of shape {value.shape} and dtype {value.dtype}: {wanted} of shape "
                f"({env.num_envs},) were expected, one of each environment"
            )
    if not problem and not np.isfinite(result.reward).all():
        problem = f"rewards {np.asarray(result.reward)}: {FINITE}"
    if problem:
        raise UsageError(f"{called(env)}: step gave {problem}")


def _problem_of_all(env: HostEnvironment, observation: Any) -> str:
    problem = difference(env.observation_space, observation, (env.num_envs,))
    if problem:
        return f"{problem}: {WHICHEVER}; the environments come along the first axis"
    problem = not_finite(observation)
    return f"{problem}: {FINITE}" if problem else ""


def not_finite(observation: Any, path: str = "") -> str:
    """Which number of an observation is not finite; empty where all are.

    Example:
        >>> not_finite({"state": np.array([0.0, np.nan])})
        "an observation with nan at ['state'][1]"
    """
    if isinstance(observation, Mapping | tuple | list):
        named = isinstance(observation, Mapping)
        parts = observation.items() if named else enumerate(observation)
        return first_problem(not_finite(part, f"{path}[{name!r}]") for name, part in parts)
    array = np.asarray(observation)
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return ""
    place = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
    where = path + (f"[{', '.join(map(str, place))}]" if place else "")
    return f"an observation with {array[place]}" + (f" at {where}" if where else "")


def called(env: Environment) -> str:
    """What an environment is called: its id, or its class where it has none."""
    return env.spec.id if env.spec else type(own_part(env)).__name__


def own_part(env: Environment) -> Environment:
    """What somebody else wrote of an environment: without the wrappers of this library around it.

    Example:
        >>> from heredity.environments import make
        >>> type(own_part(make("probe/constant-reward", frame_stack=2))).__name__
        'ConstantReward'
    """
    part: Any = env
    while type(part).__module__.startswith(_WRAPPERS):
        part = part.env
    return part


def tell_out_of_bounds(space: Space, observation: Any, owner: str) -> None:
    """Warn, once of each environment, that what it shows lies outside of its bounds.

    Many environments do that, and nothing is made of it: bounds are for people.

    Args:
        space: Of one observation.
        observation: Of several environments, as the space says.
        owner: What the environment is called.
    """
    if owner in _told:
        return
    problem = _outside(space, observation, "")
    if problem:
        _told.add(owner)
        log.warning("%s shows %s; it is taken as it is", owner, problem)


def _outside(space: Space, value: Any, path: str) -> str:
    match space:
        case Dict():
            return first_problem(
                _outside(part, value[name], f"{path}[{name!r}]") for name, part in space.entries
            )
        case Box():
            low, high = np.asarray(space.low), np.asarray(space.high)
        case Discrete():
            low, high = np.asarray(space.start), np.asarray(space.start + space.size - 1)
        case MultiDiscrete():
            low, high = np.asarray(0), np.asarray(space.nvec) - 1
        case _:
            return ""
    array = np.asarray(value)
    outside = (array < low) | (array > high)
    if not outside.any():
        return ""
    place = tuple(np.argwhere(outside)[0])
    low, high = (np.broadcast_to(bound, array.shape)[place] for bound in (low, high))
    what = f"observation{path}" if path else "an observation"
    return f"{array[place]:g} in {what}, its observation_space says {low:g} to {high:g}"
