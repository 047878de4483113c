"""What an adapter to a library of environments is, and what adapters share."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from heredity.common.errors import UsageError
from heredity.environments.checks import check_spaces
from heredity.environments.contract import (
    Environment,
    EnvironmentSpec,
    HostEnvironment,
    JaxEnvironment,
    not_an_environment,
)


@dataclasses.dataclass(frozen=True)
class Adapter:
    """How the environments of one library are made.

    Args:
        name: The part of an id before the slash.
        options: A frozen dataclass type; its fields are the options, each with a default and a
            docstring, which the command line shows.
        make: Makes the named environment, given how many copies and the options.
        names: What can be made here.
        missing: Why the adapter cannot be used here; None when it can.
        summary: What it is, in one line.
        extra: The extra that brings what is missing.
        default_num_envs: How many copies are made when nobody says.
        distrust: Why a name that was read from a file is not made until a person vouches for it;
            None when it is harmless. Some names make a library import code.
        check: Raises `UnknownNameError` for an unknown name; None when `names` and
            `lacking` are all that there is.
        lacking: Names of its own that cannot be made here, by what they need and how to get it.
        on_host: Whether all of its environments are programs outside of JAX; None where that shows
            only when one is made.
        evaluation: Those options that evaluations give another value than training, by name: what
            is scored is whole episodes of the task itself, whatever it is cut into to learn from.
    """

    name: str
    options: type
    make: Callable[[str, int, Any], Environment]
    names: Callable[[], Sequence[str]]
    missing: Callable[[], str | None]
    summary: str
    extra: str = ""
    default_num_envs: int = 8
    distrust: Callable[[str], str | None] = lambda name: None
    check: Callable[[str], None] | None = None
    lacking: Callable[[], Mapping[str, Sequence[str]]] = dict
    on_host: bool | None = None
    evaluation: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda options: {}


def complete(
    env: Any, spec: EnvironmentSpec, num_envs: int | None, asked: int | None
) -> Environment:
    """Check what was made, of which there should be `num_envs` (None: any number), and name it."""
    if not isinstance(env, JaxEnvironment | HostEnvironment):
        raise not_an_environment(env, f"{spec.id} gave", "a JaxEnvironment or HostEnvironment")
    if isinstance(env, HostEnvironment) and num_envs is not None and env.num_envs != num_envs:
        raise UsageError(
            f"{spec.id} was asked for {num_envs} environments and made {env.num_envs}: what makes "
            "a HostEnvironment takes a parameter num_envs and makes as many as that says"
        )
    check_spaces(env, spec.id)
    env.spec = spec
    if isinstance(env, JaxEnvironment) and asked is not None:
        env.num_envs = asked
    return env


def is_missing(module: str) -> str | None:
    """What `Adapter.missing` answers for an adapter that needs one module."""
    return None if importlib.util.find_spec(module) else f"{module} is not installed"


def see_current_folder(module: str) -> None:
    """Make modules of the current folder importable if `module` is found nowhere else.

    Console scripts do not look there, where people keep their own code.
    """
    top = module.partition(".")[0]
    if importlib.util.find_spec(top) is None and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
        importlib.invalidate_caches()
