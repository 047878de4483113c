"""From an id such as ``brax/ant`` to an environment: adapters, and who may name them.

Nothing here imports an environment library: an adapter is loaded when its name is first used, so
that starting is fast and a missing extra breaks nobody else.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from heredity.common.errors import MissingExtraError, UnknownNameError, UsageError
from heredity.environments.contract import (
    Environment,
    EnvironmentSpec,
    HostEnvironment,
    JaxEnvironment,
    not_an_environment,
)
from heredity.environments.options import build_options, options_to_json

ENTRY_POINTS = "heredity.environments"

_BUILT_IN = {
    "brax": "heredity.environments.brax",
    "gym": "heredity.environments.gymnasium",
    "gymnax": "heredity.environments.gymnax",
    "probe": "heredity.environments.probes",
}


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
        check: Raises `UnknownNameError` for a name that nobody answers to; None when `names` and
            `lacking` are all that there is.
        lacking: Names of its own that cannot be made here, by what they need and how to get it.
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


@dataclasses.dataclass(frozen=True)
class AdapterListing:
    """One row of ``heredity envs``.

    Args:
        name: The part of an id before the slash.
        summary: What it is, in one line.
        names: What can be made here.
        missing: Why it cannot be used here and what to install; None when it can.
        lacking: Names of its own that cannot be made here, by what they need and how to get it.
    """

    name: str
    summary: str
    names: tuple[str, ...]
    missing: str | None
    lacking: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


_registered: dict[str, Adapter] = {}


def register(adapter: Adapter) -> None:
    """Make the environments of an adapter of your own known in this process, as ``name/...``.

    A package does the same for everybody with an entry point in the group
    ``heredity.environments`` whose value is an `Adapter`.

    Raises:
        UsageError: when the name is taken or is no plain word.
    """
    if not adapter.name.replace("-", "_").isidentifier():
        raise UsageError(f"adapter name {adapter.name!r}: a plain word was expected")
    if adapter.name in _BUILT_IN or _registered.get(adapter.name, adapter) is not adapter:
        raise UsageError(f"adapter name {adapter.name!r} is taken: choose another")
    _registered[adapter.name] = adapter


def make(id: str, num_envs: int | None = None, **options: Any) -> Environment:
    """The environment that an id names.

    Args:
        id: ``adapter/name``, such as ``brax/ant``; or ``package.module:factory``: a class or
            function, which is called with the options, and with ``num_envs`` if it takes that.
        num_envs: How many copies run side by side; None for the adapter's default. A JAX
            environment is one environment all the same, and only remembers the number for `PPO`.
        **options: The adapter's options by name, JSON values.

    Raises:
        UnknownNameError: when the adapter, the environment or an option does not exist.
        UsageError: when an option has a wrong value.
        MissingExtraError: when the library is not installed.

    Example:
        >>> make("probe/constant-reward", num_envs=4).spec.id
        'probe/constant-reward'
    """
    if num_envs is not None and (
        not isinstance(num_envs, int) or isinstance(num_envs, bool) or num_envs < 1
    ):
        raise UsageError(f"num_envs={num_envs!r}: a whole number >= 1 was expected")
    if _is_factory(id):
        return _make_from_factory(id, num_envs, options)
    adapter, name = _resolve(id)
    missing = adapter.missing()
    if missing:
        if adapter.extra:
            raise MissingExtraError(f"environment {id!r}", adapter.extra, missing)
        raise UsageError(f"environment {id!r} cannot be made here: {missing}")
    values = build_options(adapter.options, options, id)
    count = num_envs or adapter.default_num_envs
    env = adapter.make(name, count, values)
    return _complete(env, EnvironmentSpec(id, options_to_json(values)), count, num_envs)


def make_recorded(
    spec: EnvironmentSpec, num_envs: int | None = None, trust: Sequence[str] = ()
) -> Environment:
    """The environment that a *file* names, which must not get to choose what code is run.

    Args:
        spec: As it was read.
        num_envs: How many copies; None for the adapter's default.
        trust: Ids that the person vouches for.

    Raises:
        UsageError: when the id is neither a harmless one of a built-in adapter nor trusted.
    """
    if spec.id not in trust:
        head, slash, name = spec.id.partition("/")
        if _is_factory(spec.id) or not slash or head not in _BUILT_IN:
            problem = "is not one of the built-in environments"
        else:
            problem = load_adapter(head).distrust(name)
        if problem:
            raise UsageError(
                f"the file names the environment {spec.id!r}, which {problem}, so making it could "
                f"run code that the file chose: give the environment yourself with --env, or vouch "
                f"for this one with --trust {spec.id} (in Python env=..., trust=[{spec.id!r}])"
            )
    return make(spec.id, num_envs, **dict(spec.options))


def find_adapter(id: str) -> Adapter:
    """The adapter of an id, before anything is made: for its options.

    For ``package.module:factory`` it is made up from the signature of the factory.

    Raises:
        UnknownNameError: when there is no such adapter.
    """
    if _is_factory(id):
        return _factory_adapter(id)
    return _resolve(id)[0]


def check_id(id: str) -> None:
    """Refuse an id that names nothing, as far as that shows before anything is made.

    Raises:
        UnknownNameError: when there is no such adapter, environment or factory.
        UsageError: when there is no such module.
    """
    if _is_factory(id):
        _load_factory(id)
    else:
        _resolve(id)


def list_environments() -> tuple[AdapterListing, ...]:
    """What can be made here, adapter by adapter, in the order of their names."""
    rows = []
    for name in adapter_names():
        try:
            adapter = load_adapter(name)
        except UsageError as error:
            rows.append(AdapterListing(name, "", (), str(error)))
            continue
        missing = adapter.missing()
        if missing and adapter.extra:
            missing = f"{missing}: pip install 'heredity[{adapter.extra}]'"
        names = () if missing else tuple(adapter.names())
        lacking = {} if missing else {why: tuple(some) for why, some in adapter.lacking().items()}
        rows.append(AdapterListing(name, adapter.summary, names, missing, lacking))
    return tuple(rows)


def adapter_names() -> tuple[str, ...]:
    """Names of all adapters: built in, registered, and from entry points."""
    return tuple(sorted({*_BUILT_IN, *_registered, *_entry_points()}))


def load_adapter(name: str) -> Adapter:
    """One adapter by name. What ships here cannot be replaced by others.

    Raises:
        UnknownNameError: when there is none.
        UsageError: when an entry point does not hold one.
    """
    if name in _BUILT_IN:
        return importlib.import_module(_BUILT_IN[name]).ADAPTER
    if name in _registered:
        return _registered[name]
    if name not in _entry_points():
        raise UnknownNameError("adapter of environments", name, adapter_names())
    point = _entry_points()[name]
    try:
        adapter = point.load()
    except Exception as error:  # a stranger's package may fail in any way
        raise UsageError(
            f"adapter {name!r} (entry point {point.value}) could not be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(adapter, Adapter):
        raise UsageError(
            f"entry point {point.value} of the group {ENTRY_POINTS} holds a "
            f"{type(adapter).__name__}, an Adapter was expected"
        )
    return adapter


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


@functools.cache
def _entry_points() -> Mapping[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def _is_factory(id: str) -> bool:
    """Whether it reads ``package.module:factory``; gym names may hold a colon after the slash."""
    return ":" in id.partition("/")[0]


def _resolve(id: str) -> tuple[Adapter, str]:
    """The adapter and the name of an environment that exists, as far as that can be known."""
    head, slash, name = id.partition("/")
    if not slash or head not in adapter_names():
        raise UnknownNameError(
            "environment",
            id,
            _all_ids(),
            "an id reads adapter/name, heredity envs lists all; your own: package.module:factory",
            brief=True,
        )
    adapter = load_adapter(head)
    if not adapter.missing():
        if adapter.check is not None:
            adapter.check(name)
        elif name not in (names := _own_names(adapter.names(), adapter.lacking())):
            known = [f"{head}/{known}" for known in names]
            raise UnknownNameError("environment", id, known, "heredity envs lists all", brief=True)
    return adapter, name


def _all_ids() -> list[str]:
    return [
        f"{row.name}/{name}"
        for row in list_environments()
        for name in _own_names(row.names, row.lacking)
    ]


def _own_names(names: Sequence[str], lacking: Mapping[str, Sequence[str]]) -> list[str]:
    return [*names, *(name for some in lacking.values() for name in some)]


def _complete(
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
    env.spec = spec
    if isinstance(env, JaxEnvironment) and asked is not None:
        env.num_envs = asked
    return env


def _load_factory(id: str) -> Callable[..., Any]:
    module_name, _, attribute = id.partition(":")
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
    return factory


def _make_from_factory(id: str, num_envs: int | None, options: Mapping[str, Any]) -> Environment:
    factory = _load_factory(id)
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
    return _complete(env, EnvironmentSpec(id, recorded), count, num_envs)


def _factory_adapter(id: str) -> Adapter:
    """An adapter whose options are the keyword parameters of a factory, a function or class."""
    factory = _load_factory(id)
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
        return _make_from_factory(id, num_envs, options_to_json(values))

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
