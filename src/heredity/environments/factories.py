"""Environments by import path, ``package.module:factory``: a class or function of anybody's."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from typing import Any

from heredity.common.errors import UnknownNameError, UsageError
from heredity.environments.adapters import Adapter, complete, see_current_folder
from heredity.environments.contract import Environment, EnvironmentSpec
from heredity.environments.options import options_to_json


def is_factory(id: str) -> bool:
    """Whether it reads ``package.module:factory``; gym names may hold a colon after the slash."""
    return ":" in id.partition("/")[0]


def load_factory(id: str) -> Callable[..., Any]:
    """The class or function that an id names; its module is imported, which runs its code.

    Raises:
        UsageError: when there is no such module, or nothing in it that could be called.
    """
    module_name, _, attribute = id.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise UsageError(f"environment {id!r}: package.module:factory was expected")
    see_current_folder(module_name)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise UsageError(
            f"environment {id!r}: there is no module {error.name!r}; run from the folder that "
            "holds it, or install it"
        ) from None
    factory = getattr(module, attribute, None)
    if not callable(factory):
        known = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        raise UnknownNameError(f"factory in {module_name}", attribute, known)
    try:
        inspect.signature(factory)
    except ValueError as error:
        raise UsageError(f"environment {id!r} tells no parameters: {error}") from None
    return factory


def make_from_factory(id: str, num_envs: int | None, options: Mapping[str, Any]) -> Environment:
    """Call a factory with options, and with `num_envs` if it takes that.

    Raises:
        UsageError: when it does not take them, or gives something else than an environment.
    """
    factory = load_factory(id)
    signature = inspect.signature(factory)
    # A JAX environment is one environment, however many copies run: it need not know.
    sized = any(
        parameter.name == "num_envs" or parameter.kind is parameter.VAR_KEYWORD
        for parameter in signature.parameters.values()
    )
    keywords = {**options, "num_envs": num_envs or 1} if sized else dict(options)
    try:
        signature.bind(**keywords)
    except TypeError as error:
        given = ", ".join(sorted(keywords)) or "no options"
        raise UsageError(f"{id} cannot be called with {given}: {error}") from None
    try:
        recorded = json.loads(json.dumps(dict(options), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(f"options of {id} have to be JSON values ({error})") from None
    env = factory(**keywords)
    count = (num_envs or 1) if sized else num_envs
    return complete(env, EnvironmentSpec(id, recorded), count, num_envs)


def factory_adapter(id: str) -> Adapter:
    """An adapter whose options are the keyword parameters of a factory, a function or class."""
    factory = load_factory(id)
    annotated = factory.__init__ if isinstance(factory, type) else factory
    try:
        hints = typing.get_type_hints(annotated) if inspect.isroutine(annotated) else {}
    except NameError as error:
        raise UsageError(
            f"{id}: the annotations of its parameters tell which options there are, and cannot be "
            f"read: {error}"
        ) from None
    fields = []
    for parameter in inspect.signature(factory).parameters.values():
        if parameter.name == "num_envs" or parameter.kind in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        ):
            continue
        required = parameter.default is parameter.empty
        kind = hints.get(parameter.name, str if required else type(parameter.default))
        default = (
            dataclasses.field()
            if required
            else dataclasses.field(default_factory=functools.partial(_same, parameter.default))
        )
        fields.append((parameter.name, kind, default))
    options = dataclasses.make_dataclass("FactoryOptions", fields, frozen=True, kw_only=True)

    def build(name: str, num_envs: int, values: Any) -> Environment:
        return make_from_factory(id, num_envs, options_to_json(values))

    return Adapter(
        name=id,
        options=options,
        make=build,
        names=lambda: (id,),
        missing=lambda: None,
        summary=(inspect.getdoc(factory) or "a factory of your own").partition("\n")[0],
        default_num_envs=1,
    )


def _same(value: Any) -> Any:
    return value
