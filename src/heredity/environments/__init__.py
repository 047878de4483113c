"""Environments behind one contract: `make("brax/ant")`.

Importing this imports no environment library; an adapter is loaded when an id first names it.
"""

from heredity.environments.adapters import Adapter
from heredity.environments.contract import (
    Environment,
    EnvironmentSpec,
    HostEnvironment,
    JaxEnvironment,
    Pose,
    TimeStep,
    not_an_environment,
)
from heredity.environments.episodes import Exactness, SeededEpisodes, episode_seed
from heredity.environments.registry import (
    AdapterListing,
    adapter_names,
    check_given,
    check_id,
    distrust,
    evaluation_options,
    find_adapter,
    is_on_host,
    list_environments,
    make,
    make_recorded,
    options_of,
    register,
)
from heredity.environments.wrappers import HostWrapper, JaxWrapper, wrap

__all__ = [
    "Adapter",
    "AdapterListing",
    "Environment",
    "EnvironmentSpec",
    "Exactness",
    "HostEnvironment",
    "HostWrapper",
    "JaxEnvironment",
    "JaxWrapper",
    "Pose",
    "SeededEpisodes",
    "TimeStep",
    "adapter_names",
    "check_given",
    "check_id",
    "distrust",
    "episode_seed",
    "evaluation_options",
    "find_adapter",
    "is_on_host",
    "list_environments",
    "make",
    "make_recorded",
    "not_an_environment",
    "options_of",
    "register",
    "wrap",
]
