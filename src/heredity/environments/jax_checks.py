"""Environments in JAX, against what they declare: shapes and dtypes alone, nothing is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from heredity.common.errors import UsageError
from heredity.common.own_code import own_line
from heredity.environments.checks import WHICHEVER, check_spaces, described, difference, kind_of
from heredity.environments.contract import JaxEnvironment, TimeStep


def check_jax_environment(env: JaxEnvironment, owner: str) -> None:
    """Trace a reset and a step, and compare what they give with what the environment declares.

    It takes as long as tracing those, which is milliseconds for most.

    Args:
        env: The environment, as its author wrote it.
        owner: What it is called.

    Raises:
        UsageError: when they differ; when a state changes shape or dtype in a step; when JAX cannot
            trace it.

    Example:
        >>> from heredity.environments import make
        >>> check_jax_environment(make("probe/constant-reward"), "mine")
    """
    check_spaces(env, owner)
    reset = _traced(owner, "reset", env.reset, jax.eval_shape(lambda: jax.random.key(0)))
    if not isinstance(reset, tuple) or len(reset) != 2:
        raise UsageError(
            f"{owner}: reset gives {described(reset)}: (state, observation) was expected"
        )
    before, seen = reset
    problem = difference(env.observation_space, seen)
    if problem:
        raise UsageError(f"{owner}: reset gives {problem}: {WHICHEVER}")

    action = jax.tree.map(jnp.asarray, env.action_space.sample(np.random.default_rng(0)))
    step = _traced(owner, "step", env.step, before, action)
    if not isinstance(step, tuple) or len(step) != 2 or not isinstance(step[1], TimeStep):
        pair = isinstance(step, tuple) and len(step) == 2
        gives = f"a state and {described(step[1])}" if pair else described(step)
        raise UsageError(
            f"{owner}: step gives {gives}: (state, TimeStep(observation, reward, terminated, "
            "truncated, info)) was expected"
        )
    after, result = step
    problem = difference(env.observation_space, result.observation)
    if problem:
        raise UsageError(f"{owner}: step gives {problem}: {WHICHEVER}")
    _check_same(owner, "observation", seen, result.observation)
    _check_same(owner, "state", before, after)
    _check_numbers(owner, result)


def _traced(owner: str, moment: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return jax.eval_shape(function, *arguments)
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError) as error:
        problem = str(error).partition("\n")[0].rstrip(".")
        raise UsageError(
            f"{owner}: {moment} cannot be compiled by JAX: {problem}{own_line(error)}. It has to "
            "be written with jax.numpy, with jnp.where or jax.lax.cond for what depends on values"
        ) from error
    except TypeError as error:
        if "valid JAX type" not in str(error):
            raise
        raise UsageError(
            f"{owner}: {moment} gives something else than numbers and arrays: {error}"
        ) from error


def _check_same(owner: str, what: str, before: Any, after: Any) -> None:
    """What goes through a loop comes out as it went in."""
    paths = [
        {
            jax.tree_util.keystr(path): leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        for tree in (before, after)
    ]
    alike = "a loop needs both alike"
    for one, other, where in ((*paths, "reset and not by step"), (*paths[::-1], "step alone")):
        odd = [path for path in one if path not in other]
        if odd:
            raise UsageError(f"{owner}: {what}{odd[0]} is given by {where}: {alike}")
    if jax.tree.structure(before) != jax.tree.structure(after):
        raise UsageError(
            f"{owner}: the {what} is {jax.tree.structure(before)} after reset and "
            f"{jax.tree.structure(after)} after step: {alike}"
        )
    for path, first in paths[0].items():
        then = paths[1][path]
        if first.shape == then.shape and first.dtype == then.dtype:
            continue
        one, other = described(first), described(then)
        # A loop makes of a Python number what the step makes of it; a resume has to know before.
        remedy = f"; begin with jnp.{then.dtype}(...)" if first.weak_type else ""
        raise UsageError(
            f"{owner}: {what}{path} is {one} after reset and {other} after step: {alike}{remedy}"
        )


def _check_numbers(owner: str, result: TimeStep) -> None:
    for name, kinds, wanted in (
        ("reward", "fib", "one number, such as jnp.float32(reward),"),
        ("terminated", "b", "one bool"),
        ("truncated", "b", "one bool"),
    ):
        value = getattr(result, name)
        one = getattr(value, "shape", None) == ()
        if not one or kind_of(value.dtype) not in kinds:
            raise UsageError(
                f"{owner}: step gives {name} as {described(value)}: {wanted} was expected"
            )
    if not isinstance(result.info, Mapping):
        raise UsageError(
            f"{owner}: step gives info as {described(result.info)}: a dict was expected"
        )
    for name, value in result.info.items():
        if not hasattr(value, "dtype") or kind_of(value.dtype) not in "fib":
            raise UsageError(
                f"{owner}: step gives info[{name!r}] as {described(value)}: a number was expected"
            )
