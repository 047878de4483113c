"""From an id such as ``brax/ant`` to an environment: adapters, and who may name them.

Nothing here imports an environment library: an adapter is loaded when its name is first used, so
that starting is fast and a missing extra breaks nobody else.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from heredity.common.errors import MissingExtraError, UnknownNameError, UntrustedError, UsageError
from heredity.environments.adapters import Adapter, complete
from heredity.environments.checks import check_spaces, own_part
from heredity.environments.contract import (
    Environment,
    EnvironmentSpec,
    HostEnvironment,
    JaxEnvironment,
    not_an_environment,
)
from heredity.environments.factories import (
    factory_adapter,
    is_factory,
    load_factory,
    make_from_factory,
)
from heredity.environments.options import options_to_json
from heredity.environments.wrappers import (
    Wrapping,
    options_with_wrappers,
    split_options,
    wrap_with,
)
from heredity.environments.wrappers.options import split_by_name

ENTRY_POINTS = "heredity.environments"

_BUILT_IN = {
    "atari": "heredity.environments.atari",
    "brax": "heredity.environments.brax",
    "crafter": "heredity.environments.crafter",
    "dm_control": "heredity.environments.dm_control",
    "envpool": "heredity.environments.envpool",
    "gym": "heredity.environments.gymnasium",
    "gymnax": "heredity.environments.gymnax",
    "minigrid": "heredity.environments.minigrid",
    "playground": "heredity.environments.playground",
    "probe": "heredity.environments.probes",
}


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
        **options: The adapter's options by name, JSON values, and those of the wrappers; see
            `heredity.environments.wrap`.

    Raises:
        UnknownNameError: when the adapter, the environment or an option does not exist.
        UsageError: when an option has a wrong value; when an environment of your own does not keep
            to its contract, as far as that shows before it is run.
        MissingExtraError: when the library is not installed.

    Example:
        >>> make("probe/constant-reward", num_envs=4).spec.id
        'probe/constant-reward'
    """
    if not isinstance(id, str):
        raise not_an_environment(id, "the id is", "a text such as 'gym/CartPole-v1'")
    if num_envs is not None and (
        not isinstance(num_envs, int) or isinstance(num_envs, bool) or num_envs < 1
    ):
        raise UsageError(f"num_envs={num_envs!r}: a whole number >= 1 was expected")
    if is_factory(id):
        taken = inspect.signature(load_factory(id)).parameters
        given, wrapping = split_by_name(taken, options, id)
        env = make_from_factory(id, num_envs, given)
        _check_own(env, id)
        return _wrapped(env, wrapping)
    adapter, name = _resolve(id)
    missing = adapter.missing()
    if missing:
        if adapter.extra:
            raise MissingExtraError(f"environment {id!r}", adapter.extra, missing)
        raise UsageError(f"environment {id!r} cannot be made here: {missing}")
    values, wrapping = split_options(adapter.options, options, id)
    count = num_envs or adapter.default_num_envs
    env = adapter.make(name, count, values)
    env = complete(env, EnvironmentSpec(id, options_to_json(values)), count, num_envs)
    if adapter.name not in _BUILT_IN:
        _check_own(env, id)
    return _wrapped(env, wrapping)


def _check_own(env: Environment, owner: str) -> None:
    """Look at an environment that is not from here, where that is possible before it is run.

    Raises:
        UsageError: when it does not keep to its contract.
    """
    if isinstance(env, JaxEnvironment):
        # Brings JAX, which those who list environments and host ones do without.
        from heredity.environments.jax_checks import check_jax_environment

        check_jax_environment(env, owner)


def _wrapped(env: Environment, wrapping: Wrapping) -> Environment:
    """What was made, with wrappers; closed where those do not fit, because nobody else has it."""
    try:
        return wrap_with(env, wrapping)
    except UsageError:
        if isinstance(env, HostEnvironment):
            env.close()
        raise


def distrust(id: str) -> str | None:
    """Why an environment that a file names is not made until a person vouches for it.

    Example:
        >>> distrust("gymnax/CartPole-v1"), distrust("my_envs:maze")
        (None, 'is not one of the built-in environments')
    """
    head, slash, name = id.partition("/")
    if is_factory(id) or not slash or head not in _BUILT_IN:
        return "is not one of the built-in environments"
    return load_adapter(head).distrust(name)


def make_recorded(
    spec: EnvironmentSpec,
    num_envs: int | None = None,
    trust: Sequence[str] = (),
    evaluating: bool = False,
) -> Environment:
    """The environment that a *file* names, which must not get to choose what code is run.

    Args:
        spec: As it was read.
        num_envs: How many copies; None for the adapter's default.
        trust: Ids that the person vouches for.
        evaluating: Whether to score a policy in it; see `evaluation_options`.

    Raises:
        UsageError: when the id is neither a harmless one of a built-in adapter nor trusted.
    """
    if spec.id not in trust:
        problem = distrust(spec.id)
        if problem:
            raise UntrustedError(
                f"the file names the environment {spec.id!r}, which {problem}, so making it could "
                f"run code that the file chose: give the environment yourself with --env, or vouch "
                f"for this one with --trust {spec.id} (in Python env=..., trust=[{spec.id!r}])"
            )
    taken = sorted({"id", "num_envs"} & set(spec.options))
    if taken:
        raise UsageError(f"options of {spec.id} may not hold {', '.join(taken)}")
    options = evaluation_options(spec.id, spec.options) if evaluating else dict(spec.options)
    return make(spec.id, num_envs, **options)


def evaluation_options(id: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options to score a policy with, given those that it is trained with.

    Whole episodes are what counts.

    Raises:
        UnknownNameError: when there is no such adapter.

    Example:
        >>> evaluation_options("atari/Breakout", {"terminal_on_life_loss": True, "noop_max": 0})
        {'terminal_on_life_loss': False, 'noop_max': 0}
    """
    if is_factory(id):
        return dict(options)
    return {**options, **find_adapter(id).evaluation(options)}


def find_adapter(id: str) -> Adapter:
    """The adapter of an id, before anything is made: for its options.

    For ``package.module:factory`` it is made up from the signature of the factory.

    Raises:
        UnknownNameError: when there is no such adapter.
    """
    if is_factory(id):
        return factory_adapter(id)
    return _resolve(id)[0]


def options_of(id: str) -> type:
    """The dataclass of all options that `make` takes with an id: the adapter's and the wrappers'.

    Raises:
        UnknownNameError: when there is no such adapter.
    """
    return options_with_wrappers(find_adapter(id).options)


def check_id(id: str) -> None:
    """Refuse an id that names nothing, as far as that shows before anything is made.

    Raises:
        UnknownNameError: when there is no such adapter, environment or factory.
        UsageError: when there is no such module.
    """
    if is_factory(id):
        load_factory(id)
    else:
        _resolve(id)


def check_given(env: object) -> str:
    """The id of what somebody gave as an environment; empty for an environment without one.

    Raises:
        UnknownNameError: for an id that names nothing, as far as that shows before it is made.
        UsageError: for what is neither an id nor an environment, and for an environment of
            somebody's own that does not keep to its contract.
    """
    if isinstance(env, str):
        check_id(env)
        return env
    if not isinstance(env, JaxEnvironment | HostEnvironment):
        raise not_an_environment(env, "env is", "an id, or an environment from hd.make,")
    if env.spec is not None:
        return env.spec.id  # looked at when it was made
    own = own_part(env)
    if own.spec is None:
        check_spaces(own, type(own).__name__)
        _check_own(own, type(own).__name__)
    return ""


def is_on_host(id: str) -> bool | None:
    """Whether an environment is a program outside of JAX; None where only making it would tell.

    Nothing that the id names is imported.

    Example:
        >>> is_on_host("gym/my_package:Maze-v0"), is_on_host("brax/ant"), is_on_host("my_envs:maze")
        (True, False, None)
    """
    head, slash, _ = id.partition("/")
    if not slash or head not in adapter_names():
        return None
    return load_adapter(head).on_host


def list_environments(*adapters: str) -> tuple[AdapterListing, ...]:
    """What can be made here, adapter by adapter, in the order of their names.

    Args:
        *adapters: Names of those to list; all when there is none. Listing some loads their
            libraries, which takes a moment.

    Raises:
        UnknownNameError: when there is no such adapter.
    """
    for name in adapters:
        if name not in adapter_names():
            raise UnknownNameError("adapter of environments", name, adapter_names())
    rows = []
    for name in adapters or adapter_names():
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


@functools.cache
def _entry_points() -> Mapping[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


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
